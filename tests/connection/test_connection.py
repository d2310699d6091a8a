"""The callback API of a connection, through a subclass such as a user writes."""

from __future__ import annotations

import time
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.connection import Connection
from tests.support.encoding import method
from tests.support.peer import Peer, free_port
from tests.support.plain_connection import PlainConnection, opened
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, delivery, scripted_broker


def parameters(peer: Peer, **options: Any) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(peer.host, peer.port, **options)


def logged(parameters_: Any) -> PlainConnection:
    """A connection whose callbacks write to its log."""
    connection: PlainConnection

    def on_open(it: Connection) -> None:
        connection.log.append("open")
        assert it is connection

    connection = PlainConnection(
        parameters_,
        on_open_callback=on_open,
        on_open_error_callback=lambda it, error: it.log.append(("error", error)),
        on_close_callback=lambda it, error: it.log.append(("close", error)),
    )
    return connection


def states(connection: Connection) -> list[str]:
    return [name for name in ("open", "closing", "closed") if getattr(connection, f"is_{name}")]


def test_opening_and_closing(broker: Broker) -> None:
    connection = logged(broker.parameters())
    assert states(connection) == [] and connection.log == []
    connection.run(lambda: connection.log)
    assert connection.log == ["open"] and states(connection) == ["open"]
    assert connection.server_properties["product"] in ("RabbitMQ", "pika.broker")
    assert connection.server_capabilities["basic.nack"] is True
    assert connection.basic_nack and connection.publisher_confirms
    assert connection.consumer_cancel_notify and connection.exchange_exchange_bindings
    connection.close(200, "done")
    assert states(connection) == ["closing"]
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.close()
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.channel()
    connection.run(lambda: len(connection.log) == 2)
    _, error = connection.log[1]
    assert isinstance(error, exceptions.ConnectionClosedByClient)
    assert (error.reply_code, error.reply_text) == (200, "done")
    assert states(connection) == ["closed"]
    connection.run_for(0.05)
    assert len(connection.log) == 2
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.close()


def test_opening_fails_before_amqp() -> None:
    connection = logged(pika.ConnectionParameters("127.0.0.1", free_port()))
    connection.run(lambda: connection.log)
    ((name, error),) = connection.log
    assert name == "error" and isinstance(error, ConnectionRefusedError)
    assert connection.is_closed


def test_opening_fails_in_amqp(broker: Broker) -> None:
    connection = logged(broker.parameters(virtual_host="pika-missing"))
    connection.run(lambda: connection.log)
    ((name, error),) = connection.log
    assert name == "error" and isinstance(error, exceptions.ProbableAccessDeniedError)
    assert f"{broker.host}:{broker.port}" in str(error)
    connection.run_for(0.05)
    assert len(connection.log) == 1 and connection.sock is None


def test_closing_before_it_is_open() -> None:
    with scripted_broker(Session.hold) as peer:
        connection = logged(parameters(peer))
        connection.turn()
        connection.close()
        connection.run(lambda: connection.log)
        ((name, error),) = connection.log
        assert name == "error" and isinstance(error, exceptions.ConnectionOpenAborted)
        assert "waiting for connection.start" in str(error)


@pytest.mark.parametrize("phase", ["opening", "open"])
def test_a_stream_that_ends(phase: str) -> None:
    def script(session: Session) -> None:
        if phase == "open":
            session.open()
            session.open_channel()
        else:
            session.expect_header()

    with scripted_broker(script) as peer:
        connection = logged(parameters(peer))
        if phase == "open":
            connection.run(lambda: connection.is_open)
            channel = connection.channel()
            channel.add_on_close_callback(lambda channel, error: connection.log.append(("channel", error)))
            connection.run(lambda: len(connection.log) == 3)
            assert [entry[0] for entry in connection.log[1:]] == ["channel", "close"]
            assert connection.log[1][1] is connection.log[2][1]
            assert isinstance(connection.log[2][1], exceptions.StreamLostError)
        else:
            connection.run(lambda: connection.log)
            assert isinstance(connection.log[0][1], exceptions.IncompatibleProtocolError)
        assert connection.is_closed


