"""Direct reply-to: answers without a queue (RabbitMQ's extension)."""

from __future__ import annotations

from typing import Callable

import pytest

from pika import BasicProperties
from tests.contract.drivers import Channel, Connection, Returned
from tests.contract.profiles import Profile
from tests.contract.refusals import channel_refused, no_queue

REPLY_TO = "amq.rabbitmq.reply-to"
REQUEST = BasicProperties(reply_to=REPLY_TO, correlation_id="1")


@pytest.fixture
def asking(channel: Channel) -> Channel:
    """A channel that can be replied to."""
    channel.basic_consume(REPLY_TO, "replies", no_ack=True)
    return channel


def ask(asking: Channel, other: Channel, queue: str) -> str:
    """Publish a request, and return the reply-to that arrives with it."""
    asking.basic_publish("", queue, b"question", REQUEST)
    asking.synchronize()
    request = other.basic_get(queue, no_ack=True)
    assert request is not None
    reply_to = request.properties.reply_to
    assert reply_to is not None
    return reply_to


def test_answer(asking: Channel, connect: Callable[[], Connection], other: Channel, queue: str) -> None:
    reply_to = ask(asking, other, queue)
    assert reply_to.startswith(REPLY_TO + ".")
    answering = connect().channel()
    answering.basic_publish("", reply_to, b"answer", BasicProperties(correlation_id="1"))
    received = asking.delivery()
    assert (received.consumer_tag, received.body, received.properties.correlation_id) == ("replies", b"answer", "1")
    assert (received.exchange, received.routing_key, received.redelivered) == ("", reply_to, False)


def test_address_stays_the_same(asking: Channel, other: Channel, queue: str) -> None:
    assert ask(asking, other, queue) == ask(asking, other, queue)


def test_several_answers(asking: Channel, other: Channel, queue: str) -> None:
    reply_to = ask(asking, other, queue)
    for body in (b"1", b"2", b"3"):
        other.basic_publish("", reply_to, body)
    assert asking.bodies(3) == [b"1", b"2", b"3"]


def test_mandatory_answer(asking: Channel, other: Channel, queue: str, profile: Profile) -> None:
    reply_to = ask(asking, other, queue)
    other.basic_publish("", reply_to, b"answer", mandatory=True)
    assert asking.delivery().body == b"answer"
    other.synchronize()
    if profile.mandatory_replies_return:
        assert other.next() == Returned(312, "NO_ROUTE", "", reply_to, BasicProperties(), b"answer")
    assert not other.inbox


def test_mandatory_answer_to_nobody(channel: Channel) -> None:
    channel.basic_publish("", REPLY_TO + ".nobody", b"answer", mandatory=True)
    assert channel.next() == Returned(312, "NO_ROUTE", "", REPLY_TO + ".nobody", BasicProperties(), b"answer")


def test_mandatory_answer_to_a_channel_that_is_gone(
    asking: Channel, other: Channel, queue: str, profile: Profile
) -> None:
    reply_to = ask(asking, other, queue)
    asking.close()
    other.basic_publish("", reply_to, b"answer", mandatory=True)
    other.synchronize()
    if profile.mandatory_replies_return:
        assert other.next() == Returned(312, "NO_ROUTE", "", reply_to, BasicProperties(), b"answer")
    assert not other.inbox


def test_address_exists_while_its_channel_does(
    asking: Channel, connect: Callable[[], Connection], other: Channel, queue: str
) -> None:
    reply_to = ask(asking, other, queue)
    declared = connect().channel().queue_declare(reply_to, passive=True)
    assert (declared.queue, declared.message_count, declared.consumer_count) == (reply_to, 0, 1)
    asking.close()
    with channel_refused(404, no_queue(reply_to)):
        other.queue_declare(reply_to, passive=True)


def test_request_without_a_consumer(channel: Channel) -> None:
    with channel_refused(406, "PRECONDITION_FAILED - fast reply consumer does not exist"):
        channel.basic_publish("amq.direct", "key", b"question", REQUEST)
        channel.synchronize()


def test_consumer_that_acknowledges(channel: Channel) -> None:
    with channel_refused(406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"):
        channel.basic_consume(REPLY_TO, "replies")


def test_second_consumer(asking: Channel) -> None:
    with channel_refused(406, "PRECONDITION_FAILED - reply consumer already set"):
        asking.basic_consume(REPLY_TO, "more", no_ack=True)


def test_consumer_again_after_cancel(asking: Channel, other: Channel, queue: str) -> None:
    asking.basic_cancel("replies")
    asking.basic_consume(REPLY_TO, "again", no_ack=True)
    other.basic_publish("", ask(asking, other, queue), b"answer")
    assert asking.delivery().consumer_tag == "again"


def test_pseudo_queue_can_be_declared(channel: Channel) -> None:
    for passive in (True, False):
        declared = channel.queue_declare(REPLY_TO, passive=passive)
        assert (declared.queue, declared.message_count, declared.consumer_count) == (REPLY_TO, 0, 1)


def test_pseudo_queue_can_not_be_read(channel: Channel) -> None:
    with channel_refused(404, no_queue(REPLY_TO)):
        channel.basic_get(REPLY_TO)
