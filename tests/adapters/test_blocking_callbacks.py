"""What callbacks may do: operations inside them, and what follows when one raises."""

from __future__ import annotations

from typing import Any, Callable

import pytest

import pika
from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection, ReturnedMessage
from tests.support.consuming import arrive, drain, publish, pump


class Mine(Exception):
    """What a callback raises."""


# Operations inside callbacks


def test_deliveries_that_arrive_while_an_operation_waits_inside_a_callback(
    channel: BlockingChannel, queue: str
) -> None:
    """They wait for their turn: no callback is called inside another one."""
    seen: list[tuple[str, bytes]] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(("in", body))
        if body == b"0":
            publish(channel, queue, 3, start=1)
            arrive(channel, 3)
        seen.append(("out", body))
        if body == b"3":
            channel.stop_consuming()

    publish(channel, queue, 1)
    channel.basic_consume(queue, on_message, auto_ack=True)
    channel.start_consuming()
    assert seen == [(when, b"%d" % number) for number in range(4) for when in ("in", "out")]


def test_each_operation_inside_a_callback(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, new_queue: Callable[[], str]
) -> None:
    other = new_queue()
    publish(channel, other, 1, start=7)
    publish(channel, queue, 2)
    answers: list[object] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        if body == b"1":
            channel.stop_consuming()
            return
        answers.extend([channel.basic_get(other, auto_ack=True)[2], channel.basic_get(other)])
        channel.confirm_delivery()
        channel.basic_publish("", other, b"confirmed", mandatory=True)
        with pytest.raises(exceptions.UnroutableError):
            channel.basic_publish("", "pika-nowhere", b"", mandatory=True)
        answers.append(channel.queue_purge(other).method.message_count)
        channel.queue_bind(other, "amq.topic", "key")
        channel.queue_unbind(other, "amq.topic", "key")
        channel.basic_qos(prefetch_count=5)
        answers.append(channel.flow(True))
        channel.basic_recover(requeue=True)
        tag = channel.basic_consume(other, lambda *message: None)
        answers.append(channel.basic_cancel(tag))
        with connection.channel() as another:
            answers.append(isinstance(another.tx_select().method, spec.Tx.SelectOk))
        answers.append(channel.queue_delete(other).method.message_count)

    channel.basic_consume(queue, on_message, auto_ack=True)
    channel.start_consuming()
    assert answers == [b"7", (None, None, None), 1, True, [], True, 0]


