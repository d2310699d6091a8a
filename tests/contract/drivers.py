"""The narrow interface through which cases are told, whichever client carries them out.

A driver is a client of the library behind these operations. They return plain values, and raise the library's own
exceptions. What arrives by itself (deliveries, returns, cancellations) waits in the channel's inbox in its order.
"""

from __future__ import annotations

import abc
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Optional, Protocol, TypeVar, Union

import pytest

from pika import exceptions, spec
from tests.support.bounded import PATIENCE

Arguments = Optional[Mapping[str, Any]]


class Message(NamedTuple):
    """A delivery to a consumer; or the answer to basic.get, without a consumer tag but with what the queue has left."""

    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: spec.BasicProperties
    body: bytes
    message_count: int = -1


class Returned(NamedTuple):
    """A mandatory message that came back."""

    reply_code: int
    reply_text: str
    exchange: str
    routing_key: str
    properties: spec.BasicProperties
    body: bytes


class Cancelled(NamedTuple):
    """A consumer that the broker cancelled."""

    consumer_tag: str


Arrival = Union[Message, Returned, Cancelled]


def message(method: spec.Basic.Deliver | spec.Basic.GetOk, properties: spec.BasicProperties, body: bytes) -> Message:
    """Make a message out of what the library gives."""
    return Message(
        getattr(method, "consumer_tag", ""),
        method.delivery_tag,
        method.redelivered,
        method.exchange,
        method.routing_key,
        properties,
        body,
        getattr(method, "message_count", -1),
    )


def returned(method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes) -> Returned:
    """Make a return out of what the library gives."""
    return Returned(method.reply_code, method.reply_text, method.exchange, method.routing_key, properties, body)


class Channel(abc.ABC):
    """A channel, as the cases see it."""

    def __init__(self) -> None:
        self.inbox: deque[Arrival] = deque()

    # What arrives

    @abc.abstractmethod
    def pump(self, timeout: float) -> None:
        """Take what has arrived on the connection, waiting for it at most so many seconds."""

    def next(self) -> Arrival:
        """Take the next arrival."""
        deadline = time.monotonic() + PATIENCE
        while not self.inbox:
            remaining = deadline - time.monotonic()
            assert remaining > 0, "nothing arrived on the channel"
            self.pump(remaining)
        return self.inbox.popleft()

    def delivery(self) -> Message:
        """Take the next arrival, which must be a delivery."""
        arrival = self.next()
        assert isinstance(arrival, Message), arrival
        return arrival

    def bodies(self, count: int) -> list[bytes]:
        """Take so many deliveries, and return their bodies."""
        return [self.delivery().body for _ in range(count)]

    def settled(self, queue: str) -> list[Arrival]:
        """Take everything that a queue has sent to its consumers on this channel by now, and see that it is all.

        The queue must have consumers: it is asked to go if it has none, which it answers when its turn comes, behind
        what it was told before. (To declares it answers out of turn.)
        """
        self.synchronize()
        with pytest.raises(exceptions.ChannelClosedByBroker, match="in use"):
            self.sibling().queue_delete(queue, if_unused=True)
        self.synchronize()
        self.pump(0)
        arrived = list(self.inbox)
        self.inbox.clear()
        return arrived

    @abc.abstractmethod
    def sibling(self) -> Channel:
        """Open another channel on the connection."""

    def synchronize(self) -> None:
        """Wait until the broker has looked at everything that was sent; raises what it closes the channel with."""
        self.flow(True)

    # Operations

    @abc.abstractmethod
    def close(self) -> None: ...

    @abc.abstractmethod
    def flow(self, active: bool) -> bool: ...

    @abc.abstractmethod
    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        *,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = None,
    ) -> None: ...

    @abc.abstractmethod
    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None: ...

    @abc.abstractmethod
    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> None: ...

    @abc.abstractmethod
    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", arguments: Arguments = None
    ) -> None: ...

    @abc.abstractmethod
    def queue_declare(
        self,
        queue: str = "",
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = None,
    ) -> spec.Queue.DeclareOk: ...

    @abc.abstractmethod
    def queue_bind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None: ...

    @abc.abstractmethod
    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None) -> None: ...

    @abc.abstractmethod
    def queue_purge(self, queue: str) -> int: ...

    @abc.abstractmethod
    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int: ...

    @abc.abstractmethod
    def basic_qos(self, prefetch_count: int, *, global_qos: bool = False, prefetch_size: int = 0) -> None: ...

    @abc.abstractmethod
    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
    ) -> str: ...

    @abc.abstractmethod
    def basic_cancel(self, consumer_tag: str) -> None: ...

    @abc.abstractmethod
    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None: ...

    @abc.abstractmethod
    def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None: ...

    @abc.abstractmethod
    def basic_nack(self, delivery_tag: int, *, multiple: bool = False, requeue: bool = True) -> None: ...

    @abc.abstractmethod
    def basic_reject(self, delivery_tag: int, *, requeue: bool = True) -> None: ...

    @abc.abstractmethod
    def basic_recover(self, *, requeue: bool) -> None: ...

    @abc.abstractmethod
    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        properties: spec.BasicProperties | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        """Publish; in confirm mode, wait for the confirm."""

    @abc.abstractmethod
    def confirm_select(self) -> None: ...

    @abc.abstractmethod
    def tx_select(self) -> None: ...

    @abc.abstractmethod
    def tx_commit(self) -> None: ...

    @abc.abstractmethod
    def tx_rollback(self) -> None: ...

    # Several of them at once

    def get_all(self, queue: str) -> list[bytes]:
        """Empty a queue, and return the bodies."""
        bodies: list[bytes] = []
        while True:
            received = self.basic_get(queue, no_ack=True)
            if received is None:
                return bodies
            bodies.append(received.body)

    def publish_all(self, routing_key: str, *bodies: bytes, exchange: str = "") -> None:
        """Publish messages, and wait until the broker has routed them."""
        for body in bodies:
            self.basic_publish(exchange, routing_key, body)
        self.synchronize()


class Settler(Protocol):
    """A client's channel that settles messages at once, and waits for nothing then."""

    def basic_ack(self, delivery_tag: int, multiple: bool) -> None: ...

    def basic_nack(self, delivery_tag: int, multiple: bool, requeue: bool) -> None: ...

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None: ...


C = TypeVar("C", bound=Settler)


class Settling(Channel, Generic[C]):
    """A channel over a client's own that does this."""

    _channel: C

    def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        self._channel.basic_ack(delivery_tag, multiple)

    def basic_nack(self, delivery_tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        self._channel.basic_nack(delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int, *, requeue: bool = True) -> None:
        self._channel.basic_reject(delivery_tag, requeue)


class Connection(abc.ABC):
    """A connection, as the cases see it."""

    @abc.abstractmethod
    def channel(self) -> Channel:
        """Open a channel."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connection, if it is open."""
