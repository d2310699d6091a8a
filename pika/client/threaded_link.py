"""A connection that threads share: how they wait for what it brings, and how it ends."""

from __future__ import annotations

import threading
import time
from typing import Callable, TypeVar

from pika import exceptions, protocol
from pika.amqp_object import Method
from pika.client.inbox import Inbox
from pika.client.session import REPLY_TIMEOUT, again
from pika.client.threaded_io import IOThread
from pika.client.threaded_sending import Sending
from pika.client.threaded_waiting import CallbackThread, Gate, is_inside
from pika.protocol import Reply
from pika.transport import forks
from pika.transport.stream import Stream

M = TypeVar("M", bound=Method)


class Link(Sending):
    """A connection that any thread may use.

    Whoever calls changes the state of the protocol under the lock, and writes to the socket himself. One thread waits
    for the socket, reads, and takes events. Who waits for something has a gate, which is opened when it has come.

    :param rules: the connection of the protocol, open
    :param stream: the stream, connected
    :param blocked_timeout: seconds after which a connection that the broker has blocked is given up; None for never
    """

    def __init__(self, rules: protocol.Connection, stream: Stream, blocked_timeout: float | None) -> None:
        super().__init__(rules, stream)
        self.callbacks: CallbackThread = CallbackThread(f"pika-callbacks-{self.peer}", self.lock)
        self.io = IOThread(self, blocked_timeout)
        #: Whether the thread has ended, or is about to, and the socket is closed.
        self.over = False
        #: Threads that drain the connection: their own handlers are not waited for.
        self.draining: dict[int, None] = {}
        #: Whether there has ever been a consumer.
        self.consumes = False
        # Who waits for something that has to be read; among them for room in the output, for the end of handlers; and
        # who waits for the end of all.
        self._awaiting: dict[Gate, None] = {}
        self._for_room: list[Gate] = []
        self._for_rest: list[Gate] = []
        self._for_end: list[Gate] = []
        forks.watch(self)

    # Waiting, by whoever calls

    def in_the_way(self) -> bool:
        """Whether this thread cannot wait for the broker: nothing could arrive before it goes on.

        So it is for a signal handler or a finalizer that interrupts a call of the connection, or its thread.
        """
        return is_inside(self.lock) or threading.current_thread() is self.io.thread

    def require_patience(self, what: str) -> None:
        """Raise if :meth:`in_the_way`.

        :param what: what would be waited for
        :raises pika.exceptions.ReentrancyError: before anything was sent
        """
        if self.in_the_way():
            raise exceptions.ReentrancyError(
                f"{what} was called by a signal handler, or a finalizer, that interrupts a call of the same "
                f"connection: it cannot wait for the broker there. Publishing, acknowledging, close() and drain() "
                f"work [{self.peer}]"
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
        gate, reply = Gate(), None
        try:
            with self.lock:
                try:
                    reply = operation()
                    if not reply.done:
                        reply.on_done = gate.open
                        self._expect(gate)
                    self.flush()
                except BaseException as error:
                    self.cut_short(error)
                    raise
            seconds = REPLY_TIMEOUT if timeout is None else timeout
            if not reply.done and not gate.wait(seconds):
                raise self.timed_out(what, seconds)
            if reply.error is not None:
                raise again(reply.error)
            self._awaiting.pop(gate, None)
            return reply
        except BaseException:
            self.let_go()
            self._awaiting.pop(gate, None)
            if reply is not None and late is not None:
                self._leave(reply, late)
            raise

    def _leave(self, reply: Reply[M], late: Callable[[Reply[M]], None]) -> None:
        with self.lock:
            if not reply.done:
                reply.on_done = late
            elif reply.error is None:
                late(reply)
                self.flush()

    def _expect(self, gate: Gate) -> None:
        self._awaiting[gate] = None
        if self.io.resting or self.full:
            # The thread may be about to pause: it was, or it sees the gate.
            with self.lock:
                if self.io.resting or self.io.paused:
                    self.stream.wake()

    def wait(self, gate: Gate, what: str, timeout: float | None, operation: Callable[[], object] | None = None) -> None:
        """Wait for something that needs what the broker sends.

        :param gate: is opened when it has come
        :param what: what is awaited, for the error
        :param timeout: seconds; None for :data:`REPLY_TIMEOUT`
        :param operation: what makes it come, if that is still to be carried out
        :raises pika.exceptions.AMQPTimeoutError: when it has not come in time
        """
        seconds = REPLY_TIMEOUT if timeout is None else timeout
        try:
            self._expect(gate)
            if operation is not None:
                self.do(operation, self.flush)
            if not gate.wait(seconds):
                raise self.timed_out(what, seconds)
        finally:
            self._awaiting.pop(gate, None)

    def await_room(self, timeout: float | None) -> None:
        """Wait until the kernel has taken what was written, if this thread can wait.

        :param timeout: seconds; None for :data:`REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it has not in time; what was written is sent later all the same
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

    # What has come; under the lock

    def on_alarm(self, blocked: bool) -> None:
        self.io.on_alarm(blocked)

    @property
    def is_attended(self) -> bool:
        return bool(self._awaiting)

    @property
    def is_unattended(self) -> bool:
        """Whether nobody waits for what has to be read: no call, no consumer."""
        return not self._awaiting and not self.consumes

    def after_events(self, delivered: bool) -> bool:
        """Do what is left to do when events were taken.

        :param delivered: whether there were deliveries
        :returns: whether to stop reading for now
        """
        if delivered:
            self.attending = True
        elif self.attending:
            self.attending = self._held_back > 0
        if self.rules.output or self.stream.has_output:
            # It is this thread that would be called.
            self.congested = True
            self.flush()
        else:
            self.congested = False
        if self._for_room and not self.stream.has_output:
            self._open_all(self._for_room)
        self.over = self.error is not None
        return bool(self.full) and not self._awaiting

    def on_rest(self) -> None:
        """Take note that somebody has worked off all that there was for him."""
        self.attending = False
        if self.rules.output:
            self.flush()
        self.look_again()

    def look_again(self) -> None:
        """Have those look again who wait in :meth:`await_rest`."""
        self._open_all(self._for_rest)

    def relieve(self, inbox: Inbox) -> None:
        # It takes the lock by itself.
        if inbox in self.full and (inbox.over or not inbox.holds(0.5)):
            with self.lock:
                self.full.pop(inbox, None)
                if self.io.paused and not self.full:
                    self.stream.wake()

    # The end; under the lock

    def begin_close(self, reply_code: int, reply_text: str, timeout: float) -> None:
        """Close the connection; nothing more is handed out. If the broker does not answer in time, drop it.

        An operation for :meth:`do`, which sends what is left to send of a close that was interrupted, too.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :param timeout: seconds
        """
        if self.over or self.error is not None:
            return
        # First: whatever interrupts this, it comes to an end.
        self.io.drop_after(timeout, reply_code, reply_text)
        for book in self.channels.values():
            for consumer in book.every_consumer():
                consumer.stopped = True
        if self.rules.state is protocol.ConnectionState.OPEN:
            self.rules.close(reply_code, reply_text)

    def on_over(self) -> None:
        """Take note that the thread ends: nobody need wait for anything any more."""
        self.over = True
        for gates in (self._for_room, self._for_rest, self._for_end):
            self._open_all(gates)
        self.callbacks.finish()

    def _on_fork(self, parent: int) -> None:
        """In a child: be closed, without a word to the broker, which goes on talking to the parent."""
        error = forks.closed_in_child(self.peer, parent)
        # Threads that held it, or waited for something, are not here.
        self.lock = threading.RLock()
        self._awaiting.clear()
        # What the parent has asked for it is told in the parent, and what is asked for here, here.
        self.callbacks.silence()
        self.stream.abandon()
        self.rules.abandon(error)
        self.end(error)
        self.callbacks = CallbackThread(f"pika-callbacks-{self.peer}", self.lock)
        self.callbacks.finish()
        self.over = True
