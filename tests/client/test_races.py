"""Threads, and the garbage collector, that come in the middle of something: at the moments where it matters."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

import pika
from pika import exceptions, protocol, spec
from pika.client import confirming
from pika.client import inbox as inboxes
from pika.client.inbox import Consumer, Inbox
from pika.client.session import Ending
from pika.client.threaded_channel import Channel
from pika.client.threaded_link import Link
from pika.client.threaded_message import Message, Processing
from tests.support.bounded import PATIENCE, Running, eventually
from tests.support.encoding import method
from tests.support.interleaving import before_line
from tests.support.scripted_broker import Session, delivery, fall_silent, scripted_broker


class Slow(logging.Handler):
    """Takes its time over each record, as one that sends it somewhere does."""

    def emit(self, record: logging.LogRecord) -> None:
        time.sleep(0.2)


@contextlib.contextmanager
def slow_logging() -> Iterator[None]:
    """Have all that the library logs take its time."""
    handler = Slow()
    logging.getLogger("pika").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("pika").removeHandler(handler)


class Holding(pika.BasicProperties):
    """Properties of a program's own, which hold on to something."""

    loop: Generator[Message, None, None]


def begin_loop(looping: Channel, queue: str) -> Generator[Message, None, None]:
    """Begin a loop over a queue, and take the first message."""
    looping.basic_publish("", queue, b"body")
    messages = looping.consume(queue)
    next(messages).ack()
    return messages


def collect_in_the_middle(channel: Channel, loops: list[Generator[Message, None, None]]) -> None:
    """Have the last reference to a loop be one that the connection's own thread lets go of, under the lock."""
    properties = Holding()
    properties.loop = loops.pop()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.publisher().publish(b"", routing_key=queue, properties=properties)


def test_a_loop_that_is_collected_in_the_middle_of_something(
    connection: pika.Connection, channel: Channel, queue: str
) -> None:
    """The program has no frame of its own between what is interrupted and the end of the loop."""
    looping = connection.channel()
    loops = [begin_loop(looping, queue)]
    collect_in_the_middle(channel, loops)
    eventually(lambda: not looping.consumer_tags)
    assert channel.queue_declare(queue, passive=True).method.consumer_count == 0
    assert connection.is_open


def test_start_consuming_returns_when_the_last_loop_is_collected(
    connection: pika.Connection, channel: Channel, queue: str
) -> None:
    looping = connection.channel()
    loops = [begin_loop(looping, queue)]
    waiting = Running(looping.start_consuming)
    eventually(lambda: looping._for_consumers)
    collect_in_the_middle(channel, loops)
    waiting.result()


def test_start_consuming_returns_when_the_last_consumer_is_given_up() -> None:
    with scripted_broker(fall_silent) as peer:
        connection = pika.connect(pika.ConnectionParameters("127.0.0.1", peer.port))
        channel = connection.channel()
        consuming = Running(lambda: channel.basic_consume("queue", lambda *_: None, timeout=1))
        eventually(lambda: channel.consumer_tags)
        waiting = Running(channel.start_consuming)
        eventually(lambda: channel._for_consumers)
        with pytest.raises(exceptions.AMQPTimeoutError):
            consuming.result()
        waiting.result()
        connection.close(timeout=0.1)


def test_threads_of_a_consumer_that_is_refused_go(channel: Channel, queue: str) -> None:
    channel.basic_consume(queue, lambda *_: None, consumer_tag="taken")
    before = threading.active_count()
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume(queue, lambda *_: None, consumer_tag="taken", concurrency=3)
    eventually(lambda: threading.active_count() <= before)


def test_callbacks_of_what_ended_before_the_connection_was_closed(
    connection: pika.Connection, channel: Channel, queue: str
) -> None:
    confirmation = channel.publisher().publish(b"", routing_key=queue)
    confirmation.result()
    called: list[object] = []
    for _ in range(3):
        called.clear()
        confirmation.add_done_callback(called.append)
        connection.close()
        eventually(lambda: called)
        assert called == [confirmation]


def test_handlers_run_in_order_while_another_consumer_is_cancelled(channel: Channel, queue: str) -> None:
    channel.basic_consume(queue, lambda *_: None, consumer_tag="other")
    other = channel.queue_declare("", exclusive=True).method.queue
    handled: list[int] = []
    go_on, has_gone_on = threading.Semaphore(0), threading.Semaphore(0)

    def handler(_channel: Channel, _method: spec.Basic.Deliver, _properties: object, body: bytes) -> None:
        go_on.acquire()
        handled.append(int(body))
        has_gone_on.release()

    def handle_one() -> None:
        go_on.release()
        has_gone_on.acquire(timeout=0.05)

    channel.basic_consume(other, handler)
    for number in range(10):
        channel.basic_publish("", other, b"%d" % number)
    # All but the one that is being handled.
    eventually(lambda: channel._inbox is not None and len(channel._inbox.items) == 9)
    with before_line(Inbox.take_out.__code__, None, handle_one):
        channel.basic_cancel("other")
    go_on.release(10)
    eventually(lambda: len(handled) == 10)
    assert handled == sorted(handled)


def test_a_tag_that_is_used_again_while_it_is_cancelled(channel: Channel, queue: str) -> None:
    """Whichever of both consumers is cancelled, here and at the broker it is the same one."""
    channel.basic_consume(queue, lambda *_: None, consumer_tag="mine")

    def use_again() -> None:
        channel.basic_cancel("mine")
        channel.basic_consume(queue, lambda *_: None, consumer_tag="mine")

    with before_line(Link.ask.__code__, 1, use_again):
        channel.basic_cancel("mine")
    consumers = channel.queue_declare(queue, passive=True).method.consumer_count
    assert len(channel.consumer_tags) == consumers
    channel.stop_consuming()
    channel.start_consuming(timeout=0)
    assert channel.consumer_tags == []


