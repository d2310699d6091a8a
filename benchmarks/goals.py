"""What this library is to reach, and whether a run did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.clients import AIO, REFERENCE, THREADS, C
from benchmarks.workloads import WORKLOADS

BLOCKING = "BlockingConnection"
SELECT = "SelectConnection"


class Goal(NamedTuple):
    """What a workload is to cost.

    :param costs: by client, in the workload's unit, on CPython 3.11 and the machine where the goals were set
    :param times: how many times less than pika's BlockingConnection the first of them is to take; None where pika
        cannot do this
    :param pika: what pika's BlockingConnection took there; None where it cannot do this
    :param c: what rabbitmq-c took there
    """

    costs: Mapping[str, float]
    times: float | None = None
    pika: float | None = None
    c: float | None = None


#: On another machine, a cost is also reached that is as many times less than pika's as it was to be there; or, where
#: pika cannot do it, as many times rabbitmq-c's.
GOALS: Mapping[str, Goal] = {
    "publish": Goal({BLOCKING: 2.5, THREADS: 2.5, SELECT: 2.0, AIO: 4}, 14, 36.5, 0.91),
    "consume": Goal({BLOCKING: 3.5, THREADS: 3.5, SELECT: 3.5, AIO: 6}, 4, 13.8, 1.51),
    "consume-ack": Goal({BLOCKING: 6, THREADS: 6, SELECT: 5, AIO: 9}, 6, 37.5, 2.83),
    "publish-confirmed": Goal({BLOCKING: 26, THREADS: 26, AIO: 45}, 3.5, 91),
    "publish-window": Goal({THREADS: 4.5, SELECT: 4, AIO: 12}, None, None, 1.03),
    "get": Goal({BLOCKING: 28, THREADS: 28, AIO: 45}, 3, 89),
    "publish-1m": Goal({BLOCKING: 420, THREADS: 420, SELECT: 420, AIO: 450}, 2.4, 1012, 376),
    "consume-1m": Goal({BLOCKING: 400, THREADS: 400, SELECT: 400, AIO: 450}, 3.7, 1504, 190),
    "get-64m": Goal({BLOCKING: 0.05, THREADS: 0.05}, 4, 0.208),
    "open": Goal({BLOCKING: 0.5, THREADS: 0.5, AIO: 0.6}, 3, 1.71),
    "import": Goal({BLOCKING: 25}, 3, 79),
}
#: The least rate in those of rabbitmq-c; a round trip pays its CPU in latency.
RATES = {"consume": 0.9, "publish-confirmed": 0.7, "get": 0.7}
LEAST_RATE = 1.0
#: The most memory beyond what was there before, in bodies.
MEMORY = {"get-64m": 2.0}

_UNITS = {"µs": 1.0, "ms": 1e3}


class Check(NamedTuple):
    """A figure beside its goal.

    :param found: what was measured
    :param goal: what it is to be
    :param reached: whether it is
    """

    found: float
    goal: float
    reached: bool


class Outcome(NamedTuple):
    """How far one client is with one workload. What has no goal, or nothing to compare with, is None.

    :param workload: its name
    :param client: its name
    :param unit: of the cost
    :param cost: of a message
    :param ratio: how many times less that is than what pika's BlockingConnection takes; where pika cannot do it, how
        many times as much as rabbitmq-c takes
    :param rate: messages per second, in those of rabbitmq-c
    :param memory: in bodies
    """

    workload: str
    client: str
    unit: str
    cost: Check
    ratio: Check | None
    rate: Check | None
    memory: Check | None

    @property
    def missed(self) -> list[str]:
        """What it has not reached; the cost counts as reached by itself, or by the ratio."""
        cost_reached = self.cost.reached or (self.ratio is not None and self.ratio.reached)
        checks = {"rate": self.rate, "memory": self.memory}
        others = [name for name, check in checks.items() if check is not None and not check.reached]
        return others if cost_reached else ["cost", *others]


def cost(unit: str, figures: Mapping[str, Any]) -> float:
    """Return what a message costs, in a workload's unit, from a client's figures."""
    if unit == "s":
        return 1 / float(figures["rate"]["median"])
    return float(figures["cpu_us"]["median"]) / _UNITS[unit]


def outcomes(results: Mapping[str, Any]) -> Iterator[Outcome]:
    """Compare a run's results, as they are in the JSON file, with the goals."""
    units = {workload.name: workload.unit for workload in WORKLOADS}
    for one in results["workloads"]:
        name = one["name"]
        if name not in GOALS:
            continue
        goal = GOALS[name]
        for client, most in goal.costs.items():
            if client in one["clients"]:
                figures = one["clients"][client]
                yield Outcome(
                    name,
                    client,
                    units[name],
                    _at_most(cost(units[name], figures), most),
                    _ratio(units[name], figures, most, goal),
                    _rate(name, figures),
                    _memory(one, figures),
                )


def _at_most(found: float, goal: float) -> Check:
    return Check(found, goal, found <= goal)


def _at_least(found: float, goal: float) -> Check:
    return Check(found, goal, found >= goal)


def _ratio(unit: str, figures: Mapping[str, Any], most: float, goal: Goal) -> Check | None:
    pika, c = figures["ratios"].get(REFERENCE), figures["ratios"].get(C)
    if goal.pika is not None and pika is not None:
        # What takes less of the clock has the higher rate.
        found = pika["rate"]["median"] if unit == "s" else 1 / pika["cpu_us"]["median"]
        # Rounded as the goals are, where they are told as a number of times.
        first = next(iter(goal.costs.values()))
        return _at_least(found, goal.times if most == first and goal.times is not None else round(goal.pika / most, 1))
    if goal.pika is None and goal.c is not None and c is not None:
        return _at_most(c["cpu_us"]["median"], round(most / goal.c, 1))
    return None


def _rate(workload: str, figures: Mapping[str, Any]) -> Check | None:
    ratios = figures["ratios"].get(C)
    if ratios is None or workload == "open":
        return None
    return _at_least(ratios["rate"]["median"], RATES.get(workload, LEAST_RATE))


def _memory(one: Mapping[str, Any], figures: Mapping[str, Any]) -> Check | None:
    goal = MEMORY.get(one["name"])
    if goal is None or figures["peak_bodies"] is None:
        return None
    # What is counted in pages is never exact.
    found = round(figures["peak_bodies"]["median"], 1)
    return _at_most(found, goal)
