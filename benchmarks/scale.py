"""How the cost of an operation grows with the number of what else there is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks import clients
from benchmarks.tables import Row, short

#: What grows less does not grow: so near to each other are two measurements of the same thing.
TOLERANCE = 1.1
#: What one of many idle connections may take: memory in KiB; and all of them together, in parts of a processor.
MOST_KIB = 30.0
MOST_IDLE_CPU = 0.01


class Line(NamedTuple):
    """An operation whose cost is not to depend on a number.

    :param name: what ``programs/scale.py`` calls it
    :param title: what is done
    :param few: the lower number
    :param many: the higher one
    """

    name: str
    title: str
    few: int
    many: int


LINES = (
    Line("channels", "a publish on one of N channels", 1, 2000),
    Line("channels-in-turn", "a publish on N channels in turn", 1, 2000),
    Line("consumers", "a delivery to one of N consumers", 1, 10_000),
    Line("consumers-in-turn", "a delivery to N consumers in turn", 1, 10_000),
    Line("unacked", "an ack while N messages are not", 1, 60_000),
    Line("connections", "opening one of N connections on asyncio", 100, 1000),
    Line("aio-connections", "opening one of N connections of pika.aio", 100, 1000),
)
# Lines whose connections are left alone for a while, and what they are called.
_IDLE = {"connections": "connections of AsyncioConnection", "aio-connections": "connections of pika.aio"}


def measure(
    lines: Iterable[Line], url: str, rounds: int, operations: int, idle_seconds: float, most: int
) -> list[dict[str, Any]]:
    """Measure lines, few and many in turns, and return a row for each.

    The least of the rounds counts: whatever else runs on the machine only adds.

    :param most: of anything, instead of a line's own higher number
    :raises benchmarks.clients.MeasurementError: when a program fails
    """
    return [_measure(line, url, rounds, operations, idle_seconds, most) for line in lines]


def _measure(line: Line, url: str, rounds: int, operations: int, idle_seconds: float, most: int) -> dict[str, Any]:
    numbers = (min(line.few, most), min(line.many, most))
    program = str(clients.PROGRAMS / "scale.py")
    samples: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
    for _ in range(rounds):
        for number in numbers:
            command = (sys.executable, program, line.name, str(number), str(operations), url, str(idle_seconds))
            samples[number].append(clients.run_program(command, clients.ROOT))
    few, many = (min(one["cpu_us"] for one in samples[number]) for number in numbers)
    row = {
        "name": line.name,
        "title": line.title,
        "few": numbers[0],
        "many": numbers[1],
        "few_us": few,
        "many_us": many,
        "factor": many / few,
        "flat": many / few < TOLERANCE,
    }
    if line.name in _IDLE:
        row.update(_idle(samples[numbers[1]], samples[numbers[0]]))
    return row


def _idle(many: Sequence[dict[str, Any]], few: Sequence[dict[str, Any]]) -> dict[str, Any]:
    kib = [one["kib_each"] for one in many if one["kib_each"] is not None]
    return {
        "kib_each": min(kib) if kib else None,
        "few_kib_each": min((one["kib_each"] for one in few if one["kib_each"] is not None), default=None),
        "idle_cpu": min(one["idle_cpu"] for one in many),
    }


def table(measured: Iterable[dict[str, Any]]) -> list[Row]:
    """Return the rows of a table of what was measured."""
    rows: list[Row] = [("", "N", "CPU, µs", "N", "CPU, µs", "growth", "flat")]
    for one in measured:
        rows.append(
            (
                one["title"], f"{one['few']:,}", short(one["few_us"]), f"{one['many']:,}", short(one["many_us"]),
                f"x {one['factor']:.2f}", "yes" if one["flat"] else "no",
            )
        )  # fmt: skip
    return rows


def idle_text(measured: Iterable[dict[str, Any]]) -> str:
    """Return what many idle connections take, if it was measured: a line each."""
    lines = []
    for one in measured:
        if "idle_cpu" in one:
            kib = (
                "" if one["kib_each"] is None else f"{one['kib_each']:.1f} KiB each (to be: {MOST_KIB:g} at most) and "
            )
            lines.append(
                f"{one['many']:,} idle {_IDLE[one['name']]} in one process: {kib}{one['idle_cpu']:.3%} of a processor "
                f"for all (to be: {MOST_IDLE_CPU:.0%} at most)"
            )
    return "\n".join(lines)