def test_a_channel_that_is_closed_while_the_connection_is_drained(
    connection: pika.Connection, channel: Channel, queue: str
) -> None:
    other = connection.channel()
    for one in (channel, other):
        one.basic_consume(queue, lambda *_: None)
    with before_line(Link.ask.__code__, 1, channel.close):
        connection.drain()
    assert channel.is_closed
    assert other.is_open
    assert other.consumer_tags == []


def test_draining_while_another_thread_cancels() -> None:
    """What needs no acknowledgement may come until the broker has answered the cancel, whoever has asked for it."""
    cancelled, draining = threading.Event(), threading.Event()

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.expect(spec.Basic.Cancel)
        cancelled.set()
        draining.wait(PATIENCE)
        time.sleep(0.2)
        session.send(delivery(number, tag, 1, b"last"), method(number, spec.Basic.CancelOk(tag)))
        session.expect(spec.Channel.Flow, spec.Channel.FlowOk(True))
        session.close_politely()

    handled: list[bytes] = []

    def on_message(_channel: Channel, _method: object, _properties: object, body: bytes) -> None:
        time.sleep(0.2)
        handled.append(body)

    with scripted_broker(script) as peer, pika.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
        channel = connection.channel()
        channel.basic_consume("queue", on_message, auto_ack=True, consumer_tag="tag")
        cancelling = Running(lambda: channel.basic_cancel("tag"))
        assert cancelled.wait(PATIENCE)
        draining.set()
        connection.drain()
        assert handled == [b"last"]
        cancelling.result()


def test_what_leaving_a_loop_keeps_to_itself_is_told_by_the_next_call(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, b"body")
    for _ in channel.consume(queue):
        channel.basic_ack(77)
        break
    gc.collect()
    with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag 77"):
        channel.queue_declare("")


def test_a_channel_is_booked_as_closed_when_close_returns(
    channel: Channel, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = channel._link
    end_channel = link.end_channel

    def slowly(*arguments: Any) -> None:
        time.sleep(0.2)
        end_channel(*arguments)

    channel.basic_consume(queue, lambda *_: None)
    monkeypatch.setattr(link, "end_channel", slowly)
    channel.close()
    assert channel.consumer_tags == []


def test_what_is_confirmed_is_not_in_flight(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as long as it is still being logged that it failed."""
    monkeypatch.setattr(confirming, "FAILURES_KEPT", 0)
    publisher = channel.publisher(mandatory=True)
    with slow_logging():
        confirmation = publisher.publish(b"", routing_key="nowhere")
        eventually(confirmation.done)
        assert publisher.in_flight == 0


def test_who_waits_for_an_answer_is_told_once(connection: pika.Connection, channel: Channel) -> None:
    """He that waited has heard of the end, also where it is still being logged: the next call is only too late."""
    other = connection.channel()
    with slow_logging():
        with pytest.raises(exceptions.ConnectionClosedByBroker):
            channel.flow(False)
        with pytest.raises(exceptions.ChannelWrongStateError):
            other.flow(True)


def test_one_of_two_threads_that_come_too_late_is_told_why(channel: Channel) -> None:
    channel.basic_ack(4711)
    eventually(lambda: channel._book.error)
    late: list[Running[bool]] = []

    def is_told() -> bool:
        with pytest.raises(exceptions.AMQPError) as caught:
            channel.flow(True)
        return isinstance(caught.value, exceptions.ChannelClosedByBroker)

    def another() -> None:
        late.append(Running(is_told))
        # It waits until this thread has got through, or it is told.
        late[0].thread.join(0.2)

    with before_line(Ending.tell.__code__, 2, another):
        told = is_told()
    assert [told, late[0].result()].count(True) == 1


def test_a_message_that_is_settled_elsewhere_at_the_end_of_its_block(channel: Channel, queue: str) -> None:
    for _ in range(2):
        channel.basic_publish("", queue, b"")
    first, second = (channel.basic_get(queue) for _ in range(2))
    assert first is not None and second is not None
    with before_line(Processing.__exit__.__code__, 2, first.ack), first.process(ignore_processed=True):
        pass
    refused = pytest.raises(exceptions.MessageSettledError)
    with refused, before_line(Processing.__exit__.__code__, 2, second.ack), second.process():
        pass


def test_an_inbox_that_is_emptied_while_another_thread_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who took the last one has to find room, or nobody ever would."""
    monkeypatch.setattr(inboxes, "MOST_OCTETS", 10)
    counting, go_on = threading.Event(), threading.Event()

    class Body(bytes):
        def __len__(self) -> int:
            if threading.current_thread().name == "counter":
                counting.set()
                go_on.wait()
            return 10

    inbox = Inbox()
    consumer = Consumer("tag", inbox, auto_ack=False)
    channel = protocol.Channel(1, [], 131072, 1000)
    for number in (1, 2, 3):
        method = spec.Basic.Deliver("tag", number, False, "", "queue")
        inbox.put(consumer, protocol.Delivery(channel, method, pika.BasicProperties(), Body()))
    counter = Running(inbox.holds, "counter")
    assert counting.wait(10)
    inbox.items.clear()

    def let_go_on() -> None:
        if inbox._octets == 0:
            go_on.set()
            counter.thread.join(10)

    with before_line(Inbox.holds.__code__, None, let_go_on), contextlib.ExitStack() as stack:
        stack.callback(go_on.set)
        assert not inbox.holds(0.5)