def test_a_callback_consumes_another_queue(channel: BlockingChannel, queue: str, new_queue: Any) -> None:
    """start_consuming goes on with the consumer that was started inside it."""
    other = new_queue()
    publish(channel, queue, 1)
    publish(channel, other, 1, start=5)
    seen: list[bytes] = []

    def second(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        channel.stop_consuming()

    def first(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        channel.basic_cancel(method.consumer_tag)
        channel.basic_consume(other, second, auto_ack=True)

    channel.basic_consume(queue, first, auto_ack=True)
    channel.start_consuming()
    assert seen == [b"0", b"5"]


def test_start_consuming_inside_any_callback(connection: BlockingConnection, channel: BlockingChannel) -> None:
    """Of its own channel or another one, with consumers or without: it would wait for itself."""
    raised: list[object] = []

    def nested() -> None:
        for inner in (channel, connection.channel()):
            with pytest.raises(exceptions.ReentrancyError) as caught:
                inner.start_consuming()
            raised.append(caught.value)

    connection.call_later(0, nested)
    connection.add_callback_threadsafe(nested)
    pump(connection, lambda: len(raised) == 4)
    # Outside, it returns at once without consumers.
    channel.start_consuming()


def test_a_consumer_tag_is_free_again_inside_the_callback(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)
    seen: list[tuple[bytes, bool]] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append((body, method.redelivered))
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 1:
            channel.basic_cancel("mine")
            channel.basic_consume(queue, on_message, consumer_tag="mine")
        if len(seen) == 3:
            channel.stop_consuming()

    channel.basic_consume(queue, on_message, consumer_tag="mine")
    arrive(channel, 3)
    channel.start_consuming()
    assert seen == [(b"0", False), (b"1", True), (b"2", True)]


def test_a_timer_starts_a_consumer(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 1)
    seen: list[bytes] = []

    def start() -> None:
        channel.basic_consume(queue, lambda _channel, _method, _properties, body: seen.append(body), auto_ack=True)
        assert seen == []

    connection.call_later(0, start)
    pump(connection, lambda: seen == [b"0"])


def test_another_channels_callback_stops_start_consuming(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, new_queue: Callable[[], str]
) -> None:
    other, second = connection.channel(), new_queue()
    channel.basic_consume(queue, lambda *message: None)
    tag = other.basic_consume(second, lambda *message: channel.stop_consuming(), auto_ack=True)
    publish(other, second, 1)
    channel.start_consuming()
    assert channel.consumer_tags == [] and other.consumer_tags == [tag]


# Closing inside callbacks


@pytest.mark.parametrize("how", ["start_consuming", "process_data_events", "generator"])
@pytest.mark.parametrize("what", ["channel", "connection"])
def test_a_timer_that_closes(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, what: str, how: str
) -> None:
    connection.call_later(0.05, channel.close if what == "channel" else connection.close)
    if how == "start_consuming":
        channel.basic_consume(queue, lambda *message: None)
        channel.start_consuming()
    elif how == "process_data_events":
        connection.process_data_events(time_limit=None)
    else:
        assert list(channel.consume(queue)) == []
    assert channel.is_closed and channel.consumer_tags == [] and connection.is_closed is (what == "connection")


def test_a_callback_that_closes_the_connection_under_another_channel(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, new_queue: Callable[[], str]
) -> None:
    """Nobody is called after it."""
    closing, busy = connection.channel(), new_queue()
    seen: list[str] = []

    def close(*_message: object) -> None:
        seen.append("close")
        connection.close()

    publish(channel, queue, 1)
    publish(channel, busy, 2)
    closing.basic_consume(queue, close)
    arrive(closing, 1)
    channel.basic_consume(busy, lambda *message: seen.append("other"), auto_ack=True)
    arrive(channel, 2)
    closing.start_consuming()
    assert connection.is_closed and channel.is_closed
    assert seen[-1] == "close"


# When a callback raises: its exception is the caller's, and what was pending is handed out next time


def failing(seen: list[Any], on: object) -> Callable[..., None]:
    """A callback for messages that raises for one of them."""

    def callback(_channel: BlockingChannel, _method: Any, _properties: Any, body: bytes) -> None:
        seen.append(body)
        if body == on:
            raise Mine

    return callback


def test_a_message_callback_that_raises(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 4)
    seen: list[bytes] = []
    tag = channel.basic_consume(queue, failing(seen, b"1"), auto_ack=True)
    arrive(channel, 4)
    with pytest.raises(Mine):
        channel.start_consuming()
    assert seen == [b"0", b"1"] and channel.consumer_tags == [tag] and channel.is_open
    channel.connection.call_later(0.1, channel.stop_consuming)
    channel.start_consuming()
    assert seen == [b"0", b"1", b"2", b"3"]


def test_a_message_callback_that_stops_and_raises(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)

    def on_message(channel: BlockingChannel, *_message: object) -> None:
        channel.stop_consuming()
        raise Mine

    channel.basic_consume(queue, on_message)
    arrive(channel, 3)
    with pytest.raises(Mine):
        channel.start_consuming()
    channel.start_consuming()
    assert drain(channel, queue, 2) == [b"1", b"2"]


def test_a_return_callback_that_raises(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    seen: list[Any] = []
    channel.add_on_return_callback(failing(seen, b"1"))
    channel.add_on_return_callback(lambda _channel, _method, _properties, body: seen.append((body,)))
    for number in range(3):
        channel.basic_publish("", "pika-nowhere", b"%d" % number, mandatory=True)
    arrive(channel, 6)
    with pytest.raises(Mine):
        connection.process_data_events(0)
    assert seen == [b"0", (b"0",), b"1"]
    connection.process_data_events(0)
    assert seen == [b"0", (b"0",), b"1", (b"1",), b"2", (b"2",)]


def test_a_cancel_callback_that_raises(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    def on_cancel(_method_frame: object) -> None:
        raise Mine

    channel.add_on_cancel_callback(on_cancel)
    channel.basic_consume(queue, lambda *message: None)
    channel.queue_delete(queue)
    with pytest.raises(Mine):
        connection.sleep(10)
    assert channel.consumer_tags == [] and channel.is_open
    channel.start_consuming()


@pytest.mark.parametrize("kind", ["timer", "thread"])
def test_a_callback_of_the_connection_that_raises(connection: BlockingConnection, kind: str) -> None:
    seen: list[str] = []

    def fail() -> None:
        seen.append("fail")
        raise Mine

    calls = [lambda: seen.append("before"), fail, lambda: seen.append("after")]
    for call in calls:
        if kind == "timer":
            connection.call_later(0, call)
        else:
            connection.add_callback_threadsafe(call)
    with pytest.raises(Mine):
        connection.process_data_events(1)
    assert seen == ["before", "fail"]
    connection.process_data_events(1)
    assert seen == ["before", "fail", "after"]
    connection.channel().close()


@pytest.mark.parametrize("how", ["sleep", "process_data_events", "generator", "start_consuming"])
def test_a_timer_that_raises_ends_each_wait(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, how: str
) -> None:
    def fail() -> None:
        raise Mine

    waits: dict[str, Callable[[], object]] = {
        "sleep": lambda: connection.sleep(60),
        "process_data_events": lambda: connection.process_data_events(None),
        "generator": lambda: next(channel.consume(queue)),
        "start_consuming": channel.start_consuming,
    }
    if how == "start_consuming":
        channel.basic_consume(queue, lambda *message: None)
    connection.call_later(0.02, fail)
    with pytest.raises(Mine):
        waits[how]()
    # And nothing is broken by it.
    channel.stop_consuming()
    assert channel.consumer_tags == []
    publish(channel, queue, 1)
    assert next(channel.consume(queue))[2] == b"0"


def test_what_is_no_exception_passes_as_well(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 2)
    seen: list[bytes] = []

    def on_message(channel: BlockingChannel, method: Any, _properties: Any, body: bytes) -> None:
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        raise SystemExit(3)

    channel.basic_consume(queue, on_message)
    for _ in range(2):
        with pytest.raises(SystemExit):
            channel.start_consuming()
    assert seen == [b"0", b"1"]
    channel.stop_consuming()
    assert drain(channel, queue, 0) == []


# Returned messages


def test_a_returned_message_reaches_every_callback_in_order(channel: BlockingChannel) -> None:
    seen: list[tuple[Any, ...]] = []
    channel.add_on_return_callback(lambda *message: seen.append(("first", *message)))
    channel.add_on_return_callback(lambda *message: seen.append(("second", *message)))
    properties = pika.BasicProperties(message_id="id", headers={"key": "value"})
    channel.basic_publish("amq.direct", "pika-nowhere", b"body", properties, mandatory=True)
    pump(channel.connection, lambda: len(seen) == 2)
    assert [message[0] for message in seen] == ["first", "second"]
    for _name, returned_on, method, returned_properties, body in seen:
        assert returned_on is channel and body == b"body" and returned_properties == properties
        assert isinstance(method, spec.Basic.Return)
        assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
        assert (method.exchange, method.routing_key) == ("amq.direct", "pika-nowhere")


def test_a_message_that_is_not_mandatory_does_not_come_back(channel: BlockingChannel) -> None:
    seen: list[bytes] = []
    channel.add_on_return_callback(lambda _channel, _method, _properties, body: seen.append(body))
    channel.basic_publish("", "pika-nowhere", b"dropped")
    channel.basic_publish("", "pika-nowhere", b"returned", mandatory=True)
    pump(channel.connection, lambda: bool(seen))
    assert seen == [b"returned"]


def test_a_callback_that_is_added_late_is_not_told_of_what_came_before(channel: BlockingChannel) -> None:
    seen: list[bytes] = []
    channel.basic_publish("", "pika-nowhere", b"early", mandatory=True)
    channel.queue_declare("", exclusive=True)
    channel.add_on_return_callback(lambda _channel, _method, _properties, body: seen.append(body))
    channel.basic_publish("", "pika-nowhere", b"late", mandatory=True)
    pump(channel.connection, lambda: bool(seen))
    assert seen == [b"late"]


def test_the_messages_of_an_unroutable_error(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    properties = pika.BasicProperties(type="kind")
    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.basic_publish("amq.topic", "pika-nowhere", b"body", properties, mandatory=True)
    (message,) = caught.value.messages
    assert isinstance(message, ReturnedMessage)
    assert isinstance(message.method, spec.Basic.Return)
    assert (message.properties, message.body) == (properties, b"body")
    assert caught.value.args == ("1 unroutable message(s) returned",)
    assert str(caught.value) == (
        "1 unroutable message(s) returned [exchange 'amq.topic', routing key 'pika-nowhere': 312 NO_ROUTE]"
    )
