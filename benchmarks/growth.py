"""Measure how cost grows with size and number: ``python benchmarks/growth.py``."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import broker, clients, pages, scale, tables
from benchmarks.options import add_docs, positive
from pika.broker import Broker as EmbeddedBroker
from tests.support.rabbitmq import RabbitMQError

MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the JSON file; return the exit status."""
    options = _parser().parse_args(arguments)
    measured: dict[str, Any] = {"rounds": options.rounds}
    try:
        if "bodies" in options.only:
            _measure_bodies(options, measured)
        lines = [line for line in scale.LINES if line.name in options.only]
        if lines:
            _measure_scale(lines, options, measured)
    except (clients.MeasurementError, RabbitMQError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    if options.docs is not None:
        print(f"wrote {pages.fill(options.docs / pages.PERFORMANCE, _parts(measured))}")
    return 0


def _parts(measured: Mapping[str, Any]) -> dict[str, str]:
    """Return what was measured as parts of a page in Markdown."""
    parts = {}
    if "socket" in measured:
        over, octets = tables.markdown(body_rows(measured["socket"])), tables.markdown(body_rows(measured["octets"]))
        parts["bodies"] = f"From a socket:\n\n{over}\n\nOctet by octet:\n\n{octets}"
    if "scale" in measured:
        rows = measured["scale"]
        parts["scale"] = f"{tables.markdown(scale.table(rows))}\n\n{scale.idle_text(rows)}".rstrip()
    return parts


def _measure_bodies(options: argparse.Namespace, measured: dict[str, Any]) -> None:
    measured["socket"] = [over_socket(round(size * MIB), options.rounds) for size in options.sizes]
    measured["octets"] = [octet_by_octet(round(size * MIB), options.rounds) for size in options.octet_sizes]
    for rows in (measured["socket"], measured["octets"]):
        add_factors(rows)
    print("A body from a socket, through pika.protocol (to be: time x 2.0 for each doubling, memory 2 bodies at most)")
    print(tables.text(body_rows(measured["socket"])))
    print("\nA body that arrives octet by octet (to be: time x 2.0 for each doubling)")
    print(tables.text(body_rows(measured["octets"])), flush=True)


def _measure_scale(lines: Sequence[scale.Line], options: argparse.Namespace, measured: dict[str, Any]) -> None:
    with EmbeddedBroker() if options.embedded else broker.running_broker() as running:
        rows = scale.measure(lines, running.url, options.rounds, options.operations, options.idle, options.most)
    measured["scale"] = rows
    print(f"\nAn operation when there is much else (to be: growth below {scale.TOLERANCE:g})")
    print(tables.text(scale.table(rows)))
    print(scale.idle_text(rows), flush=True)


def over_socket(size: int, rounds: int) -> dict[str, Any]:
    """Receive a body from a scripted broker in another process.

    :raises benchmarks.clients.MeasurementError: when another body came out, or a program failed otherwise
    """
    samples = [_over_socket_once(size) for _ in range(rounds)]
    seconds = min(one["seconds"] for one in samples)
    memory = [one["peak_memory"] for one in samples if one["peak_memory"] is not None]
    return {
        "size": size,
        "seconds": seconds,
        "mib_per_second": size / MIB / seconds,
        "peak_bodies": statistics.median(memory) / size if memory else None,
    }


def _over_socket_once(size: int) -> dict[str, Any]:
    command = [sys.executable, str(clients.PROGRAMS / "scripted_broker.py"), str(size)]
    # It ends when its client hangs up, or else with the context.
    with subprocess.Popen(command, env=clients.environment(clients.ROOT), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            return _receive("socket", str(size), server.stdout.readline().strip())
        finally:
            server.kill()


def octet_by_octet(size: int, rounds: int) -> dict[str, Any]:
    """Receive a body one octet for each call of ``receive_data``, without a socket.

    :raises benchmarks.clients.MeasurementError: when another body came out, or the program failed otherwise
    """
    seconds = min(_receive("octets", str(size))["seconds"] for _ in range(rounds))
    return {"size": size, "seconds": seconds, "mib_per_second": size / MIB / seconds, "peak_bodies": None}


def _receive(*arguments: str) -> dict[str, Any]:
    program = str(clients.PROGRAMS / "receive_body.py")
    return clients.run_program((sys.executable, program, *arguments), clients.ROOT)


def add_factors(rows: list[dict[str, Any]]) -> None:
    """Note in each row how the time has grown since the one before, for each doubling of the size."""
    for index, row in enumerate(rows):
        before = rows[index - 1] if index else None
        row["factor"] = None
        if before is not None and row["size"] != before["size"]:
            growth = row["seconds"] / before["seconds"]
            # The time is seen as a power of the size, so that sizes need not be doubled exactly.
            row["factor"] = growth ** (1 / math.log2(row["size"] / before["size"]))


def body_rows(measured: Sequence[dict[str, Any]]) -> list[tables.Row]:
    """Return the rows of a table of what was measured."""
    rows: list[tables.Row] = [("MiB", "seconds", "MiB/s", "peak, bodies", "x per doubling")]
    for one in measured:
        peak, factor = one["peak_bodies"], one["factor"]
        rows.append(
            (
                f"{one['size'] / MIB:g}", f"{one['seconds']:.4f}", f"{one['mib_per_second']:.1f}",
                "" if peak is None else f"{peak:.2f}", "" if factor is None else f"{factor:.2f}",
            )
        )  # fmt: skip
    return rows


def _parser() -> argparse.ArgumentParser:
    names = ["bodies", *(line.name for line in scale.LINES)]
    parser = argparse.ArgumentParser(description="Measure how cost grows with size and number.")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--sizes", type=float, nargs="+", default=[16, 32, 64, 128], metavar="MIB", help="of bodies over a socket"
    )
    parser.add_argument(
        "--octet-sizes", type=float, nargs="+", default=[0.25, 0.5, 1, 2], metavar="MIB", help="octet by octet"
    )
    parser.add_argument("--operations", type=positive, default=20_000, metavar="N", help="of each kind; default 20000")
    parser.add_argument("--most", type=positive, default=1_000_000, metavar="N", help="of channels, consumers, ...")
    parser.add_argument(
        "--idle", type=float, default=35.0, metavar="SECONDS", help="of connections; by default heartbeats are in it"
    )
    parser.add_argument("--embedded", action="store_true", help="on the embedded broker, not on RabbitMQ")
    parser.add_argument("--rounds", type=positive, default=3, help="how often each is measured; default 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    add_docs(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
