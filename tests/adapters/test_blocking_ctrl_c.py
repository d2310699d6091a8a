"""An exception out of a signal handler (Ctrl-C), at any moment: the connection is usable afterwards, or closed."""

from __future__ import annotations

import gc
import itertools
import os
import time
from collections.abc import Iterator
from typing import Callable

import pytest

import pika
import pika.broker
from pika import exceptions
from tests.support.interrupt import interrupted_after

# A socket that is interrupted before anybody owns it, or while it is closed, is closed when it is collected, and Python
# says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BlockingChannel = pika.adapters.blocking_connection.BlockingChannel
Operation = Callable[[pika.BlockingConnection, BlockingChannel], object]

QUEUE = "jobs"
# Every line in `make torture`; otherwise one in so many, which is no divisor of any loop's length.
STEP = 1 if "PIKA_TEST_EVERY_LINE" in os.environ else 29
# What nothing waits for may take; far below the bound that ends a wait for an answer that will not come.
PROMPT = 20.0


class Patient(pika.BlockingConnection):
    """A connection that gives an unanswered operation up before the test's time is over."""

    REPLY_TIMEOUT = 90.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with pika.broker.Broker() as broker:
        yield broker.url


def publish(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    channel.basic_publish("", QUEUE, b"message")


def publish_large(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    channel.basic_publish("", QUEUE, bytes(300_000), pika.BasicProperties(headers={"key": "value"}))


def publish_confirmed(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    channel.basic_publish("", QUEUE, b"message", mandatory=True)
    channel.basic_publish("", QUEUE, b"message")


def get(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    channel.basic_publish("", QUEUE, b"message")
    method, _properties, _body = channel.basic_get(QUEUE)
    assert method is not None
    channel.basic_ack(method.delivery_tag)


def declare(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", "key")


def consume(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    def on_message(channel: BlockingChannel, method: pika.spec.Basic.Deliver, *_: object) -> None:
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_publish("", QUEUE, b"message")
    channel.basic_consume(QUEUE, on_message)
    channel.start_consuming()


def iterate(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    channel.basic_publish("", QUEUE, b"message")
    for method, _properties, _body in channel.consume(QUEUE, inactivity_timeout=PROMPT):
        channel.basic_ack(method.delivery_tag)
        break
    channel.cancel()


def pass_time(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    connection.call_later(0, lambda: None)
    connection.add_callback_threadsafe(lambda: None)
    connection.process_data_events()
    connection.sleep(0.001)


def transact(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    other = connection.channel()
    other.tx_select()
    other.basic_publish("", QUEUE, b"message")
    other.tx_commit()
    other.close()


def close(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    connection.close()


OPERATIONS: list[Operation] = [
    publish,
    publish_large,
    publish_confirmed,
    get,
    declare,
    consume,
    iterate,
    pass_time,
    transact,
    close,
]


def require_usable(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    """See that everything works, on the channel if it is open and on a new one."""
    for usable in [channel, connection.channel()] if channel.is_open else [connection.channel()]:
        usable.confirm_delivery()
        usable.basic_publish("", QUEUE, b"after", mandatory=True)
        with pytest.raises(exceptions.UnroutableError):
            usable.basic_publish("", "nobody's", b"back", mandatory=True)
        usable.basic_publish("", QUEUE, b"after", mandatory=True)
        usable.cancel()
        for tag in usable.consumer_tags:
            usable.basic_cancel(tag)
        got: list[bytes | None] = []
        while got[-2:] != [b"after", b"after"]:
            got.append(usable.basic_get(QUEUE, auto_ack=True)[2])
            assert got[-1] is not None, got
    connection.close()
    assert connection.is_closed


def require_closed(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    """See that calls say so at once."""
    calls: list[Callable[[], object]] = [
        connection.channel,
        connection.process_data_events,
        lambda: channel.basic_publish("", QUEUE, b"message"),
        lambda: channel.queue_declare(QUEUE),
        lambda: channel.basic_get(QUEUE),
    ]
    for call in calls:
        with pytest.raises(exceptions.AMQPError):
            call()
    assert channel.is_closed


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_at_every_line(url: str, operation: Operation) -> None:
    for lines in itertools.count(step=STEP):
        connection = Patient(pika.URLParameters(url))
        channel = connection.channel()
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE)
        with interrupted_after(lines) as countdown:
            operation(connection, channel)
        gc.collect()
        began = time.monotonic()
        try:
            if connection.is_open:
                require_usable(connection, channel)
            elif not connection.is_closed:
                # It was closing: closing it again waits for the end.
                connection.close()
            require_closed(connection, channel)
        except BaseException as error:
            raise AssertionError(f"interrupted after {lines} lines") from error
        assert time.monotonic() - began < PROMPT, f"interrupted after {lines} lines"
        if not countdown.came:
            return


def test_while_connecting(url: str) -> None:
    """The next connection is opened as if nothing had been."""
    for lines in itertools.count(step=STEP):
        with interrupted_after(lines) as countdown:
            connection = pika.BlockingConnection(pika.URLParameters(url))
        gc.collect()
        if not countdown.came:
            connection.close()
            return
