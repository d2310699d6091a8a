"""Measure this library beside others: ``python benchmarks/run.py``; README.md says how to read what it prints."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import broker, clients, machine, report
from benchmarks.options import positive
from benchmarks.workloads import WORKLOADS, Workload
from tests.support.rabbitmq import RabbitMQError

# The version of the JSON file's shape.
FORMAT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the JSON file; return the exit status."""
    options = _parser().parse_args(arguments)
    chosen = [workload for workload in WORKLOADS if workload.name in options.workloads]
    try:
        measured = measure(chosen, options.rounds, options.messages)
    except (clients.MeasurementError, RabbitMQError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print(report.table(measured["workloads"]))
    print(_footer(measured))
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(workloads: Sequence[Workload], rounds: int, messages: int | None) -> dict[str, Any]:
    """Run every workload on every client, round by round, and return the results as they go into the JSON file.

    :param messages: how many, instead of each workload's own number
    :raises benchmarks.clients.MeasurementError: when a message was lost, or a program failed otherwise
    """
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    installed = clients.installed()
    samples: dict[str, dict[str, list[clients.Sample]]] = {workload.name: {} for workload in workloads}
    with broker.running_broker() as running:
        described = {"machine": machine.describe(), "broker": broker.describe(running)}
        for number in range(1, rounds + 1):
            for workload in workloads:
                _say(f"round {number} of {rounds}: {workload.title}")
                # The clients take turns within each round, so that what slows the machine slows all of them.
                for client in installed:
                    if workload.name in client.workloads:
                        count = messages or workload.messages
                        sample = clients.run(client, workload.name, count, workload.body_size, running.url)
                        samples[workload.name].setdefault(client.name, []).append(sample)
        _say("")
    first = {name: taken[0] for by_client in samples.values() for name, taken in by_client.items()}
    return {
        "format": FORMAT,
        "started": started,
        **described,
        "reference": clients.REFERENCE if clients.REFERENCE in first else None,
        "clients": {name: {"version": one.version, "python": one.python} for name, one in first.items()},
        "rounds": rounds,
        "workloads": [
            report.as_json(workload, messages or workload.messages, samples[workload.name]) for workload in workloads
        ],
    }


def _say(progress: str) -> None:
    """Show how far it is, in one line that the next one replaces, if somebody looks on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description="Measure what this library costs, beside pika 1.4.4.")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=positive, default=5, help="how often each is measured; default 5")
    parser.add_argument("--messages", type=positive, help="how many messages, instead of each workload's own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    return parser


def _footer(measured: dict[str, Any]) -> str:
    hardware, peer = measured["machine"], measured["broker"]
    lines = [
        "",
        f"Median of {measured['rounds']} rounds, lowest - highest. {hardware['system']}, {hardware['cpus']} x "
        f"{hardware['processor']}; {peer['product']} {peer['version']}.",
        *(f"{name}: {one['version']} on {one['python']}" for name, one in measured["clients"].items()),
    ]
    if measured["reference"] is None:
        lines.append(f"{clients.REFERENCE} could not be installed: nothing to compare with (PIKA_ORACLE_PYTHON).")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
