"""Heartbeats, with a clock that the tests move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import exceptions, frame, protocol, spec
from tests.protocol.broker import PEER, Broker, connected, deliver, method, open_channel

HEARTBEAT = frame.Heartbeat().marshal()


def beating(interval: int = 10) -> Broker:
    """Return the broker of an idle connection with a heartbeat."""
    return connected(spec.Connection.Tune(0, 0, interval))


def tick(broker: Broker, now: float) -> list[bytes | memoryview]:
    """Let the time be `now`; return what is sent."""
    broker.now = now
    broker.connection.tick(now)
    return broker.connection.data_to_send()


def test_an_idle_connection_sends_one_at_each_half_interval() -> None:
    broker = beating()
    tick(broker, 5)  # the handshake's own bytes count
    assert broker.connection.next_deadline() == 10
    broker.send(HEARTBEAT)
    assert tick(broker, 9.9) == []
    assert tick(broker, 10) == [HEARTBEAT]
    assert tick(broker, 10) == []
    assert broker.connection.next_deadline() == 15


def test_an_idle_connection_goes_on_sending_them_at_each_half_interval() -> None:
    broker = beating()
    tick(broker, 5)
    for now in range(10, 60, 5):
        broker.send(HEARTBEAT)
        assert tick(broker, now) == [HEARTBEAT]


def test_bytes_that_were_sent_count_as_a_heartbeat() -> None:
    broker = beating()
    channel = open_channel(broker)
    tick(broker, 5)
    channel.basic_publish("", "key", b"body")
    assert broker.wire() == ["Basic.Publish", "Header", "Body"]
    assert tick(broker, 10) == []
    broker.send(HEARTBEAT)
    assert tick(broker, 15) == [HEARTBEAT]


@given(st.lists(st.tuples(st.floats(0.1, 6), st.booleans()), max_size=60))
def test_never_a_silence_of_more_than_an_interval_when_ticked_in_time(steps: list[tuple[float, bool]]) -> None:
    broker = beating()
    channel = open_channel(broker)
    now = sent = 0.0
    for wait, publish in steps:
        due = broker.connection.next_deadline()
        assert due is not None
        now = min(now + wait, due)
        broker.now = now
        broker.send(HEARTBEAT)
        if publish:
            channel.basic_publish("", "key", b"")
        broker.connection.tick(now)
        if broker.connection.data_to_send():
            assert now - sent <= 10
            sent = now


def test_death_after_two_intervals_of_silence() -> None:
    broker = beating()
    for now in (5, 10, 15, 19.9):
        tick(broker, now)
        assert list(broker.connection.events()) == []
    assert tick(broker, 20) == []
    (event,) = broker.connection.events()
    assert isinstance(event, protocol.Closed)
    assert isinstance(event.error, exceptions.AMQPHeartbeatTimeout)
    assert PEER in str(event.error) and "no byte for 20.0 seconds" in str(event.error)
    assert broker.connection.next_deadline() is None
    assert tick(broker, 40) == []


def test_the_deadline_is_never_behind_the_moment_of_death() -> None:
    broker = beating()
    tick(broker, 16)
    assert broker.connection.next_deadline() == 20


def test_time_without_a_tick_is_no_death() -> None:
    broker = beating()
    broker.now = 1000
    broker.send(HEARTBEAT)
    assert tick(broker, 1000) == [] or broker.connection.state is protocol.ConnectionState.OPEN
    assert list(broker.connection.events()) == []
    assert broker.connection.state is protocol.ConnectionState.OPEN


def test_any_byte_is_a_sign_of_life() -> None:
    broker = beating()
    broker.now = 19
    broker.send(HEARTBEAT[:1])
    tick(broker, 25)
    assert list(broker.connection.events()) == []
    tick(broker, 39)
    assert len(list(broker.connection.events())) == 1


def test_death_comes_out_behind_what_arrived() -> None:
    broker = beating()
    channel = open_channel(broker)
    channel.basic_consume("queue", "tag")
    broker.connection.receive_data(method(1, spec.Basic.ConsumeOk("tag")) + deliver(1, "tag"), 1.0)
    broker.connection.tick(30.0)
    kinds = [type(event) for event in broker.connection.events()]
    assert kinds == [protocol.Replied, protocol.Delivery, protocol.Closed]


def test_heartbeats_of_the_broker_are_no_events() -> None:
    broker = beating()
    assert broker.send(HEARTBEAT * 3) == []


@pytest.mark.parametrize("number", [1, 7])
def test_a_heartbeat_on_a_channel_is_a_violation(number: int) -> None:
    broker = beating()
    open_channel(broker)
    (event,) = broker.send(b"\x08" + number.to_bytes(2, "big") + b"\0\0\0\0\xce")
    assert isinstance(event, protocol.Closed)
    assert f"channel {number}" in str(event.error)


def test_a_closing_connection_still_beats() -> None:
    broker = beating()
    broker.connection.close()
    broker.frames()
    tick(broker, 5)
    assert tick(broker, 10) == [HEARTBEAT]
