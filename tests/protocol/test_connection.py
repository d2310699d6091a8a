"""An open connection: alarms, secrets, closing in every order, and what is sent before what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import exceptions, protocol, spec
from pika.protocol import ChannelState, ConnectionState
from tests.protocol.broker import (
    PEER,
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

CLOSE = spec.Connection.Close(320, "CONNECTION_FORCED - stopped", 0, 0)
CLOSE_OK = spec.Connection.CloseOk()


@pytest.fixture
def broker() -> Broker:
    return connected()


def closed(events: list[protocol.Event]) -> BaseException:
    (event,) = events
    assert isinstance(event, protocol.Closed)
    return event.error


# Alarms and secrets


def test_blocked_and_unblocked(broker: Broker) -> None:
    blocked = spec.Connection.Blocked("low on memory")
    assert broker.send(method(0, blocked)) == [protocol.ConnectionBlocked(blocked)]
    assert broker.connection.blocked == "low on memory"
    unblocked = spec.Connection.Unblocked()
    assert broker.send(method(0, unblocked)) == [protocol.ConnectionUnblocked(unblocked)]
    assert broker.connection.blocked is None


def test_a_closed_connection_is_not_blocked(broker: Broker) -> None:
    broker.send(method(0, spec.Connection.Blocked("")))
    assert broker.connection.blocked == ""
    broker.send(method(0, CLOSE))
    assert broker.connection.blocked is None


def test_secrets_are_updated_one_behind_the_other(broker: Broker) -> None:
    first = broker.connection.update_secret("one", "expires")
    second = broker.connection.update_secret("two", "expires")
    assert [item.new_secret for item in broker.methods()] == [b"one", b"two"]
    answer = method(0, spec.Connection.UpdateSecretOk())
    assert broker.send(answer) == [protocol.Replied(None, first)]
    assert not second.done
    assert broker.send(answer) == [protocol.Replied(None, second)]
    assert isinstance(closed(broker.send(answer)).__cause__, exceptions.UnexpectedFrameError)


def test_a_secret_that_cannot_be_sent_changes_nothing() -> None:
    broker = connected(spec.Connection.Tune(0, 4096, 0))
    with pytest.raises(ValueError, match=r"new secret takes 5,\d+ octets .* 4,096"):
        broker.connection.update_secret("x" * 5000, "expires")
    with pytest.raises(exceptions.ShortStringTooLong):
        broker.connection.update_secret("x", "e" * 256)
    assert broker.wire() == []
    reply = broker.connection.update_secret("good", "expires")
    broker.send(method(0, spec.Connection.UpdateSecretOk()))
    assert reply.done


def test_arguments_that_do_not_fit_into_a_frame_change_nothing() -> None:
    broker = connected(spec.Connection.Tune(0, 4096, 0))
    channel = open_channel(broker)
    with pytest.raises(ValueError, match=r"arguments of Queue.Declare take 5,\d+ octets .* 4,096"):
        channel.queue_declare("q", arguments={"a": "x" * 5000})
    with pytest.raises(ValueError, match="4,096"):
        channel.basic_consume("q", "tag", arguments={"a": "x" * 5000})
    assert (channel.unanswered, channel.consumers) == (0, {})
    assert broker.wire() == []


# Closing


def test_my_close(broker: Broker) -> None:
    broker.connection.close(321, "bye")
    assert broker.connection.state is ConnectionState.CLOSING
    (sent,) = broker.methods()
    assert (sent.reply_code, sent.reply_text) == (321, "bye")
    error = closed(broker.send(method(0, CLOSE_OK)))
    assert isinstance(error, exceptions.ConnectionClosedByClient)
    assert error.args == (321, "bye")
    assert broker.connection.error is error


@pytest.mark.parametrize("answered", [(), (1,), (2, 1), (1, 2)])
def test_my_close_closes_the_channels_first(broker: Broker, answered: tuple[int, ...]) -> None:
    for _ in range(2):
        open_channel(broker)
    broker.connection.close(321, "bye")
    sent = broker.methods()
    assert [type(each) for each in sent] == [spec.Channel.Close, spec.Channel.Close, spec.Connection.Close]
    assert {(each.reply_code, each.reply_text) for each in sent} == {(321, "bye")}
    # RabbitMQ leaves out what it did not get to before connection.close-ok.
    answers = [*(method(number, spec.Channel.CloseOk()) for number in answered), method(0, CLOSE_OK)]
    broker.connection.receive_data(b"".join(answers), 0.0)
    ended = []
    for _ in range(2):
        event = broker.connection.next_event()
        assert isinstance(event, protocol.ChannelClosed)
        assert isinstance(event.error, exceptions.ChannelClosedByClient) and event.error.args == (321, "bye")
        assert event.channel.state is ChannelState.CLOSED and event.channel.error is event.error
        assert f"{PEER}; channel {event.channel.number}" in str(event.error)
        assert broker.connection.state is ConnectionState.CLOSING
        ended.append(event.channel.number)
    assert ended == [*answered, *(number for number in (1, 2) if number not in answered)]
    assert isinstance(closed(list(broker.connection.events())), exceptions.ConnectionClosedByClient)
    assert broker.connection.channels == {}


def test_channels_that_were_closing_keep_their_reason(broker: Broker) -> None:
    closing, crossing = open_channel(broker), open_channel(broker)
    for channel in (closing, crossing):
        channel.close(7, "mine")
    never = broker.connection.open_channel()
    broker.send(method(2, spec.Channel.Close(404, "NOT_FOUND", 50, 10)))
    broker.frames()
    broker.connection.close()
    assert broker.wire() == ["Connection.Close"]
    first, second, last = broker.send(method(0, CLOSE_OK))
    assert isinstance(first, protocol.ChannelClosed) and isinstance(second, protocol.ChannelClosed)
    assert (first.channel, first.error.args, first.method) == (closing, (7, "mine"), None)
    assert (second.channel, second.error.args) == (crossing, (404, "NOT_FOUND"))
    assert second.method is not None and (second.method.class_id, second.method.method_id) == (50, 10)
    assert isinstance(last, protocol.Closed)
    with pytest.raises(exceptions.ChannelWrongStateError):
        never.open()


def test_closing_twice(broker: Broker) -> None:
    broker.connection.close()
    with pytest.raises(exceptions.ConnectionWrongStateError, match=f"{PEER} is CLOSING, not open"):
        broker.connection.close()
    broker.send(method(0, CLOSE_OK))
    with pytest.raises(exceptions.ConnectionWrongStateError, match="CLOSED, not open: ConnectionClosedByClient"):
        broker.connection.close()
    with pytest.raises(exceptions.ConnectionWrongStateError):
        broker.connection.update_secret("x", "y")


def test_a_close_text_that_is_too_long_changes_nothing(broker: Broker) -> None:
    with pytest.raises(exceptions.ShortStringTooLong):
        broker.connection.close(200, "x" * 256)
    assert broker.connection.state is ConnectionState.OPEN
    assert broker.wire() == []


def test_their_close(broker: Broker) -> None:
    channel = open_channel(broker)
    error = closed(broker.send(method(0, CLOSE)))
    assert isinstance(error, exceptions.ConnectionClosedByBroker)
    assert error.args == (320, "CONNECTION_FORCED - stopped")
    assert broker.wire() == ["Connection.CloseOk"]
    assert channel.error is error
    with pytest.raises(exceptions.ChannelWrongStateError, match="CONNECTION_FORCED"):
        channel.basic_ack(1)


def test_both_close_at_once(broker: Broker) -> None:
    broker.connection.close()
    error = closed(broker.send(method(0, CLOSE)))
    assert isinstance(error, exceptions.ConnectionClosedByBroker)
    assert broker.wire() == ["Connection.Close", "Connection.CloseOk"]
    assert broker.send(method(0, CLOSE_OK)) == []


def test_nothing_is_asked_of_the_channels_of_a_closing_connection(broker: Broker) -> None:
    channel = open_channel(broker)
    opening = broker.connection.open_channel()
    opening.open()
    broker.frames()
    broker.connection.close()
    for item in (channel, opening):
        with pytest.raises(exceptions.ChannelWrongStateError, match=r"closing\. \[ChannelClosedByClient"):
            item.basic_publish("", "key", b"lost")
        with pytest.raises(exceptions.ChannelWrongStateError):
            item.close()
    assert broker.wire() == ["Channel.Close"]
    assert [type(event) for event in broker.send(method(2, spec.Channel.OpenOk()))] == [protocol.Replied]
    assert opening.state is ChannelState.CLOSING
    assert broker.wire() == ["Channel.Close", "Connection.Close"]


def test_what_was_asked_before_is_sent_before_the_close(broker: Broker) -> None:
    channel = open_channel(broker)
    other = open_channel(broker)
    channel.basic_qos(0, 1)
    bound = channel.queue_bind("q", "e")
    other.tx_commit()
    other.basic_publish("", "key", b"")
    broker.connection.close()
    assert broker.wire() == ["Basic.Qos", "Tx.Commit"]
    broker.send(method(1, spec.Basic.QosOk()))
    assert broker.wire() == ["Queue.Bind"]
    broker.send(method(2, spec.Tx.CommitOk()))
    assert broker.wire() == ["Basic.Publish", "Header", "Channel.Close"]
    broker.send(method(1, spec.Queue.BindOk()))
    assert bound is not None
    assert bound.done and bound.error is None
    assert broker.wire() == ["Channel.Close", "Connection.Close"]
    events = broker.send(method(1, spec.Channel.CloseOk()), method(2, spec.Channel.CloseOk()), method(0, CLOSE_OK))
    assert [type(event) for event in events] == [protocol.ChannelClosed, protocol.ChannelClosed, protocol.Closed]


@pytest.mark.parametrize("body", [b"", b"body"])
def test_the_end_of_a_message_sends_what_waited_and_the_close(broker: Broker, body: bytes) -> None:
    channel = open_channel(broker)
    channel.basic_get("q")
    channel.basic_publish("", "key", b"x")
    channel.queue_bind("q", "exchange", nowait=True)
    channel.basic_publish("", "key", b"y")
    broker.connection.close()
    assert broker.wire() == ["Basic.Get", "Basic.Publish", "Header", "Body"]
    broker.send(content(1, spec.Basic.GetOk(1, False, "", "q", 0), body))
    assert broker.wire() == ["Queue.Bind", "Basic.Publish", "Header", "Body", "Channel.Close", "Connection.Close"]


def test_a_channel_that_the_broker_closes_no_longer_holds_up_my_close(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.basic_qos(0, 1)
    waiting = channel.queue_bind("q", "e")
    broker.connection.close()
    broker.frames()
    events = broker.send(method(1, spec.Channel.Close(404, "NOT_FOUND", 0, 0)))
    assert [type(event) for event in events] == [protocol.ChannelClosed]
    assert broker.wire() == ["Channel.CloseOk", "Connection.Close"]
    assert waiting is not None
    assert isinstance(waiting.error, exceptions.ChannelClosedByBroker)


def test_an_answer_to_a_close_that_was_not_sent_is_a_violation(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.basic_qos(0, 1)
    channel.basic_qos(0, 2)
    broker.connection.close()
    assert isinstance(closed(broker.send(method(0, CLOSE_OK))).__cause__, exceptions.UnexpectedFrameError)


def test_a_closing_connection_drops_deliveries_and_takes_answers(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    got = open_channel(broker).basic_get("q")
    reply = channel.queue_declare("q")
    broker.connection.close()
    broker.frames()
    events = broker.send(
        deliver(1, "tag"),
        method(1, spec.Queue.DeclareOk("q", 0, 0)),
        content(2, spec.Basic.GetOk(1, False, "", "key", 0), b"body"),
        method(0, spec.Connection.Blocked("memory")),
    )
    assert [type(event) for event in events] == [protocol.Replied, protocol.Replied, protocol.ConnectionBlocked]
    assert reply is not None and reply.done
    assert got is not None and got.content is not None
    assert broker.wire() == ["Channel.Close", "Channel.Close", "Connection.Close"]
    assert broker.send(deliver(1, "tag", 2), deliver(2, "nobody", 1)) == []


@pytest.mark.parametrize("closing", [False, True])
def test_the_stream_is_lost(broker: Broker, closing: bool) -> None:
    channel = open_channel(broker)
    if closing:
        broker.connection.close()
    lost = exceptions.StreamLostError("gone")
    broker.connection.stream_lost(lost)
    assert broker.connection.state is not ConnectionState.CLOSED
    assert closed(list(broker.connection.events())) is lost
    assert channel.error is lost
    assert lost.context.startswith(f"{PEER}; ")


def test_what_arrived_comes_out_before_the_loss(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    broker.connection.stream_lost(ConnectionResetError("reset"))
    events = broker.send(deliver(1, "tag", 1), deliver(1, "tag", 2)[:-1])
    assert [type(event) for event in events] == [protocol.Delivery, protocol.Closed]
    assert isinstance(broker.connection.error, ConnectionResetError)


def test_acks_made_on_the_way_to_their_close_go_out_before_close_ok(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    stream = deliver(1, "tag", 1) + deliver(1, "tag", 2) + method(0, CLOSE)
    broker.connection.receive_data(stream, 0.0)
    for event in broker.connection.events():
        if isinstance(event, protocol.Delivery):
            assert broker.connection.state is ConnectionState.OPEN
            channel.basic_ack(event.method.delivery_tag)
    assert broker.wire() == ["Basic.Ack", "Basic.Ack", "Connection.CloseOk"]


def test_what_a_callback_does_governs_the_next_frame(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    broker.connection.receive_data(deliver(1, "tag", 1) + deliver(1, "tag", 2) + deliver(1, "tag", 3), 0.0)
    first = broker.connection.next_event()
    assert isinstance(first, protocol.Delivery)
    channel.basic_cancel("tag")
    assert broker.connection.next_event() is None
    assert broker.wire() == ["Basic.Cancel", "Basic.Reject", "Basic.Reject"]


def test_bytes_behind_the_end_are_forgotten(broker: Broker) -> None:
    broker.send(method(0, CLOSE))
    assert broker.send(deliver(1, "tag") * 100, method(0, CLOSE)) == []
    assert broker.wire() == ["Connection.CloseOk"]
    assert repr(broker.connection) == f"<Connection to {PEER} CLOSED>"
    assert broker.connection.phase == "closed connection"


def test_a_violation_is_told_to_the_broker(broker: Broker) -> None:
    error = closed(broker.send(b"\x01\x00\x01\x00\x00\x00\x00\x00"))
    assert isinstance(error, exceptions.StreamLostError)
    assert str(error).startswith(f"{PEER} broke the protocol: ")
    (told,) = broker.methods()
    assert told.reply_code == spec.FRAME_ERROR
    assert told.reply_text in str(error)


# The shape of a stream makes no difference


def scripts() -> st.SearchStrategy[list[bytes]]:
    """Draw what a broker may say to a client with a consumer, sense and nonsense."""
    big = content(1, spec.Basic.Deliver("tag", 4, False, "", "k"), b"y" * 5000, frame_max=4096)
    whole = deliver(1, "tag", 1)
    return st.lists(
        st.sampled_from(
            [
                whole,
                deliver(1, "tag", 2, b""),
                deliver(1, "tag", 3, b"") + body(1, b""),
                deliver(1, "cancelled", 1),
                deliver(1, "stranger", 1),
                deliver(2, "tag", 1),
                big,
                whole.replace(b"\xce", b"\x00", 1),
                whole[:-6] + b"wrong\xce",
                method(1, spec.Basic.Deliver("tag", 1, False, "", "k")),
                header(1, 5),
                body(1, b"abc"),
                body(1, b""),
                raw_frame(1, 1, b"\x00\x3c\x00\x3c"),
                raw_frame(1, 1, b"\x00\x3c"),
                method(1, spec.Basic.Deliver("tag", 1, False, "", "k")) + raw_frame(2, 1, b"\x00\x3c\x00\x00"),
                method(1, spec.Basic.CancelOk("cancelled")),
                method(1, spec.Basic.Cancel("tag", True)),
                method(1, spec.Channel.Close(404, "NOT_FOUND", 0, 0)),
                b"\x08\0\0\0\0\0\0\xce",
                b"\x09",
            ]
        ),
        max_size=8,
    )


@given(scripts(), st.integers(1, 40))
def test_any_split_gives_the_same_events_and_answers(script: list[bytes], step: int) -> None:
    seen = []
    for size in (10**6, step):
        broker = connected()
        channel = open_channel(broker)
        consume(broker, channel)
        consume(broker, channel, "cancelled")
        channel.basic_cancel("cancelled")
        stream = b"".join(script)
        events = []
        for start in range(0, len(stream), size):
            events += broker.send(stream[start : start + size])
        summary = [(type(event), getattr(event, "method", None), getattr(event, "body", None)) for event in events]
        # The text of a violation shows what has arrived, which differs.
        sent = [(item.NAME, getattr(item, "reply_code", vars(item))) for item in broker.methods()]
        seen.append((summary, sent, broker.connection.state, channel.state, type(broker.connection.error)))
    assert seen[0] == seen[1]
