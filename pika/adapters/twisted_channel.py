"""A channel whose operations return Deferreds."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from twisted.internet import defer

from pika import exceptions, frame, protocol, spec
from pika._arguments import require_callable, require_text
from pika.adapters.twisted_deferreds import Calls, ClosableDeferredQueue, fail, fire
from pika.amqp_object import Method
from pika.channel import Channel
from pika.exchange_type import ExchangeType

Arguments = Mapping[str, Any]
OnAnswer = Callable[[Any], object]


class ReceivedMessage(NamedTuple):
    """A message that was delivered, got or returned.

    :param channel: the channel that it came on
    :param method: basic.deliver, basic.get-ok or basic.return
    :param properties: its properties
    :param body: its body
    """

    channel: TwistedChannel
    method: Any
    properties: spec.BasicProperties
    body: bytes


class TwistedChannel:
    """A channel, as :meth:`TwistedProtocolConnection.channel` gives it.

    An operation returns a Deferred that fires once: with the broker's answer, a ``pika.frame.Method``, or else with why
    there is none. An operation that is refused at once fails with what is wrong with it; one that the channel's or the
    connection's end leaves unanswered, or that comes later, fails with the reason of that, as
    :class:`~pika.exceptions.ChannelClosedByBroker` is. What is not answered by AMQP (acknowledgements, :meth:`close`)
    returns None, and raises.

    :param channel: the channel of the callback API that it stands on
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._closed: BaseException | None = None
        self._calls = Calls()
        # Each with the name of the broker's queue.
        self._consumers: dict[str, tuple[str, ClosableDeferredQueue]] = {}
        # What waits for the answer to a consumer's cancel.
        self._cancels: dict[str, list[OnAnswer]] = {}
        self._getting: OnAnswer | None = None
        self._delivery_confirmation = False
        self._settled: list[tuple[defer.Deferred[Any], protocol.Confirmation]] = []
        #: Fires when the channel is closed, with the exception that says why: as a result, not as a failure.
        self.on_closed: defer.Deferred[BaseException] = defer.Deferred()
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(self._on_consumer_cancelled_by_broker)
        channel.add_callback(lambda _method_frame: self._on_got(None), [spec.Basic.GetEmpty], one_shot=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} channel={self._channel!r}>"

    # State

    @property
    def channel_number(self) -> int:
        """The channel's number."""
        return self._channel.channel_number

    @property
    def connection(self) -> Any:
        """The connection of the callback API that the channel is on."""
        return self._channel.connection

    @property
    def is_open(self) -> bool:
        """Whether the channel is open."""
        return self._channel.is_open

    @property
    def is_closing(self) -> bool:
        """Whether the channel awaits the broker's close-ok."""
        return self._channel.is_closing

    @property
    def is_closed(self) -> bool:
        """Whether the channel is closed, which is final."""
        return self._channel.is_closed

    @property
    def flow_active(self) -> bool:
        """Whether the broker takes messages, as far as it has said (channel.flow)."""
        return self._channel.flow_active

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of the channel's consumers."""
        return self._channel.consumer_tags

    # Callbacks

    def callback_deferred(self, deferred: defer.Deferred[Any], replies: list[type[Method]]) -> None:
        """Have a Deferred fired when a method of one of several classes arrives, or fail with the channel.

        :param deferred: fired with the ``pika.frame.Method``
        :param replies: the classes, of :mod:`pika.spec`
        """
        self._calls.add(deferred)
        self._channel.add_callback(functools.partial(fire, deferred), replies)

    def add_on_return_callback(self, callback: Callable[[ReceivedMessage], object]) -> None:
        """Have a function called when a mandatory message that no queue took comes back (basic.return).

        :param callback: called as ``callback(received_message)``
        :raises TypeError: when it is not callable
        """
        require_callable(callback)
        self._channel.add_on_return_callback(lambda _channel, *message: callback(ReceivedMessage(self, *message)))

    # Opening and closing

    def open(self) -> None:
        """Open the channel; ``connection.channel()`` does it.

        :raises pika.exceptions.ChannelWrongStateError: when it was opened before
        """
        self._channel.open()

    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Close the channel; :attr:`on_closed` fires when the broker has answered.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :raises pika.exceptions.ChannelWrongStateError: when it is closing or closed already
        """
        self._channel.close(reply_code, reply_text)

    def flow(self, active: bool = True) -> defer.Deferred[Any]:
        """Ask the broker to pause deliveries (False) or to go on (True) (channel.flow). RabbitMQ refuses to pause.

        :param active: whether to deliver
        :returns: a Deferred of what the broker answered, a bool
        """
        return self._begin(self._channel.flow, active)

    # Exchanges

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str | ExchangeType = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments | None = None,
    ) -> defer.Deferred[Any]:
        """Declare an exchange (exchange.declare).

        :param exchange: its name
        :param exchange_type: ``direct``, ``fanout``, ``topic``, ``headers``, or what a plugin adds
        :param passive: only ask whether it exists
        :param durable: whether it survives a restart of the broker
        :param auto_delete: whether it goes with its last binding
        :param internal: whether only other exchanges can publish to it
        :param arguments: RabbitMQ's extensions, such as ``alternate-exchange``
        :returns: a Deferred of exchange.declare-ok
        """
        declare = self._channel.exchange_declare
        return self._begin(declare, exchange, exchange_type, passive, durable, auto_delete, internal, arguments)

    def exchange_delete(self, exchange: str | None = None, if_unused: bool = False) -> defer.Deferred[Any]:
        """Delete an exchange (exchange.delete).

        :param exchange: its name
        :param if_unused: only when nothing is bound to it
        :returns: a Deferred of exchange.delete-ok
        """
        return self._begin(self._channel.exchange_delete, exchange, if_unused)

    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments | None = None
    ) -> defer.Deferred[Any]:
        """Bind an exchange to another one (exchange.bind, RabbitMQ's extension).

        :param destination: the exchange that gets the messages
        :param source: the exchange that they come from
        :param routing_key: the binding's routing key
        :param arguments: for a headers exchange, what to match
        :returns: a Deferred of exchange.bind-ok
        """
        return self._begin(self._channel.exchange_bind, destination, source, routing_key, arguments)

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments | None = None
    ) -> defer.Deferred[Any]:
        """Undo the binding of an exchange to another one (exchange.unbind, RabbitMQ's extension).

        :param destination: the exchange that gets the messages
        :param source: the exchange that they come from
        :param routing_key: the binding's routing key
        :param arguments: the binding's arguments
        :returns: a Deferred of exchange.unbind-ok
        """
        return self._begin(self._channel.exchange_unbind, destination, source, routing_key, arguments)

    # Queues

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments | None = None,
    ) -> defer.Deferred[Any]:
        """Declare a queue (queue.declare).

        :param queue: its name; the empty string lets the broker name it
        :param passive: only ask whether it exists
        :param durable: whether it survives a restart of the broker
        :param exclusive: whether only this connection may use it, and it goes with the connection
        :param auto_delete: whether it goes with its last consumer
        :param arguments: RabbitMQ's extensions, such as ``x-queue-type``
        :returns: a Deferred of queue.declare-ok
        """
        return self._begin(self._channel.queue_declare, queue, passive, durable, exclusive, auto_delete, arguments)

    def queue_bind(
        self, queue: str, exchange: str, routing_key: str | None = None, arguments: Arguments | None = None
    ) -> defer.Deferred[Any]:
        """Bind a queue to an exchange (queue.bind).

        :param queue: the queue
        :param exchange: the exchange
        :param routing_key: the binding's routing key; the queue's name if None
        :param arguments: for a headers exchange, what to match
        :returns: a Deferred of queue.bind-ok
        """
        return self._begin(self._channel.queue_bind, queue, exchange, routing_key, arguments)

    def queue_unbind(
        self, queue: str, exchange: str | None, routing_key: str | None = None, arguments: Arguments | None = None
    ) -> defer.Deferred[Any]:
        """Undo the binding of a queue to an exchange (queue.unbind).

        :param queue: the queue
        :param exchange: the exchange
        :param routing_key: the binding's routing key; the queue's name if None
        :param arguments: the binding's arguments
        :returns: a Deferred of queue.unbind-ok
        """
        return self._begin(self._channel.queue_unbind, queue, exchange, routing_key, arguments)

    def queue_purge(self, queue: str) -> defer.Deferred[Any]:
        """Remove the messages of a queue that await no acknowledgement (queue.purge).

        :param queue: the queue
        :returns: a Deferred of queue.purge-ok
        """
        return self._begin(self._channel.queue_purge, queue)

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False) -> defer.Deferred[Any]:
        """Delete a queue (queue.delete). The queues of its consumers are closed, as the broker cancels these.

        :param queue: the queue
        :param if_unused: only when it has no consumers
        :param if_empty: only when it has no messages
        :returns: a Deferred of queue.delete-ok
        """

        def delete(callback: OnAnswer) -> None:
            def on_deleted(method_frame: frame.Method[spec.Queue.DeleteOk]) -> None:
                for tag in [tag for tag, (name, _messages) in self._consumers.items() if name == queue]:
                    self._end_consumer(tag, f"Queue {queue} was deleted.")
                callback(method_frame)

            self._channel.queue_delete(queue, if_unused, if_empty, on_deleted)

        return self._begin(delete)

    # Consuming

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False
    ) -> defer.Deferred[Any]:
        """Bound the unacknowledged deliveries (basic.qos).

        :param prefetch_size: octets; RabbitMQ has only 0, no bound
        :param prefetch_count: messages, 0 to 65535; 0 is no bound
        :param global_qos: False for each consumer to come, True for all of the channel together (RabbitMQ's meaning)
        :returns: a Deferred of basic.qos-ok
        """
        return self._begin(self._channel.basic_qos, prefetch_size, prefetch_count, global_qos)

    def basic_consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments | None = None,
    ) -> defer.Deferred[Any]:
        """Start a consumer (basic.consume). Messages wait in a queue of the consumer's own; without a limit set with
        :meth:`basic_qos` that can become long.

        :param queue: the queue
        :param auto_ack: whether deliveries need no acknowledgement
        :param exclusive: whether to be the queue's only consumer
        :param consumer_tag: names the consumer; made if None
        :param arguments: RabbitMQ's extensions, such as ``x-priority``
        :returns: a Deferred of a pair: the :class:`ClosableDeferredQueue` of :class:`ReceivedMessage`, and the consumer
            tag. The queue is closed with :class:`~pika.exceptions.ConsumerCancelled` when the consumer is cancelled,
            by whichever side, and with the reason when the channel is closed
        """
        messages = ClosableDeferredQueue()

        def consume(callback: OnAnswer) -> None:
            def on_consuming(method_frame: frame.Method[spec.Basic.ConsumeOk]) -> None:
                tag = method_frame.method.consumer_tag
                self._consumers[tag] = queue, messages
                if not callback((messages, tag)) and self.is_open:
                    # Its Deferred was cancelled: nobody would read them.
                    self.basic_cancel(tag)

            def on_message(_channel: Channel, *message: Any) -> None:
                messages.put(ReceivedMessage(self, *message))

            self._channel.basic_consume(queue, on_message, auto_ack, exclusive, consumer_tag, arguments, on_consuming)

        return self._begin(consume)

    def basic_cancel(self, consumer_tag: str = "") -> defer.Deferred[Any]:
        """Cancel a consumer (basic.cancel). What was delivered and not acknowledged still can be.

        :param consumer_tag: the consumer
        :returns: a Deferred of basic.cancel-ok. A consumer that there is not, or not any more, is no error
        """
        return self._begin(self._cancel, consumer_tag)

    def basic_get(self, queue: str, auto_ack: bool = False) -> defer.Deferred[Any]:
        """Ask for one message of a queue (basic.get).

        :param queue: the queue
        :param auto_ack: whether the message needs no acknowledgement
        :returns: a Deferred of a :class:`ReceivedMessage`, or of None when the queue has none
        :raises pika.exceptions.DuplicateGetOkCallback: when an earlier get is not answered yet
        """
        if self._getting is not None:
            raise exceptions.DuplicateGetOkCallback

        def get(callback: OnAnswer) -> None:
            self._channel.basic_get(queue, lambda _channel, *message: self._on_got(message, auto_ack), auto_ack)
            self._getting = callback

        return self._begin(get)

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a delivery, or several (basic.ack).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is acknowledged as well
        :raises ValueError: when the delivery tag is no integer from 0 to 2**64 - 1
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        self._channel.basic_ack(delivery_tag, multiple)

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or several (basic.nack, RabbitMQ's extension).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is refused as well
        :param requeue: whether to put them back into their queue; else they are dropped or dead-lettered
        :raises ValueError: when the delivery tag is no integer from 0 to 2**64 - 1
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        self._channel.basic_nack(delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """Refuse a delivery (basic.reject).

        :param delivery_tag: the delivery
        :param requeue: whether to put it back into its queue; else it is dropped or dead-lettered
        :raises ValueError: when the delivery tag is no integer from 0 to 2**64 - 1
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        self._channel.basic_reject(delivery_tag, requeue)

    def basic_recover(self, requeue: bool = False) -> defer.Deferred[Any]:
        """Ask for the channel's unacknowledged deliveries again (basic.recover).

        :param requeue: whether other consumers may get them; RabbitMQ has only True
        :returns: a Deferred of basic.recover-ok
        """
        return self._begin(self._channel.basic_recover, requeue)

    # Publishing

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | str,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> defer.Deferred[Any]:
        """Publish a message (basic.publish). It does not wait for the network: what the broker does not take at once is
        kept; ``channel.connection`` tells how much, and calls back when it becomes much
        (:meth:`~pika.adapters.base_connection.BaseConnection.add_on_output_paused_callback`).

        :param exchange: the exchange; the empty string is the default exchange, which routes to the queue that
            `routing_key` names
        :param routing_key: the routing key
        :param body: the body; a str is encoded as UTF-8
        :param properties: the message's properties
        :param mandatory: whether the broker returns the message when no queue takes it
        :returns: a Deferred. Behind :meth:`confirm_delivery`, of the ``Basic.Ack`` that confirms the message; it fails
            with :class:`~pika.exceptions.NackError` when the broker refused it, and with
            :class:`~pika.exceptions.UnroutableError` when it came back. Otherwise it has fired already, with None
        :raises TypeError: when an argument is of another type
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closing
        :raises pika.exceptions.ShortStringTooLong: when exchange or routing key have over 255 octets
        :raises pika.adapters.base_connection.OutputLimitExceeded: when too much waits to be sent already
        :raises ValueError: when the properties do not fit into a frame
        """
        if self._closed is not None:
            return defer.fail(self._closed)
        publish = functools.partial(self._channel.basic_publish, exchange, routing_key, body, properties, mandatory)
        if not self._delivery_confirmation:
            publish()
            return defer.succeed(None)
        deferred = self._calls.new()
        self._channel._confirmation = confirmation = protocol.Confirmation()
        confirmation.on_done = lambda confirmation: self._settled.append((deferred, confirmation))
        try:
            publish()
        except BaseException:
            self._calls.forget(None, deferred)
            raise
        finally:
            self._channel._confirmation = None
        return deferred

    def confirm_delivery(self) -> defer.Deferred[Any]:
        """Have the broker confirm what is published from now on (confirm.select, RabbitMQ's extension): the Deferred of
        :meth:`basic_publish` waits for that.

        :returns: a Deferred of confirm.select-ok; the second time it has fired already, with None
        """
        if self._delivery_confirmation and self._closed is None:
            return defer.succeed(None)
        deferred = self._begin(self._channel.confirm_delivery, self._on_delivery_confirmation)
        # One that was refused at once has fired.
        self._delivery_confirmation = not deferred.called
        return deferred

    # Transactions

    def tx_select(self) -> defer.Deferred[Any]:
        """Put the channel into transaction mode (tx.select).

        :returns: a Deferred of tx.select-ok
        """
        return self._begin(self._channel.tx_select)

    def tx_commit(self) -> defer.Deferred[Any]:
        """Commit the publishes and acknowledgements since the last commit or rollback (tx.commit).

        :returns: a Deferred of tx.commit-ok
        """
        return self._begin(self._channel.tx_commit)

    def tx_rollback(self) -> defer.Deferred[Any]:
        """Abandon the publishes and acknowledgements since the last commit or rollback (tx.rollback).

        :returns: a Deferred of tx.rollback-ok
        """
        return self._begin(self._channel.tx_rollback)

    # Insides

    def _begin(self, operation: Callable[..., object], *arguments: Any) -> defer.Deferred[Any]:
        """Begin an operation that takes a ``callback``, and return a Deferred of what that will be called with."""
        if self._closed is not None:
            return defer.fail(self._closed)
        deferred = self._calls.new()
        try:
            operation(*arguments, callback=functools.partial(fire, deferred))
        except Exception:
            deferred.errback()
        return deferred

    def _cancel(self, consumer_tag: str, callback: OnAnswer) -> None:
        require_text("consumer_tag", consumer_tag)
        waiting = self._cancels.get(consumer_tag)
        being_cancelled = consumer_tag in self._channel._cancelled
        # Where another consumer has got the tag meanwhile, that one is meant.
        if waiting is not None and being_cancelled:
            waiting.append(callback)
        elif self.is_open and (being_cancelled or consumer_tag not in self.consumer_tags):
            # What the broker would answer.
            callback(frame.Method(self.channel_number, spec.Basic.CancelOk(consumer_tag)))
        else:
            callbacks = [callback]
            self._channel.basic_cancel(consumer_tag, functools.partial(self._on_cancelok, callbacks))
            self._cancels[consumer_tag] = callbacks

    def _on_cancelok(self, callbacks: list[OnAnswer], method_frame: frame.Method[spec.Basic.CancelOk]) -> None:
        consumer_tag = method_frame.method.consumer_tag
        if self._cancels.get(consumer_tag) is callbacks:
            del self._cancels[consumer_tag]
        self._end_consumer(consumer_tag)
        for callback in callbacks:
            callback(method_frame)

    def _on_consumer_cancelled_by_broker(self, method_frame: frame.Method[spec.Basic.Cancel]) -> None:
        self._end_consumer(method_frame.method.consumer_tag)

    def _end_consumer(self, consumer_tag: str, *why: str) -> None:
        if consumer_tag in self._consumers:
            _, messages = self._consumers.pop(consumer_tag)
            messages.close(exceptions.ConsumerCancelled(*why))

    def _on_got(self, message: tuple[Any, ...] | None, auto_ack: bool = True) -> None:
        callback, self._getting = self._getting, None
        if callback is None:
            return
        taken = callback(None if message is None else ReceivedMessage(self, *message))
        if message is not None and not taken and not auto_ack and self.is_open:
            # The Deferred was cancelled: nobody would ever acknowledge it.
            self._channel.basic_reject(message[0].delivery_tag, requeue=True)

    def _on_delivery_confirmation(self, method_frame: frame.Method[Any]) -> None:
        """Tell the Deferreds of what the broker's ack or nack has settled, which is when its event was taken."""
        settled, self._settled = self._settled, []
        for deferred, confirmation in settled:
            returned = confirmation.returned
            messages = [] if returned is None else [ReceivedMessage(self, *returned)]
            if confirmation.outcome is protocol.Outcome.NACKED:
                fail(deferred, exceptions.NackError(messages))
            elif confirmation.outcome is protocol.Outcome.RETURNED:
                fail(deferred, exceptions.UnroutableError(messages))
            else:
                fire(deferred, method_frame.method)

    def _on_channel_closed(self, _channel: Channel, reason: BaseException) -> None:
        self._closed = reason
        self._getting = None
        self._settled.clear()
        self._calls.fail(reason)
        consumers, self._consumers = self._consumers, {}
        for _, messages in consumers.values():
            messages.close(reason)
        fire(self.on_closed, reason)
