"""The driver on :class:`pika.adapters.twisted_connection.TwistedProtocolConnection`: a reactor that the tests turn."""

from __future__ import annotations

import functools
import socket
import time
from ast import literal_eval
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet import defer, endpoints, protocol, ssl
from twisted.python.failure import Failure

import pika
from pika import exceptions, spec
from pika.adapters.twisted_connection import ReceivedMessage, TwistedChannel, TwistedProtocolConnection
from tests.contract import drivers
from tests.contract.drivers import Arguments, Cancelled, Message
from tests.support.bounded import PATIENCE


@functools.cache
def its_reactor() -> Any:
    """The process's reactor, which TLS wants. It cannot be started again, so it never stops."""
    from twisted.internet import reactor

    its: Any = reactor
    its.startRunning(installSignalHandlers=False)
    return its


def endpoint_for(url: str) -> Any:
    """Return the endpoint that a URL means, over TLS if its scheme says so."""
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    # Looked up here: the reactor's own way takes threads, which only a running one has.
    tcp: Any = endpoints.TCP4ClientEndpoint(its_reactor(), socket.gethostbyname(host), parts.port or 5672)
    if parts.scheme != "amqps":
        return tcp
    options = literal_eval(parse_qs(parts.query)["ssl_options"][0])
    authority = ssl.Certificate.loadPEM(Path(options["cafile"]).read_bytes())
    return endpoints.wrapClientTLS(ssl.optionsForClientTLS(host, trustRoot=authority), tcp)


class Turned(TwistedProtocolConnection):
    """A connection that knows whether something has arrived."""

    arrived = False

    def dataReceived(self, data: bytes) -> None:
        self.arrived = True
        super().dataReceived(data)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.arrived = True
        super().connectionLost(reason)


class TwistedDriverConnection(drivers.Connection):
    """A TwistedProtocolConnection.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self.reactor = its_reactor()
        self.connection = Turned(parameters, self.reactor)
        ready = self.connection.ready
        assert ready is not None
        self.wait(endpoint_for(url).connect(protocol.Factory.forProtocol(lambda: self.connection)))
        self.wait(ready)
        self.closed = self.connection.closed
        assert self.closed is not None

    def channel(self) -> TwistedDriverChannel:
        """Open a channel."""
        return TwistedDriverChannel(self, self.wait(self.connection.channel()))

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self.connection.is_open:
            self.connection.close()
        if not self.connection.is_closed:
            assert self.closed is not None
            self.wait(self.closed)

    def turn(self, timeout: float) -> None:
        """Turn the reactor until something has arrived, at most so many seconds."""
        self.connection.arrived = False
        deadline = time.monotonic() + timeout
        self.reactor.iterate(0)
        while not self.connection.arrived and time.monotonic() < deadline:
            self.reactor.iterate(min(0.05, max(deadline - time.monotonic(), 0)))

    def wait(self, deferred: defer.Deferred[Any]) -> Any:
        """Turn the reactor until a Deferred fires, and return its result, or raise what it failed with."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        deadline = time.monotonic() + PATIENCE
        while not results:
            assert time.monotonic() < deadline, f"waited more than {PATIENCE} seconds"
            self.reactor.iterate(0.05)
        (result,) = results
        if isinstance(result, Failure):
            raise result.value or AssertionError(result)
        return result


