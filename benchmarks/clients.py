"""The clients that are measured: for each a program, what runs it, and the workloads it has."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.workloads import Workload
from tests.support.oracle import environment as environment_with

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "benchmarks" / "programs"
#: A program that takes longer hangs: no workload comes near.
PATIENCE = 900.0

#: The clients that the others are compared with.
REFERENCE = "pika 1.4.4 Blocking"
C = "rabbitmq-c"
#: What is beneath all of those in Python.
BARE = "bare socket"
#: Those of this library.
THREADS = "pika.Connection"
AIO = "pika.aio"
OWN = ("BlockingConnection", THREADS, "SelectConnection", "AsyncioConnection", AIO)

_SMALL = frozenset(("publish", "consume", "consume-ack", "publish-confirmed", "get"))
_LARGE = frozenset(("publish-1m", "consume-1m", "publish-64m", "get-64m"))
_WINDOW = frozenset(("publish-window",))
_OPEN = frozenset(("open",))
_IMPORT = frozenset(("import",))
_ALONE = frozenset(("encode", "decode"))

_ONE_BY_ONE = _SMALL | _LARGE | _OPEN
_LOOP = _SMALL | _LARGE | _WINDOW
_ALL = _ONE_BY_ONE | _WINDOW
# Each of its round trips takes 40 ms, in which it does nothing.
_SLOW_ROUND_TRIPS = {"publish-confirmed": 50, "get": 50, "open": 20}
# A compiler that learns as it runs is to have learned.
_JIT_WARM_UP = 10_000


class MeasurementError(Exception):
    """A program failed, because messages were lost for example; the text has what it printed."""


class Client(NamedTuple):
    """A client library under measurement.

    :param name: how it is called in the tables
    :param command: the words of a command line that takes the arguments that ``programs/meter.py`` tells, and prints
        one line of JSON
    :param workloads: the names of those it has
    :param path: PYTHONPATH of the program; without, it imports what its interpreter has installed
    :param most: most messages of some workloads, which take it long
    :param warm_up: least warm-up of workloads with small bodies
    """

    name: str
    command: tuple[str, ...]
    workloads: frozenset[str]
    path: Path | None = None
    most: Mapping[str, int] = {}
    warm_up: int = 0


class Sample(NamedTuple):
    """What one run of a program measured.

    :param version: of the library
    :param python: implementation and version; empty where the client is not in Python
    :param cpu_us: user and system time of the process in microseconds for each message
    :param user_us: the user time of it
    :param rate: messages per second
    :param peak_rss_mib: the most memory that was resident, in MiB; None where it cannot be told
    :param grown_mib: by how much that is more than what was resident before the first measured message
    """

    version: str
    python: str
    cpu_us: float
    user_us: float
    rate: float
    peak_rss_mib: float | None
    grown_mib: float | None


def own(python: str, suffix: str = "", warm_up: int = 0) -> list[Client]:
    """Return this library's clients on an interpreter.

    :param suffix: what their names end in
    :param warm_up: least warm-up of workloads with small bodies
    """
    loop = str(PROGRAMS / "pika_loop.py")
    blocking = (python, str(PROGRAMS / "pika_blocking.py"))
    threads = (python, str(PROGRAMS / "pika_threads.py"))
    return [
        Client(f"BlockingConnection{suffix}", blocking, _ONE_BY_ONE | _ALONE, ROOT, {}, warm_up),
        Client(f"{THREADS}{suffix}", threads, _ALL, ROOT, {}, warm_up),
        Client(f"SelectConnection{suffix}", (python, loop, "select"), _LOOP, ROOT, {}, warm_up),
        Client(f"AsyncioConnection{suffix}", (python, loop, "asyncio"), _LOOP, ROOT, {}, warm_up),
        Client(f"{AIO}{suffix}", (python, str(PROGRAMS / "pika_aio.py")), _ALL, ROOT, {}, warm_up),
    ]


def importing(name: str, python: str, module: str, path: Path | None = None) -> Client:
    """Return what measures how long a client takes to import, under the client's name."""
    return Client(name, (python, str(PROGRAMS / "import_module.py"), module), _IMPORT, path)


def installed(
    names: Sequence[str] = (), pythons: Sequence[str] = (), folder: Path | None = None
) -> tuple[list[Client], list[str]]:
    """Return the clients that this machine has, in the order of measuring, and a line for each that it has not.

    :param names: what the names of the clients begin with, regardless of case; all without. Of others no environment
        is made.
    :param pythons: more interpreters to measure this library on
    :param folder: where to compile what is not in Python; without, that is left out
    """
    clients, missing = own(sys.executable), []
    clients.append(importing(clients[0].name, sys.executable, "pika", ROOT))
    clients.append(Client("pika.protocol", (sys.executable, str(PROGRAMS / "pika_protocol.py")), _ALONE, ROOT))
    clients.append(Client(BARE, (sys.executable, str(PROGRAMS / "bare_socket.py")), _LOOP, ROOT))
    wanted = [name.lower() for name in names]
    for library, find in _others(folder):
        if wanted and not any(name.startswith(library) or library.startswith(name) for name in wanted):
            continue
        found = find()
        if isinstance(found, str):
            missing.append(found)
        else:
            clients += found
    for python in pythons:
        version = _version_of(python)
        if version is None:
            missing.append(f"{python} does not run: this library is not measured on it")
        else:
            clients += own(python, f", {version}", _JIT_WARM_UP if version.startswith("PyPy") else 0)
    return [one for one in clients if not wanted or one.name.lower().startswith(tuple(wanted))], missing


