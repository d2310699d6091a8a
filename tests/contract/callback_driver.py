"""The driver on the callback API: a subclass of :class:`pika.connection.Connection` over a plain socket."""

from __future__ import annotations

import time
from typing import Any, Callable, Protocol

import pika
from pika import exceptions, frame, spec
from pika.channel import Channel
from pika.connection import Connection
from tests.contract import drivers
from tests.contract.drivers import Arguments, Cancelled, Message
from tests.support.bounded import PATIENCE
from tests.support.plain_connection import PlainConnection


class Turned(Protocol):
    """A callback connection with its loop."""

    @property
    def is_open(self) -> bool: ...

    def channel(
        self, channel_number: int | None = None, on_open_callback: Callable[[Channel], object] | None = None
    ) -> Channel: ...

    def close(self) -> None: ...

    def turn(self, timeout: float) -> None:
        """Turn the loop until something has arrived, at most so many seconds."""

    def run(self, until: Callable[[], object]) -> None:
        """Turn the loop until something holds."""

    def drop(self) -> None:
        """Give back what is open, without a word to anybody."""


class CallbackConnection(drivers.Connection):
    """A callback connection, and the loop that it turns in.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        #: What an on-open-error or on-close callback was called with.
        self.reason: BaseException | None = None
        self.connection = self._connect(parameters)
        try:
            self.wait(lambda: self.connection.is_open, "opening the connection")
        except BaseException:
            self.connection.drop()
            raise

    def _connect(self, parameters: pika.URLParameters) -> Turned:
        return PlainConnection(parameters, on_open_error_callback=self._on_end, on_close_callback=self._on_end)

    def _on_end(self, _connection: Connection, reason: BaseException) -> None:
        self.reason = reason

    def channel(self) -> CallbackChannel:
        """Open a channel."""
        opened: list[Channel] = []
        channel = CallbackChannel(self, self.connection.channel(on_open_callback=opened.append))
        channel.wait(lambda: bool(opened), "opening a channel")
        return channel

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self.connection.is_open:
            self.connection.close()
            self.connection.run(lambda: self.reason is not None)
        self.connection.drop()

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Turn the loop until something is done; a connection that ends first raises its reason."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            if self.reason is not None:
                raise self.reason
            assert time.monotonic() < deadline, f"{what} took more than {PATIENCE} seconds"
            self.connection.turn(PATIENCE)


class CallbackChannel(drivers.Settling[Channel]):
    """A callback channel, whose operations turn the loop until they have called back."""

    def __init__(self, connection: CallbackConnection, channel: Channel) -> None:
        super().__init__()
        self._connection = connection
        self._channel = channel
        self._reason: BaseException | None = None
        # The answer to a get; None when there was no message.
        self._got: list[Message | None] = []
        # In confirm mode: how many messages were published, what the broker said of them, and what came back.
        self._published = 0
        self._confirms: list[spec.Basic.Ack | spec.Basic.Nack] | None = None
        self._returned: list[drivers.Returned] = []
        channel.add_callback(lambda _empty: self._got.append(None), [spec.Basic.GetEmpty], one_shot=False)
        channel.add_on_close_callback(self._on_close)
        channel.add_on_return_callback(self._on_return)
        channel.add_on_cancel_callback(lambda cancel: self.inbox.append(Cancelled(cancel.method.consumer_tag)))

    def _on_close(self, _channel: Channel, reason: BaseException) -> None:
        self._reason = reason

    def _on_return(
        self, _channel: Channel, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes
    ) -> None:
        arrival = drivers.returned(method, properties, body)
        if self._confirms is None:
            self.inbox.append(arrival)
        else:
            self._returned.append(arrival)

    def _on_message(
        self,
        _channel: Channel,
        method: spec.Basic.Deliver,
        properties: spec.BasicProperties,
        body: bytes,
    ) -> None:
        self.inbox.append(drivers.message(method, properties, body))

    # Waiting

    def pump(self, timeout: float) -> None:
        self._connection.connection.turn(timeout)
        if isinstance(self._reason, exceptions.ChannelClosedByBroker):
            raise self._reason

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Turn the loop until something is done; a channel that is closed first raises its reason."""

        def ended() -> bool:
            return done() or self._reason is not None

        self._connection.wait(ended, what)
        if not done():
            assert self._reason is not None
            raise self._reason

    def call(self, operation: Callable[..., object], *arguments: Any, **options: Any) -> Any:
        """Begin an operation, wait for its callback, and return the method that this was called with."""
        answers: list[frame.Method[Any]] = []
        operation(*arguments, **options, callback=answers.append)
        self.wait(lambda: bool(answers), operation.__name__)
        (answer,) = answers
        return answer.method

    def sibling(self) -> CallbackChannel:
        return self._connection.channel()

    # Operations

    def close(self) -> None:
        self._channel.close()
        self._connection.wait(lambda: self._reason is not None, "closing a channel")
        if not isinstance(self._reason, exceptions.ChannelClosedByClient):
            assert self._reason is not None
            raise self._reason

    def flow(self, active: bool) -> bool:
        answers: list[bool] = []
        self._channel.flow(active, answers.append)  # type: ignore[arg-type]  # its callback gets a bool
        self.wait(lambda: bool(answers), "flow")
        return answers[0]

    def exchange_declare(self, exchange: str, exchange_type: str = "direct", **options: Any) -> None:
        self.call(self._channel.exchange_declare, exchange, exchange_type, **options)

    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None:
        self.call(self._channel.exchange_delete, exchange, if_unused)

    def exchange_bind(self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self._channel.exchange_bind, destination, source, routing_key, arguments)

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> None:
        self.call(self._channel.exchange_unbind, destination, source, routing_key, arguments)

    def queue_declare(self, queue: str = "", **options: Any) -> spec.Queue.DeclareOk:
        answer: spec.Queue.DeclareOk = self.call(self._channel.queue_declare, queue, **options)
        return answer

    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self._channel.queue_bind, queue, exchange, routing_key, arguments)

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self._channel.queue_unbind, queue, exchange, routing_key, arguments)

    def queue_purge(self, queue: str) -> int:
        return int(self.call(self._channel.queue_purge, queue).message_count)

    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        return int(self.call(self._channel.queue_delete, queue, if_unused, if_empty).message_count)

    def basic_qos(self, prefetch_count: int, *, global_qos: bool = False, prefetch_size: int = 0) -> None:
        self.call(self._channel.basic_qos, prefetch_size, prefetch_count, global_qos)

    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
    ) -> str:
        answer = self.call(
            self._channel.basic_consume,
            queue,
            self._on_message,
            no_ack,
            exclusive,
            consumer_tag or None,
            arguments,
        )
        return str(answer.consumer_tag)

    def basic_cancel(self, consumer_tag: str) -> None:
        # One that the channel does not have is not asked for, and so never called back about.
        if consumer_tag in self._channel.consumer_tags:
            self.call(self._channel.basic_cancel, consumer_tag)

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        self._channel.basic_get(queue, lambda _channel, *content: self._got.append(drivers.message(*content)), no_ack)
        self.wait(lambda: bool(self._got), "basic_get")
        return self._got.pop()

    def basic_recover(self, *, requeue: bool) -> None:
        self.call(self._channel.basic_recover, requeue)

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        properties: spec.BasicProperties | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        self._channel.basic_publish(exchange, routing_key, body, properties, mandatory)
        if self._confirms is None:
            return
        self._published += 1
        self.wait(lambda: bool(self._confirms), "the publisher confirm")
        # One message is outstanding at a time, so the confirm is that one's.
        confirm, returned = self._confirms.pop(), self._returned[:]
        self._returned.clear()
        assert confirm.delivery_tag == self._published
        if isinstance(confirm, spec.Basic.Nack):
            raise exceptions.NackError(returned)
        if returned:
            raise exceptions.UnroutableError(returned)

    def confirm_select(self) -> None:
        confirms: list[spec.Basic.Ack | spec.Basic.Nack] = []
        self.call(self._channel.confirm_delivery, lambda method_frame: confirms.append(method_frame.method))
        if self._confirms is None:
            self._confirms = confirms

    def tx_select(self) -> None:
        self.call(self._channel.tx_select)

    def tx_commit(self) -> None:
        self.call(self._channel.tx_commit)

    def tx_rollback(self) -> None:
        self.call(self._channel.tx_rollback)
