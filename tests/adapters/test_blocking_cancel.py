"""How consumers end: cancelled by the user or by the broker, stopped, closed, each with messages pending."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.support.consuming import arrive, drain, publish, pump


def note(seen: list[bytes]) -> Callable[..., None]:
    """A consumer's callback that keeps the bodies."""
    return lambda _channel, _method, _properties, body: seen.append(body)


# By the user


def test_cancelling_a_consumer_that_is_none(channel: BlockingChannel) -> None:
    """Programs cancel at their end what they may not have started."""
    nobody: Any = None
    assert channel.basic_cancel("nobody") == []
    assert channel.basic_cancel(nobody) == []
    channel.stop_consuming("nobody")
    channel.stop_consuming()
    assert channel.cancel() == 0
    channel.start_consuming()


@pytest.mark.parametrize("auto_ack", [False, True])
def test_stop_consuming_amid_a_batch(channel: BlockingChannel, queue: str, auto_ack: bool) -> None:
    """What is pending is put back; what needs no acknowledgement cannot be, and is dropped."""
    bodies = publish(channel, queue, 5)
    seen: list[bytes] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if not auto_ack:
            channel.basic_ack(method.delivery_tag)
        if len(seen) == 2:
            channel.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=auto_ack)
    arrive(channel, 5)
    channel.start_consuming()
    assert seen == bodies[:2]
    assert drain(channel, queue, 0 if auto_ack else 3) == ([] if auto_ack else bodies[2:])


def test_what_is_put_back_is_marked_as_redelivered(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)
    channel.basic_consume(queue, note([]), consumer_tag="mine")
    arrive(channel, 3)
    assert channel.basic_cancel("mine") == []
    pump(channel.connection, lambda: channel.queue_declare(queue, passive=True).method.message_count == 3)
    assert [channel.basic_get(queue, auto_ack=True)[0].redelivered for _ in range(3)] == [True, True, True]


def test_a_cancel_returns_what_was_pending_without_acknowledgements(channel: BlockingChannel, queue: str) -> None:
    bodies = publish(channel, queue, 3)
    seen: list[bytes] = []
    channel.basic_consume(queue, note(seen), auto_ack=True, consumer_tag="mine")
    arrive(channel, 3)
    messages = channel.basic_cancel("mine")
    assert [body for _, _, body in messages] == bodies
    assert [(method.consumer_tag, method.delivery_tag) for method, _, _ in messages] == [
        ("mine", 1),
        ("mine", 2),
        ("mine", 3),
    ]
    assert all(isinstance(properties, spec.BasicProperties) for _, properties, _ in messages)
    channel.connection.process_data_events(0)
    assert seen == []


def test_a_callback_that_cancels_another_consumer_with_messages_pending(
    channel: BlockingChannel, queue: str, new_queue: Callable[[], str]
) -> None:
    other = new_queue()
    bodies, others = publish(channel, queue, 3), publish(channel, other, 3, start=10)
    seen: list[bytes] = []
    returned: list[object] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if len(seen) == 1:
            returned.append(channel.basic_cancel("other"))
        if len(seen) == 3:
            channel.stop_consuming()

    channel.basic_consume(queue, on_message, auto_ack=True, consumer_tag="mine")
    channel.basic_consume(other, on_message, consumer_tag="other")
    arrive(channel, 6)
    channel.start_consuming()
    assert (seen, returned) == (bodies, [[]])
    assert drain(channel, other, 3) == others


@pytest.mark.parametrize("auto_ack", [False, True])
@pytest.mark.parametrize("what", ["channel", "connection"])
def test_what_is_pending_when_the_user_closes_is_called_back_no_more(
    connection: BlockingConnection, queue: str, what: str, auto_ack: bool
) -> None:
    channel = connection.channel()
    publish(channel, queue, 3)
    seen: list[bytes] = []

    def on_message(_channel: BlockingChannel, _method: Any, _properties: Any, body: bytes) -> None:
        seen.append(body)
        (channel if what == "channel" else connection).close()

    channel.basic_consume(queue, on_message, auto_ack=auto_ack)
    arrive(channel, 3)
    channel.start_consuming()
    assert seen == [b"0"]
    assert channel.is_closed and channel.consumer_tags == []
    if what == "channel":
        with connection.channel() as another:
            left = drain(another, queue, 0 if auto_ack else 3)
        assert left == ([] if auto_ack else [b"0", b"1", b"2"])


