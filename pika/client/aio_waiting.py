"""What calls on asyncio's event loop send together, and how they wait for what the broker answers."""

from __future__ import annotations

import abc
import asyncio
import functools
from typing import Callable, TypeVar

from pika import exceptions, protocol
from pika.amqp_object import Method
from pika.client.aio_stream import UNCAUGHT, Stream
from pika.client.aio_tasks import Gate, open_gate, shut_gate
from pika.client.session import REPLY_TIMEOUT, Session, again
from pika.protocol import Reply

M = TypeVar("M", bound=Method)

#: So many pieces may wait to be sent together; who makes more lets the loop take its turn before.
PIECES_TOGETHER = 64
#: A body of so many octets is sent at once: nothing is gained by sending others with it.
LARGE = 64 * 1024


def open_all(gates: list[Gate]) -> None:
    """Wake all who wait, once."""
    while gates:
        open_gate(gates.pop())


class Waiting(Session):
    """A session whose calls are coroutines on one event loop.

    What they have to send waits for the end of the loop's turn, and is sent together then.

    :param rules: the connection of the protocol
    :param stream: the stream, connected
    """

    def __init__(self, rules: protocol.Connection, stream: Stream) -> None:
        super().__init__(rules)
        self.loop = asyncio.get_running_loop()
        self.stream = stream
        #: What is to be sent; see :attr:`pika.protocol.Connection.output`.
        self.output = rules.output
        #: Whether what is to be sent will be, at the end of the loop's turn.
        self.flushing = False
        #: Whether the stream has ended too.
        self.over = False
        # How many calls wait for something that has to be read; and those whose time is the usual one, with its end: a
        # timer for each would cost as much as the rest of a wait.
        self._awaiting = 0
        self._usual: dict[Gate, float] = {}
        self._usual_timer: asyncio.TimerHandle | None = None
        # Whether nothing is read: see _choose_to_read().
        self._paused = False
        # Who waits for room in the output, for the end of handlers, for the end of all.
        self._for_room: list[Gate] = []
        self._for_rest: list[Gate] = []
        self._for_end: list[Gate] = []

    @property
    def is_attended(self) -> bool:
        return self._awaiting > 0

    @abc.abstractmethod
    def cut_short(self, error: BaseException) -> None:
        """End the connection, as Ctrl-C came in the middle of its work: what was got and sent is not known.

        :param error: what came
        """

    @abc.abstractmethod
    def _choose_to_read(self) -> None:
        """Read if somebody waits; if nobody does, not while inboxes are full."""

    def enter(self) -> None:
        """Raise unless it is the connection's loop that runs in this thread.

        :raises pika.exceptions.ConnectionWrongStateError: before anything was sent
        """
        try:
            if asyncio.get_running_loop() is self.loop:
                return
        except RuntimeError:
            pass
        self.rules.require_open()
        raise exceptions.ConnectionWrongStateError(
            f"the connection to {self.peer} belongs to {self.loop!r}, and was called by another thread or on another "
            f"loop. Nothing was sent. Hand the call to its loop with loop.call_soon_threadsafe or "
            f"asyncio.run_coroutine_threadsafe, or use pika.connect, whose connections any thread may use"
        )

    def flush_soon(self) -> None:
        """Send what is to be sent, at the end of the loop's turn."""
        if not self.flushing:
            self.loop.call_soon(self.flush)
            self.flushing = True

    def settle(self, settle: Callable[[], None]) -> None:
        """Have messages settled.

        :param settle: does it
        :raises pika.exceptions.ConnectionWrongStateError: see :meth:`enter`
        """
        self.enter()
        try:
            settle()
            self.flush_soon()
        except UNCAUGHT as error:
            self.cut_short(error)
            raise

    def flush(self) -> None:
        """Send what is to be sent, unless the stream has enough: then it goes on when that has room."""
        try:
            self.flushing = False
            if self.output and not self.stream.congested:
                self.stream.write(self.rules.data_to_send())
        except UNCAUGHT as error:
            self.cut_short(error)
            raise

    async def let_others(self, timeout: float | None) -> None:
        """Wait until what is to be sent was sent, and others had their turn.

        :param timeout: seconds; None for :data:`REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it was not in time
        """
        self.flush()
        if not self.stream.congested:
            await asyncio.sleep(0)
        deadline: float | None = None
        while self.stream.congested and self.error is None:
            if deadline is None:
                deadline = self.loop.time() + (REPLY_TIMEOUT if timeout is None else timeout)
            gate: Gate = self.loop.create_future()
            self._for_room.append(gate)
            await self.wait(gate, "sending", max(deadline - self.loop.time(), 0))

    async def ask(
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
        :param late: called with the reply when the answer comes, but nobody waits any more
        :returns: the reply, done
        :raises pika.exceptions.AMQPTimeoutError: when there is no answer in time
        """
        self.enter()
        try:
            reply = operation()
        except UNCAUGHT as error:
            self.cut_short(error)
            raise
        if not reply.done:
            await self._await_reply(what, reply, timeout, late)
        if reply.error is not None:
            raise again(reply.error)
        return reply

    async def _await_reply(
        self, what: str, reply: Reply[M], timeout: float | None, late: Callable[[Reply[M]], None] | None
    ) -> None:
        gate: Gate = self.loop.create_future()
        reply.on_done = functools.partial(open_gate, gate)
        self.send_now()
        try:
            await self.wait(gate, what, timeout)
        except BaseException:
            if not reply.done:
                reply.on_done = late
            elif late is not None:
                late(reply)
                self.flush_soon()
            raise

    def send_now(self) -> None:
        """Send for somebody who is about to wait: at once if nobody else does, else with what others send."""
        if self._awaiting:
            self.flush_soon()
        else:
            self.flush()

    async def wait(self, gate: Gate, what: str, timeout: float | None) -> None:
        """Wait for something that needs what the broker sends.

        :param gate: is opened when it has come
        :param what: what is awaited, for the error
        :param timeout: seconds; None for :data:`REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it has not come in time
        """
        self._awaiting += 1
        if self._paused:
            self._choose_to_read()
        if timeout is None:
            self._usual[gate] = self.loop.time() + REPLY_TIMEOUT
            if self._usual_timer is None:
                self._usual_timer = self.loop.call_later(REPLY_TIMEOUT, self._on_usual_end)
            try:
                opened = await gate
            finally:
                self._awaiting -= 1
                del self._usual[gate]
        else:
            timer: asyncio.TimerHandle | None = None
            try:
                timer = self.loop.call_later(timeout, shut_gate, gate)
                opened = await gate
            finally:
                self._awaiting -= 1
                if timer is not None:
                    timer.cancel()
        if not opened:
            raise self.timed_out(what, REPLY_TIMEOUT if timeout is None else timeout)

    def _on_usual_end(self) -> None:
        self._usual_timer = None
        for gate, end in self._usual.items():
            left = end - self.loop.time()
            if left > 0:
                self._usual_timer = self.loop.call_later(left, self._on_usual_end)
                return
            shut_gate(gate)

    async def await_rest(self, done: Callable[[], bool], what: str, deadline: float) -> None:
        """Wait until something holds that is looked at whenever somebody has worked off what there was for him.

        :param done: says whether it holds
        :param what: what is awaited, for the error
        :param deadline: on the loop's clock
        :raises pika.exceptions.AMQPTimeoutError: when it does not hold in time
        :raises pika.exceptions.AMQPError: the reason, when the connection is closed
        """
        while not done():
            if self.error is not None:
                raise again(self.error)
            gate: Gate = self.loop.create_future()
            self._for_rest.append(gate)
            await self.wait(gate, what, max(deadline - self.loop.time(), 0))

    async def await_end(self) -> None:
        """Wait until the connection is closed and its stream has ended, which some timer sees to."""
        if not self.over:
            gate: Gate = self.loop.create_future()
            self._for_end.append(gate)
            self._awaiting += 1
            self._choose_to_read()
            try:
                await gate
            finally:
                self._awaiting -= 1
