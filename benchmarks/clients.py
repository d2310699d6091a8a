"""The clients that are measured: for each a program, what runs it, and the workloads it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.oracle import oracle_python

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "benchmarks" / "programs"
#: A program that takes longer hangs: no workload comes near.
PATIENCE = 900.0

#: The client that the others are compared with.
REFERENCE = "pika 1.4.4"

_ON_BROKER = frozenset(("publish", "consume", "consume-ack", "publish-confirmed", "get"))
_ALONE = frozenset(("encode", "decode"))


class MeasurementError(Exception):
    """A program failed, because messages were lost for example; the text has what it printed."""


class Client(NamedTuple):
    """A client library under measurement.

    :param name: how it is called in the table
    :param command: the words of a command line that takes workload, number of messages, octets of a body and
        AMQP URL behind them, and prints one line of JSON
    :param workloads: the names of those it has
    :param path: PYTHONPATH of the program; without, it imports what its interpreter has installed
    """

    name: str
    command: tuple[str, ...]
    workloads: frozenset[str]
    path: Path | None = None


class Sample(NamedTuple):
    """What one run of a program measured.

    :param version: of the library
    :param python: implementation and version; empty where the client is not in Python
    :param cpu_us: user and system time of the process in microseconds for each message
    :param user_us: the user time of it
    :param rate: messages per second
    :param peak_rss_mib: the most memory that was resident, in MiB; None where it cannot be told
    """

    version: str
    python: str
    cpu_us: float
    user_us: float
    rate: float
    peak_rss_mib: float | None


def installed() -> list[Client]:
    """Return the clients that this machine has, in the order of measuring."""
    blocking = str(PROGRAMS / "pika_blocking.py")
    clients = [Client("pika", (sys.executable, blocking), _ON_BROKER | _ALONE, ROOT)]
    reference = oracle_python()
    if reference is not None:
        clients.append(Client(REFERENCE, (str(reference), blocking), _ON_BROKER | _ALONE))
    clients.append(Client("pika.protocol", (sys.executable, str(PROGRAMS / "pika_protocol.py")), _ALONE, ROOT))
    return clients


def run(client: Client, workload: str, messages: int, body_size: int, url: str) -> Sample:
    """Run a client's program once.

    :raises MeasurementError: when it fails, or says what cannot be
    """
    measured = run_program((*client.command, workload, str(messages), str(body_size), url), client.path)
    if measured["messages"] != messages:
        raise MeasurementError(f"{client.name}, {workload}: {measured['messages']} messages, not {messages}")
    cpu = measured["user_seconds"] + measured["system_seconds"]
    peak = measured["peak_rss_kib"]
    return Sample(
        version=measured["version"],
        python=measured["python"],
        cpu_us=cpu * 1e6 / messages,
        user_us=measured["user_seconds"] * 1e6 / messages,
        rate=messages / measured["seconds"],
        peak_rss_mib=None if peak is None else peak / 1024,
    )


def run_program(command: tuple[str, ...], path: Path | None) -> dict[str, Any]:
    """Run a program that prints one line of JSON, and return what it printed.

    :param path: its PYTHONPATH; without, it has none
    :raises MeasurementError: when it fails
    """
    try:
        done = subprocess.run(
            command, env=environment(path), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasurementError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        raise MeasurementError(
            f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}".rstrip()
        )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def environment(path: Path | None) -> dict[str, str]:
    """Return the environment of a program."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return inherited if path is None else {**inherited, "PYTHONPATH": str(path)}
