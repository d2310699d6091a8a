"""When a BlockingConnection calls back: time limits, timers, other threads' callbacks, and their order."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any, Callable

import pytest

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.support.consuming import arrive, publish, pump
from tests.support.rabbitmq import Broker


def noted(seen: list[Any], what: Any) -> Callable[[], None]:
    """A callback without arguments that leaves a note."""
    return functools.partial(seen.append, what)


def elapsed(call: Callable[[], object]) -> float:
    """Call, and return how long that took."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


# What ends process_data_events


@pytest.mark.parametrize("limit", [0.2, 1])
def test_nothing_happens_until_the_limit(connection: BlockingConnection, limit: float) -> None:
    assert elapsed(lambda: connection.process_data_events(limit)) >= limit


def test_without_a_limit_something_must_happen(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    """A timer, a callback of another thread, a message: each ends a wait of its own, and no other is needed."""
    seen: list[str] = []
    connection.call_later(0.02, noted(seen, "timer"))
    connection.process_data_events(time_limit=None)
    assert seen == ["timer"]
    thread = threading.Timer(0.02, lambda: connection.add_callback_threadsafe(noted(seen, "thread")))
    thread.start()
    connection.process_data_events(time_limit=None)
    thread.join()
    assert seen == ["timer", "thread"]
    channel.basic_consume(queue, lambda *message: seen.append("message"), auto_ack=True)
    publisher = connection.channel()
    publisher.basic_publish("", queue, b"")
    connection.process_data_events(time_limit=None)
    assert seen == ["timer", "thread", "message"]


def test_a_wait_ends_with_the_first_that_happens(connection: BlockingConnection) -> None:
    seen: list[str] = []
    connection.call_later(0.02, noted(seen, "first"))
    never = connection.call_later(60, noted(seen, "never"))
    connection.process_data_events(100)
    assert seen == ["first"]
    connection.call_later(0.02, noted(seen, "second"))
    connection.process_data_events(100)
    assert seen == ["first", "second"]
    connection.remove_timeout(never)


def test_a_timer_that_was_taken_back_ends_no_wait(connection: BlockingConnection) -> None:
    seen: list[str] = []
    connection.remove_timeout(connection.call_later(0.02, noted(seen, "gone")))
    connection.call_later(0.1, noted(seen, "due"))
    connection.process_data_events(time_limit=None)
    assert seen == ["due"]


def test_a_message_for_a_generator_ends_a_wait(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    assert next(channel.consume(queue, inactivity_timeout=0)) == (None, None, None)
    connection.channel().basic_publish("", queue, b"one")
    connection.process_data_events(time_limit=None)
    assert channel.get_waiting_message_count() == 1
    # It does not end the next one: nobody is to be called.
    assert elapsed(lambda: connection.process_data_events(0.2)) >= 0.2
    assert next(channel.consume(queue))[2] == b"one"


def test_the_limit_cuts_no_callback_short(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)
    seen: list[bytes] = []

    def on_message(_channel: BlockingChannel, _method: Any, _properties: Any, body: bytes) -> None:
        time.sleep(0.02)
        seen.append(body)

    channel.basic_consume(queue, on_message, auto_ack=True)
    arrive(channel, 3)
    connection.process_data_events(0)
    assert seen == [b"0", b"1", b"2"]


@pytest.mark.parametrize("limit", ["soon", b"1"])
def test_a_limit_that_is_no_number(connection: BlockingConnection, limit: Any) -> None:
    for call in (connection.process_data_events, connection.sleep):
        with pytest.raises(TypeError):
            call(limit)
    assert connection.is_open


# Sleeping


def test_sleep_takes_its_time_whatever_happens(connection: BlockingConnection) -> None:
    seen: list[int] = []
    for number in range(5):
        connection.call_later(number / 100, noted(seen, number))
    assert elapsed(lambda: connection.sleep(0.2)) >= 0.2
    assert seen == [0, 1, 2, 3, 4]


def test_a_loop_that_sleeps_for_nothing_gets_everything(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    """As frameworks do that have a loop of their own."""
    bodies = publish(channel, queue, 100)
    seen: list[bytes] = []
    channel.basic_qos(prefetch_count=7)

    def on_message(channel: BlockingChannel, method: Any, _properties: Any, body: bytes) -> None:
        seen.append(body)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message)
    for _ in range(10_000):
        if len(seen) == 100:
            break
        connection.sleep(0)
        time.sleep(0.001)
    assert seen == bodies


# Timers


def test_timers_run_when_due_and_in_the_order_of_asking(connection: BlockingConnection) -> None:
    seen: list[tuple[float, int]] = []
    asked: list[object] = []
    # Anew, if the machine was so busy that one asked for late is due before an earlier one with a longer delay.
    for _ in range(100):
        for handle in asked:
            connection.remove_timeout(handle)
        began = time.monotonic()
        asked = []
        for number in range(60):
            delay = (3 - number % 3) / 50
            asked.append(connection.call_later(delay, noted(seen, (delay, number))))
        if time.monotonic() - began < 0.02:
            break
    connection.sleep(0.2)
    assert seen == sorted(seen) and len(seen) == 60


def test_a_timer_that_is_asked_for_by_a_timer_waits_for_the_next_round(connection: BlockingConnection) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        connection.call_later(0, noted(seen, "second"))

    connection.call_later(0, first)
    connection.process_data_events(1)
    assert seen == ["first"]
    connection.process_data_events(1)
    assert seen == ["first", "second"]


def test_a_timer_that_takes_itself_back(connection: BlockingConnection) -> None:
    seen: list[str] = []
    handles: list[object] = []

    def once() -> None:
        seen.append("once")
        connection.remove_timeout(handles[0])

    handles.append(connection.call_later(0, once))
    connection.sleep(0.05)
    connection.remove_timeout(handles[0])
    connection.remove_timeout(handles[0])
    assert seen == ["once"]


def test_a_message_callback_that_takes_back_a_timer_that_is_due(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    publish(channel, queue, 1)
    seen: list[str] = []

    def on_message(*_message: object) -> None:
        timer = connection.call_later(0, noted(seen, "taken back"))
        connection.call_later(0, noted(seen, "timer"))
        # They are due while this waits, and their callbacks wait for this to return.
        channel.queue_declare(queue, passive=True)
        connection.remove_timeout(timer)
        seen.append("message")

    channel.basic_consume(queue, on_message, auto_ack=True)
    pump(connection, lambda: "timer" in seen)
    assert seen == ["message", "timer"]


def test_thousands_of_timers(connection: BlockingConnection) -> None:
    """Each is called once, none early, and those that were taken back are not."""
    seen: list[int] = []
    early: list[int] = []
    due: list[float] = []

    def run(number: int) -> None:
        seen.append(number)
        if time.monotonic() < due[number]:
            early.append(number)

    handles = []
    for number in range(6000):
        delay = number * 7919 % 300 / 1000
        due.append(time.monotonic() + delay)
        handles.append(connection.call_later(delay, functools.partial(run, number)))
    for handle in handles[::2]:
        connection.remove_timeout(handle)
    pump(connection, lambda: len(seen) == 3000)
    connection.process_data_events(0)
    assert sorted(seen) == list(range(1, 6000, 2))
    assert early == []


def test_timers_run_while_start_consuming_waits(channel: BlockingChannel, queue: str) -> None:
    seen: list[int] = []
    channel.basic_consume(queue, lambda *message: None)
    for number in range(3):
        channel.connection.call_later(number / 50, noted(seen, number))
    channel.connection.call_later(0.1, channel.stop_consuming)
    channel.start_consuming()
    assert seen == [0, 1, 2] and channel.consumer_tags == []


def test_timers_run_while_a_generator_waits(channel: BlockingChannel, queue: str) -> None:
    """They do not end its wait: that is what the inactivity timeout does, or a message."""
    seen: list[int] = []
    for number in range(3):
        channel.connection.call_later(number / 50, noted(seen, number))
    generator = channel.consume(queue, inactivity_timeout=0.2)
    assert elapsed(lambda: next(generator)) >= 0.2
    assert seen == [0, 1, 2]


# Callbacks of other threads


def test_a_callback_that_adds_a_callback(connection: BlockingConnection) -> None:
    """The second one is for the next round: a program that always adds another does not stop the rest."""
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        connection.add_callback_threadsafe(noted(seen, "second"))

    connection.add_callback_threadsafe(first)
    connection.process_data_events(0)
    assert seen == ["first"]
    connection.process_data_events(0)
    assert seen == ["first", "second"]


def test_a_callback_wakes_each_wait(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    def stop_later(action: Callable[[], object]) -> threading.Timer:
        thread = threading.Timer(0.05, lambda: connection.add_callback_threadsafe(action))
        thread.start()
        return thread

    channel.basic_consume(queue, lambda *message: None)
    threads = [stop_later(channel.stop_consuming)]
    channel.start_consuming()
    threads.append(stop_later(channel.cancel))
    assert list(channel.consume(queue)) == []
    threads.append(stop_later(connection.close))
    connection.process_data_events(time_limit=None)
    assert connection.is_closed
    for thread in threads:
        thread.join()


def test_callbacks_of_a_connection_that_closes_are_not_called(connection: BlockingConnection) -> None:
    seen: list[str] = []
    connection.add_callback_threadsafe(noted(seen, "thread"))
    connection.call_later(0, noted(seen, "timer"))
    connection.close()
    assert seen == []


# Inside callbacks nobody else is called


@pytest.mark.parametrize("kind", ["message", "timer", "thread", "return", "cancel"])
def test_what_waits_inside_a_callback_calls_nobody(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, new_queue: Callable[[], str], kind: str
) -> None:
    other, doomed = new_queue(), new_queue()
    seen: list[str] = []

    def nested(*_arguments: object) -> None:
        seen.append("in")
        connection.call_later(0, noted(seen, "timer"))
        connection.add_callback_threadsafe(noted(seen, "thread"))
        publish(channel, other, 1)
        channel.queue_declare(other, passive=True)
        assert elapsed(lambda: connection.process_data_events(0.1)) >= 0.1
        connection.process_data_events(0)
        assert elapsed(lambda: connection.sleep(0.1)) >= 0.1
        seen.append("out")

    channel.basic_consume(other, lambda *message: seen.append("other"), auto_ack=True)
    if kind == "message":
        channel.basic_consume(queue, nested, auto_ack=True)
        publish(channel, queue, 1)
    elif kind == "timer":
        connection.call_later(0, nested)
    elif kind == "thread":
        connection.add_callback_threadsafe(nested)
    elif kind == "return":
        channel.add_on_return_callback(nested)
        channel.basic_publish("", "pika-nowhere", b"", mandatory=True)
    else:
        channel.add_on_cancel_callback(nested)
        channel.basic_consume(doomed, lambda *message: None)
        channel.queue_delete(doomed)
    pump(connection, lambda: len(seen) == 5)
    assert seen[:2] == ["in", "out"] and sorted(seen[2:]) == ["other", "thread", "timer"]


def test_process_data_events_without_a_limit_inside_a_callback(
    broker: Broker, connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    """It returns when something arrives, which is handed out after the callback."""
    seen: list[str] = []

    def nested() -> None:
        waiting.set()
        connection.process_data_events(time_limit=None)
        seen.append("timer")

    def send() -> None:
        with pika.BlockingConnection(broker.parameters()) as other:
            publisher = other.channel()
            waiting.wait()
            time.sleep(0.1)
            publisher.basic_publish("", queue, b"")

    waiting = threading.Event()
    thread = threading.Thread(target=send)
    channel.basic_consume(queue, lambda *message: seen.append("message"), auto_ack=True)
    connection.call_later(0, nested)
    thread.start()
    pump(connection, lambda: len(seen) == 2)
    thread.join()
    assert seen == ["timer", "message"]
