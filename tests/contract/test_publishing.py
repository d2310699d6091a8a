"""Publishing: missing exchanges, mandatory, immediate, confirms, user-id."""

from __future__ import annotations

from typing import Callable

import pytest

from pika import BasicProperties, exceptions, spec
from tests.contract.drivers import Channel, Returned
from tests.contract.refusals import channel_refused, no_exchange
from tests.contract.wire import Wire

Name = Callable[..., str]


def confirms(wire: Wire) -> set[int]:
    """Take one confirm, and return the publishes it settles: all up to it if it is for several."""
    ack = wire.expect(spec.Basic.Ack)
    return set(range(1, ack.delivery_tag + 1)) if ack.multiple else {ack.delivery_tag}


def all_confirms(wire: Wire, count: int) -> None:
    """Take confirms until so many publishes are settled, each but for "multiple" at most once."""
    settled: set[int] = set()
    while len(settled) < count:
        settled |= confirms(wire)
    assert settled == set(range(1, count + 1))


def test_missing_exchange(channel: Channel, name: Name) -> None:
    missing = name()
    with channel_refused(404, no_exchange(missing)):
        channel.publish_all("key", b"x", exchange=missing)


def test_missing_exchange_with_confirms(channel: Channel, name: Name) -> None:
    missing = name()
    channel.confirm_select()
    with channel_refused(404, no_exchange(missing)):
        channel.basic_publish(missing, "key", b"x")


def test_missing_exchange_in_a_transaction_is_refused_at_once(channel: Channel, name: Name) -> None:
    missing = name()
    channel.tx_select()
    with channel_refused(404, no_exchange(missing)):
        channel.publish_all("key", b"x", exchange=missing)


def test_what_no_queue_takes_is_dropped(channel: Channel, name: Name) -> None:
    channel.publish_all(name(), b"x")
    channel.publish_all(name(), b"x", exchange="amq.direct")
    assert not channel.inbox


def test_mandatory_is_returned(channel: Channel, name: Name) -> None:
    key = name()
    properties = BasicProperties(message_id="id", headers={"a": 1})
    channel.basic_publish("amq.direct", key, b"body", properties, mandatory=True)
    assert channel.next() == Returned(312, "NO_ROUTE", "amq.direct", key, properties, b"body")


def test_mandatory_on_the_default_exchange(channel: Channel, name: Name) -> None:
    key = name()
    channel.basic_publish("", key, b"", mandatory=True)
    assert channel.next() == Returned(312, "NO_ROUTE", "", key, BasicProperties(), b"")


def test_mandatory_that_is_routed(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, b"x", mandatory=True)
    channel.synchronize()
    assert channel.get_all(queue) == [b"x"]
    assert not channel.inbox


def test_returns_come_in_order(channel: Channel, name: Name) -> None:
    key = name()
    for number in range(20):
        channel.basic_publish("", key, str(number).encode(), mandatory=True)
    for number in range(20):
        arrival = channel.next()
        assert isinstance(arrival, Returned)
        assert arrival.body == str(number).encode()


def test_return_comes_before_later_answers(wire: Wire, name: Name) -> None:
    wire.publish("", name(), b"x", mandatory=True)
    wire.send(spec.Channel.Flow(True))
    assert wire.names(2) == ["Basic.Return", "Channel.FlowOk"]


def test_large_return(channel: Channel, name: Name) -> None:
    body = bytes(range(256)) * 2048
    channel.basic_publish("", name(), body, mandatory=True)
    arrival = channel.next()
    assert isinstance(arrival, Returned)
    assert arrival.body == body


def test_mandatory_that_comes_back_with_confirms(channel: Channel, name: Name) -> None:
    key = name()
    channel.confirm_select()
    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.basic_publish("", key, b"x", mandatory=True)
    assert caught.value.messages == [Returned(312, "NO_ROUTE", "", key, BasicProperties(), b"x")]


