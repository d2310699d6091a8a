"""A channel's operations: what they call back with, in which order they are sent, and what they refuse."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pika import exceptions, frame, spec
from pika.amqp_object import Method
from pika.channel import Channel
from pika.exchange_type import ExchangeType
from tests.support.encoding import method
from tests.support.plain_connection import PlainConnection, call, open_channel, opened_on
from tests.support.scripted_broker import Session

# Operations that AMQP has a nowait for.
NOWAIT: dict[str, Any] = {
    "Exchange.Declare": lambda channel, **options: channel.exchange_declare("exchange", **options),
    "Exchange.Delete": lambda channel, **options: channel.exchange_delete("exchange", **options),
    "Exchange.Bind": lambda channel, **options: channel.exchange_bind("a", "b", **options),
    "Exchange.Unbind": lambda channel, **options: channel.exchange_unbind("a", "b", **options),
    "Queue.Declare": lambda channel, **options: channel.queue_declare("queue", **options),
    "Queue.Bind": lambda channel, **options: channel.queue_bind("queue", "exchange", **options),
    "Queue.Purge": lambda channel, **options: channel.queue_purge("queue", **options),
    "Queue.Delete": lambda channel, **options: channel.queue_delete("queue", **options),
    "Confirm.Select": lambda channel, **options: channel.confirm_delivery(print, **options),
}
# Those that are answered in any case, and their answers.
ANSWERED: dict[str, tuple[Any, Method]] = {
    "Queue.Unbind": (
        lambda channel, **options: channel.queue_unbind("queue", "exchange", **options),
        spec.Queue.UnbindOk(),
    ),
    "Basic.Qos": (lambda channel, **options: channel.basic_qos(prefetch_count=1, **options), spec.Basic.QosOk()),
    "Basic.Recover": (lambda channel, **options: channel.basic_recover(True, **options), spec.Basic.RecoverOk()),
    "Channel.Flow": (lambda channel, **options: channel.flow(True, **options), spec.Channel.FlowOk(True)),
    "Tx.Select": (lambda channel, **options: channel.tx_select(**options), spec.Tx.SelectOk()),
    "Tx.Commit": (lambda channel, **options: channel.tx_commit(**options), spec.Tx.CommitOk()),
    "Tx.Rollback": (lambda channel, **options: channel.tx_rollback(**options), spec.Tx.RollbackOk()),
}
OTHERS: dict[str, Any] = {
    "Basic.Consume": lambda channel, **options: channel.basic_consume("queue", print, **options),
    "Basic.Cancel": lambda channel, **options: channel.basic_cancel("tag", **options),
    "Basic.Get": lambda channel, **options: channel.basic_get("queue", **options),
}


def test_every_operation_calls_back_with_its_answer(connection: PlainConnection, channel: Channel) -> None:
    queue = call(connection, channel.queue_declare, "", exclusive=True).method.queue
    answers = [
        call(connection, channel.exchange_declare, "pika-callback", "fanout"),
        call(connection, channel.exchange_bind, "pika-callback", "amq.topic", "#"),
        call(connection, channel.queue_bind, queue, "pika-callback"),
        call(connection, channel.queue_unbind, queue, "pika-callback"),
        call(connection, channel.exchange_unbind, "pika-callback", "amq.topic", "#"),
        call(connection, channel.exchange_delete, "pika-callback"),
        call(connection, channel.queue_purge, queue),
        call(connection, channel.basic_qos, prefetch_count=10),
        call(connection, channel.basic_consume, queue, print, consumer_tag="tag"),
        call(connection, channel.basic_cancel, "tag"),
        call(connection, channel.basic_recover, True),
        call(connection, channel.queue_delete, queue),
    ]
    transactions = open_channel(connection)
    answers += [call(connection, getattr(transactions, name)) for name in ("tx_select", "tx_commit", "tx_rollback")]
    assert {answer.channel_number for answer in answers} == {1, 2}
    confirms = open_channel(connection)
    answers.append(call(connection, confirms.confirm_delivery, print))
    assert all(isinstance(answer, frame.Method) for answer in answers)
    assert [answer.method.NAME for answer in answers] == [
        *("Exchange.DeclareOk", "Exchange.BindOk", "Queue.BindOk", "Queue.UnbindOk", "Exchange.UnbindOk"),
        *("Exchange.DeleteOk", "Queue.PurgeOk", "Basic.QosOk", "Basic.ConsumeOk", "Basic.CancelOk", "Basic.RecoverOk"),
        *("Queue.DeleteOk", "Tx.SelectOk", "Tx.CommitOk", "Tx.RollbackOk", "Confirm.SelectOk"),
    ]
    assert call(connection, channel.flow, True) is True


def test_without_a_callback_no_answer_is_asked_for() -> None:
    received: list[tuple[str, Any]] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        while len(received) < len(NOWAIT):
            found = session.receive()
            if isinstance(found, frame.Method):
                received.append((found.method.NAME, found.method.nowait))
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        for operation in NOWAIT.values():
            operation(channel)
        connection.run(lambda: len(received) == len(NOWAIT))
    assert received == [(name, True) for name in NOWAIT]


def test_with_a_callback_an_answer_is_asked_for() -> None:
    received: list[tuple[str, Any]] = []
    answers = {
        **{name: getattr(getattr(spec, name.split(".")[0]), name.split(".")[1] + "Ok") for name in NOWAIT},
        "Queue.Declare": lambda: spec.Queue.DeclareOk("queue", 0, 0),
        "Queue.Purge": lambda: spec.Queue.PurgeOk(0),
        "Queue.Delete": lambda: spec.Queue.DeleteOk(0),
    }

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        while len(received) < len(NOWAIT):
            found = session.receive()
            if isinstance(found, frame.Method):
                received.append((found.method.NAME, found.method.nowait))
                session.send(method(number, answers[found.method.NAME]()))
        session.close_politely()

    with opened_on(script) as connection:
        channel = open_channel(connection)
        for operation in NOWAIT.values():
            operation(channel, callback=lambda answer: connection.log.append(answer.method.NAME))
        connection.run(lambda: len(connection.log) == len(NOWAIT))
        assert connection.log == [f"{name}Ok" for name in NOWAIT]
    assert received == [(name, False) for name in NOWAIT]


@pytest.mark.parametrize("name", ANSWERED)
def test_what_has_no_nowait_is_waited_for_without_a_callback_too(name: str) -> None:
    operation, answer = ANSWERED[name]
    behind: list[str] = []

    def script(session: Session) -> None:
        session.open()
        number, other = session.open_channel(), session.open_channel()
        session.expect(type(_request(name)))
        # The purge that was called for behind it would be here by the time the other channel's is.
        found = session.expect(spec.Queue.Purge)
        behind.append("sent too early" if found.channel_number == number else "waits")
        session.send(method(number, answer), method(other, spec.Queue.PurgeOk(0)))
        session.expect(spec.Queue.Purge, spec.Queue.PurgeOk(0))
        session.close_politely()

    with opened_on(script) as connection:
        channel, other = open_channel(connection), open_channel(connection)
        operation(channel)
        channel.queue_purge("queue", callback=lambda answer: connection.log.append("purged"))
        other.queue_purge("queue", callback=lambda answer: connection.log.append("other purged"))
        connection.run(lambda: len(connection.log) == 2)
        assert connection.log == ["other purged", "purged"]
    assert behind == ["waits"]


def _request(name: str) -> Any:
    group, member = name.split(".")
    return getattr(getattr(spec, group), member)()


def up_to_the_marker(session: Session, marker: int) -> list[str]:
    """What arrived before the publish on another channel that the client does last."""
    names: list[str] = []
    while True:
        found = session.receive()
        if isinstance(found, frame.Method):
            if found.channel_number == marker:
                return names
            names.append(found.method.NAME)


def test_one_operation_is_outstanding_and_nothing_overtakes_what_waits() -> None:
    received: list[list[str]] = []
    answers: list[Method] = [spec.Queue.DeclareOk("queue", 0, 0), spec.Queue.BindOk(), spec.Basic.QosOk()]

    def script(session: Session) -> None:
        session.open()
        number, marker = session.open_channel(), session.open_channel()
        for answer in answers:
            received.append(up_to_the_marker(session, marker))
            session.send(method(number, answer))
        received.append(up_to_the_marker(session, marker))
        session.close_politely()

    with opened_on(script) as connection:
        log = connection.log
        channel, marker = open_channel(connection), open_channel(connection)

        def note(answer: frame.Method[Any]) -> None:
            log.append(answer.method.NAME)
            marker.basic_publish("", "marker", b"")

        channel.queue_declare("queue", callback=note)
        channel.basic_publish("", "queue", b"1")
        channel.queue_bind("queue", "exchange", callback=note)
        channel.basic_ack(1)
        channel.basic_qos(prefetch_count=1, callback=note)
        channel.basic_publish("", "queue", b"2")
        marker.basic_publish("", "marker", b"")
        connection.run(lambda: len(received) == 4)
        assert log == ["Queue.DeclareOk", "Queue.BindOk", "Basic.QosOk"]
    assert received == [
        ["Queue.Declare", "Basic.Publish"],
        ["Queue.Bind", "Basic.Ack"],
        ["Basic.Qos", "Basic.Publish"],
        [],
    ]


def test_operations_called_inside_a_callback_come_behind_what_waits(
    connection: PlainConnection, channel: Channel
) -> None:
    log = connection.log

    def on_declared(answer: frame.Method[Any]) -> None:
        log.append("declared")
        channel.queue_purge(answer.method.queue, callback=lambda answer: log.append("purged"))

    channel.queue_declare("", exclusive=True, callback=on_declared)
    channel.basic_qos(prefetch_count=1, callback=lambda answer: log.append("limited"))
    connection.run(lambda: len(log) == 3)
    assert log == ["declared", "limited", "purged"]


@pytest.mark.parametrize("name", [*NOWAIT, *ANSWERED, *OTHERS])
def test_callbacks_are_checked_before_anything_is_sent(
    connection: PlainConnection, channel: Channel, name: str
) -> None:
    operation = {**NOWAIT, **{name: entry[0] for name, entry in ANSWERED.items()}, **OTHERS}[name]
    with pytest.raises(TypeError, match="callable"):
        operation(channel, callback=5)
    assert channel.is_open and channel.consumer_tags == []
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue


WRONG_TYPES: dict[str, Any] = {
    "exchange_declare: exchange": lambda channel, bad: channel.exchange_declare(bad),
    "exchange_bind: destination": lambda channel, bad: channel.exchange_bind(bad, "amq.topic"),
    "exchange_bind: source": lambda channel, bad: channel.exchange_bind("amq.topic", bad),
    "queue_declare: queue": lambda channel, bad: channel.queue_declare(bad),
    "queue_bind: queue": lambda channel, bad: channel.queue_bind(bad, "amq.direct"),
    "queue_bind: exchange": lambda channel, bad: channel.queue_bind("queue", bad),
    "queue_unbind: queue": lambda channel, bad: channel.queue_unbind(bad, "amq.direct"),
    "queue_purge: queue": lambda channel, bad: channel.queue_purge(bad),
    "queue_delete: queue": lambda channel, bad: channel.queue_delete(bad),
    "basic_consume: queue": lambda channel, bad: channel.basic_consume(bad, print),
    "basic_consume: on_message_callback": lambda channel, bad: channel.basic_consume("queue", bad),
    "basic_cancel: consumer_tag": lambda channel, bad: channel.basic_cancel(bad),
    "basic_get: queue": lambda channel, bad: channel.basic_get(bad, print),
    "basic_get: callback": lambda channel, bad: channel.basic_get("queue", bad),
    "basic_qos: prefetch_count": lambda channel, bad: channel.basic_qos(prefetch_count=bad),
    "basic_qos: prefetch_size": lambda channel, bad: channel.basic_qos(prefetch_size=bad),
}


@pytest.mark.parametrize("bad", [None, ["list"], b"bytes"], ids=repr)
@pytest.mark.parametrize("argument", WRONG_TYPES)
def test_arguments_of_a_wrong_type(channel: Channel, argument: str, bad: Any) -> None:
    with pytest.raises(TypeError):
        WRONG_TYPES[argument](channel, bad)
    assert channel.is_open and channel.consumer_tags == []


@pytest.mark.parametrize(
    "operation",
    [
        lambda channel: channel.exchange_declare("amq.direct", 5),
        lambda channel: channel.exchange_delete(5),
        lambda channel: channel.exchange_bind("a", "b", 5),
        lambda channel: channel.exchange_unbind(5, "b"),
        lambda channel: channel.queue_bind("queue", "exchange", 5),
        lambda channel: channel.queue_unbind("queue", 5),
        lambda channel: channel.basic_consume("queue", print, consumer_tag=5),
    ],
)
def test_names_that_are_no_text(channel: Channel, operation: Any) -> None:
    with pytest.raises(AssertionError, match="must be") as caught:
        operation(channel)
    assert isinstance(caught.value, TypeError)
    assert channel.is_open and channel.consumer_tags == []


@pytest.mark.parametrize(
    "operation",
    [
        lambda channel: channel.exchange_delete(),
        lambda channel: channel.exchange_unbind(),
        lambda channel: channel.exchange_unbind("a"),
        lambda channel: channel.exchange_unbind(source="a"),
        lambda channel: channel.queue_unbind("queue"),
    ],
)
def test_names_that_are_left_out(connection: PlainConnection, channel: Channel, operation: Any) -> None:
    with pytest.raises(AssertionError, match="must be given") as caught:
        operation(channel)
    assert isinstance(caught.value, TypeError)
    # Nothing was sent: the broker would have closed the channel over it.
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue


TABLES: dict[str, Any] = {
    "exchange_declare": lambda channel, table: channel.exchange_declare("amq.direct", durable=True, arguments=table),
    "exchange_bind": lambda channel, table: channel.exchange_bind("amq.topic", "amq.direct", "", table),
    "exchange_unbind": lambda channel, table: channel.exchange_unbind("amq.topic", "amq.direct", "", table),
    "queue_declare": lambda channel, table: channel.queue_declare("", exclusive=True, arguments=table),
    "queue_bind": lambda channel, table: channel.queue_bind("", "amq.direct", "key", table),
    "queue_unbind": lambda channel, table: channel.queue_unbind("", "amq.direct", "key", table),
    "basic_consume": lambda channel, table: channel.basic_consume("", print, arguments=table),
}


@pytest.mark.parametrize("name", TABLES)
def test_arguments_that_are_no_table(connection: PlainConnection, channel: Channel, queue: str, name: str) -> None:
    for wrong in (5, ["a"], (("a", 1),), "text"):
        with pytest.raises(AttributeError, match="arguments must be a dict") as caught:
            TABLES[name](channel, wrong)
        assert isinstance(caught.value, TypeError)
    assert channel.consumer_tags == []
    for nothing in (None, {}, [], "", 0):
        TABLES[name](channel, nothing)
    assert call(connection, channel.queue_declare, queue, passive=True).method.queue == queue


@pytest.mark.parametrize("tag", ["1", None, -1, 1.5, 1 << 64])
@pytest.mark.parametrize("name", ["basic_ack", "basic_nack", "basic_reject"])
def test_delivery_tags_that_are_none(channel: Channel, name: str, tag: Any) -> None:
    with pytest.raises(struct.error, match="delivery_tag") as caught:
        getattr(channel, name)(tag)
    assert isinstance(caught.value, ValueError)
    # pika 1.x has a TypeError for basic_reject alone.
    assert isinstance(caught.value, TypeError) is not isinstance(tag, int)
    assert channel.is_open


def test_bounds_of_prefetching(connection: PlainConnection, channel: Channel) -> None:
    for bad in ({"prefetch_count": -1}, {"prefetch_size": -1}, {"prefetch_count": "many"}):
        with pytest.raises(ValueError):
            channel.basic_qos(**bad)
    for wrong in (65536, "7", 1.5, b"7"):
        with pytest.raises(struct.error):
            channel.basic_qos(prefetch_count=wrong)  # type: ignore[arg-type]  # that is the mistake
    assert call(connection, channel.basic_qos, prefetch_count=65535, global_qos=True).method.NAME == "Basic.QosOk"


def test_names_that_are_too_long(connection: PlainConnection, channel: Channel) -> None:
    with pytest.raises(exceptions.ShortStringTooLong):
        channel.queue_declare("q" * 256)
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue


def test_exchange_types_by_enum(connection: PlainConnection, channel: Channel) -> None:
    answer = call(connection, channel.exchange_declare, "pika-enum", ExchangeType.fanout, auto_delete=True)
    assert answer.method.NAME == "Exchange.DeclareOk"
    # The default is direct.
    with_default = call(connection, channel.exchange_declare, "amq.direct", passive=True)
    assert with_default.method.NAME == "Exchange.DeclareOk"
    assert call(connection, channel.exchange_delete, "pika-enum").method.NAME == "Exchange.DeleteOk"


def test_a_binding_without_a_routing_key_has_the_queues_name(
    connection: PlainConnection, channel: Channel, queue: str
) -> None:
    call(connection, channel.queue_bind, queue, "amq.direct")
    channel.basic_publish("amq.direct", queue, b"bound")
    assert call(connection, channel.queue_purge, queue).method.message_count == 1
    call(connection, channel.queue_unbind, queue, "amq.direct")
    channel.basic_publish("amq.direct", queue, b"not bound")
    assert call(connection, channel.queue_purge, queue).method.message_count == 0


def test_a_bindings_routing_key_can_be_empty(connection: PlainConnection, channel: Channel, queue: str) -> None:
    call(connection, channel.queue_bind, queue, "amq.direct", routing_key="")
    channel.basic_publish("amq.direct", "", b"bound")
    assert call(connection, channel.queue_delete, queue).method.message_count == 1


def test_transactions(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    channel.tx_select(lambda answer: log.append(answer.method.NAME))
    channel.basic_publish("", queue, b"abandoned")
    channel.tx_rollback(lambda answer: log.append(answer.method.NAME))
    channel.basic_publish("", queue, b"committed")
    channel.tx_commit(lambda answer: log.append(answer.method.NAME))
    channel.basic_get(queue, lambda it, method, properties, body: log.append(body), auto_ack=True)
    connection.run(lambda: len(log) == 4)
    assert log == ["Tx.SelectOk", "Tx.RollbackOk", "Tx.CommitOk", b"committed"]


@pytest.mark.parametrize("name", ["tx_commit", "tx_rollback"])
def test_a_transaction_that_was_not_begun(connection: PlainConnection, channel: Channel, name: str) -> None:
    channel.add_on_close_callback(lambda it, reason: connection.log.append(reason))
    getattr(channel, name)(lambda answer: pytest.fail("there is no transaction"))
    connection.run(lambda: connection.log)
    (reason,) = connection.log
    assert isinstance(reason, exceptions.ChannelClosedByBroker) and reason.reply_code == 406


def test_flow(connection: PlainConnection, channel: Channel) -> None:
    """Asking for deliveries is granted; RabbitMQ does not pause them."""
    log = connection.log
    connection.add_on_close_callback(lambda it, reason: log.append(reason))
    channel.flow(True, log.append)
    channel.flow(True)
    channel.flow(False, lambda active: pytest.fail("it cannot pause"))
    connection.run(lambda: len(log) == 2)
    assert log[0] is True
    assert isinstance(log[1], exceptions.ConnectionClosedByBroker) and log[1].reply_code == 540


def test_recovering(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    channel.basic_publish("", queue, b"body")
    channel.basic_consume(
        queue, lambda it, method, properties, body: log.append((method.redelivered, method.delivery_tag, body))
    )
    connection.run(lambda: log)
    channel.basic_recover(True, lambda answer: log.append("recovered"))
    connection.run(lambda: len(log) == 3)
    assert log[0] == (False, 1, b"body") and set(log[1:]) == {"recovered", (True, 2, b"body")}


def test_recovering_without_requeueing_is_refused(connection: PlainConnection, channel: Channel) -> None:
    connection.add_on_close_callback(lambda it, reason: connection.log.append(reason))
    channel.basic_recover(callback=lambda answer: pytest.fail("RabbitMQ requeues only"))
    connection.run(lambda: connection.log)
    (reason,) = connection.log
    assert isinstance(reason, exceptions.ConnectionClosedByBroker) and reason.reply_code == 540


def test_an_answer_to_nothing_ends_the_connection() -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.send(method(number, spec.Queue.PurgeOk(0)))
        session.close_politely()

    with opened_on(script) as connection:
        connection.add_on_close_callback(lambda it, reason: connection.log.append(reason))
        connection.channel()
        connection.run(lambda: connection.log)
        (reason,) = connection.log
        assert isinstance(reason, exceptions.StreamLostError) and "Queue.PurgeOk" in str(reason)