class TwistedDriverChannel(drivers.Settling[TwistedChannel]):
    """A TwistedChannel."""

    def __init__(self, connection: TwistedDriverConnection, channel: TwistedChannel) -> None:
        super().__init__()
        self._connection = connection
        self._channel = channel
        self._reason: BaseException | None = None
        self._confirms = False
        # The tags of consumers that this side cancels.
        self._own_cancels: set[str] = set()
        channel.on_closed.addCallback(self._on_closed)
        channel.add_on_return_callback(self._on_return)

    def _on_closed(self, reason: BaseException) -> None:
        self._reason = reason

    def _on_return(self, back: ReceivedMessage) -> None:
        if not self._confirms:
            self.inbox.append(drivers.returned(back.method, back.properties, back.body))

    def pump(self, timeout: float) -> None:
        self._connection.turn(timeout)
        if isinstance(self._reason, exceptions.ChannelClosedByBroker):
            raise self._reason

    def call(self, deferred: defer.Deferred[Any]) -> Any:
        """Wait for an operation."""
        if deferred.called and self._reason is not None:
            # As in pika 1.x it has failed at once, with the reason of the end; the cases ask whether it was late.
            deferred.addErrback(lambda failure: None)
            raise exceptions.ChannelWrongStateError("Channel is closed.") from self._reason
        return self._connection.wait(deferred)

    def sibling(self) -> TwistedDriverChannel:
        return self._connection.channel()

    def close(self) -> None:
        self._channel.close()
        deadline = time.monotonic() + PATIENCE
        while self._reason is None:
            assert time.monotonic() < deadline
            self._connection.turn(PATIENCE)
        if not isinstance(self._reason, exceptions.ChannelClosedByClient):
            raise self._reason

    def flow(self, active: bool) -> bool:
        return bool(self.call(self._channel.flow(active)))

    def exchange_declare(self, exchange: str, exchange_type: str = "direct", **options: Any) -> None:
        self.call(self._channel.exchange_declare(exchange, exchange_type, **options))

    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None:
        self.call(self._channel.exchange_delete(exchange, if_unused))

    def exchange_bind(self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self._channel.exchange_bind(destination, source, routing_key, arguments))

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> None:
        self.call(self._channel.exchange_unbind(destination, source, routing_key, arguments))

    def queue_declare(self, queue: str = "", **options: Any) -> spec.Queue.DeclareOk:
        answer: spec.Queue.DeclareOk = self.call(self._channel.queue_declare(queue, **options)).method
        return answer

    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self._channel.queue_bind(queue, exchange, routing_key, arguments))

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None:
        self.call(self._channel.queue_unbind(queue, exchange, routing_key, arguments))

    def queue_purge(self, queue: str) -> int:
        return int(self.call(self._channel.queue_purge(queue)).method.message_count)

    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        return int(self.call(self._channel.queue_delete(queue, if_unused, if_empty)).method.message_count)

    def basic_qos(self, prefetch_count: int, *, global_qos: bool = False, prefetch_size: int = 0) -> None:
        self.call(self._channel.basic_qos(prefetch_size, prefetch_count, global_qos))

    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
    ) -> str:
        consuming = self._channel.basic_consume(queue, no_ack, exclusive, consumer_tag or None, arguments)
        # From the first turn on: what is in its queue when it is closed is gone.
        consuming.addCallback(self._on_consuming)
        return str(self.call(consuming))

    def _on_consuming(self, result: Any) -> str:
        messages, tag = result

        def take() -> None:
            messages.get().addCallbacks(on_message, on_end)

        def on_message(message: ReceivedMessage) -> None:
            self.inbox.append(drivers.message(message.method, message.properties, message.body))
            take()

        def on_end(failure: Failure) -> None:
            if isinstance(failure.value, exceptions.ConsumerCancelled) and tag not in self._own_cancels:
                self.inbox.append(Cancelled(tag))

        take()
        return str(tag)

    def basic_cancel(self, consumer_tag: str) -> None:
        self._own_cancels.add(consumer_tag)
        self.call(self._channel.basic_cancel(consumer_tag))
        self._own_cancels.discard(consumer_tag)

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        got = self.call(self._channel.basic_get(queue, no_ack))
        return None if got is None else drivers.message(got.method, got.properties, got.body)

    def basic_recover(self, *, requeue: bool) -> None:
        self.call(self._channel.basic_recover(requeue))

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
            self.call(self._channel.basic_publish(exchange, routing_key, body, properties, mandatory))
        except exceptions.UnroutableError as error:
            raise exceptions.UnroutableError(
                [drivers.returned(back.method, back.properties, back.body) for back in error.messages]
            ) from error

    def confirm_select(self) -> None:
        self._confirms = True
        self.call(self._channel.confirm_delivery())

    def tx_select(self) -> None:
        self.call(self._channel.tx_select())

    def tx_commit(self) -> None:
        self.call(self._channel.tx_commit())

    def tx_rollback(self) -> None:
        self.call(self._channel.tx_rollback())
