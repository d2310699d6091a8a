"""Consuming with a BlockingChannel on both brokers: by callback and by generator."""

from __future__ import annotations

import itertools
import sys
import traceback
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.support.consuming import arrive, count, drain, publish, pump

# By callback


def test_ack_nack_reject_and_requeue(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 4)
    seen: list[tuple[bytes, bool]] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        assert isinstance(method, spec.Basic.Deliver) and isinstance(properties, pika.BasicProperties)
        seen.append((body, method.redelivered))
        if method.redelivered or body == b"0":
            channel.basic_ack(method.delivery_tag)
        elif body == b"3":
            channel.basic_reject(method.delivery_tag, requeue=False)
        else:
            channel.basic_nack(method.delivery_tag, requeue=True)
        if len(seen) == 6:
            channel.stop_consuming()

    channel.basic_qos(prefetch_count=1)
    tag = channel.basic_consume(queue, on_message)
    assert channel.consumer_tags == [tag]
    channel.start_consuming()
    assert channel.consumer_tags == []
    assert sorted(seen) == [(b"0", False), (b"1", False), (b"1", True), (b"2", False), (b"2", True), (b"3", False)]
    assert count(channel, queue) == 0


def test_several_consumers_on_several_channels(connection: BlockingConnection) -> None:
    seen: dict[str, list[bytes]] = {}
    channels = [connection.channel() for _ in range(3)]
    wanted: dict[str, list[bytes]] = {}
    for index, channel in enumerate(channels):
        for letter in "ab":
            name = channel.queue_declare("", exclusive=True).method.queue
            tag = f"consumer-{index}{letter}"
            wanted[tag] = publish(channel, name, 50, start=index * 100)
            seen[tag] = []
            channel.basic_consume(
                name,
                lambda _channel, method, _properties, body: seen[method.consumer_tag].append(body),
                auto_ack=True,
                consumer_tag=tag,
            )
    pump(connection, lambda: sum(map(len, seen.values())) == 300)
    assert seen == wanted


def test_a_consumer_tag_is_used_once(channel: BlockingChannel, queue: str) -> None:
    assert channel.basic_consume(queue, print, consumer_tag="mine") == "mine"
    with pytest.raises(exceptions.DuplicateConsumerTag, match="mine"):
        channel.basic_consume(queue, print, consumer_tag="mine")
    assert channel.is_open and channel.consumer_tags == ["mine"]
    assert channel.basic_cancel("mine") == []
    assert channel.basic_cancel("mine") == []
    assert channel.basic_cancel("never was") == []
    channel.basic_consume(queue, print, consumer_tag="mine")


