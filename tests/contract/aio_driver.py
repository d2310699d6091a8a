"""The driver on :mod:`pika.aio`, whose loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
from collections.abc import Coroutine
from typing import Any, TypeVar

import pika
from pika import aio, exceptions, spec
from tests.contract import drivers
from tests.contract.drivers import Arguments, Cancelled, Message
from tests.support.aio import LoopThread, settle

T = TypeVar("T")


@functools.cache
def loop_of(kind: str) -> LoopThread:
    """Return the loop that all connections of a kind share, as those of a program do."""
    thread = LoopThread(kind)
    atexit.register(thread.end)
    return thread


class AioDriverConnection(drivers.Connection):
    """A connection of pika.aio.

    :param url: the broker's AMQP URL
    :param kind: on which loop: ``asyncio`` or ``uvloop``
    """

    def __init__(self, url: str, kind: str = "asyncio") -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self._loop = loop_of(kind)
        self.connection = self.do(_connect(parameters))

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return what it returns."""
        return self._loop.do(coroutine)

    def channel(self) -> AioDriverChannel:
        """Open a channel."""
        return AioDriverChannel(self, self.do(_open(self.connection)))

    def close(self) -> None:
        """Close the connection, if it is open."""
        self.do(self.connection.close())


async def _connect(parameters: pika.URLParameters) -> aio.Connection:
    return await aio.connect(parameters)


async def _open(connection: aio.Connection) -> aio.Channel:
    return await connection.channel()


class AioDriverChannel(drivers.Channel):
    """A channel of a connection of pika.aio."""

    def __init__(self, connection: AioDriverConnection, channel: aio.Channel) -> None:
        super().__init__()
        self._connection = connection
        self._do = connection.do
        self._channel = channel
        self._reason: BaseException | None = None
        channel.add_on_return_callback(self._on_return)
        channel.add_on_cancel_callback(self._on_cancel)
        channel.add_on_close_callback(self._on_close)

    async def _on_message(
        self, _channel: object, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes
    ) -> None:
        self.inbox.append(drivers.message(method, properties, body))

    def _on_return(
        self, _channel: object, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes
    ) -> None:
        self.inbox.append(drivers.returned(method, properties, body))

    async def _on_cancel(self, cancel: spec.Basic.Cancel) -> None:
        self.inbox.append(Cancelled(cancel.consumer_tag))

    def _on_close(self, _channel: object, reason: BaseException) -> None:
        self._reason = reason

    def pump(self, timeout: float) -> None:
        self._do(self._pump(timeout))
        if not self.inbox and isinstance(self._reason, exceptions.ChannelClosedByBroker):
            raise self._reason

    async def _pump(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            # What has arrived is with handlers and callbacks: see that they have run.
            await settle()
            if self.inbox or self._reason is not None or loop.time() >= deadline:
                return
            await asyncio.sleep(0.002)

    def sibling(self) -> AioDriverChannel:
        return self._connection.channel()

    def close(self) -> None:
        self._do(self._channel.close())

    def flow(self, active: bool) -> bool:
        return self._do(self._channel.flow(active))

    def exchange_declare(self, exchange: str, exchange_type: str = "direct", **options: Any) -> None:
        self._do(self._channel.exchange_declare(exchange, exchange_type, **options))

    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None:
        self._do(self._channel.exchange_delete(exchange, if_unused))

    def exchange_bind(self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._do(self._channel.exchange_bind(destination, source, routing_key, arguments))

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> None:
        self._do(self._channel.exchange_unbind(destination, source, routing_key, arguments))

    def queue_declare(self, queue: str = "", **options: Any) -> spec.Queue.DeclareOk:
        return self._do(self._channel.queue_declare(queue, **options)).method

    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._do(self._channel.queue_bind(queue, exchange, routing_key, arguments))

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self._do(self._channel.queue_unbind(queue, exchange, routing_key, arguments))

    def queue_purge(self, queue: str) -> int:
        return self._do(self._channel.queue_purge(queue)).method.message_count

    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        return self._do(self._channel.queue_delete(queue, if_unused, if_empty)).method.message_count

    def basic_qos(self, prefetch_count: int, *, global_qos: bool = False, prefetch_size: int = 0) -> None:
        self._do(self._channel.basic_qos(prefetch_size, prefetch_count, global_qos))

    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
    ) -> str:
        tag = consumer_tag or None
        return self._do(self._channel.basic_consume(queue, self._on_message, no_ack, exclusive, tag, arguments))

    def basic_cancel(self, consumer_tag: str) -> None:
        self._do(self._channel.basic_cancel(consumer_tag))

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        message = self._do(self._channel.basic_get(queue, no_ack))
        return None if message is None else drivers.message(*message)

    def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        self._do(self._channel.basic_ack(delivery_tag, multiple))

    def basic_nack(self, delivery_tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        self._do(self._channel.basic_nack(delivery_tag, multiple, requeue))

    def basic_reject(self, delivery_tag: int, *, requeue: bool = True) -> None:
        self._do(self._channel.basic_reject(delivery_tag, requeue))

    def basic_recover(self, *, requeue: bool) -> None:
        self._do(self._channel.basic_recover(requeue))

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
            self._do(self._channel.basic_publish(exchange, routing_key, body, properties, mandatory))
        except exceptions.PublishOutcomeUnknown as error:
            assert error.__cause__ is not None
            raise error.__cause__ from None
        except exceptions.UnroutableError as error:
            raise exceptions.UnroutableError(
                [drivers.returned(back.method, back.properties, back.body) for back in error.messages]
            ) from error

    def confirm_select(self) -> None:
        self._do(self._channel.confirm_delivery())

    def tx_select(self) -> None:
        self._do(self._channel.tx_select())

    def tx_commit(self) -> None:
        self._do(self._channel.tx_commit())

    def tx_rollback(self) -> None:
        self._do(self._channel.tx_rollback())