@pytest.mark.parametrize("auto_ack", [False, True])
def test_a_generator_hands_out_nothing_more_when_the_user_closes(
    connection: BlockingConnection, queue: str, auto_ack: bool
) -> None:
    channel = connection.channel()
    publish(channel, queue, 3)
    seen: list[bytes] = []
    for _, _, body in channel.consume(queue, auto_ack=auto_ack):
        seen.append(body)
        pump(connection, lambda: channel.get_waiting_message_count() == 2)
        channel.close()
    assert seen == [b"0"]
    assert channel.get_waiting_message_count() == 0 and channel.cancel() == 0


# By stop_consuming, of a generator


def test_stop_consuming_ends_the_generator_too(channel: BlockingChannel, queue: str, new_queue: Any) -> None:
    bodies = publish(channel, queue, 3)
    channel.basic_consume(new_queue(), note([]), consumer_tag="callback")
    generator = channel.consume(queue, consumer_tag="generator")
    assert next(generator)[2] == b"0"
    pump(channel.connection, lambda: channel.get_waiting_message_count() == 2)
    assert channel.consumer_tags == ["callback", "generator"]
    channel.stop_consuming()
    assert channel.consumer_tags == [] and channel.get_waiting_message_count() == 0
    assert list(generator) == []
    assert drain(channel, queue, 2) == bodies[1:]


@pytest.mark.parametrize("how", ["basic_cancel", "stop_consuming"])
def test_cancelling_a_generators_tag_leaves_it_what_has_arrived(channel: BlockingChannel, queue: str, how: str) -> None:
    bodies = publish(channel, queue, 3)
    generator = channel.consume(queue, consumer_tag="mine")
    assert next(generator)[2] == b"0"
    pump(channel.connection, lambda: channel.get_waiting_message_count() == 2)
    getattr(channel, how)("mine")
    assert channel.consumer_tags == [] and channel.get_waiting_message_count() == 2
    assert next(generator)[2] == b"1"
    channel.cancel()
    assert list(generator) == []
    assert drain(channel, queue, 1) == bodies[2:]


# By the broker


@pytest.mark.parametrize("auto_ack", [False, True])
def test_messages_that_are_pending_when_the_broker_cancels_come_before_the_news(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, auto_ack: bool
) -> None:
    publish(channel, queue, 3)
    seen: list[Any] = []
    channel.add_on_cancel_callback(
        lambda method_frame: seen.append((method_frame.method.consumer_tag, list(channel.consumer_tags)))
    )
    channel.basic_consume(queue, note(seen), auto_ack=auto_ack, consumer_tag="mine")
    arrive(channel, 3)
    with connection.channel() as other:
        other.queue_delete(queue)
    arrive(channel, 4)
    assert channel.consumer_tags == ["mine"]
    channel.start_consuming()
    assert seen == [b"0", b"1", b"2", ("mine", [])]
    assert channel.consumer_tags == [] and channel.basic_cancel("mine") == []
    channel.basic_qos()


@pytest.mark.parametrize("auto_ack", [False, True])
def test_who_cancels_what_the_broker_has_cancelled_is_not_told(
    channel: BlockingChannel, queue: str, auto_ack: bool
) -> None:
    bodies = publish(channel, queue, 3)
    seen: list[Any] = []
    channel.add_on_cancel_callback(seen.append)
    channel.basic_consume(queue, note(seen), auto_ack=auto_ack, consumer_tag="mine")
    arrive(channel, 3)
    channel.queue_delete(queue)
    arrive(channel, 4)
    returned = channel.basic_cancel("mine")
    assert [body for _, _, body in returned] == (bodies if auto_ack else [])
    channel.connection.process_data_events(0.05)
    assert seen == [] and channel.consumer_tags == []
    channel.basic_qos()


def test_every_cancel_callback_is_called(channel: BlockingChannel, new_queue: Callable[[], str]) -> None:
    seen: list[tuple[str, str]] = []
    channel.add_on_cancel_callback(lambda method_frame: seen.append(("first", method_frame.method.consumer_tag)))
    channel.add_on_cancel_callback(lambda method_frame: seen.append(("second", method_frame.method.consumer_tag)))
    queues = {tag: new_queue() for tag in ("a", "b")}
    for tag, queue in queues.items():
        channel.basic_consume(queue, note([]), consumer_tag=tag)
    channel.queue_delete(queues["a"])
    pump(channel.connection, lambda: len(seen) == 2)
    assert seen == [("first", "a"), ("second", "a")]
    assert channel.consumer_tags == ["b"]


