"""The channel of ``pika.aio``."""

from __future__ import annotations

import contextlib
import functools
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Callable

from pika import exceptions, protocol, spec
from pika._arguments import as_body
from pika.client.aio_consuming import Consuming
from pika.client.aio_link import Link
from pika.client.aio_publisher import Publisher
from pika.client.aio_stream import UNCAUGHT
from pika.client.aio_tasks import Gate, await_all, open_gate
from pika.client.aio_waiting import LARGE, PIECES_TOGETHER
from pika.client.confirming import BaseConfirmation, Body
from pika.client.session import ChannelBook

if TYPE_CHECKING:
    from pika.client.aio import Connection


class Channel(Consuming):
    """A channel of a :class:`pika.aio.Connection`; :meth:`pika.aio.Connection.channel` opens it.

    Its methods that wait are coroutines, which any number of tasks may call at a time. Those that wait for the broker's
    answer take `timeout`, in seconds; None is :data:`pika.client.session.REPLY_TIMEOUT`. When the broker closes the
    channel instead of answering, they raise its reason. One that is cancelled leaves the channel usable: what the
    broker answers late is undone, so a message goes back to its queue.

    :param connection: the connection
    :param link: what is behind it
    :param book: what it keeps of this channel
    """

    def __init__(self, connection: Connection, link: Link, book: ChannelBook) -> None:
        super().__init__(link, book)
        self._connection: Connection = connection
        self._publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()
        book.owner = self

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def connection(self) -> Connection:
        """Its connection."""
        return self._connection

    # Closing

    async def close(
        self, reply_code: int = 200, reply_text: str = "Normal shutdown", *, timeout: float | None = None
    ) -> None:
        """Close the channel; one that is closed or closing already is left alone.

        What was delivered and not acknowledged goes back to its queue. Handlers that run are cancelled, but for the one
        that calls this, and no other is called.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :param timeout: seconds to wait for the broker's answer
        """
        if self.is_closed and not self._link.handling:
            return
        self._link.enter()
        try:
            if self.is_open:
                # Others may close it, or the connection, at the same time.
                with contextlib.suppress(
                    exceptions.ChannelWrongStateError,
                    exceptions.ChannelClosedByClient,
                    exceptions.ConnectionClosedByClient,
                ):
                    await self._ask("channel.close", self._begin_close(reply_code, reply_text), timeout)
        finally:
            running = [] if self.is_open else [task for crew in self._crews for task in crew.cancel()]
        await await_all(running)

    def _begin_close(self, reply_code: int, reply_text: str) -> Callable[[], protocol.Reply[spec.Channel.CloseOk]]:
        def operation() -> protocol.Reply[spec.Channel.CloseOk]:
            reply = self._rules.close(reply_code, reply_text)
            self._link.silence(self._book)
            return reply

        return operation

    # Publishing

    async def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: Body,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
        *,
        timeout: float | None = None,
    ) -> None:
        """Publish a message (basic.publish). After :meth:`confirm_delivery` it returns when the broker has taken it.

        :param exchange: the exchange; empty is the default exchange, which routes to the queue that `routing_key` names
        :param routing_key: what the exchange routes it by
        :param body: the body; a str is encoded as UTF-8
        :param properties: its properties; None is none at all
        :param mandatory: whether it is returned when it reaches no queue
        :param timeout: seconds to wait while the network takes no more, and for the confirm
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closed
        :raises pika.exceptions.NackError: with confirms, when the broker refused it
        :raises pika.exceptions.UnroutableError: with confirms, when it came back
        :raises pika.exceptions.PublishOutcomeUnknown: with confirms, when the channel or the connection ended first
        :raises pika.exceptions.AMQPTimeoutError: when it takes too long; without confirms, it was not published
        """
        link = self._link
        link.enter()
        if type(body) is not bytes:
            body = as_body(body)
        if len(link.output) >= PIECES_TOGETHER or link.stream.congested:
            await link.let_others(timeout)
        if self._confirming:
            await self._publish_confirmed(exchange, routing_key, body, properties, mandatory, timeout)
            return
        try:
            self._rules.basic_publish(exchange, routing_key, body, properties, mandatory)
        except UNCAUGHT as error:
            link.cut_short(error)
            raise
        if len(body) >= LARGE:
            link.flush()
        elif not link.flushing:
            link.flush_soon()

    async def _publish_confirmed(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: spec.BasicProperties | None,
        mandatory: bool,
        timeout: float | None,
    ) -> None:
        link = self._link
        gate: Gate = link.loop.create_future()
        confirmation = BaseConfirmation()
        confirmation._content = (exchange, routing_key, properties, body)
        confirmation.on_done = functools.partial(open_gate, gate)
        try:
            self._rules.basic_publish(exchange, routing_key, body, properties, mandatory, confirmation)
        except UNCAUGHT as error:
            link.cut_short(error)
            raise
        link.send_now()
        await link.wait(gate, "the publisher confirm", timeout)
        confirmation.require_success(self._where)

    def publisher(self, max_in_flight: int = 1000, mandatory: bool = False) -> Publisher:
        """Make a publisher: its messages are confirmed by the broker while more of them are published.

        :param max_in_flight: how many messages may be unconfirmed; publishing another one waits
        :param mandatory: whether messages come back that reach no queue; without it these are confirmed, and dropped
        :returns: the publisher, to be entered with ``async with``, which tasks may share
        :raises ValueError: when `max_in_flight` is less than 1
        """
        publisher = Publisher(self._link, self._rules, self._select_confirms, max_in_flight, mandatory)
        self._publishers.add(publisher)
        return publisher

    # Coming to rest

    async def _drain(self, deadline: float) -> None:
        """Do this channel's part of :meth:`pika.aio.Connection.drain`."""
        link, loop = self._link, self._link.loop
        for tag in self.consumer_tags:
            if self.is_open:
                await self.basic_cancel(tag, timeout=max(deadline - loop.time(), 0))
        # Others may cancel some, too.
        is_ending = self._book.ending()
        await link.await_rest(
            lambda: not is_ending() and all(crew.is_idle() for crew in self._crews), "handlers", deadline
        )
        for publisher in list(self._publishers):
            await publisher._await_all(max(deadline - loop.time(), 0))
        if self._receives and self.is_open:
            # What the broker answers now, it does behind the acknowledgements.
            await self.flow(True, timeout=max(deadline - loop.time(), 0))
