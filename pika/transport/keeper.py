"""The keeper: one daemon thread that sends heartbeats for connections whose own thread is busy in user code."""

from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections import deque

from pika import frame, protocol
from pika.transport import forks, native
from pika.transport.stream import Stream

LOGGER = logging.getLogger(__name__)

# A connection's own thread is late when a heartbeat is due for this part of the interval. Below that it is left alone:
# it sends its heartbeats itself.
_GRACE = 1 / 8
# The shortest sleep, in seconds: many connections are looked after in one go.
_SHORTEST_SLEEP = 0.02


class Duty:
    """The heartbeats of one open connection. It never judges whether the broker is alive, and touches no state.

    :param connection: the rules, which say when a heartbeat is due
    :param stream: where it goes
    """

    def __init__(self, connection: protocol.Connection, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._beaten_at = 0.0

    def attend(self, now: float) -> float | None:
        """Send a heartbeat if one is overdue.

        :param now: the time, on ``time.monotonic()``
        :returns: when to look again; None when the connection is over
        """
        due = self._connection.next_deadline()
        interval = self._connection.heartbeat_interval
        if due is None or self._stream.closed:
            return None
        overdue = max(due + interval * _GRACE, self._beaten_at + interval / 2)
        if now < overdue:
            return overdue
        if not self._stream.beat(frame.HEARTBEAT_FRAME):
            # Somebody writes, which is as good, or the broker takes nothing, and then it does not judge us either.
            return now + interval * _GRACE
        self._beaten_at = now
        return now + interval / 2


class _Bell:
    """Wakes a thread of the system's; whoever rings never waits."""

    def __init__(self) -> None:
        # Taken, but for the time between a ring and the end of the wait for it.
        self._lock = native.lock()
        self._lock.acquire()

    def ring(self) -> None:
        """End the wait under way, or else the next one."""
        with contextlib.suppress(RuntimeError):  # it was rung already
            self._lock.release()

    def wait(self, seconds: float | None) -> None:
        """Wait for a ring, at most so many seconds if there is a limit."""
        self._lock.acquire(True, -1 if seconds is None else seconds)


class Keeper:
    """Looks after the duties it is given, as long as somebody else holds on to them.

    Nobody ever waits for it: a signal handler may raise in any call, and must leave no lock behind.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        # Duties that were given, and which the thread has not taken over yet.
        self._given: deque[weakref.ref[Duty]] = deque()
        self._duties: list[weakref.ref[Duty]] = []
        self._bell = _Bell()
        # Held for good by whoever starts the thread.
        self._started = native.lock()

    def keep(self, duty: Duty) -> None:
        """Look after a duty until its connection is over. Any thread may call it.

        Where no thread can be started nobody does, and the connection's own thread goes on sending heartbeats
        whenever it gets to it.
        """
        self._given.append(weakref.ref(duty))
        if self._started.acquire(blocking=False):
            try:
                native.start_daemon(self._run, "pika-heartbeats")
            except RuntimeError as error:  # a limit of the system, or the interpreter is on its way out
                self._started.release()
                self._given.clear()
                LOGGER.warning("No thread for heartbeats, only calls of a connection send them: %s", error)
        self._bell.ring()

    def _on_fork(self, parent: int) -> None:
        """Begin anew in a child: the thread stayed in the parent, and its locks may be held for ever."""
        self._begin()
        forks.watch(self)

    def _run(self) -> None:
        while True:
            self._bell.wait(self._attend_all())

    def _attend_all(self) -> float | None:
        """Look at every duty; returns after how many seconds to do so again, None when there is nothing to do."""
        while self._given:
            self._duties.append(self._given.popleft())
        now = time.monotonic()
        next_look: float | None = None
        lasting: list[weakref.ref[Duty]] = []
        for reference in self._duties:
            duty = reference()
            look = None if duty is None else _attended(duty, now)
            if look is not None:
                lasting.append(reference)
                next_look = look if next_look is None else min(look, next_look)
        self._duties = lasting
        return None if next_look is None else max(next_look - now, _SHORTEST_SLEEP)


def _attended(duty: Duty, now: float) -> float | None:
    try:
        return duty.attend(now)
    except Exception:
        # One connection in a state that nobody thought of must not cost the others their heartbeats.
        LOGGER.exception("No more heartbeats in the background for one connection")
        return None


# Made when it is needed.
_keeper: Keeper | None = None


def keep(duty: Duty) -> None:
    """Have the one keeper of the process look after a duty; see :meth:`Keeper.keep`."""
    global _keeper
    keeper = _keeper
    if keeper is None:
        # Two threads that come at the same moment make two, which serve as well as one.
        keeper = _keeper = Keeper()
        forks.watch(keeper)
    keeper.keep(duty)