def test_callbacks_are_checked_and_all_of_them_called(broker: Broker) -> None:
    connection = PlainConnection(broker.parameters())
    for add in (
        connection.add_on_open_callback,
        connection.add_on_open_error_callback,
        connection.add_on_close_callback,
        connection.add_on_connection_blocked_callback,
        connection.add_on_connection_unblocked_callback,
    ):
        with pytest.raises(TypeError, match="callable"):
            add(None)  # type: ignore[arg-type]  # that is the mistake
    for number in (1, 2):
        connection.add_on_open_callback(lambda it, number=number: it.log.append(("open", number)))  # type: ignore[misc]
        connection.add_on_close_callback(
            lambda it, error, number=number: it.log.append(("close", number))  # type: ignore[misc]
        )
    connection.run(lambda: connection.is_open)
    connection.close()
    connection.run(lambda: len(connection.log) == 4)
    assert connection.log == [("open", 1), ("open", 2), ("close", 1), ("close", 2)]


def test_a_callback_that_raises_leaves_the_others_intact() -> None:
    """What was to be called for the same event, and what arrived behind it, is not lost."""

    def script(session: Session) -> None:
        session.open()
        for _ in range(2):
            session.open_channel()
        end = spec.Connection.Close(320, "", 0, 0)
        session.send(method(0, spec.Connection.Blocked("memory"), spec.Connection.Unblocked(), end))
        session.close_politely()

    with scripted_broker(script) as peer:
        connection = PlainConnection(parameters(peer))

        def fail(*arguments: Any) -> None:
            connection.log.append("fail")
            raise ZeroDivisionError("mine")

        def note(name: str) -> Any:
            return lambda *arguments: connection.log.append(name)

        for add, name in (
            (connection.add_on_open_callback, "open"),
            (connection.add_on_connection_blocked_callback, "blocked"),
            (connection.add_on_connection_unblocked_callback, "unblocked"),
            (connection.add_on_close_callback, "close"),
        ):
            add(fail)
            add(note(name))
        raised = connection.run_despite(ZeroDivisionError, lambda: connection.is_open)
        for closed in (fail, note("channel 2")):
            connection.channel().add_on_close_callback(closed)
        raised += connection.run_despite(ZeroDivisionError, lambda: "close" in connection.log)
        assert connection.log == [
            *("fail", "open", "fail", "blocked", "fail", "unblocked"),
            *("fail", "channel 2", "fail", "close"),
        ]
        assert raised == ["mine"] * 4
        assert connection.is_closed and connection.sock is None


def test_a_callback_that_raises_at_the_end_of_the_stream() -> None:
    """A delivery and the end in one read: the user's error comes out, and the close callback is still called."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.send(delivery(number, tag, 1, b"1"), delivery(number, tag, 2, b"2"))

    with scripted_broker(script) as peer:
        connection = logged(parameters(peer))
        connection.run(lambda: connection.is_open)
        channel = connection.channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            connection.log.append(body)
            raise ZeroDivisionError("mine")

        channel.add_callback(lambda _: channel.basic_consume("queue", on_message, callback=str), [spec.Channel.OpenOk])
        raised = connection.run_despite(ZeroDivisionError, lambda: len(connection.log) == 4)
        assert [entry if isinstance(entry, (bytes, str)) else entry[0] for entry in connection.log] == [
            "open",
            b"1",
            b"2",
            "close",
        ]
        assert raised == ["mine"] * 2


def test_closing_inside_a_callback_does_not_overtake_it() -> None:
    """Nothing is called while another callback is on the stack."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer(delivery(1, "tag", 1, b"1"), delivery(1, "tag", 2, b"2"))
        assert (number, tag) == (1, "tag")
        session.close_politely()

    with scripted_broker(script) as peer:
        connection = logged(parameters(peer))
        connection.run(lambda: connection.is_open)
        channel = connection.channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            connection.log.append(body)
            connection.close()
            connection.log.append("returned")

        channel.add_callback(
            lambda _: channel.basic_consume("queue", on_message, consumer_tag="tag", callback=str),
            [spec.Channel.OpenOk],
        )
        connection.run(lambda: len(connection.log) == 4)
        assert connection.log[:3] == ["open", b"1", "returned"]
        assert isinstance(connection.log[3][1], exceptions.ConnectionClosedByClient)