def test_returns_come_before_their_confirms(wire: Wire, name: Name) -> None:
    wire.send(spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    wire.publish("", name(), b"1", mandatory=True)
    assert wire.names(1) == ["Basic.Return"]
    assert confirms(wire) == {1}


def test_immediate_is_refused(wire: Wire) -> None:
    wire.publish("", "contract-missing", b"x", immediate=True)
    wire.expect_closed(540, "NOT_IMPLEMENTED - immediate=true", spec.Basic.Publish)


# Confirms


def test_confirms_are_numbered_from_one(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.publish("", queue, b"before")
    wire.send(spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    for number in range(1, 4):
        wire.publish("", queue, b"x")
        ack = wire.expect(spec.Basic.Ack)
        assert (ack.delivery_tag, ack.multiple) == (number, False)


def test_confirms_of_many(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    for _ in range(500):
        wire.publish("", queue, b"x")
    all_confirms(wire, 500)


def test_confirms_of_messages_that_no_queue_takes(wire: Wire, name: Name) -> None:
    wire.send(spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    for _ in range(50):
        wire.publish("", name(), b"x")
    all_confirms(wire, 50)


def test_confirms_are_counted_for_each_channel(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.open_channel(2)
    for channel in (1, 2):
        wire.send(spec.Confirm.Select(), channel=channel)
        wire.expect(spec.Confirm.SelectOk, channel)
    for number in (1, 2):
        for channel in (1, 2):
            wire.publish("", queue, b"x", channel=channel)
            assert wire.expect(spec.Basic.Ack, channel).delivery_tag == number


def test_confirm_select_again_keeps_counting(wire: Wire) -> None:
    queue = wire.declare_queue()
    for number in range(1, 4):
        wire.send(spec.Confirm.Select())
        wire.expect(spec.Confirm.SelectOk)
        wire.publish("", queue, b"x")
        assert wire.expect(spec.Basic.Ack).delivery_tag == number


def test_confirm_select_without_an_answer(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Confirm.Select(nowait=True))
    wire.publish("", queue, b"x")
    assert confirms(wire) == {1}


def test_no_confirm_comes_behind_a_channel_error(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    wire.publish("contract-missing", "key", b"x")
    wire.publish("", queue, b"x")
    wire.expect_channel_closed(404, no_exchange("contract-missing"), spec.Basic.Publish)
    wire.open_channel()
    wire.send(spec.Channel.Flow(True))
    assert wire.names(1) == ["Channel.FlowOk"]
    wire.send(spec.Basic.Get(0, queue))
    assert wire.names(1) == ["Basic.GetEmpty"]


def test_confirms_begin_again_on_a_new_channel(wire: Wire) -> None:
    queue = wire.declare_queue()
    for _ in range(2):
        wire.send(spec.Confirm.Select())
        wire.expect(spec.Confirm.SelectOk)
        wire.publish("", queue, b"x")
        assert wire.expect(spec.Basic.Ack).delivery_tag == 1
        wire.send(spec.Channel.Close(200, "", 0, 0))
        wire.expect(spec.Channel.CloseOk)
        wire.open_channel()


def test_confirms_of_persistent_messages_in_durable_queues(channel: Channel, new_queue: Callable[..., str]) -> None:
    queue = new_queue()
    channel.confirm_select()
    for number in range(3):
        channel.basic_publish("", queue, str(number).encode(), BasicProperties(delivery_mode=2), mandatory=True)
    assert channel.get_all(queue) == [b"0", b"1", b"2"]


def test_confirm_comes_when_the_message_is_in_every_queue(channel: Channel, other: Channel, name: Name) -> None:
    exchange = name()
    channel.exchange_declare(exchange, "fanout", auto_delete=True)
    queues = [channel.queue_declare(exclusive=True).queue for _ in range(5)]
    for queue in queues:
        channel.queue_bind(queue, exchange)
    channel.confirm_select()
    channel.basic_publish(exchange, "", b"x", mandatory=True)
    assert [other.get_all(queue) for queue in queues] == [[b"x"]] * 5


def test_messages_stay_in_order(channel: Channel, other: Channel, queue: str) -> None:
    bodies = [str(number).encode() for number in range(500)]
    other.basic_consume(queue, "tag", no_ack=True)
    for body in bodies:
        channel.basic_publish("", queue, body)
    assert other.bodies(500) == bodies


# Who publishes


def test_user_id_of_the_user(channel: Channel, queue: str) -> None:
    channel.basic_publish("", queue, b"", BasicProperties(user_id="guest"))
    channel.synchronize()
    received = channel.basic_get(queue, no_ack=True)
    assert received is not None
    assert received.properties.user_id == "guest"


def test_user_id_of_somebody_else(channel: Channel) -> None:
    text = "PRECONDITION_FAILED - user_id property set to 'nobody' but authenticated user was 'guest'"
    with channel_refused(406, text):
        channel.basic_publish("amq.direct", "key", b"", BasicProperties(user_id="nobody"))
        channel.synchronize()


def test_expiration_that_is_no_number(channel: Channel) -> None:
    with channel_refused(406, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"):
        channel.basic_publish("amq.direct", "key", b"", BasicProperties(expiration="soon"))
        channel.synchronize()
