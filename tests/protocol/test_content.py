"""Contents: messages in any cut, out of order, too long and too large."""

from __future__ import annotations

from typing import Any

import pytest

from pika import exceptions, protocol, spec
from pika.amqp_object import Method
from tests.protocol.broker import (
    Broker,
    body,
    connected,
    consume,
    content,
    deliver,
    header,
    method,
    open_channel,
    raw_frame,
)

PROPERTIES = spec.BasicProperties(content_type="text/plain", headers={"a": 1})
DELIVER = spec.Basic.Deliver("tag", 1, False, "exchange", "key")
OPENINGS: list[Method] = [
    DELIVER,
    spec.Basic.GetOk(1, False, "exchange", "key", 5),
    spec.Basic.Return(312, "NO_ROUTE", "exchange", "key"),
]


def ready(**changes: Any) -> tuple[Broker, protocol.Channel]:
    """Return a broker and a channel that awaits every kind of content."""
    broker = connected(**changes)
    channel = open_channel(broker)
    consume(broker, channel)
    channel.basic_get("queue")
    broker.frames()
    return broker, channel


def message(events: list[protocol.Event]) -> tuple[Method, spec.BasicProperties, bytes]:
    """Return what came with the only event."""
    (event,) = events
    if isinstance(event, protocol.Replied):
        assert event.reply.content is not None
        return event.reply.result(), *event.reply.content
    assert isinstance(event, (protocol.Delivery, protocol.Returned))
    return event.method, event.properties, event.body


def violation(broker: Broker, events: list[protocol.Event]) -> BaseException:
    """Return what the only event, Closed, says that the broker did."""
    (event,) = events
    assert isinstance(event, protocol.Closed)
    assert broker.connection.state is protocol.ConnectionState.CLOSED
    assert event.error.__cause__ is not None
    return event.error.__cause__


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 50_000])
@pytest.mark.parametrize("opening", OPENINGS)
def test_a_message_of_any_size(opening: Method, size: int) -> None:
    broker, channel = ready()
    payload = bytes(index % 251 for index in range(size))
    data = content(1, opening, payload, PROPERTIES)
    assert message(broker.send(data)) == (opening, PROPERTIES, payload)
    assert broker.connection.state is protocol.ConnectionState.OPEN
    assert channel.state is protocol.ChannelState.OPEN


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_message_in_any_split(step: int) -> None:
    broker, _ = ready()
    data = content(1, DELIVER, b"x" * 9000, PROPERTIES)
    events = []
    for start in range(0, len(data), step):
        events += broker.send(data[start : start + step])
    assert message(events) == (DELIVER, PROPERTIES, b"x" * 9000)


def test_empty_body_frames_are_legal_where_a_body_is_due() -> None:
    broker, _ = ready()
    pieces = [body(1, b""), body(1, b"ab"), body(1, b""), body(1, b"c")]
    assert message(broker.send(method(1, DELIVER), header(1, 3), *pieces))[2] == b"abc"


def test_contents_of_channels_may_alternate() -> None:
    broker, first = ready()
    second = open_channel(broker)
    consume(broker, second)
    events = broker.send(
        method(1, DELIVER),
        method(2, DELIVER),
        header(2, 2),
        header(1, 2),
        body(1, b"1"),
        body(2, b"2"),
        body(2, b"2"),
        b"\x08\0\0\0\0\0\0\xce",
        method(0, spec.Connection.Blocked("memory")),
        body(1, b"1"),
    )
    deliveries = [event for event in events if isinstance(event, protocol.Delivery)]
    assert [(event.channel, event.body) for event in deliveries] == [(second, b"22"), (first, b"11")]


@pytest.mark.parametrize("sizes", [(3, b"abcd"), (1, b"ab" * 2000)])
def test_a_body_that_is_too_long(sizes: tuple[int, bytes]) -> None:
    size, fragment = sizes
    broker, _ = ready()
    cause = violation(broker, broker.send(method(1, DELIVER), header(1, size), body(1, fragment)))
    assert isinstance(cause, exceptions.BodyTooLongError)
    assert cause.args == (len(fragment), size)
    (told,) = broker.methods()
    assert (told.NAME, told.reply_code) == ("Connection.Close", spec.UNEXPECTED_FRAME)


