"""The operations of a BlockingChannel on both brokers, and their errors."""

from __future__ import annotations

import contextlib
import datetime
import decimal
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.adapters.conftest import only_rabbitmq
from tests.support.bounded import until_it_raises
from tests.support.consuming import count, take
from tests.support.rabbitmq import Broker

PRECISE = datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc)


# Declaring


def test_declares_answer_with_the_brokers_method(channel: BlockingChannel, queue: str) -> None:
    named = channel.queue_declare(queue, exclusive=True)
    assert named.channel_number == channel.channel_number
    assert (named.method.queue, named.method.message_count, named.method.consumer_count) == (queue, 0, 0)
    answers: list[Any] = [
        channel.exchange_declare("pika-a", "fanout"),
        channel.exchange_declare("pika-b", pika.exchange_type.ExchangeType.topic, auto_delete=True),
        channel.exchange_bind("pika-a", "pika-b", "#"),
        channel.queue_bind(queue, "pika-a"),
        channel.queue_unbind(queue, "pika-a"),
        channel.exchange_unbind("pika-a", "pika-b", "#"),
        channel.exchange_delete("pika-a"),
        channel.queue_purge(queue),
        channel.queue_delete(queue),
    ]
    assert [type(answer.method) for answer in answers] == [
        spec.Exchange.DeclareOk,
        spec.Exchange.DeclareOk,
        spec.Exchange.BindOk,
        spec.Queue.BindOk,
        spec.Queue.UnbindOk,
        spec.Exchange.UnbindOk,
        spec.Exchange.DeleteOk,
        spec.Queue.PurgeOk,
        spec.Queue.DeleteOk,
    ]


def test_a_binding_routes_and_an_unbinding_does_not(channel: BlockingChannel, queue: str) -> None:
    channel.confirm_delivery()
    channel.queue_bind(queue, "amq.topic", "logs.*")
    channel.basic_publish("amq.topic", "logs.info", b"yes")
    channel.basic_publish("amq.topic", "metrics.info", b"no")
    assert count(channel, queue) == 1
    channel.queue_unbind(queue, "amq.topic", "logs.*")
    channel.basic_publish("amq.topic", "logs.info", b"no")
    assert channel.queue_purge(queue).method.message_count == 1


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (lambda channel, queue: channel.queue_declare("pika-missing", passive=True), 404),
        (lambda channel, queue: channel.exchange_declare("pika-missing", passive=True), 404),
        (lambda channel, queue: channel.queue_declare(queue, exclusive=True, auto_delete=True), 406),
        (lambda channel, queue: channel.exchange_declare("amq.topic", "fanout", durable=True), 406),
        (lambda channel, queue: channel.exchange_declare("amq.pika", "fanout"), 403),
        (lambda channel, queue: channel.queue_bind(queue, "pika-missing"), 404),
        (lambda channel, queue: channel.queue_purge("pika-missing"), 404),
        (lambda channel, queue: channel.basic_consume("pika-missing", print), 404),
        (lambda channel, queue: next(channel.consume("pika-missing")), 404),
        (lambda channel, queue: channel.basic_get("pika-missing"), 404),
    ],
)
def test_a_refused_operation_closes_the_channel_and_no_more(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, operation: Any, code: int
) -> None:
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        operation(channel, queue)
    assert caught.value.reply_code == code
    assert str(code) in str(caught.value)
    assert channel.is_closed and not channel.is_open and channel.consumer_tags == []
    with pytest.raises(exceptions.ChannelWrongStateError, match=str(code)):
        channel.queue_declare(queue, passive=True)
    assert connection.is_open
    assert count(connection.channel(), queue) == 0


def test_an_exclusive_queue_is_refused_to_others(broker: Broker, channel: BlockingChannel, queue: str) -> None:
    with pika.BlockingConnection(broker.parameters()) as other:
        with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
            other.channel().basic_get(queue)
        assert caught.value.reply_code == 405
    channel.basic_consume(queue, lambda *message: None, exclusive=True)
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        channel.connection.channel().basic_consume(queue, lambda *message: None)
    assert caught.value.reply_code == 403


def test_names_are_unicode(channel: BlockingChannel) -> None:
    name = "pika-čečelka-🐇"
    assert channel.queue_declare(name, exclusive=True).method.queue == name
    channel.queue_bind(name, "amq.direct", "ключ")
    channel.basic_publish("amq.direct", "ключ", "tělo")
    method, _, body = take(channel, name)
    assert (method.routing_key, method.exchange, body.decode()) == ("ключ", "amq.direct", "tělo")


