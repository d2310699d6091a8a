"""The results as tables, for a terminal and in Markdown, from what is in the JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.clients import REFERENCE, C
from benchmarks.goals import Check, Outcome, cost, outcomes

#: A row; the first cell of one that has no other is a heading.
Row = Sequence[str]


def details(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of a table with everything about some workloads."""
    rows: list[Row] = [
        (
            "", "CPU, µs per message", "", "messages/s", "peak MiB", "bodies",
            f"CPU : {REFERENCE}", "rate", f"CPU : {C}", "rate",
        )
    ]  # fmt: skip
    for result in results:
        rows.append((_title(result), *[""] * 9))
        rows += [_details(name, figures) for name, figures in result["clients"].items()]
    return rows


def _title(result: Mapping[str, Any]) -> str:
    size = f" x {result['body_size']:,} B" if result["body_size"] else ""
    return f"{result['title']}, {result['messages']:,}{size}"


def _details(name: str, figures: Mapping[str, Any]) -> Row:
    cpu, rate, peak, bodies = figures["cpu_us"], figures["rate"], figures["peak_rss_mib"], figures["peak_bodies"]
    pika, c = figures["ratios"][REFERENCE], figures["ratios"][C]
    return (
        f"  {name}",
        f"{cpu['median']:,.2f}",
        f"{cpu['low']:,.2f} - {cpu['high']:,.2f}",
        f"{rate['median']:,.0f}" if rate["median"] >= 100 else f"{rate['median']:.3g}",
        "" if peak is None else f"{peak['median']:.1f}",
        "" if bodies is None else f"{bodies['median']:.1f}",
        *(_ratio(compared and compared[figure]) for compared in (pika, c) for figure in ("cpu_us", "rate")),
    )


def _ratio(ratio: Mapping[str, float] | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} - {ratio['high']:.2f})"


def costs(results: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a table with what a message costs: a row for each workload, a column for each client."""
    clients = [name for name in results["clients"] if any(name in one["clients"] for one in results["workloads"])]
    rows: list[Row] = [("", *clients)]
    for one in results["workloads"]:
        found = (one["clients"].get(name) for name in clients)
        cells = ("" if figures is None else short(cost(one["unit"], figures)) for figures in found)
        rows.append((f"{one['title']}, {one['unit']}", *cells))
    return rows


def rates(results: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the same table with messages per second."""
    clients = [name for name in results["clients"] if any(name in one["clients"] for one in results["workloads"])]
    rows: list[Row] = [("", *clients)]
    for one in results["workloads"]:
        if one["unit"] == "µs":
            found = (one["clients"].get(name) for name in clients)
            cells = ("" if figures is None else f"{figures['rate']['median']:,.0f}" for figures in found)
            rows.append((one["title"], *cells))
    return rows


def goals(results: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a table with what this library is to reach beside what it does."""
    titles = {one["name"]: one["title"] for one in results["workloads"]}
    rows: list[Row] = [
        ("", "client", "cost", "goal", f"times less than {REFERENCE}, or {C}'s", "goal", f"rate, in {C}'s", "goal",
         "memory, bodies", "goal", "reached")
    ]  # fmt: skip
    for one in outcomes(results):
        checks = (one.cost, one.ratio, one.rate, one.memory)
        cells = [cell for check in checks for cell in _check(check)]
        cells[0] = f"{cells[0]} {one.unit}"
        rows.append((titles[one.workload], one.client, *cells, _verdict(one)))
    return rows


def _check(check: Check | None) -> tuple[str, str]:
    if check is None:
        return "", ""
    return short(check.found), f"{check.goal:g}"


def _verdict(one: Outcome) -> str:
    return f"no: {', '.join(one.missed)}" if one.missed else "yes"


def short(value: float) -> str:
    """Return a figure with as many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def text(rows: Sequence[Row]) -> str:
    """Return rows as a table for a terminal."""
    # Headings stand above the columns, and do not widen them.
    cells = [row for row in rows if any(row[1:])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Row, widths: Sequence[int]) -> str:
    first, *others = row
    if not any(others):
        return first
    aligned = (cell.rjust(width) for cell, width in zip(others, widths[1:]))
    return "  ".join((first.ljust(widths[0]), *aligned)).rstrip()


def markdown(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown."""
    head, *others = rows
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *others]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines)