def test_a_body_that_gets_too_long_says_all_that_was_received() -> None:
    broker, _ = ready()
    cause = violation(broker, broker.send(method(1, DELIVER), header(1, 5), body(1, b"abcd"), body(1, b"abcd")))
    assert cause.args == (8, 5)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([header(1, 3)], "content header"),
        ([body(1, b"x")], "body frame"),
        ([body(1, b"")], "body frame"),
        ([method(1, DELIVER), header(1, 3), header(1, 3)], "content header"),
        ([method(1, DELIVER), header(1, 3), deliver(1, "tag")], "inside the content of Basic.Deliver"),
        ([method(1, DELIVER), body(1, b"x")], "body frame"),
        ([method(1, DELIVER), method(1, DELIVER)], "Basic.Deliver on channel 1, inside the content of Basic.Deliver"),
        ([method(1, DELIVER), header(1, 3), method(1, spec.Basic.QosOk())], "inside the content"),
        ([method(1, DELIVER), header(1, 3), method(1, spec.Basic.Ack(1))], "inside the content"),
        ([content(1, DELIVER, b""), body(1, b"x")], "body frame"),
        ([header(0, 3)], "content frame of type 2 on channel 0"),
        ([body(0, b"x")], "content frame of type 3 on channel 0"),
        ([header(9, 3)], "channel 9, which is not open"),
        ([body(9, b"x")], "channel 9, which is not open"),
        ([method(9, DELIVER)], "channel 9, which is not open"),
    ],
)
def test_frames_out_of_order(data: list[bytes], text: str) -> None:
    broker, channel = ready()
    events = [event for event in broker.send(*data) if not isinstance(event, protocol.Delivery)]
    cause = violation(broker, events)
    assert isinstance(cause, exceptions.UnexpectedFrameError)
    assert text in str(cause)
    assert channel.state is protocol.ChannelState.CLOSED


@pytest.mark.parametrize("payload", [b"", b"\x00\x3c\x00\x00", b"\x00\x32" + b"\0" * 12, b"\x00\x3c" + b"\xff" * 14])
def test_a_malformed_header(payload: bytes) -> None:
    broker, _ = ready()
    cause = violation(broker, broker.send(method(1, DELIVER), raw_frame(2, 1, payload)))
    assert isinstance(cause, exceptions.InvalidFrameError)
    (told,) = broker.methods()
    assert told.reply_code == spec.FRAME_ERROR


@pytest.mark.parametrize("size", [1001, 2**32, 2**63, 2**64 - 1])
@pytest.mark.parametrize("opening", OPENINGS)
def test_a_message_that_is_too_large_closes_its_channel(opening: Method, size: int) -> None:
    broker, channel = ready(max_message_size=1000)
    other = open_channel(broker)
    consume(broker, other)
    (get,) = [channel.confirm_select()]
    assert broker.send(method(1, opening), header(1, size)) == []
    assert channel.state is protocol.ChannelState.CLOSING
    (told,) = broker.methods()
    assert (told.NAME, told.reply_code) == ("Channel.Close", 311)
    assert f"{opening.NAME} announces a body of {size:,} octets" in told.reply_text
    assert get is not None
    assert isinstance(get.error, exceptions.ChannelClosedByClient)
    # The rest of it is skipped, and what was asked before is answered to nobody.
    assert broker.send(body(1, b"x" * 500), body(1, b""), method(1, spec.Confirm.SelectOk()), deliver(1, "tag")) == []
    assert len(broker.send(deliver(other.number, "tag"))) == 1
    (event,) = broker.send(method(1, spec.Channel.CloseOk()))
    assert isinstance(event, protocol.ChannelClosed)
    assert event.error is channel.error is get.error
    assert channel.error.args[0] == 311
    assert open_channel(broker).number == 1


def test_the_largest_message_is_taken() -> None:
    broker, _ = ready(max_message_size=1000)
    assert message(broker.send(content(1, DELIVER, b"x" * 1000)))[2] == b"x" * 1000


def test_a_message_that_is_too_large_for_a_closing_channel() -> None:
    broker, channel = ready(max_message_size=1000)
    broker.send(method(1, spec.Basic.GetEmpty()))
    channel.close()
    broker.frames()
    assert broker.send(method(1, DELIVER), header(1, 1001), body(1, b"x" * 1001)) == []
    assert broker.wire() == []
    (event,) = broker.send(method(1, spec.Channel.CloseOk()))
    assert isinstance(event, protocol.ChannelClosed)
    assert event.error.args == (200, "Normal shutdown")


