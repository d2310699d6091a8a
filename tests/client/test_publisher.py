"""Publishing with confirms: each message ends in exactly one way, and it is its own."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.broker import Broker as EmbeddedBroker
from pika.client import confirming
from pika.client.threaded_channel import Channel
from pika.client.threaded_publisher import Confirmation
from tests.support.bounded import PATIENCE, Running, eventually, side_by_side
from tests.support.brokers import at
from tests.support.encoding import content, method
from tests.support.fates import Fates
from tests.support.scripted_broker import Session, scripted_broker
from tests.support.threaded import ready, waits

NOBODY = "no such queue"


def test_confirmed(channel: Channel, queue: str) -> None:
    with channel.publisher(max_in_flight=10, mandatory=True) as publisher:
        confirmations = [publisher.publish(b"%d" % number, routing_key=queue) for number in range(100)]
        confirmations[-1].result(timeout=PATIENCE)
    assert all(confirmation.done() for confirmation in confirmations)
    assert [confirmation.exception() for confirmation in confirmations] == [None] * 100
    assert ready(channel, queue) == 100


def test_arguments_in_the_order_of_basic_publish(channel: Channel) -> None:
    """They are refused, and nothing is lost."""
    swapped: Any = ("", "jobs", b"body")
    with channel.publisher() as publisher:
        with pytest.raises(TypeError, match="routing_key must be a str, but got b'body'"):
            publisher.publish(*swapped)
        with pytest.raises(TypeError, match="exchange must be a str, but got b'body'"):
            publisher.publish(*swapped[1:])
    assert channel.is_open


def test_returned(channel: Channel, queue: str) -> None:
    publisher = channel.publisher(mandatory=True)
    properties = pika.BasicProperties(message_id="m")
    lost = publisher.publish("lost", routing_key=NOBODY, properties=properties)
    taken = publisher.publish("taken", routing_key=queue)
    taken.result()
    with pytest.raises(exceptions.UnroutableError, match=f"routing key {NOBODY!r}: 312 NO_ROUTE") as caught:
        lost.result()
    # The broker, the channel, then the cause: as in every text of the library.
    assert re.search(rf" \[\S+:\d+; channel {channel.channel_number}; [^\[]*NO_ROUTE\]$", str(caught.value))
    (message,) = caught.value.messages
    assert (message.body, message.properties.message_id, message.method.reply_code) == (b"lost", "m", 312)
    assert isinstance(lost.exception(), exceptions.UnroutableError)
    publisher.wait()


def test_what_nobody_has_looked_at_is_raised_once(channel: Channel, queue: str) -> None:
    with pytest.raises(exceptions.UnroutableError) as caught, channel.publisher(mandatory=True) as publisher:
        for number in range(3):
            publisher.publish(b"%d" % number, routing_key=NOBODY)
        looked_at = publisher.publish(b"3", routing_key=NOBODY)
        assert looked_at.exception() is not None
    assert [message.body for message in caught.value.messages] == [b"0", b"1", b"2"]
    publisher.wait()


def test_an_error_leaves_the_block_as_it_is(channel: Channel) -> None:
    with pytest.raises(KeyError), channel.publisher(mandatory=True) as publisher:
        publisher.publish(b"", routing_key=NOBODY)
        raise KeyError


def test_callbacks(channel: Channel, queue: str) -> None:
    ended: list[tuple[Confirmation, str]] = []
    publisher = channel.publisher(mandatory=True)

    def on_done(confirmation: Confirmation) -> None:
        # It may do anything.
        channel.queue_declare(queue, passive=True)
        ended.append((confirmation, threading.current_thread().name))

    first = publisher.publish(b"", routing_key=queue)
    first.add_done_callback(on_done)
    lost = publisher.publish(b"", routing_key=NOBODY)
    lost.add_done_callback(on_done)
    publisher.wait()
    eventually(lambda: len(ended) == 2)
    first.add_done_callback(on_done)
    eventually(lambda: len(ended) == 3)
    # The broker may confirm the second one before the first.
    assert {one for one, _ in ended[:2]} == {first, lost}
    assert ended[2][0] is first
    assert all(name.startswith("pika-callbacks") for _, name in ended)


def test_a_callback_that_raises(channel: Channel, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    publisher = channel.publisher()
    called = threading.Event()
    publisher.publish(b"", routing_key=queue).add_done_callback(lambda _: 1 / 0)
    publisher.publish(b"", routing_key=queue).add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)
    assert "ZeroDivisionError" in caplog.text


def test_two_publishers_on_a_channel_and_one_message_by_hand(channel: Channel, queue: str) -> None:
    first, second = channel.publisher(), channel.publisher(mandatory=True)
    channel.confirm_delivery()
    a, b = first.publish(b"a", routing_key=NOBODY), second.publish(b"b", routing_key=NOBODY)
    channel.basic_publish("", queue, "c")
    with pytest.raises(exceptions.UnroutableError):
        channel.basic_publish("", NOBODY, "d", mandatory=True)
    a.result()
    with pytest.raises(exceptions.UnroutableError):
        b.result()
    first.wait()
    second.wait()
    assert ready(channel, queue) == 1


def test_shared_by_threads(channel: Channel, queue: str) -> None:
    publisher = channel.publisher(max_in_flight=50)
    seen: list[int] = []

    def publish() -> None:
        for _ in range(200):
            publisher.publish(b"", routing_key=queue)
            seen.append(publisher.in_flight)

    side_by_side([publish] * 8)
    publisher.wait()
    assert max(seen) <= 50
    assert ready(channel, queue) == 1600


def test_what_cannot_be_published(channel: Channel, queue: str) -> None:
    publisher = channel.publisher(max_in_flight=1)
    for _ in range(3):
        with pytest.raises(TypeError, match="body"):
            publisher.publish(12, routing_key=queue)  # type: ignore[arg-type]
        with pytest.raises(exceptions.ShortStringTooLong):
            publisher.publish(b"", routing_key="x" * 256)
    publisher.publish(b"", routing_key=queue).result()
    with pytest.raises(ValueError, match="max_in_flight"):
        channel.publisher(max_in_flight=0)


def test_unknown_when_the_channel_dies(channel: Channel) -> None:
    publisher = channel.publisher()
    confirmation = publisher.publish(b"body", exchange="no such exchange", routing_key="key")
    with pytest.raises(exceptions.PublishOutcomeUnknown, match="no exchange 'no such exchange'") as caught:
        confirmation.result()
    assert isinstance(caught.value.__cause__, exceptions.ChannelClosedByBroker)
    assert re.search(rf" \[\S+:\d+; channel {channel.channel_number}; [^\[]*404[^\[]*\]$", str(caught.value))
    assert [message.body for message in caught.value.messages] == [b"body"]
    with pytest.raises(exceptions.ChannelWrongStateError):
        publisher.publish(b"")
    # The one above did not go out, and is nobody's.
    publisher.wait()


# Against a script


def test_the_limit_is_kept_and_time_is_bounded() -> None:
    go_on = threading.Event()

    def script(session: Session) -> None:
        number = session.open_for_confirms()
        for _ in range(3):
            session.expect(spec.Basic.Publish)
        go_on.wait(PATIENCE)
        session.send(method(number, spec.Basic.Ack(2, True)))
        session.expect(spec.Basic.Publish)
        session.send(method(number, spec.Basic.Ack(4, True)))
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(at(peer.port)) as connection:
        publisher = connection.channel().publisher(max_in_flight=3)
        confirmations = [publisher.publish(b"%d" % number) for number in range(3)]
        with pytest.raises(exceptions.AMQPTimeoutError, match="room for a message"):
            publisher.publish(b"too many", timeout=0.05)
        with pytest.raises(TimeoutError, match="confirm"):
            confirmations[0].result(timeout=0.05)
        with pytest.raises(exceptions.AMQPTimeoutError, match="confirming all messages"):
            publisher.wait(timeout=0.05)
        publishing = Running(lambda: publisher.publish(b"fourth"))
        eventually(lambda: waits(publishing.thread))
        go_on.set()
        publishing.result().result()
        publisher.wait()


def test_what_is_refused_when_nobody_waits_for_it_any_more() -> None:
    """A wait that is given up is no look at the outcome: the end of the block tells."""
    go_on = threading.Event()

    def script(session: Session) -> None:
        number = session.open_for_confirms()
        for _ in range(2):
            session.expect(spec.Basic.Publish)
        go_on.wait(PATIENCE)
        session.send(method(number, spec.Basic.Nack(2, True)))
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
        publisher = connection.channel().publisher()
        given_up, called_back = publisher.publish(b"given up"), publisher.publish(b"called back")
        called_back.add_done_callback(lambda _: None)
        for confirmation in (given_up, called_back):
            with pytest.raises(exceptions.AMQPTimeoutError):
                confirmation.result(timeout=0.05)
        go_on.set()
        with pytest.raises(exceptions.NackError) as caught:
            publisher.wait()
        assert [message.body for message in caught.value.messages] == [b"given up"]


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_many_threads_wait_for_room(channel: Channel, queue: str, limit: int) -> None:
    """Each gets its turn, whether it publishes once or goes on, and whether or not another one gives up."""
    publisher = channel.publisher(max_in_flight=limit)

    def publish(number: int) -> None:
        for _ in range(number % 5):
            with contextlib.suppress(exceptions.AMQPTimeoutError):
                publisher.publish(b"body", routing_key=queue, timeout=0.001)
        publisher.publish(b"body", routing_key=queue)

    def refused(number: int) -> None:
        with pytest.raises(ValueError, match="frame"):
            publisher.publish(b"", properties=pika.BasicProperties(headers={"large": "x" * 200_000}))
        publisher.publish(b"body", routing_key=queue)

    side_by_side([functools.partial(refused if number % 2 else publish, number) for number in range(150)])
    publisher.wait()


def test_all_who_wait_for_room_hear_of_the_end() -> None:
    waiting = threading.Event()

    def script(session: Session) -> None:
        number = session.open_for_confirms()
        session.expect(spec.Basic.Publish)
        waiting.wait(PATIENCE)
        session.send(method(number, spec.Channel.Close(406, "PRECONDITION_FAILED - so", 0, 0)))
        session.expect(spec.Channel.CloseOk)
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(at(peer.port)) as connection:
        publisher = connection.channel().publisher(max_in_flight=1)
        publisher.publish(b"never confirmed")
        threads = [Running(lambda: publisher.publish(b"")) for _ in range(100)]
        eventually(lambda: all(waits(one.thread) for one in threads))
        waiting.set()
        for thread in threads:
            with pytest.raises(exceptions.ChannelWrongStateError, match="406"):
                thread.result()


def test_ten_thousand_outcomes_each_of_its_own_message() -> None:
    count = 10_000
    fates = Fates(count)

    with scripted_broker(fates.script) as peer, pika.connect(at(peer.port)) as connection:
        publisher = connection.channel().publisher(max_in_flight=1000, mandatory=True)
        confirmations = [publisher.publish(b"%d" % number, routing_key="key") for number in range(count)]
        for number, confirmation in enumerate(confirmations):
            error = confirmation.exception(timeout=PATIENCE)
            fate = fates.letters[number]
            if fate == "a":
                assert error is None
            else:
                expected = exceptions.NackError if fate == "n" else exceptions.UnroutableError
                assert type(error) is expected
                assert [message.body for message in error.messages] == [b"%d" % number]
        publisher.wait()


def test_failures_of_all_kinds_at_once() -> None:
    def script(session: Session) -> None:
        number = session.open_for_confirms()
        for _ in range(3):
            session.expect(spec.Basic.Publish)
        returned = spec.Basic.Return(312, "NO_ROUTE", "", "key")
        session.send(
            method(number, spec.Basic.Nack(1)),
            content(number, returned, b"1"),
            method(number, spec.Basic.Ack(2), spec.Channel.Close(406, "PRECONDITION_FAILED - so", 60, 40)),
        )
        session.expect(spec.Channel.CloseOk)
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(at(peer.port)) as connection:
        publisher = connection.channel().publisher(mandatory=True)
        for number in range(3):
            publisher.publish(b"%d" % number, routing_key="key")
        with pytest.raises(exceptions.PublishOutcomeUnknown) as caught:
            publisher.wait()
        text = str(caught.value)
        assert [message.body for message in caught.value.messages] == [b"2"]
        assert "406" in text
        assert "1 message(s) NACKed" in text
        assert "1 unroutable message(s)" in text


def test_more_failures_than_are_kept(monkeypatch: pytest.MonkeyPatch, channel: Channel) -> None:
    monkeypatch.setattr(confirming, "FAILURES_KEPT", 5)
    publisher = channel.publisher(mandatory=True)
    for number in range(8):
        publisher.publish(b"%d" % number, routing_key=NOBODY)
    with pytest.raises(exceptions.UnroutableError) as caught:
        publisher.wait()
    assert len(caught.value.messages) == 5


# While the network is full


def test_what_finds_no_room_was_not_published() -> None:
    with EmbeddedBroker() as broker, pika.connect(broker.url) as connection:
        channel, by_hand = connection.channel(), connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        publisher = channel.publisher(max_in_flight=10_000)
        broker.block()
        confirmations = []
        with pytest.raises(exceptions.AMQPTimeoutError, match="sending"):
            while True:
                confirmations.append(publisher.publish(bytes(500_000), routing_key=queue, timeout=0.1))
        # There may be some room again meanwhile.
        sent = 0
        with pytest.raises(exceptions.AMQPTimeoutError, match="sending"):
            while True:
                by_hand.basic_publish("", queue, bytes(500_000), timeout=0.1)
                sent += 1
        broker.unblock()
        publisher.wait()
        assert [confirmation.exception() for confirmation in confirmations] == [None] * len(confirmations)
        eventually(lambda: ready(channel, queue) == len(confirmations) + sent)
