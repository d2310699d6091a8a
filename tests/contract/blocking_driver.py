"""The driver on :class:`pika.BlockingConnection`."""

from __future__ import annotations

from typing import Any

import pika
from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel
from tests.contract import drivers
from tests.contract.drivers import Arguments, Cancelled, Message


class BlockingDriverConnection(drivers.Connection):
    """A BlockingConnection.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self.connection = pika.BlockingConnection(parameters)

    def channel(self) -> BlockingDriverChannel:
        """Open a channel."""
        return BlockingDriverChannel(self, self.connection.channel())

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self.connection.is_open:
            self.connection.close()


class BlockingDriverChannel(drivers.Channel):
    """A BlockingChannel."""

    def __init__(self, connection: BlockingDriverConnection, channel: BlockingChannel) -> None:
        super().__init__()
        self._connection = connection
        self._channel = channel
        channel.add_on_return_callback(lambda _channel, *content: self.inbox.append(drivers.returned(*content)))
        channel.add_on_cancel_callback(lambda cancel: self.inbox.append(Cancelled(cancel.method.consumer_tag)))

    def pump(self, timeout: float) -> None:
        self._connection.connection.process_data_events(timeout)

    def sibling(self) -> BlockingDriverChannel:
        return self._connection.channel()

    def close(self) -> None:
        self._channel.close()

    def flow(self, active: bool) -> bool:
        return self._channel.flow(active)

    def exchange_declare(self, exchange: str, exchange_type: str = "direct", **options: Any) -> None:
        self._channel.exchange_declare(exchange, exchange_type, **options)

    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None:
        self._channel.exchange_delete(exchange, if_unused)

    def exchange_bind(self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._channel.exchange_bind(destination, source, routing_key, arguments)

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> None:
        self._channel.exchange_unbind(destination, source, routing_key, arguments)

    def queue_declare(self, queue: str = "", **options: Any) -> spec.Queue.DeclareOk:
        return self._channel.queue_declare(queue, **options).method

    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._channel.queue_bind(queue, exchange, routing_key, arguments)

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._channel.queue_unbind(queue, exchange, routing_key, arguments)

    def queue_purge(self, queue: str) -> int:
        return self._channel.queue_purge(queue).method.message_count

    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        return self._channel.queue_delete(queue, if_unused, if_empty).method.message_count

    def basic_qos(self, prefetch_count: int, *, global_qos: bool = False, prefetch_size: int = 0) -> None:
        self._channel.basic_qos(prefetch_size, prefetch_count, global_qos)

    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
    ) -> str:
        return self._channel.basic_consume(queue, self._on_message, no_ack, exclusive, consumer_tag or None, arguments)

    def _on_message(
        self, _channel: object, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes
    ) -> None:
        self.inbox.append(drivers.message(method, properties, body))

    def basic_cancel(self, consumer_tag: str) -> None:
        for method, properties, body in self._channel.basic_cancel(consumer_tag):
            self.inbox.append(drivers.message(method, properties, body))

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        method, properties, body = self._channel.basic_get(queue, no_ack)
        if method is None:
            return None
        assert properties is not None
        assert body is not None
        return drivers.message(method, properties, body)

    def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        self._channel.basic_ack(delivery_tag, multiple)

    def basic_nack(self, delivery_tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        self._channel.basic_nack(delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int, *, requeue: bool = True) -> None:
        self._channel.basic_reject(delivery_tag, requeue)

    def basic_recover(self, *, requeue: bool) -> None:
        self._channel.basic_recover(requeue)

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        properties: spec.BasicProperties | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        try:
            self._channel.basic_publish(exchange, routing_key, body, properties, mandatory)
        except exceptions.UnroutableError as error:
            raise exceptions.UnroutableError(
                [drivers.returned(back.method, back.properties, back.body) for back in error.messages]
            ) from error

    def confirm_select(self) -> None:
        self._channel.confirm_delivery()

    def tx_select(self) -> None:
        self._channel.tx_select()

    def tx_commit(self) -> None:
        self._channel.tx_commit()

    def tx_rollback(self) -> None:
        self._channel.tx_rollback()
