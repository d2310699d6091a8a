"""The callback API of a channel, through a connection such as a user writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.channel import Channel
from tests.support.encoding import content, method
from tests.support.plain_connection import PlainConnection, opened
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, delivery, scripted_broker


@pytest.fixture
def connection(rabbitmq: Broker) -> Iterator[PlainConnection]:
    with opened(rabbitmq.parameters()) as connection:
        yield connection


@pytest.fixture
def channel(connection: PlainConnection) -> Channel:
    return open_channel(connection)


@pytest.fixture
def queue(connection: PlainConnection, channel: Channel) -> str:
    answer = call(connection, channel.queue_declare, "", exclusive=True)
    return str(answer.method.queue)


def open_channel(connection: PlainConnection) -> Channel:
    channel = connection.channel()
    connection.run(lambda: channel.is_open)
    return channel


def call(connection: PlainConnection, operation: Any, *arguments: Any, **options: Any) -> Any:
    """Call an operation, wait for its callback, and return what that got."""
    answers: list[Any] = []
    operation(*arguments, callback=answers.append, **options)
    assert answers == []
    connection.run(lambda: answers)
    assert len(answers) == 1
    return answers[0]


def states(channel: Channel) -> list[str]:
    return [name for name in ("opening", "open", "closing", "closed") if getattr(channel, f"is_{name}")]


def test_opening_and_closing(connection: PlainConnection) -> None:
    log = connection.log
    channel = connection.channel(on_open_callback=log.append)
    channel.add_on_close_callback(lambda it, reason: log.append((it, reason)))
    assert states(channel) == ["opening"]
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.queue_declare("queue")
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
        channel.basic_publish("", "queue", b"")
    assert connection.channel().channel_number == 1


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
    confirms = open_channel(connection)
    answers.append(call(connection, confirms.confirm_delivery, print))
    assert all(isinstance(answer, frame.Method) for answer in answers)
    assert [answer.method.NAME for answer in answers] == [
        "Exchange.DeclareOk",
        "Exchange.BindOk",
        "Queue.BindOk",
        "Queue.UnbindOk",
        "Exchange.UnbindOk",
        "Exchange.DeleteOk",
        "Queue.PurgeOk",
        "Basic.QosOk",
        "Basic.ConsumeOk",
        "Basic.CancelOk",
        "Basic.RecoverOk",
        "Queue.DeleteOk",
        "Tx.SelectOk",
        "Tx.CommitOk",
        "Tx.RollbackOk",
        "Confirm.SelectOk",
    ]
    assert call(connection, channel.flow, True) is True


OPERATIONS: dict[str, Any] = {
    "Exchange.Declare": lambda channel, **options: channel.exchange_declare("exchange", **options),
    "Exchange.Delete": lambda channel, **options: channel.exchange_delete("exchange", **options),
    "Exchange.Bind": lambda channel, **options: channel.exchange_bind("a", "b", **options),
    "Exchange.Unbind": lambda channel, **options: channel.exchange_unbind("a", "b", **options),
    "Queue.Declare": lambda channel, **options: channel.queue_declare("queue", **options),
    "Queue.Bind": lambda channel, **options: channel.queue_bind("queue", "exchange", **options),
    "Queue.Purge": lambda channel, **options: channel.queue_purge("queue", **options),
    "Queue.Delete": lambda channel, **options: channel.queue_delete("queue", **options),
    "Basic.Consume": lambda channel, **options: channel.basic_consume("queue", print, consumer_tag="t", **options),
    "Basic.Cancel": lambda channel, **options: channel.basic_cancel("t", **options),
    "Confirm.Select": lambda channel, **options: channel.confirm_delivery(print, **options),
}


def test_without_a_callback_no_answer_is_asked_for() -> None:
    received: list[tuple[str, Any]] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        while len(received) < len(OPERATIONS):
            found = session.receive()
            if isinstance(found, frame.Method):
                received.append((found.method.NAME, found.method.nowait))
        session.close_politely()

    with scripted_broker(script) as peer, opened(pika.ConnectionParameters(peer.host, peer.port)) as connection:
        channel = open_channel(connection)
        for operation in OPERATIONS.values():
            operation(channel)
        connection.run(lambda: len(received) == len(OPERATIONS))
    assert received == [(name, True) for name in OPERATIONS]


def test_one_operation_is_outstanding_and_the_next_wait_for_it() -> None:
    received: list[str] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        asked = session.expect(spec.Queue.Declare)
        received.append("declare")
        session.peer.socket.settimeout(0.2)
        with pytest.raises(OSError, match="timed out"):
            session.receive()
        session.peer.socket.settimeout(20)
        session.send(method(asked.channel_number, spec.Queue.DeclareOk("queue", 0, 0)))
        session.expect(spec.Queue.Bind, spec.Queue.BindOk())
        received.append("bind")
        session.expect(spec.Basic.Qos, spec.Basic.QosOk())
        received.append("qos")
        session.close_politely()

    with scripted_broker(script) as peer, opened(pika.ConnectionParameters(peer.host, peer.port)) as connection:
        channel = open_channel(connection)
        log = connection.log
        channel.queue_declare("queue", callback=lambda _: log.append("declared"))
        channel.queue_bind("queue", "exchange", callback=lambda _: log.append("bound"))
        channel.basic_qos(prefetch_count=1, callback=lambda _: log.append("limited"))
        connection.run(lambda: len(log) == 3)
        assert log == ["declared", "bound", "limited"]
    assert received == ["declare", "bind", "qos"]


def test_a_failed_operation_closes_and_never_calls_back(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_on_close_callback(lambda it, reason: log.append(reason))
    channel.queue_declare("pika-missing", passive=True, callback=log.append)
    channel.queue_declare("", exclusive=True, callback=log.append)
    connection.run(lambda: log)
    connection.run_for(0.1)
    (reason,) = log
    assert isinstance(reason, exceptions.ChannelClosedByBroker) and reason.reply_code == 404
    assert connection.is_open
    with pytest.raises(exceptions.ChannelWrongStateError, match="404"):
        channel.basic_qos(prefetch_count=1)


@pytest.mark.parametrize("name", [*OPERATIONS, "Basic.Get", "Basic.Qos"])
def test_callbacks_are_checked_before_anything_is_sent(channel: Channel, name: str) -> None:
    others: dict[str, Any] = {
        "Basic.Get": lambda channel, **options: channel.basic_get("queue", **options),
        "Basic.Qos": lambda channel, **options: channel.basic_qos(prefetch_count=1, **options),
    }
    with pytest.raises(TypeError, match="callable"):
        {**OPERATIONS, **others}[name](channel, callback=5)
    assert channel.is_open and channel.consumer_tags == []


def test_get(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    channel.add_callback(log.append, [spec.Basic.GetEmpty])
    channel.basic_get(queue, lambda *message: pytest.fail("there is no message"))
    connection.run(lambda: log)
    assert isinstance(log[0].method, spec.Basic.GetEmpty)
    channel.basic_publish("", queue, "body", pika.BasicProperties(type="kind"))
    channel.basic_get(queue, lambda *message: log.append(message))
    with pytest.raises(exceptions.DuplicateGetOkCallback):
        channel.basic_get(queue, print)
    connection.run(lambda: len(log) == 2)
    it, got, properties, body = log[1]
    assert it is channel and isinstance(got, spec.Basic.GetOk)
    assert (properties.type, body) == ("kind", b"body")
    channel.basic_ack(got.delivery_tag)
    channel.basic_get(queue, print)
    connection.run_for(0.05)
    assert len(log) == 2


def test_consuming_and_cancelling(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    tag = channel.basic_consume(queue, lambda *message: log.append(message), callback=lambda _: log.append("consuming"))
    assert tag.startswith("ctag1.") and channel.consumer_tags == [tag]
    with pytest.raises(exceptions.DuplicateConsumerTag):
        channel.basic_consume(queue, print, consumer_tag=tag)
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)
    connection.run(lambda: len(log) == 4)
    assert log[0] == "consuming"
    assert [(message[0], message[1].consumer_tag, message[3]) for message in log[1:]] == [
        (channel, tag, b"0"),
        (channel, tag, b"1"),
        (channel, tag, b"2"),
    ]
    channel.basic_ack(2, multiple=True)
    channel.basic_nack(3, requeue=False)
    answer = call(connection, channel.basic_cancel, tag)
    assert answer.method.consumer_tag == tag and channel.consumer_tags == []
    channel.basic_cancel(tag, callback=lambda _: pytest.fail("there is no such consumer"))
    channel.basic_publish("", queue, b"for nobody")
    connection.run_for(0.1)
    assert len(log) == 4
    assert call(connection, channel.queue_declare, queue, passive=True).method.message_count == 1


def test_a_consumer_that_the_broker_cancels(connection: PlainConnection, channel: Channel, queue: str) -> None:
    channel.add_on_cancel_callback(connection.log.append)
    tag = channel.basic_consume(queue, print)
    channel.queue_delete(queue)
    connection.run(lambda: connection.log)
    (method_frame,) = connection.log
    assert isinstance(method_frame.method, spec.Basic.Cancel) and method_frame.method.consumer_tag == tag
    assert channel.consumer_tags == [] and channel.is_open


def test_returns(connection: PlainConnection, channel: Channel) -> None:
    log = connection.log
    channel.add_on_return_callback(lambda *message: log.append(message))
    channel.add_callback(log.append, [spec.Basic.Return], one_shot=False)
    channel.basic_publish("", "pika-nowhere", b"body", pika.BasicProperties(type="kind"), mandatory=True)
    connection.run(lambda: len(log) == 2)
    it, returned, properties, body = log[0]
    assert it is channel and isinstance(returned, spec.Basic.Return)
    assert (returned.reply_code, returned.routing_key) == (312, "pika-nowhere")
    assert (properties.type, body) == ("kind", b"body")
    assert isinstance(log[1].method, spec.Basic.Return)


def test_confirms(connection: PlainConnection, channel: Channel, queue: str) -> None:
    with pytest.raises(ValueError, match="callback"):
        channel.confirm_delivery(None)  # type: ignore[arg-type]  # that is the mistake
    confirmed: list[Any] = []
    returned: list[Any] = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    call(connection, channel.confirm_delivery, confirmed.append)
    for number in range(20):
        channel.basic_publish("", queue if number % 2 else "pika-nowhere", b"%d" % number, mandatory=True)

    def outstanding() -> set[int]:
        tags = set(range(1, 21))
        for method_frame in confirmed:
            tag = method_frame.method.delivery_tag
            tags -= set(range(1, tag + 1)) if method_frame.method.multiple else {tag}
        return tags

    connection.run(lambda: not outstanding())
    assert all(type(method_frame.method) is spec.Basic.Ack for method_frame in confirmed)
    assert [message[3] for message in returned] == [b"%d" % number for number in range(0, 20, 2)]


def test_flow_that_the_broker_asks_for() -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.send(method(number, spec.Channel.Flow(False), spec.Channel.Flow(True)))
        assert session.expect(spec.Channel.FlowOk).method.active is False
        assert session.expect(spec.Channel.FlowOk).method.active is True
        session.close_politely()

    with scripted_broker(script) as peer, opened(pika.ConnectionParameters(peer.host, peer.port)) as connection:
        channel = connection.channel()
        channel.add_on_flow_callback(connection.log.append)
        connection.run(lambda: len(connection.log) == 2)
        assert connection.log == [False, True]


def test_add_callback(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    channel.add_callback(lambda method_frame: log.append(("once", method_frame.method.NAME)), [spec.Queue.PurgeOk])
    channel.add_callback(
        lambda method_frame: log.append(("always", method_frame.method.NAME)),
        [spec.Queue.PurgeOk, spec.Basic.QosOk],
        one_shot=False,
    )
    call(connection, channel.queue_purge, queue)
    call(connection, channel.queue_purge, queue)
    call(connection, channel.basic_qos, prefetch_count=1)
    assert log == [
        ("once", "Queue.PurgeOk"),
        ("always", "Queue.PurgeOk"),
        ("always", "Queue.PurgeOk"),
        ("always", "Basic.QosOk"),
    ]


def test_callbacks_that_raise_leave_what_follows_intact() -> None:
    """Every delivery, answer and return behind one whose callback raised comes out, in order."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.expect(spec.Queue.Declare)
        session.send(
            *(delivery(number, tag, index, b"%d" % index) for index in (1, 2)),
            method(number, spec.Queue.DeclareOk("queue", 0, 0)),
            content(number, spec.Basic.Return(312, "NO_ROUTE", "", "key"), b"back"),
            delivery(number, tag, 3, b"3"),
            method(number, spec.Channel.Close(404, "end", 0, 0)),
        )
        session.close_politely()

    with scripted_broker(script) as peer, opened(pika.ConnectionParameters(peer.host, peer.port)) as connection:
        log = connection.log
        channel = open_channel(connection)

        def failing(name: str) -> Any:
            def callback(*arguments: Any) -> None:
                log.append(arguments[-1] if isinstance(arguments[-1], bytes) else name)
                raise ZeroDivisionError(name)

            return callback

        channel.basic_consume("queue", failing("message"), callback=failing("consuming"))
        channel.queue_declare("queue", callback=failing("declared"))
        channel.add_callback(lambda _: log.append("declared too"), [spec.Queue.DeclareOk])
        channel.add_on_return_callback(failing("returned"))
        channel.add_on_return_callback(lambda *message: log.append("returned too"))
        channel.add_on_close_callback(failing("closed"))
        channel.add_on_close_callback(lambda *arguments: log.append("closed too"))
        raised: list[str] = []
        for _ in range(1000):
            try:
                connection.turn()
            except ZeroDivisionError as error:
                raised.append(str(error))
            if "closed too" in log:
                break
        assert log == [
            *("consuming", b"1", b"2", "declared", "declared too"),
            *(b"back", "returned too", b"3", "closed", "closed too"),
        ]
        assert raised == ["consuming", "message", "message", "declared", "returned", "message", "closed"]
        assert connection.is_open


