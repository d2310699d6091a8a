"""What tests of ``pika.Connection`` do again and again."""

from __future__ import annotations

from pika.client import Channel


def ready(channel: Channel, queue: str) -> int:
    """Return how many messages are in a queue that nobody has got."""
    return channel.queue_declare(queue, passive=True).method.message_count