# Publishing


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 16 << 20])
def test_bodies_of_every_size_come_back(channel: BlockingChannel, queue: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    channel.basic_publish("", queue, body)
    assert take(channel, queue)[2] == body


@pytest.mark.parametrize("size", [0, 1, 8183, 8184, 8185, 16_368, 100_001])
def test_small_frames(broker: Broker, size: int) -> None:
    """8,192 octets are the smallest frames that RabbitMQ 4 takes; AMQP's minimum is 4,096."""
    with pika.BlockingConnection(broker.parameters(frame_max=8192)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        body = bytes(index % 251 for index in range(size))
        channel.basic_publish("", queue, body)
        assert take(channel, queue)[2] == body


@pytest.mark.parametrize("body", ["tělo", bytearray(b"bytes"), memoryview(b"view")])
def test_bodies_of_other_types(channel: BlockingChannel, queue: str, body: Any) -> None:
    channel.basic_publish("", queue, body)
    assert take(channel, queue)[2] == (body.encode() if isinstance(body, str) else bytes(body))


def test_every_property_comes_back(channel: BlockingChannel, queue: str) -> None:
    values: dict[str, Any] = {
        "content_type": "text/plain",
        "content_encoding": "gzip",
        "headers": {"key": "value"},
        "delivery_mode": 2,
        "priority": 9,
        "correlation_id": "čísla",
        "reply_to": "queue",
        "expiration": "60000",
        "message_id": "id",
        "timestamp": 1700000000,
        "type": "kind",
        "user_id": "guest",
        "app_id": "app",
        "cluster_id": "cluster",
    }
    channel.basic_publish("", queue, b"", pika.BasicProperties(**values))
    _, properties, _ = take(channel, queue)
    assert {name: getattr(properties, name) for name in values} == values


def test_headers_of_every_type_come_back(channel: BlockingChannel, queue: str) -> None:
    headers = {
        "none": None,
        "bool": True,
        "int": -5,
        "long": 1 << 40,
        "float": 0.25,
        "decimal": decimal.Decimal("12.34"),
        "str": "žluťoučký",
        "bytes": b"\xff\x00",
        "time": PRECISE,
        "list": [1, "two", None, [3]],
        "dict": {"nested": {"deeper": [True]}},
    }
    channel.basic_publish("", queue, b"", pika.BasicProperties(headers=headers))
    _, properties, _ = take(channel, queue)
    time_back = properties.headers.pop("time")
    assert time_back.replace(tzinfo=datetime.timezone.utc) == headers.pop("time")
    assert properties.headers == headers


def test_confirmed_publishes_are_in_the_queue_when_they_return(channel: BlockingChannel, queue: str) -> None:
    channel.confirm_delivery()
    channel.confirm_delivery()
    for number in range(1, 21):
        channel.basic_publish("", queue, b"x", mandatory=bool(number % 2))
        assert count(channel, queue) == number


def test_an_unroutable_mandatory_publish_raises_with_the_message(channel: BlockingChannel, queue: str) -> None:
    channel.confirm_delivery()
    seen: list[tuple[Any, ...]] = []
    channel.add_on_return_callback(lambda *message: seen.append(message))
    properties = pika.BasicProperties(message_id="five")
    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.basic_publish("amq.direct", "nowhere", b"body", properties, mandatory=True)
    (message,) = caught.value.messages
    assert (message.method.exchange, message.method.routing_key) == ("amq.direct", "nowhere")
    assert (message.method.reply_code, message.method.reply_text) == (312, "NO_ROUTE")
    assert (message.properties.message_id, message.body) == ("five", b"body")
    channel.basic_publish("amq.direct", "nowhere", b"body")
    channel.basic_publish("", queue, b"body", mandatory=True)
    assert count(channel, queue) == 1
    # A callback is told of it too, when it is its turn.
    assert seen == []
    channel.connection.process_data_events(0)
    assert [(message[0], message[1].reply_code, message[3]) for message in seen] == [(channel, 312, b"body")]


def test_without_confirms_a_return_is_called_back(connection: BlockingConnection, channel: BlockingChannel) -> None:
    seen: list[tuple[Any, ...]] = []
    channel.add_on_return_callback(lambda *message: seen.append(message))
    for number in range(3):
        channel.basic_publish("", "pika-nowhere", b"%d" % number, mandatory=True)
    # A round trip: the returns are here, and wait for their turn.
    channel.queue_declare("", exclusive=True)
    assert seen == []
    connection.process_data_events()
    assert [(message[0], message[1].reply_code, message[3]) for message in seen] == [
        (channel, 312, b"0"),
        (channel, 312, b"1"),
        (channel, 312, b"2"),
    ]


@only_rabbitmq  # the embedded broker's queues have no limits
def test_a_full_queue_nacks(channel: BlockingChannel) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"fits")
    with pytest.raises(exceptions.NackError) as caught:
        channel.basic_publish("", queue, b"does not")
    assert caught.value.messages == []
    take(channel, queue)
    channel.basic_publish("", queue, b"fits again")
    assert take(channel, queue)[2] == b"fits again"


def test_publishing_to_a_missing_exchange_with_confirms(connection: BlockingConnection) -> None:
    channel = connection.channel()
    channel.confirm_delivery()
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        channel.basic_publish("pika-missing", "key", b"")
    assert caught.value.reply_code == 404
    with pytest.raises(exceptions.ChannelWrongStateError, match="404"):
        channel.basic_publish("", "key", b"")
    assert connection.is_open


def test_publishing_to_a_missing_exchange_without_confirms(connection: BlockingConnection) -> None:
    """The call that learns of it raises the reason."""
    channel = connection.channel()
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        until_it_raises(lambda: channel.basic_publish("pika-missing", "key", b""))
    assert caught.value.reply_code == 404
    with pytest.raises(exceptions.ChannelWrongStateError, match="404"):
        channel.basic_publish("", "key", b"")


def test_closing_a_channel_reports_what_the_broker_had_against_it(connection: BlockingConnection) -> None:
    channel = connection.channel()
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        channel.basic_publish("pika-missing", "key", b"")
        channel.close()
    assert caught.value.reply_code == 404
    assert channel.is_closed and connection.is_open


def test_with_closes_the_channel(connection: BlockingConnection) -> None:
    with connection.channel() as channel:
        assert channel.is_open
    assert channel.is_closed
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.close()
    with pytest.raises(ZeroDivisionError), connection.channel() as channel:
        with contextlib.suppress(exceptions.ChannelClosedByBroker):  # it may be that quick
            channel.basic_publish("pika-missing", "key", b"")
        raise ZeroDivisionError
    assert channel.is_closed and connection.is_open


# Bad arguments: nothing is sent, and the channel stays usable


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"routing_key": "k" * 256}, exceptions.ShortStringTooLong, "routing_key"),
        ({"exchange": "é" * 128}, exceptions.ShortStringTooLong, "exchange"),
        ({"body": 5}, AttributeError, "body must be bytes or str"),
        ({"body": None}, AttributeError, "body must be bytes or str"),
        ({"properties": {"headers": {}}}, AttributeError, "BasicProperties"),
        (
            {"properties": pika.BasicProperties(headers={"key": object()})},
            exceptions.UnsupportedAMQPFieldException,
            "key",
        ),
        ({"properties": pika.BasicProperties(headers={"k" * 256: 1})}, exceptions.ShortStringTooLong, "headers"),
        ({"properties": pika.BasicProperties(content_type="t" * 256)}, exceptions.ShortStringTooLong, "content_type"),
        ({"properties": pika.BasicProperties(headers={"key": "x" * 200_000})}, ValueError, "frame_max"),
    ],
)
@pytest.mark.parametrize("confirms", [False, True])
def test_a_publish_that_cannot_be_encoded(
    channel: BlockingChannel, queue: str, arguments: dict[str, Any], error: type[Exception], words: str, confirms: bool
) -> None:
    if confirms:
        channel.confirm_delivery()
    channel.basic_publish("", queue, b"before")
    with pytest.raises(error, match=words):
        channel.basic_publish(**{"exchange": "", "routing_key": queue, "body": b"lost", **arguments})
    channel.basic_publish("", queue, b"after")
    assert [take(channel, queue)[2] for _ in range(2)] == [b"before", b"after"]
    assert channel.is_open


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (lambda channel: channel.queue_declare(5), TypeError),
        (lambda channel: channel.queue_declare("q" * 256), exceptions.ShortStringTooLong),
        (lambda channel: channel.queue_declare("q", arguments={"x": object()}), exceptions.ProtocolSyntaxError),
        (lambda channel: channel.queue_declare("q", arguments={"x": "y" * 200_000}), ValueError),
        (lambda channel: channel.basic_consume("q", None), TypeError),
        (lambda channel: channel.basic_consume(5, print), TypeError),
        (lambda channel: channel.basic_get(5), TypeError),
        (lambda channel: channel.basic_qos(prefetch_count=-1), ValueError),
    ],
)
def test_an_operation_that_cannot_be_encoded(channel: BlockingChannel, queue: str, operation: Any, error: Any) -> None:
    with pytest.raises(error):
        operation(channel)
    assert channel.consumer_tags == []
    channel.basic_publish("", queue, b"works")
    assert take(channel, queue)[2] == b"works"
    assert channel.is_open