# What tracers do


@pytest.mark.parametrize("where", ["class", "instance"])
def test_a_patched_on_deliver_sees_every_delivery(
    connection: PlainConnection, channel: Channel, queue: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = Channel._on_deliver

    def patched(self: Channel, method_frame: Any, header_frame: Any, body: bytes) -> None:
        seen.append((method_frame, header_frame, body))
        original(self, method_frame, header_frame, body)

    if where == "class":
        monkeypatch.setattr(Channel, "_on_deliver", patched)
    else:
        channel._on_deliver = patched.__get__(channel)  # type: ignore[method-assign]  # tracers do
    bodies: list[bytes] = []
    channel.basic_consume(queue, lambda _channel, _method, _properties, body: bodies.append(body), auto_ack=True)
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number, pika.BasicProperties(type="kind"))
    connection.run(lambda: len(bodies) == 3)
    assert bodies == [body for _, _, body in seen] == [b"0", b"1", b"2"]
    for method_frame, header_frame, body in seen:
        assert isinstance(method_frame, frame.Method) and isinstance(method_frame.method, spec.Basic.Deliver)
        assert isinstance(header_frame, frame.Header)
        assert (header_frame.properties.type, header_frame.body_size) == ("kind", len(body))
        assert method_frame.channel_number == header_frame.channel_number == channel.channel_number


