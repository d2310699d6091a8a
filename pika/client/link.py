"""A connection shared by threads: one lock around its state, and the thread that owns its socket."""

from __future__ import annotations

import functools
import logging
import threading
import time
from typing import Any, Callable, TypeVar

from pika import exceptions, protocol
from pika.amqp_object import Method
from pika.client.queues import Inbox
from pika.client.session import Callbacks, Session
from pika.client.threads import CallbackThread, Gate, again, is_inside
from pika.protocol import Reply
from pika.transport import forks
from pika.transport.stream import Ready, Stream
from pika.transport.timers import Timer, Timers

LOGGER = logging.getLogger(__name__)

M = TypeVar("M", bound=Method)

#: Seconds that a call waits for the broker's answer unless said otherwise.
REPLY_TIMEOUT = 600.0
#: Who publishes waits for the kernel when so many octets wait for it already.
_CONGESTION = 256 * 1024
#: While deliveries are worked off, so many acknowledgements are sent together, at the latest after so many seconds.
_ACKS_TOGETHER = 32
_ACK_DELAY = 0.001


class Link(Session):
    """A connection that any thread may use.

    Whoever calls holds the lock while it changes the state of the protocol, and writes to the socket itself. One
    thread waits for the socket, reads, and takes events; nothing of a user's runs in it.

    The lock is reentrant: a signal handler, or a finalizer, may come in the middle of anything. It can do all that
    waits for nothing; what it would have to wait for could not arrive before it has returned.

    :param rules: the connection of the protocol, open
    :param stream: the stream, connected
    :param blocked_timeout: seconds after which a connection that the broker has blocked is given up; None for never
    """

    def __init__(self, rules: protocol.Connection, stream: Stream, blocked_timeout: float | None) -> None:
        super().__init__(rules)
        self.lock = threading.RLock()
        self.stream = stream
        peer = rules.settings.peer
        self.callbacks = CallbackThread(f"pika-callbacks-{peer}")
        self.thread = threading.Thread(target=self._run, name=f"pika-io-{peer}", daemon=True)
        #: Whether the thread has ended, or is about to, and the socket is closed.
        self.over = False
        #: Inboxes that hold as much as they may: as long as there is one, nothing is read unless somebody waits.
        self.full: dict[Inbox, None] = {}
        # How many threads wait for something that has to be read.
        self._awaiting: dict[Gate, None] = {}
        self._paused = False
        self._writing = False
        self._aborted: BaseException | None = None
        # Acknowledgements that were made and not sent, while the thread below looks after them.
        self._deferred = 0
        self._attending = False
        self._blocked_timeout = blocked_timeout
        self._blocked_timer: Timer | None = None
        self._timers = Timers()
        # How long the next wait may take, and when something is due.
        self._until: float | None = None
        self._due: float | None = None
        # Who waits for room in the output, for the end of handlers, for the end of all.
        self._for_room: list[Gate] = []
        self._for_rest: list[Gate] = []
        self._for_end: list[Gate] = []
        #: Threads that drain the connection: their own handlers are not waited for.
        self.draining: dict[int, None] = {}
        forks.watch(self)

    def start(self) -> None:
        """Begin to read: the handshake is over."""
        with self.lock:
            self.take_events()
            self.flush()
            self._plan(time.monotonic())
        self.thread.start()

    # For whoever calls; all of it under the lock

    def flush(self) -> bool:
        """Send what is to be sent, without waiting.

        :returns: whether so much waits for the kernel that whoever makes more should wait
        """
        rules, stream = self.rules, self.stream
        self._deferred = 0
        # Who interrupts this, as signal handlers do, leaves its output to it: none overtakes.
        while rules.has_data_to_send and not self._writing:
            self._writing = True
            pieces = rules.data_to_send()
            if len(pieces) == 1:
                stream.write(pieces[0])
            else:
                stream.write_pieces(pieces)
            self._writing = False
        if not stream.has_output:
            return False
        stream.wake()
        return stream.pending_output > _CONGESTION

    def flush_soon(self) -> None:
        """Send an acknowledgement, perhaps together with others that are made meanwhile."""
        if self._attending and self._deferred < _ACKS_TOGETHER:
            self._deferred += 1
        else:
            self.flush()

    def interrupted(self, error: BaseException) -> None:
        """Take note of what an operation raised: if it was cut short, the connection ends.

        :param error: the exception: of an argument that was refused, before anything has happened; or of a signal
            handler, in the middle of anything
        """
        nested = is_inside(self.lock)
        with self.lock:
            half_done = self._writing or (self.rules.has_data_to_send and not self._deferred)
            # What is half done around a signal handler is none of its calls' business.
            if isinstance(error, Exception) and (nested or not half_done):
                return
            self._writing = False
            peer = self.rules.settings.peer
            lost = exceptions.StreamLostError(
                f"the connection to {peer} was given up: a call was cut short by {error!r}"
            )
            lost.__cause__ = error
            # Nothing more is sent: the books may not fit what the broker would be told.
            self.rules.abandon(lost)
            self.end(lost)
            self.stream.wake()

    def begin_close(self, reply_code: int, reply_text: str, timeout: float) -> None:
        """Close the connection; nothing more is handed out. If the broker does not answer in time, drop it.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :param timeout: seconds
        """
        if self.over or self.error is not None:
            return
        for book in self.channels.values():
            for consumer in book.consumers.values():
                consumer.stopped = True
        if self.rules.state is protocol.ConnectionState.OPEN:
            self.rules.close(reply_code, reply_text)
            self.flush()
        self._timers.call_at(time.monotonic() + timeout, functools.partial(self._drop, reply_code, reply_text))
        self.stream.wake()

    def _drop(self, reply_code: int, reply_text: str) -> None:
        LOGGER.warning("%s did not answer connection.close in time: dropping the connection", self.rules.settings.peer)
        self._aborted = exceptions.ConnectionClosedByClient(reply_code, reply_text)

    def on_rest(self) -> None:
        """Take note that somebody has worked off all that there was for him."""
        self._attending = False
        if self.rules.has_data_to_send:
            self.flush()
        self._open_all(self._for_rest)

    def relieve(self, inbox: Inbox) -> None:
        """Go on reading if an inbox has been worked off far enough; takes the lock by itself."""
        if inbox in self.full and (inbox.over or not inbox.holds(0.5)):
            with self.lock:
                self.full.pop(inbox, None)
                if self._paused and not self.full:
                    self.stream.wake()

    def call_back(self, callbacks: Callbacks, *arguments: Any) -> None:
        for callback in tuple(callbacks):
            self.callbacks.call(callback, *arguments)

    def wake(self, inbox: Inbox) -> None:
        inbox.wake()
        if self.full:
            self.relieve(inbox)

    def on_alarm(self, blocked: bool) -> None:
        if self._blocked_timer is not None:
            self._timers.cancel(self._blocked_timer)
            self._blocked_timer = None
        if blocked and self._blocked_timeout is not None:
            when = time.monotonic() + self._blocked_timeout
            self._blocked_timer = self._timers.call_at(when, self._on_blocked_too_long)

    def _on_blocked_too_long(self) -> None:
        self.rules.stream_lost(exceptions.ConnectionBlockedTimeout("Blocked connection timeout expired."))

    # Waiting

    def in_the_way(self) -> bool:
        """Whether this thread cannot wait for the broker: nothing could arrive before it goes on.

        So it is for a signal handler or a finalizer that interrupts a call of the connection, or its thread.
        """
        return is_inside(self.lock) or threading.current_thread() is self.thread

    def require_patience(self, what: str) -> None:
        """Raise if :meth:`in_the_way`.

        :param what: what would be waited for
        :raises pika.exceptions.ReentrancyError: before anything was sent
        """
        if self.in_the_way():
            raise exceptions.ReentrancyError(
                f"{what} was called by a signal handler, or a finalizer, that interrupts a call of the same "
                f"connection: it cannot wait for the broker there. Publishing, acknowledging, close() and drain() work"
            )

    def ask(
        self,
        what: str,
        operation: Callable[[], Reply[M]],
        timeout: float | None,
        late: Callable[[Reply[M]], None] | None = None,
    ) -> Reply[M]:
        """Carry out an operation and wait for the answer.

        :param what: its name, for errors
        :param operation: the operation
        :param timeout: seconds; None for :data:`REPLY_TIMEOUT`
        :param late: called with the reply, under the lock, when the answer comes, but nobody waits any more
        :returns: the reply, done
        :raises pika.exceptions.AMQPTimeoutError: when there is no answer in time
        :raises pika.exceptions.ReentrancyError: when nobody could wait here
        """
        self.require_patience(what)
        gate = Gate()
        try:
            with self.lock:
                reply = operation()
                if not reply.done:
                    reply.on_done = gate.open
                    self._expect(gate)
                self.flush()
        except BaseException as error:
            self.interrupted(error)
            self._awaiting.pop(gate, None)
            raise
        if not reply.done:
            self._await_reply(what, reply, gate, REPLY_TIMEOUT if timeout is None else timeout, late)
        if reply.error is not None:
            raise again(reply.error)
        return reply

    def _await_reply(
        self, what: str, reply: Reply[M], gate: Gate, timeout: float, late: Callable[[Reply[M]], None] | None
    ) -> None:
        try:
            answered = gate.wait(timeout)
        except BaseException:
            with self.lock:
                if not reply.done:
                    reply.on_done = late
                elif late is not None:
                    late(reply)
                    self.flush()
            raise
        finally:
            self._awaiting.pop(gate, None)
        if not answered:
            with self.lock:
                if not reply.done:
                    reply.on_done = late
                    raise self.timed_out(what, timeout)

    def _expect(self, gate: Gate) -> None:
        self._awaiting[gate] = None
        if self._paused:
            self.stream.wake()

    def wait(self, gate: Gate, what: str, timeout: float | None) -> None:
        """Wait for something that needs what the broker sends.

        :param gate: is opened when it has come
        :param what: what is awaited, for the error
        :param timeout: seconds; None for :data:`REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it has not come in time
        """
        seconds = REPLY_TIMEOUT if timeout is None else timeout
        with self.lock:
            self._expect(gate)
        try:
            if not gate.wait(seconds):
                raise self.timed_out(what, seconds)
        finally:
            self._awaiting.pop(gate, None)

    def timed_out(self, what: str, timeout: float) -> exceptions.AMQPTimeoutError:
        """Return what to raise when something took too long."""
        blocked = "" if self.rules.blocked is None else f"; the broker has blocked it: {self.rules.blocked}"
        return exceptions.AMQPTimeoutError(
            f"{what} was not over within {timeout:g} seconds [{self.rules.settings.peer}{blocked}]"
        )

    def await_room(self, timeout: float | None) -> None:
        """Wait until the kernel has taken what was written, if this thread can wait.

        :param timeout: seconds; None for :data:`REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it has not in time; what was written is sent later
        """
        if self.in_the_way():
            return
        gate = Gate()
        with self.lock:
            if self.over or not self.stream.has_output:
                return
            self._for_room.append(gate)
        self.wait(gate, "sending", timeout)

    def await_rest(self, done: Callable[[], bool], what: str, deadline: float) -> None:
        """Wait until something holds that is looked at whenever somebody has worked off what there was for him.

        :param done: says whether it holds; called under the lock
        :param what: what is awaited, for the error
        :param deadline: on ``time.monotonic()``
        :raises pika.exceptions.AMQPTimeoutError: when it does not hold in time
        :raises pika.exceptions.AMQPError: the reason, when the connection is closed
        """
        while True:
            gate = Gate()
            with self.lock:
                if done():
                    return
                if self.error is not None:
                    raise again(self.error)
                self._for_rest.append(gate)
            self.wait(gate, what, max(deadline - time.monotonic(), 0))

    def await_end(self, timeout: float) -> bool:
        """Wait until the connection is closed and its thread has ended.

        :param timeout: seconds
        :returns: whether it is
        """
        gate = Gate()
        with self.lock:
            if not self.over:
                self._for_end.append(gate)
                self._expect(gate)
                self.stream.wake()
            else:
                gate.open()
        try:
            return gate.wait(timeout)
        finally:
            self._awaiting.pop(gate, None)

    @staticmethod
    def _open_all(gates: list[Gate]) -> None:
        while gates:
            gates.pop().open()

    # The thread

    def _run(self) -> None:
        try:
            while not self.over:
                self._turn()
        except BaseException as error:
            LOGGER.exception("The thread of the connection to %s has ended", self.rules.settings.peer)
            with self.lock:
                self.rules.abandon(error)
                self.end(error)
        finally:
            self._finish()

    def _turn(self) -> None:
        ready = self.stream.wait(self._until, not self._paused)
        due = self._due is not None and time.monotonic() >= self._due
        data, error = b"", None
        if ready & Ready.READ or (due and not self._paused):
            data, error = self._read()
        with self.lock:
            now = time.monotonic()
            if ready & Ready.WRITE:
                self.stream.flush()
            if data:
                self.rules.receive_data(data, now)
            if error is not None:
                self.rules.stream_lost(error)
            if due:
                self._tick(now)
            self.take_events()
            self._after_events()
            self._plan(now)

    def _read(self) -> tuple[bytes, BaseException | None]:
        try:
            if self.stream.tls is None:
                return self.stream.read() or b"", None
            # TLS reads and writes by the same state.
            with self.lock:
                return self.stream.read() or b"", None
        except exceptions.StreamLostError as error:
            return b"", error

    def _tick(self, now: float) -> None:
        # What has been read counts. While reading is paused, bytes that wait to be read show that the broker lives.
        if self._paused and self.stream.wait(0) & Ready.READ:
            self.rules.receive_data(b"", now)
        self.rules.tick(now)
        self._timers.run_due(now)

    def _after_events(self) -> None:
        if self.filled:
            for inbox in self.filled:
                if inbox.holds():
                    self.full[inbox] = None
            self.filled.clear()
            self._attending = True
        elif self._attending:
            self._attending = self._deferred > 0
        if self._aborted is not None:
            self.rules.abandon(self._aborted)
            self.end(self._aborted)
        if self.rules.has_data_to_send or self.stream.has_output:
            self.flush()
        if self._for_room and not self.stream.has_output:
            self._open_all(self._for_room)
        if self.full:
            for inbox in [inbox for inbox in self.full if inbox.over]:
                del self.full[inbox]
        self._paused = bool(self.full) and not self._awaiting
        self.over = self.error is not None

    def _plan(self, now: float) -> None:
        """Say how long the next wait may take, and when something is due."""
        due, timer = self.rules.next_deadline(), self._timers.next_deadline()
        if due is None or (timer is not None and timer < due):
            due = timer
        self._due = due
        self._until = None if due is None else max(due - now, 0)
        if self._attending and (self._until is None or self._until > _ACK_DELAY):
            self._until = _ACK_DELAY

    def _finish(self) -> None:
        with self.lock:
            self.over = True
            self.stream.close()
            for gates in (self._for_room, self._for_rest, self._for_end):
                self._open_all(gates)
            self.callbacks.finish()

    # Forks

    def _on_fork(self, parent: int) -> None:
        """In a child: be closed, without a word to the broker, which goes on talking to the parent."""
        peer = self.rules.settings.peer
        error = exceptions.ConnectionWrongStateError(
            f"the connection to {peer} belongs to process {parent}; in a child of that it is closed: open a connection "
            f"after the fork"
        )
        # Threads that held it, or waited for something, are not here.
        self.lock = threading.RLock()
        self._awaiting.clear()
        self.callbacks = CallbackThread(f"pika-callbacks-{peer}")
        self.callbacks.finish()
        self.stream.abandon()
        self.rules.abandon(error)
        for book in self.channels.values():
            book.on_close.clear()
        self.on_close.clear()
        self.end(error)
        self.over = True