# Getting and acknowledging


def test_get(channel: BlockingChannel, queue: str) -> None:
    assert channel.basic_get(queue) == (None, None, None)
    for body in (b"one", b"two"):
        channel.basic_publish("", queue, body, pika.BasicProperties(type=body.decode()))
    method, properties, body = take(channel, queue, auto_ack=False)
    assert isinstance(method, spec.Basic.GetOk)
    assert (method.delivery_tag, method.redelivered, method.message_count) == (1, False, 1)
    assert (properties.type, body) == ("one", b"one")
    channel.basic_nack(method.delivery_tag)
    method, _, body = take(channel, queue, auto_ack=False)
    assert (method.redelivered, body) == (True, b"one")
    channel.basic_ack(method.delivery_tag)
    method, _, body = take(channel, queue, auto_ack=False)
    assert body == b"two"
    channel.basic_reject(method.delivery_tag, requeue=False)
    assert channel.basic_get(queue) == (None, None, None)


def test_each_get_is_told_of_its_own_answer(channel: BlockingChannel, queue: str) -> None:
    for number in range(50):
        channel.basic_publish("", queue, b"%d" % number)
        assert take(channel, queue)[2] == b"%d" % number
        assert channel.basic_get(queue) == (None, None, None)


def test_ack_of_several(channel: BlockingChannel, queue: str) -> None:
    for number in range(4):
        channel.basic_publish("", queue, b"%d" % number)
    tags = [take(channel, queue, auto_ack=False)[0].delivery_tag for _ in range(4)]
    channel.basic_ack(tags[1], multiple=True)
    channel.basic_nack(multiple=True)
    assert [take(channel, queue)[2] for _ in range(2)] == [b"2", b"3"]
    assert channel.basic_get(queue) == (None, None, None)


