"""An exception out of a signal handler, at any line: the connection is usable afterwards, or closed and says why."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from typing import Callable

import pytest

import pika
from pika import exceptions
from pika.client import Channel
from tests.support.bounded import EVERY_LINE, PATIENCE, Running, eventually
from tests.support.interrupt import Interruption, interrupted_after

# Leaving a loop is what a generator does when it is collected; what is raised there, Python tells as a warning.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# Every line in `make torture`; otherwise one in so many, which is no divisor of any loop's length.
STEP = 1 if EVERY_LINE else 7


def publish(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, b"message")


def publish_large(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, bytes(300_000), pika.BasicProperties(headers={"key": "value"}))


def publish_confirmed(channel: Channel, queue: str) -> None:
    with channel.publisher(max_in_flight=2, mandatory=True) as publisher:
        for _ in range(4):
            publisher.publish(b"message", routing_key=queue)


def get(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, b"message")
    message = channel.basic_get(queue)
    if message is not None:
        message.ack()


def declare(channel: Channel, queue: str) -> None:
    channel.queue_declare("", exclusive=True)


def loop(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, b"message")
    for message in channel.consume(queue):
        with message.process():
            break


def open_and_close(channel: Channel, queue: str) -> None:
    with channel.connection.channel(prefetch=1) as other:
        other.basic_cancel(other.basic_consume(queue, lambda *_: None))


OPERATIONS: list[Callable[[Channel, str], None]] = [
    publish,
    publish_large,
    publish_confirmed,
    get,
    declare,
    loop,
    open_and_close,
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_interrupted_at_any_line(operation: Callable[[Channel, str], None], url: str) -> None:
    for lines in itertools.count(0, STEP):
        # A new one each time: the more channels a connection has, the more lines it runs to open another.
        with pika.connect(url) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            # A block that is left by the interruption may find the connection gone.
            with interrupted_after(lines) as countdown, contextlib.suppress(exceptions.AMQPConnectionError):
                operation(channel, queue)
            if not countdown.came:
                break
            check(connection, channel, queue)


def test_an_interrupted_close_closes(url: str) -> None:
    for lines in itertools.count(0, STEP):
        with pika.connect(url) as connection:
            channel = connection.channel()
            with interrupted_after(lines) as countdown:
                channel.close()
            if not countdown.came:
                break
            # Before its first line there is nobody who could.
            if lines > 2:
                eventually(lambda: channel.is_closed)  # noqa: B023  called before it goes on


@pytest.mark.parametrize("operation", [declare, open_and_close])
def test_others_send_nothing_that_is_half_done(operation: Callable[[Channel, str], None], url: str) -> None:
    """Threads that wait for the connection when a call is cut short find that it has ended over that."""

    def publish_until_the_end(channel: Channel) -> str:
        with pytest.raises(exceptions.AMQPError) as raised:
            while True:
                channel.basic_publish("", "nowhere", b"message")
                # Less than the signal handler takes.
                time.sleep(0.0005)
        return str(raised.value)

    for lines in itertools.count(0, STEP):
        with pika.connect(url) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            others = [Running(functools.partial(publish_until_the_end, connection.channel())) for _ in range(2)]
            interruption = interrupted_after(lines, pause=0.002)
            with interruption as countdown, contextlib.suppress(exceptions.AMQPConnectionError):
                operation(channel, queue)
            if countdown.came:
                check(connection, channel, queue)
            ended = not connection.is_open
        for other in others:
            assert not ended or "Interruption" in other.result()
        if not countdown.came:
            break


def test_an_interrupted_consume_leaves_no_consumer_that_is_not_known(url: str) -> None:
    """Nor does it leave the channel without anybody who calls handlers."""

    def are_known() -> bool:
        return channel.queue_declare(queue, passive=True).method.consumer_count == len(channel.consumer_tags)

    def consume() -> None:
        handled = threading.Event()
        channel.basic_consume(queue, lambda *_: handled.set(), auto_ack=True)
        channel.basic_publish("", queue, b"message")
        assert handled.wait(PATIENCE)

    connection = pika.connect(url)
    try:
        for lines in itertools.count(0, STEP):
            if not connection.is_open:
                connection.close()
                connection = pika.connect(url)
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            with interrupted_after(lines) as countdown:
                channel.basic_consume(queue, lambda *_: None)
            if not countdown.came:
                break
            if connection.is_open:
                eventually(are_known)
                channel.stop_consuming()
                consume()
                channel.close()
    finally:
        connection.close()


def test_an_interrupted_channel_is_closed(url: str) -> None:
    connection = pika.connect(url)
    try:
        for lines in itertools.count(0, STEP):
            if not connection.is_open:
                connection.close()
                connection = pika.connect(url)
            with interrupted_after(lines) as countdown:
                connection.channel(prefetch=1)
            if not countdown.came:
                break
            # Its number is free again.
            while connection.is_open:
                with connection.channel() as channel:
                    if channel.channel_number == 1:
                        break
    finally:
        connection.close()


def test_an_interrupted_close_is_no_half_closed_connection(url: str) -> None:
    """It has not begun, or it goes on, or the connection has ended over it: nobody need wait for a time limit."""
    for lines in itertools.count(0, STEP):
        connection = pika.connect(url)
        connection.channel()
        with interrupted_after(lines) as countdown:
            connection.close(timeout=10 * PATIENCE)
        if not connection.is_open:
            eventually(functools.partial(getattr, connection, "is_closed"))
        connection.close()
        if not countdown.came:
            break


def test_a_close_whose_sending_is_interrupted(url: str) -> None:
    connection = pika.connect(url)
    interrupt_writing(connection)
    with pytest.raises(Interruption):
        connection.close()
    eventually(lambda: connection.is_closed)


def test_an_interrupted_message_that_waits_its_turn_is_counted_once(url: str) -> None:
    for lines in itertools.count():
        with pika.connect(url) as connection:
            channel = connection.channel()
            publisher = channel.publisher()
            # So it is for a signal handler that comes while another message is under way.
            channel._rules._transmitting = True
            with interrupted_after(lines) as countdown:
                publisher.publish(b"message")
            connection.close(timeout=0.1)
            assert publisher.in_flight == 0
        if not countdown.came:
            break


def test_interrupted_while_a_loop_sends_what_it_has_held_back(url: str) -> None:
    """Before it waits for the next message it sends the acknowledgements that were to go together."""
    for _ in range(5):
        with pika.connect(url) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            for _ in range(3):
                channel.basic_publish("", queue, b"message")
            with pytest.raises(Interruption):
                acknowledge(connection, channel, queue)
            check(connection, channel, queue)


def acknowledge(connection: pika.Connection, channel: Channel, queue: str) -> None:
    """Loop over three messages; what is sent for the loop behind the last one is interrupted.

    If the connection's own thread was faster, that is the cancel of its consumer.
    """
    for number, message in enumerate(channel.consume(queue, timeout=1), 1):
        message.ack()
        if number == 3:
            interrupt_writing(connection)


def interrupt_writing(connection: pika.Connection) -> None:
    """Raise Interruption, once, when this thread has begun to write."""
    stream, this_thread = connection._link.stream, threading.current_thread()
    write = stream.write

    def interrupted(data: bytes) -> bool:
        if threading.current_thread() is this_thread:
            stream.write = write  # type: ignore[method-assign]
            raise Interruption
        return write(data)

    stream.write = interrupted  # type: ignore[method-assign,assignment]


def check(connection: pika.Connection, channel: Channel, queue: str) -> None:
    """What is sent afterwards arrives as it was sent, or the connection has ended over the interruption."""
    try:
        other = connection.channel(timeout=PATIENCE)
        with other.publisher(mandatory=True) as publisher:
            confirmation = publisher.publish(b"after", routing_key=queue)
            confirmation.result(timeout=PATIENCE)
        channel.close(timeout=PATIENCE)

        def found() -> bool:
            message = other.basic_get(queue, auto_ack=True, timeout=PATIENCE)
            return message is not None and message.body == b"after"

        eventually(found)
        other.close(timeout=PATIENCE)
    except exceptions.AMQPError as error:
        causes = str(error) + str(error.__cause__)
        assert "Interruption" in causes, causes
        eventually(lambda: connection.is_closed)
