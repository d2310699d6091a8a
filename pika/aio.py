"""The client for asyncio: ``async with pika.aio.connect(url) as connection``."""

from __future__ import annotations

from pika.client.aio import Connection, connect
from pika.client.aio_channel import Channel
from pika.client.aio_consuming import Messages
from pika.client.aio_message import Message
from pika.client.aio_publisher import Confirmation, Publisher

__all__ = ["Channel", "Confirmation", "Connection", "Message", "Messages", "Publisher", "connect"]
