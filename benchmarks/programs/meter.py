"""What the programs of the clients share: what they are told to do, and what a section of them costs their process."""

from __future__ import annotations

import importlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

# Windows has none.
resource: Any = importlib.import_module("resource") if os.name == "posix" else None

#: Deliveries that are on their way unacknowledged, at most.
PREFETCH = 200
#: Publishes that wait for their confirms, at most.
IN_FLIGHT = 1000


class Task(NamedTuple):
    """What a program is to do: its arguments.

    :param name: the workload's task
    :param messages: how many to measure
    :param warm_up: how many before them, so that every cache is warm and every buffer has its size
    :param body_size: octets of each message's body
    :param url: the broker
    :param queue: a queue of its own there; it holds `total` messages where the task is to take some
    """

    name: str
    messages: int
    warm_up: int
    body_size: int
    url: str
    queue: str

    @classmethod
    def of(cls, arguments: list[str]) -> Task:
        """Return the task that a command line describes."""
        name, messages, warm_up, body_size, url, queue = arguments
        return cls(name, int(messages), int(warm_up), int(body_size), url, queue)

    @property
    def total(self) -> int:
        """The messages in all."""
        return self.warm_up + self.messages

    @property
    def body(self) -> bytes:
        """The body of each message."""
        return body_of(self.body_size)

    def refuse(self, number: int, delivery_tag: object, body: bytes | None) -> NoReturn:
        """Raise: what came is not what was due."""
        octets = "no body" if body is None else f"{len(body)} octets of body"
        raise SystemExit(f"delivery {number} of {self.queue} is another: it has tag {delivery_tag} and {octets}")

    def require(self, received: int, last: bytes | None) -> None:
        """Raise unless all messages came, and the last one has the body that was sent.

        While it measures, a program compares number and size only.
        """
        if received != self.total:
            raise SystemExit(f"messages were lost: {received} of {self.total} arrived")
        if last != self.body:
            self.refuse(received, received, last)


def body_of(size: int) -> bytes:
    """Return a body of so many octets."""
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


class Address(NamedTuple):
    """The parts of an AMQP URL, for clients that take no URL."""

    host: str
    port: int
    user: str
    password: str
    vhost: str

    @classmethod
    def of(cls, url: str) -> Address:
        parts = urlsplit(url)
        return cls(
            parts.hostname or "localhost",
            parts.port or 5672,
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
            unquote(parts.path[1:]) or "/",
        )


def cpu_seconds(of_children: bool = False) -> tuple[float, float]:
    """Return the user and the system time so far of this process, or of those that it has started and awaited."""
    if resource is None:
        times = os.times()
        return (times.children_user, times.children_system) if of_children else (times.user, times.system)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def rss_kib() -> int | None:
    """Return what this process has resident, in KiB; where only the peak is known, that."""
    current = _status("VmRSS")
    return peak_rss_kib() if current is None else current


def peak_rss_kib() -> int | None:
    """Return the most that this process has had resident, in KiB; None where it cannot be told."""
    # Not ru_maxrss: on Linux a process inherits that of the one which started it.
    peak = _status("VmHWM")
    if peak is not None or resource is None:
        return peak
    most: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Octets there, KiB elsewhere.
    return most // 1024 if platform.system() == "Darwin" else most


def _status(name: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next((int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name)), None)


def forget_peak() -> None:
    """Let the peak of memory begin anew, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


class Meter:
    """Measures one section: call `start`, then `stop`; `measured` has what it cost."""

    def __init__(self) -> None:
        self.measured: dict[str, Any] = {}
        self._cpu = (0.0, 0.0)
        self._time = 0.0
        self._rss: int | None = None

    def start(self) -> None:
        """Begin the section."""
        forget_peak()
        self._rss = rss_kib()
        self._cpu = cpu_seconds()
        self._time = time.perf_counter()

    def stop(self) -> None:
        """End the section."""
        seconds = time.perf_counter() - self._time
        user, system = cpu_seconds()
        peak = peak_rss_kib()
        self.measured = {
            "seconds": seconds,
            "user_seconds": user - self._cpu[0],
            "system_seconds": system - self._cpu[1],
            "peak_rss_kib": peak,
            "grown_kib": None if peak is None or self._rss is None else peak - self._rss,
        }


def run(tasks: Mapping[str, Callable[[Task, Meter], object]], version: str, arguments: list[str]) -> None:
    """Do what the arguments say, and print what it cost: one line of JSON.

    :param tasks: what the program knows to do, by the task's name
    :param version: the client library's
    :param arguments: those that describe the task
    """
    task, meter = Task.of(arguments), Meter()
    tasks[task.name](task, meter)
    report({"version": version, "python": python_version(), "messages": task.messages, **meter.measured})


def python_version() -> str:
    """Return implementation and version of this Python."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def report(measured: dict[str, Any]) -> None:
    """Hand the result to whoever runs this program: one line of JSON."""
    print(json.dumps(measured), flush=True)
