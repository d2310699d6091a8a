"""What comes out of a connection, one event for each frame or content that matters to a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Union

from pika import spec

if TYPE_CHECKING:
    from pika.protocol.channel import Channel
    from pika.protocol.replies import Reply


class Opened(NamedTuple):
    """The handshake is over and the connection is open."""


class ConnectionBlocked(NamedTuple):
    """The broker reads nothing that publishes until an alarm is over (RabbitMQ's connection.blocked)."""

    method: spec.Connection.Blocked


class ConnectionUnblocked(NamedTuple):
    """The alarm is over (RabbitMQ's connection.unblocked)."""

    method: spec.Connection.Unblocked


class Closed(NamedTuple):
    """The connection is closed: the last event.  Every reply and confirmation has ended with `error`."""

    error: BaseException


class Replied(NamedTuple):
    """The broker answered an operation.  `channel` is None when the operation was the connection's."""

    channel: Channel | None
    reply: Reply[Any]


class Delivery(NamedTuple):
    """A message for a consumer (basic.deliver)."""

    channel: Channel
    method: spec.Basic.Deliver
    properties: spec.BasicProperties
    body: bytes


class Returned(NamedTuple):
    """A mandatory message that could not be routed came back (basic.return)."""

    channel: Channel
    method: spec.Basic.Return
    properties: spec.BasicProperties
    body: bytes


class Confirmed(NamedTuple):
    """The broker took, or refused, one or several published messages (publisher confirms)."""

    channel: Channel
    method: spec.Basic.Ack | spec.Basic.Nack


class ConsumerCancelled(NamedTuple):
    """The broker cancelled a consumer, because its queue is gone for example (consumer_cancel_notify)."""

    channel: Channel
    method: spec.Basic.Cancel


class ChannelFlow(NamedTuple):
    """The broker asks to pause publishing on a channel, or to go on (channel.flow); it has been answered."""

    channel: Channel
    active: bool


class ChannelClosed(NamedTuple):
    """A channel is closed, by either side.  Its replies and confirmations have ended with `error`.

    `method` is the broker's channel.close, if there was one.
    """

    channel: Channel
    error: BaseException
    method: spec.Channel.Close | None = None


Event = Union[
    Opened,
    ConnectionBlocked,
    ConnectionUnblocked,
    Closed,
    Replied,
    Delivery,
    Returned,
    Confirmed,
    ConsumerCancelled,
    ChannelFlow,
    ChannelClosed,
]
