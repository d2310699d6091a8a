"""Measure this library beside others: ``python benchmarks/run.py``; README.md says how to read what it prints."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import broker, chart, clients, machine, pages, report, tables
from benchmarks.options import add_docs, positive
from benchmarks.workloads import WORKLOADS, Workload
from tests.support.rabbitmq import RabbitMQError

# The version of the JSON file's shape.
FORMAT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and write the files; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        results = json.loads(options.read.read_text(encoding="utf-8")) if options.read else _measured(options)
    except (clients.MeasurementError, broker.LostError, RabbitMQError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    _show(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if options.chart is not None:
        options.chart.write_text(chart.draw(results), encoding="utf-8")
    if options.docs is not None:
        for written in pages.write(options.docs, results):
            print(f"wrote {written}")
    return 0


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    chosen = [workload for workload in WORKLOADS if workload.name in options.workloads]
    with tempfile.TemporaryDirectory() as folder:
        found, missing = clients.installed(options.clients, options.python, Path(folder))
        for line in missing:
            print(line, file=sys.stderr, flush=True)
        return {**measure(chosen, found, options.rounds, options.messages), "missing": missing}


def measure(
    workloads: Sequence[Workload], measured: Sequence[clients.Client], rounds: int, messages: int | None
) -> dict[str, Any]:
    """Run every workload on every client, round by round, and return the results as they go into the JSON file.

    :param messages: at most how many, instead of each workload's own number
    :raises benchmarks.clients.MeasurementError: when a program failed, or saw that a message was lost
    :raises benchmarks.broker.LostError: when a message was lost in between
    """
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    samples: dict[str, dict[str, list[clients.Sample]]] = {workload.name: {} for workload in workloads}
    with broker.running_broker() as running:
        described = {"machine": machine.describe(), "broker": broker.describe(running)}
        for number in range(1, rounds + 1):
            for workload in workloads:
                # The clients take turns within each round, so that what slows the machine slows all of them.
                for client in measured:
                    if workload.name in client.workloads:
                        _say(f"round {number} of {rounds}: {workload.title}, {client.name}")
                        sample = once(client, workload, messages, running.url)
                        samples[workload.name].setdefault(client.name, []).append(sample)
        _say("")
    first: dict[str, clients.Sample] = {}
    for workload in workloads:
        for name, taken in samples[workload.name].items():
            first.setdefault(name, taken[0])
    order = {client.name: None for client in measured if client.name in first}
    return {
        "format": FORMAT,
        "started": started,
        **described,
        "clients": {name: {"version": first[name].version, "python": first[name].python} for name in order},
        "rounds": rounds,
        "workloads": [
            report.as_json(workload, min(messages or workload.messages, workload.messages), samples[workload.name])
            for workload in workloads
        ],
    }


def once(client: clients.Client, workload: Workload, messages: int | None, url: str) -> clients.Sample:
    """Run one workload on one client, with a queue of its own if it needs one.

    :raises benchmarks.clients.MeasurementError: when the program failed
    :raises benchmarks.broker.LostError: when other messages are left than are to be
    """
    count, warm_up = clients.measured_messages(client, workload, messages)
    with broker.queue_for(workload, count + warm_up, url) as queue:
        return clients.run(client, workload, count, warm_up, url, queue)


def _say(progress: str) -> None:
    """Show how far it is, in one line that the next one replaces, if somebody looks on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def _show(results: dict[str, Any]) -> None:
    hardware, peer = results["machine"], results["broker"]
    print(tables.text(tables.details(results["workloads"])))
    print("\nWhat a message costs: CPU, or seconds where it says s")
    print(tables.text(tables.costs(results)))
    reached = tables.goals(results)
    if len(reached) > 1:
        print("\nWhat this library is to reach")
        print(tables.text(reached))
    print(
        f"\nMedian of {results['rounds']} rounds, lowest - highest. {hardware['system']}, {hardware['cpus']} x "
        f"{hardware['processor']}; {peer['product']} {peer['version']}."
    )
    for name, one in results["clients"].items():
        print(f"{name}: {one['version']}{' on ' if one['python'] else ''}{one['python']}")
    for line in results["missing"]:
        print(line)


def _parser() -> argparse.ArgumentParser:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description="Measure what this library costs, beside other clients.")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--clients", nargs="+", default=[], metavar="NAME", help="those whose names begin so; all by default"
    )
    parser.add_argument("--rounds", type=positive, default=5, help="how often each is measured; default 5")
    parser.add_argument("--messages", type=positive, help="at most how many, instead of each workload's own number")
    parser.add_argument(
        "--python", nargs="*", default=clients.other_pythons(), metavar="PATH",
        help="more interpreters to measure this library on; pypy3 by default, where there is one",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the CPU per message there, as SVG")
    add_docs(parser)
    parser.add_argument("--read", type=Path, metavar="FILE", help="take the results of an earlier run; measure nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
