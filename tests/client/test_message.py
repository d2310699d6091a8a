"""Messages: what they tell, and that each is settled once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.client.threaded_channel import Channel
from pika.client.threaded_message import Message
from tests.support.bounded import eventually
from tests.support.threaded import ready


def received(channel: Channel, queue: str, body: bytes = b"body", auto_ack: bool = False) -> Message:
    """Publish a message and get it."""
    properties = pika.BasicProperties(headers={"one": 1}, message_id="m")
    channel.basic_publish("", queue, body, properties)
    message = eventually(lambda: channel.basic_get(queue, auto_ack))
    assert message is not None
    return message


def test_what_it_tells(channel: Channel, queue: str) -> None:
    message = received(channel, queue)
    assert (message.exchange, message.routing_key, message.redelivered) == ("", queue, False)
    assert (message.delivery_tag, message.headers, message.body) == (1, {"one": 1}, b"body")
    method, properties, body = message
    assert isinstance(method, spec.Basic.GetOk)
    assert (properties.message_id, body) == ("m", b"body")
    assert f"routing key {queue!r}, 4 bytes" in repr(message)


def test_headers_of_a_message_without_any(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, "text")
    message = eventually(lambda: channel.basic_get(queue))
    assert message is not None
    assert (message.headers, message.body) == ({}, b"text")


def test_acknowledged_once(channel: Channel, queue: str) -> None:
    message = received(channel, queue)
    states = [message.is_settled]
    message.ack()
    assert [*states, message.is_settled] == [False, True]
    for settle in (message.ack, message.nack, message.reject):
        with pytest.raises(
            exceptions.MessageSettledError, match=r"delivery tag 1 was acknowledged before.* \[\S+:\d+; channel \d+\]$"
        ):
            settle()
    # Nothing was sent that the broker would close the channel over.
    assert channel.flow(True)


def test_nothing_to_acknowledge(channel: Channel, queue: str) -> None:
    message = received(channel, queue, auto_ack=True)
    with pytest.raises(exceptions.MessageSettledError, match="auto_ack"):
        message.ack()
    assert channel.flow(True)


@pytest.mark.parametrize("method", ["nack", "reject"])
@pytest.mark.parametrize(("requeue", "left"), [(True, 1), (False, 0)])
def test_refused(channel: Channel, queue: str, method: str, requeue: bool, left: int) -> None:
    message = received(channel, queue)
    getattr(message, method)(requeue=requeue)
    channel.flow(True)
    assert eventually(lambda: ready(channel, queue) == left)


def test_several_at_once(channel: Channel, queue: str) -> None:
    messages = [received(channel, queue) for _ in range(3)]
    messages[1].ack(multiple=True)
    messages[2].reject(requeue=True)
    channel.flow(True)
    assert eventually(lambda: ready(channel, queue) == 1)


@pytest.mark.parametrize("end", ["close", "death"])
def test_on_a_dead_channel(connection: pika.Connection, channel: Channel, queue: str, end: str) -> None:
    other = connection.channel()
    message = received(other, queue)
    if end == "close":
        other.close()
    else:
        with pytest.raises(exceptions.ChannelClosedByBroker):
            other.queue_declare("no such queue", passive=True)
    with pytest.raises(exceptions.ChannelWrongStateError, match="closed"):
        message.ack()
    # It was not settled: the broker has it back.
    assert not message.is_settled
    assert eventually(lambda: ready(channel, queue) == 1)


def test_processed(channel: Channel, queue: str) -> None:
    message = received(channel, queue)
    with message.process() as same:
        states = [same is message, message.is_settled]
    assert [*states, message.is_settled] == [True, False, True]
    channel.flow(True)
    assert ready(channel, queue) == 0


@pytest.mark.parametrize(
    ("error", "requeue", "left"), [(ValueError(), False, 0), (ValueError(), True, 1), (KeyboardInterrupt(), False, 1)]
)
def test_processing_that_raises(channel: Channel, queue: str, error: BaseException, requeue: bool, left: int) -> None:
    message = received(channel, queue)
    with pytest.raises(type(error)), message.process(requeue=requeue):
        raise error
    channel.flow(True)
    assert eventually(lambda: ready(channel, queue) == left)


def test_settled_while_it_is_processed(channel: Channel, queue: str) -> None:
    message = received(channel, queue)
    with message.process(ignore_processed=True):
        message.reject(requeue=False)
    message = received(channel, queue)
    with pytest.raises(exceptions.MessageSettledError), message.process():
        message.ack()
    message = received(channel, queue)
    with pytest.raises(ValueError), message.process():
        message.ack()
        raise ValueError
    assert channel.flow(True)


def test_processing_while_the_channel_dies(
    connection: pika.Connection, channel: Channel, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = connection.channel()
    message = received(other, queue)
    # What the block raises is what is raised.
    with pytest.raises(ValueError), message.process():
        other.close()
        raise ValueError
    assert "could not be rejected" in caplog.text
    message = received(connection.channel(), queue)
    with pytest.raises(exceptions.ChannelWrongStateError), message.process():
        message._source.close()


def test_many_threads_that_settle_it(channel: Channel, queue: str) -> None:
    """All have found it unsettled, and only one sends: a second acknowledgement would cost the channel."""
    for _ in range(20):
        message = received(channel, queue)
        outcomes: list[object] = []
        start = threading.Barrier(8)

        def settle(message: Message = message, outcomes: list[object] = outcomes, start: Any = start) -> None:
            start.wait()
            try:
                message.ack()
            except exceptions.MessageSettledError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)

        threads = [threading.Thread(target=settle) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count(None) == 1 and len(outcomes) == 8
    assert channel.queue_declare(queue, passive=True).method.queue == queue
