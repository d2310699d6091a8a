"""What the drivers have in common whose client's calls return when the broker has answered."""

from __future__ import annotations

from typing import Any

from pika import exceptions, spec
from tests.contract import drivers
from tests.contract.drivers import Arguments


class WaitingDriverChannel(drivers.Settling[Any]):
    """A channel whose operations are the client's own, in its order of parameters.

    :param connection: the driver's connection
    :param channel: the client's channel
    """

    def __init__(self, connection: drivers.Connection, channel: Any) -> None:
        super().__init__()
        self._connection = connection
        self._channel = channel
        channel.add_on_return_callback(lambda _channel, *content: self.inbox.append(drivers.returned(*content)))

    def sibling(self) -> drivers.Channel:
        return self._connection.channel()

    def close(self) -> None:
        self._channel.close()

    def flow(self, active: bool) -> bool:
        answer: bool = self._channel.flow(active)
        return answer

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
        method: spec.Queue.DeclareOk = self._channel.queue_declare(queue, **options).method
        return method

    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._channel.queue_bind(queue, exchange, routing_key, arguments)

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._channel.queue_unbind(queue, exchange, routing_key, arguments)

    def queue_purge(self, queue: str) -> int:
        count: int = self._channel.queue_purge(queue).method.message_count
        return count

    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        count: int = self._channel.queue_delete(queue, if_unused, if_empty).method.message_count
        return count

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
        tag: str = self._channel.basic_consume(
            queue, self._on_message, no_ack, exclusive, consumer_tag or None, arguments
        )
        return tag

    def _on_message(
        self, _channel: object, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes
    ) -> None:
        self.inbox.append(drivers.message(method, properties, body))

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
