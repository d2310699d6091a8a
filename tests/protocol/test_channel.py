"""Channels: numbers, opening and closing in every order, consumers."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pika import exceptions, protocol, spec
from pika.amqp_object import Method
from pika.protocol import ChannelState
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
)
from tests.support.memory import traced

CLOSE = spec.Channel.Close(404, "NOT_FOUND - no queue", 50, 10)
CLOSE_OK = spec.Channel.CloseOk()


@pytest.fixture
def broker() -> Broker:
    return connected()


def kinds(events: list[protocol.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def closing_error(events: list[protocol.Event]) -> BaseException:
    """Return the reason of the last event, ChannelClosed."""
    assert isinstance(events[-1], protocol.ChannelClosed)
    return events[-1].error


def assert_alive(broker: Broker) -> None:
    """Check that the connection still works."""
    broker.frames()
    other = open_channel(broker)
    reply = other.queue_declare("alive")
    broker.send(method(other.number, spec.Queue.DeclareOk("alive", 0, 0)))
    assert reply is not None
    assert reply.result().queue == "alive"


# Numbers


def test_the_lowest_free_number_is_taken(broker: Broker) -> None:
    channels = [open_channel(broker) for _ in range(5)]
    assert [channel.number for channel in channels] == [1, 2, 3, 4, 5]
    for number in (4, 2):
        broker.send(method(number, CLOSE))
    broker.frames()
    assert [open_channel(broker).number for _ in range(3)] == [2, 4, 6]


def test_a_given_number_is_taken_and_skipped_later(broker: Broker) -> None:
    assert open_channel(broker, 2).number == 2
    assert open_channel(broker, 2047).number == 2047
    assert [open_channel(broker).number for _ in range(3)] == [1, 3, 4]
    broker.send(method(2, CLOSE))
    broker.frames()
    assert open_channel(broker, 2).number == 2
    assert open_channel(broker).number == 5


@pytest.mark.parametrize("number", [-1, 65536])
def test_numbers_out_of_range(broker: Broker, number: int) -> None:
    with pytest.raises(exceptions.InvalidChannelNumber, match=f"{number} is not between 1 and 65535") as caught:
        broker.connection.open_channel(number)
    assert isinstance(caught.value, struct.error)


def test_a_number_above_the_negotiated_maximum_is_the_brokers_to_judge(broker: Broker) -> None:
    assert open_channel(broker, 2048).number == 2048


def test_a_number_in_use(broker: Broker) -> None:
    open_channel(broker, 3)
    with pytest.raises(exceptions.InvalidChannelNumber, match="3 is in use"):
        broker.connection.open_channel(3)


def test_no_number_is_left() -> None:
    broker = connected(spec.Connection.Tune(3, 0, 0))
    for _ in range(3):
        open_channel(broker)
    with pytest.raises(exceptions.NoFreeChannels, match="allows 3"):
        broker.connection.open_channel()
    broker.send(method(2, CLOSE))
    broker.frames()
    assert open_channel(broker).number == 2


def test_using_one_number_again_and_again_costs_no_memory(broker: Broker) -> None:
    for _ in range(3):
        open_channel(broker)
    closed = method(2, CLOSE)
    broker.send(closed)
    opened = method(2, spec.Channel.OpenOk())

    def churn(times: int) -> None:
        for _ in range(times):
            broker.connection.open_channel(2).open()
            broker.send(opened, closed)
            broker.connection.data_to_send()

    churn(100)
    with traced() as memory:
        before = memory.get_traced_memory()[0]
        churn(5000)
        assert memory.get_traced_memory()[0] - before < 20_000


def test_a_channel_needs_an_open_connection(broker: Broker) -> None:
    broker.connection.close()
    with pytest.raises(exceptions.ConnectionWrongStateError, match="CLOSING, not open"):
        broker.connection.open_channel()


# Opening


def test_open(broker: Broker) -> None:
    channel = broker.connection.open_channel()
    assert channel.state is ChannelState.CLOSED
    with pytest.raises(exceptions.ChannelWrongStateError, match="Channel is closed"):
        channel.queue_declare("q")
    reply = channel.open()
    assert channel.state is ChannelState.OPENING
    with pytest.raises(exceptions.ChannelWrongStateError, match="Channel is opening"):
        channel.basic_publish("", "key", b"")
    assert broker.wire() == ["Channel.Open"]
    assert broker.send(method(1, spec.Channel.OpenOk())) == [protocol.Replied(channel, reply)]
    assert channel.state is ChannelState.OPEN
    assert repr(channel) == "<Channel 1 OPEN>"


@pytest.mark.parametrize("state", [ChannelState.OPENING, ChannelState.OPEN, ChannelState.CLOSING, ChannelState.CLOSED])
def test_a_channel_opens_once(broker: Broker, state: ChannelState) -> None:
    channel = broker.connection.open_channel()
    channel.open()
    if state is not ChannelState.OPENING:
        broker.send(method(1, spec.Channel.OpenOk()))
    if state in (ChannelState.CLOSING, ChannelState.CLOSED):
        channel.close()
    if state is ChannelState.CLOSED:
        broker.send(method(1, CLOSE_OK))
    broker.frames()
    assert channel.state is state
    with pytest.raises(exceptions.ChannelWrongStateError, match=f"Channel is {state.name.lower()}"):
        channel.open()
    assert broker.wire() == []


@pytest.mark.parametrize("ending", ["close", "closed", "lost"])
def test_a_channel_does_not_open_when_its_connection_is_gone(broker: Broker, ending: str) -> None:
    channel = broker.connection.open_channel()
    if ending == "close":
        broker.connection.close()
    elif ending == "closed":
        broker.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)))
    else:
        broker.connection.stream_lost(exceptions.StreamLostError("gone"))
        list(broker.connection.events())
    broker.frames()
    with pytest.raises(exceptions.ChannelWrongStateError, match=r"Channel is closed\. \["):
        channel.open()
    assert broker.wire() == []


@pytest.mark.parametrize(
    "data",
    [
        deliver(1, "tag"),
        content(1, spec.Basic.Return(312, "NO_ROUTE", "", "key")),
        method(1, spec.Channel.Flow(True)),
        method(1, spec.Basic.Cancel("tag")),
        method(1, spec.Basic.Ack(1)),
        method(1, CLOSE),
        method(1, CLOSE_OK),
        method(1, spec.Channel.OpenOk()),
        header(1, 0),
        body(1, b"x"),
        method(9, spec.Channel.OpenOk()),
    ],
)
def test_frames_on_a_channel_that_was_not_opened_are_a_violation(broker: Broker, data: bytes) -> None:
    broker.connection.open_channel()
    events = broker.send(data)
    assert kinds(events) == ["Closed"]
    assert "which is not open" in str(broker.connection.error)


@pytest.mark.parametrize("data", [method(1, CLOSE_OK), method(1, spec.Channel.OpenOk()), deliver(1, "tag")])
def test_frames_behind_the_end_of_a_channel_are_a_violation(broker: Broker, data: bytes) -> None:
    channel = open_channel(broker)
    channel.close()
    assert kinds(broker.send(method(1, CLOSE_OK))) == ["ChannelClosed"]
    assert kinds(broker.send(data)) == ["Closed"]


# Closing


def test_my_close(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.close(0, "bye")
    assert channel.state is ChannelState.CLOSING
    (sent,) = broker.methods()
    assert (sent.reply_code, sent.reply_text) == (0, "bye")
    events = broker.send(method(1, CLOSE_OK))
    assert kinds(events) == ["ChannelClosed"]
    error = closing_error(events)
    assert isinstance(error, exceptions.ChannelClosedByClient)
    assert error.args == (0, "bye")
    assert reply.result() == CLOSE_OK
    assert channel.error is error
    assert_alive(broker)


def test_closing_twice(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError, match="closing"):
        channel.close()
    broker.send(method(1, CLOSE_OK))
    with pytest.raises(exceptions.ChannelWrongStateError, match=r"closed\. \[\(200, 'Normal shutdown'\)"):
        channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_ack(1)


def test_their_close(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.queue_declare("q", passive=True)
    error = closing_error(broker.send(method(1, CLOSE)))
    assert isinstance(error, exceptions.ChannelClosedByBroker)
    assert error.args == (404, "NOT_FOUND - no queue")
    assert reply is not None
    with pytest.raises(exceptions.ChannelClosedByBroker):
        reply.result()
    assert broker.wire() == ["Queue.Declare", "Channel.CloseOk"]
    with pytest.raises(exceptions.ChannelWrongStateError, match="NOT_FOUND - no queue"):
        channel.basic_publish("", "key", b"")
    assert_alive(broker)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (spec.Queue.Declare, "; queue.declare"),
        (spec.Basic.Publish, "; basic.publish"),
        (spec.Basic.RecoverAsync, "; basic.recover-async"),
        (None, ""),
    ],
)
def test_what_the_broker_closes_a_channel_with_says_where(
    broker: Broker, refused: type[Method] | None, words: str
) -> None:
    channel = open_channel(broker)
    reply = channel.queue_declare("q", passive=True)
    class_id, method_id = divmod(0 if refused is None else refused.INDEX, 1 << 16)
    broker.send(method(1, spec.Channel.Close(404, "NOT_FOUND - no queue 'q'", class_id, method_id)))
    where = rf"no queue 'q'.* \[rabbit\.example:5672; channel 1{words}\]$"
    with pytest.raises(exceptions.ChannelClosedByBroker, match=where) as caught:
        reply.result()
    assert caught.value.args == (404, "NOT_FOUND - no queue 'q'")


def test_what_comes_too_late_says_why_in_one_pair_of_brackets(broker: Broker) -> None:
    channel = open_channel(broker)
    broker.send(method(1, spec.Channel.Close(404, "NOT_FOUND - no queue", 50, 10)))
    with pytest.raises(exceptions.ChannelWrongStateError) as caught:
        channel.basic_publish("", "key", b"")
    text = str(caught.value)
    assert text.startswith("Channel is closed. [(404, 'NOT_FOUND - no queue'); rabbit.example:5672; channel 1")
    assert (text.count("["), text.count("]"), text[-1]) == (1, 1, "]")


def test_their_close_while_opening(broker: Broker) -> None:
    channel = broker.connection.open_channel()
    reply = channel.open()
    assert closing_error(broker.send(method(1, CLOSE))) is reply.error
    assert channel.state is ChannelState.CLOSED
    assert_alive(broker)


def test_my_close_while_opening_waits_for_open_ok(broker: Broker) -> None:
    channel = broker.connection.open_channel()
    opened = channel.open()
    closed = channel.close()
    assert broker.wire() == ["Channel.Open"]
    broker.send(method(1, spec.Channel.OpenOk()))
    assert opened.done and channel.state is ChannelState.CLOSING
    assert broker.wire() == ["Channel.Close"]
    assert kinds(broker.send(method(1, CLOSE_OK))) == ["ChannelClosed"]
    assert closed.result() == CLOSE_OK


def test_both_close_at_once_and_theirs_comes_first(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.close()
    assert broker.send(method(1, CLOSE)) == []
    assert broker.wire() == ["Channel.Close", "Channel.CloseOk"]
    # The number is in use until the broker has answered.
    assert channel.state is ChannelState.CLOSING
    assert broker.connection.open_channel().number == 2
    error = closing_error(broker.send(method(1, CLOSE_OK)))
    assert isinstance(error, exceptions.ChannelClosedByBroker)
    assert channel.error is error
    assert reply.result() == CLOSE_OK
    assert broker.connection.open_channel().number == 1


def test_both_close_at_once_and_the_answer_is_all_that_comes(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.close()
    assert kinds(broker.send(method(1, CLOSE_OK))) == ["ChannelClosed"]
    assert kinds(broker.send(method(1, CLOSE))) == ["Closed"]


def test_their_close_makes_my_waiting_close_needless(broker: Broker) -> None:
    channel = open_channel(broker)
    consumed = channel.basic_consume("q", "tag")
    waiting = channel.basic_cancel("tag")
    closed = channel.close()
    assert broker.wire() == ["Basic.Consume"]
    error = closing_error(broker.send(method(1, CLOSE)))
    assert isinstance(error, exceptions.ChannelClosedByBroker)
    assert broker.wire() == ["Channel.CloseOk"]
    for reply in (consumed, waiting, closed):
        assert reply is not None
        assert reply.error is error
    assert channel.unanswered == 0
    assert broker.connection.open_channel().number == 1


def test_my_close_waits_behind_an_unanswered_consume(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.basic_consume("q", "tag")
    channel.close()
    assert broker.wire() == ["Basic.Consume"]
    assert broker.send(deliver(1, "tag")) == []
    assert kinds(broker.send(method(1, spec.Basic.ConsumeOk("tag")))) == ["Replied"]
    assert broker.wire() == ["Channel.Close"]


def test_my_close_with_declares_unanswered_and_waiting(broker: Broker) -> None:
    channel = open_channel(broker)
    replies = [channel.queue_declare("a"), channel.queue_declare("b"), channel.basic_qos(0, 1)]
    channel.basic_publish("", "a", b"x")
    channel.close()
    assert broker.wire() == ["Queue.Declare", "Queue.Declare"]
    broker.send(method(1, spec.Queue.DeclareOk("a", 0, 0), spec.Queue.DeclareOk("b", 0, 0)))
    assert broker.wire() == ["Basic.Qos", "Basic.Publish", "Header", "Body"]
    broker.send(method(1, spec.Basic.QosOk()))
    assert broker.wire() == ["Channel.Close"]
    assert all(reply is not None and reply.error is None and reply.done for reply in replies)


def test_their_close_inside_a_content(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    assert broker.send(deliver(1, "tag", payload=b"x" * 100)[:-60]) == []
    broker = connected()
    channel = open_channel(broker)
    consume(broker, channel)
    assert broker.send(method(1, spec.Basic.Deliver("tag", 1, False, "", "k")), header(1, 100), body(1, b"x")) == []
    assert kinds(broker.send(method(1, CLOSE))) == ["ChannelClosed"]
    assert_alive(broker)


def test_both_close_at_once_inside_a_content(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    channel.close()
    assert broker.send(method(1, spec.Basic.Deliver("tag", 1, False, "", "k")), header(1, 100), method(1, CLOSE)) == []
    assert kinds(broker.send(method(1, CLOSE_OK))) == ["ChannelClosed"]
    assert_alive(broker)


def test_deliveries_of_a_closing_channel_are_dropped(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    channel.close()
    assert broker.send(deliver(1, "tag"), deliver(1, "other")) == []
    assert broker.wire() == ["Channel.Close"]


def test_late_answers_are_dropped_once_my_close_is_sent(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.close()
    assert broker.send(method(1, spec.Queue.DeclareOk("q", 0, 0))) == []
    assert kinds(broker.send(method(1, CLOSE_OK))) == ["ChannelClosed"]


def test_a_close_text_that_is_too_long_changes_nothing(broker: Broker) -> None:
    channel = open_channel(broker)
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.close(200, "x" * 256)
    assert channel.state is ChannelState.OPEN
    assert broker.wire() == []


def test_a_closed_channels_consumers_are_gone(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    channel.basic_cancel("tag")
    consume_again = channel.consumers
    broker.send(method(1, CLOSE))
    assert (consume_again, channel.cancelled) == ({}, {})


# Consumers


def test_a_delivery_overtakes_consume_ok(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.basic_consume("q", "mine")
    events = broker.send(deliver(1, "mine"), method(1, spec.Basic.ConsumeOk("mine")))
    assert kinds(events) == ["Delivery", "Replied"]
    assert channel.consumers == {"mine": False}


@pytest.mark.parametrize("no_ack", [False, True])
def test_a_delivery_overtakes_consume_ok_of_a_tag_that_the_broker_chose(broker: Broker, no_ack: bool) -> None:
    channel = open_channel(broker)
    channel.basic_consume("q", no_ack=no_ack)
    events = broker.send(deliver(1, "amq.ctag-1"), method(1, spec.Basic.ConsumeOk("amq.ctag-1")))
    assert kinds(events) == ["Delivery", "Replied"]
    assert channel.consumers == {"amq.ctag-1": no_ack}


def test_consume_ok_brings_the_tag_that_the_broker_chose(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.basic_consume("q")
    broker.send(method(1, spec.Basic.ConsumeOk("amq.ctag-2")))
    assert reply is not None
    assert reply.result().consumer_tag == "amq.ctag-2"
    assert kinds(broker.send(deliver(1, "amq.ctag-2"))) == ["Delivery"]


def test_a_delivery_for_nobody_is_a_violation(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    assert kinds(broker.send(deliver(1, "stranger"))) == ["Closed"]
    assert "'stranger'" in str(broker.connection.error)


def test_a_tag_is_used_once(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume("other", "tag")
    channel.basic_cancel("tag")
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume("other", "tag")
    broker.send(method(1, spec.Basic.CancelOk("tag")))
    assert channel.basic_consume("other", "tag") is not None
    assert broker.wire() == ["Basic.Cancel", "Basic.Consume"]


def test_a_refused_consume_leaves_nothing_behind(broker: Broker) -> None:
    channel = open_channel(broker)
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.basic_consume("q" * 256, "tag")
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.basic_consume("q", "t" * 256)
    with pytest.raises(ValueError, match="needs a consumer tag"):
        channel.basic_consume("q", nowait=True)
    assert (channel.consumers, channel.unanswered) == ({}, 0)
    assert broker.wire() == []


def test_a_refused_cancel_leaves_the_consumer(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.basic_cancel("t" * 256)
    assert channel.consumers == {"tag": False}
    assert (channel.cancelled, channel.unanswered) == ({}, 0)


def test_late_deliveries_of_a_cancelled_consumer_go_back(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    channel.basic_cancel("tag")
    broker.frames()
    assert broker.send(deliver(1, "tag", 7)) == []
    assert broker.methods() == [spec.Basic.Reject(7, True)]
    assert kinds(broker.send(method(1, spec.Basic.CancelOk("tag")))) == ["Replied"]
    assert (channel.consumers, channel.cancelled) == ({}, {})


def test_late_deliveries_without_acknowledgement_come_out(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel, no_ack=True)
    channel.basic_cancel("tag")
    broker.frames()
    assert kinds(broker.send(deliver(1, "tag"))) == ["Delivery"]
    assert broker.wire() == []


@pytest.mark.parametrize("no_ack", [False, True])
@pytest.mark.parametrize("ending", ["cancel-ok", "nowait", "broker"])
def test_a_delivery_behind_the_end_of_its_consumer_kills_nothing(broker: Broker, no_ack: bool, ending: str) -> None:
    channel = open_channel(broker)
    consume(broker, channel, no_ack=no_ack)
    if ending == "broker":
        broker.send(method(1, spec.Basic.Cancel("tag", True)))
    else:
        channel.basic_cancel("tag", nowait=ending == "nowait")
    if ending == "cancel-ok":
        broker.send(method(1, spec.Basic.CancelOk("tag")))
    broker.frames()
    assert kinds(broker.send(deliver(1, "tag", 3))) == (["Delivery"] if no_ack else [])
    assert broker.wire() == ([] if no_ack else ["Basic.Reject"])
    consume(broker, channel, no_ack=no_ack if ending == "nowait" else not no_ack)
    assert kinds(broker.send(deliver(1, "tag", 4))) == ["Delivery"]


def test_the_consumers_remembered_are_bounded(broker: Broker) -> None:
    channel = open_channel(broker)
    for number in range(1100):
        tag = f"tag{number}"
        channel.basic_consume("q", tag, nowait=True)
        channel.basic_cancel(tag, nowait=True)
    assert broker.send(deliver(1, "tag1099", 1)) == []
    assert kinds(broker.send(deliver(1, "tag0", 1))) == ["Closed"]


@pytest.mark.parametrize("nowait", [False, True])
def test_a_consumer_cancelled_before_consume_ok_does_not_come_back(broker: Broker, nowait: bool) -> None:
    channel = open_channel(broker)
    channel.basic_consume("q", "tag")
    channel.basic_cancel("tag", nowait=nowait)
    assert broker.wire() == ["Basic.Consume"]
    assert broker.send(deliver(1, "tag", 1)) == []
    assert kinds(broker.send(method(1, spec.Basic.ConsumeOk("tag")))) == ["Replied"]
    assert channel.consumers == {}
    assert broker.wire() == ["Basic.Cancel", "Basic.Reject"]
    assert broker.send(deliver(1, "tag", 2)) == []
    if not nowait:
        broker.send(method(1, spec.Basic.CancelOk("tag")))
    broker.frames()
    consume(broker, channel)
    assert kinds(broker.send(deliver(1, "tag", 3))) == ["Delivery"]


def test_the_broker_cancels(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    cancelled = spec.Basic.Cancel("tag", True)
    assert broker.send(method(1, cancelled)) == [protocol.ConsumerCancelled(channel, cancelled)]
    assert broker.wire() == []
    assert channel.consumers == {}


def test_the_broker_cancels_and_wants_an_answer(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    assert kinds(broker.send(method(1, spec.Basic.Cancel("tag", False)))) == ["ConsumerCancelled"]
    assert broker.methods() == [spec.Basic.CancelOk("tag")]


def test_both_cancel_at_once(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    reply = channel.basic_cancel("tag")
    assert kinds(broker.send(method(1, spec.Basic.Cancel("tag", True)))) == ["ConsumerCancelled"]
    assert kinds(broker.send(method(1, spec.Basic.CancelOk("tag")))) == ["Replied"]
    assert reply is not None
    assert reply.done and reply.error is None


def test_a_consumer_that_is_cancelled_and_unknown_is_news_too(broker: Broker) -> None:
    channel = open_channel(broker)
    cancel = spec.Basic.Cancel("tag", True)
    assert broker.send(method(1, cancel)) == [protocol.ConsumerCancelled(channel, cancel)]
    consume(broker, channel)
    channel.basic_cancel("tag", nowait=True)
    assert broker.send(method(1, cancel), deliver(1, "tag")) == [protocol.ConsumerCancelled(channel, cancel)]


def succeeded(broker: Broker, no_ack: bool = False, waits: bool = False) -> protocol.Channel:
    """Have a consumer whose tag was cancelled with nowait and given to another one, which is not answered yet.

    :param waits: whether the second one was not sent yet, either
    """
    channel = open_channel(broker)
    consume(broker, channel, no_ack=no_ack)
    channel.basic_cancel("tag", nowait=True)
    if waits:
        channel.basic_qos(0, 1)
    channel.basic_consume("other", "tag", no_ack=no_ack)
    assert broker.wire() == ["Basic.Cancel", "Basic.Qos" if waits else "Basic.Consume"]
    return channel


def answer_consume(broker: Broker, waits: bool = False) -> None:
    if waits:
        broker.send(method(1, spec.Basic.QosOk()))
    assert kinds(broker.send(method(1, spec.Basic.ConsumeOk("tag")))) == ["Replied"]
    broker.frames()


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("nowait", [False, True])
def test_a_cancel_of_the_brokers_for_the_one_that_had_the_tag_before(broker: Broker, waits: bool, nowait: bool) -> None:
    """As when its queue was deleted before our cancel came: the consumer that has the tag now lives."""
    channel = succeeded(broker, waits=waits)
    assert broker.send(method(1, spec.Basic.Cancel("tag", nowait))) == []
    assert broker.wire() == ([] if nowait else ["Basic.CancelOk"])
    answer_consume(broker, waits)
    assert channel.consumers == {"tag": False}
    for tag in (1, 2):
        assert kinds(broker.send(deliver(1, "tag", tag))) == ["Delivery"]
    assert broker.wire() == []
    assert kinds(broker.send(method(1, spec.Basic.Cancel("tag", True)))) == ["ConsumerCancelled"]
    assert channel.consumers == {}


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("no_ack", [False, True])
def test_deliveries_while_the_next_consumer_of_the_tag_is_not_answered(
    broker: Broker, waits: bool, no_ack: bool
) -> None:
    """They may still be for another queue's consumer: they go back, or come out if they cannot."""
    succeeded(broker, no_ack, waits)
    assert kinds(broker.send(deliver(1, "tag", 1))) == (["Delivery"] if no_ack else [])
    assert broker.wire() == ([] if no_ack or waits else ["Basic.Reject"])
    if waits:
        broker.send(method(1, spec.Basic.QosOk()))
        assert broker.wire() == ["Basic.Consume", *([] if no_ack else ["Basic.Reject"])]
    answer_consume(broker)
    assert kinds(broker.send(deliver(1, "tag", 2))) == ["Delivery"]
    assert broker.wire() == []


