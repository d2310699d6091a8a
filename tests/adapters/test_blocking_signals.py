"""Signal handlers that use the connection which they interrupt."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

import pika
from tests.support.consuming import drain
from tests.support.signals import alarm, needs_alarms

pytestmark = needs_alarms

BlockingChannel = pika.adapters.blocking_connection.BlockingChannel


def test_stop_consuming_while_nothing_arrives(channel: BlockingChannel, queue: str) -> None:
    channel.basic_consume(queue, lambda *message: None)
    with alarm(0.2, channel.stop_consuming):
        channel.start_consuming()
    assert channel.consumer_tags == []
    assert channel.queue_declare(queue, passive=True).method.consumer_count == 0


@pytest.mark.parametrize("seconds", [0.003, 0.01, 0.02, 0.03, 0.05, 0.08, 0.13, 0.21])
def test_stop_consuming_while_messages_pour_in(channel: BlockingChannel, queue: str, seconds: float) -> None:
    """Wherever the handler interrupts, the consumer ends, and every message was handed out or put back."""
    got: list[bytes] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        channel.basic_publish("", queue, body)

    for number in range(300):
        channel.basic_publish("", queue, b"%d" % number)
    channel.basic_consume(queue, on_message)
    with alarm(seconds, channel.stop_consuming):
        channel.start_consuming()
    assert channel.consumer_tags == []
    channel.basic_recover(requeue=True)
    assert sorted(drain(channel, queue, 300)) == sorted(b"%d" % number for number in range(300))


def test_cancel_ends_a_generator_that_waits(channel: BlockingChannel, queue: str) -> None:
    # Again and again, if the machine is so busy that it has not begun to wait.
    with alarm(0.2, lambda: channel.stop_consuming(), interval=0.2):
        assert list(channel.consume(queue)) == []


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("pouring", [False, True])
@pytest.mark.parametrize("what", ["channel", "connection"])
def test_closing_ends_start_consuming(
    channel: BlockingChannel, queue: str, what: str, pouring: bool, seconds: float
) -> None:
    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        if channel.is_open:
            channel.basic_publish("", queue, body)

    channel.basic_consume(queue, on_message, auto_ack=True)
    for _ in range(200 if pouring else 0):
        channel.basic_publish("", queue, b"message")
    close = channel.close if what == "channel" else channel.connection.close
    with alarm(seconds, close), contextlib.suppress(pika.exceptions.AMQPError):
        channel.start_consuming()
    assert channel.is_closed
    assert channel.connection.is_closed is (what == "connection")
