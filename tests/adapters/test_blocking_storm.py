"""add_callback_threadsafe from many threads at once, while messages pour in."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import pika
from pika.broker import Broker
from tests.support.bounded import Running

THREADS = 8
CALLBACKS = 100_000


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


class Feed:
    """Publishes to a queue on a connection of its own, in a thread, until it is told to stop."""

    def __init__(self, url: str, queue: str) -> None:
        self._stop = threading.Event()
        self._url, self._queue = url, queue
        self.published = 0
        self._running = Running(self._run, "feed")

    def _run(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(self._url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            while not self._stop.is_set():
                channel.basic_publish("", self._queue, b"%d" % self.published)
                self.published += 1

    def stop(self) -> int:
        """Stop it, and return how many messages it has published."""
        self._stop.set()
        self._running.result()
        return self.published


def storm(connection: pika.BlockingConnection, on_call: Any) -> list[Running[None]]:
    """Have threads hand over callbacks, as fast as they can and all at once."""
    start = threading.Barrier(THREADS)

    def hand_over(thread: int) -> None:
        start.wait()
        for number in range(CALLBACKS // THREADS):
            connection.add_callback_threadsafe(lambda number=number: on_call(thread, number))

    return [Running(lambda thread=thread: hand_over(thread), f"storm-{thread}") for thread in range(THREADS)]


def test_no_callback_is_lost_and_each_thread_s_order_is_kept(broker: Broker) -> None:
    queue = f"pika-{uuid.uuid4().hex}"
    called: list[list[int]] = [[] for _ in range(THREADS)]
    callers: set[int] = set()
    bodies: list[bytes] = []

    def on_call(thread: int, number: int) -> None:
        called[thread].append(number)
        callers.add(threading.get_ident())

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        bodies.append(body)
        channel.basic_ack(method.delivery_tag)

    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue)
        channel.basic_qos(prefetch_count=50)
        channel.basic_consume(queue, on_message)
        feed = Feed(broker.url, queue)
        threads = storm(connection, on_call)
        while sum(map(len, called)) < CALLBACKS or not bodies:
            connection.process_data_events(10)
        for thread in threads:
            thread.result()
        published = feed.stop()
        while len(bodies) < published:
            connection.process_data_events(10)
        connection.process_data_events(0)
        assert channel.queue_delete(queue).method.message_count == 0
    assert called == [list(range(CALLBACKS // THREADS))] * THREADS
    assert callers == {threading.get_ident()}
    assert bodies == [b"%d" % number for number in range(published)]


def test_start_consuming_calls_what_arrives_in_a_storm_and_in_callbacks(broker: Broker) -> None:
    """One callback of the storm's publishes, the last one stops: start_consuming returns with nothing left behind."""
    called = 0
    bodies: list[bytes] = []
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue

        def on_call(thread: int, number: int) -> None:
            nonlocal called
            called += 1
            if number % 100 == 0:
                channel.basic_publish("", queue, b"%d %d" % (thread, number))

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            bodies.append(body)
            if len(bodies) == CALLBACKS // 100:
                channel.stop_consuming()

        channel.basic_consume(queue, on_message, auto_ack=True)
        threads = storm(connection, on_call)
        channel.start_consuming()
        for thread in threads:
            thread.result()
        while called < CALLBACKS:
            connection.process_data_events(10)
    expected = [b"%d %d" % (thread, number) for thread in range(THREADS) for number in range(0, CALLBACKS // 8, 100)]
    assert sorted(bodies) == sorted(expected)
