"""Consuming with ``pika.Connection``: handlers in threads, loops over messages, and acknowledging."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Callable

from pika import exceptions, protocol, spec
from pika._arguments import require_callable
from pika.client.inbox import Consumer, Inbox
from pika.client.session import LEAVE_TIMEOUT, ChannelBook, again
from pika.client.threaded_link import Link
from pika.client.threaded_message import Message
from pika.client.threaded_operations import Arguments, Operations
from pika.client.threaded_waiting import Crew, ExecutorCrew, Gate, Parking, is_collected, later

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pika.client.threaded_channel import Channel

OnMessage = Callable[["Channel", "spec.Basic.Deliver", "spec.BasicProperties", bytes], object]


class Consuming(Operations):
    """The part of a channel that receives and acknowledges messages.

    :param link: the connection
    :param book: what it keeps of the channel
    """

    def __init__(self, link: Link, book: ChannelBook) -> None:
        super().__init__(link, book)
        self._crews: list[Crew | ExecutorCrew] = []
        # That of the handlers which share the channel's thread.
        self._inbox: Inbox | None = None
        # Whether it has ever asked for messages, which may be acknowledged.
        self._receives = False
        # Who waits until there are no consumers.
        self._for_consumers: list[Gate] = book.for_consumers
        book.on_fewer = self._on_fewer_consumers

    # Handlers

    def basic_consume(
        self,
        queue: str,
        on_message_callback: OnMessage,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
        *,
        executor: Executor | None = None,
        concurrency: int = 1,
        timeout: float | None = None,
    ) -> str:
        """Start a consumer whose messages go to a handler (basic.consume).

        The handlers of a channel run in one thread of its own, in the order of the messages, unless it is given an
        `executor` or a `concurrency`. What a handler raises is logged, and its message stays unacknowledged.

        :param queue: the queue
        :param on_message_callback: called as ``on_message_callback(channel, method, properties, body)``
        :param auto_ack: whether messages need no acknowledgement
        :param exclusive: whether to be the queue's only consumer
        :param consumer_tag: its name; None has one made
        :param arguments: more of the broker's arguments, such as ``x-priority``
        :param executor: where its handlers run; None for threads of their own
        :param concurrency: how many of its handlers run at a time; with more than 1, in any order
        :param timeout: seconds to wait for the broker's answer
        :returns: the consumer's tag
        :raises TypeError: when the handler cannot be called, or is a coroutine function, which nobody would await
        :raises ValueError: when `concurrency` is less than 1
        :raises pika.exceptions.DuplicateConsumerTag: when the channel has a consumer of this name
        """
        require_callable(on_message_callback, "on_message_callback")
        if inspect.iscoroutinefunction(on_message_callback):
            raise TypeError(
                f"handlers here are plain functions; pika.aio takes coroutine functions such as {on_message_callback!r}"
            )
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, but got {concurrency!r}")
        inbox = self._inbox_for(executor, concurrency)
        tag = consumer_tag or self._book.new_tag()
        consumer = Consumer(tag, inbox, auto_ack, on_message_callback, self, inbox is self._inbox)
        self._begin(consumer, queue, exclusive, arguments, timeout)
        return tag

    def _inbox_for(self, executor: Executor | None, concurrency: int) -> Inbox:
        link = self._link
        with link.lock:
            shared = executor is None and concurrency == 1
            if shared and self._inbox is not None:
                return self._inbox
            self._rules.require_open()
            inbox = Inbox()
            self._book.inboxes[inbox] = None
            crew: Crew | ExecutorCrew
            if executor is not None:
                crew = ExecutorCrew(link, inbox, executor, concurrency)
            else:
                crew = Crew(link, inbox, f"pika-handlers-{self._rules.number}", concurrency)
            # Those whose consumers are gone have nothing to do any more.
            self._crews = [*(one for one in self._crews if not (one.inbox.over and one.is_idle())), crew]
            if shared:
                self._inbox = inbox
        return inbox

    def _begin(
        self, consumer: Consumer, queue: str, exclusive: bool, arguments: Arguments, timeout: float | None
    ) -> None:
        link, book = self._link, self._book
        self._receives = link.consumes = True
        begin = functools.partial(link.begin, book, consumer, queue, exclusive, arguments)
        try:
            self._ask("basic.consume", begin, timeout)
        except BaseException:
            with link.lock:
                if link.abandon(book, consumer) and self.is_open:
                    # Behind the answer, if that is still to come.
                    self._rules.basic_cancel(consumer.tag, nowait=True)
                    link.flush()
            raise

    def basic_cancel(self, consumer_tag: str, *, timeout: float | None = None) -> None:
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

        def cancel() -> protocol.Reply[spec.Basic.CancelOk]:
            nonlocal consumer
            # Others may have cancelled it meanwhile, and given its tag away.
            consumer = book.consumers.get(consumer_tag)
            return link.cancel(book, consumer_tag, consumer)

        def forget(_reply: object = None) -> None:
            link.forget(book, consumer)

        self._ask("basic.cancel", cancel, timeout, forget)
        with link.lock:
            forget()

    def start_consuming(self, *, timeout: float | None = None) -> None:
        """Wait until the channel has no consumer any more, while their handlers run.

        :param timeout: seconds after which to return all the same; None for no limit
        :raises pika.exceptions.AMQPError: the reason, when the channel or the connection ends that had consumers
        :raises pika.exceptions.ReentrancyError: in a signal handler that interrupts a call of the same connection
        """
        self._link.require_patience("start_consuming")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            gate = Gate()
            with self._link.lock:
                error = self._book.error
                if error is not None and not self._book.ended_by_program:
                    self._ending.told = True
                    raise again(error)
                if not self.consumer_tags:
                    return
                self._for_consumers.append(gate)
            try:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return
                gate.wait(remaining)
            finally:
                with self._link.lock, contextlib.suppress(ValueError):
                    self._for_consumers.remove(gate)

    def stop_consuming(self, consumer_tag: str | None = None, *, timeout: float | None = None) -> None:
        """Cancel a consumer, or all of them, so that :meth:`start_consuming` returns.

        A signal handler may call it too; where that cannot wait, it is done soon.

        :param consumer_tag: the consumer; None for all of them
        :param timeout: seconds to wait for each of the broker's answers
        """
        tags = self.consumer_tags if consumer_tag is None else [consumer_tag]
        if self._link.in_the_way():
            later(lambda: self._cancel_all(tags, timeout))
        else:
            self._cancel_all(tags, timeout)

    def _cancel_all(self, tags: list[str], timeout: float | None) -> None:
        for tag in tags:
            self._cancel_if_open(tag, timeout)

    def _cancel_if_open(self, tag: str, timeout: float | None) -> None:
        if self.is_open:
            # Another thread may close the channel meanwhile, and its consumers are gone with it.
            with contextlib.suppress(exceptions.ChannelWrongStateError):
                self.basic_cancel(tag, timeout=timeout)

    def _on_fewer_consumers(self) -> None:
        while self._for_consumers:
            self._for_consumers.pop().open()
        self._link.look_again()

    # Loops

    def consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
        timeout: float | None = None,
        consumer_tag: str | None = None,
    ) -> Generator[Message, None, None]:
        """Iterate over the messages of a queue.

        Leaving the loop cancels the consumer, and gives back what was prefetched for it; the message that the loop
        was left with is for the program to settle. On PyPy, leaving it by ``break`` does so only when garbage is
        collected; ``with contextlib.closing(channel.consume(queue)) as messages`` does it at the end of the block.

        :param queue: the queue
        :param auto_ack: whether messages need no acknowledgement; those that were prefetched when the loop is left
            are lost then
        :param exclusive: whether to be the queue's only consumer
        :param arguments: more of the broker's arguments, such as ``x-priority``
        :param timeout: seconds without a message after which the iteration ends; None for no limit
        :param consumer_tag: the consumer's name; None has one made
        :returns: a generator of messages; it begins to consume when the first one is asked for
        :raises pika.exceptions.ConsumerCancelled: when the broker cancels the consumer, as when the queue is deleted
        :raises pika.exceptions.AMQPError: the reason, when the channel or the connection ends; when the program itself
            closed it, the iteration ends
        """
        inbox = Inbox()
        parking = Parking(self._link, inbox)
        consumer = Consumer(consumer_tag or self._book.new_tag(), inbox, auto_ack)
        with self._link.lock:
            self._book.inboxes[inbox] = None
        try:
            self._begin(consumer, queue, exclusive, arguments, None)
            yield from self._messages(consumer, parking, timeout)
        finally:
            if is_collected():
                later(functools.partial(self._leave, consumer))
            else:
                self._leave(consumer)

    def _messages(self, consumer: Consumer, parking: Parking, timeout: float | None) -> Generator[Message, None, None]:
        inbox, link, auto_ack = consumer.inbox, self._link, consumer.auto_ack
        items = inbox.items
        while True:
            try:
                _, delivery = items.popleft()
            except IndexError:
                # Waited for outside of that: what ends the wait, such as Ctrl-C, has nothing to do with it.
                pass
            else:
                if link.full:
                    link.relieve(inbox)
                if consumer.stopped and not auto_ack:
                    with link.lock:
                        link.give_back(delivery)
                        link.flush()
                else:
                    yield Message(link, delivery.channel, delivery.method, delivery.properties, delivery.body, auto_ack)
                continue
            if parking.park(timeout) or items:
                continue
            if inbox.over and inbox.error is not None:
                self._ending.take_as_told()
                raise again(inbox.error)
            return

    def _leave(self, consumer: Consumer) -> None:
        link, book = self._link, self._book
        cancel = functools.partial(link.cancel, book, consumer.tag, consumer)
        forget = functools.partial(link.forget, book, consumer)
        try:
            if not self.is_open or book.consumers.get(consumer.tag) is not consumer:
                with link.lock:
                    # Cancelled by the broker: what it had sent is still ours to give back.
                    link.stop(book, consumer)
                    link.flush()
            elif link.in_the_way():
                # A finalizer that comes in the middle of something.
                with link.lock:
                    self._rules.basic_cancel(consumer.tag, nowait=True)
                    link.stop(book, consumer)
                    link.forget(book, consumer)
                    link.flush()
            else:
                # What is not raised here the next call is to raise.
                with contextlib.suppress(exceptions.AMQPError):
                    link.ask("basic.cancel", cancel, LEAVE_TIMEOUT, forget)
                    with link.lock:
                        forget()
        finally:
            with link.lock:
                self._link.dismiss(self._book, consumer)

    def basic_get(self, queue: str, auto_ack: bool = False, *, timeout: float | None = None) -> Message | None:
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

        reply = self._ask("basic.get", functools.partial(self._rules.basic_get, queue, auto_ack), timeout, late)
        method = reply.result()
        if reply.content is None or not isinstance(method, spec.Basic.GetOk):
            return None
        return Message(self._link, self._rules, method, *reply.content, auto_ack)

    # Acknowledging

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a delivery (basic.ack).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is acknowledged as well
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closed; nothing is sent, and the broker
            delivers it again
        """
        link = self._link
        # As Sending says.
        try:
            with link.lock:
                try:
                    self._rules.basic_ack(delivery_tag, multiple)
                    link.flush_soon()
                except BaseException as error:
                    link.cut_short(error)
                    raise
        except BaseException:
            link.let_go()
            raise

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or several (basic.nack, RabbitMQ's extension); raises as :meth:`basic_ack`.

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is refused as well
        :param requeue: whether to put them back into their queue; else they are dropped or dead-lettered
        """
        self._link.settle(functools.partial(self._rules.basic_nack, delivery_tag, multiple, requeue))

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse a delivery (basic.reject); raises as :meth:`basic_ack`.

        :param delivery_tag: the delivery
        :param requeue: whether to put it back into its queue; else it is dropped or dead-lettered
        """
        self._link.settle(functools.partial(self._rules.basic_reject, delivery_tag, requeue))