def _others(folder: Path | None) -> Iterator[tuple[str, Callable[[], list[Client] | str]]]:
    """Iterate over what the names of the clients of each other library begin with, and what finds them."""
    yield "pika 1.4.4", _pika
    yield "py-amqp", _py_amqp
    yield "amqpstorm", _amqpstorm
    yield "aio", _aio
    yield C, lambda: _c(folder)


def other_pythons() -> list[str]:
    """Return the interpreters that this library is measured on unless said otherwise, besides the one that runs."""
    found = shutil.which("pypy3")
    return [] if found is None or platform.python_implementation() == "PyPy" else [found]


def _pika() -> list[Client] | str:
    python = environment_with("oracle", "pika==1.4.4")
    if python is None:
        return _unmade("pika 1.4.4", "ORACLE")
    loop = str(PROGRAMS / "pika_loop.py")
    return [
        Client(REFERENCE, (str(python), str(PROGRAMS / "pika_blocking.py")), _ONE_BY_ONE | _ALONE),
        Client("pika 1.4.4 Select", (str(python), loop, "select"), _LOOP),
        Client("pika 1.4.4 Asyncio", (str(python), loop, "asyncio"), _LOOP),
        importing(REFERENCE, str(python), "pika"),
    ]


def _py_amqp() -> list[Client] | str:
    python = environment_with("amqp", "amqp==5.4.2")
    if python is None:
        return _unmade("py-amqp", "AMQP")
    return [
        Client("py-amqp", (str(python), str(PROGRAMS / "py_amqp.py")), _ONE_BY_ONE),
        importing("py-amqp", str(python), "amqp"),
    ]


def _amqpstorm() -> list[Client] | str:
    python = environment_with("amqpstorm", "amqpstorm==3.1.4")
    if python is None:
        return _unmade("amqpstorm", "AMQPSTORM")
    program = str(PROGRAMS / "amqpstorm_client.py")
    return [
        Client("amqpstorm", (str(python), program), _ONE_BY_ONE, most=_SLOW_ROUND_TRIPS),
        importing("amqpstorm", str(python), "amqpstorm"),
    ]


def _aio() -> list[Client] | str:
    python = environment_with("aio-pika", "aio-pika==10.2.1")
    if python is None:
        return _unmade("aio-pika, and aiormq with it,", "AIO_PIKA")
    program = str(PROGRAMS / "aio.py")
    return [
        Client("aiormq", (str(python), program, "aiormq"), _ALL),
        importing("aiormq", str(python), "aiormq"),
        Client("aio-pika", (str(python), program, "aio-pika"), _ALL),
        importing("aio-pika", str(python), "aio_pika"),
    ]


def _unmade(name: str, variable: str) -> str:
    return f"{name} is not measured: pip could not install it, and PIKA_{variable}_PYTHON names no interpreter with it"


def _c(folder: Path | None) -> list[Client] | str:
    if folder is None:
        return f"{C} is not measured"
    program = folder / "rabbitmq_c"
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-o", str(program), str(PROGRAMS / "rabbitmq_c.c"), "-lrabbitmq"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except OSError as error:
        return f"{C} is not measured: no C compiler ({error})"
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        return f"{C} is not measured: {reason} (on Debian: apt-get install gcc libc6-dev librabbitmq-dev)"
    return [Client(C, (str(program),), _ALL)]


def _version_of(python: str) -> str | None:
    code = "import platform; print(platform.python_implementation(), platform.python_version())"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def measured_messages(client: Client, workload: Workload, messages: int | None) -> tuple[int, int]:
    """Return how many messages a client is measured with, and how many come before.

    :param messages: how many there are to be, instead of the workload's own number
    """
    if messages is not None:
        return min(messages, workload.messages), min(workload.warm_up, messages)
    count = min(workload.messages, client.most.get(workload.name, workload.messages))
    warm_up = min(workload.warm_up, count)
    return count, max(warm_up, client.warm_up) if 0 < workload.body_size <= 1024 else warm_up


def run(client: Client, workload: Workload, messages: int, warm_up: int, url: str, queue: str) -> Sample:
    """Run a client's program once.

    :raises MeasurementError: when it fails, or says what cannot be
    """
    arguments = (workload.task, str(messages), str(warm_up), str(workload.body_size), url, queue)
    measured = run_program((*client.command, *arguments), client.path)
    if measured["messages"] != messages:
        raise MeasurementError(f"{client.name}, {workload.name}: {measured['messages']} messages, not {messages}")
    cpu = measured["user_seconds"] + measured["system_seconds"]
    peak, grown = measured["peak_rss_kib"], measured["grown_kib"]
    return Sample(
        version=measured["version"],
        python=measured["python"],
        cpu_us=cpu * 1e6 / messages,
        user_us=measured["user_seconds"] * 1e6 / messages,
        rate=messages / measured["seconds"],
        peak_rss_mib=None if peak is None else peak / 1024,
        grown_mib=None if grown is None else grown / 1024,
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