def test_a_patched_basic_publish_is_what_a_blocking_channel_calls(
    rabbitmq: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    original = Channel.basic_publish

    def patched(self: Channel, *arguments: Any) -> None:
        exchange, routing_key, body, properties, mandatory = arguments
        seen.append((exchange, routing_key, body, mandatory))
        properties.headers["trace"] = len(seen)
        original(self, exchange, routing_key, body, properties, mandatory)

    monkeypatch.setattr(Channel, "basic_publish", patched)
    with pika.BlockingConnection(rabbitmq.parameters()) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert queue
        properties = pika.BasicProperties(headers={})
        channel.confirm_delivery()
        for _ in range(2):
            channel.basic_publish("", queue, b"body", properties, mandatory=True)
        traces = [channel.basic_get(queue, auto_ack=True)[1].headers["trace"] for _ in range(2)]  # type: ignore[union-attr,index]  # there are two
    assert traces == [1, 2]
    assert seen == [("", queue, b"body", True)] * 2


def noting(seen: list[str], name: str, original: Any) -> Any:
    def patched(self: Channel, *arguments: Any, **options: Any) -> Any:
        seen.append(name)
        return original(self, *arguments, **options)

    return patched


def test_patched_get_and_consume_are_what_a_blocking_channel_calls(
    rabbitmq: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for name in ("basic_get", "basic_consume"):
        original = getattr(Channel, name)

        monkeypatch.setattr(Channel, name, noting(seen, name, original))
    with pika.BlockingConnection(rabbitmq.parameters()) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert channel.basic_get(queue) == (None, None, None)
        channel.basic_consume(queue, print)
    assert seen == ["basic_get", "basic_consume"]
