"""One thread at a time: the wrong one is told what to do, and a connection may be handed over."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

import pika
from pika import exceptions
from pika.broker import Broker as EmbeddedBroker
from pika.transport.stream import Stream
from tests.support.bounded import PATIENCE, Running, bounded, eventually, is_inside
from tests.support.brokers import BOTH
from tests.support.consuming import publish, take

BlockingChannel = pika.adapters.blocking_connection.BlockingChannel

THREADS = 8
ROUNDS = 60
# Larger than a frame, so that a message is written in several pieces; and small.
BODIES = [bytes(300_000), b"small"]


@pytest.fixture(params=BOTH)
def connection(request: pytest.FixtureRequest) -> Iterator[pika.BlockingConnection]:
    """A connection; closed at the end if the test has not done it."""
    if request.param == "rabbitmq":
        yield from opened(request.getfixturevalue("rabbitmq").url)
        return
    with EmbeddedBroker() as broker:
        yield from opened(broker.url)


def opened(url: str) -> Iterator[pika.BlockingConnection]:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    yield connection
    if connection.is_open:
        connection.close()


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> BlockingChannel:
    return connection.channel()


@pytest.fixture
def queue(channel: BlockingChannel) -> str:
    name = f"pika-{uuid.uuid4().hex}"
    channel.queue_declare(name, exclusive=True)
    return name


class Inside:
    """Another thread that is inside the connection.

    :param run: what it calls there; it returns when :meth:`leave` was called
    :param leave: called to make it return
    :param entered: says whether the thread is inside
    """

    def __init__(
        self, run: Callable[[], object], leave: Callable[[], object], entered: Callable[[threading.Thread], bool]
    ) -> None:
        self._leave = leave
        self._running = Running(run, "inside")
        eventually(lambda: entered(self._running.thread))

    def leave(self) -> None:
        self._leave()
        self._running.result()


def consuming(channel: BlockingChannel, queue: str) -> Inside:
    """A thread in start_consuming, to which nothing is delivered."""
    entered = threading.Event()
    channel.basic_consume(queue, lambda *message: None)
    channel.connection.add_callback_threadsafe(entered.set)
    leave = channel.connection.add_callback_threadsafe
    return Inside(channel.start_consuming, lambda: leave(channel.stop_consuming), lambda _: entered.is_set())


def sleeping_in_a_callback(channel: BlockingChannel, queue: str) -> Inside:
    """A thread whose callback takes its time."""
    entered, over = threading.Event(), threading.Event()

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        entered.set()
        assert over.wait(PATIENCE)
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_consume(queue, on_message)
    channel.basic_publish("", queue, b"slow")
    return Inside(channel.start_consuming, over.set, lambda _: entered.is_set())


def processing_events(channel: BlockingChannel, queue: str) -> Inside:
    """A thread in process_data_events, without a limit."""
    connection = channel.connection
    return Inside(
        lambda: connection.process_data_events(None),
        lambda: connection.add_callback_threadsafe(lambda: None),
        lambda thread: is_inside(thread, Stream.wait),
    )


INSIDE = [consuming, sleeping_in_a_callback, processing_events]

CALLS: dict[str, Callable[[BlockingChannel, str], object]] = {
    "basic_publish": lambda channel, queue: channel.basic_publish("", queue, b"body"),
    "basic_ack": lambda channel, queue: channel.basic_ack(1),
    "basic_nack": lambda channel, queue: channel.basic_nack(1),
    "basic_reject": lambda channel, queue: channel.basic_reject(1),
    "basic_get": lambda channel, queue: channel.basic_get(queue),
    "basic_qos": lambda channel, queue: channel.basic_qos(prefetch_count=1),
    "basic_consume": lambda channel, queue: channel.basic_consume(queue, lambda *message: None),
    "consume": lambda channel, queue: next(iter(channel.consume(queue, inactivity_timeout=0.1))),
    "start_consuming": lambda channel, queue: channel.start_consuming(),
    "stop_consuming": lambda channel, queue: channel.stop_consuming(),
    "queue_declare": lambda channel, queue: channel.queue_declare(queue, passive=True),
    "confirm_delivery": lambda channel, queue: channel.confirm_delivery(),
    "channel.close": lambda channel, queue: channel.close(),
    "connection.channel": lambda channel, queue: channel.connection.channel(),
    "connection.close": lambda channel, queue: channel.connection.close(),
    "process_data_events": lambda channel, queue: channel.connection.process_data_events(),
    "process_data_events for ever": lambda channel, queue: channel.connection.process_data_events(None),
    "sleep": lambda channel, queue: channel.connection.sleep(0.01),
}


@pytest.mark.parametrize("inside", INSIDE)
def test_a_second_thread_is_told_what_to_do(
    channel: BlockingChannel, queue: str, inside: Callable[[BlockingChannel, str], Inside]
) -> None:
    connection = channel.connection
    other = inside(channel, queue)
    for name, call in CALLS.items():
        with pytest.raises(exceptions.WrongThreadError, match="add_callback_threadsafe") as caught:
            bounded(lambda call=call: call(channel, queue))
        assert isinstance(caught.value, RuntimeError) and not isinstance(caught.value, exceptions.AMQPError), name
    assert connection.is_open and not connection.is_closed
    assert channel.is_open and not channel.is_closed
    assert channel.channel_number == 1 and channel.connection is connection
    other.leave()
    # Handed over: nothing of what was refused has happened, and everything can be done from here.
    assert channel.consumer_tags == [] or inside is processing_events
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"after", mandatory=True)
    assert channel.basic_get(queue, auto_ack=True)[2] == b"after"
    assert channel.basic_get(queue, auto_ack=True) == (None, None, None)
    connection.close()
    assert connection.is_closed and channel.is_closed


def test_the_text_names_both_threads_and_the_call(channel: BlockingChannel, queue: str) -> None:
    other = consuming(channel, queue)
    with pytest.raises(exceptions.WrongThreadError) as caught:
        channel.basic_publish("", queue, b"body")
    other.leave()
    for words in ("inside", threading.current_thread().name):
        assert words in str(caught.value), str(caught.value)


def test_a_callback_handed_over_does_what_the_second_thread_may_not(channel: BlockingChannel, queue: str) -> None:
    other = consuming(channel, queue)
    done = threading.Event()

    def publish() -> None:
        channel.basic_publish("", queue, b"handed over")
        done.set()

    channel.connection.add_callback_threadsafe(publish)
    assert done.wait(PATIENCE)
    other.leave()


@pytest.mark.parametrize("end", ["return", "raise"])
def test_who_has_left_leaves_the_connection_to_others(channel: BlockingChannel, queue: str, end: str) -> None:
    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        if end == "raise":
            raise LookupError("the callback's own")
        channel.stop_consuming()

    channel.basic_publish("", queue, b"body")
    channel.basic_consume(queue, on_message)
    if end == "raise":
        with pytest.raises(LookupError, match="the callback's own"):
            bounded(channel.start_consuming)
    else:
        bounded(channel.start_consuming)
    assert channel.queue_declare(queue, passive=True).method.message_count == 0
    bounded(channel.close)
    bounded(channel.connection.close)


def test_a_generator_is_left_between_its_messages(channel: BlockingChannel, queue: str) -> None:
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)
    messages = channel.consume(queue)
    for number in range(3):
        method, _, body = bounded(lambda: next(messages))
        assert body == b"%d" % number
        channel.basic_ack(method.delivery_tag)
    assert bounded(channel.cancel) == 0


def test_a_connection_is_handed_from_thread_to_thread_under_a_lock(channel: BlockingChannel, queue: str) -> None:
    lock = threading.Lock()
    channel.confirm_delivery()

    def use(number: int) -> None:
        with lock:
            channel.basic_publish("", queue, b"%d" % number, mandatory=True)
            channel.queue_declare(queue, passive=True)
            channel.connection.process_data_events()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(use, range(200)))
    assert channel.queue_declare(queue, passive=True).method.message_count == 200


def hammer(call: Callable[[int, int], object]) -> list[tuple[int, int]]:
    """Have threads make calls at the same time; returns which of them did not raise WrongThreadError."""
    barrier = threading.Barrier(THREADS)
    succeeded: list[tuple[int, int]] = []

    def run(thread: int) -> None:
        for number in range(ROUNDS):
            barrier.wait(30)
            try:
                call(thread, number)
            except exceptions.WrongThreadError:
                continue
            succeeded.append((thread, number))

    threads = [Running(lambda thread=thread: run(thread), f"hammer-{thread}") for thread in range(THREADS)]
    for thread in threads:
        thread.result(60)
    return succeeded


@pytest.mark.parametrize("confirmed", [False, True])
def test_publishing_from_many_threads_at_once(channel: BlockingChannel, queue: str, confirmed: bool) -> None:
    """Each call succeeds or is refused; the broker has exactly what succeeded, and no byte between."""
    if confirmed:
        channel.confirm_delivery()

    def publish(thread: int, number: int) -> None:
        body = b"%d %d " % (thread, number) + BODIES[(thread + number) % 2]
        channel.basic_publish("", queue, body, pika.BasicProperties(headers={"thread": thread}))

    succeeded = hammer(publish)
    assert succeeded
    got: Counter[bytes] = Counter()
    for _ in succeeded:
        # Without confirms the last ones may be on their way.
        _, properties, body = take(channel, queue)
        thread, number, rest = body.split(b" ", 2)
        assert rest == BODIES[(int(thread) + int(number)) % 2]
        assert properties.headers == {"thread": int(thread)}
        got[thread, number] += 1
    assert got == Counter((b"%d" % thread, b"%d" % number) for thread, number in succeeded)
    assert channel.basic_get(queue) == (None, None, None)


def test_asking_from_many_threads_at_once(channel: BlockingChannel, queue: str) -> None:
    """Answers do not get mixed up."""
    publish(channel, queue, 3)
    channel.queue_declare("", exclusive=True)

    def ask(thread: int, number: int) -> None:
        if thread % 2:
            answer = channel.queue_declare(queue, passive=True).method
            assert (answer.queue, answer.message_count) == (queue, 3)
        else:
            assert channel.connection.channel().close() is None

    succeeded = hammer(ask)
    assert succeeded
    assert channel.queue_declare(queue, passive=True).method.message_count == 3


def test_the_state_is_read_from_other_threads_all_the_time(channel: BlockingChannel, queue: str) -> None:
    connection = channel.connection
    over = threading.Event()

    counts = [0, 0, 0]

    def read(number: int) -> None:
        while not over.is_set():
            assert connection.is_open and not connection.is_closed and channel.is_open and not channel.is_closed
            assert connection.publisher_confirms and connection.basic_nack
            assert repr(connection) and repr(channel)
            counts[number] += 1

    readers = [Running(lambda number=number: read(number), f"reader-{number}") for number in range(3)]
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline or (not all(counts) and all(reader.thread.is_alive() for reader in readers)):
        channel.basic_publish("", queue, b"body")
        channel.queue_purge(queue)
    over.set()
    for reader in readers:
        reader.result()
    assert all(counts)


def test_a_thread_that_is_refused_harms_nobody() -> None:
    """Two threads that do not take turns: each call is done or refused, and the connection stays."""
    with EmbeddedBroker() as broker, pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        ended = threading.Event()
        outcomes: Counter[str] = Counter()

        def publish_and_acknowledge() -> None:
            while not ended.is_set():
                for call in (lambda: channel.basic_publish("", "nowhere", b"x"), lambda: channel.basic_ack(-1)):
                    try:
                        call()
                        outcomes["done"] += 1
                    except exceptions.WrongThreadError:
                        outcomes["refused"] += 1
                    except ValueError:
                        outcomes["wrong"] += 1

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        other = Running(publish_and_acknowledge, "other")
        try:
            for _ in range(20_000):
                with contextlib.suppress(exceptions.WrongThreadError):
                    channel.basic_publish("", "nowhere", b"x")
            eventually(lambda: outcomes["done"])
        finally:
            sys.setswitchinterval(interval)
            ended.set()
            other.result()
        assert connection.is_open
