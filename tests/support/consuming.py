"""What tests of consumers do again and again: publish, wait, count, take back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.support.bounded import PATIENCE, eventually


def publish(channel: BlockingChannel, queue: str, number: int, start: int = 0) -> list[bytes]:
    """Publish messages that are in the queue when this returns, on a channel of their own."""
    bodies = [b"%d" % index for index in range(start, start + number)]
    with channel.connection.channel() as publisher:
        publisher.confirm_delivery()
        for body in bodies:
            publisher.basic_publish("", queue, body)
    return bodies


def count(channel: BlockingChannel, queue: str) -> int:
    """Return how many messages of a queue are ready.

    RabbitMQ's queues answer a declare before anything else: what was published without a confirm, and what was put
    back, may not be counted yet. Purges, deletes and gets take their turn.
    """
    return int(channel.queue_declare(queue, passive=True).method.message_count or 0)


def take(channel: BlockingChannel, queue: str, auto_ack: bool = True) -> tuple[Any, Any, Any]:
    """Get a message that is on its way into a queue: published a moment ago without a confirm, or put back."""

    def got() -> tuple[Any, Any, Any] | None:
        found = channel.basic_get(queue, auto_ack=auto_ack)
        return None if found[0] is None else found

    found = eventually(got)
    assert found is not None
    return found


def drain(channel: BlockingChannel, queue: str, number: int) -> list[bytes]:
    """Take all messages, of which so many have been there or have just been put back."""
    taken: list[bytes] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        body = channel.basic_get(queue, auto_ack=True)[2]
        if body is not None:
            taken.append(body)
        elif len(taken) >= number:
            break
        else:
            time.sleep(0.01)
    return taken


def pump(connection: BlockingConnection, done: Callable[[], object]) -> None:
    """Process data events until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "it never came to it"
        connection.process_data_events(0.05)


def arrive(channel: BlockingChannel, number: int) -> None:
    """Wait, without calling a callback, until so many deliveries have arrived for the channel's callbacks."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if len(channel._pending_events) >= number:
            return
        channel.basic_qos(prefetch_count=0)
        time.sleep(0.002)
    raise AssertionError(f"{len(channel._pending_events)} deliveries of {number} have arrived")
