"""The results of a run: median and spread over the rounds, as they go into the JSON file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.clients import REFERENCE, C, Sample
from benchmarks.workloads import MIB, Workload


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


def ratios(samples: Samples, client: str, reference: str, figure: str) -> Spread | None:
    """Return how many times a reference's figure a client's is, round by round; None where there is no reference."""
    of_reference = samples.get(reference)
    if not of_reference or client == reference:
        return None
    pairs = zip(samples[client], of_reference)
    return Spread.of(getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs)


def as_json(workload: Workload, messages: int, samples: Samples) -> dict[str, Any]:
    """Return one workload's results as they go into the JSON file.

    :param messages: how many there were, of clients that take no fewer
    """
    return {
        "name": workload.name,
        "title": workload.title,
        "messages": messages,
        "body_size": workload.body_size,
        "unit": workload.unit,
        "clients": {client: _figures(workload, samples, client) for client in samples},
    }


def _figures(workload: Workload, samples: Samples, client: str) -> dict[str, Any]:
    taken = samples[client]
    peaks = [one.peak_rss_mib for one in taken if one.peak_rss_mib is not None]
    grown = [one.grown_mib for one in taken if one.grown_mib is not None]
    bodies = [one * MIB / workload.body_size for one in grown] if workload.body_size >= MIB else []
    return {
        "cpu_us": Spread.of(one.cpu_us for one in taken)._asdict(),
        "rate": Spread.of(one.rate for one in taken)._asdict(),
        "peak_rss_mib": Spread.of(peaks)._asdict() if peaks else None,
        "peak_bodies": Spread.of(bodies)._asdict() if bodies else None,
        "ratios": {reference: _compared(samples, client, reference) for reference in (REFERENCE, C)},
        "rounds": [
            {"cpu_us": one.cpu_us, "user_us": one.user_us, "rate": one.rate, "peak_rss_mib": one.peak_rss_mib}
            for one in taken
        ],
    }


def _compared(samples: Samples, client: str, reference: str) -> dict[str, Any] | None:
    cpu = ratios(samples, client, reference, "cpu_us")
    rate = ratios(samples, client, reference, "rate")
    return None if cpu is None or rate is None else {"cpu_us": cpu._asdict(), "rate": rate._asdict()}
