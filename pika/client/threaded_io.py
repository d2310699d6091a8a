"""The thread that owns a connection's socket: it waits, reads, sees to what is due. Nothing of a user's runs in it."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from typing import TYPE_CHECKING

from pika import exceptions
from pika.client.inbox import Inbox, stalled
from pika.client.reports import tell_of_stall
from pika.transport.stream import READ_LIMIT, Ready
from pika.transport.timers import Timer, Timers

if TYPE_CHECKING:
    from pika.client.threaded_link import Link

LOGGER = logging.getLogger(__name__)

# While acknowledgements are held back, they are sent after so many seconds at the latest.
_ACK_DELAY = 0.001
# So long nothing is read after something was that nobody waits for, such as confirms: each time that this thread gets
# going, it takes the interpreter away from one that publishes, and gives it back.
_REST = 0.001
# When a broker has blocked the connection for too long, what waits to be read is read before it is given up: in so many
# reads, and looked for again after so many seconds.
_READS_TO_JUDGE = 64
_LOOK_AGAIN = 0.05
#: After so many seconds in which nothing is read since nobody works off what waits, a warning tells why.
PAUSE_TO_TELL_OF = 5.0
# What one read takes at most, as long as less arrives: large buffers that are mostly empty scatter the memory that the
# program's threads allocate meanwhile.
_LEAST_READ = 16 * 1024


class IOThread:
    """Waits for a connection's socket, and takes the events of what arrives.

    It reads without the connection's lock, and does all the rest under it. The methods are for others: they are called
    under the lock.

    :param link: the connection
    :param blocked_timeout: seconds after which a connection that the broker has blocked is given up; None for never
    """

    def __init__(self, link: Link, blocked_timeout: float | None) -> None:
        self.thread = threading.Thread(target=self._run, name=f"pika-io-{link.peer}", daemon=True)
        #: Whether nothing is read, because inboxes are full and nobody waits for anything.
        self.paused = False
        #: Whether nothing is read for a moment: who waits for something now is to wake the stream.
        self.resting = False
        self._link = link
        self._stream = link.stream
        self._rules = link.rules
        self._timers = Timers()
        self._blocked_timeout = blocked_timeout
        self._blocked_timer: Timer | None = None
        self._pause_timer: Timer | None = None
        self._abandoned: BaseException | None = None
        self._read_limit = _LEAST_READ
        # How long the next wait may take, and when something is due.
        self._until: float | None = None
        self._due: float | None = None

    def start(self) -> None:
        """Begin to read: the handshake is over."""
        link = self._link
        with link.lock:
            link.take_events()
            link.flush()
            self._plan(time.monotonic())
        self.thread.start()

    def on_alarm(self, blocked: bool) -> None:
        """Take note that the broker has stopped reading what is published, or goes on."""
        if self._blocked_timer is not None:
            self._timers.cancel(self._blocked_timer)
            self._blocked_timer = None
        if blocked and self._blocked_timeout is not None:
            when = time.monotonic() + self._blocked_timeout
            self._blocked_timer = self._timers.call_at(when, self._on_blocked_too_long)

    def _on_blocked_too_long(self, reads: int = _READS_TO_JUDGE) -> None:
        # The end of the alarm may be among what has arrived, which full inboxes have kept from being read.
        timer, left = self._blocked_timer, reads
        self._link.take_events()
        while left and self._blocked_timer is timer:
            data, error = self._read()
            if error is not None:
                self._rules.stream_lost(error)
                return
            if not data:
                break
            left -= 1
            self._rules.receive_data(data, time.monotonic())
            self._link.take_events()
        if self._blocked_timer is not timer:
            return
        if 0 < left < reads:
            # The broker may have been waiting for room.
            judge = functools.partial(self._on_blocked_too_long, left)
            self._blocked_timer = self._timers.call_at(time.monotonic() + _LOOK_AGAIN, judge)
        else:
            self._rules.give_up_blocked(self._blocked_timeout)

    def drop_after(self, timeout: float, reply_code: int, reply_text: str) -> None:
        """Drop the connection, which is closing, if the broker has not answered in time.

        :param timeout: seconds
        :param reply_code: what the program has closed it with
        :param reply_text: see above
        """
        drop = functools.partial(self._drop, reply_code, reply_text)
        self._timers.call_at(time.monotonic() + timeout, drop)
        self._stream.wake()

    def _drop(self, reply_code: int, reply_text: str) -> None:
        self._abandoned = self._link.dropped(reply_code, reply_text)

    def _watch_pause(self) -> None:
        if self._pause_timer is not None:
            self._timers.cancel(self._pause_timer)
            self._pause_timer = None
        if self.paused:
            sizes = {inbox: len(inbox.items) for inbox in list(self._link.full)}
            when = time.monotonic() + PAUSE_TO_TELL_OF
            self._pause_timer = self._timers.call_at(when, functools.partial(self._on_long_pause, sizes))

    def _on_long_pause(self, sizes: dict[Inbox, int]) -> None:
        for inbox in list(self._link.full):
            # Its reader may take the last one at this moment.
            with contextlib.suppress(IndexError):
                if len(inbox.items) == sizes.get(inbox):
                    tell_of_stall(LOGGER, stalled(inbox, PAUSE_TO_TELL_OF, self._link.peer))
                    return
        self._watch_pause()

    # The thread

    def _run(self) -> None:
        link = self._link
        try:
            while not link.over:
                self._turn()
        except BaseException as error:
            LOGGER.exception("The thread of the connection to %s has ended", link.peer)
            with link.lock:
                self._rules.abandon(error)
                link.end(error)
        finally:
            with link.lock:
                self._stream.close()
                link.on_over()

    def _turn(self) -> None:
        link, stream = self._link, self._stream
        ready = stream.wait(self._until, not (self.paused or self.resting))
        self.resting = False
        now = time.monotonic()
        due = self._due is not None and now >= self._due
        data, error = b"", None
        if ready & Ready.READ or (due and not self.paused):
            data, error = self._read()
        with link.lock:
            if ready & Ready.WRITE:
                stream.flush()
            if data:
                self._rules.receive_data(data, now)
            if error is not None:
                self._rules.stream_lost(error)
            if due:
                self._tick(now)
            unattended = link.is_unattended
            delivered = link.take_events()
            if self._abandoned is not None:
                self._rules.abandon(self._abandoned)
                link.end(self._abandoned)
            paused = link.after_events(delivered)
            if paused is not self.paused:
                self.paused = paused
                self._watch_pause()
            self.resting = bool(data) and unattended and link.is_unattended
            self._plan(now)

    def _read(self) -> tuple[bytes, BaseException | None]:
        limit = self._read_limit
        try:
            if self._stream.tls is None:
                data = self._stream.read(limit) or b""
            else:
                # TLS reads and writes by the same state.
                with self._link.lock:
                    data = self._stream.read(limit) or b""
        except exceptions.StreamLostError as error:
            return b"", error
        if len(data) >= limit:
            self._read_limit = min(2 * limit, READ_LIMIT)
        elif 4 * len(data) < limit:
            self._read_limit = max(limit // 2, _LEAST_READ)
        return data, None

    def _tick(self, now: float) -> None:
        # What has been read counts. While reading is paused, bytes that wait to be read show that the broker lives.
        if self.paused and self._stream.wait(0) & Ready.READ:
            self._rules.receive_data(b"", now)
        self._rules.tick(now)
        self._timers.run_due(now)

    def _plan(self, now: float) -> None:
        """Say how long the next wait may take, and when something is due."""
        due, timer = self._rules.next_deadline(), self._timers.next_deadline()
        if due is None or (timer is not None and timer < due):
            due = timer
        self._due = due
        self._until = None if due is None else max(due - now, 0)
        if self._link.attending:
            self._until = _ACK_DELAY if self._until is None else min(self._until, _ACK_DELAY)
        if self.resting:
            self._until = _REST if self._until is None else min(self._until, _REST)