def test_an_ack_twice_is_told_to_the_next_call(connection: BlockingConnection, channel: BlockingChannel) -> None:
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"")
    tag = take(channel, queue, auto_ack=False)[0].delivery_tag
    channel.basic_ack(tag)
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        channel.basic_ack(tag)
        channel.queue_declare(queue, passive=True)
    assert caught.value.reply_code == 406
    assert "unknown delivery tag" in caught.value.reply_text
    assert connection.is_open
    assert count(connection.channel(), queue) == 0


def test_an_ack_that_arrives_late_at_a_dead_channel(connection: BlockingConnection) -> None:
    """The broker's reason was there unread: the next ack raises it, the one after says that the channel is closed."""
    channel = connection.channel()
    with pytest.raises(exceptions.ChannelClosedByBroker):
        channel.basic_ack(77)
        until_it_raises(lambda: channel.basic_ack(78))
    with pytest.raises(exceptions.ChannelWrongStateError, match="unknown delivery tag 77"):
        channel.basic_ack(79)


def test_recover_delivers_again(channel: BlockingChannel, queue: str) -> None:
    channel.basic_publish("", queue, b"again")
    take(channel, queue, auto_ack=False)
    channel.basic_recover(requeue=True)
    method, _, body = take(channel, queue)
    assert (method.redelivered, body) == (True, b"again")


def test_transactions(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    watcher = connection.channel()
    assert isinstance(channel.tx_select().method, spec.Tx.SelectOk)
    channel.basic_publish("", queue, b"taken back")
    assert isinstance(channel.tx_rollback().method, spec.Tx.RollbackOk)
    channel.basic_publish("", queue, b"kept")
    assert isinstance(channel.tx_commit().method, spec.Tx.CommitOk)
    assert take(watcher, queue)[2] == b"kept"
    assert watcher.basic_get(queue) == (None, None, None)


def test_flow(channel: BlockingChannel) -> None:
    assert channel.flow(True) is True
