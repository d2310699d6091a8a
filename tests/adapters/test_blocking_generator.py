"""The generator of BlockingChannel.consume: what it yields, how it is entered again, left and ended."""

from __future__ import annotations

import inspect
import time
from typing import Any, Callable

import pytest

from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.support.bounded import PATIENCE
from tests.support.consuming import arrive, count, drain, publish, pump


def wait_for(channel: BlockingChannel, number: int) -> None:
    """Have so many messages arrive for the generator."""
    pump(channel.connection, lambda: channel.get_waiting_message_count() == number)


def test_it_is_a_generator_and_begins_when_it_is_iterated(channel: BlockingChannel, queue: str) -> None:
    generator = channel.consume(queue)
    real: bool = inspect.isgenerator(generator)
    assert real
    assert channel.consumer_tags == [] and channel.get_waiting_message_count() == 0
    publish(channel, queue, 1)
    method, properties, body = next(generator)
    assert isinstance(method, spec.Basic.Deliver) and isinstance(properties, spec.BasicProperties) and body == b"0"
    assert (method.consumer_tag, method.delivery_tag, method.redelivered) == (channel.consumer_tags[0], 1, False)
    assert (method.exchange, method.routing_key) == ("", queue)


def test_every_parameter(channel: BlockingChannel, queue: str, connection: BlockingConnection) -> None:
    generator = channel.consume(
        queue,
        auto_ack=True,
        exclusive=True,
        arguments={"x-priority": 5},
        inactivity_timeout=0,
        consumer_tag="mine",
    )
    assert next(generator) == (None, None, None)
    assert channel.consumer_tags == ["mine"]
    with pytest.raises(exceptions.ChannelClosedByBroker, match="exclusive"):
        connection.channel().basic_consume(queue, lambda *message: None)
    publish(channel, queue, 1)
    wait_for(channel, 1)
    assert next(generator)[0].consumer_tag == "mine"
    channel.cancel()
    assert count(channel, queue) == 0


def test_messages_that_need_acknowledgement(channel: BlockingChannel, queue: str) -> None:
    bodies = publish(channel, queue, 3)
    for method, _, body in channel.consume(queue):
        if body == b"1":
            channel.basic_nack(method.delivery_tag, requeue=False)
        else:
            channel.basic_ack(method.delivery_tag)
        if body == bodies[-1]:
            break
    channel.cancel()
    assert drain(channel, queue, 0) == []


