"""Say where the CPU of this library's clients goes: ``python benchmarks/where.py``."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import broker, clients, pages, tables
from benchmarks.options import add_docs
from benchmarks.workloads import WORKLOADS, Workload
from tests.support.rabbitmq import RabbitMQError

#: Samples a second.
RATE = 500
#: So many samples of the measured part are to be had.
WANTED = 3000
_MOST_RUNS = 40

#: What the rows are made of: a column, and what the files begin with whose functions it has.
_ROOMS = {
    "spec, data, frame": ("pika/spec.py", "pika/data.py", "pika/frame.py", "pika/_shape.py"),
    "protocol": ("pika/protocol/",),
    "transport": ("pika/transport/",),
    "client": ("pika/",),
}
_SYSTEM = "the system"
_REST = "the program, and Python"
_COLUMNS = (_SYSTEM, *_ROOMS, _REST)
# The calls of libc that stand for the operating system.
_SYSTEM_CALLS = frozenset(("send", "recv", "sendmsg", "connect"))
# What waits takes no CPU, and the sampler cannot always tell: calls of libc, and of the interpreter's locks.
_WAITS = frozenset(("poll", "epoll_wait"))
_LOCKS = "PyThread_acquire_lock"
# Where the library's own threads begin, and what asyncio runs beside the program's task.
_BESIDE = ("IOThread._run", "Crew._run", "BaseEventLoop._run_once")

Stack = Sequence[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Sample, print the table, and write it into the documentation if asked to; return the exit status."""
    options = _parser().parse_args(arguments)
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        print("py-spy takes the samples, and is not there: make where installs it", file=sys.stderr)
        return 1
    if options.docs is not None:
        # Before a quarter of an hour is spent for it.
        pages.require(options.docs / pages.PERFORMANCE, "where")
    rows: list[tables.Row] = [("", "client", *_COLUMNS, "most in")]
    measured = clients.own(sys.executable)
    try:
        with broker.running_broker() as running:
            for workload in (each for each in WORKLOADS if each.name in options.workloads):
                for client in measured:
                    if client.name in options.clients and workload.name in client.workloads:
                        stacks = sampled(spy, client, workload, running.url)
                        rows.append((workload.title, client.name, *shares(stacks)))
                        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    except (clients.MeasurementError, broker.LostError, RabbitMQError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print(tables.text(rows))
    if options.docs is not None:
        print(f"wrote {pages.fill(options.docs / pages.PERFORMANCE, {'where': tables.markdown(rows)})}")
    return 0


def sampled(spy: Path, client: clients.Client, workload: Workload, url: str) -> Counter[Stack]:
    """Run a client's program under the sampler, until there are enough samples; return how often each stack was seen.

    :raises benchmarks.clients.MeasurementError: when the program fails
    """
    stacks: Counter[Stack] = Counter()
    for _ in range(_MOST_RUNS):
        if sum(stacks.values()) >= WANTED:
            break
        count, warm_up = workload.messages, workload.warm_up
        with (
            broker.queue_for(workload, count + warm_up, url) as queue,
            tempfile.NamedTemporaryFile("r") as file,
        ):
            arguments = (workload.task, str(count), str(warm_up), str(workload.body_size), url, queue)
            command = (str(spy), "record", "--native", "--format", "raw", "--rate", str(RATE), "--function")
            done = subprocess.run(
                (*command, "--output", file.name, "--", *client.command, *arguments),
                env=clients.environment(client.path),
                capture_output=True,
                text=True,
                timeout=clients.PATIENCE,
                check=False,
            )
            if done.returncode != 0:
                raise clients.MeasurementError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
            for line in file:
                stack, _, seen = line.rpartition(" ")
                frames = stack.split(";")
                if _measured(frames, workload.task):
                    stacks[tuple(frames)] += int(seen)
    return stacks


def _measured(stack: Stack, task: str) -> bool:
    """Whether a sample is of a program's task, in any thread, and not of what it loads for it, or of waiting."""
    function = task.replace("-", "_")
    in_task = any(frame.startswith(function) and "benchmarks/programs" in frame for frame in stack)
    beside = any(frame.startswith(_BESIDE) for frame in stack)
    waits = _function(stack[-1]) in _WAITS or any(frame.startswith(_LOCKS) for frame in stack[-4:])
    return (in_task or beside) and not waits and not any("importlib" in frame for frame in stack)


def shares(stacks: Counter[Stack]) -> list[str]:
    """Return the cells of a row: the share of each column, and the functions that have most of it by themselves."""
    columns: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, seen in stacks.items():
        columns[_column(stack)] += seen
        functions[_own(stack)] += seen
    total = sum(columns.values())
    most = ", ".join(f"{name} {seen / total:.0%}" for name, seen in functions.most_common(5))
    return [*(f"{columns[name] / total:.0%}" for name in _COLUMNS), most]


def _column(stack: Stack) -> str:
    if _function(stack[-1]) in _SYSTEM_CALLS:
        return _SYSTEM
    for frame in reversed(stack):
        for room, beginnings in _ROOMS.items():
            if any(f"({beginning}" in frame for beginning in beginnings):
                return room
    return _REST


def _own(stack: Stack) -> str:
    """The function that a sample is of: one of the system's, or else the innermost one of Python's."""
    if _function(stack[-1]) in _SYSTEM_CALLS:
        return f"{_function(stack[-1])}()"
    in_python = [frame for frame in stack if ".py:" in frame]
    return f"`{_function(in_python[-1])}`" if in_python else _function(stack[-1])


def _function(frame: str) -> str:
    return re.sub(r"^__", "", frame.partition(" (")[0].replace(".<locals>", ""))


def _parser() -> argparse.ArgumentParser:
    workloads = [
        "publish",
        "consume",
        "consume-ack",
        "publish-confirmed",
        "publish-window",
        "get",
        "consume-1m",
        "open",
    ]
    parser = argparse.ArgumentParser(description="Say where the CPU of this library's clients goes.")
    parser.add_argument(
        "--workloads", nargs="+", default=workloads, choices=workloads, metavar="NAME", help=", ".join(workloads)
    )
    parser.add_argument(
        "--clients", nargs="+", default=clients.OWN, choices=clients.OWN, metavar="NAME", help=", ".join(clients.OWN)
    )
    add_docs(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
