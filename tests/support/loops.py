"""What tests of event loops share: loops that never wake by themselves, a clock, alarms, and ways to run them."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Callable

import pytest

from pika.transport.loop import Loop
from pika.transport.pollers import PollerBase, poller_class
from tests.support.bounded import PATIENCE, Running, bounded

#: The pollers of this system.
NAMES = [name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)]

Pairs = list[tuple[socket.socket, socket.socket]]

needs_alarms = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this platform")


class Boom(Exception):
    """What callbacks of these tests raise."""


def boom() -> None:
    """Raise it."""
    raise Boom


def patient(name: str) -> type[PollerBase]:
    """Return a class of pollers that wake by themselves only after whatever waits for them has lost its patience.

    :param name: what the poller waits with, one of NAMES
    """
    base = poller_class(name)
    return type(base.__name__, (base,), {"_MAX_POLL_TIMEOUT": 2 * PATIENCE})


class Clock:
    """A clock that only moves when it is told to, and counts how often it was read."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.read = 0

    def __call__(self) -> float:
        self.read += 1
        return self.now


def turn(loop: Loop) -> None:
    """Run one iteration."""
    loop.add_callback(loop.stop)
    loop.start()


def run_for(loop: Loop, seconds: float) -> None:
    """Run for some time, with a timer that is never due, so that every iteration reads the clock."""
    timer = loop.call_later(1e6, boom)
    loop.add_callback(threading.Timer(seconds, loop.stop).start)
    bounded(loop.start)
    loop.remove_timeout(timer)


def started(loop: Loop) -> Running[None]:
    """Have a thread run a loop, and return when it does."""
    inside = threading.Event()
    loop.add_callback(inside.set)
    running = Running(loop.start)
    assert inside.wait(PATIENCE)
    return running


@contextlib.contextmanager
def alarm(seconds: float, handler: Callable[[], object], loop: Loop | None = None) -> Iterator[None]:
    """Have a signal handler run once in this thread, and put back what was there before.

    :param seconds: after which it runs
    :param handler: what it does
    :param loop: a loop that is about to be started: the time begins when it runs
    """

    def run(_number: int, _frame: FrameType | None) -> None:
        handler()

    def begin() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.signal(signal.SIGALRM, run)
    try:
        if loop is None:
            begin()
        else:
            loop.add_callback(begin)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
