"""BlockingChannel: the operations of a channel, each of which returns when the broker has answered."""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Callable, NoReturn, Union

from pika import channel as channel_module
from pika import exceptions, frame, spec
from pika._arguments import as_body, require_callable
from pika._threads import Inside, one_thread, one_thread_as
from pika.adapters.blocking_deliveries import ON_CANCEL, Deliveries
from pika.adapters.blocking_events import (
    LOGGER,
    ConsumerEvent,
    OnMessage,
    OnReturn,
    ReturnedMessage,
    _CallbackResult,
    _ConsumerInfo,
)
from pika.adapters.queue_consumer import QueueConsumer
from pika.protocol import Confirmation, Outcome

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingConnection

Arguments = Union[Mapping[str, Any], None]


class BlockingChannel(Deliveries):
    """A channel of a :class:`BlockingConnection`, which makes it with ``connection.channel()``.

    Its operations return when the broker has answered. Consumers' callbacks are called while
    ``start_consuming``, ``connection.process_data_events`` or ``connection.sleep`` runs, and from nowhere else.

    Every operation raises :class:`~pika.exceptions.ChannelWrongStateError` on a channel that is not open, and the
    reason of the end (such as :class:`~pika.exceptions.ChannelClosedByBroker`) when the channel or its connection
    ends while it waits.

    :param channel_impl: the callback channel that it stands on
    :param connection: the connection
    """

    def __init__(self, channel_impl: channel_module.Channel, connection: BlockingConnection) -> None:
        super().__init__(channel_impl, connection)
        self._inside = getattr(connection, "_inside", None) or Inside()
        # The get whose answer is awaited: what is told of a message or of an empty queue, and whether it acknowledges.
        self._get: tuple[_CallbackResult, bool] | None = None
        channel_impl.add_callback(self._on_get_empty, [spec.Basic.GetEmpty], one_shot=False)

    @property
    def _queue_consumer(self) -> QueueConsumer:
        # Made when it is needed: kept here it would lead back here, and only a collection of garbage would free both.
        return QueueConsumer(self)

    def __int__(self) -> int:
        return self.channel_number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} impl={self._impl!r}>"

    def __enter__(self) -> BlockingChannel:
        return self

    def __exit__(self, exc_type: object, value: object, traceback: object) -> None:
        if self.is_open:
            close_after(self.close, exc_type)

    # State

    @property
    def channel_number(self) -> int:
        """The channel's number."""
        return self._impl.channel_number

    @property
    def connection(self) -> BlockingConnection:
        """The channel's connection."""
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether the channel is open."""
        return self._impl.is_open

    @property
    def is_closed(self) -> bool:
        """Whether the channel is closed, which is final."""
        return self._impl.is_closed

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of the channel's consumers."""
        return [] if self.is_closed else list(self._consumer_infos)

    def get_waiting_message_count(self) -> int:
        """Return how many messages have arrived for :meth:`consume` and were not handed out yet."""
        generator = self._queue_consumer_generator
        return 0 if generator is None else len(generator.pending_events)

    # Callbacks

    def add_on_cancel_callback(self, callback: Callable[[frame.Method[spec.Basic.Cancel]], object]) -> None:
        """Have a function called when the broker cancels a consumer, because its queue was deleted for example.

        :param callback: called as ``callback(method_frame)``, with basic.cancel
        """
        self._callbacks.add(self.channel_number, ON_CANCEL, callback, False)

    def add_on_return_callback(self, callback: OnReturn) -> None:
        """Have a function called when a mandatory message comes back; with confirms its publish raises as well.

        :param callback: called as ``callback(channel, method, properties, body)``
        """
        self._on_return.append(callback)

    # Closing

    @one_thread
    def close(self, reply_code: int = 0, reply_text: str = "Normal shutdown") -> None:
        """Close the channel.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :raises pika.exceptions.ChannelClosedByBroker: when the broker closed it first, over something sent before
        """
        if self._connection._impl.interrupted:
            # A signal handler, which cannot wait for an answer: the next round of events does it.
            self._connection._defer(functools.partial(self._close_if_open, reply_code, reply_text))
            return
        self._require_open()
        self._impl.close(reply_code, reply_text)
        self._connection._wait_until(lambda: self._impl.is_closed, f"closing channel {self.channel_number}")
        if not isinstance(self._ending.reason, exceptions.ChannelClosedByClient):
            self._raise_closed()

    def _close_if_open(self, reply_code: int, reply_text: str) -> None:
        if self.is_open:
            self.close(reply_code, reply_text)

    @one_thread
    def flow(self, active: bool) -> bool:
        """Ask the broker to pause deliveries (False) or to go on (True) (channel.flow). RabbitMQ refuses to pause.

        :param active: whether to deliver
        :returns: whether the broker delivers now
        """
        self._require_open()
        self._connection._require_calm("channel.flow")
        result = _CallbackResult()
        self._impl.flow(active, result.set_value_once)
        self._wait(result.is_ready, "channel.flow")
        return bool(result.value)

    # Exchanges

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = None,
    ) -> frame.Method[spec.Exchange.DeclareOk]:
        """Declare an exchange (exchange.declare); see :meth:`pika.channel.Channel.exchange_declare`."""
        declare = functools.partial(
            self._impl.exchange_declare, exchange, exchange_type, passive, durable, auto_delete, internal, arguments
        )
        return self._call("exchange.declare", declare)

    def exchange_delete(
        self, exchange: str | None = None, if_unused: bool = False
    ) -> frame.Method[spec.Exchange.DeleteOk]:
        """Delete an exchange (exchange.delete); see :meth:`pika.channel.Channel.exchange_delete`."""
        return self._call("exchange.delete", functools.partial(self._impl.exchange_delete, exchange, if_unused))

    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> frame.Method[spec.Exchange.BindOk]:
        """Bind an exchange to another one (exchange.bind); see :meth:`pika.channel.Channel.exchange_bind`."""
        bind = functools.partial(self._impl.exchange_bind, destination, source, routing_key, arguments)
        return self._call("exchange.bind", bind)

    def exchange_unbind(
        self,
        destination: str | None = None,
        source: str | None = None,
        routing_key: str = "",
        arguments: Arguments = None,
    ) -> frame.Method[spec.Exchange.UnbindOk]:
        """Undo a binding of exchanges (exchange.unbind); see :meth:`pika.channel.Channel.exchange_unbind`."""
        unbind = functools.partial(self._impl.exchange_unbind, destination, source, routing_key, arguments)
        return self._call("exchange.unbind", unbind)

    # Queues

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = None,
    ) -> frame.Method[spec.Queue.DeclareOk]:
        """Declare a queue (queue.declare); see :meth:`pika.channel.Channel.queue_declare`.

        :returns: the answer; ``.method.queue`` is the queue's name, also when the broker chose it
        """
        declare = functools.partial(
            self._impl.queue_declare, queue, passive, durable, exclusive, auto_delete, arguments
        )
        return self._call("queue.declare", declare)

    def queue_bind(
        self, queue: str, exchange: str, routing_key: str | None = None, arguments: Arguments = None
    ) -> frame.Method[spec.Queue.BindOk]:
        """Bind a queue to an exchange (queue.bind); see :meth:`pika.channel.Channel.queue_bind`."""
        return self._call(
            "queue.bind", functools.partial(self._impl.queue_bind, queue, exchange, routing_key, arguments)
        )

    def queue_unbind(
        self, queue: str, exchange: str, routing_key: str | None = None, arguments: Arguments = None
    ) -> frame.Method[spec.Queue.UnbindOk]:
        """Undo a binding of a queue (queue.unbind); see :meth:`pika.channel.Channel.queue_unbind`."""
        unbind = functools.partial(self._impl.queue_unbind, queue, exchange, routing_key, arguments)
        return self._call("queue.unbind", unbind)

    def queue_purge(self, queue: str) -> frame.Method[spec.Queue.PurgeOk]:
        """Remove a queue's messages that await no acknowledgement (queue.purge).

        :param queue: the queue
        :returns: the answer; ``.method.message_count`` says how many there were
        """
        return self._call("queue.purge", functools.partial(self._impl.queue_purge, queue))

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False
    ) -> frame.Method[spec.Queue.DeleteOk]:
        """Delete a queue (queue.delete); see :meth:`pika.channel.Channel.queue_delete`."""
        return self._call("queue.delete", functools.partial(self._impl.queue_delete, queue, if_unused, if_empty))

    # Consuming

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False) -> None:
        """Bound the unacknowledged deliveries (basic.qos); see :meth:`pika.channel.Channel.basic_qos`."""
        self._call("basic.qos", functools.partial(self._impl.basic_qos, prefetch_size, prefetch_count, global_qos))

    def basic_consume(
        self,
        queue: str,
        on_message_callback: OnMessage,
        auto_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
    ) -> str:
        """Start a consumer (basic.consume).

        :param queue: the queue
        :param on_message_callback: called as ``on_message_callback(channel, method, properties, body)``
        :param auto_ack: whether deliveries need no acknowledgement
        :param exclusive: whether to be the queue's only consumer
        :param consumer_tag: names the consumer; made if None
        :param arguments: RabbitMQ's extensions, such as ``x-priority``
        :returns: the consumer tag
        :raises pika.exceptions.DuplicateConsumerTag: when the channel has a consumer of this tag
        """
        require_callable(on_message_callback, "on_message_callback")
        return self._consume(queue, auto_ack, exclusive, consumer_tag, arguments, on_message_callback, None)

    @one_thread
    def _consume(
        self,
        queue: str,
        auto_ack: bool,
        exclusive: bool,
        consumer_tag: str | None,
        arguments: Arguments,
        on_message_callback: OnMessage | None,
        alternate_event_sink: Callable[[ConsumerEvent], object] | None,
    ) -> str:
        self._require_open()
        tag = consumer_tag or self._impl._generate_consumer_tag()
        if tag in self._consumer_infos:
            raise exceptions.DuplicateConsumerTag(tag)
        # Known before it is asked for: deliveries can come before consume-ok.
        self._consumer_infos[tag] = _ConsumerInfo(tag, auto_ack, on_message_callback, alternate_event_sink)
        consume = functools.partial(
            self._impl.basic_consume,
            queue=queue,
            on_message_callback=self._on_consumer_message_delivery,
            auto_ack=auto_ack,
            exclusive=exclusive,
            consumer_tag=tag,
            arguments=arguments,
        )
        try:
            self._call("basic.consume", consume)
        except BaseException:
            self._consumer_infos.pop(tag, None)
            if self._impl.is_open and tag in self._impl._consumers:
                # A signal handler raised while the answer was awaited: the broker must not deliver to nobody.
                self._impl.basic_cancel(tag)
                self._put_back([] if auto_ack else self._take_pending(tag))
            raise
        return tag

    @one_thread
    def basic_cancel(self, consumer_tag: str) -> list[tuple[spec.Basic.Deliver, spec.BasicProperties, bytes]]:
        """Cancel a consumer (basic.cancel). Messages that have arrived for it and were not handed to it are put back.

        :param consumer_tag: the consumer; one that is unknown is ignored
        :returns: of a consumer with `auto_ack`, whose messages cannot be put back, those messages as
            (method, properties, body); else an empty list
        """
        info = self._consumer_infos.get(consumer_tag)
        if info is None:
            LOGGER.warning("basic_cancel() of %r, which is no consumer of %s", consumer_tag, self._place())
            return []
        if self.is_closed:
            return []
        # Cancelled first: what is put back while the consumer is active comes straight back to it.
        if consumer_tag in self._impl._protocol.cancelled:
            # By a call that this one interrupts, or that was interrupted itself.
            self._connection._require_calm("basic.cancel")
            self._wait(lambda: consumer_tag not in self._impl._protocol.cancelled, "basic.cancel")
        elif consumer_tag in self._impl._consumers:
            self._call("basic.cancel", functools.partial(self._impl.basic_cancel, consumer_tag=consumer_tag))
        # Otherwise the broker has cancelled it, and its callback has not been told yet.
        self._consumer_infos.pop(consumer_tag, None)
        self._cancelled_last = info
        pending = self._take_pending(consumer_tag)
        if info.auto_ack:
            return [(event.method, event.properties, event.body) for event in pending]
        self._put_back(pending)
        return []

    @one_thread
    def start_consuming(self) -> None:
        """Hand messages to the consumers' callbacks until no consumer is left (see :meth:`stop_consuming`).

        :raises pika.exceptions.ReentrancyError: when called from inside a callback
        """
        self._connection._require_outermost("start_consuming")
        known = self._ending.told
        if not self._consumer_infos:
            self._require_open()
        while self._consumer_infos:
            try:
                self._process_data_events(time_limit=None)
            except exceptions.ChannelClosed:
                if not known:
                    raise
                # The last messages of a channel whose end was raised before are out.
                self._require_open()

    @one_thread
    def stop_consuming(self, consumer_tag: str | None = None) -> None:
        """Cancel a consumer, or all of them, so that :meth:`start_consuming` returns.

        :param consumer_tag: the consumer; None for all of them
        """
        if self._connection._impl.interrupted:
            # A signal handler, which cannot wait for an answer: the next round of events does it.
            self._connection._defer(functools.partial(self._stop, consumer_tag))
        else:
            self._stop(consumer_tag)

    def _stop(self, consumer_tag: str | None) -> None:
        if consumer_tag is not None:
            self.basic_cancel(consumer_tag)
        else:
            if self._queue_consumer_generator is not None:
                self.cancel()
            for tag in list(self._consumer_infos):
                self.basic_cancel(tag)
        # A signal handler may have called this just before start_consuming waits, which must not begin now.
        self._connection._interrupt_wait(self)

    def consume(
        self,
        queue: str,
        auto_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
        inactivity_timeout: float | None = None,
        consumer_tag: str | None = None,
    ) -> Generator[tuple[spec.Basic.Deliver | Any, spec.BasicProperties | Any, bytes | Any], None, None]:
        """Iterate over a queue's messages, as (method, properties, body).

        The consumer outlives the iteration: another call with the same arguments goes on with it, and
        :meth:`cancel` ends it.

        :param queue: the queue
        :param auto_ack: whether deliveries need no acknowledgement
        :param exclusive: whether to be the queue's only consumer
        :param arguments: RabbitMQ's extensions, such as ``x-priority``
        :param inactivity_timeout: seconds without a message after which (None, None, None) comes; None waits on
        :param consumer_tag: names the consumer; made if None
        :raises ValueError: when a consumer is active that was started with other arguments
        """
        self._queue_consumer.begin((queue, auto_ack, exclusive), consumer_tag, arguments)
        yield from self._queue_consumer.messages(inactivity_timeout)

    @one_thread
    def cancel(self) -> int:
        """End the consumer of :meth:`consume`, and put back what has arrived for it and was not handed out.

        :returns: 0, whatever was put back, as pika 1.4 does
        """
        return self._queue_consumer.cancel()

    @one_thread
    def basic_get(
        self, queue: str, auto_ack: bool = False
    ) -> tuple[spec.Basic.GetOk | Any, spec.BasicProperties | Any, bytes | Any]:
        """Take one message off a queue (basic.get).

        :param queue: the queue
        :param auto_ack: whether the message needs no acknowledgement
        :returns: method, properties and body; three Nones when the queue is empty
        """
        if self._ending.reason is not None:
            if self._connection.is_closed is True:
                raise self._connection._impl._wrong_state("basic_get: the connection is closed")
            self._require_open()
        before = self._get
        if before is not None and (before[0].ready or self._impl._on_getok_callback is not None):
            self._finish_interrupted_get(*before)
            before = None
        if self._inside.busy:
            self._connection._require_calm("basic.get")
        answer = _CallbackResult()
        self._get = (answer, auto_ack)
        try:
            self._impl.basic_get(queue=queue, auto_ack=auto_ack, callback=answer.set_value_once)
            self._wait(answer.is_ready, "basic.get")
        except exceptions.AMQPError:
            self._get = None
            raise
        # Another one than none is that of a get which a signal handler that called this has interrupted, before it was
        # sent.
        self._get = before
        if type(answer.value) is tuple:
            _channel, method, properties, body = answer.value
            return method, properties, body
        return None, None, None

    def _finish_interrupted_get(self, answer: _CallbackResult, auto_ack: bool) -> None:
        """Await the answer that a signal handler kept the last get from awaiting, and put its message back."""
        if self._impl._on_getok_callback is not None:
            self._connection._require_calm("basic.get")
            self._wait(answer.is_ready, "basic.get")
        self._get = None
        if type(answer.value) is not tuple:
            return
        method = answer.value[1]
        if auto_ack:
            LOGGER.warning("basic_get was interrupted: the message that it took from its queue is lost: %r", method)
        else:
            self._impl.basic_reject(method.delivery_tag, requeue=True)

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a delivery (basic.ack).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is acknowledged as well
        """
        # What it stands on refuses other threads, and is all or nothing, unless its own end is interrupted.
        if self._ending.reason is not None:
            self._require_open()
        if self._glance():
            self._require_alive()
        inside = self._inside
        busy = inside.busy
        try:
            self._impl.basic_ack(delivery_tag=delivery_tag, multiple=multiple)
        except BaseException as error:
            inside.require_order_behind(busy, error)
            raise
        if self._ending.reason is not None or self._deferred:
            self._sent()

    @one_thread
    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or several (basic.nack, RabbitMQ's extension).

        :param delivery_tag: the delivery; 0 with `multiple` is all of the channel
        :param multiple: whether everything up to it is refused as well
        :param requeue: whether to put them back into their queue; else they are dropped or dead-lettered
        """
        self._require_open()
        if self._glance():
            self._require_alive()
        self._impl.basic_nack(delivery_tag=delivery_tag, multiple=multiple, requeue=requeue)
        self._sent()

    @one_thread
    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse a delivery (basic.reject).

        :param delivery_tag: the delivery
        :param requeue: whether to put it back into its queue; else it is dropped or dead-lettered
        """
        self._require_open()
        if self._glance():
            self._require_alive()
        self._impl.basic_reject(delivery_tag=delivery_tag, requeue=requeue)
        self._sent()

    def basic_recover(self, requeue: bool = False) -> None:
        """Ask for the channel's unacknowledged deliveries again (basic.recover).

        :param requeue: whether other consumers may get them; RabbitMQ has only True
        """
        self._call("basic.recover", functools.partial(self._impl.basic_recover, requeue))

    # Publishing

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | bytearray | memoryview | str,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish a message (basic.publish). When this returns the message is with the kernel; after
        :meth:`confirm_delivery`, the broker has taken it.

        :param exchange: the exchange; the empty string is the default exchange, which routes to the queue that
            `routing_key` names
        :param routing_key: the routing key
        :param body: the body; a str is encoded as UTF-8
        :param properties: the message's properties
        :param mandatory: whether the broker returns the message when no queue takes it
        :raises pika.exceptions.UnroutableError: with confirms, when a mandatory message came back
        :raises pika.exceptions.NackError: with confirms, when the broker refused the message
        :raises pika.exceptions.ShortStringTooLong: when exchange or routing key have over 255 octets
        :raises ValueError: when the properties do not fit into a frame
        """
        # As basic_ack() has it.
        if self._ending.reason is not None:
            self._require_open()
        if self._delivery_confirmation:
            self._publish_confirmed(exchange, routing_key, body, properties, mandatory)
            return
        if self._glance():
            self._require_alive()
        inside = self._inside
        busy = inside.busy
        try:
            # By name: tests of programs look for it.
            self._impl.basic_publish(
                exchange=exchange, routing_key=routing_key, body=body, properties=properties, mandatory=mandatory
            )
        except BaseException as error:
            inside.require_order_behind(busy, error)
            raise
        if self._ending.reason is not None or self._deferred:
            self._sent()

    @one_thread_as("basic_publish")
    def _publish_confirmed(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | bytearray | memoryview | str,
        properties: spec.BasicProperties | None,
        mandatory: bool,
    ) -> None:
        if type(body) is not bytes:
            body = as_body(body)
        # Nothing is looked at before: what the broker has to say to what was sent before comes with its answer.
        if self._inside.busy:
            self._connection._require_calm("basic.publish with a confirm")
        confirmation = Confirmation()
        # Handed over beside the arguments: their number is what tracers wrap. There may be another one: this may be
        # called by a signal handler that has interrupted the same, before it has sent its message.
        before, self._impl._confirmation = self._impl._confirmation, confirmation
        try:
            self._impl.basic_publish(
                exchange=exchange, routing_key=routing_key, body=body, properties=properties, mandatory=mandatory
            )
        finally:
            self._impl._confirmation = before
        self._wait(lambda: confirmation.outcome is not None, "the publisher confirm")
        outcome = confirmation.outcome
        if outcome is Outcome.UNKNOWN:
            assert confirmation.error is not None
            self._ending.told = True
            raise confirmation.error
        messages = [ReturnedMessage(*confirmation.returned)] if confirmation.returned is not None else []
        if outcome is Outcome.NACKED:
            LOGGER.warning("The broker refused a message to exchange %r, routing key %r", exchange, routing_key)
            raise exceptions.NackError(messages)
        if outcome is Outcome.RETURNED:
            raise exceptions.UnroutableError(messages)

    @one_thread
    def confirm_delivery(self) -> None:
        """Have the broker confirm each publish from now on (confirm.select, RabbitMQ's extension)."""
        if self._delivery_confirmation:
            LOGGER.error("confirm_delivery() of %s, which has confirms already", self._place())
            return
        self._call("confirm.select", self._impl._confirm_silently)
        self._delivery_confirmation = True

    # Transactions

    def tx_select(self) -> frame.Method[spec.Tx.SelectOk]:
        """Put the channel into transaction mode (tx.select)."""
        return self._call("tx.select", self._impl.tx_select)

    def tx_commit(self) -> frame.Method[spec.Tx.CommitOk]:
        """Commit the publishes and acknowledgements since the last commit or rollback (tx.commit)."""
        return self._call("tx.commit", self._impl.tx_commit)

    def tx_rollback(self) -> frame.Method[spec.Tx.RollbackOk]:
        """Abandon the publishes and acknowledgements since the last commit or rollback (tx.rollback)."""
        return self._call("tx.rollback", self._impl.tx_rollback)

    # Insides

    @one_thread
    def _call(self, name: str, operation: Callable[..., object]) -> frame.Method[Any]:
        """Begin an operation that takes a completion callback, and wait for what it is called with."""
        self._require_open()
        self._connection._require_calm(name)
        result = _CallbackResult()
        operation(callback=result.set_value_once)
        self._wait(result.is_ready, name)
        answer: frame.Method[Any] = result.value
        return answer

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        began = time.monotonic()
        if not done():
            # Nearly every answer comes with the first bytes that do. The rest is for those that do not.
            self._pump(self._connection.REPLY_TIMEOUT)
            if done():
                return
        self._connection._wait_until(lambda: done() or self._is_over, what, self, began)
        if not done() and self._is_over:
            self._raise_closed()

    def _require_open(self) -> None:
        self._impl._raise_if_not_open()

    def _raise_closed(self) -> NoReturn:
        lost = self._connection._impl.ending
        if self._ending.reason is None:
            # It was closed before this object could be told, and with its connection.
            self._ending.reason = lost.reason
        if lost.reason is self._ending.reason:
            # It is the connection's end: one channel tells it for all.
            lost.told = True
        raise self._ending.tell()

    def _require_alive(self) -> None:
        """Before sending what has no answer, and after a look at what the broker has to say to what was sent before.

        Not behind it: whether the answer is there already is a matter of microseconds.
        """
        if self._is_over:
            self._raise_closed()

    def _sent(self) -> None:
        """After sending what has no answer: see whether the network took it."""
        connection = self._connection
        if connection.is_closed is True:
            self._raise_closed()
        connection._run_deferred_between_calls()

    def _process_data_events(self, time_limit: float | None) -> None:
        if self._is_over and not self._ending.by_user and not self._pending_events:
            self._raise_closed()
        self._connection.process_data_events(time_limit=time_limit)
        if self._is_over and not self._ending.by_user:
            self._raise_closed()

    def _on_consumer_generator_event(self, evt: ConsumerEvent) -> None:
        self._queue_consumer.on_event(evt)

    def _on_get_empty(self, method_frame: frame.Method[spec.Basic.GetEmpty]) -> None:
        if self._get is not None:
            self._get[0].set_value_once(method_frame)


def close_after(close: Callable[[], object], exc_type: object) -> None:
    """Close at the end of a ``with`` statement; an error of its body is not hidden by one of the closing.

    :param close: closes
    :param exc_type: the type of what the body raised, or None
    """
    try:
        close()
    except exceptions.AMQPError:
        if exc_type is None:
            raise
