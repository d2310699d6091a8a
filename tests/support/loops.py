"""What tests of event loops share: loops that never wake by themselves, a clock, and ways to run them."""

from __future__ import annotations

import select
import socket
import threading

from pika.transport.loop import Loop
from pika.transport.pollers import PollerBase, poller_class
from tests.support.bounded import PATIENCE, Running, bounded

#: The pollers of this system.
NAMES = [name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)]

Pairs = list[tuple[socket.socket, socket.socket]]


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
