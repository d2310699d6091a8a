"""What tests of ``pika.Connection`` do again and again."""

from __future__ import annotations

import threading

from pika.client import Channel
from pika.client.threaded_waiting import Gate
from tests.support.bounded import is_inside


def fill(channel: Channel, queue: str, count: int, size: int = 0) -> list[bytes]:
    """Publish messages whose bodies are their numbers, wait until the broker has them, and return their bodies."""
    bodies = [b"%d" % number + b" " * size for number in range(count)]
    with channel.connection.channel() as other, other.publisher() as publisher:
        for body in bodies:
            publisher.publish(body, routing_key=queue)
    return bodies


def ready(channel: Channel, queue: str) -> int:
    """Return how many messages are in a queue that nobody has got."""
    return channel.queue_declare(queue, passive=True).method.message_count


def waits(thread: threading.Thread) -> bool:
    """Say whether a thread has come to wait in a call of a client's."""
    return is_inside(thread, Gate.wait)
