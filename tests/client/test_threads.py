"""Many threads on one connection: nothing is lost, nothing doubled, and nobody waits for ever."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter

import pytest

import pika
from pika import spec
from pika.client import inbox as inboxes
from pika.client.threaded_channel import Channel
from tests.support.bounded import EVERY_LINE, bounded, eventually, side_by_side
from tests.support.memory import count_descriptors
from tests.support.rabbitmq import Broker
from tests.support.threaded import ready

#: Seconds; a minute in `make torture`.
LONG = 60.0 if EVERY_LINE else 3.0
THREADS = 32


class Storm:
    """Threads that do everything at once on one connection; each message says who published it.

    :param connection: the connection
    """

    def __init__(self, connection: pika.Connection) -> None:
        self.connection = connection
        channel = connection.channel()
        self.queue = channel.queue_declare("", exclusive=True).method.queue
        self.shared = channel.publisher(max_in_flight=200, mandatory=True)
        self.lock = threading.Lock()
        self.published: Counter[bytes] = Counter()
        self.consumed: Counter[bytes] = Counter()
        self.end = time.monotonic() + LONG

    def run(self) -> None:
        for number in range(3):
            self.connection.channel(prefetch=(0, 10, 200)[number]).basic_consume(
                self.queue, self.on_message, concurrency=(1, 1, 3)[number]
            )
        side_by_side([lambda number=number: self.work(number) for number in range(THREADS)], LONG + 60)  # type: ignore[misc]
        self.shared.wait()
        eventually(self.has_consumed_all)
        self.connection.drain(timeout=60)
        assert self.consumed == self.published
        assert set(self.published.values()) == {1}

    def has_consumed_all(self) -> bool:
        with self.lock:
            return sum(self.consumed.values()) >= sum(self.published.values())

    def on_message(self, channel: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        with self.lock:
            self.consumed[body] += 1
        channel.basic_ack(method.delivery_tag)

    def work(self, number: int) -> None:
        numbers = random.Random(number)
        actions = (self.publish, self.publish, self.publish, self.declare, self.loop, self.by_hand)
        count = 0
        while time.monotonic() < self.end:
            numbers.choice(actions)(b"%d-%d" % (number, count))
            count += 1

    def note(self, body: bytes) -> None:
        with self.lock:
            self.published[body] += 1

    def publish(self, body: bytes) -> None:
        self.note(body)
        confirmation = self.shared.publish(body, routing_key=self.queue)
        if body.endswith(b"7"):
            confirmation.result(timeout=60)

    def by_hand(self, body: bytes) -> None:
        with self.connection.channel() as channel:
            channel.confirm_delivery()
            self.note(body)
            channel.basic_publish("", self.queue, body, mandatory=True)

    def declare(self, _body: bytes) -> None:
        with self.connection.channel() as channel:
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, "amq.topic", "key")
            channel.queue_delete(queue)

    def loop(self, body: bytes) -> None:
        with self.connection.channel(prefetch=5) as channel:
            queue = channel.queue_declare("", exclusive=True).method.queue
            for _ in range(3):
                channel.basic_publish("", queue, body)
            for seen, message in enumerate(channel.consume(queue, timeout=30)):
                assert message.body == body
                message.ack()
                if seen == 2:
                    break
            channel.queue_delete(queue)


def test_everything_at_once(connection: pika.Connection) -> None:
    bounded(Storm(connection).run, LONG + 120)


def test_an_inbox_that_is_emptied_while_it_is_found_full(
    channel: Channel, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading goes on, though nobody is left who would say that there is room again.

    Mostly: a handler's thread that wants the connection's lock, before it takes the next message, cannot empty it.
    """
    holds = inboxes.Inbox.holds

    def and_is_emptied(inbox: inboxes.Inbox, share: float = 1.0) -> bool:
        full = bool(holds(inbox, share))
        if full and threading.current_thread().name.startswith("pika-io"):
            with contextlib.suppress(AssertionError):
                eventually(lambda: not inbox.items, 0.2)
        return full

    monkeypatch.setattr(inboxes.Inbox, "holds", and_is_emptied)
    monkeypatch.setattr(inboxes, "MOST_OCTETS", 100_000)
    channel.basic_qos(prefetch_count=1)
    for _ in range(3):
        channel.basic_publish("", queue, bytes(120_000))
    handled: list[bytes] = []

    def on_message(own: Channel, method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        handled.append(body)
        own.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message)
    eventually(lambda: len(handled) == 3)


@pytest.mark.slow
def test_nine_hundred_threads_publish(broker: Broker) -> None:
    def rate(threads: int, each: int) -> float:
        with pika.connect(broker.url) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            with channel.publisher(max_in_flight=2000) as publisher:
                began = time.perf_counter()

                def publish() -> None:
                    for _ in range(each):
                        publisher.publish(b"body", routing_key=queue)

                side_by_side([publish] * threads, 300)
                publisher.wait()
                taken = time.perf_counter() - began
            assert ready(channel, queue) == threads * each
        return threads * each / taken

    rates = {threads: rate(threads, 9000 // threads) for threads in (10, 900)}
    # No measurement: it says whether threads are in each other's way by an order of magnitude.
    assert rates[900] > rates[10] / 10, rates


@pytest.mark.slow
def test_connections_and_channels_leave_nothing_behind(broker: Broker) -> None:
    def once() -> None:
        with pika.connect(broker.url) as connection:
            channel = connection.channel(prefetch=10)
            queue = channel.queue_declare("", exclusive=True).method.queue
            done = threading.Event()
            channel.basic_consume(queue, lambda *_: done.set(), auto_ack=True)
            with channel.publisher() as publisher:
                publisher.publish(b"", routing_key=queue).add_done_callback(lambda _: None)
            assert done.wait(60)

    for _ in range(5):
        once()
    before = threading.active_count(), count_descriptors()
    for _ in range(300):
        once()
    eventually(lambda: threading.active_count() <= before[0])
    # Those of the embedded broker's end are in this process, and closed a moment later.
    eventually(lambda: count_descriptors() <= before[1])
