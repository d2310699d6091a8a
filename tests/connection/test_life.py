"""A connection of the callback API from its opening to its end, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.channel import Channel
from pika.connection import Connection
from tests.support.encoding import method
from tests.support.peer import Peer
from tests.support.plain_connection import PlainConnection, call, open_channel, opened, opened_on, states
from tests.support.rabbitmq import Broker, RabbitMQ
from tests.support.scripted_broker import START, TUNE, Session, scripted_broker


def noting(log: list[Any], name: str) -> Callable[..., None]:
    """A callback that writes its name and its arguments to a log."""
    return lambda *arguments: log.append((name, *arguments))


# Opening


def test_callbacks_of_the_constructor_are_called_first(broker: Broker) -> None:
    log: list[Any] = []
    connection = PlainConnection(
        broker.parameters(), on_open_callback=noting(log, "constructor"), on_close_callback=noting(log, "close")
    )
    connection.add_on_open_callback(noting(log, "added"))
    connection.add_on_close_callback(noting(log, "close too"))
    connection.run(lambda: len(log) == 2)
    assert log == [("constructor", connection), ("added", connection)]
    connection.close()
    connection.run(lambda: len(log) == 4)
    assert [entry[:2] for entry in log[2:]] == [("close", connection), ("close too", connection)]
    assert log[2][2] is log[3][2]


def test_an_open_callback_that_comes_too_late_is_not_called(connection: PlainConnection) -> None:
    connection.add_on_open_callback(noting(connection.log, "open"))
    connection.run_for(0.05)
    assert connection.log == [] and connection.is_open


def test_working_inside_on_open(broker: Broker) -> None:
    log: list[Any] = []

    def on_open(connection: Connection) -> None:
        log.append(states(connection))
        connection.channel(on_open_callback=on_channel_open)

    def on_channel_open(channel: Channel) -> None:
        channel.queue_declare("", exclusive=True, callback=lambda answer: log.append(answer.method.NAME))

    connection = PlainConnection(broker.parameters(), on_open_callback=on_open)
    connection.run(lambda: len(log) == 2)
    assert log == [["open"], "Queue.DeclareOk"]
    connection.close()
    connection.run(lambda: connection.sock is None)


def test_closing_inside_on_open(broker: Broker) -> None:
    log: list[Any] = []
    connection = PlainConnection(broker.parameters())
    connection.add_on_open_callback(lambda it: it.close(200, "at once"))
    connection.add_on_open_callback(lambda it: log.append("open"))
    connection.add_on_open_error_callback(noting(log, "error"))
    connection.add_on_close_callback(noting(log, "close"))
    connection.run(lambda: len(log) == 2)
    connection.run_for(0.05)
    assert len(log) == 2 and log[0] == "open"
    name, it, reason = log[1]
    assert (name, it) == ("close", connection)
    assert isinstance(reason, exceptions.ConnectionClosedByClient) and reason.args == (200, "at once")


def test_an_exception_of_an_open_callback_comes_out_and_the_connection_is_open(broker: Broker) -> None:
    def fail(it: Connection) -> None:
        raise ZeroDivisionError("mine")

    connection = PlainConnection(broker.parameters(), on_open_callback=fail)
    with pytest.raises(ZeroDivisionError) as caught:
        connection.run(lambda: False)
    assert caught.traceback[-1].name == "fail"
    assert connection.is_open
    assert call(connection, open_channel(connection).queue_declare, "", exclusive=True).method.queue
    connection.close()
    connection.run(lambda: connection.sock is None)


def test_wrong_credentials(broker: Broker) -> None:
    log: list[Any] = []
    parameters = broker.parameters(credentials=pika.PlainCredentials("guest", "wrong"))
    connection = PlainConnection(parameters, on_open_error_callback=noting(log, "error"))
    connection.add_on_open_error_callback(noting(log, "error too"))
    connection.add_on_open_callback(noting(log, "open"))
    connection.add_on_close_callback(noting(log, "close"))
    connection.run(lambda: len(log) == 2)
    connection.run_for(0.05)
    assert [entry[:2] for entry in log] == [("error", connection), ("error too", connection)]
    reason = log[0][2]
    assert isinstance(reason, exceptions.ProbableAuthenticationError) and log[1][2] is reason
    assert "403" in str(reason) and "wrong" not in str(reason)
    assert states(connection) == ["closed"]


def test_an_error_callback_may_connect_anew(broker: Broker) -> None:
    log: list[PlainConnection] = []

    def again(it: Connection, reason: Any) -> None:
        log.append(PlainConnection(broker.parameters()))

    first = PlainConnection(broker.parameters(virtual_host="pika-missing"), on_open_error_callback=again)
    first.run(lambda: log)
    (second,) = log
    second.run(lambda: second.is_open)
    second.close()
    second.run(lambda: second.sock is None)


@pytest.mark.parametrize("remove_default", [None, False, True])
def test_an_error_that_nobody_asks_for_is_raised(broker: Broker, remove_default: bool | None) -> None:
    connection = PlainConnection(broker.parameters(virtual_host="pika-missing"))
    connection.add_on_close_callback(noting(connection.log, "close"))
    if remove_default is not None:
        connection.add_on_open_error_callback(noting(connection.log, "error"), remove_default)
    if remove_default:
        connection.run(lambda: connection.log)
    else:
        with pytest.raises(exceptions.ProbableAccessDeniedError):
            connection.run(lambda: connection.is_closed and connection.sock is None)
    connection.run_for(0.05)
    assert [entry[0] for entry in connection.log] == ([] if remove_default is None else ["error"])
    assert connection.is_closed


def test_a_refused_stream_that_nobody_asks_for_is_raised_as_it_is() -> None:
    with Peer(lambda peer: None) as gone:
        parameters = pika.ConnectionParameters(gone.host, gone.port)
    connection = PlainConnection(parameters)
    with pytest.raises(ConnectionRefusedError):
        connection.run_for(1)


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_closing_while_it_opens(broker: Broker, turns: int) -> None:
    log: list[Any] = []
    connection = PlainConnection(
        broker.parameters(), on_open_error_callback=lambda it, error: log.append((error, states(it)))
    )
    for _ in range(turns):
        connection.turn()
    connection.close()
    assert states(connection) == ["closing"] and connection.connection_state == Connection.CONNECTION_CLOSING
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.close()
    connection.run(lambda: log)
    connection.run_for(0.05)
    ((error, state),) = log
    assert isinstance(error, exceptions.ConnectionOpenAborted) and state == ["closed"]
    assert states(connection) == ["closed"]


def test_a_stream_that_is_connected_too_late_is_ignored(broker: Broker) -> None:
    connection = PlainConnection(broker.parameters(), on_open_error_callback=noting([], "error"))
    connection.close()
    connection._on_stream_connected()
    assert states(connection) == ["closing"]
    connection.run(lambda: connection.is_closed)
    connection._on_stream_connected()
    assert states(connection) == ["closed"]


def test_nothing_is_known_of_the_broker_before_it_speaks(broker: Broker) -> None:
    connection = PlainConnection(broker.parameters(), internal_connection_workflow=False)
    assert connection.server_properties is None and connection.server_capabilities is None
    for name in ("basic_nack", "consumer_cancel_notify", "exchange_exchange_bindings", "publisher_confirms"):
        assert getattr(connection, name) is False


def test_a_stream_that_somebody_else_connects(broker: Broker) -> None:
    connection = PlainConnection(broker.parameters(), internal_connection_workflow=False)
    connection.run_for(0.05)
    assert connection.sock is None and states(connection) == []
    connection._adapter_connect_stream()
    connection.run(lambda: connection.is_open)
    connection.close()
    connection.run(lambda: connection.sock is None)


def test_bytes_may_arrive_one_by_one(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    received = PlainConnection._on_data_available

    def one_by_one(self: PlainConnection, data_in: bytes) -> None:
        for index in range(len(data_in)):
            received(self, data_in[index : index + 1])

    monkeypatch.setattr(PlainConnection, "_on_data_available", one_by_one)
    with opened(broker.parameters()) as connection:
        channel = open_channel(connection)
        queue = call(connection, channel.queue_declare, "", exclusive=True).method.queue
        channel.basic_publish("", queue, b"x" * 5000)
        channel.basic_consume(queue, lambda it, method, properties, body: connection.log.append(body), auto_ack=True)
        connection.run(lambda: connection.log)
        assert connection.log == [b"x" * 5000]


def test_a_broker_without_extensions() -> None:
    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, spec.Connection.Start(0, 9, {"product": "Plain"}, "PLAIN", "en_US")))
        session.expect(spec.Connection.StartOk, TUNE)
        session.expect(spec.Connection.TuneOk)
        session.expect(spec.Connection.Open, spec.Connection.OpenOk())
        session.close_politely()

    with opened_on(script) as connection:
        assert connection.server_properties == {"product": "Plain"} and connection.server_capabilities == {}
        extensions = [
            connection.basic_nack,
            connection.consumer_cancel_notify,
            connection.exchange_exchange_bindings,
            connection.publisher_confirms,
        ]
        assert extensions == [False] * 4


# Closing


def test_the_callbacks_of_channels_come_before_the_connections(connection: PlainConnection) -> None:
    log = connection.log
    connection.add_on_close_callback(lambda it, reason: log.append(("connection", states(it))))
    for _ in range(3):
        channel = open_channel(connection)
        channel.add_on_close_callback(lambda it, reason: log.append((it.channel_number, states(it))))
    connection.close(200, "done")
    assert states(connection) == ["closing"]
    connection.run(lambda: len(log) == 4)
    assert log == [(1, ["closed"]), (2, ["closed"]), (3, ["closed"]), ("connection", ["closed"])]


def test_closing_has_a_default_reason(connection: PlainConnection) -> None:
    connection.add_on_close_callback(noting(connection.log, "close"))
    connection.close()
    connection.run(lambda: connection.log)
    assert connection.log[0][2].args == (200, "Normal shutdown")


def test_what_was_asked_before_the_close_is_answered_before_it(connection: PlainConnection) -> None:
    log = connection.log
    connection.add_on_close_callback(lambda it, reason: log.append("close"))
    channel = open_channel(connection)
    for name in ("first", "second"):
        channel.queue_declare("", exclusive=True, callback=lambda answer, name=name: log.append(name))  # type: ignore[misc]
    connection.close()
    connection.run(lambda: len(log) == 3)
    assert log == ["first", "second", "close"]


@pytest.mark.parametrize(("code", "text"), [("x", "text"), (200, 5), (200, "x" * 256), (70000, "text")])
def test_wrong_arguments_of_close_leave_it_open(connection: PlainConnection, code: Any, text: Any) -> None:
    with pytest.raises((ValueError, TypeError, exceptions.ShortStringTooLong)):
        connection.close(code, text)
    assert connection.is_open
    assert call(connection, open_channel(connection).queue_declare, "", exclusive=True).method.queue


def test_the_broker_closes() -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Queue.Declare)
        session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0)))
        session.expect(spec.Connection.CloseOk)
        assert number == 1

    with opened_on(script) as connection:
        log = connection.log
        connection.add_on_close_callback(noting(log, "close"))
        channel = open_channel(connection)
        channel.add_on_close_callback(noting(log, "channel"))
        channel.queue_declare("queue", callback=lambda answer: log.append("declared"))
        connection.run(lambda: len(log) == 2)
        assert [entry[:2] for entry in log] == [("channel", channel), ("close", connection)]
        reason = log[1][2]
        assert log[0][2] is reason and isinstance(reason, exceptions.ConnectionClosedByBroker)
        assert reason.args == (320, "CONNECTION_FORCED - bye")
        with pytest.raises(exceptions.ConnectionWrongStateError, match=r" \[[^\[]*CONNECTION_FORCED[^\[\]]*\]$"):
            connection.channel()
        with pytest.raises(exceptions.ConnectionWrongStateError, match="CONNECTION_FORCED"):
            connection.update_secret("secret", "reason")


def test_both_sides_close_at_once() -> None:
    received: list[str] = []

    def script(session: Session) -> None:
        session.open()
        session.expect(spec.Connection.Close)
        session.send(method(0, spec.Connection.Close(320, "theirs", 0, 0), spec.Connection.CloseOk()))
        received.append(session.expect(spec.Connection.CloseOk).method.NAME)
        session.hold()

    with opened_on(script) as connection:
        log = connection.log
        connection.add_on_close_callback(noting(log, "close"))
        connection.close(200, "ours")
        connection.run(lambda: log)
        connection.run_for(0.05)
        ((_, it, reason),) = log
        assert it is connection and isinstance(reason, exceptions.ConnectionClosedByBroker)
        assert reason.args == (320, "theirs") and connection.sock is None
    assert received == ["Connection.CloseOk"]


def test_a_stream_that_is_lost_while_it_closes() -> None:
    def script(session: Session) -> None:
        session.open()
        session.expect(spec.Connection.Close)

    with opened_on(script) as connection:
        connection.add_on_close_callback(noting(connection.log, "close"))
        connection.close()
        connection.run(lambda: connection.log)
        ((_, _, reason),) = connection.log
        assert isinstance(reason, exceptions.StreamLostError) and states(connection) == ["closed"]


def test_connecting_anew_inside_the_close_callback(broker: Broker) -> None:
    log: list[PlainConnection] = []
    first = PlainConnection(broker.parameters())
    first.add_on_close_callback(lambda it, reason: log.append(PlainConnection(broker.parameters())))
    first.run(lambda: first.is_open)
    first.close()
    first.run(lambda: log)
    (second,) = log
    second.run(lambda: second.is_open)
    second.close()
    second.run(lambda: second.sock is None)


@pytest.mark.parametrize("state", ["opening", "closing", "closed"])
def test_operations_in_wrong_states(broker: Broker, state: str) -> None:
    connection = PlainConnection(broker.parameters())
    if state != "opening":
        connection.run(lambda: connection.is_open)
        connection.close()
    if state == "closed":
        connection.run(lambda: connection.is_closed)
    for operation in (connection.channel, lambda: connection.update_secret("secret", "reason")):
        with pytest.raises(exceptions.ConnectionWrongStateError):
            operation()
    if state != "opening":
        with pytest.raises(exceptions.ConnectionWrongStateError):
            connection.close()
    else:
        connection.run(lambda: connection.is_open)
        connection.close()
    connection.run(lambda: connection.is_closed and connection.sock is None)


# Blocked


def test_blocked_and_unblocked() -> None:
    def script(session: Session) -> None:
        session.open()
        session.send(
            method(0, spec.Connection.Blocked("low on memory"), spec.Connection.Unblocked()),
            method(0, spec.Connection.Blocked("low on disk")),
        )
        session.close_politely()

    with scripted_broker(script) as peer:
        connection = PlainConnection(pika.ConnectionParameters(peer.host, peer.port))
        log = connection.log
        connection.add_on_connection_blocked_callback(noting(log, "blocked"))
        connection.add_on_connection_blocked_callback(noting(log, "blocked too"))
        connection.add_on_connection_unblocked_callback(noting(log, "unblocked"))
        connection.run(lambda: len(log) == 5)
        names = ["blocked", "blocked too", "unblocked", "blocked", "blocked too"]
        assert [entry[0] for entry in log] == names
        assert all(it is connection and isinstance(method_frame, frame.Method) for _, it, method_frame in log)
        assert [entry[2].method.NAME for entry in log[1:4]] == [
            "Connection.Blocked",
            "Connection.Unblocked",
            "Connection.Blocked",
        ]
        assert [log[0][2].method.reason, log[3][2].method.reason] == ["low on memory", "low on disk"]
        # It is open for all but publishing.
        assert connection.is_open
        connection.close()
        connection.run(lambda: connection.sock is None)


@pytest.mark.slow
def test_an_alarm_of_rabbitmq(spare_rabbitmq: RabbitMQ) -> None:
    node = spare_rabbitmq
    with opened(node.parameters()) as connection:
        log = connection.log
        connection.add_on_connection_blocked_callback(noting(log, "blocked"))
        connection.add_on_connection_unblocked_callback(noting(log, "unblocked"))
        channel = open_channel(connection)
        queue = call(connection, channel.queue_declare, "", exclusive=True).method.queue
        call(connection, channel.confirm_delivery, lambda method_frame: log.append("confirmed"))
        node.ctl("set_vm_memory_high_watermark", "0")
        channel.basic_publish("", queue, b"held back")
        connection.run(lambda: log)
        ((name, it, method_frame),) = log
        assert (name, it) == ("blocked", connection) and "memory" in method_frame.method.reason
        node.ctl("set_vm_memory_high_watermark", "0.4")
        connection.run(lambda: len(log) == 3)
        assert {log[1] if isinstance(log[1], str) else log[1][0], log[2] if isinstance(log[2], str) else log[2][0]} == {
            "unblocked",
            "confirmed",
        }


# Secrets and channels


def test_secrets_are_answered_in_order(connection: PlainConnection) -> None:
    for name in ("first", "second"):
        connection.update_secret("guest", "test", noting(connection.log, name))
    connection.run(lambda: len(connection.log) == 2)
    assert [(name, it.channel_number, it.method.NAME) for name, it in connection.log] == [
        ("first", 0, "Connection.UpdateSecretOk"),
        ("second", 0, "Connection.UpdateSecretOk"),
    ]


@pytest.mark.parametrize(("secret", "reason"), [(None, "reason"), ("secret", None), (5, "reason"), ("secret", 5)])
def test_secrets_of_a_wrong_type(connection: PlainConnection, secret: Any, reason: Any) -> None:
    with pytest.raises(AssertionError):
        connection.update_secret(secret, reason)
    assert connection.is_open
    assert call(connection, connection.update_secret, "guest", "test").method.NAME == "Connection.UpdateSecretOk"


def test_the_answer_to_a_secret_does_not_come_when_the_stream_is_lost() -> None:
    def script(session: Session) -> None:
        session.open()
        secret = session.expect(spec.Connection.UpdateSecret).method
        assert (secret.new_secret, secret.reason) == (b"token", "it expires")

    with opened_on(script) as connection:
        connection.add_on_close_callback(noting(connection.log, "close"))
        connection.update_secret("token", "it expires", noting(connection.log, "updated"))
        connection.run(lambda: connection.log)
        assert [entry[0] for entry in connection.log] == ["close"]


def test_as_many_channels_as_were_agreed_on(broker: Broker) -> None:
    with opened(broker.parameters(channel_max=2)) as connection:
        channels = [open_channel(connection), open_channel(connection)]
        with pytest.raises(exceptions.NoFreeChannels):
            connection.channel()
        channels[0].close()
        connection.run(lambda: channels[0].is_closed)
        assert open_channel(connection).channel_number == 1


def test_a_callback_of_channel_that_cannot_be_called_takes_no_number(connection: PlainConnection) -> None:
    with pytest.raises(TypeError, match="on_open_callback"):
        connection.channel(3, on_open_callback=5)  # type: ignore[arg-type]  # that is the mistake
    assert connection.channel(3).channel_number == 3


def test_the_constants_are_the_states() -> None:
    assert list(range(7)) == [
        Connection.CONNECTION_CLOSED,
        Connection.CONNECTION_INIT,
        Connection.CONNECTION_PROTOCOL,
        Connection.CONNECTION_START,
        Connection.CONNECTION_TUNE,
        Connection.CONNECTION_OPEN,
        Connection.CONNECTION_CLOSING,
    ]


@pytest.mark.slow
def test_heartbeats_are_sent_while_the_virtual_host_is_opened() -> None:
    """The broker counts from tune-ok on, and authorization may take its time."""
    beats: list[object] = []

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, START))
        session.expect(spec.Connection.StartOk, spec.Connection.Tune(2047, 131072, 1))
        session.expect(spec.Connection.Open)
        while len(beats) < 3:
            beats.append(session.receive())
            session.send(frame.HEARTBEAT_FRAME)
        session.send(method(0, spec.Connection.OpenOk()))
        session.close_politely()

    with scripted_broker(script) as peer:
        connection = PlainConnection(pika.ConnectionParameters(peer.host, peer.port, heartbeat=1))
        connection.run(lambda: connection.is_open)
        connection.close()
        connection.run(lambda: connection.is_closed)
    assert all(isinstance(beat, frame.Heartbeat) for beat in beats)
