"""What all connections of one broker share: its settings, users, virtual hosts, and who has something to send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pika.amqp_object import Method
from pika.broker.users import User
from pika.broker.vhost import VirtualHost

if TYPE_CHECKING:
    from pika.broker.connection import ServerConnection

# RabbitMQ 3.10's default of max_message_size.
_MAX_MESSAGE_SIZE = 134217728

_CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)


@dataclass(frozen=True)
class Limits:
    """What the broker offers in connection.tune, and where its patience ends.

    :param channel_max: channels in a connection
    :param frame_max: octets in a frame
    :param heartbeat: seconds, 0 for none
    :param handshake: seconds that a client may take to open its connection
    :param closing: seconds that a client may take to answer a connection.close
    :param max_message_size: octets in a message's body
    :param congested: octets waiting for a client above which its consumers get nothing more
    :param overwhelmed: octets waiting for a client above which nothing more is read from it
    """

    channel_max: int = 2047
    frame_max: int = 131072
    heartbeat: int = 60
    handshake: float = 10
    closing: float = 5
    max_message_size: int = _MAX_MESSAGE_SIZE
    congested: int = 1 << 20
    overwhelmed: int = 16 << 20


@dataclass
class Node:
    """A broker without its network.

    :param users: by name
    :param vhosts: by name
    :param limits: what it offers
    :param server_properties: what connection.start tells the client
    """

    users: Mapping[str, User]
    vhosts: Mapping[str, VirtualHost]
    limits: Limits = field(default_factory=Limits)
    server_properties: dict[str, Any] = field(default_factory=dict)
    #: Why connections that publish are blocked, None while they are not.
    alarm: str | None = None
    #: The connections that have something to send since the list was last emptied, each once.
    dirty: list[ServerConnection] = field(default_factory=list)
    #: Methods that must not overtake the reply to the operation that caused them.
    deferred: list[tuple[ServerConnection, int, Method]] = field(default_factory=list)

    def send_deferred(self) -> None:
        """Send the methods that were held back, now that the operation is over."""
        deferred, self.deferred = self.deferred, []
        for connection, number, method in deferred:
            connection.send(number, method)


def server_properties(version: str) -> dict[str, Any]:
    """Return what the broker says of itself: RabbitMQ's capabilities, and its own name.

    :param version: the version of the library
    """
    return {
        "capabilities": dict.fromkeys(_CAPABILITIES, True),
        "cluster_name": "pika.broker@localhost",
        "information": "An in-process broker for development and tests; it keeps nothing.",
        "platform": "Python",
        "product": "pika.broker",
        "version": version,
    }
