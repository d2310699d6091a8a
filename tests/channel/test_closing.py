"""Which callbacks hear of a channel's end, in which order, and what they see."""

from __future__ import annotations

from typing import Any

import pytest

from pika import exceptions, frame, spec
from pika.channel import Channel
from tests.support.encoding import method
from tests.support.plain_connection import PlainConnection, call, open_channel, opened_on, states
from tests.support.scripted_broker import Session


def test_closing_the_connection_closes_its_channels_first(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    for each in (channel, open_channel(connection)):
        each.add_on_close_callback(lambda it, reason: log.append((it.channel_number, reason, states(connection))))
    connection.add_on_close_callback(lambda it, reason: log.append((0, reason, states(it))))
    connection.close(321, "bye")
    assert [states(connection), states(channel)] == [["closing"], ["closing"]]
    connection.run(lambda: len(log) == 3)
    assert [entry[0] for entry in log] == [1, 2, 0]
    for _, reason, state in log[:2]:
        assert isinstance(reason, exceptions.ChannelClosedByClient) and reason.args == (321, "bye")
        assert state == ["closing"]
    assert isinstance(log[2][1], exceptions.ConnectionClosedByClient) and log[2][2] == ["closed"]


def test_the_close_of_a_connection_takes_one_round_trip() -> None:
    received: list[tuple[str, int, str]] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.open_channel()
        # Nothing is answered before all of it is there.
        for kind in (spec.Channel.Close, spec.Channel.Close, spec.Connection.Close):
            found = session.expect(kind).method
            assert isinstance(found, (spec.Channel.Close, spec.Connection.Close))
            received.append((found.NAME, found.reply_code, found.reply_text))
        session.send(method(2, spec.Channel.CloseOk()), method(0, spec.Connection.CloseOk()))

    with opened_on(script) as connection:
        log = connection.log
        for _ in range(2):
            open_channel(connection).add_on_close_callback(lambda it, reason: log.append((it.channel_number, reason)))
        connection.close(200, "bye")
        connection.run(lambda: connection.is_closed)
    assert received == [("Channel.Close", 200, "bye"), ("Channel.Close", 200, "bye"), ("Connection.Close", 200, "bye")]
    # RabbitMQ leaves out answers of channels when it closes the connection: that of the first did not come.
    assert [number for number, _ in log] == [2, 1]
    assert all(isinstance(reason, exceptions.ChannelClosedByClient) for _, reason in log)


def test_a_connection_that_both_sides_close_ends_its_channels_too() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.expect(spec.Connection.Close, spec.Connection.Close(320, "theirs", 0, 0))
        session.expect(spec.Connection.CloseOk)

    with opened_on(script) as connection:
        channel = open_channel(connection)
        channel.add_on_close_callback(lambda it, reason: connection.log.append(reason))
        connection.add_on_close_callback(lambda it, reason: connection.log.append(reason))
        connection.close(200, "ours")
        connection.run(lambda: len(connection.log) == 2)
        assert connection.log[0] is connection.log[1]
        assert isinstance(connection.log[0], exceptions.ConnectionClosedByBroker)


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_a_channel_that_is_closed_while_it_opens_was_never_open(connection: PlainConnection, what: str) -> None:
    channel = connection.channel(on_open_callback=lambda it: connection.log.append("open"))
    channel.add_on_close_callback(lambda it, reason: connection.log.append(reason.args))
    (channel if what == "channel" else connection).close(200, "at once")
    assert states(channel) == ["closing"]
    connection.run(lambda: connection.log)
    connection.run_for(0.02)
    assert connection.log == [(200, "at once")]


def test_close_ok_is_told_in_the_order_of_asking(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_on_close_callback(lambda it, reason: log.append("closed"))
    channel.add_callback(lambda answer: log.append(f"{answer.method.NAME} before"), [spec.Channel.CloseOk])
    channel.close()
    channel.add_callback(lambda answer: log.append(f"{answer.method.NAME} after"), [spec.Channel.CloseOk])
    channel.add_on_close_callback(lambda it, reason: log.append("closed too"))
    connection.run(lambda: len(log) == 4)
    assert log == ["Channel.CloseOk before", "closed", "closed too", "Channel.CloseOk after"]


def test_the_brokers_close_is_told_as_it_came(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_callback(log.append, [spec.Channel.Close])
    channel.add_on_close_callback(lambda it, reason: log.append(reason))
    channel.queue_declare("pika-missing", passive=True)
    connection.run(lambda: len(log) == 2)
    reason, close = log
    assert isinstance(reason, exceptions.ChannelClosedByBroker)
    assert isinstance(close, frame.Method) and isinstance(close.method, spec.Channel.Close)
    assert (close.method.reply_code, close.method.reply_text) == reason.args
    # queue.declare
    assert (close.method.class_id, close.method.method_id) == (50, 10)


def test_a_close_of_the_brokers_that_crosses_ours_is_told_as_it_came() -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Channel.Close)
        session.send(method(number, spec.Channel.Close(406, "theirs", 60, 80), spec.Channel.CloseOk()))
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        channel.add_callback(connection.log.append, [spec.Channel.Close])
        channel.close()
        connection.run(lambda: connection.log)
        (close,) = connection.log
        assert (close.method.reply_code, close.method.class_id, close.method.method_id) == (406, 60, 80)


@pytest.mark.parametrize("cause", ["broker", "loss", "client", "connection"])
def test_the_consumers_that_the_close_callback_sees(
    connection: PlainConnection, channel: Channel, queue: str, cause: str
) -> None:
    """Those that the end has overtaken; a channel that is closed from this side has cancelled its own."""
    seen: list[Any] = []
    call(connection, channel.basic_consume, queue, print, consumer_tag="tag")
    channel.add_on_close_callback(lambda it, reason: seen.append(it.consumer_tags))
    if cause == "broker":
        channel.queue_declare("pika-missing", passive=True)
    elif cause == "loss":
        connection.drop()
        connection._on_stream_terminated(exceptions.StreamLostError("gone"))
    else:
        (channel if cause == "client" else connection).close()
        assert channel.consumer_tags == []
    connection.run(lambda: seen)
    assert seen == [["tag"] if cause in ("broker", "loss") else []]
    assert channel.consumer_tags == []
