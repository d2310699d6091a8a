"""Getting and consuming through the callback API of a channel."""

from __future__ import annotations

from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.channel import Channel
from tests.support.encoding import method
from tests.support.plain_connection import PlainConnection, call, open_channel, opened_on
from tests.support.scripted_broker import Session, delivery


def test_get(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    channel.add_callback(log.append, [spec.Basic.GetEmpty])
    channel.basic_get(queue, lambda *message: pytest.fail("there is no message"))
    connection.run(lambda: log)
    assert isinstance(log[0].method, spec.Basic.GetEmpty)
    channel.basic_publish("", queue, "body", pika.BasicProperties(type="kind"))
    channel.basic_get(queue, lambda *message: log.append(message))
    with pytest.raises(exceptions.DuplicateGetOkCallback):
        channel.basic_get(queue, print)
    connection.run(lambda: len(log) == 2)
    it, got, properties, body = log[1]
    assert it is channel and isinstance(got, spec.Basic.GetOk)
    assert (got.message_count, got.redelivered) == (0, False)
    assert (properties.type, body) == ("kind", b"body")
    channel.basic_ack(got.delivery_tag)
    channel.basic_get(queue, print)
    connection.run_for(0.05)
    assert len(log) == 2


def test_getting_again_inside_the_callback(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log

    def on_message(it: Channel, method: Any, properties: Any, body: bytes) -> None:
        log.append(body)
        it.basic_get(queue, on_message, auto_ack=True)

    channel.add_callback(lambda answer: log.append("empty"), [spec.Basic.GetEmpty])
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)
    channel.basic_get(queue, on_message, auto_ack=True)
    connection.run(lambda: "empty" in log)
    assert log == [b"0", b"1", b"2", "empty"]


def test_a_get_with_auto_ack_needs_no_acknowledgement(
    connection: PlainConnection, channel: Channel, queue: str
) -> None:
    log = connection.log
    for body in (b"kept", b"gone"):
        channel.basic_publish("", queue, body)
    channel.basic_get(queue, lambda it, method, properties, body: log.append(body))
    connection.run(lambda: log)
    channel.basic_get(queue, lambda it, method, properties, body: log.append(body), auto_ack=True)
    connection.run(lambda: len(log) == 2)
    channel.basic_nack(0, multiple=True)
    assert call(connection, channel.queue_purge, queue).method.message_count == 1


def test_consuming_and_cancelling(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    tag = channel.basic_consume(queue, lambda *message: log.append(message), callback=lambda _: log.append("consuming"))
    assert tag.startswith("ctag1.") and channel.consumer_tags == [tag]
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume(queue, print, consumer_tag=tag)
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)
    connection.run(lambda: len(log) == 4)
    assert log[0] == "consuming"
    assert [(message[0], message[1].consumer_tag, message[3]) for message in log[1:]] == [
        (channel, tag, b"0"),
        (channel, tag, b"1"),
        (channel, tag, b"2"),
    ]
    channel.basic_ack(2, multiple=True)
    channel.basic_nack(3, requeue=False)
    answer = call(connection, channel.basic_cancel, tag)
    assert answer.method.consumer_tag == tag and channel.consumer_tags == []
    channel.basic_publish("", queue, b"for nobody")
    connection.run_for(0.1)
    assert len(log) == 4
    assert call(connection, channel.queue_purge, queue).method.message_count == 1


def test_tags_that_are_made_up_differ(channel: Channel, queue: str) -> None:
    tags = [channel.basic_consume(queue, print), channel.basic_consume(queue, print)]
    assert len(set(tags)) == 2 and channel.consumer_tags == tags


def test_cancelling_what_is_not_there_is_nothing(connection: PlainConnection, channel: Channel, queue: str) -> None:
    channel.basic_cancel("pika-nobody", callback=lambda answer: pytest.fail("there is no such consumer"))
    channel.basic_cancel()
    channel.basic_consume(queue, print, consumer_tag="tag")
    channel.basic_cancel("tag", callback=connection.log.append)
    channel.basic_cancel("tag", callback=lambda answer: pytest.fail("it is cancelled already"))
    connection.run(lambda: connection.log)
    assert call(connection, channel.queue_declare, queue, passive=True).method.consumer_count == 0
    assert len(connection.log) == 1


def test_a_tag_is_free_when_its_consumer_is_cancelled(
    connection: PlainConnection, channel: Channel, queue: str
) -> None:
    log = connection.log
    call(connection, channel.basic_consume, queue, print, consumer_tag="tag")
    channel.basic_cancel("tag", callback=log.append)
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume(queue, print, consumer_tag="tag")
    connection.run(lambda: log)
    channel.basic_consume(queue, lambda it, method, properties, body: log.append(body), True, consumer_tag="tag")
    channel.basic_publish("", queue, b"body")
    connection.run(lambda: len(log) == 2)
    assert log[1] == b"body"


def test_a_tag_is_known_until_its_cancel_was_told(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    for tag in ("a", "b"):
        call(connection, channel.basic_consume, queue, print, consumer_tag=tag)
    channel.add_callback(lambda answer: log.append(sorted(channel.consumer_tags)), [spec.Basic.CancelOk])
    channel.basic_cancel("a", callback=lambda answer: log.append(sorted(channel.consumer_tags)))
    connection.run(lambda: len(log) == 2)
    assert log == [["a", "b"], ["a", "b"]] and channel.consumer_tags == ["b"]


@pytest.mark.parametrize("auto_ack", [False, True])
def test_a_tag_is_free_inside_the_callback_of_its_cancel(
    connection: PlainConnection, channel: Channel, queue: str, auto_ack: bool
) -> None:
    log = connection.log

    def again(answer: frame.Method[Any]) -> None:
        # It is cancelled; once more would be one too many.
        channel.basic_cancel("tag", callback=lambda answer: log.append("again"))
        channel.basic_consume(queue, lambda it, method, properties, body: log.append(body), auto_ack, False, "tag")

    call(connection, channel.basic_consume, queue, print, not auto_ack, consumer_tag="tag")
    channel.basic_cancel("tag", callback=again)
    channel.basic_publish("", queue, b"body")
    connection.run(lambda: log)
    assert log == [b"body"] and channel.consumer_tags == ["tag"]


def test_consuming_is_answered_without_a_callback_too(
    connection: PlainConnection, channel: Channel, queue: str
) -> None:
    channel.add_callback(connection.log.append, [spec.Basic.ConsumeOk])
    tag = channel.basic_consume(queue, print)
    connection.run(lambda: connection.log)
    assert connection.log[0].method.consumer_tag == tag


def test_cancelling_at_once(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    tag = channel.basic_consume(queue, print, callback=lambda answer: log.append(answer.method.NAME))
    channel.basic_cancel(tag, callback=lambda answer: log.append(answer.method.NAME))
    connection.run(lambda: len(log) == 2)
    assert log == ["Basic.ConsumeOk", "Basic.CancelOk"] and channel.consumer_tags == []


def test_cancelling_inside_the_consumer(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)

    def on_message(it: Channel, method: spec.Basic.Deliver, properties: Any, body: bytes) -> None:
        log.append(body)
        it.basic_ack(method.delivery_tag)
        assert method.consumer_tag is not None
        it.basic_cancel(method.consumer_tag, callback=lambda answer: log.append("cancelled"))

    channel.basic_consume(queue, on_message)
    connection.run(lambda: "cancelled" in log)
    # What was on the way was put back.
    assert log == [b"0", "cancelled"]
    assert call(connection, channel.queue_purge, queue).method.message_count == 2


@pytest.mark.parametrize("operation", ["close the channel", "close the connection"])
def test_closing_inside_the_consumer(connection: PlainConnection, channel: Channel, queue: str, operation: str) -> None:
    log = connection.log
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)
    channel.add_on_close_callback(lambda it, reason: log.append("closed"))

    def on_message(it: Channel, method: Any, properties: Any, body: bytes) -> None:
        log.append(body)
        (it if operation == "close the channel" else it.connection).close()
        log.append("returned")

    channel.basic_consume(queue, on_message)
    connection.run(lambda: "closed" in log)
    connection.run_for(0.05)
    assert log == [b"0", "returned", "closed"]


def test_an_exclusive_consumer(connection: PlainConnection, channel: Channel, queue: str) -> None:
    call(connection, channel.basic_consume, queue, print, exclusive=True)
    other = open_channel(connection)
    other.add_on_close_callback(lambda it, reason: connection.log.append(reason))
    other.basic_consume(queue, print)
    connection.run(lambda: connection.log)
    (reason,) = connection.log
    assert isinstance(reason, exceptions.ChannelClosedByBroker) and reason.reply_code == 403
    assert other.consumer_tags == []


def test_a_consumer_of_a_queue_that_there_is_not(connection: PlainConnection, channel: Channel) -> None:
    channel.add_on_close_callback(lambda it, reason: connection.log.append(reason))
    channel.basic_consume("pika-missing", print, callback=lambda answer: pytest.fail("there is no queue"))
    connection.run(lambda: connection.log)
    (reason,) = connection.log
    assert isinstance(reason, exceptions.ChannelClosedByBroker) and reason.reply_code == 404
    assert channel.consumer_tags == []


def test_consumers_get_what_is_theirs(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    second = str(call(connection, channel.queue_declare, "", exclusive=True).method.queue)
    for name, tag in ((queue, "a"), (second, "b")):
        channel.basic_consume(
            name,
            lambda it, method, properties, body, tag=tag: log.append((tag, method.consumer_tag, body)),  # type: ignore[misc]
            auto_ack=True,
            consumer_tag=tag,
        )
    channel.basic_publish("", second, b"2")
    channel.basic_publish("", queue, b"1")
    connection.run(lambda: len(log) == 2)
    assert sorted(log) == [("a", "a", b"1"), ("b", "b", b"2")]


def test_arguments_of_a_consumer_are_passed_on() -> None:
    seen: list[Any] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        asked = session.expect(spec.Basic.Consume).method
        seen.append((asked.queue, asked.consumer_tag, asked.no_ack, asked.exclusive, asked.arguments))
        session.send(method(1, spec.Basic.ConsumeOk("tag")))
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        answer = call(connection, channel.basic_consume, "queue", print, True, True, "tag", {"x-priority": 5})
        assert answer.method.consumer_tag == "tag"
    assert seen == [("queue", "tag", True, True, {"x-priority": 5})]


# What the broker cancels


def test_a_consumer_that_the_broker_cancels(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    channel.add_on_cancel_callback(lambda method_frame: log.append(method_frame))
    channel.add_on_cancel_callback(lambda method_frame: log.append(list(channel.consumer_tags)))
    tag = channel.basic_consume(queue, print)
    other = str(call(connection, channel.queue_declare, "", exclusive=True).method.queue)
    kept = channel.basic_consume(other, print)
    channel.queue_delete(queue)
    connection.run(lambda: len(log) == 2)
    method_frame, left = log
    assert isinstance(method_frame, frame.Method) and isinstance(method_frame.method, spec.Basic.Cancel)
    assert method_frame.method.consumer_tag == tag and method_frame.channel_number == channel.channel_number
    assert left == channel.consumer_tags == [kept] and channel.is_open
    # There is nothing left to cancel, and the tag can be used again.
    channel.basic_cancel(tag, callback=lambda answer: pytest.fail("it is cancelled already"))
    call(connection, channel.basic_consume, other, print, consumer_tag=tag)


def test_a_cancel_of_the_brokers_that_crosses_ours_is_told() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.expect(spec.Basic.Cancel)
        session.send(method(number, spec.Basic.Cancel(tag, True), spec.Basic.CancelOk(tag)))
        session.close_politely()

    with opened_on(script) as connection:
        channel, log = open_channel(connection), connection.log
        channel.add_on_cancel_callback(lambda it: log.append((it.method.NAME, channel.consumer_tags)))
        call(connection, channel.basic_consume, "queue", print, consumer_tag="tag")
        channel.basic_cancel("tag", callback=lambda it: log.append((it.method.NAME, channel.consumer_tags)))
        connection.run(lambda: len(log) == 2)
        assert log == [("Basic.Cancel", ["tag"]), ("Basic.CancelOk", ["tag"])]
        assert channel.consumer_tags == []


def test_a_cancel_of_the_brokers_behind_one_that_asks_for_no_answer_is_told() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.expect(spec.Basic.Cancel)
        session.send(method(number, spec.Basic.Cancel(tag, True)))
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        channel.add_on_cancel_callback(lambda it: connection.log.append(it.method.consumer_tag))
        call(connection, channel.basic_consume, "queue", print, consumer_tag="tag")
        channel.basic_cancel("tag")
        connection.run(lambda: connection.log)
        assert connection.log == ["tag"] and channel.consumer_tags == []


@pytest.mark.parametrize("auto_ack", [False, True])
def test_a_cancel_of_the_brokers_for_the_consumer_that_had_the_tag_before(auto_ack: bool) -> None:
    """As when a queue is deleted, and its consumer cancelled before that is known: the tag's new consumer lives."""
    rejected: list[int] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.expect(spec.Basic.Cancel)
        session.expect(spec.Basic.Consume)
        session.send(
            method(number, spec.Basic.Cancel(tag, True)),
            delivery(number, tag, 1, b"late"),
            method(number, spec.Basic.ConsumeOk(tag)),
            delivery(number, tag, 2, b"new"),
        )
        if not auto_ack:
            rejected.append(session.expect(spec.Basic.Reject).method.delivery_tag)
        session.send(method(number, spec.Basic.Cancel(tag, True)))
        session.close_politely()

    with opened_on(script) as connection:
        channel, log = open_channel(connection), connection.log
        channel.add_on_cancel_callback(lambda it: log.append(it.method.consumer_tag))
        call(connection, channel.basic_consume, "queue", print, auto_ack, consumer_tag="tag")
        channel.basic_cancel("tag")
        channel.basic_consume(
            "other", lambda it, method, properties, body: log.append(body), auto_ack, consumer_tag="tag"
        )
        assert channel.consumer_tags == ["tag"]
        connection.run(lambda: "tag" in log)
        # What needs no acknowledgement cannot be put back: whoever has the tag gets it.
        assert log == ([b"late"] if auto_ack else []) + [b"new", "tag"]
        assert channel.consumer_tags == []
    assert rejected == ([] if auto_ack else [1])


def test_a_tag_is_not_free_for_another_kind_of_consumer_behind_a_cancel_that_asks_for_no_answer(
    connection: PlainConnection, channel: Channel, queue: str
) -> None:
    """Its late deliveries could not be told from the new one's, which are acknowledged otherwise."""
    call(connection, channel.basic_consume, queue, print, consumer_tag="tag")
    channel.basic_cancel("tag")
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume(queue, print, auto_ack=True, consumer_tag="tag")
    assert channel.consumer_tags == []
    call(connection, channel.basic_consume, queue, print, consumer_tag="tag")
    assert channel.consumer_tags == ["tag"]


def test_a_cancel_that_awaits_an_answer_gets_one() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.send(method(number, spec.Basic.Cancel(tag, False)))
        assert session.expect(spec.Basic.CancelOk).method.consumer_tag == tag
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        channel.add_on_cancel_callback(connection.log.append)
        call(connection, channel.basic_consume, "queue", print, consumer_tag="tag")
        connection.run(lambda: connection.log)


# What is delivered late


def test_late_deliveries_after_a_cancel() -> None:
    """What needs an acknowledgement is put back; what needs none would be lost, and still reaches its consumer."""
    rejected: list[tuple[int, bool]] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        for _ in range(2):
            session.accept_consumer()
        for base in (10, 20):
            asked = session.expect(spec.Basic.Cancel)
            number, tag = asked.channel_number, asked.method.consumer_tag
            session.send(
                delivery(number, tag, base, b"late"),
                delivery(number, tag, base + 1, b"later"),
                method(number, spec.Basic.CancelOk(tag)),
            )
        for _ in range(2):
            refused = session.expect(spec.Basic.Reject).method
            rejected.append((refused.delivery_tag, refused.requeue))
        session.close_politely()

    with opened_on(script) as connection:
        log = connection.log
        channel = open_channel(connection)

        def on_message(it: Channel, method: Any, properties: Any, body: bytes) -> None:
            log.append((method.consumer_tag, body))

        call(connection, channel.basic_consume, "queue", on_message, consumer_tag="acked")
        call(connection, channel.basic_consume, "queue", on_message, auto_ack=True, consumer_tag="no-ack")
        channel.basic_cancel("no-ack", callback=lambda answer: log.append("no-ack cancelled"))
        channel.basic_cancel("acked", callback=lambda answer: log.append("acked cancelled"))
        connection.run(lambda: "acked cancelled" in log)
        connection.run(lambda: len(rejected) == 2)
        assert log == [("no-ack", b"late"), ("no-ack", b"later"), "no-ack cancelled", "acked cancelled"]
    assert rejected == [(20, True), (21, True)]


def test_late_deliveries_after_a_cancel_that_asks_for_no_answer() -> None:
    rejected: list[int] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        assert session.expect(spec.Basic.Cancel).method.nowait
        session.send(delivery(number, tag, 5, b"late"))
        rejected.append(session.expect(spec.Basic.Reject).method.delivery_tag)
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        call(connection, channel.basic_consume, "queue", lambda *message: connection.log.append(message))
        channel.basic_cancel(channel.consumer_tags[0])
        assert channel.consumer_tags == []
        connection.run(lambda: rejected)
        assert connection.log == [] and connection.is_open
    assert rejected == [5]
