"""Consuming with ``pika.aio``: handlers in tasks, loops over messages, and acknowledging."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from pika import exceptions, protocol, spec
from pika._arguments import require_callable
from pika.client.aio_link import Link
from pika.client.aio_message import Message
from pika.client.aio_operations import Arguments, Operations
from pika.client.aio_tasks import TURN, Crew, Gate, Parking, open_gate, shut_gate
from pika.client.inbox import Consumer, Inbox
from pika.client.session import LEAVE_TIMEOUT, ChannelBook, again

if TYPE_CHECKING:
    from pika.client.aio_channel import Channel

OnMessage = Callable[["Channel", "spec.Basic.Deliver", "spec.BasicProperties", bytes], object]


class Consuming(Operations):
    """The part of a channel that receives and acknowledges messages.

    :param link: the connection
    :param book: what it keeps of the channel
    """

    def __init__(self, link: Link, book: ChannelBook) -> None:
        super().__init__(link, book)
        self._crews: list[Crew] = []
        # That of the handlers which share the channel's task.
        self._inbox: Inbox | None = None
        # Whether it has ever asked for messages, which may be acknowledged.
        self._receives = False
        # Who waits until there are no consumers.
        self._for_consumers: list[Gate] = book.for_consumers
        book.on_fewer = self._on_fewer_consumers

    # Handlers

    async def basic_consume(
        self,
        queue: str,
        on_message_callback: OnMessage,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
        *,
        concurrency: int = 1,
        timeout: float | None = None,
    ) -> str:
        """Start a consumer whose messages go to a handler (basic.consume).

        The handlers of a channel run in one task of its own, in the order of the messages, unless it is given a
        `concurrency`. What a handler raises is logged, and its message stays unacknowledged.

        :param queue: the queue
        :param on_message_callback: called as ``on_message_callback(channel, method, properties, body)``; it may be a
            coroutine function
        :param auto_ack: whether messages need no acknowledgement
        :param exclusive: whether to be the queue's only consumer
        :param consumer_tag: its name; None has one made
        :param arguments: more of the broker's arguments, such as ``x-priority``
        :param concurrency: how many of its handlers run at a time; with more than 1, in any order
        :param timeout: seconds to wait for the broker's answer
        :returns: the consumer's tag
        :raises TypeError: when the handler cannot be called
        :raises ValueError: when `concurrency` is less than 1
        :raises pika.exceptions.DuplicateConsumerTag: when the channel has a consumer of this name
        """
        require_callable(on_message_callback, "on_message_callback")
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, but got {concurrency!r}")
        self._link.enter()
        inbox = self._inbox_for(concurrency)
        tag = consumer_tag or self._book.new_tag()
        consumer = Consumer(tag, inbox, auto_ack, on_message_callback, self, inbox is self._inbox)
        await self._begin(consumer, queue, exclusive, arguments, timeout)
        return tag

    def _inbox_for(self, concurrency: int) -> Inbox:
        shared = concurrency == 1
        if shared and self._inbox is not None:
            return self._inbox
        inbox = Inbox()
        if shared:
            self._inbox = inbox
        if self.is_open:
            self._book.inboxes[inbox] = None
        # Those whose consumers are gone have nothing to do any more.
        self._crews = [crew for crew in self._crews if not (crew.inbox.over and crew.is_idle())]
        self._crews.append(Crew(self._link, inbox, f"pika-handlers-{self._rules.number}", concurrency))
        return inbox

    async def _begin(
        self, consumer: Consumer, queue: str, exclusive: bool, arguments: Arguments, timeout: float | None
    ) -> None:
        link, book = self._link, self._book
        self._receives = True
        begin = functools.partial(link.begin, book, consumer, queue, exclusive, arguments)

        def late(reply: protocol.Reply[spec.Basic.ConsumeOk]) -> None:
            if reply.error is None and self.is_open:
                self._rules.basic_cancel(consumer.tag, nowait=True)

        try:
            await self._ask("basic.consume", begin, timeout, late)
        except BaseException:
            link.abandon(book, consumer)
            raise

    async def basic_cancel(self, consumer_tag: str, *, timeout: float | None = None) -> None:
        """Cancel a consumer (basic.cancel).

        What no handler has begun with goes back to its queue. Messages of a consumer with `auto_ack`, which are nowhere
        else, are still handed out.

        :param consumer_tag: its tag; one that is unknown, or cancelled already, is left alone
        :param timeout: seconds to wait for the broker's answer
        """
        book, link = self._book, self._link
        consumer = book.consumers.get(consumer_tag)
        if self.is_open and (consumer is None or consumer.stopped):
            return
        cancel = functools.partial(link.cancel, book, consumer_tag, consumer)
        forget = functools.partial(link.forget, book, consumer)
        await self._ask("basic.cancel", cancel, timeout, forget)
        forget()

    async def start_consuming(self, *, timeout: float | None = None) -> None:
        """Wait until the channel has no consumer any more, while their handlers run.

        :param timeout: seconds after which to return all the same; None for no limit
        :raises pika.exceptions.AMQPError: the reason, when the channel or the connection ends that had consumers
        """
        link = self._link
        link.enter()
        deadline = None if timeout is None else link.loop.time() + timeout
        while True:
            error = self._book.error
            if error is not None and not self._book.ended_by_program:
                self._ending.told = True
                raise again(error)
            if not self.consumer_tags or (deadline is not None and link.loop.time() >= deadline):
                return
            gate: Gate = link.loop.create_future()
            self._for_consumers.append(gate)
            timer = None if deadline is None else link.loop.call_at(deadline, shut_gate, gate)
            try:
                await gate
            finally:
                if timer is not None:
                    timer.cancel()
                self._for_consumers.remove(gate)

    async def stop_consuming(self, consumer_tag: str | None = None, *, timeout: float | None = None) -> None:
        """Cancel a consumer, or all of them, so that :meth:`start_consuming` returns.

        :param consumer_tag: the consumer; None for all of them
        :param timeout: seconds to wait for each of the broker's answers
        """
        self._link.enter()
        for tag in self.consumer_tags if consumer_tag is None else [consumer_tag]:
            if self.is_open:
                await self.basic_cancel(tag, timeout=timeout)

    def _on_fewer_consumers(self) -> None:
        # They stay there until they look: of an end that comes before, they will tell.
        for gate in tuple(self._for_consumers):
            open_gate(gate)
        self._link.on_rest()

    # Loops

    def consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
        timeout: float | None = None,
        consumer_tag: str | None = None,
    ) -> Messages:
        """Iterate over the messages of a queue, with ``async for``.

        Leaving the loop cancels the consumer, and gives back what was prefetched for it; the message that the loop
        was left with is for the program to settle. On PyPy, leaving it by ``break`` does so only when garbage is
        collected; ``async with channel.consume(queue) as messages`` does it at the end of the block.

        :param queue: the queue
        :param auto_ack: whether messages need no acknowledgement; those that were prefetched when the loop is left
            are lost then
        :param exclusive: whether to be the queue's only consumer
        :param arguments: more of the broker's arguments, such as ``x-priority``
        :param timeout: seconds without a message after which the iteration ends; None for no limit
        :param consumer_tag: the consumer's name; None has one made
        :returns: the iteration; it begins to consume when it is entered, or the first message is asked for
        """
        return Messages(self, queue, auto_ack, exclusive, arguments, timeout, consumer_tag)

    async def basic_get(self, queue: str, auto_ack: bool = False, *, timeout: float | None = None) -> Message | None:
        """Take one message out of a queue (basic.get).

        :param queue: the queue
        :param auto_ack: whether the message needs no acknowledgement
        :param timeout: seconds to wait for the broker's answer
        :returns: the message; None when the queue is empty
        """
        self._receives = True

        def late(reply: protocol.Reply[Any]) -> None:
            if reply.content is not None and not auto_ack and self.is_open:
                self._rules.basic_reject(reply.result().delivery_tag, requeue=True)

        reply = await self._ask("basic.get", functools.partial(self._rules.basic_get, queue, auto_ack), timeout, late)
        method = reply.result()
        if reply.content is None or not isinstance(method, spec.Basic.GetOk):
            return None
        return Message(self._link, self._rules, method, *reply.content, auto_ack)

    # Acknowledging

    async def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a delivery (basic.ack).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is acknowledged as well
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closed; nothing is sent, and the broker
            delivers it again
        """
        link = self._link
        link.enter()
        self._rules.basic_ack(delivery_tag, multiple)
        if not link.flushing:
            link.flush_soon()

    async def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or several (basic.nack, RabbitMQ's extension); raises as :meth:`basic_ack`.

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is refused as well
        :param requeue: whether to put them back into their queue; else they are dropped or dead-lettered
        """
        self._link.settle(functools.partial(self._rules.basic_nack, delivery_tag, multiple, requeue))

    async def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse a delivery (basic.reject); raises as :meth:`basic_ack`.

        :param delivery_tag: the delivery
        :param requeue: whether to put it back into its queue; else it is dropped or dead-lettered
        """
        self._link.settle(functools.partial(self._rules.basic_reject, delivery_tag, requeue))


class Messages:
    """An iteration over the messages of a queue; :meth:`pika.aio.Channel.consume` returns it.

    It is an async iterator, and an async context manager: where it matters when the consumer ends, enter it, or call
    :meth:`aclose`. One that is dropped, as by ``break``, cancels its consumer and does not wait for the answer; on
    PyPy, which does not count references, only when it is collected as garbage.

    :param channel: the channel
    :param queue: the queue
    :param auto_ack: whether messages need no acknowledgement
    :param exclusive: whether to be the queue's only consumer
    :param arguments: more of the broker's arguments
    :param timeout: seconds without a message after which it ends; None for no limit
    :param consumer_tag: the consumer's name; None has one made
    """

    # Until it is made.
    _ended = True

    def __init__(
        self,
        channel: Consuming,
        queue: str,
        auto_ack: bool,
        exclusive: bool,
        arguments: Arguments,
        timeout: float | None,
        consumer_tag: str | None,
    ) -> None:
        self._channel = channel
        self._link = channel._link
        self._asked = (queue, exclusive, arguments)
        self._timeout = timeout
        inbox = Inbox()
        self._parking = Parking(self._link, inbox)
        self._items = inbox.items
        self._consumer = Consumer(consumer_tag or channel._book.new_tag(), inbox, auto_ack)
        self._begun = False
        self._ended = False
        # When it is time to let others take their turn.
        self._turn = 0.0

    def __aiter__(self) -> Messages:
        return self

    async def __aenter__(self) -> Messages:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Message:
        """Return the next message.

        When it is cancelled, the consumer is cancelled too, and what was prefetched goes back to its queue.

        :raises StopAsyncIteration: when `timeout` has passed without a message, or the program itself has cancelled the
            consumer, or closed the channel or the connection
        :raises pika.exceptions.ConsumerCancelled: when the broker cancels the consumer, as when the queue is deleted
        :raises pika.exceptions.AMQPError: the reason, when the channel or the connection ends
        """
        link, items, consumer = self._link, self._items, self._consumer
        while True:
            if not items or time.monotonic() > self._turn:
                await self._wait()
            _, delivery = items.popleft()
            if link.full:
                link.relieve(consumer.inbox)
            if not consumer.stopped or consumer.auto_ack:
                return Message(
                    link, delivery.channel, delivery.method, delivery.properties, delivery.body, consumer.auto_ack
                )
            link.give_back(delivery)
            link.flush_soon()

    async def _begin(self) -> None:
        if not self._begun and not self._ended:
            self._link.enter()
            self._begun = True
            if self._channel.is_open:
                self._channel._book.inboxes[self._consumer.inbox] = None
            queue, exclusive, arguments = self._asked
            try:
                await self._channel._begin(self._consumer, queue, exclusive, arguments, None)
            except BaseException:
                self._leave()
                raise

    async def _wait(self) -> None:
        """Wait for something, and let others have their turn; StopAsyncIteration when nothing more comes."""
        inbox = self._consumer.inbox
        await self._begin()
        self._link.enter()
        try:
            if self._items:
                await asyncio.sleep(0)
            while not self._items and await self._parking.park(self._timeout):
                pass
        except BaseException:
            self._leave()
            raise
        self._turn = time.monotonic() + TURN
        if self._items:
            return
        if inbox.over and inbox.error is not None and not self._ended:
            self._leave()
            self._channel._ending.take_as_told()
            raise again(inbox.error) from None
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel the consumer, and give back what was prefetched; one that has ended already is left alone."""
        channel, consumer, link = self._channel, self._consumer, self._link
        if self._ended:
            return
        begun = self._begun and channel.is_open and channel._book.consumers.get(consumer.tag) is consumer
        if begun:
            link.enter()
        try:
            if begun and not consumer.stopped:
                cancel = functools.partial(link.cancel, channel._book, consumer.tag, consumer)
                # What is not raised here the next call is to raise.
                with contextlib.suppress(exceptions.AMQPError):
                    await link.ask("basic.cancel", cancel, LEAVE_TIMEOUT)
        finally:
            self._leave()

    def _leave(self) -> None:
        """End it here and now, and wait for nothing."""
        if self._ended:
            return
        self._ended = True
        channel, consumer, link = self._channel, self._consumer, self._link
        if not self._begun or link.loop.is_closed():
            consumer.inbox.end(None)
            return
        book = channel._book
        if channel.is_open and book.consumers.get(consumer.tag) is consumer:
            if not consumer.stopped:
                channel._rules.basic_cancel(consumer.tag, nowait=True)
            del book.consumers[consumer.tag]
        link.stop(book, consumer)
        link.dismiss(book, consumer)
        link.flush_soon()
        channel._on_fewer_consumers()

    def __del__(self) -> None:
        if self._ended or not self._begun or self._link.loop.is_closed():
            return
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._link.loop:
            self._leave()
        else:
            # The garbage collection of another thread.
            with contextlib.suppress(RuntimeError):
                self._link.loop.call_soon_threadsafe(self._leave)
