"""Publisher confirms: numbers, acks in any order, nacks, and returns joined to what was published."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import exceptions, protocol, spec
from pika.protocol import Confirmation, Outcome
from tests.protocol.broker import Broker, connected, content, method, open_channel

ACKED, NACKED, RETURNED, UNKNOWN = Outcome.ACKED, Outcome.NACKED, Outcome.RETURNED, Outcome.UNKNOWN


def confirming() -> tuple[Broker, protocol.Channel]:
    """Return a broker and a channel in confirm mode."""
    broker = connected()
    channel = open_channel(broker)
    channel.confirm_select()
    broker.send(method(1, spec.Confirm.SelectOk()))
    broker.frames()
    return broker, channel


def publish(
    channel: protocol.Channel, count: int = 1, body: bytes = b"body", key: str = "key", mandatory: bool = False
) -> list[Confirmation]:
    confirmations = [Confirmation() for _ in range(count)]
    for confirmation in confirmations:
        channel.basic_publish("exchange", key, body, mandatory=mandatory, confirmation=confirmation)
    return confirmations


def returned(body: bytes = b"body", key: str = "key", exchange: str = "exchange") -> bytes:
    return content(1, spec.Basic.Return(312, "NO_ROUTE", exchange, key), body)


def ack(tag: int, multiple: bool = False) -> bytes:
    return method(1, spec.Basic.Ack(tag, multiple))


def nack(tag: int, multiple: bool = False) -> bytes:
    return method(1, spec.Basic.Nack(tag, multiple))


def outcomes(confirmations: list[Confirmation]) -> list[Outcome | None]:
    return [confirmation.outcome for confirmation in confirmations]


def test_numbers_begin_at_one_behind_select() -> None:
    broker = connected()
    channel = open_channel(broker)
    channel.basic_publish("", "key", b"before")
    channel.confirm_select()
    confirmations = publish(channel, 3)
    assert [confirmation.delivery_tag for confirmation in confirmations] == [1, 2, 3]
    broker.send(method(1, spec.Confirm.SelectOk()), ack(2))
    assert outcomes(confirmations) == [None, ACKED, None]


def test_numbers_of_publishes_around_a_select_that_waits() -> None:
    broker = connected()
    channel = open_channel(broker)
    channel.basic_qos(0, 1)
    channel.queue_declare("q")
    channel.basic_publish("", "key", b"before")
    channel.confirm_select()
    confirmations = publish(channel, 2)
    assert broker.wire() == ["Basic.Qos"]
    broker.send(method(1, spec.Basic.QosOk()))
    assert broker.wire() == ["Queue.Declare", "Basic.Publish", "Header", "Body"]
    broker.send(method(1, spec.Queue.DeclareOk("q", 0, 0)))
    assert broker.wire() == ["Confirm.Select", *["Basic.Publish", "Header", "Body"] * 2]
    broker.send(method(1, spec.Confirm.SelectOk()), ack(1))
    assert outcomes(confirmations) == [ACKED, None]


def test_publishes_without_a_confirmation_are_numbered_too() -> None:
    broker, channel = confirming()
    channel.basic_publish("", "key", b"")
    (confirmation,) = publish(channel)
    assert confirmation.delivery_tag == 2
    assert channel.confirms is not None
    assert (channel.confirms.published, len(channel.confirms)) == (2, 1)
    broker.send(ack(2, True))
    assert confirmation.outcome is ACKED
    assert len(channel.confirms) == 0


def test_a_publish_that_is_refused_is_not_numbered() -> None:
    broker, channel = confirming()
    refused = Confirmation()
    with pytest.raises(ValueError, match="properties take"):
        huge = spec.BasicProperties(headers={"a": "x" * 140_000})
        channel.basic_publish("", "key", b"", huge, confirmation=refused)
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.basic_publish("", "k" * 256, b"", confirmation=refused)
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.basic_publish("", "key", b"", spec.BasicProperties(app_id="a" * 256), confirmation=refused)
    assert broker.wire() == []
    assert (refused.outcome, refused.delivery_tag) == (None, 0)
    assert publish(channel)[0].delivery_tag == 1


def test_selecting_again_goes_on_counting() -> None:
    _, channel = confirming()
    publish(channel)
    channel.confirm_select()
    assert publish(channel)[0].delivery_tag == 2


def test_every_ack_is_an_event() -> None:
    broker, channel = confirming()
    publish(channel)
    assert broker.send(ack(1)) == [protocol.Confirmed(channel, spec.Basic.Ack(1))]
    assert broker.send(nack(9)) == [protocol.Confirmed(channel, spec.Basic.Nack(9))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([ack(1)], [ACKED, None, None, None]),
        ([ack(3)], [None, None, ACKED, None]),
        ([ack(2, True)], [ACKED, ACKED, None, None]),
        ([ack(0, True)], [ACKED, ACKED, ACKED, ACKED]),
        ([ack(0)], [None, None, None, None]),
        ([ack(99)], [None, None, None, None]),
        ([ack(2**64 - 1)], [None, None, None, None]),
        ([ack(2**64 - 1, True)], [ACKED, ACKED, ACKED, ACKED]),
        ([ack(1), ack(1), ack(1, True)], [ACKED, None, None, None]),
        ([ack(3), ack(2, True), nack(4, True)], [ACKED, ACKED, ACKED, NACKED]),
        ([ack(3, True), ack(2, True), ack(1)], [ACKED, ACKED, ACKED, None]),
        ([ack(4), nack(3, True)], [NACKED, NACKED, NACKED, ACKED]),
        ([nack(0, True), ack(0, True)], [NACKED] * 4),
        ([nack(2), ack(4, True)], [ACKED, NACKED, ACKED, ACKED]),
    ],
)
def test_acks_in_any_order(data: list[bytes], expected: list[Outcome | None]) -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 4)
    broker.send(*data)
    assert outcomes(confirmations) == expected
    assert broker.connection.state is protocol.ConnectionState.OPEN


@given(
    st.lists(
        st.one_of(
            st.just("publish"),
            st.tuples(st.sampled_from([ack, nack]), st.integers(0, 30), st.booleans()),
        ),
        max_size=60,
    )
)
def test_confirms_against_a_model(steps: list[object]) -> None:
    broker, channel = confirming()
    confirmations: list[Confirmation] = []
    model: dict[int, Outcome | None] = {}
    for step in steps:
        if step == "publish":
            confirmations += publish(channel)
            model[len(confirmations)] = None
            continue
        assert isinstance(step, tuple)
        kind, tag, multiple = step
        broker.send(kind(tag, multiple))
        for number, outcome in model.items():
            covered = number == tag or (multiple and (number <= tag or tag == 0))
            if outcome is None and covered:
                model[number] = ACKED if kind is ack else NACKED
    assert outcomes(confirmations) == list(model.values())
    assert channel.confirms is not None
    assert len(channel.confirms) == list(model.values()).count(None)


def test_they_end_in_the_order_of_publishing_and_once() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 5)
    ended: list[Confirmation] = []
    for confirmation in confirmations:
        confirmation.on_done = ended.append
    broker.send(ack(4), ack(5, True), ack(5, True))
    assert [confirmation.delivery_tag for confirmation in ended] == [4, 1, 2, 3, 5]
    assert repr(confirmations[0]) == "<Confirmation 1: acked>"
    assert repr(Confirmation()) == "<Confirmation 0: pending>"


def test_a_return_joins_the_oldest_of_its_kind() -> None:
    broker, channel = confirming()
    first, second = publish(channel, 2, mandatory=True)
    other_body = publish(channel, body=b"other", mandatory=True)[0]
    other_key = publish(channel, key="other", mandatory=True)[0]
    plain = publish(channel)[0]
    events = broker.send(returned(), ack(1), returned(b"other"), ack(5, True))
    assert [type(event).__name__ for event in events] == ["Returned", "Confirmed", "Returned", "Confirmed"]
    assert outcomes([first, second, other_body, other_key, plain]) == [RETURNED, ACKED, RETURNED, ACKED, ACKED]
    assert first.returned is not None
    method_returned, _, body = first.returned
    assert (method_returned.reply_text, body) == ("NO_ROUTE", b"body")
    assert second.returned is None


def test_returns_before_a_coalesced_ack() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 3, mandatory=True)
    broker.send(returned(), returned(), ack(3, True))
    assert outcomes(confirmations) == [RETURNED, RETURNED, ACKED]


def test_all_of_a_kind_return() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 2, mandatory=True)
    broker.send(returned(), returned(), ack(2, True))
    assert outcomes(confirmations) == [RETURNED, RETURNED]


def test_publishing_to_many_routes() -> None:
    broker, channel = confirming()
    for number in [*range(600), 0]:
        channel.basic_publish("exchange", f"key{number}", b"")
    sent = [item.routing_key for item in broker.methods()]
    assert sent == [f"key{number}" for number in [*range(600), 0]]


def test_identical_messages_acked_out_of_order() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 3, mandatory=True)
    broker.send(ack(2), returned(), ack(1), returned(), ack(3))
    assert outcomes(confirmations) == [RETURNED, ACKED, RETURNED]
    again = publish(channel, 1, mandatory=True)
    broker.send(returned(), ack(4))
    assert outcomes(again) == [RETURNED]


@pytest.mark.parametrize("data", [returned(b"unknown"), returned(key="unknown"), returned(exchange="unknown")])
def test_a_return_of_nothing_that_is_outstanding_joins_nothing(data: bytes) -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 2, mandatory=True)
    assert len(broker.send(data)) == 1
    broker.send(ack(2, True))
    assert outcomes(confirmations) == [ACKED, ACKED]
    assert len(broker.send(returned())) == 1


def test_more_returns_than_messages() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 1, mandatory=True)
    assert len(broker.send(returned(), returned(), ack(1))) == 3
    assert outcomes(confirmations) == [RETURNED]


def test_a_return_that_is_nacked_is_nacked() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 1, mandatory=True)
    broker.send(returned(), nack(1))
    assert outcomes(confirmations) == [NACKED]


def test_a_return_without_confirm_mode_is_an_event() -> None:
    broker = connected()
    channel = open_channel(broker)
    channel.basic_publish("exchange", "key", b"body", mandatory=True)
    (event,) = broker.send(returned())
    assert isinstance(event, protocol.Returned)
    assert (event.channel, event.body) == (channel, b"body")


@pytest.mark.parametrize("kind", [ack, nack])
def test_a_confirm_without_confirm_mode_is_a_violation(kind: object) -> None:
    broker = connected()
    open_channel(broker)
    (event,) = broker.send(ack(1) if kind is ack else nack(1))
    assert isinstance(event, protocol.Closed)
    assert "not in confirm mode" in str(event.error)


def test_confirms_still_count_while_the_channel_closes() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 3)
    channel.close()
    broker.send(ack(2, True), method(1, spec.Channel.CloseOk()))
    assert outcomes(confirmations) == [ACKED, ACKED, UNKNOWN]
    assert isinstance(confirmations[2].error, exceptions.ChannelClosedByClient)


def test_a_returned_message_that_was_never_confirmed_is_unknown() -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 1, mandatory=True)
    broker.send(returned(), method(1, spec.Channel.Close(406, "PRECONDITION_FAILED", 0, 0)))
    assert outcomes(confirmations) == [UNKNOWN]
    assert confirmations[0].returned is not None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_sixty_thousand_outstanding(multiple: bool, order: str) -> None:
    broker, channel = confirming()
    confirmations = publish(channel, 60_000, mandatory=True)
    broker.connection.data_to_send()
    tags = list(range(1, 60_001))
    if order == "backwards":
        tags.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(tags)
    broker.send(b"".join(ack(tag, multiple) for tag in tags))
    assert set(outcomes(confirmations)) == {ACKED}


@pytest.mark.timeout(300)
def test_returns_among_many_that_were_routed() -> None:
    # As with a headers exchange: one exchange, one key, and every second message has nowhere to go.
    broker, channel = confirming()
    confirmations = [publish(channel, body=b"%d" % number, mandatory=True)[0] for number in range(20_000)]
    broker.connection.data_to_send()
    broker.send(b"".join(returned(b"%d" % number) for number in range(1, 20_000, 2)), ack(20_000, True))
    assert outcomes(confirmations) == [ACKED, RETURNED] * 10_000