def test_the_broker_cancels_a_generator_without_a_callback(channel: BlockingChannel, queue: str) -> None:
    """It ends when what has arrived is handed out; the callback is for consumers with callbacks."""
    bodies = publish(channel, queue, 3)
    called: list[object] = []
    channel.add_on_cancel_callback(called.append)
    generator = channel.consume(queue)
    assert next(generator)[2] == b"0"
    pump(channel.connection, lambda: channel.get_waiting_message_count() == 2)
    channel.queue_delete(queue)
    assert [body for _, _, body in generator] == bodies[1:]
    assert called == []
    with pytest.raises(exceptions.ChannelClosedByBroker):
        next(channel.consume(queue))


# With the channel


def test_a_dead_channel_starts_no_consuming(connection: BlockingConnection, channel: BlockingChannel) -> None:
    """Its reason was raised once; that it is closed is what is said then."""
    for auto_ack in (False, True):
        dying = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        publish(channel, queue, 2)
        dying.basic_consume(queue, note([]), auto_ack=auto_ack)
        arrive(dying, 2)
        with pytest.raises(exceptions.ChannelClosedByBroker):
            dying.queue_declare("pika-missing", passive=True)
        assert dying.is_closed
        with pytest.raises(exceptions.ChannelWrongStateError, match="pika-missing"):
            dying.start_consuming()
        assert dying.consumer_tags == []
        dying.stop_consuming()
        with pytest.raises(exceptions.ChannelWrongStateError):
            dying.close()


@pytest.mark.parametrize("how", ["start_consuming", "process_data_events", "sleep"])
@pytest.mark.parametrize("auto_ack", [False, True])
def test_a_callback_whose_channel_dies_under_it(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, how: str, auto_ack: bool
) -> None:
    """What needs an acknowledgement is in its queue again; start_consuming ends with the reason, as it was its own."""
    dying = connection.channel()
    publish(channel, queue, 3)
    seen: list[bytes] = []

    def on_message(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if body == b"0":
            with pytest.raises(exceptions.ChannelClosedByBroker):
                channel.queue_declare("pika-missing", passive=True)

    dying.basic_consume(queue, on_message, auto_ack=auto_ack)
    arrive(dying, 3)
    if how == "start_consuming":
        with pytest.raises(exceptions.ChannelClosedByBroker):
            dying.start_consuming()
    else:
        getattr(connection, how)(0.05)
    assert seen == ([b"0", b"1", b"2"] if auto_ack else [b"0"])
    assert dying.consumer_tags == []
    assert drain(channel, queue, 0 if auto_ack else 3) == ([] if auto_ack else [b"0", b"1", b"2"])


def test_one_of_two_channels_dies(connection: BlockingConnection, queue: str, new_queue: Callable[[], str]) -> None:
    """The other's consumers live on, and so does its start_consuming."""
    other = new_queue()
    dying, living = connection.channel(), connection.channel()
    seen: list[bytes] = []

    def when_it_is_dead() -> None:
        if dying.is_open:
            connection.call_later(0.01, when_it_is_dead)
        else:
            publish(living, other, 1, start=5)

    def on_message(channel: BlockingChannel, _method: Any, _properties: Any, body: bytes) -> None:
        seen.append(body)
        if body == b"0":
            connection.call_later(0.2, when_it_is_dead)
            with contextlib.suppress(exceptions.ChannelClosedByBroker):  # it may be told already
                channel.basic_ack(99)
        if body == b"5":
            channel.stop_consuming()

    dying.basic_consume(queue, on_message)
    living.basic_consume(other, on_message, auto_ack=True)
    publish(living, queue, 1)
    living.start_consuming()
    assert seen == [b"0", b"5"]
    assert dying.is_closed and dying.consumer_tags == [] and living.is_open


def test_cancel_after_the_channel_died(channel: BlockingChannel, queue: str) -> None:
    """A loop's ``finally: channel.cancel()`` does not hide why it ended."""
    publish(channel, queue, 3)
    generator = channel.consume(queue)
    next(generator)
    pump(channel.connection, lambda: channel.get_waiting_message_count() == 2)
    with pytest.raises(exceptions.ChannelClosedByBroker):
        channel.queue_declare("pika-missing", passive=True)
    assert channel.get_waiting_message_count() == 0
    assert channel.cancel() == 0
    assert list(generator) == []