@pytest.mark.parametrize("no_ack", [False, True])
def test_a_tag_is_not_given_to_a_consumer_whose_deliveries_could_not_be_told_apart(
    broker: Broker, no_ack: bool
) -> None:
    channel = open_channel(broker)
    consume(broker, channel, no_ack=no_ack)
    channel.basic_cancel("tag", nowait=True)
    broker.frames()
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume("other", "tag", no_ack=not no_ack)
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume("other", "tag", no_ack=no_ack, nowait=True)
    assert (broker.wire(), channel.consumers, channel.unanswered) == ([], {}, 0)
    consume(broker, channel, no_ack=no_ack)
    channel.basic_cancel("tag")
    broker.send(method(1, spec.Basic.CancelOk("tag")))
    consume(broker, channel, no_ack=not no_ack)
    assert channel.consumers == {"tag": not no_ack}


@pytest.mark.parametrize("nowait", [False, True])
def test_cancelling_the_next_consumer_of_a_tag_before_it_is_answered(broker: Broker, nowait: bool) -> None:
    channel = succeeded(broker)
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume("third", "tag")
    channel.basic_cancel("tag", nowait=nowait)
    assert broker.send(deliver(1, "tag", 1)) == []
    if nowait:
        # And on: the first two may still have something on the way.
        channel.basic_consume("third", "tag")
    answer_consume(broker)
    assert channel.consumers == {}
    assert broker.send(deliver(1, "tag", 2)) == []
    if nowait:
        assert broker.send(method(1, spec.Basic.Cancel("tag", True))) == []
        answer_consume(broker)
        assert kinds(broker.send(deliver(1, "tag", 3))) == ["Delivery"]
    else:
        assert channel.cancelled == {"tag": False}
        assert kinds(broker.send(method(1, spec.Basic.CancelOk("tag")))) == ["Replied"]
        assert channel.cancelled == {}