@pytest.mark.parametrize("closing", ["channel", "connection"])
def test_a_message_that_is_too_large_answers_the_get_that_a_close_waits_for(closing: str) -> None:
    broker = connected(max_message_size=1000)
    channel = open_channel(broker)
    got, declared = channel.basic_get("queue"), channel.queue_declare("queue")
    if closing == "channel":
        channel.close()
    else:
        broker.connection.close()
    assert broker.wire() == ["Basic.Get"]
    assert broker.send(method(1, spec.Basic.GetOk(1, False, "", "key", 0)), header(1, 1001)) == []
    with pytest.raises(exceptions.ChannelClosedByClient, match="CONTENT_TOO_LARGE"):
        got.result()
    assert broker.wire() == ["Queue.Declare"]
    # The rest of the body is dropped.
    broker.send(body(1, b"x" * 1001), method(1, spec.Queue.DeclareOk("queue", 0, 0)))
    assert declared is not None and declared.done
    assert broker.wire() == ["Channel.Close", "Connection.Close"][: 1 if closing == "channel" else 2]
    (event,) = broker.send(method(1, spec.Channel.CloseOk()))
    assert isinstance(event, protocol.ChannelClosed)
    assert event.error.args == (200, "Normal shutdown")


def test_a_skipped_body_that_is_longer_than_announced_is_a_violation() -> None:
    broker, _ = ready(max_message_size=10)
    assert broker.send(method(1, DELIVER), header(1, 20), body(1, b"x" * 20)) == []
    violation(broker, broker.send(body(1, b"x")))


def test_properties_may_be_larger_than_frame_max() -> None:
    # RabbitMQ cuts only bodies to the frame_max that was negotiated.
    broker = connected(spec.Connection.Tune(0, 4096, 0))
    channel = open_channel(broker)
    consume(broker, channel)
    properties = spec.BasicProperties(headers={"a": "b" * 50_000})
    assert message(broker.send(content(1, DELIVER, b"x", properties, 131072)))[1] == properties


def test_properties_may_be_as_large_as_the_broker_lets_others_publish() -> None:
    broker = connected(spec.Connection.Tune(0, 1_000_000, 0))
    assert broker.connection.frame_max == 131072
    channel = open_channel(broker)
    consume(broker, channel)
    properties = spec.BasicProperties(headers={"a": "b" * 500_000})
    assert message(broker.send(content(1, DELIVER, b"x", properties, 1_000_000)))[1] == properties


@pytest.mark.parametrize(
    ("proposed", "size"), [(4096, 131065), (131072, 131065), (1_000_000, 999_993), (0, 0xFFFFFFFF)]
)
def test_a_frame_that_announces_too_much_is_refused_at_once(proposed: int, size: int) -> None:
    broker = connected(spec.Connection.Tune(0, proposed, 0))
    cause = violation(broker, broker.send(b"\x01\x00\x00" + size.to_bytes(4, "big")))
    assert isinstance(cause, exceptions.InvalidFrameError)
    assert f"{size:,} octets" in str(cause)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (raw_frame(1, 1, b"\x00\x63\x00\x07"), "unknown method: class 99, method 7"),
        (raw_frame(1, 0, b"\x00\x0a\x00\x63"), "unknown method: class 10, method 99"),
        (raw_frame(9, 1, b""), "unknown frame type 9"),
        (raw_frame(1, 1, b"\x00"), "payload of 1 octets"),
        (method(1, spec.Basic.QosOk())[:-1] + b"\x00", "octet 0"),
    ],
)
def test_what_is_unknown_is_named(data: bytes, text: str) -> None:
    broker, _ = ready()
    assert text in str(violation(broker, broker.send(data)))
    (told,) = broker.methods()
    assert told.reply_code == spec.FRAME_ERROR
    assert text in told.reply_text


def test_the_broker_is_told_in_a_text_that_fits() -> None:
    broker, _ = ready()
    stranger = "\U0001f407" * 63
    cause = violation(broker, broker.send(deliver(1, stranger)))
    assert stranger in str(cause)
    (told,) = broker.methods()
    assert "consumer" in told.reply_text


def test_a_tag_that_is_no_utf8_is_answered_as_it_came() -> None:
    broker, channel = ready()
    data = method(1, spec.Basic.Cancel("tag", False)).replace(b"\x03tag", b"\x03\xff\xfeg")
    broker.send(data)
    (answer,) = broker.methods()
    assert b"".join(answer.encode()) == b"\x03\xff\xfeg"
    assert channel.consumers == {"tag": False}
