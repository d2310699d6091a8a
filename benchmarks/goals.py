"""What this library is to reach, and whether a run did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.clients import REFERENCE, C
from benchmarks.workloads import WORKLOADS

BLOCKING = "BlockingConnection"
SELECT = "SelectConnection"
AIO = "pika.aio"

#: The cost of a message in the workload's unit on CPython 3.11 and a 2-core machine, by client; and how many times
#: less that is to be than what pika's BlockingConnection takes, which is told for this library's own.
COSTS: Mapping[str, tuple[Mapping[str, float], float | None]] = {
    "publish": ({BLOCKING: 2.5, SELECT: 2.0, AIO: 4}, 14),
    "consume": ({BLOCKING: 3.5, SELECT: 3.5, AIO: 6}, 4),
    "consume-ack": ({BLOCKING: 6, SELECT: 5, AIO: 9}, 6),
    "publish-confirmed": ({BLOCKING: 26, AIO: 45}, 3.5),
    "publish-window": ({SELECT: 4, AIO: 12}, None),
    "get": ({BLOCKING: 28, AIO: 45}, 3),
    "publish-1m": ({BLOCKING: 420, SELECT: 420, AIO: 450}, 2.4),
    "consume-1m": ({BLOCKING: 400, SELECT: 400, AIO: 450}, 3.7),
    "get-64m": ({BLOCKING: 0.05}, 4),
    "open": ({BLOCKING: 0.5, AIO: 0.6}, 3),
    "import": ({BLOCKING: 25}, 3),
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
    :param ratio: how many times less that is than what pika's BlockingConnection takes
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
        costs, factor = COSTS.get(name, ({}, None))
        for client, goal in costs.items():
            if client in one["clients"]:
                figures = one["clients"][client]
                yield Outcome(
                    name,
                    client,
                    units[name],
                    _at_most(cost(units[name], figures), goal),
                    _times_less(units[name], figures, factor if client == BLOCKING else None),
                    _rate(name, figures),
                    _memory(one, figures),
                )


def _at_most(found: float, goal: float) -> Check:
    return Check(found, goal, found <= goal)


def _at_least(found: float, goal: float) -> Check:
    return Check(found, goal, found >= goal)


def _times_less(unit: str, figures: Mapping[str, Any], factor: float | None) -> Check | None:
    ratios = figures["ratios"].get(REFERENCE)
    if ratios is None or factor is None:
        return None
    if unit == "s":
        return _at_least(ratios["rate"]["median"], factor)
    return _at_least(1 / ratios["cpu_us"]["median"], factor)


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
