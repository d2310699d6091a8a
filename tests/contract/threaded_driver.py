"""The driver on :class:`pika.Connection`."""

from __future__ import annotations

import threading
import time
from typing import Any

import pika
from pika import exceptions, spec
from pika.client.threaded_channel import Channel
from pika.client.threaded_message import Message as ClientMessage
from tests.contract import drivers
from tests.contract.drivers import Arguments, Cancelled, Message


class ThreadedDriverConnection(drivers.Connection):
    """A pika.Connection.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self.connection = pika.connect(parameters)

    def channel(self) -> ThreadedDriverChannel:
        """Open a channel."""
        return ThreadedDriverChannel(self, self.connection.channel())

    def close(self) -> None:
        """Close the connection, if it is open."""
        self.connection.close()


class ThreadedDriverChannel(drivers.Channel):
    """A channel of a pika.Connection."""

    def __init__(self, connection: ThreadedDriverConnection, channel: Channel) -> None:
        super().__init__()
        self._connection = connection
        self._channel = channel
        channel.add_on_return_callback(lambda _channel, *content: self.inbox.append(drivers.returned(*content)))
        channel.add_on_cancel_callback(lambda cancel: self.inbox.append(Cancelled(cancel.consumer_tag)))

    def pump(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            # What has arrived is with the handlers' thread and the callbacks' thread: wait until both have seen to it.
            link = self._channel._link
            link.await_rest(lambda: all(crew.is_idle() for crew in self._channel._crews), "handlers", deadline + 60)
            called = threading.Event()
            with link.lock:
                link.callbacks.call(called.set)
            called.wait(60)
            if self.inbox or self._channel.is_closed or time.monotonic() >= deadline:
                break
            time.sleep(0.002)
        error = self._channel._book.error
        if not self.inbox and isinstance(error, exceptions.ChannelClosedByBroker):
            raise error

    def sibling(self) -> ThreadedDriverChannel:
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
        self._channel.basic_cancel(consumer_tag)

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        message: ClientMessage | None = self._channel.basic_get(queue, no_ack)
        return None if message is None else drivers.message(*message)

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
        except exceptions.PublishOutcomeUnknown as error:
            assert error.__cause__ is not None
            raise error.__cause__ from None
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
