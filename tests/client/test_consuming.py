"""Consuming: handlers in order, loops over messages, and what becomes of what nobody has begun with."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.client.inbox import MOST_MESSAGES
from pika.client.threaded_channel import Channel
from tests.support.bounded import PATIENCE, Running, bounded, eventually
from tests.support.encoding import method
from tests.support.memory import free_forgotten
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, delivery, scripted_broker
from tests.support.threaded import fill, ready


class Seen:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.threads: set[threading.Thread] = set()

    def __call__(
        self, channel: Channel, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes
    ) -> None:
        self.threads.add(threading.current_thread())
        self.bodies.append(body)
        channel.basic_ack(method.delivery_tag)


# Handlers


def test_handlers_run_in_order_in_one_thread(channel: Channel, queue: str) -> None:
    bodies = fill(channel, queue, 3000)
    seen = Seen()
    tag = channel.basic_consume(queue, seen)
    assert channel.consumer_tags == [tag]
    eventually(lambda: len(seen.bodies) == 3000)
    assert seen.bodies == bodies
    assert len(seen.threads) == 1
    assert threading.current_thread() not in seen.threads
    channel.basic_cancel(tag)
    assert channel.consumer_tags == []
    assert ready(channel, queue) == 0


def test_handlers_may_call_anything(connection: pika.Connection, channel: Channel, queue: str) -> None:
    fill(channel, queue, 3)
    done = threading.Event()

    def on_message(own: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        assert own is channel
        own.queue_declare("", exclusive=True)
        with connection.channel() as other, other.publisher() as publisher:
            publisher.publish(body, routing_key=own.queue_declare("", exclusive=True).method.queue).result()
        own.basic_ack(method.delivery_tag)
        if body == b"2":
            own.stop_consuming()
            done.set()

    channel.basic_consume(queue, on_message)
    assert done.wait(PATIENCE)
    assert channel.consumer_tags == []


def test_a_handler_that_raises(channel: Channel, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    fill(channel, queue, 2)
    seen: list[bytes] = []

    def on_message(own: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        if body == b"0":
            seen.append(body)
            raise ValueError("of the handler")
        own.basic_ack(method.delivery_tag)
        seen.append(body)

    with caplog.at_level(logging.ERROR):
        channel.basic_consume(queue, on_message)
        eventually(lambda: len(seen) == 2)
    assert "of the handler" in caplog.text
    assert "Traceback" in caplog.text
    channel.close()
    # It was never acknowledged.
    with channel.connection.channel() as other:
        assert eventually(lambda: ready(other, queue) == 1)


def test_handlers_at_the_same_time(channel: Channel, queue: str) -> None:
    fill(channel, queue, 4)
    together = threading.Barrier(4, timeout=PATIENCE)
    done: list[bytes] = []

    def on_message(_channel: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        together.wait()
        channel.basic_ack(method.delivery_tag)
        done.append(body)

    channel.basic_consume(queue, on_message, concurrency=4)
    eventually(lambda: len(done) == 4)
    assert not together.broken


@pytest.mark.parametrize("concurrency", [1, 3])
def test_handlers_in_an_executor(channel: Channel, queue: str, concurrency: int) -> None:
    bodies = fill(channel, queue, 500)
    running, most = 0, 0
    lock = threading.Lock()
    seen: list[bytes] = []

    def on_message(_channel: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert threading.current_thread().name.startswith("mine")
        channel.basic_ack(method.delivery_tag)
        with lock:
            seen.append(body)
            running -= 1

    with ThreadPoolExecutor(8, "mine") as executor:
        channel.basic_consume(queue, on_message, executor=executor, concurrency=concurrency)
        eventually(lambda: len(seen) == 500)
        channel.connection.drain(timeout=PATIENCE)
    assert most <= concurrency
    assert (seen if concurrency == 1 else sorted(seen, key=int)) == bodies


def test_no_concurrency_at_all(channel: Channel, queue: str) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        channel.basic_consume(queue, Seen(), concurrency=0)
    with pytest.raises(TypeError, match="on_message_callback"):
        channel.basic_consume(queue, "no function")  # type: ignore[arg-type]


def test_an_executor_that_has_ended(channel: Channel, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    channel.basic_consume(queue, Seen(), executor=executor)
    fill(channel, queue, 1)
    eventually(lambda: "takes no more handlers" in caplog.text)
    assert channel.is_open


def test_cancelling_gives_back_what_no_handler_has_begun_with(channel: Channel, queue: str) -> None:
    fill(channel, queue, 100)
    begun, go_on = threading.Event(), threading.Event()
    seen: list[bytes] = []

    def on_message(_channel: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        seen.append(body)
        begun.set()
        go_on.wait(PATIENCE)
        channel.basic_ack(method.delivery_tag)

    tag = channel.basic_consume(queue, on_message)
    assert begun.wait(PATIENCE)
    channel.basic_cancel(tag)
    # While the handler still runs.
    eventually(lambda: ready(channel, queue) == 99)
    go_on.set()
    channel.connection.drain(timeout=PATIENCE)
    assert (seen, ready(channel, queue)) == ([b"0"], 99)


def test_cancelling_hands_out_what_is_nowhere_else(channel: Channel, queue: str) -> None:
    bodies = fill(channel, queue, 100)
    begun, go_on = threading.Event(), threading.Event()
    seen: list[bytes] = []

    def on_message(_channel: Channel, _method: object, _properties: object, body: bytes) -> None:
        begun.set()
        go_on.wait(PATIENCE)
        seen.append(body)

    tag = channel.basic_consume(queue, on_message, auto_ack=True)
    assert begun.wait(PATIENCE)
    eventually(lambda: ready(channel, queue) == 0)
    channel.basic_cancel(tag)
    go_on.set()
    eventually(lambda: len(seen) == 100)
    assert seen == bodies


def test_start_consuming_returns_when_there_are_no_consumers(channel: Channel, queue: str) -> None:
    channel.start_consuming()
    channel.basic_consume(queue, Seen())
    channel.start_consuming(timeout=0.05)
    consuming = Running(channel.start_consuming)
    channel.stop_consuming()
    consuming.result()


def test_start_consuming_raises_what_the_channel_ends_with(channel: Channel, queue: str) -> None:
    channel.basic_consume(queue, Seen())
    consuming = Running(channel.start_consuming)
    channel.basic_ack(delivery_tag=4711)
    with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag 4711"):
        consuming.result()
    # Once: after that it is known.
    with pytest.raises(exceptions.ChannelWrongStateError, match="unknown delivery tag 4711"):
        channel.queue_declare("", exclusive=True)


def test_what_nobody_waited_for_ends_the_channel(channel: Channel) -> None:
    channel.basic_ack(delivery_tag=4711)
    eventually(lambda: channel.is_closed)
    with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag 4711"):
        channel.queue_declare("", exclusive=True)
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.queue_declare("", exclusive=True)


def test_the_broker_cancels(connection: pika.Connection, channel: Channel, queue: str) -> None:
    cancelled: list[Any] = []
    channel.add_on_cancel_callback(cancelled.append)
    tag = channel.basic_consume(queue, Seen())
    consuming = Running(channel.start_consuming)
    with connection.channel() as other:
        other.queue_delete(queue)
    consuming.result()
    eventually(lambda: [method.consumer_tag for method in cancelled] == [tag])


def test_a_tag_that_is_taken(channel: Channel, queue: str) -> None:
    channel.basic_consume(queue, Seen(), consumer_tag="mine")
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume(queue, Seen(), consumer_tag="mine")
    seen = Seen()
    channel.basic_cancel("mine")
    channel.basic_cancel("mine")
    channel.basic_consume(queue, seen, consumer_tag="mine")
    fill(channel, queue, 1)
    eventually(lambda: seen.bodies == [b"0"])


def test_a_consumer_that_is_refused(channel: Channel) -> None:
    with pytest.raises(exceptions.ChannelClosedByBroker, match="no queue 'no such queue'"):
        channel.basic_consume("no such queue", Seen())


# Loops


def test_a_loop(channel: Channel, queue: str) -> None:
    published = fill(channel, queue, 2000)
    bodies = []

    def loop() -> bool:
        for message in channel.consume(queue, timeout=0.5):
            message.ack()
            bodies.append(message.body)
        return len(bodies) >= 2000

    # A pause between two deliveries may be longer than that when the machine is busy: then another loop goes on.
    eventually(loop)
    assert bodies == published
    assert channel.consumer_tags == []
    assert ready(channel, queue) == 0


@pytest.mark.parametrize("leave", ["break", "raise", "close"])
def test_leaving_a_loop_gives_back_what_was_prefetched(channel: Channel, queue: str, leave: str) -> None:
    fill(channel, queue, 100)

    def loop() -> Iterator[None]:
        messages = channel.consume(queue)
        for message in messages:
            with message.process():
                if message.body == b"9":
                    if leave == "raise":
                        raise ValueError
                    break
        if leave == "close":
            messages.close()
        yield

    if leave == "raise":
        with pytest.raises(ValueError):
            next(loop())
    else:
        next(loop())
    free_forgotten()
    assert channel.consumer_tags == []
    eventually(lambda: ready(channel, queue) == 90)


def test_a_loop_in_another_thread_is_ended_by_cancelling(channel: Channel, queue: str) -> None:
    looping = Running(lambda: [message.body for message in channel.consume(queue, consumer_tag="mine")])
    eventually(lambda: channel.consumer_tags == ["mine"])
    channel.basic_cancel("mine")
    assert looping.result() == []


@pytest.mark.parametrize("end", ["channel", "connection", "broker"])
def test_a_loop_ends_with_its_channel(connection: pika.Connection, channel: Channel, queue: str, end: str) -> None:
    looping = Running(lambda: [message.body for message in channel.consume(queue)])
    eventually(lambda: channel.consumer_tags)
    if end == "channel":
        channel.close()
    elif end == "connection":
        connection.close()
    else:
        channel.basic_ack(delivery_tag=4711)
    if end == "broker":
        with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag"):
            looping.result()
    else:
        assert looping.result() == []


def test_a_loop_whose_queue_is_deleted(connection: pika.Connection, channel: Channel, queue: str) -> None:
    looping = Running(lambda: [message.body for message in channel.consume(queue)])
    eventually(lambda: channel.consumer_tags)
    with connection.channel() as other:
        other.queue_delete(queue)
    with pytest.raises(exceptions.ConsumerCancelled):
        looping.result()
    assert channel.is_open


def test_two_loops_on_a_channel(channel: Channel, queue: str) -> None:
    other = channel.queue_declare("", exclusive=True).method.queue
    fill(channel, queue, 10)
    fill(channel, other, 10)
    for mine, theirs in zip(channel.consume(queue, auto_ack=True), channel.consume(other, auto_ack=True)):
        assert mine.body == theirs.body
        if mine.body == b"9":
            break
    free_forgotten()
    assert channel.consumer_tags == []


def test_prefetch(broker: Broker, queue: str) -> None:
    with pika.connect(broker.url) as connection:
        channel = connection.channel(prefetch=3)
        own = channel.queue_declare("", exclusive=True).method.queue
        fill(channel, own, 10)
        for message in channel.consume(own):
            with connection.channel() as other:
                eventually(lambda: ready(other, own) == 7)
            message.ack()
            break
        free_forgotten()
        eventually(lambda: ready(channel, own) == 9)


# A full inbox


def test_a_full_inbox_pauses_reading_and_answers_still_come(channel: Channel, queue: str) -> None:
    count = 4 * MOST_MESSAGES
    bodies = fill(channel, queue, count, size=4096)
    seen: list[bytes] = []
    begun, go_on = threading.Event(), threading.Event()

    def on_message(own: Channel, _method: object, _properties: object, body: bytes) -> None:
        begun.set()
        go_on.wait(PATIENCE)
        if len(seen) % 1000 == 0:
            # What a handler waits for has to be read, behind all that has come before.
            own.queue_declare("", exclusive=True, timeout=PATIENCE)
        seen.append(body)

    channel.basic_consume(queue, on_message, auto_ack=True)
    assert begun.wait(PATIENCE)
    (inbox,) = channel._book.inboxes
    eventually(lambda: len(inbox.items) >= MOST_MESSAGES)
    time.sleep(0.3)
    # A read is 128 KiB, and what was in it is kept.
    assert len(inbox.items) < 2 * MOST_MESSAGES
    go_on.set()
    eventually(lambda: len(seen) == count)
    assert seen == bodies


def test_a_full_inbox_of_a_loop(channel: Channel, queue: str) -> None:
    bodies = fill(channel, queue, 3 * MOST_MESSAGES)
    seen: list[bytes] = []

    def loop() -> None:
        for message in channel.consume(queue):
            if not seen:
                eventually(lambda: channel.connection._link.io.paused)
            message.ack()
            seen.append(message.body)
            if len(seen) == len(bodies):
                break

    bounded(loop)
    assert seen == bodies
    assert ready(channel, queue) == 0


def test_draining(connection: pika.Connection, channel: Channel, queue: str) -> None:
    fill(channel, queue, 50)
    begun, go_on = threading.Event(), threading.Event()
    finished: list[bytes] = []

    def on_message(own: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        begun.set()
        go_on.wait(PATIENCE)
        own.basic_ack(method.delivery_tag)
        finished.append(body)

    channel.basic_consume(queue, on_message)
    assert begun.wait(PATIENCE)
    with pytest.raises(exceptions.AMQPTimeoutError):
        connection.drain(timeout=0.1)
    threading.Timer(0.1, go_on.set).start()
    connection.drain(timeout=PATIENCE)
    assert finished == [b"0"]
    eventually(lambda: ready(channel, queue) == 49)
    assert channel.is_open


def test_draining_in_handlers(connection: pika.Connection) -> None:
    """Two handlers drain at the same time: neither waits for the other for ever."""
    drained: list[bool] = []
    together = threading.Barrier(2, timeout=PATIENCE)

    def on_message(own: Channel, method: spec.Basic.Deliver, _properties: object, _body: bytes) -> None:
        together.wait()
        own.basic_ack(method.delivery_tag)
        connection.drain(timeout=PATIENCE)
        drained.append(True)

    for _ in range(2):
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(queue, on_message)
        channel.basic_publish("", queue, b"")
    eventually(lambda: len(drained) == 2)


def test_threads_go_with_the_consumer_that_they_work_for(channel: Channel, queue: str) -> None:
    before = set(threading.enumerate())

    def threads() -> int:
        # Those of tests before may still be about to end.
        started = set(threading.enumerate()) - before
        return sum(thread.name.startswith("pika-handlers") for thread in started)

    for _ in range(5):
        fill(channel, queue, 3)
        seen = Seen()
        tag = channel.basic_consume(queue, seen, concurrency=4)
        assert threads()
        eventually(lambda seen=seen: len(seen.bodies) == 3)  # type: ignore[misc]
        channel.basic_cancel(tag)
        eventually(lambda: not threads())
    # Those of before are forgotten.
    assert len(channel._crews) <= 2


def test_draining_while_the_connection_ends(connection: pika.Connection, channel: Channel, queue: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def on_message(*_: object) -> None:
        begun.set()
        go_on.wait(PATIENCE)

    channel.basic_consume(queue, on_message)
    channel.basic_publish("", queue, b"")
    assert begun.wait(PATIENCE)
    draining = Running(connection.drain)
    eventually(lambda: not channel.consumer_tags)
    connection.close()
    with pytest.raises(exceptions.AMQPError):
        draining.result()
    go_on.set()


def test_a_delivery_ahead_of_an_answer_that_nobody_waits_for_goes_back() -> None:
    given_up = threading.Event()
    rejected: list[spec.Basic.Reject] = []

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        tag = session.expect(spec.Basic.Consume).method.consumer_tag
        assert given_up.wait(PATIENCE)
        session.send(delivery(number, tag, 1, b"early"), method(number, spec.Basic.ConsumeOk(tag)))
        rejected.append(session.expect(spec.Basic.Reject).method)
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
        channel = connection.channel()
        with pytest.raises(exceptions.AMQPTimeoutError):
            channel.basic_consume("queue", print, timeout=0.1)
        given_up.set()
        eventually(lambda: rejected)
    assert (rejected[0].delivery_tag, rejected[0].requeue) == (1, True)
