"""The rules of an AMQP 0-9-1 client, without I/O: bytes in, events out; calls in, bytes out; time is an argument.

A :class:`Connection` is driven over any transport::

    connection = Connection(Settings(...))
    connection.start(now)
    send(connection.data_to_send())
    while not closed:
        connection.receive_data(receive(), now)
        for event in connection.events():
            ...
        send(connection.data_to_send())

Nothing here knows a socket, a thread, an event loop or a clock.
"""

from __future__ import annotations

from pika.protocol.channel import Channel
from pika.protocol.confirms import Confirmation, Outcome
from pika.protocol.connection import Connection
from pika.protocol.events import (
    ChannelClosed,
    ChannelFlow,
    Closed,
    Confirmed,
    ConnectionBlocked,
    ConnectionUnblocked,
    ConsumerCancelled,
    Delivery,
    Event,
    Opened,
    Replied,
    Returned,
)
from pika.protocol.handshake import Settings
from pika.protocol.replies import Reply
from pika.protocol.states import ChannelState, ConnectionState

__all__ = [
    "Channel",
    "ChannelClosed",
    "ChannelFlow",
    "ChannelState",
    "Closed",
    "Confirmation",
    "Confirmed",
    "Connection",
    "ConnectionBlocked",
    "ConnectionState",
    "ConnectionUnblocked",
    "ConsumerCancelled",
    "Delivery",
    "Event",
    "Opened",
    "Outcome",
    "Replied",
    "Reply",
    "Returned",
    "Settings",
]
