"""The publisher of ``pika.aio``: confirms that are awaited one by one, together, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from types import TracebackType
from typing import Any, Callable

from pika import exceptions, protocol, spec
from pika._arguments import require_callable
from pika.client import confirming
from pika.client.aio_link import Link
from pika.client.aio_stream import UNCAUGHT
from pika.client.aio_tasks import Gate, open_gate
from pika.client.aio_waiting import LARGE, PIECES_TOGETHER
from pika.client.confirming import Body
from pika.client.session import REPLY_TIMEOUT


class Confirmation(confirming.BaseConfirmation):
    """What becomes of a published message; :meth:`Publisher.send` returns it. Awaiting it waits for its end.

    It ends in exactly one way: the broker took the message; it refused it (:class:`~pika.exceptions.NackError`); no
    queue took it and it came back, if it was mandatory (:class:`~pika.exceptions.UnroutableError`); or the channel or
    the connection ended before the broker said (:class:`~pika.exceptions.PublishOutcomeUnknown`). Awaiting it raises
    these, and :class:`~pika.exceptions.AMQPTimeoutError` after :data:`pika.client.session.REPLY_TIMEOUT`.
    """

    __slots__ = ("_publisher",)

    _publisher: Publisher

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self.outcome is None:
            link = self._publisher._link
            link.enter()
            gate: Gate = link.loop.create_future()
            if self._watchers is None:
                self._watchers = [gate]
            else:
                self._watchers.append(gate)
            await self._watch(gate, None)
        error = self.exception()
        if error is not None:
            raise error

    async def _watch(self, gate: Gate, timeout: float | None) -> None:
        """Wait for its end; when the wait is given up, nobody has looked at it unless somebody else does.

        :param gate: one of its watchers
        :param timeout: seconds; None for :data:`pika.client.session.REPLY_TIMEOUT`
        """
        try:
            await self._publisher._link.wait(gate, "the publisher confirm", timeout)
        except BaseException:
            if self._watchers and gate in self._watchers:
                self._watchers.remove(gate)
                if not self._watchers:
                    self._watchers = None
                    if self.outcome not in (None, protocol.Outcome.ACKED):
                        self._publisher._note_failure(self)
            raise

    def exception(self) -> exceptions.AMQPError | None:
        """Return what awaiting it raises; None when the broker took the message.

        :raises asyncio.InvalidStateError: when it has not ended
        """
        if self.outcome is None:
            raise asyncio.InvalidStateError("the broker has not said yet what became of the message")
        if self.outcome is protocol.Outcome.ACKED:
            return None
        if self._watchers is None:
            self._watchers = []
        return confirming.gather([self], self._publisher._where)

    def add_done_callback(self, callback: Callable[[Confirmation], object]) -> None:
        """Have a function called when it ends, or soon if it has.

        :param callback: called as ``callback(confirmation)``; it may be a coroutine function
        :raises TypeError: when it cannot be called
        """
        require_callable(callback)
        if self.outcome is not None:
            self._watchers = self._watchers or []
            self._publisher._link.callbacks.call(callback, self)
        elif self._watchers is None:
            self._watchers = [callback]
        else:
            self._watchers.append(callback)


class Publisher(confirming.Window[Confirmation]):
    """Publishes with confirms; :meth:`pika.aio.Channel.publisher` makes it. Tasks may share it.

    Leaving its ``async with`` block waits for all confirmations, and raises what nobody has looked at. Entering it
    turns the confirms of its channel on; without, the first message does.

    :param link: the connection
    :param rules: the channel
    :param select: turns confirms on
    :param max_in_flight: how many messages may be unconfirmed
    :param mandatory: whether messages come back that reach no queue
    """

    def __init__(
        self,
        link: Link,
        rules: protocol.Channel,
        select: Callable[[float | None], Awaitable[None]],
        max_in_flight: int,
        mandatory: bool,
    ) -> None:
        super().__init__(max_in_flight, f"{link.peer}; channel {rules.number}")
        self._link = link
        self._rules = rules
        self._select = select
        self._mandatory = mandatory
        self._gates: list[Gate] = []

    async def __aenter__(self) -> Publisher:
        await self._select(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.wait()

    async def publish(
        self,
        body: Body,
        exchange: str = "",
        routing_key: str = "",
        properties: spec.BasicProperties | None = None,
        timeout: float | None = None,
    ) -> None:
        """Publish a message, and wait until the broker has taken it.

        When it is cancelled, the message may have been published or not.

        :param body: the body; a str is encoded as UTF-8
        :param exchange: the exchange; empty is the default exchange, which routes to the queue that `routing_key` names
        :param routing_key: what the exchange routes it by
        :param properties: its properties; None is none at all
        :param timeout: seconds to wait for room, and for the confirm; None for
            :data:`pika.client.session.REPLY_TIMEOUT`
        :raises pika.exceptions.NackError: when the broker refused it
        :raises pika.exceptions.UnroutableError: when no queue took it; ``messages`` has what came back
        :raises pika.exceptions.PublishOutcomeUnknown: when the channel or the connection ended before the broker said
        :raises pika.exceptions.AMQPTimeoutError: when it takes longer
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closed; it was not published
        """
        link = self._link
        link.enter()
        deadline = None if timeout is None else link.loop.time() + timeout
        if self._must_wait():
            await self._await_room(timeout)
        gate: Gate = link.loop.create_future()
        confirmation = self._put(body, exchange, routing_key, properties, [gate])
        link.send_now()
        left = None if deadline is None else max(deadline - link.loop.time(), 0)
        await confirmation._watch(gate, left)
        confirmation.require_success(self._where)

    async def send(
        self,
        body: Body,
        exchange: str = "",
        routing_key: str = "",
        properties: spec.BasicProperties | None = None,
        timeout: float | None = None,
    ) -> Confirmation:
        """Publish a message; waits only for room: while `max_in_flight` messages are unconfirmed, or much is unsent.

        When it is cancelled, the message was not published.

        :param body: the body; a str is encoded as UTF-8
        :param exchange: the exchange; empty is the default exchange, which routes to the queue that `routing_key` names
        :param routing_key: what the exchange routes it by
        :param properties: its properties; None is none at all
        :param timeout: seconds to wait for room; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :returns: what becomes of it
        :raises pika.exceptions.AMQPTimeoutError: when there is no room in time; it was not published
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closed; it was not published
        """
        link = self._link
        link.enter()
        if self._must_wait():
            await self._await_room(timeout)
        confirmation = self._put(body, exchange, routing_key, properties, None)
        if len(body) >= LARGE:
            link.flush()
        elif not link.flushing:
            link.flush_soon()
        return confirmation

    def _must_wait(self) -> bool:
        link = self._link
        return (
            self.in_flight >= self.limit
            or len(link.output) >= PIECES_TOGETHER
            or link.stream.congested
            or self._rules.confirms is None
        )

    def _put(
        self,
        body: Body,
        exchange: str,
        routing_key: str,
        properties: spec.BasicProperties | None,
        watchers: list[Any] | None,
    ) -> Confirmation:
        if type(body) is not bytes:
            body = confirming.body_of(body, exchange, routing_key)
        confirmation = Confirmation()
        confirmation._content = (exchange, routing_key, properties, body)
        confirmation._watchers = watchers
        confirmation._publisher = self
        confirmation.on_done = self._on_done  # type: ignore[assignment]  # it is called with its own
        self._flight.add(confirmation)
        try:
            self._rules.basic_publish(exchange, routing_key, body, properties, self._mandatory, confirmation)
        except BaseException as error:
            # What was interrupted behind the books of the channel is settled with it.
            if not confirmation.delivery_tag:
                self._land(confirmation)
            if isinstance(error, UNCAUGHT):
                self._link.cut_short(error)
            raise
        return confirmation

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until no message is unconfirmed, and raise what nobody has looked at.

        :param timeout: seconds; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :raises pika.exceptions.NackError: when the broker refused messages
        :raises pika.exceptions.UnroutableError: when no queue took messages
        :raises pika.exceptions.PublishOutcomeUnknown: when the channel or the connection ended before it had said
        :raises pika.exceptions.AMQPTimeoutError: when messages are unconfirmed when the time is over
        """
        await self._await_all(timeout)
        error = self._take_failure()
        if error is not None:
            raise error

    async def _await_all(self, timeout: float | None) -> None:
        self._link.enter()
        await self._await(lambda: not self.in_flight, 0, "confirming all messages", self._deadline(timeout))

    async def _await_room(self, timeout: float | None) -> None:
        link, deadline = self._link, self._deadline(timeout)
        if self._rules.confirms is None:
            await self._select(timeout)
        while True:
            self._rules.require_open()
            if len(link.output) >= PIECES_TOGETHER or link.stream.congested:
                await link.let_others(max(deadline - link.loop.time(), 0))
            elif self.in_flight >= self.limit:
                await self._await(lambda: self.in_flight < self.limit, self._roomy, "room for a message", deadline)
            else:
                return

    def _deadline(self, timeout: float | None) -> float:
        return self._link.loop.time() + (REPLY_TIMEOUT if timeout is None else timeout)

    async def _await(self, done: Callable[[], bool], threshold: int, what: str, deadline: float) -> None:
        link = self._link
        while not done():
            gate: Gate = link.loop.create_future()
            self._gates.append(gate)
            self._threshold = max(self._threshold, threshold)
            try:
                await link.wait(gate, what, max(deadline - link.loop.time(), 0))
            except BaseException:
                if gate in self._gates:
                    self._gates.remove(gate)
                raise

    def _wake(self) -> None:
        while self._gates:
            open_gate(self._gates.pop())

    def _report(self, confirmation: Confirmation) -> None:
        watchers = confirmation._watchers or []
        for watcher in watchers:
            if isinstance(watcher, asyncio.Future):
                open_gate(watcher)
            else:
                self._link.callbacks.call(watcher, confirmation)
                # This one will look at it, whoever of the others gives up before he does.
                confirmation._watchers = []
