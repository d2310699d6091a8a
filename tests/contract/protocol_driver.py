"""The driver on :mod:`pika.protocol`, over a plain blocking socket with deadlines."""

from __future__ import annotations

import socket
import time
from typing import Any, Callable, TypeVar

from pika import exceptions, protocol, spec
from pika.amqp_object import Method
from pika.connection.parameters import URLParameters
from tests.contract import drivers
from tests.contract.drivers import Arguments, Message
from tests.support.bounded import PATIENCE

M = TypeVar("M", bound=Method)


class ProtocolConnection(drivers.Connection):
    """A connection of the protocol's own.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = URLParameters(url)
        settings = protocol.Settings(parameters.credentials, parameters.virtual_host, heartbeat=0)
        self._protocol = protocol.Connection(settings)
        self._channels: dict[protocol.Channel, ProtocolChannel] = {}
        self._socket = socket.create_connection((parameters.host, parameters.port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._protocol.start(time.monotonic())
        try:
            self.wait(lambda: self._protocol.state is protocol.ConnectionState.OPEN, "the handshake")
        except BaseException:
            self._socket.close()
            raise

    def channel(self) -> ProtocolChannel:
        """Open a channel."""
        channel = ProtocolChannel(self, self._protocol.open_channel())
        self._channels[channel.channel] = channel
        channel.call(channel.channel.open())
        return channel

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._protocol.state is protocol.ConnectionState.OPEN:
            self._protocol.close()
            while self._protocol.error is None:
                self.pump(PATIENCE)
        self._socket.close()

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Exchange bytes until something is done; a connection that dies first raises its reason."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            if self._protocol.error is not None:
                raise self._protocol.error
            remaining = deadline - time.monotonic()
            assert remaining > 0, f"{what} took more than {PATIENCE} seconds"
            self.pump(remaining)

    def pump(self, timeout: float) -> None:
        """Send what is to be sent, and take what arrives within so many seconds."""
        self.flush()
        self._socket.settimeout(max(timeout, 0.001))
        try:
            data = self._socket.recv(1 << 16)
        except socket.timeout:
            return
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data, time.monotonic())
        else:
            self._protocol.stream_lost(exceptions.StreamLostError("the broker ended the TCP connection"))
        for event in self._protocol.events():
            self._sort(event)
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self._socket.settimeout(PATIENCE)
        self._socket.sendall(b"".join(self._protocol.data_to_send()))

    def _sort(self, event: protocol.Event) -> None:
        if isinstance(event, protocol.Delivery):
            arrival: drivers.Arrival = drivers.message(event.method, event.properties, event.body)
        elif isinstance(event, protocol.Returned):
            if event.channel.confirms is not None:
                return
            arrival = drivers.returned(event.method, event.properties, event.body)
        elif isinstance(event, protocol.ConsumerCancelled):
            arrival = drivers.Cancelled(event.method.consumer_tag)
        else:
            return
        self._channels[event.channel].inbox.append(arrival)


class ProtocolChannel(drivers.Channel):
    """A channel of the protocol's own."""

    def __init__(self, connection: ProtocolConnection, channel: protocol.Channel) -> None:
        super().__init__()
        self.channel = channel
        self._connection = connection

    def pump(self, timeout: float) -> None:
        self._connection.pump(timeout)
        if isinstance(self.channel.error, exceptions.ChannelClosedByBroker):
            raise self.channel.error

    def sibling(self) -> ProtocolChannel:
        return self._connection.channel()

    def call(self, reply: protocol.Reply[M] | None) -> M:
        """Wait for an answer."""
        assert reply is not None
        self._connection.wait(lambda: reply.done, reply.request.NAME)
        return reply.result()

    def close(self) -> None:
        self.call(self.channel.close())

    def flow(self, active: bool) -> bool:
        return bool(self.call(self.channel.flow(active)).active)

    def exchange_declare(self, exchange: str, exchange_type: str = "direct", **options: Any) -> None:
        self.call(self.channel.exchange_declare(exchange, exchange_type, **options))

    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None:
        self.call(self.channel.exchange_delete(exchange, if_unused))

    def exchange_bind(self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self.channel.exchange_bind(destination, source, routing_key, arguments=arguments))

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> None:
        self.call(self.channel.exchange_unbind(destination, source, routing_key, arguments=arguments))

    def queue_declare(self, queue: str = "", **options: Any) -> spec.Queue.DeclareOk:
        reply: protocol.Reply[spec.Queue.DeclareOk] | None = self.channel.queue_declare(queue, **options)
        return self.call(reply)

    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self.channel.queue_bind(queue, exchange, routing_key, arguments=arguments))

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self.channel.queue_unbind(queue, exchange, routing_key, arguments=arguments))

    def queue_purge(self, queue: str) -> int:
        return self.call(self.channel.queue_purge(queue)).message_count

    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        return self.call(self.channel.queue_delete(queue, if_unused, if_empty)).message_count

    def basic_qos(self, prefetch_count: int, *, global_qos: bool = False, prefetch_size: int = 0) -> None:
        self.call(self.channel.basic_qos(prefetch_size, prefetch_count, global_qos))

    def basic_consume(self, queue: str, consumer_tag: str = "", **options: Any) -> str:
        reply: protocol.Reply[spec.Basic.ConsumeOk] | None = self.channel.basic_consume(queue, consumer_tag, **options)
        return self.call(reply).consumer_tag

    def basic_cancel(self, consumer_tag: str) -> None:
        self.call(self.channel.basic_cancel(consumer_tag))

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        reply = self.channel.basic_get(queue, no_ack)
        assert reply is not None
        method = self.call(reply)
        if isinstance(method, spec.Basic.GetEmpty):
            return None
        assert reply.content is not None
        return drivers.message(method, *reply.content)

    def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        self.channel.basic_ack(delivery_tag, multiple)
        self._connection.flush()

    def basic_nack(self, delivery_tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        self.channel.basic_nack(delivery_tag, multiple, requeue)
        self._connection.flush()

    def basic_reject(self, delivery_tag: int, *, requeue: bool = True) -> None:
        self.channel.basic_reject(delivery_tag, requeue)
        self._connection.flush()

    def basic_recover(self, *, requeue: bool) -> None:
        self.call(self.channel.basic_recover(requeue))

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        properties: spec.BasicProperties | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        if self.channel.confirms is None:
            self.channel.basic_publish(exchange, routing_key, body, properties, mandatory)
            self._connection.flush()
            return
        confirmation = protocol.Confirmation()
        self.channel.basic_publish(exchange, routing_key, body, properties, mandatory, confirmation)
        self._connection.wait(lambda: confirmation.outcome is not None, "the publisher confirm")
        if confirmation.error is not None:
            raise confirmation.error
        if confirmation.outcome is protocol.Outcome.RETURNED:
            assert confirmation.returned is not None
            raise exceptions.UnroutableError([drivers.returned(*confirmation.returned)])
        if confirmation.outcome is protocol.Outcome.NACKED:
            raise exceptions.NackError([])

    def confirm_select(self) -> None:
        self.call(self.channel.confirm_select())

    def tx_select(self) -> None:
        self.call(self.channel.tx_select())

    def tx_commit(self) -> None:
        self.call(self.channel.tx_commit())

    def tx_rollback(self) -> None:
        self.call(self.channel.tx_rollback())
