"""The callback API of a channel."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, ClassVar, TypeVar, cast

from pika import exceptions, frame, protocol, spec
from pika._arguments import ArgumentTypeError, as_body, nowait_unless, require_callable, require_given, require_text
from pika.amqp_object import Method
from pika.connection.assembler import ContentFrameAssembler
from pika.connection.channel_events import ON_CLOSE, ON_RETURN, ChannelEvents, OnMessage, OnMethod
from pika.connection.detached import inside_of, protocol_for
from pika.protocol import ChannelState

if TYPE_CHECKING:
    from pika.connection import Connection

LOGGER = logging.getLogger(__name__)

#: How many channels AMQP has numbers for.
MAX_CHANNELS = frame.CHANNEL_MAX

Content = tuple["spec.BasicProperties", bytes]
Operation = TypeVar("Operation", bound=Callable[..., Any])

__all__ = ["MAX_CHANNELS", "Channel", "ContentFrameAssembler"]


def _operation(method: Operation) -> Operation:
    """Decorate what acts on a channel: one thread at a time may, and all of it is done or nothing.

    ``basic_publish`` and ``basic_ack`` have this written out, for speed: what is changed here is changed there.
    """

    @functools.wraps(method)
    def guarded(self: Channel, *args: Any, **kwargs: Any) -> Any:
        inside = self._inside
        if not inside.acquire(False):
            inside.refuse(self, method.__name__)
        busy, begun = inside.busy, self._protocol.begun
        try:
            inside.busy = busy + 1
            return method(self, *args, **kwargs)
        except BaseException as error:
            if self._protocol.begun != begun:
                inside.give_up(error)
            raise
        finally:
            inside.busy = busy
            inside.release()

    return cast(Operation, guarded)


class Channel(ChannelEvents):
    """A channel of a :class:`~pika.connection.Connection`, which makes it with ``connection.channel()``.

    One operation that the broker answers is outstanding at a time, and the next ones wait for it. With
    ``callback`` an operation calls back as ``callback(method_frame)`` when the broker has answered; without, it
    asks for no answer where AMQP has a ``nowait``, except that a consumer is always answered. No callback is called
    for an operation that fails: the broker closes the channel, and the close callback says why.

    A call that comes while another thread is inside the connection raises
    :class:`~pika.exceptions.WrongThreadError`, and nothing is sent.

    :param connection: the connection
    :param channel_number: the number, from 1 to 65535; None takes the lowest that is free
    :param on_open_callback: called as ``callback(channel)`` when the channel is open
    :raises TypeError: when `on_open_callback` is not callable
    :raises pika.exceptions.InvalidChannelNumber: when the number is in use or out of range
    """

    CLOSED: ClassVar[int] = ChannelState.CLOSED.value
    OPENING: ClassVar[int] = ChannelState.OPENING.value
    OPEN: ClassVar[int] = ChannelState.OPEN.value
    CLOSING: ClassVar[int] = ChannelState.CLOSING.value

    def __init__(
        self,
        connection: Connection,
        channel_number: int | None = None,
        on_open_callback: Callable[[Channel], object] | None = None,
    ) -> None:
        if on_open_callback is not None:
            require_callable(on_open_callback, "on_open_callback")
        super().__init__(connection, protocol_for(self, connection, channel_number), on_open_callback)
        self._protocol.pipelining = False
        self._inside = inside_of(connection)
        # For the next publish: what is told of its outcome, if anything is.
        self._confirmation: protocol.Confirmation | None = None

    def __int__(self) -> int:
        return self.channel_number

    def __repr__(self) -> str:
        return f"<Channel number={self.channel_number} {self._protocol.state.name} conn={self.connection!r}>"

    # State

    @property
    def is_open(self) -> bool:
        """Whether the channel is open."""
        return self._protocol.state is ChannelState.OPEN

    @property
    def is_opening(self) -> bool:
        """Whether the channel awaits the broker's open-ok."""
        return self._protocol.state is ChannelState.OPENING

    @property
    def is_closing(self) -> bool:
        """Whether the channel awaits the broker's close-ok."""
        return self._protocol.state is ChannelState.CLOSING

    @property
    def is_closed(self) -> bool:
        """Whether the channel is closed, which is final."""
        return self._protocol.state is ChannelState.CLOSED

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of the channel's consumers."""
        return list(self._consumers)

    # Callbacks

    def add_callback(
        self, callback: Callable[..., object], replies: Iterable[type[Method]], one_shot: bool = True
    ) -> None:
        """Have a function called when a method of one of several classes arrives.

        :param callback: called as ``callback(method_frame)``
        :param replies: the classes, of :mod:`pika.spec`
        :param one_shot: whether to call it once only
        :raises TypeError: when it is not callable, or `replies` no list
        """
        require_callable(callback)
        for reply in replies:
            self.callbacks.add(self.channel_number, reply, callback, one_shot)

    def add_on_cancel_callback(self, callback: OnMethod) -> None:
        """Have a function called when the broker cancels a consumer (RabbitMQ's consumer_cancel_notify).

        :param callback: called as ``callback(method_frame)``, with basic.cancel
        :raises TypeError: when it is not callable
        """
        self.callbacks.add(self.channel_number, spec.Basic.Cancel, require_callable(callback), False)

    def add_on_close_callback(self, callback: Callable[[Channel, BaseException], object]) -> None:
        """Have a function called when the channel is closed, by whichever side or with its connection.

        :param callback: called as ``callback(channel, reason)``
        :raises TypeError: when it is not callable
        """
        self.callbacks.add(self.channel_number, ON_CLOSE, require_callable(callback), False, self)

    def add_on_flow_callback(self, callback: OnMethod) -> None:
        """Have a function called when the broker asks to pause publishing or to go on (channel.flow).

        :param callback: called as ``callback(method_frame)``, with channel.flow
        :raises TypeError: when it is not callable
        """
        self.callbacks.add(self.channel_number, spec.Channel.Flow, require_callable(callback), False)

    def add_on_return_callback(self, callback: OnMessage) -> None:
        """Have a function called when a mandatory message that no queue took comes back (basic.return).

        :param callback: called as ``callback(channel, method, properties, body)``
        :raises TypeError: when it is not callable
        """
        self.callbacks.add(self.channel_number, ON_RETURN, require_callable(callback), False)

    # Opening and closing

    @_operation
    def open(self) -> None:
        """Open the channel; ``connection.channel()`` does it.

        :raises pika.exceptions.ChannelWrongStateError: when it was opened before
        """
        self._rpc(self._protocol.open(), self._on_openok)

    @_operation
    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Close the channel; the close callback reports the end.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :raises pika.exceptions.ChannelWrongStateError: when it is closing or closed already
        """
        self._protocol.close(reply_code, reply_text)
        self._begin_closing()
        self._flush()

    @_operation
    def flow(self, active: bool, callback: OnMethod | None = None) -> None:
        """Ask the broker to pause deliveries (False) or to go on (True) (channel.flow). RabbitMQ refuses to pause.

        :param active: whether to deliver
        :param callback: called as ``callback(active)`` with what the broker answered
        :raises TypeError: when `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        nowait_unless(callback)
        wrapped = None if callback is None else lambda method_frame: callback(method_frame.method.active)
        self._rpc(self._protocol.flow(active), wrapped)

    # Exchanges

    @_operation
    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
        callback: OnMethod | None = None,
    ) -> None:
        """Declare an exchange (exchange.declare).

        :param exchange: its name
        :param exchange_type: ``direct``, ``fanout``, ``topic``, ``headers``, or what a plugin adds
        :param passive: only ask whether it exists
        :param durable: whether it survives a restart of the broker
        :param auto_delete: whether it goes with its last binding
        :param internal: whether only other exchanges can publish to it
        :param arguments: RabbitMQ's extensions, such as ``alternate-exchange``
        :param callback: called as ``callback(method_frame)``, with exchange.declare-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("exchange", exchange)
        exchange_type = getattr(exchange_type, "value", exchange_type)
        nowait = nowait_unless(callback)
        reply = self._protocol.exchange_declare(
            exchange, exchange_type, passive, durable, auto_delete, internal, nowait, arguments
        )
        self._rpc(reply, callback)

    @_operation
    def exchange_delete(
        self, exchange: str | None = None, if_unused: bool = False, callback: OnMethod | None = None
    ) -> None:
        """Delete an exchange (exchange.delete).

        :param exchange: its name
        :param if_unused: only when nothing is bound to it
        :param callback: called as ``callback(method_frame)``, with exchange.delete-ok
        :raises TypeError: when `exchange` is left out or no str, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        nowait = nowait_unless(callback)
        self._rpc(self._protocol.exchange_delete(require_given("exchange", exchange), if_unused, nowait), callback)

    @_operation
    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        callback: OnMethod | None = None,
    ) -> None:
        """Bind an exchange to another one (exchange.bind, RabbitMQ's extension).

        :param destination: the exchange that gets the messages
        :param source: the exchange that they come from
        :param routing_key: the binding's routing key
        :param arguments: for a headers exchange, what to match
        :param callback: called as ``callback(method_frame)``, with exchange.bind-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("destination", destination)
        require_text("source", source)
        nowait = nowait_unless(callback)
        self._rpc(self._protocol.exchange_bind(destination, source, routing_key, nowait, arguments), callback)

    @_operation
    def exchange_unbind(
        self,
        destination: str | None = None,
        source: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        callback: OnMethod | None = None,
    ) -> None:
        """Undo the binding of an exchange to another one (exchange.unbind, RabbitMQ's extension).

        :param destination: the exchange that gets the messages
        :param source: the exchange that they come from
        :param routing_key: the binding's routing key
        :param arguments: the binding's arguments
        :param callback: called as ``callback(method_frame)``, with exchange.unbind-ok
        :raises TypeError: when an exchange is left out, an argument of another type, or `callback` not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        destination, source = require_given("destination", destination), require_given("source", source)
        nowait = nowait_unless(callback)
        self._rpc(self._protocol.exchange_unbind(destination, source, routing_key, nowait, arguments), callback)

    # Queues

    @_operation
    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        callback: OnMethod | None = None,
    ) -> None:
        """Declare a queue (queue.declare).

        :param queue: its name; the empty string lets the broker name it
        :param passive: only ask whether it exists
        :param durable: whether it survives a restart of the broker
        :param exclusive: whether only this connection may use it, and it goes with the connection
        :param auto_delete: whether it goes with its last consumer
        :param arguments: RabbitMQ's extensions, such as ``x-queue-type``
        :param callback: called as ``callback(method_frame)``, with queue.declare-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("queue", queue)
        nowait = nowait_unless(callback)
        reply = self._protocol.queue_declare(queue, passive, durable, exclusive, auto_delete, nowait, arguments)
        self._rpc(reply, callback)

    @_operation
    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        callback: OnMethod | None = None,
    ) -> None:
        """Bind a queue to an exchange (queue.bind).

        :param queue: the queue
        :param exchange: the exchange
        :param routing_key: the binding's routing key; the queue's name if None
        :param arguments: for a headers exchange, what to match
        :param callback: called as ``callback(method_frame)``, with queue.bind-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("queue", queue)
        require_text("exchange", exchange)
        nowait = nowait_unless(callback)
        key = queue if routing_key is None else routing_key
        self._rpc(self._protocol.queue_bind(queue, exchange, key, nowait, arguments), callback)

    @_operation
    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        callback: OnMethod | None = None,
    ) -> None:
        """Undo the binding of a queue to an exchange (queue.unbind).

        :param queue: the queue
        :param exchange: the exchange
        :param routing_key: the binding's routing key; the queue's name if None
        :param arguments: the binding's arguments
        :param callback: called as ``callback(method_frame)``, with queue.unbind-ok
        :raises TypeError: when `exchange` is left out, an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("queue", queue)
        nowait_unless(callback)
        key = queue if routing_key is None else routing_key
        self._rpc(self._protocol.queue_unbind(queue, require_given("exchange", exchange), key, arguments), callback)

    @_operation
    def queue_purge(self, queue: str, callback: OnMethod | None = None) -> None:
        """Remove the messages of a queue that await no acknowledgement (queue.purge).

        :param queue: the queue
        :param callback: called as ``callback(method_frame)``, with queue.purge-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("queue", queue)
        self._rpc(self._protocol.queue_purge(queue, nowait_unless(callback)), callback)

    @_operation
    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, callback: OnMethod | None = None
    ) -> None:
        """Delete a queue (queue.delete).

        :param queue: the queue
        :param if_unused: only when it has no consumers
        :param if_empty: only when it has no messages
        :param callback: called as ``callback(method_frame)``, with queue.delete-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("queue", queue)
        self._rpc(self._protocol.queue_delete(queue, if_unused, if_empty, nowait_unless(callback)), callback)

    # Consuming

    @_operation
    def basic_qos(
        self,
        prefetch_size: int = 0,
        prefetch_count: int = 0,
        global_qos: bool = False,
        callback: OnMethod | None = None,
    ) -> None:
        """Bound the unacknowledged deliveries (basic.qos).

        :param prefetch_size: octets; RabbitMQ has only 0, no bound
        :param prefetch_count: messages, 0 to 65535; 0 is no bound
        :param global_qos: False for each consumer to come, True for all of the channel together (RabbitMQ's meaning)
        :param callback: called as ``callback(method_frame)``, with basic.qos-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        :raises ValueError: when a bound is negative
        """
        bounds: dict[str, Any] = {"prefetch_size": prefetch_size, "prefetch_count": prefetch_count}
        for name, value in bounds.items():
            if isinstance(value, int) and value < 0:
                raise ValueError(f"{name} must be >= 0, but got {value!r}")
        nowait_unless(callback)
        self._rpc(self._protocol.basic_qos(prefetch_size, prefetch_count, global_qos), callback)

    @_operation
    def basic_consume(
        self,
        queue: str,
        on_message_callback: OnMessage,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        callback: OnMethod | None = None,
    ) -> str:
        """Start a consumer (basic.consume).

        :param queue: the queue
        :param on_message_callback: called as ``on_message_callback(channel, method, properties, body)``
        :param auto_ack: whether deliveries need no acknowledgement
        :param exclusive: whether to be the queue's only consumer
        :param consumer_tag: names the consumer; made if None
        :param arguments: RabbitMQ's extensions, such as ``x-priority``
        :param callback: called as ``callback(method_frame)``, with basic.consume-ok
        :returns: the consumer tag
        :raises TypeError: when an argument is of another type, or one of the callbacks is not callable
        :raises pika.exceptions.DuplicateConsumerTag: when the channel has a consumer of this tag
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("queue", queue)
        require_callable(on_message_callback, "on_message_callback")
        nowait_unless(callback)
        self._raise_if_not_open()
        tag = consumer_tag or self._generate_consumer_tag()
        reply = self._protocol.basic_consume(
            queue, tag, no_ack=auto_ack, exclusive=exclusive, arguments=arguments or {}
        )
        # Of the one that is being cancelled just now and had this tag, nothing is left.
        self._forget_consumer(tag)
        self._consumers[tag] = on_message_callback
        if auto_ack:
            self._consumers_with_noack.add(tag)
        self._rpc(reply, callback)
        return tag

    def _generate_consumer_tag(self) -> str:
        return f"ctag{self.channel_number}.{uuid.uuid4().hex}"

    @_operation
    def basic_cancel(self, consumer_tag: str = "", callback: OnMethod | None = None) -> None:
        """Cancel a consumer (basic.cancel). What was delivered and not acknowledged still can be.

        :param consumer_tag: the consumer
        :param callback: called as ``callback(method_frame)``, with basic.cancel-ok
        :raises TypeError: when an argument is of another type, or `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        require_text("consumer_tag", consumer_tag)
        nowait = nowait_unless(callback)
        self._raise_if_not_open()
        if consumer_tag not in self._consumers or consumer_tag in self._cancelled:
            LOGGER.warning("basic_cancel - consumer not found or already cancelled: %s", consumer_tag)
            return
        # Without acknowledgements a late delivery has left its queue for good: it still goes to the consumer, until
        # cancel-ok says that there are no more. With nowait nothing says so, and late ones are dropped.
        reply = self._protocol.basic_cancel(consumer_tag, nowait)
        if nowait:
            self._forget_consumer(consumer_tag)
        else:
            self._cancelled.add(consumer_tag)
        self._rpc(reply, callback)

    @_operation
    def basic_get(self, queue: str, callback: OnMessage, auto_ack: bool = False) -> None:
        """Ask for one message of a queue (basic.get).

        :param queue: the queue
        :param callback: called as ``callback(channel, method, properties, body)`` when there is a message; when
            there is none, a callback added for ``Basic.GetEmpty`` with :meth:`add_callback` is called
        :param auto_ack: whether the message needs no acknowledgement
        :raises TypeError: when `queue` is no str, or `callback` is not callable
        :raises pika.exceptions.DuplicateGetOkCallback: when an earlier get is not answered yet
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        if type(queue) is not str:
            require_text("queue", queue)
        require_callable(callback)
        if self._on_getok_callback is not None:
            raise exceptions.DuplicateGetOkCallback
        rules = self._protocol
        rules.basic_get(queue, auto_ack)
        self._on_getok_callback = callback
        if not rules.detached:
            self.connection._flush()

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a delivery (basic.ack).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is acknowledged as well
        :raises ValueError: when the delivery tag is no integer from 0 to 2**64 - 1
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        inside = self._inside
        if not inside.acquire(False):
            inside.refuse(self, "basic_ack")
        # As _operation does it, without the calls: this is the hot path of consuming.
        busy, half_done = inside.busy, False
        try:
            inside.busy = busy + 1
            rules = self._protocol
            if type(self)._send_method is not _SEND_METHOD or "_send_method" in self.__dict__ or rules.detached:
                self._settle_tapped(spec.Basic.Ack(delivery_tag, multiple))
                return
            if rules.state is not _OPEN:
                rules.require_open()
            encoded = frame.encode_ack(rules.number, delivery_tag, multiple)
            half_done = True
            rules.send(encoded)
            half_done = False
            self.connection._flush()
        except BaseException as error:
            if half_done:
                inside.give_up(error)
            raise
        finally:
            inside.busy = busy
            inside.release()

    @_operation
    def _settle_tapped(self, method: Method) -> None:
        self._send_tapped(method)

    @_operation
    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or several (basic.nack, RabbitMQ's extension).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is refused as well
        :param requeue: whether to put them back into their queue; else they are dropped or dead-lettered
        :raises ValueError: when the delivery tag is no integer from 0 to 2**64 - 1
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        if self._is_tapped():
            self._send_tapped(spec.Basic.Nack(delivery_tag, multiple, requeue))
            return
        self._protocol.basic_nack(delivery_tag, multiple, requeue)
        self.connection._flush()

    @_operation
    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse a delivery (basic.reject).

        :param delivery_tag: the delivery
        :param requeue: whether to put it back into its queue; else it is dropped or dead-lettered
        :raises ValueError: when the delivery tag is no integer from 0 to 2**64 - 1
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        if self._is_tapped():
            self._send_tapped(spec.Basic.Reject(delivery_tag, requeue))
            return
        self._protocol.basic_reject(delivery_tag, requeue)
        self.connection._flush()

    @_operation
    def basic_recover(self, requeue: bool = False, callback: OnMethod | None = None) -> None:
        """Ask for the channel's unacknowledged deliveries again (basic.recover).

        :param requeue: whether other consumers may get them; RabbitMQ has only True
        :param callback: called as ``callback(method_frame)``, with basic.recover-ok
        :raises TypeError: when `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        nowait_unless(callback)
        self._rpc(self._protocol.basic_recover(requeue), callback)

    # Publishing

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | bytearray | memoryview | str,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish a message (basic.publish).

        :param exchange: the exchange; the empty string is the default exchange, which routes to the queue that
            `routing_key` names
        :param routing_key: the routing key
        :param body: the body; a str is encoded as UTF-8
        :param properties: the message's properties
        :param mandatory: whether the broker returns the message when no queue takes it
        :raises TypeError: when an argument is of another type
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        :raises pika.exceptions.ShortStringTooLong: when exchange or routing key have over 255 octets
        :raises ValueError: when the properties do not fit into a frame
        """
        inside = self._inside
        if not inside.acquire(False):
            inside.refuse(self, "basic_publish")
        # As _operation does it, without the calls: this is the hot path of publishing.
        busy, half_done = inside.busy, False
        try:
            inside.busy = busy + 1
            if type(body) is not bytes:
                body = as_body(body)
            if not properties:
                properties = None
            elif not isinstance(properties, spec.BasicProperties):
                raise ArgumentTypeError(f"properties must be a pika.BasicProperties, but got {properties!r}")
            connection, rules = self.connection, self._protocol
            if connection._is_congested:
                connection._require_room()
            if type(self)._send_method is not _SEND_METHOD or "_send_method" in self.__dict__ or rules.detached:
                self._publish_tapped(exchange, routing_key, body, properties, mandatory)
                return
            if rules.state is not _OPEN:
                rules.require_open()
            pieces = rules.encode_publish(exchange, routing_key, body, properties, mandatory)
            half_done = True
            taken = rules.send_publish(pieces, self._confirmation, exchange, routing_key, body, mandatory)
            # The books are kept. What an exception leaves unsent goes out with what is sent next.
            half_done = False
            if not taken:
                rules.require_open()
            connection._flush()
        except BaseException as error:
            if half_done:
                inside.give_up(error)
            raise
        finally:
            inside.busy = busy
            inside.release()

    @_operation
    def _publish_tapped(
        self, exchange: str, routing_key: str, body: bytes, properties: spec.BasicProperties | None, mandatory: bool
    ) -> None:
        method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
        self._send_tapped(method, (properties or spec.BasicProperties(), body))

    @_operation
    def confirm_delivery(self, ack_nack_callback: OnMethod, callback: OnMethod | None = None) -> None:
        """Have the broker confirm what is published from now on (confirm.select, RabbitMQ's extension).

        :param ack_nack_callback: called as ``callback(method_frame)`` with each basic.ack and basic.nack of the broker
        :param callback: called as ``callback(method_frame)``, with confirm.select-ok
        :raises TypeError: when `callback` is not callable
        :raises ValueError: when `ack_nack_callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        :raises pika.exceptions.MethodNotImplemented: when the broker has no confirms, or no basic.nack
        """
        if not callable(ack_nack_callback):
            raise ValueError(f"confirm_delivery requires a callback to receive ack/nack, but got {ack_nack_callback!r}")
        reply = self._select_confirms(nowait_unless(callback))
        for method in (spec.Basic.Ack, spec.Basic.Nack):
            self.callbacks.add(self.channel_number, method, ack_nack_callback, False)
        self._rpc(reply, callback)

    @_operation
    def _confirm_silently(self, callback: OnMethod) -> None:
        """As :meth:`confirm_delivery`, where each publish learns of its own outcome.

        :param callback: called as ``callback(method_frame)``, with confirm.select-ok
        """
        self._rpc(self._select_confirms(nowait=False), callback)

    def _select_confirms(self, nowait: bool) -> protocol.Reply[Any] | None:
        self._raise_if_not_open()
        # A stand-in for a connection has no broker that could lack them.
        if not self._protocol.detached and not (self.connection.publisher_confirms and self.connection.basic_nack):
            raise exceptions.MethodNotImplemented("Confirm.Select not Supported by Server")
        return self._protocol.confirm_select(nowait)

    # Transactions

    @_operation
    def tx_select(self, callback: OnMethod | None = None) -> None:
        """Put the channel into transaction mode (tx.select).

        :param callback: called as ``callback(method_frame)``, with tx.select-ok
        :raises TypeError: when `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        nowait_unless(callback)
        self._rpc(self._protocol.tx_select(), callback)

    @_operation
    def tx_commit(self, callback: OnMethod | None = None) -> None:
        """Commit the publishes and acknowledgements since the last commit or rollback (tx.commit).

        :param callback: called as ``callback(method_frame)``, with tx.commit-ok
        :raises TypeError: when `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        nowait_unless(callback)
        self._rpc(self._protocol.tx_commit(), callback)

    @_operation
    def tx_rollback(self, callback: OnMethod | None = None) -> None:
        """Abandon the publishes and acknowledgements since the last commit or rollback (tx.rollback).

        :param callback: called as ``callback(method_frame)``, with tx.rollback-ok
        :raises TypeError: when `callback` is not callable
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        nowait_unless(callback)
        self._rpc(self._protocol.tx_rollback(), callback)

    # Insides

    def _raise_if_not_open(self) -> None:
        self._protocol.require_open()

    def _set_state(self, state: int) -> None:
        """Put the channel into a state: for tests of programs, which have no broker to open it.

        :param state: one of ``OPEN`` and its siblings
        """
        self._protocol.state = ChannelState(state)

    def _is_tapped(self) -> bool:
        """Whether what is sent goes through :meth:`_send_method`: somebody has put a patch on that, or there is no
        broker behind the connection."""
        return type(self)._send_method is not _SEND_METHOD or "_send_method" in self.__dict__ or self._protocol.detached

    def _send_tapped(self, method: Method, *content: Content) -> None:
        # Whoever has put the patch there is given as many arguments as it is in pika.
        self._raise_if_not_open()
        self._send_method(method, *content)

    def _send_method(self, method: Method, content: Content | None = None) -> None:
        """Send a method as it is, with its content if it has one.

        :param method: the method
        :param content: properties and body
        """
        if self._protocol.detached:
            self.connection._send_method(self.channel_number, method, content)
            return
        if isinstance(method, spec.Basic.Publish):
            properties, body = content or (None, b"")
            self._protocol.basic_publish(
                method.exchange, method.routing_key, body, properties, method.mandatory, self._confirmation
            )
        elif type(method) not in spec.replies:
            self._raise_if_not_open()
            self._protocol.send(frame.encode_method(self.channel_number, method))
        elif getattr(method, "nowait", False):
            self._protocol.call_nowait(method)
        else:
            self._protocol.call(method)
        self.connection._flush()

    def _rpc(self, reply: protocol.Reply[Any] | None, callback: OnMethod | None) -> None:
        if reply is not None and callback is not None:
            self._callbacks_by_reply[reply] = self.callbacks.next_order(), callback
        if not self._protocol.detached:
            self.connection._flush()

    def _flush(self) -> None:
        if not self._protocol.detached:
            self.connection._flush()


_OPEN = ChannelState.OPEN
_SEND_METHOD = Channel._send_method
