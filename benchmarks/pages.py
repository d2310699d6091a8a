"""Puts the figures of a run into the documentation, between markers, and its chart beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import chart, clients, tables

CHART = Path("docs") / "images" / "cpu.svg"
PERFORMANCE = Path("docs") / "performance.md"
README = Path("README.md")
_README_WORKLOADS = ("publish", "consume", "consume-ack", "publish-confirmed", "publish-window", "get")
_README_CLIENTS = (
    *clients.OWN, "pika 1.4.4 Blocking", "pika 1.4.4 Select", "py-amqp", "amqpstorm", "aio-pika", "rabbitmq-c",
)  # fmt: skip


def write(root: Path, results: Mapping[str, Any]) -> Iterator[Path]:
    """Write chart and tables of some results, as they are in the JSON file, and iterate over the files.

    :param root: the folder of the project
    :raises SystemExit: when a page lacks a marker
    """
    (root / CHART).parent.mkdir(parents=True, exist_ok=True)
    (root / CHART).write_text(chart.draw(results), encoding="utf-8")
    yield root / CHART
    drawing = "![CPU of the client's process per message, µs, for each client]"
    parts = {
        "conditions": _conditions(results),
        "chart": f"{drawing}({CHART.relative_to('docs').as_posix()})",
        "costs": tables.markdown(_turned(tables.costs(results))),
        "rates": tables.markdown(_turned(tables.rates(results))),
        "goals": tables.markdown(tables.goals(results)),
    }
    yield fill(root / PERFORMANCE, parts)
    for_readme = _only(results, _README_WORKLOADS, _README_CLIENTS)
    table = tables.markdown(_turned(tables.costs(for_readme)))
    yield fill(root / README, {"speed": f"{drawing}({CHART.as_posix()})\n\n{table}\n\n{_conditions(results)}"})


def _conditions(results: Mapping[str, Any]) -> str:
    """Return what was measured, where and when, in a sentence."""
    hardware, peer = results["machine"], results["broker"]
    # A client of a library that has several ("pika 1.4.4 Select") or of this one tells its version in its name.
    versions = [
        f"{name} {one['version']}"
        for name, one in results["clients"].items()
        if " " not in name and name not in clients.OWN and name != "pika.protocol"
    ]
    pythons = sorted({one["python"] for one in results["clients"].values() if one["python"]})
    return (
        f"Median of {results['rounds']} rounds on {results['started'][:10]}: {hardware['system']}, {hardware['cpus']} "
        f"processors ({hardware['processor']}), {peer['product']} {peer['version']} on the same machine; "
        f"{', '.join((*pythons, *versions))}."
    )


def _only(results: Mapping[str, Any], workloads: tuple[str, ...], clients: tuple[str, ...]) -> dict[str, Any]:
    return {
        **results,
        "workloads": [one for one in results["workloads"] if one["name"] in workloads],
        "clients": {name: one for name, one in results["clients"].items() if name in clients},
    }


def _turned(rows: list[tables.Row]) -> list[tables.Row]:
    """Return a table with its columns as rows: there are more clients than fit beside each other."""
    return list(zip(*rows))


def fill(page: Path, parts: Mapping[str, str]) -> Path:
    """Write a page anew, with what is between its markers replaced, and return it.

    :raises SystemExit: when a marker is missing
    """
    content = require(page, *parts)
    for name, part in parts.items():
        begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        before, rest = content.split(begin)
        after = rest.split(end)[1]
        content = f"{before}{begin}\n\n{part}\n\n{end}{after}"
    page.write_text(content, encoding="utf-8")
    return page


def require(page: Path, *parts: str) -> str:
    """Return the text of a page that has a place for some figures.

    :raises SystemExit: when a marker is missing
    """
    content = page.read_text(encoding="utf-8")
    for name in parts:
        begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        if content.count(begin) != 1 or content.count(end) != 1:
            raise SystemExit(f"{page} has no place for the figures {name!r}: it needs {begin} and {end}, once each")
    return content
