"""The results: median and spread over the rounds, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.clients import REFERENCE, Sample
from benchmarks.workloads import Workload


class Spread(NamedTuple):
    """The median of some values, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        listed = list(values)
        return cls(statistics.median(listed), min(listed), max(listed))


#: The samples of one workload, by client, in the order of the rounds.
Samples = Mapping[str, Sequence[Sample]]


def ratios(samples: Samples, client: str, figure: str) -> Spread | None:
    """Return how many times the reference's figure a client's is, round by round; None where there is no reference."""
    reference = samples.get(REFERENCE)
    if not reference or client == REFERENCE:
        return None
    pairs = zip(samples[client], reference)
    return Spread.of(getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs)


def as_json(workload: Workload, messages: int, samples: Samples) -> dict[str, Any]:
    """Return one workload's results as they go into the JSON file."""
    results = {}
    for client, taken in samples.items():
        cpu, rate = ratios(samples, client, "cpu_us"), ratios(samples, client, "rate")
        peaks = [sample.peak_rss_mib for sample in taken if sample.peak_rss_mib is not None]
        results[client] = {
            "cpu_us": Spread.of(sample.cpu_us for sample in taken)._asdict(),
            "rate": Spread.of(sample.rate for sample in taken)._asdict(),
            "peak_rss_mib": Spread.of(peaks)._asdict() if peaks else None,
            "cpu_ratio": cpu and cpu._asdict(),
            "rate_ratio": rate and rate._asdict(),
            "rounds": [
                {"cpu_us": one.cpu_us, "user_us": one.user_us, "rate": one.rate, "peak_rss_mib": one.peak_rss_mib}
                for one in taken
            ],
        }
    return {
        "name": workload.name,
        "title": workload.title,
        "messages": messages,
        "body_size": workload.body_size,
        "clients": results,
    }


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of some workloads, from what :func:`as_json` made of each."""
    heading = ("", "CPU, µs per message", "", "messages/s", "peak MiB", f"CPU : {REFERENCE}", f"rate : {REFERENCE}")
    rows: list[tuple[str, ...]] = [heading]
    for result in results:
        rows.append((f"{result['title']}, {result['messages']:,} x {result['body_size']:,} B", *[""] * 6))
        rows += [_row(name, figures) for name, figures in result["clients"].items()]
    # The titles stand above the columns, and do not widen them.
    cells = [row for row in rows if any(row[1:])]
    widths = [max(len(row[column]) for row in cells) for column in range(7)]
    widths[0] += 2
    return "\n".join(_line(row, widths) for row in rows)


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    cpu, rate, peak = figures["cpu_us"], figures["rate"], figures["peak_rss_mib"]
    return (
        f"  {name}",
        f"{cpu['median']:.2f}",
        f"{cpu['low']:.2f} - {cpu['high']:.2f}",
        f"{rate['median']:,.0f}",
        "" if peak is None else f"{peak['median']:.1f}",
        _ratio(figures["cpu_ratio"]),
        _ratio(figures["rate_ratio"]),
    )


def _ratio(ratio: Mapping[str, float] | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} - {ratio['high']:.2f})"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = row
    if not any(others):
        return first
    aligned = (cell.rjust(width) for cell, width in zip(others, widths[1:]))
    return "  ".join((first.ljust(widths[0]), *aligned)).rstrip()
