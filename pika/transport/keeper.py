"""The keeper: one daemon thread that sends heartbeats for connections whose own thread is busy in user code."""

from __future__ import annotations

import logging
import threading
import time
import weakref

from pika import frame, protocol
from pika.transport import forks
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


class Keeper:
    """Looks after the duties it is given, as long as somebody else holds on to them."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._duties: weakref.WeakSet[Duty] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, duty: Duty) -> None:
        """Look after a duty until its connection is over. Any thread may call it.

        Where no thread can be started nobody does, and the connection's own thread goes on sending heartbeats
        whenever it gets to it.
        """
        with self._lock:
            self._duties.add(duty)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="pika-heartbeats", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # a limit of the system, or the interpreter is on its way out
                    LOGGER.warning(
                        "No thread for heartbeats: they are sent only while connections are served: %s", error
                    )
                    return
                self._thread = thread
        self._changed.set()

    def _on_fork(self, parent: int) -> None:
        """Begin anew in a child: the thread stayed in the parent, and its locks may be held for ever."""
        self._begin()
        forks.watch(self)

    def _run(self) -> None:
        while True:
            wait = self._attend_all()
            self._changed.wait(wait)
            self._changed.clear()

    def _attend_all(self) -> float | None:
        """Look at every duty; returns after how many seconds to do so again, None when there is nothing to do."""
        now = time.monotonic()
        next_look: float | None = None
        with self._lock:
            duties = list(self._duties)
        for duty in duties:
            look = duty.attend(now)
            if look is None:
                with self._lock:
                    self._duties.discard(duty)
            elif next_look is None or look < next_look:
                next_look = look
        return None if next_look is None else max(next_look - now, _SHORTEST_SLEEP)


# Made when it is needed: only then it is known whether gevent has put its own threads in place.
_keeper: Keeper | None = None
_making = threading.Lock()


def keep(duty: Duty) -> None:
    """Have the one keeper of the process look after a duty; see :meth:`Keeper.keep`."""
    global _keeper
    with _making:
        if _keeper is None:
            _keeper = Keeper()
            forks.watch(_keeper)
    _keeper.keep(duty)
