"""Publishing, returns, confirms and flow through the callback API of a channel."""

from __future__ import annotations

from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.channel import Channel
from tests.support.encoding import Headers, method
from tests.support.plain_connection import PlainConnection, call, open_channel, opened_on
from tests.support.scripted_broker import TUNE, Session


@pytest.mark.parametrize(
    "body", [b"bytes", "text \u20ac", bytearray(b"array"), memoryview(b"view"), b"", b"x" * 300000]
)
def test_bodies(connection: PlainConnection, channel: Channel, queue: str, body: Any) -> None:
    channel.basic_publish("", queue, body)
    channel.basic_get(queue, lambda it, method, properties, received: connection.log.append(received), auto_ack=True)
    connection.run(lambda: connection.log)
    assert connection.log == [body.encode() if isinstance(body, str) else bytes(body)]


@pytest.mark.parametrize("body", [None, 5, ["list"]])
def test_bodies_that_are_none(connection: PlainConnection, channel: Channel, queue: str, body: Any) -> None:
    with pytest.raises(AttributeError, match="body") as caught:
        channel.basic_publish("", queue, body)
    assert isinstance(caught.value, TypeError)
    assert call(connection, channel.queue_purge, queue).method.message_count == 0


@pytest.mark.parametrize("properties", ["text", 5])
def test_properties_that_are_none(connection: PlainConnection, channel: Channel, queue: str, properties: Any) -> None:
    with pytest.raises(AttributeError, match="properties"):
        channel.basic_publish("", queue, b"", properties)
    assert call(connection, channel.queue_purge, queue).method.message_count == 0


@pytest.mark.parametrize("properties", [None, {}, "", 0])
def test_properties_that_are_false_are_none_at_all(
    connection: PlainConnection, channel: Channel, queue: str, properties: Any
) -> None:
    channel.basic_publish("", queue, b"", properties)
    channel.basic_get(queue, lambda it, method, found, body: connection.log.append(found), auto_ack=True)
    connection.run(lambda: connection.log)
    assert connection.log == [pika.BasicProperties()]


@pytest.mark.parametrize(
    ("properties", "error"),
    [
        (pika.BasicProperties(headers={"key": object()}), exceptions.UnsupportedAMQPFieldException),
        (pika.BasicProperties(content_type=5), AssertionError),  # type: ignore[arg-type]  # that is the mistake
        (pika.BasicProperties(headers={"key": "x" * 200_000}), ValueError),
    ],
)
def test_properties_that_cannot_be_sent(
    connection: PlainConnection, channel: Channel, queue: str, properties: pika.BasicProperties, error: Any
) -> None:
    with pytest.raises(error):
        channel.basic_publish("", queue, b"", properties)
    assert channel.is_open
    channel.basic_publish("", queue, b"")
    assert call(connection, channel.queue_purge, queue).method.message_count == 1


@pytest.mark.parametrize(
    ("exchange", "routing_key"), [(None, "key"), ("", None), (5, "key"), ("", 5), (["a"], "key"), ("", {})]
)
def test_names_that_are_none(channel: Channel, exchange: Any, routing_key: Any) -> None:
    with pytest.raises(AssertionError, match="must be str") as caught:
        channel.basic_publish(exchange, routing_key, b"")
    assert isinstance(caught.value, TypeError)
    assert channel.is_open


def test_a_routing_key_that_is_too_long(channel: Channel) -> None:
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.basic_publish("", "k" * 256, b"")
    assert channel.is_open


def test_an_exchange_that_there_is_not(connection: PlainConnection, channel: Channel) -> None:
    channel.add_on_close_callback(lambda it, reason: connection.log.append(reason))
    channel.basic_publish("pika-missing", "key", b"")
    connection.run(lambda: connection.log)
    (reason,) = connection.log
    assert isinstance(reason, exceptions.ChannelClosedByBroker)
    assert reason.args == (404, "NOT_FOUND - no exchange 'pika-missing' in vhost '/'")


# Returns


