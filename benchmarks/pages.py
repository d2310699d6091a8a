"""Puts the figures of a run into the documentation, between markers, and its chart beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import chart, tables

CHART = Path("docs") / "images" / "cpu.svg"
PERFORMANCE = Path("docs") / "performance.md"
README = Path("README.md")
_README_WORKLOADS = ("publish", "consume", "consume-ack", "publish-confirmed", "publish-window", "get")
_README_CLIENTS = (
    "BlockingConnection", "SelectConnection", "AsyncioConnection", "pika 1.4.4 Blocking", "pika 1.4.4 Select",
    "py-amqp", "amqpstorm", "aio-pika", "rabbitmq-c",
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
    yield _fill(root / PERFORMANCE, parts)
    for_readme = _only(results, _README_WORKLOADS, _README_CLIENTS)
    table = tables.markdown(_turned(tables.costs(for_readme)))
    yield _fill(root / README, {"speed": f"{drawing}({CHART.as_posix()})\n\n{table}\n\n{_conditions(results)}"})


def _conditions(results: Mapping[str, Any]) -> str:
    hardware, peer = results["machine"], results["broker"]
    pythons = {one["python"] for one in results["clients"].values() if one["python"]}
    versions = {name: one["version"] for name, one in results["clients"].items() if " " not in name and one["python"]}
    others = [f"{name} {version}" for name, version in versions.items() if not name.endswith(_OWN)]
    c = results["clients"].get("rabbitmq-c")
    others += [f"rabbitmq-c {c['version']}"] if c else []
    return (
        f"Median of {results['rounds']} rounds on {results['started'][:10]}: {hardware['system']}, {hardware['cpus']} "
        f"processors ({hardware['processor']}), {peer['product']} {peer['version']} on the same machine, "
        f"{', '.join(sorted(pythons))}; {', '.join(others)}."
    )


_OWN = ("Connection", "pika.protocol")


def _only(results: Mapping[str, Any], workloads: tuple[str, ...], clients: tuple[str, ...]) -> dict[str, Any]:
    return {
        **results,
        "workloads": [one for one in results["workloads"] if one["name"] in workloads],
        "clients": {name: one for name, one in results["clients"].items() if name in clients},
    }


def _turned(rows: list[tables.Row]) -> list[tables.Row]:
    """Return a table with its columns as rows: there are more clients than fit beside each other."""
    return list(zip(*rows))


def _fill(page: Path, parts: Mapping[str, str]) -> Path:
    """Write a page anew, with what is between its markers replaced."""
    content = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        before, found, behind = content.partition(begin)
        _old, found_end, after = behind.partition(end)
        if not found or not found_end:
            raise SystemExit(f"{page} lacks the markers {begin} and {end}")
        content = f"{before}{begin}\n\n{part}\n\n{end}{after}"
    page.write_text(content, encoding="utf-8")
    return page