def test_prefetch_bounds_what_waits(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.basic_qos(prefetch_count=3)
    generator = channel.consume(queue)
    tag = next(generator)[0].delivery_tag
    wait_for(channel, 2)
    channel.connection.process_data_events(0.1)
    assert channel.get_waiting_message_count() == 2
    channel.basic_ack(tag)
    wait_for(channel, 3)
    channel.cancel()


# Inactivity


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_the_inactivity_timeout_comes_again_and_again(channel: BlockingChannel, queue: str, timeout: float) -> None:
    generator = channel.consume(queue, inactivity_timeout=timeout)
    for _ in range(2):
        began = time.monotonic()
        assert next(generator) == (None, None, None)
        assert time.monotonic() - began >= timeout


def test_what_happens_to_others_is_no_activity(
    channel: BlockingChannel, queue: str, new_queue: Callable[[], str]
) -> None:
    """Callbacks are called while the generator waits, and its time goes on."""
    other = new_queue()
    seen: list[bytes] = []
    channel.basic_consume(other, lambda _channel, _method, _properties, body: seen.append(body), auto_ack=True)
    publish(channel, other, 3)
    arrive(channel, 3)
    generator = channel.consume(queue, inactivity_timeout=0.3)
    began = time.monotonic()
    assert next(generator) == (None, None, None)
    assert time.monotonic() - began >= 0.3
    assert seen == [b"0", b"1", b"2"]


def test_each_entry_has_a_timeout_of_its_own(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 1)
    assert next(channel.consume(queue))[2] == b"0"
    assert next(channel.consume(queue, inactivity_timeout=0.01)) == (None, None, None)


# Entering it again


def test_two_generators_share_one_consumer(channel: BlockingChannel, queue: str) -> None:
    """Only queue, auto_ack and exclusive have to be the same: the consumer is there, and is not made again."""
    publish(channel, queue, 4)
    first = channel.consume(queue, consumer_tag="first")
    assert next(first)[2] == b"0"
    second = channel.consume(queue, arguments={"x-priority": 1}, inactivity_timeout=PATIENCE, consumer_tag="second")
    assert next(second)[2] == b"1"
    assert channel.consumer_tags == ["first"]
    assert next(first)[2] == b"2"
    assert next(second)[2] == b"3"
    channel.cancel()
    assert list(first) == list(second) == []


@pytest.mark.parametrize("changed", [{"queue": "other"}, {"auto_ack": True}, {"exclusive": True}])
def test_other_parameters_are_refused_while_it_is_active(
    channel: BlockingChannel, queue: str, changed: dict[str, Any]
) -> None:
    publish(channel, queue, 2)
    generator = channel.consume(queue)
    assert next(generator)[2] == b"0"
    with pytest.raises(ValueError, match="consume"):
        next(channel.consume(**{"queue": queue, **changed}))
    assert next(generator)[2] == b"1"


def test_after_a_cancel_anything_goes(channel: BlockingChannel, queue: str, new_queue: Callable[[], str]) -> None:
    other = new_queue()
    old = channel.consume(queue, inactivity_timeout=0)
    next(old)
    channel.cancel()
    publish(channel, other, 1)
    assert next(channel.consume(other, auto_ack=True))[2] == b"0"
    channel.cancel()
    assert list(old) == []


# Leaving it


@pytest.mark.parametrize("how", ["close", "delete", "throw"])
def test_a_generator_that_is_abandoned_leaves_the_consumer(channel: BlockingChannel, queue: str, how: str) -> None:
    bodies = publish(channel, queue, 3)
    generator = channel.consume(queue)
    next(generator)
    if how == "close":
        generator.close()
    elif how == "throw":
        with pytest.raises(ZeroDivisionError):
            generator.throw(ZeroDivisionError())
    del generator
    assert len(channel.consumer_tags) == 1
    wait_for(channel, 2)
    assert next(channel.consume(queue))[2] == b"1"
    channel.cancel()
    assert channel.consumer_tags == []
    assert drain(channel, queue, 1) == bodies[2:]


def test_cancel_without_a_generator(channel: BlockingChannel, queue: str) -> None:
    assert channel.cancel() == 0
    channel.basic_consume(queue, lambda *message: None, consumer_tag="callback")
    assert channel.cancel() == 0
    assert channel.consumer_tags == ["callback"]


def test_cancel_by_a_timer_ends_the_wait(channel: BlockingChannel, queue: str) -> None:
    channel.connection.call_later(0.05, channel.cancel)
    assert list(channel.consume(queue)) == []
    assert channel.consumer_tags == []


def test_start_consuming_waits_beside_a_generator(channel: BlockingChannel, queue: str) -> None:
    """Its messages are kept for it meanwhile, and stop_consuming puts them back."""
    bodies = publish(channel, queue, 3)
    generator = channel.consume(queue)
    next(generator)
    waiting: list[int] = []

    def stop() -> None:
        if channel.get_waiting_message_count() < 2:
            channel.connection.call_later(0.01, stop)
            return
        waiting.append(channel.get_waiting_message_count())
        channel.stop_consuming()

    channel.connection.call_later(0.2, stop)
    channel.start_consuming()
    assert waiting == [2]
    assert list(generator) == []
    assert drain(channel, queue, 2) == bodies[1:]


def test_generators_of_two_channels_take_turns(connection: BlockingConnection, new_queue: Callable[[], str]) -> None:
    channels = [connection.channel(), connection.channel()]
    queues = [new_queue(), new_queue()]
    for index, (channel, queue) in enumerate(zip(channels, queues)):
        publish(channel, queue, 3, start=10 * index)
    generators = [channel.consume(queue, auto_ack=True) for channel, queue in zip(channels, queues)]
    assert [next(generator)[2] for _ in range(3) for generator in generators] == [
        b"0",
        b"10",
        b"1",
        b"11",
        b"2",
        b"12",
    ]


# When it cannot begin, or ends


def test_a_refused_consumer(channel: BlockingChannel, queue: str) -> None:
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        next(channel.consume("pika-missing"))
    assert caught.value.reply_code == 404
    assert channel.is_closed and channel.get_waiting_message_count() == 0 and channel.cancel() == 0
    with pytest.raises(exceptions.ChannelWrongStateError):
        next(channel.consume(queue))


def test_a_consumer_tag_that_is_taken(channel: BlockingChannel, queue: str) -> None:
    channel.basic_consume(queue, lambda *message: None, consumer_tag="taken")
    with pytest.raises(exceptions.DuplicateConsumerTag):
        next(channel.consume(queue, consumer_tag="taken"))
    # As if it had not been called.
    assert channel.consumer_tags == ["taken"] and channel.cancel() == 0
    assert next(channel.consume(queue, inactivity_timeout=0, consumer_tag="free")) == (None, None, None)


def test_a_wrong_queue_name(channel: BlockingChannel, queue: str) -> None:
    number: Any = 5
    with pytest.raises(TypeError):
        next(channel.consume(number))
    assert channel.consumer_tags == []
    assert next(channel.consume(queue, inactivity_timeout=0)) == (None, None, None)


@pytest.mark.parametrize("known", [False, True])
def test_a_channel_that_dies_while_the_generator_is_left_alone(
    channel: BlockingChannel, queue: str, known: bool
) -> None:
    """The end that nobody was told of is raised by whoever asks for the next message; the end after that is quiet."""
    publish(channel, queue, 2)
    generator = channel.consume(queue)
    next(generator)
    # By the callback channel: here an acknowledgement may be told of the end already.
    channel._impl.basic_ack(99)
    if known:
        pump(channel.connection, lambda: channel.is_closed)
    with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag 99"):
        list(generator)
    assert list(generator) == []
    assert channel.cancel() == 0
    with pytest.raises(exceptions.ChannelWrongStateError):
        next(channel.consume(queue))


@pytest.mark.parametrize("auto_ack", [False, True])
def test_cancelling_what_the_broker_has_cancelled(channel: BlockingChannel, queue: str, auto_ack: bool) -> None:
    publish(channel, queue, 3)
    generator = channel.consume(queue, auto_ack=auto_ack)
    next(generator)
    wait_for(channel, 2)
    channel.queue_delete(queue)
    channel.cancel()
    assert list(generator) == []
    assert channel.is_open and channel.consumer_tags == [] and channel.get_waiting_message_count() == 0
    channel.basic_qos()