def test_returns(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_on_return_callback(lambda *message: log.append(message))
    channel.add_on_return_callback(lambda *message: log.append("second"))
    channel.basic_publish("", "pika-nowhere", b"body", pika.BasicProperties(type="kind"), mandatory=True)
    channel.basic_publish("", "pika-nowhere", b"not mandatory")
    channel.basic_publish("", "pika-nowhere", b"", mandatory=True)
    connection.run(lambda: len(log) == 4)
    it, returned, properties, body = log[0]
    assert it is channel and isinstance(returned, spec.Basic.Return)
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
    assert (returned.exchange, returned.routing_key) == ("", "pika-nowhere")
    assert isinstance(properties, pika.BasicProperties) and (properties.type, body) == ("kind", b"body")
    assert log[1] == log[3] == "second" and log[2][3] == b""


def test_returns_without_a_callback_are_nothing(connection: PlainConnection, channel: Channel) -> None:
    channel.basic_publish("", "pika-nowhere", b"body", mandatory=True)
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue
    assert channel.is_open


# Confirms


def outstanding(count: int, confirms: list[Any]) -> set[int]:
    """The tags, of so many, that neither an ack nor a nack has named."""
    tags = set(range(1, count + 1))
    for method_frame in confirms:
        tag = method_frame.method.delivery_tag
        tags -= set(range(1, tag + 1)) if method_frame.method.multiple else {tag}
    return tags


def test_confirms(connection: PlainConnection, channel: Channel, queue: str) -> None:
    confirmed: list[Any] = []
    returned: list[Any] = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    call(connection, channel.confirm_delivery, confirmed.append)
    for number in range(20):
        channel.basic_publish("", queue if number % 2 else "pika-nowhere", b"%d" % number, mandatory=True)
    connection.run(lambda: not outstanding(20, confirmed))
    assert all(isinstance(method_frame, frame.Method) for method_frame in confirmed)
    assert all(type(method_frame.method) is spec.Basic.Ack for method_frame in confirmed)
    assert [message[3] for message in returned] == [b"%d" % number for number in range(0, 20, 2)]


def test_a_return_comes_before_its_confirm(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_on_return_callback(lambda it, method, properties, body: log.append(body))
    call(connection, channel.confirm_delivery, lambda method_frame: log.append(method_frame.method.delivery_tag))
    channel.basic_publish("", "pika-nowhere", b"body", mandatory=True)
    connection.run(lambda: len(log) == 2)
    assert log == [b"body", 1]


def test_confirms_without_waiting_for_select_ok(connection: PlainConnection, channel: Channel) -> None:
    channel.confirm_delivery(connection.log.append)
    channel.basic_publish("", "pika-nowhere", b"")
    connection.run(lambda: connection.log)
    assert connection.log[0].method.delivery_tag == 1


def test_publishing_inside_the_callback_of_a_confirm(connection: PlainConnection, channel: Channel) -> None:
    confirmed: list[int] = []

    def on_confirm(method_frame: frame.Method[spec.Basic.Ack]) -> None:
        confirmed.append(method_frame.method.delivery_tag)
        if len(confirmed) < 5:
            channel.basic_publish("", "pika-nowhere", b"")

    channel.confirm_delivery(on_confirm, callback=lambda answer: channel.basic_publish("", "pika-nowhere", b""))
    connection.run(lambda: len(confirmed) == 5)
    assert confirmed == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("confirms", [False, True])
def test_closing_the_channel_while_a_message_is_encoded(
    connection: PlainConnection, channel: Channel, confirms: bool
) -> None:
    """It is refused, since behind the close the broker would not take it; and the connection goes on."""
    closed: list[BaseException] = []
    channel.add_on_close_callback(lambda _channel, reason: closed.append(reason))
    if confirms:
        channel.confirm_delivery(lambda _method_frame: None)
    with pytest.raises(exceptions.ChannelWrongStateError, match="Channel is closing"):
        channel.basic_publish("", "pika-nowhere", b"", spec.BasicProperties(headers=Headers(channel.close)))
    connection.run(lambda: bool(closed))
    assert isinstance(closed[0], exceptions.ChannelClosedByClient)
    assert connection.is_open


def test_acks_and_nacks_of_several_come_out_as_they_came() -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
        for _ in range(6):
            session.expect(spec.Basic.Publish)
        session.send(
            method(number, spec.Basic.Ack(2, True), spec.Basic.Nack(3, False), spec.Basic.Nack(5, True)),
            method(number, spec.Basic.Ack(6, False)),
        )
        session.close_politely()

    with opened_on(script) as connection:
        log = connection.log
        channel = open_channel(connection)
        call(connection, channel.confirm_delivery, log.append)
        for _ in range(6):
            channel.basic_publish("", "queue", b"")
        connection.run(lambda: len(log) == 4)
        assert [(it.method.NAME, it.method.delivery_tag, it.method.multiple) for it in log] == [
            ("Basic.Ack", 2, True),
            ("Basic.Nack", 3, False),
            ("Basic.Nack", 5, True),
            ("Basic.Ack", 6, False),
        ]
        assert {it.channel_number for it in log} == {channel.channel_number}


@pytest.mark.parametrize("callback", [None, 5, "text"])
def test_confirms_need_a_callback(connection: PlainConnection, channel: Channel, callback: Any) -> None:
    with pytest.raises(ValueError, match="callback"):
        channel.confirm_delivery(callback)
    channel.basic_publish("", "pika-nowhere", b"")
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue
    assert channel.is_open


def test_asking_for_confirms_twice(connection: PlainConnection, channel: Channel) -> None:
    """The broker takes it, and goes on counting."""
    log = connection.log
    call(connection, channel.confirm_delivery, lambda method_frame: None)
    channel.basic_publish("", "pika-nowhere", b"")
    answer = call(connection, channel.confirm_delivery, log.append)
    assert answer.method.NAME == "Confirm.SelectOk"
    log.clear()
    channel.basic_publish("", "pika-nowhere", b"")
    connection.run(lambda: log)
    assert log[0].method.delivery_tag == 2


@pytest.mark.parametrize("first", ["confirm_delivery", "tx_select"])
def test_confirms_and_transactions_exclude_each_other(
    connection: PlainConnection, channel: Channel, first: str
) -> None:
    log = connection.log
    channel.add_on_close_callback(lambda it, reason: log.append(reason))
    operations: dict[str, Any] = {
        "confirm_delivery": lambda: channel.confirm_delivery(print, callback=lambda answer: log.append(answer)),
        "tx_select": lambda: channel.tx_select(lambda answer: log.append(answer)),
    }
    operations.pop(first)()
    connection.run(lambda: log)
    (second,) = operations.values()
    second()
    connection.run(lambda: len(log) == 2)
    assert isinstance(log[1], exceptions.ChannelClosedByBroker) and log[1].reply_code == 406


def test_the_broker_asks_to_pause_and_to_go_on() -> None:
    answers: list[bool] = []

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Queue.Declare)
        session.send(method(number, spec.Channel.Flow(False), spec.Channel.Flow(True)))
        answers.extend(bool(session.expect(spec.Channel.FlowOk).method.active) for _ in range(2))
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        channel.add_on_flow_callback(connection.log.append)
        channel.queue_declare("queue")
        connection.run(lambda: len(connection.log) == 2)
        connection.run(lambda: len(answers) == 2)
        assert all(isinstance(found, frame.Method) and found.method.NAME == "Channel.Flow" for found in connection.log)
        assert [(found.channel_number, found.method.active) for found in connection.log] == [(1, False), (1, True)]
        assert channel.flow_active
    assert answers == [False, True]


@pytest.mark.parametrize("capabilities", [{}, {"publisher_confirms": True}, {"basic.nack": True}])
def test_confirms_of_a_broker_that_lacks_them(capabilities: dict[str, bool]) -> None:
    received: list[str] = []

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, spec.Connection.Start(0, 9, {"capabilities": capabilities}, "PLAIN", "en_US")))
        session.expect(spec.Connection.StartOk, TUNE)
        session.expect(spec.Connection.TuneOk)
        session.expect(spec.Connection.Open, spec.Connection.OpenOk())
        session.open_channel()
        received.append(session.receive().method.NAME)
        session.send(method(1, spec.Channel.CloseOk()))
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        with pytest.raises(exceptions.MethodNotImplemented) as caught:
            channel.confirm_delivery(print)
        assert caught.value.args == ("Confirm.Select not Supported by Server",)
        channel.close()
        connection.run(lambda: channel.is_closed)
        with pytest.raises(exceptions.ChannelWrongStateError):
            channel.confirm_delivery(print)
    assert received == ["Channel.Close"]