def test_the_next_consumer_of_a_tag_stands_for_one_that_is_not_remembered(broker: Broker) -> None:
    channel = succeeded(broker)
    for number in range(1100):
        channel.basic_consume("q", f"other{number}", nowait=True)
        channel.basic_cancel(f"other{number}", nowait=True)
    assert broker.send(deliver(1, "tag", 1)) == []
    answer_consume(broker)
    assert kinds(broker.send(deliver(1, "tag", 2))) == ["Delivery"]


def test_flow_is_answered(broker: Broker) -> None:
    channel = open_channel(broker)
    assert broker.send(method(1, spec.Channel.Flow(False))) == [protocol.ChannelFlow(channel, False)]
    assert broker.methods() == [spec.Channel.FlowOk(False)]
    assert broker.send(method(1, spec.Channel.Flow(True))) == [protocol.ChannelFlow(channel, True)]


def test_nothing_is_sent_behind_a_close_that_is_on_the_wire(broker: Broker) -> None:
    channel = open_channel(broker)
    consume(broker, channel)
    channel.close()
    assert broker.methods() == [spec.Channel.Close(200, "Normal shutdown", 0, 0)]
    assert broker.send(method(1, spec.Channel.Flow(False))) == []
    assert kinds(broker.send(method(1, spec.Basic.Cancel("tag", False)))) == ["ConsumerCancelled"]
    assert broker.methods() == []
    assert kinds(broker.send(method(1, spec.Channel.CloseOk()))) == ["ChannelClosed"]


