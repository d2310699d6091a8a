"""The modern clients: ``pika.connect`` for threads, and ``pika.aio``.

What they say alike lives in modules that never wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika._lazy import make_lazy

if TYPE_CHECKING:
    from pika.client.threaded import Connection, connect
    from pika.client.threaded_channel import Channel
    from pika.client.threaded_message import Message
    from pika.client.threaded_publisher import Confirmation, Publisher

__all__ = ["Channel", "Confirmation", "Connection", "Message", "Publisher", "connect"]

_HOMES = {
    "Channel": "pika.client.threaded_channel",
    "Confirmation": "pika.client.threaded_publisher",
    "Connection": "pika.client.threaded",
    "Message": "pika.client.threaded_message",
    "Publisher": "pika.client.threaded_publisher",
    "connect": "pika.client.threaded",
}

make_lazy(
    __name__,
    _HOMES,
    (
        "aio",
        "aio_channel",
        "aio_consuming",
        "aio_link",
        "aio_message",
        "aio_opening",
        "aio_operations",
        "aio_publisher",
        "aio_stream",
        "aio_tasks",
        "aio_waiting",
        "confirming",
        "inbox",
        "message",
        "opening",
        "session",
        "state",
        "threaded",
        "threaded_channel",
        "threaded_consuming",
        "threaded_io",
        "threaded_link",
        "threaded_message",
        "threaded_operations",
        "threaded_publisher",
        "threaded_sending",
        "threaded_waiting",
    ),
)
