"""A connection on asyncio's event loop: how it is opened, what arrives, when it is read, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, TypeVar

from pika import exceptions, protocol
from pika.amqp_object import Method
from pika.client.aio_stream import UNCAUGHT, Stream
from pika.client.aio_tasks import CallbackTask, Gate, shut_gate
from pika.client.aio_waiting import Waiting, open_all
from pika.client.inbox import Inbox, stalled
from pika.client.reports import tell_of_stall
from pika.client.session import ChannelBook
from pika.protocol.heartbeat import told_late
from pika.transport import forks
from pika.transport.stream import LINGER

LOGGER = logging.getLogger(__name__)

M = TypeVar("M", bound=Method)

#: After so many seconds in which nothing is read since nobody works off what waits, a warning tells why.
PAUSE_TO_TELL_OF = 5.0
# When a broker has been blocked for too long, what waits to be read is looked at so many times, so many seconds apart.
_LOOKS = 64
_BETWEEN_LOOKS = 0.01


class Link(Waiting):
    """A connection whose calls are coroutines on one event loop.

    What has arrived is dealt with at once: replies and deliveries wake who waits for them, and nothing of a user's runs
    in between.

    :param rules: the connection of the protocol, before its handshake
    :param stream: the stream, connected
    :param blocked_timeout: seconds after which a connection that the broker has blocked is given up; None for never
    """

    callbacks: CallbackTask

    def __init__(self, rules: protocol.Connection, stream: Stream, blocked_timeout: float | None) -> None:
        super().__init__(rules, stream)
        #: Tasks that run handlers, and the one that runs callbacks, while they do.
        self.handling: set[asyncio.Task[None]] = set()
        self.calling_back: set[asyncio.Task[None]] = set()
        self.callbacks = CallbackTask(self.loop, self.calling_back, f"pika-callbacks-{self.peer}")
        #: Tasks that drain the connection, and how often: their own handlers are not waited for.
        self.draining: dict[asyncio.Task[Any] | None, int] = {}
        self._pause_timer: asyncio.TimerHandle | None = None
        self._finished = False
        self._blocked_timeout = blocked_timeout
        self._blocked_timer: asyncio.TimerHandle | None = None
        # Whether all is read that waits, since the end of an alarm may be among it.
        self._judging = False
        self._tick_timer: asyncio.TimerHandle | None = None
        # What the last heartbeat has to say of the loop, if it came too late.
        self._late: str | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        # Who waits for the handshake.
        self._for_open: list[Gate] = []
        forks.watch(self)

    async def shake_hands(self, deadline: float | None) -> bool:
        """Carry out the AMQP handshake.

        :param deadline: on the loop's clock; None for no limit
        :returns: whether it was over in time
        :raises BaseException: the reason, when it has failed
        """
        self.rules.start(time.monotonic())
        self.flush()
        self.stream.start(self)
        gate: Gate = self.loop.create_future()
        self._for_open.append(gate)
        self._on_handshake()
        timer = None if deadline is None else self.loop.call_at(deadline, shut_gate, gate)
        try:
            opened = await gate
        finally:
            if timer is not None:
                timer.cancel()
        if self.error is not None:
            raise self.error
        return opened

    def _on_handshake(self) -> None:
        if self.error is None and self._tick_timer is None:
            # From tune-ok on: the broker may take long to open the virtual host.
            self._plan()
        if self.error is not None or self.rules.state is protocol.ConnectionState.OPEN:
            open_all(self._for_open)

    def give_up(self, error: BaseException) -> None:
        """End the connection without a word to the broker.

        :param error: the reason
        """
        self.rules.abandon(error)
        self.end(error)
        self._finish()
        self.stream.abort()

    # For whoever calls

    def begin_close(self, reply_code: int, reply_text: str, timeout: float) -> None:
        """Close the connection; nothing more is handed out. If the broker does not answer in time, drop it.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :param timeout: seconds
        """
        if self.error is not None:
            return
        for book in self.channels.values():
            self.silence(book)
        if self.rules.state is protocol.ConnectionState.OPEN:
            self.rules.close(reply_code, reply_text)
            self.flush_soon()
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = self.loop.call_later(timeout, self._drop, reply_code, reply_text)

    def silence(self, book: ChannelBook) -> None:
        """Hand out nothing more to handlers of a channel, which is about to be closed.

        :param book: what is kept of the channel
        """
        for consumer in book.every_consumer():
            consumer.stopped = True
            if consumer.handler is not None:
                consumer.inbox.items.clear()
                self.relieve(consumer.inbox)

    def _drop(self, reply_code: int, reply_text: str) -> None:
        self.give_up(self.dropped(reply_code, reply_text))

    def on_rest(self) -> None:
        """Take note that somebody has worked off all that there was for him."""
        open_all(self._for_rest)

    def relieve(self, inbox: Inbox) -> None:
        if inbox in self.full and (inbox.over or not inbox.holds(0.5)):
            del self.full[inbox]
            self._choose_to_read()

    # What a session asks for

    def on_alarm(self, blocked: bool) -> None:
        if self._blocked_timer is not None:
            self._blocked_timer.cancel()
            self._blocked_timer = None
        self._judge(False)
        if blocked and self._blocked_timeout is not None:
            self._blocked_timer = self.loop.call_later(self._blocked_timeout, self._on_blocked_too_long, _LOOKS)

    def _on_blocked_too_long(self, looks: int) -> None:
        if looks and self.stream.has_input():
            self._judge(True)
            self._blocked_timer = self.loop.call_later(_BETWEEN_LOOKS, self._on_blocked_too_long, looks - 1)
            return
        self.rules.give_up_blocked(self._blocked_timeout)
        self._act()

    def _judge(self, judging: bool) -> None:
        if judging is not self._judging:
            self._judging = judging
            self._choose_to_read()

    # What a stream tells

    def receive(self, data: bytes) -> None:
        self.rules.receive_data(data, time.monotonic())
        self._act()

    def on_room(self) -> None:
        self.flush()
        if not self.stream.congested:
            open_all(self._for_room)

    def on_lost(self, error: exceptions.StreamLostError) -> None:
        if self._late is not None:
            # What the broker has ended when it heard nothing.
            error.context = f"{error.context}; {self._late}"
        try:
            self.rules.stream_lost(error)
            self._act()
        except UNCAUGHT as interruption:
            self.cut_short(interruption)
            raise
        finally:
            self.over = True
            if self._end_timer is not None:
                self._end_timer.cancel()
            open_all(self._for_end)

    def cut_short(self, error: BaseException) -> None:
        lost = exceptions.StreamLostError(f"The connection was given up: its work was cut short by {error!r}")
        lost.__cause__ = error
        self.give_up(lost)
        # Whose answer was taken, and not handed on.
        for gate in self._usual:
            if not gate.done():
                gate.set_exception(lost)

    def _act(self) -> None:
        self.take_events()
        if self.full:
            self._choose_to_read()
        if self._for_open:
            self._on_handshake()
        if self.error is not None:
            self._finish()
        elif self.output and not self.flushing:
            self.flush()

    def _choose_to_read(self) -> None:
        pause = bool(self.full) and not self._awaiting and not self._judging
        if pause is not self._paused:
            self._paused = pause
            if pause:
                self.stream.pause_reading()
                self._watch_pause()
            else:
                self.stream.resume_reading()
                if self._pause_timer is not None:
                    self._pause_timer.cancel()

    def _watch_pause(self) -> None:
        sizes = {inbox: len(inbox.items) for inbox in self.full}
        self._pause_timer = self.loop.call_later(PAUSE_TO_TELL_OF, self._on_long_pause, sizes)

    def _on_long_pause(self, sizes: dict[Inbox, int]) -> None:
        still = [inbox for inbox in self.full if inbox.items and len(inbox.items) == sizes.get(inbox)]
        if still:
            tell_of_stall(LOGGER, stalled(still[0], PAUSE_TO_TELL_OF, self.peer))
        elif self.error is None:
            self._watch_pause()

    def _finish(self) -> None:
        """The connection is closed: send what is left, and hang up."""
        if self._finished:
            return
        self._finished = True
        self._cancel_timers()
        if self.output:
            self.stream.write(self.rules.data_to_send())
        self.stream.close()
        if not self.stream.lost:
            self._end_timer = self.loop.call_later(LINGER, self.stream.abort)
        open_all(self._for_room)
        open_all(self._for_rest)

    # Time

    def _cancel_timers(self) -> None:
        for timer in (self._tick_timer, self._blocked_timer, self._end_timer, self._usual_timer, self._pause_timer):
            if timer is not None:
                timer.cancel()

    def _plan(self) -> None:
        due = self.rules.next_deadline()
        if due is not None:
            # Its own clock may be another one.
            self._tick_timer = self.loop.call_later(max(due - time.monotonic(), 0), self._tick)

    def _tick(self) -> None:
        try:
            now = time.monotonic()
            self._tell_if_late(now)
            # While reading is paused, or was late, bytes that wait to be read show that the broker lives.
            if self.stream.has_input():
                self.rules.receive_data(b"", now)
            self.rules.tick(now)
            self._plan()
            self._act()
        except UNCAUGHT as error:
            self.cut_short(error)
            raise

    def _tell_if_late(self, now: float) -> None:
        due, interval = self.rules.next_deadline(), self.rules.heartbeat_interval
        late = 0.0 if due is None else now - due
        if interval and late > interval / 2:
            self._late = told_late(self.peer, late, interval)
            tell_of_stall(LOGGER, self._late)
        else:
            self._late = None

    # Forks

    def _on_fork(self, parent: int) -> None:
        """In a child: be closed, without a word to the broker, which goes on talking to the parent."""
        error = forks.closed_in_child(self.peer, parent)
        # What the parent has asked for it is told in the parent, and what is asked for here, here.
        self.callbacks.silence()
        self._finished = True
        self._cancel_timers()
        self.stream.abandon()
        self.rules.abandon(error)
        for book in self.channels.values():
            for inbox in book.inboxes:
                inbox.items.clear()
        self.end(error)
        self.handling.clear()
        self.calling_back.clear()
        self.callbacks = CallbackTask(self.loop, self.calling_back, f"pika-callbacks-{self.peer}")
        self.over = True