@pytest.mark.parametrize("early", [spec.Channel.Flow(True), spec.Basic.Cancel("tag", True), spec.Queue.BindOk()])
def test_a_channel_that_is_still_opening_takes_no_other_method(broker: Broker, early: Method) -> None:
    broker.connection.open_channel().open()
    (closed,) = broker.send(method(1, early))
    assert isinstance(closed, protocol.Closed)
    assert early.NAME in str(closed.error)


def test_a_channel_that_is_still_opening_takes_no_delivery(broker: Broker) -> None:
    """However its bytes arrive."""
    broker.connection.open_channel().open()
    (closed,) = broker.send(deliver(1, "tag"))
    assert isinstance(closed, protocol.Closed)
    assert "Basic.Deliver on channel 1, which is still opening" in str(closed.error)


def test_my_flow(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.flow(True)
    broker.send(method(1, spec.Channel.FlowOk(True)))
    assert reply is not None
    assert reply.result().active is True


@pytest.mark.parametrize(
    "answer",
    [
        spec.Queue.DeclareOk("q", 0, 0),
        spec.Basic.ConsumeOk("tag"),
        spec.Basic.CancelOk("tag"),
        spec.Channel.OpenOk(),
        CLOSE_OK,
        spec.Basic.Ack(1),
        spec.Basic.Nack(1),
        spec.Queue.Declare(0, "q"),
        spec.Connection.OpenOk(),
        spec.Basic.Publish(0, "", "key"),
    ],
)
def test_what_answers_nothing_is_a_violation(broker: Broker, answer: Any) -> None:
    channel = open_channel(broker)
    events = broker.send(method(1, answer))
    assert kinds(events) == ["Closed"]
    assert answer.NAME in str(broker.connection.error)
    (told,) = broker.methods()
    assert (told.NAME, told.reply_code) == ("Connection.Close", spec.UNEXPECTED_FRAME)
    assert channel.error is broker.connection.error


@pytest.mark.parametrize("together", [True, False])
def test_deliveries_behind_the_brokers_close_of_a_channel_are_passed_over(broker: Broker, together: bool) -> None:
    """What RabbitMQ has under way comes behind its channel.close, up to the next opening of the number."""
    channel = open_channel(broker)
    channel.basic_consume("queue", "tag")
    broker.send(method(1, spec.Basic.ConsumeOk("tag")))
    late = deliver(1, "tag", 1) + deliver(1, "tag", 2, b"x" * 300) + method(1, spec.Basic.Ack(5))
    pieces = (
        [method(1, CLOSE) + late]
        if together
        else [method(1, CLOSE), *(late[n : n + 7] for n in range(0, len(late), 7))]
    )
    assert kinds(broker.send(*pieces)) == ["ChannelClosed"]
    again = broker.connection.open_channel(1)
    again.open()
    assert kinds(broker.send(late)) == []
    assert kinds(broker.send(late + method(1, spec.Channel.OpenOk()))) == ["Replied"]
    assert broker.connection.state is protocol.ConnectionState.OPEN
    again.basic_consume("queue", "tag")
    assert kinds(broker.send(method(1, spec.Basic.ConsumeOk("tag")), deliver(1, "tag"))) == ["Replied", "Delivery"]
    # A channel that this side has closed gets nothing any more.
    again.close()
    assert kinds(broker.send(method(1, CLOSE_OK), deliver(1, "tag"))) == ["ChannelClosed", "Closed"]


def test_properties_that_are_none_are_refused_before_anything_is_sent(broker: Broker) -> None:
    channel = open_channel(broker)
    wrong: Any = {"delivery_mode": 2}
    with pytest.raises(TypeError, match=r"properties must be a pika.BasicProperties, but got \{'delivery_mode': 2\}"):
        channel.basic_publish("", "key", b"body", wrong)
    assert broker.methods() == []