def test_blocked_connection_timeout() -> None:
    def script(session: Session) -> None:
        session.open()
        session.send(method(0, spec.Connection.Blocked("memory")))
        session.hold()

    with scripted_broker(script) as peer:
        connection = logged(parameters(peer, blocked_connection_timeout=0.1))
        connection.add_on_connection_blocked_callback(lambda _, method_frame: connection.log.append(method_frame))
        connection.run(lambda: len(connection.log) == 3)
        blocked = connection.log[1]
        assert isinstance(blocked, frame.Method) and blocked.method.reason == "memory"
        assert isinstance(connection.log[2][1], exceptions.ConnectionBlockedTimeout)


def test_unblocked_in_time() -> None:
    def script(session: Session) -> None:
        session.open()
        session.send(method(0, spec.Connection.Blocked("memory")), method(0, spec.Connection.Unblocked()))
        session.close_politely()

    with scripted_broker(script) as peer, opened(parameters(peer, blocked_connection_timeout=0.1)) as connection:
        connection.add_on_connection_unblocked_callback(lambda _, method_frame: connection.log.append(method_frame))
        connection.run_for(0.3)
        assert connection.is_open


def test_a_new_secret(broker: Broker) -> None:
    with opened(broker.parameters()) as connection:
        connection.update_secret("guest", "test", connection.log.append)
        connection.update_secret("guest", "test")
        connection.run(lambda: connection.log)
        assert isinstance(connection.log[0].method, spec.Connection.UpdateSecretOk)
        with pytest.raises(TypeError):
            connection.update_secret("guest", "test", 5)  # type: ignore[arg-type]  # that is the mistake


def test_heartbeats_are_sent_and_silence_is_noticed() -> None:
    received: list[Any] = []

    def script(session: Session) -> None:
        session.open(spec.Connection.Tune(10, 131072, 1))
        while True:
            received.append(session.receive())

    with scripted_broker(script) as peer:
        connection = logged(parameters(peer))
        before = time.monotonic()
        connection.run(lambda: len(connection.log) == 2)
        assert time.monotonic() - before >= 1.9
        assert isinstance(connection.log[1][1], exceptions.AMQPHeartbeatTimeout)
    assert received and all(isinstance(item, frame.Heartbeat) for item in received)


@pytest.mark.parametrize(("ours", "tuned"), [(None, 60), (0, 0), (10, 10), (lambda it, proposed: proposed // 2, 30)])
def test_the_heartbeat_is_negotiated(ours: Any, tuned: int) -> None:
    seen: list[int] = []

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, spec.Connection.Start(0, 9, {}, "PLAIN", "en_US")))
        session.expect(spec.Connection.StartOk, spec.Connection.Tune(10, 131072, 60))
        seen.append(int(session.expect(spec.Connection.TuneOk).method.heartbeat or 0))
        session.expect(spec.Connection.Open, spec.Connection.OpenOk())
        session.close_politely()

    with scripted_broker(script) as peer, opened(parameters(peer, heartbeat=ours)):
        pass
    assert seen == [tuned]


def test_channels_have_numbers(broker: Broker) -> None:
    with opened(broker.parameters()) as connection:
        numbers = [connection.channel().channel_number, connection.channel(7).channel_number]
        assert numbers == [1, 7]
        for wrong in ("1", 7, 100_000):
            with pytest.raises(exceptions.InvalidChannelNumber):
                connection.channel(wrong)  # type: ignore[arg-type]  # that is the mistake
        with pytest.raises(TypeError):
            connection.channel(on_open_callback=5)  # type: ignore[arg-type]  # that is the mistake
        assert connection.channel().channel_number == 2


def test_a_subclass_can_make_channels_of_its_own(broker: Broker) -> None:
    class Mine(pika.channel.Channel):
        pass

    class MineConnection(PlainConnection):
        def _create_channel(self, channel_number: Any, on_open_callback: Any) -> Mine:
            return Mine(self, channel_number, on_open_callback)

    connection = MineConnection(broker.parameters())
    connection.run(lambda: connection.is_open)
    channel = connection.channel(on_open_callback=connection.log.append)
    connection.run(lambda: connection.log)
    assert connection.log == [channel] and type(channel) is Mine
    connection.close()
    connection.run(lambda: connection.sock is None)


def test_the_abstract_methods() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Connection()  # type: ignore[abstract]  # that is the test
    assert Connection.__abstractmethods__ == {
        "_adapter_add_callback_threadsafe",
        "_adapter_call_later",
        "_adapter_connect_stream",
        "_adapter_disconnect_stream",
        "_adapter_emit_data",
        "_adapter_remove_timeout",
    }
