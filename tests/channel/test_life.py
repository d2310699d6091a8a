"""A channel of the callback API from its opening to its end, and who is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.channel import Channel
from tests.support.encoding import method
from tests.support.plain_connection import PlainConnection, call, open_channel, opened_on, states
from tests.support.scripted_broker import Session

# Whatever a channel can be asked for that needs it to be open.
NEEDS_OPEN: dict[str, Any] = {
    "flow": lambda channel: channel.flow(True),
    "exchange_declare": lambda channel: channel.exchange_declare("exchange"),
    "exchange_delete": lambda channel: channel.exchange_delete("exchange"),
    "exchange_bind": lambda channel: channel.exchange_bind("a", "b"),
    "exchange_unbind": lambda channel: channel.exchange_unbind("a", "b"),
    "queue_declare": lambda channel: channel.queue_declare("queue"),
    "queue_bind": lambda channel: channel.queue_bind("queue", "exchange"),
    "queue_unbind": lambda channel: channel.queue_unbind("queue", "exchange"),
    "queue_purge": lambda channel: channel.queue_purge("queue"),
    "queue_delete": lambda channel: channel.queue_delete("queue"),
    "basic_qos": lambda channel: channel.basic_qos(prefetch_count=1),
    "basic_consume": lambda channel: channel.basic_consume("queue", print),
    "basic_cancel": lambda channel: channel.basic_cancel("tag"),
    "basic_ack": lambda channel: channel.basic_ack(1),
    "basic_nack": lambda channel: channel.basic_nack(1),
    "basic_reject": lambda channel: channel.basic_reject(1),
    "basic_recover": lambda channel: channel.basic_recover(True),
    "basic_publish": lambda channel: channel.basic_publish("", "queue", b""),
    "confirm_delivery": lambda channel: channel.confirm_delivery(print),
    "tx_select": lambda channel: channel.tx_select(),
    "tx_commit": lambda channel: channel.tx_commit(),
    "tx_rollback": lambda channel: channel.tx_rollback(),
}


def logged(connection: PlainConnection, channel: Channel) -> list[Any]:
    """Have the channel's end written to the connection's log."""
    channel.add_on_close_callback(lambda it, reason: connection.log.append((it, reason)))
    return connection.log


def steps(*each: Callable[[], object]) -> Callable[[object], object]:
    """A callback that does one thing after another."""
    return lambda _: [step() for step in each]


def test_opening_and_closing(connection: PlainConnection) -> None:
    channel = connection.channel(on_open_callback=connection.log.append)
    log = logged(connection, channel)
    assert states(channel) == ["opening"] and channel.connection is connection
    connection.run(lambda: log)
    assert log == [channel] and states(channel) == ["open"] and int(channel) == channel.channel_number == 1
    channel.close(200, "done")
    assert states(channel) == ["closing"]
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.close()
    connection.run(lambda: len(log) == 2)
    it, reason = log[1]
    assert it is channel and isinstance(reason, exceptions.ChannelClosedByClient)
    assert (reason.reply_code, reason.reply_text) == (200, "done")
    assert states(channel) == ["closed"]
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.close()
    assert connection.channel().channel_number == 1


def test_closing_has_a_default_reason(connection: PlainConnection, channel: Channel) -> None:
    log = logged(connection, channel)
    channel.close()
    connection.run(lambda: log)
    assert log[0][1].args == (0, "Normal shutdown")


def test_a_failed_operation_closes_and_never_calls_back(connection: PlainConnection, channel: Channel) -> None:
    log = logged(connection, channel)
    seen: list[Any] = []
    channel.add_on_close_callback(lambda it, reason: seen.append(states(it)))
    channel.queue_declare("pika-missing", passive=True, callback=log.append)
    channel.queue_declare("", exclusive=True, callback=log.append)
    channel.basic_consume("pika-missing", print, callback=log.append)
    connection.run(lambda: log)
    connection.run_for(0.1)
    ((it, reason),) = log
    assert it is channel and isinstance(reason, exceptions.ChannelClosedByBroker)
    assert reason.args == (404, "NOT_FOUND - no queue 'pika-missing' in vhost '/'")
    assert seen == [["closed"]] and channel.consumer_tags == []
    assert connection.is_open
    with pytest.raises(exceptions.ChannelWrongStateError, match="404"):
        channel.basic_qos(prefetch_count=1)


@pytest.mark.parametrize("operation", NEEDS_OPEN)
def test_a_channel_that_is_not_open_refuses(connection: PlainConnection, operation: str) -> None:
    channel = connection.channel()
    log = logged(connection, channel)
    with pytest.raises(exceptions.ChannelWrongStateError, match="opening"):
        NEEDS_OPEN[operation](channel)
    connection.run(lambda: channel.is_open)
    channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError, match="closing"):
        NEEDS_OPEN[operation](channel)
    connection.run(lambda: log)
    with pytest.raises(exceptions.ChannelWrongStateError, match="closed"):
        NEEDS_OPEN[operation](channel)
    assert channel.consumer_tags == [] and len(log) == 1 and connection.is_open


@pytest.mark.parametrize("operation", NEEDS_OPEN)
def test_a_channel_ends_with_its_connection(connection: PlainConnection, channel: Channel, operation: str) -> None:
    log = logged(connection, channel)
    connection.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        NEEDS_OPEN[operation](channel)
    connection.run(lambda: connection.is_closed)
    with pytest.raises(exceptions.ChannelWrongStateError):
        NEEDS_OPEN[operation](channel)
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.close()
    ((it, reason),) = log
    assert it is channel and reason.args == (200, "Normal shutdown")


def test_what_was_asked_before_the_close_is_answered_before_it(connection: PlainConnection, channel: Channel) -> None:
    log = logged(connection, channel)
    channel.queue_declare("", exclusive=True, callback=lambda answer: log.append("first"))
    channel.queue_declare("", exclusive=True, callback=lambda answer: log.append("second"))
    channel.close()
    connection.run(lambda: len(log) == 3)
    assert log[:2] == ["first", "second"]
    assert isinstance(log[2][1], exceptions.ChannelClosedByClient)


def test_closing_inside_on_open(connection: PlainConnection) -> None:
    log = connection.log
    channel = connection.channel(
        on_open_callback=steps(lambda: log.append("open"), lambda: channel.close(200, "at once"))
    )
    logged(connection, channel)
    connection.run(lambda: len(log) == 2)
    assert log[0] == "open" and log[1][0] is channel
    assert isinstance(log[1][1], exceptions.ChannelClosedByClient)


def test_closing_before_it_is_open(connection: PlainConnection) -> None:
    channel = connection.channel()
    log = logged(connection, channel)
    channel.close(200, "changed my mind")
    assert states(channel) == ["closing"]
    connection.run(lambda: log)
    assert log[0][1].args == (200, "changed my mind") and states(channel) == ["closed"]
    assert open_channel(connection).channel_number == 1


def test_closing_the_connection_inside_on_open(connection: PlainConnection) -> None:
    log = connection.log
    connection.add_on_close_callback(lambda it, reason: log.append("connection"))
    channel = connection.channel(on_open_callback=lambda it: it.connection.close())
    channel.add_on_close_callback(lambda it, reason: log.append("channel"))
    connection.run(lambda: len(log) == 2)
    assert log == ["channel", "connection"]


def test_closing_inside_an_operations_callback(connection: PlainConnection, channel: Channel) -> None:
    log = logged(connection, channel)
    channel.queue_declare("", exclusive=True, callback=steps(lambda: log.append("declared"), channel.close))
    channel.queue_declare("", exclusive=True, callback=lambda answer: log.append("declared too"))
    connection.run(lambda: len(log) == 3)
    assert log[:2] == ["declared", "declared too"]


def test_another_channel_can_be_opened_inside_the_close_callback(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_on_close_callback(lambda it, reason: connection.channel(on_open_callback=log.append))
    channel.queue_declare("pika-missing", passive=True)
    connection.run(lambda: log)
    (again,) = log
    assert again is not channel and again.is_open and channel.is_closed
    assert call(connection, again.queue_declare, "", exclusive=True).method.queue


def test_a_close_callback_that_is_added_inside_one_is_not_called(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_on_close_callback(lambda it, reason: it.add_on_close_callback(lambda it, reason: log.append("added")))
    channel.add_on_close_callback(lambda it, reason: log.append("closed"))
    channel.close()
    connection.run(lambda: log)
    connection.run_for(0.05)
    assert log == ["closed"]


def test_closing_the_connection_inside_a_close_callback(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    other = open_channel(connection)
    connection.add_on_close_callback(lambda it, reason: log.append("connection"))
    other.add_on_close_callback(lambda it, reason: log.append("other"))
    channel.add_on_close_callback(lambda it, reason: log.append("channel"))
    channel.add_on_close_callback(lambda it, reason: connection.close())
    channel.close()
    connection.run(lambda: len(log) == 3)
    assert log == ["channel", "other", "connection"]


def test_a_broker_that_refuses_to_open() -> None:
    def script(session: Session) -> None:
        session.open()
        session.expect(spec.Channel.Open, spec.Channel.Close(504, "no", 0, 0))
        session.expect(spec.Channel.CloseOk)
        session.close_politely()

    with opened_on(script) as connection:
        channel = connection.channel(on_open_callback=lambda it: connection.log.append("open"))
        log = logged(connection, channel)
        connection.run(lambda: log)
        ((it, reason),) = log
        assert it is channel and isinstance(reason, exceptions.ChannelClosedByBroker)
        assert reason.args == (504, "no") and states(channel) == ["closed"] and connection.is_open


def test_both_sides_close_at_once() -> None:
    received: list[str] = []

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Channel.Close)
        session.send(method(number, spec.Channel.Close(406, "theirs", 0, 0), spec.Channel.CloseOk()))
        received.append(session.expect(spec.Channel.CloseOk).method.NAME)
        session.expect(spec.Channel.Open, spec.Channel.OpenOk())
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        log = logged(connection, channel)
        channel.close(200, "ours")
        connection.run(lambda: log)
        ((it, reason),) = log
        assert it is channel and isinstance(reason, exceptions.ChannelClosedByBroker)
        assert reason.args == (406, "theirs")
        # The number is free again.
        assert open_channel(connection).channel_number == 1
    assert received == ["Channel.CloseOk"]


def test_a_stream_that_is_lost_while_it_opens() -> None:
    def script(session: Session) -> None:
        session.open()
        session.expect(spec.Channel.Open)

    with opened_on(script) as connection:
        channel = connection.channel(on_open_callback=lambda it: connection.log.append("open"))
        log = logged(connection, channel)
        connection.run(lambda: log)
        ((_, reason),) = log
        assert isinstance(reason, exceptions.StreamLostError) and states(channel) == ["closed"]


def test_callbacks_of_operations_are_not_called_when_the_stream_is_lost() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.expect(spec.Queue.Declare)

    with opened_on(script) as connection:
        channel = open_channel(connection)
        log = logged(connection, channel)
        channel.queue_declare("queue", callback=lambda answer: log.append("declared"))
        channel.queue_bind("queue", "exchange", callback=lambda answer: log.append("bound"))
        channel.basic_get("queue", lambda *message: log.append("got"))
        connection.run(lambda: log)
        connection.run_for(0.05)
        ((_, reason),) = log
        assert isinstance(reason, exceptions.StreamLostError)


def test_an_exception_of_a_close_callback_comes_out_and_the_number_is_free(
    connection: PlainConnection, channel: Channel
) -> None:
    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError("mine")

    channel.add_on_close_callback(fail)
    channel.close()
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        connection.run(lambda: False)
    assert caught.traceback[-1].name == "fail"
    assert channel.is_closed and open_channel(connection).channel_number == 1


def test_an_exception_of_an_open_callback_comes_out_and_the_channel_is_open(connection: PlainConnection) -> None:
    def fail(it: Channel) -> None:
        raise ZeroDivisionError("mine")

    channel = connection.channel(on_open_callback=fail)
    with pytest.raises(ZeroDivisionError) as caught:
        connection.run(lambda: False)
    assert caught.traceback[-1].name == "fail"
    assert channel.is_open
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue


def test_opening_twice(connection: PlainConnection, channel: Channel) -> None:
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.open()
    assert channel.is_open
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue


def test_the_constants_are_the_states(channel: Channel) -> None:
    assert (Channel.CLOSED, Channel.OPENING, Channel.OPEN, Channel.CLOSING) == (0, 1, 2, 3)
    assert repr(channel).startswith("<Channel number=1 OPEN")
    assert {channel: "usable as a key"}[channel]


@pytest.mark.parametrize(("code", "text"), [("x", "text"), (200, 5), (200, "x" * 256), (70000, "text")])
def test_wrong_arguments_of_close_leave_it_open(
    connection: PlainConnection, channel: Channel, code: Any, text: Any
) -> None:
    with pytest.raises((ValueError, TypeError, exceptions.ShortStringTooLong)):
        channel.close(code, text)
    assert channel.is_open
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue


def test_the_connections_error_is_the_channels(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    other = open_channel(connection)
    for number, it in enumerate((channel, other)):
        it.add_on_close_callback(lambda it, reason, number=number: log.append((number, reason, states(it))))  # type: ignore[misc]
    connection.add_on_close_callback(lambda it, reason: log.append(("connection", reason, states(it))))
    with contextlib.suppress(exceptions.ConnectionWrongStateError):
        # No broker has it.
        other.basic_qos(prefetch_size=100, callback=lambda answer: log.append(answer))
    connection.run(lambda: len(log) == 3)
    assert [who for who, _, _ in log] == [0, 1, "connection"]
    assert {reason for _, reason, _ in log} == {log[0][1]} and all(state == ["closed"] for _, _, state in log)
    assert isinstance(log[0][1], exceptions.ConnectionClosedByBroker) and log[0][1].reply_code == 540


def test_channels_of_one_connection_do_not_wait_for_each_other() -> None:
    def script(session: Session) -> None:
        session.open()
        first, second = session.open_channel(), session.open_channel()
        session.expect(spec.Queue.Declare)
        session.expect(spec.Queue.Declare)
        session.send(method(second, spec.Queue.DeclareOk("second", 0, 0)))
        session.expect(spec.Queue.Purge)
        session.send(method(first, spec.Queue.DeclareOk("first", 0, 0)))
        session.close_politely()

    with opened_on(script) as connection:
        log = connection.log
        first, second = open_channel(connection), open_channel(connection)
        first.queue_declare("first", callback=lambda answer: log.append(answer.method.queue))
        second.queue_declare(
            "second", callback=steps(lambda: log.append("second"), lambda: second.queue_purge("second"))
        )
        connection.run(lambda: len(log) == 2)
        assert log == ["second", "first"]


def test_a_blocking_connection_gives_its_callback_channel_the_same_states(connection: PlainConnection) -> None:
    with pika.BlockingConnection(connection.params) as blocking:
        channel = blocking.channel()
        assert states(channel._impl) == ["open"]
        channel.close()
        assert states(channel._impl) == ["closed"]