def test_prefetch_bounds_what_is_unacknowledged(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.basic_qos(prefetch_count=3)
    tags: list[int] = []
    channel.basic_consume(queue, lambda _channel, method, _properties, _body: tags.append(method.delivery_tag))
    pump(channel.connection, lambda: len(tags) == 3)
    channel.connection.process_data_events(0.2)
    assert tags == [1, 2, 3]
    channel.basic_ack(2, multiple=True)
    pump(channel.connection, lambda: len(tags) == 5)
    channel.connection.process_data_events(0.2)
    assert tags == [1, 2, 3, 4, 5]


def test_cancelling_in_a_callback_puts_the_rest_back_in_order(channel: BlockingChannel, queue: str) -> None:
    bodies = publish(channel, queue, 20)
    seen: list[bytes] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 5:
            assert channel.basic_cancel(method.consumer_tag) == []

    channel.basic_consume(queue, on_message)
    channel.start_consuming()
    assert seen == bodies[:5]
    assert drain(channel, queue, 15) == bodies[5:]


def test_cancelling_a_consumer_without_acknowledgements_returns_the_rest(channel: BlockingChannel, queue: str) -> None:
    bodies = publish(channel, queue, 20)
    seen: list[bytes] = []
    rest: list[Any] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if len(seen) == 5:
            rest.extend(channel.basic_cancel(method.consumer_tag))

    channel.basic_consume(queue, on_message, auto_ack=True)
    channel.start_consuming()
    assert seen + [body for _, _, body in rest] + drain(channel, queue, 0) == bodies
    for method, properties, _ in rest:
        assert isinstance(method, spec.Basic.Deliver) and isinstance(properties, pika.BasicProperties)


def test_cancelling_another_consumer_in_a_callback(channel: BlockingChannel, queue: str) -> None:
    other = channel.queue_declare("", exclusive=True).method.queue
    publish(channel, queue, 3)
    publish(channel, other, 3)
    seen: list[str] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(method.consumer_tag)
        for tag in channel.consumer_tags:
            if tag != method.consumer_tag:
                channel.basic_cancel(tag)
        if len(seen) == 3:
            channel.stop_consuming()

    channel.basic_consume(queue, on_message, consumer_tag="first")
    channel.basic_consume(other, on_message, consumer_tag="second")
    channel.start_consuming()
    assert len(set(seen)) == 1
    assert len(drain(channel, other if seen[0] == "first" else queue, 3)) == 3


@pytest.mark.parametrize("auto_ack", [False, True])
def test_closing_the_channel_in_a_callback_ends_the_consuming(
    connection: BlockingConnection, queue: str, auto_ack: bool
) -> None:
    channel = connection.channel()
    publish(channel, queue, 3)
    seen: list[bytes] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        channel.close()

    channel.basic_consume(queue, on_message, auto_ack=auto_ack)
    channel.start_consuming()
    assert seen == [b"0"] and channel.is_closed and channel.consumer_tags == []
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.start_consuming()
    connection.process_data_events(0)


def test_closing_the_connection_in_a_callback_ends_the_consuming(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    publish(channel, queue, 3)
    channel.basic_consume(queue, lambda *message: connection.close())
    channel.start_consuming()
    assert connection.is_closed and channel.is_closed
    for call in (connection.process_data_events, lambda: connection.sleep(0), connection.channel):
        with pytest.raises(exceptions.ConnectionWrongStateError, match=r"Normal shutdown|CLOSED"):
            call()
    assert channel.basic_cancel("any") == [] and channel.cancel() == 0
    channel.stop_consuming()


def test_a_bad_ack_in_a_callback_ends_the_consuming_with_the_reason(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 1)
    channel.basic_consume(queue, lambda *message: channel.basic_ack(99))
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        channel.start_consuming()
    assert caught.value.reply_code == 406
    assert channel.connection.is_open


def test_stop_consuming_one_of_several(channel: BlockingChannel, queue: str) -> None:
    channel.basic_consume(queue, print, consumer_tag="a")
    channel.basic_consume(queue, print, consumer_tag="b")
    channel.stop_consuming("a")
    assert channel.consumer_tags == ["b"]
    channel.stop_consuming()
    assert channel.consumer_tags == []
    channel.start_consuming()


def test_operations_in_callbacks_while_deliveries_keep_coming(channel: BlockingChannel, queue: str) -> None:
    connection = channel.connection
    other = channel.queue_declare("", exclusive=True).method.queue
    sender = connection.channel()
    sender.confirm_delivery()
    publish(channel, queue, 100)
    seen: list[bytes] = []
    got: list[bytes] = []
    inside = 0

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        seen.append(body)
        sender.basic_publish("", other, body)
        if len(seen) <= 50:
            sender.basic_publish("", queue, b"%d" % (99 + len(seen)))
        channel.queue_declare(other, passive=True)
        got.append(sender.basic_get(other, auto_ack=True)[2] or b"")
        connection.process_data_events(0)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 150:
            channel.stop_consuming()
        inside -= 1

    channel.basic_qos(prefetch_count=30)
    channel.basic_consume(queue, on_message)
    channel.start_consuming()
    assert seen == got == [b"%d" % number for number in range(150)]
    assert count(channel, queue) == 0


def test_start_consuming_in_a_callback(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 1)
    raised: list[BaseException] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        with pytest.raises(exceptions.ReentrancyError, match="start_consuming") as caught:
            channel.start_consuming()
        raised.append(caught.value)
        channel.stop_consuming()

    channel.basic_consume(queue, on_message)
    channel.start_consuming()
    assert len(raised) == 1


def test_a_callback_that_raises(channel: BlockingChannel, queue: str) -> None:
    """Its error comes out as it is, and what was pending is handed out at the next opportunity."""
    connection = channel.connection
    bodies = publish(channel, queue, 5)
    seen: list[bytes] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if body == b"1":
            raise ZeroDivisionError("mine")

    # Everything has arrived and waits for its turn before the first callback is called.
    channel.basic_consume(queue, on_message, auto_ack=True)
    arrive(channel, 5)
    with pytest.raises(ZeroDivisionError, match=r"^mine$") as caught:
        pump(connection, lambda: False)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "on_message"
    # None but one that is being handled here, as tests that interrupt a handler may leave behind in this process.
    assert caught.value.__cause__ is None and caught.value.__context__ is sys.exc_info()[1]
    assert seen == [b"0", b"1"]
    connection.process_data_events(0)
    assert seen == bodies
    assert connection.is_open and channel.is_open
    publish(channel, queue, 1, start=9)
    pump(connection, lambda: seen[-1] == b"9")


def test_a_queue_that_is_deleted_cancels_its_consumer(channel: BlockingChannel, queue: str) -> None:
    cancelled: list[Any] = []
    seen: list[bytes] = []
    channel.add_on_cancel_callback(cancelled.append)
    publish(channel, queue, 2)
    tag = channel.basic_consume(queue, lambda _channel, _method, _properties, body: seen.append(body), auto_ack=True)
    with channel.connection.channel() as other:
        other.queue_delete(queue)
    channel.start_consuming()
    assert [method_frame.method.consumer_tag for method_frame in cancelled] == [tag]
    assert isinstance(cancelled[0].method, spec.Basic.Cancel)
    assert seen == [b"0", b"1"]
    assert channel.consumer_tags == [] and channel.is_open
    assert channel.basic_cancel(tag) == []


# By generator


def test_breaking_out_of_a_generator_and_going_on(channel: BlockingChannel, queue: str) -> None:
    bodies = publish(channel, queue, 10)
    seen: list[bytes] = []
    for method, properties, body in channel.consume(queue):
        assert isinstance(method, spec.Basic.Deliver) and isinstance(properties, pika.BasicProperties)
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 4:
            break
    for method, _, body in channel.consume(queue):
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 7:
            break
    assert seen == bodies[:7]
    assert channel.cancel() == 0
    assert drain(channel, queue, 3) == bodies[7:]
    assert channel.cancel() == 0


def test_cancel_puts_back_what_has_arrived(channel: BlockingChannel, queue: str) -> None:
    bodies = publish(channel, queue, 6)
    generator = channel.consume(queue)
    assert channel.get_waiting_message_count() == 0
    assert next(generator)[2] == b"0"
    # All of them have arrived when the broker has none that is ready.
    pump(channel.connection, lambda: channel.get_waiting_message_count() == 5)
    assert channel.cancel() == 0
    assert list(generator) == []
    assert channel.get_waiting_message_count() == 0
    assert drain(channel, queue, 5) == bodies[1:]


def test_cancel_without_acknowledgements_puts_nothing_back(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)
    generator = channel.consume(queue, auto_ack=True)
    assert next(generator)[2] == b"0"
    assert channel.cancel() == 0
    assert channel.is_open


def test_inactivity(channel: BlockingChannel, queue: str) -> None:
    generator = channel.consume(queue, inactivity_timeout=0.05)
    assert next(generator) == (None, None, None)
    assert next(generator) == (None, None, None)
    publish(channel, queue, 1)
    # At most the timeout may come first: the delivery is on its way.
    assert next(body for _, _, body in itertools.islice(generator, 600) if body is not None) == b"0"


def test_a_generator_keeps_its_parameters(channel: BlockingChannel, queue: str) -> None:
    assert next(channel.consume(queue, inactivity_timeout=0)) == (None, None, None)
    for different in ({"queue": "other"}, {"queue": queue, "auto_ack": True}, {"queue": queue, "exclusive": True}):
        with pytest.raises(ValueError, match="consume"):
            next(channel.consume(**different))
    assert channel.is_open
    channel.cancel()
    assert next(channel.consume(queue, auto_ack=True, inactivity_timeout=0)) == (None, None, None)


def test_a_generator_ends_with_its_queue(channel: BlockingChannel, queue: str) -> None:
    bodies = publish(channel, queue, 3)
    generator = channel.consume(queue)
    assert next(generator)[2] == b"0"
    pump(channel.connection, lambda: channel.get_waiting_message_count() == 2)
    channel.queue_delete(queue)
    assert [body for _, _, body in generator] == bodies[1:]
    assert channel.cancel() == 0
    assert channel.is_open


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_a_generator_ends_when_the_user_closes(channel: BlockingChannel, queue: str, what: str) -> None:
    publish(channel, queue, 3)
    seen: list[bytes] = []
    for _, _, body in channel.consume(queue):
        seen.append(body)
        (channel if what == "channel" else channel.connection).close()
    assert seen == [b"0"]
    with pytest.raises(exceptions.ChannelWrongStateError):
        next(channel.consume(queue))


def test_a_generator_raises_the_reason_when_its_channel_dies(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        for _ in channel.consume(queue):
            channel.basic_ack(99)
    assert caught.value.reply_code == 406


def test_a_generator_beside_callbacks(channel: BlockingChannel, queue: str) -> None:
    other = channel.queue_declare("", exclusive=True).method.queue
    called: list[bytes] = []
    channel.basic_consume(other, lambda _channel, _method, _properties, body: called.append(body), auto_ack=True)
    publish(channel, other, 5)
    publish(channel, queue, 5)
    generated: list[bytes] = []
    for _, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.1):
        if body is not None:
            generated.append(body)
        if len(generated) == len(called) == 5:
            break
    assert called == generated
    channel.stop_consuming()
    assert channel.consumer_tags == []


def test_a_generator_inside_a_callback(channel: BlockingChannel, queue: str) -> None:
    other = channel.queue_declare("", exclusive=True).method.queue
    publish(channel, queue, 2)
    publish(channel, other, 3)
    seen: list[list[bytes]] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        taken = [body]
        for inner, _, inner_body in channel.connection.channel().consume(other):
            assert inner is not None
            taken.append(inner_body)
            if len(taken) == 4:
                break
        seen.append(taken)
        channel.stop_consuming()

    channel.basic_consume(queue, on_message)
    channel.start_consuming()
    assert seen == [[b"0", b"0", b"1", b"2"]]


def test_cancelling_a_consumer_that_the_broker_has_cancelled(channel: BlockingChannel, queue: str) -> None:
    """The broker's word has come with the answer to the delete, and waits for its callback."""
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda method_frame: cancelled.append(method_frame.method.consumer_tag))
    tag = channel.basic_consume(queue, lambda *message: None)
    channel.queue_delete(queue)
    channel.connection.process_data_events(0)
    assert channel.basic_cancel(tag) == []
    assert channel.consumer_tags == []
    other = channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, lambda *message: None)
    channel.stop_consuming()
    assert other not in channel.consumer_tags


def test_a_callback_that_deletes_its_queue_and_stops(channel: BlockingChannel, queue: str) -> None:
    def on_message(channel: BlockingChannel, *_message: object) -> None:
        channel.queue_delete(queue)
        channel.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True)
    channel.basic_publish("", queue, b"last")
    channel.start_consuming()
    assert channel.consumer_tags == []
