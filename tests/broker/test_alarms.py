"""Alarms of the embedded broker, as a program that tests itself against it raises them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pika import exceptions
from pika.broker import Broker
from tests.broker.peer import published
from tests.broker.test_server import connect, opened, serves
from tests.support.bounded import PATIENCE
from tests.support.consuming import pump


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(heartbeat=1) as broker:
        yield broker


def flood(sock: socket.socket, message: bytes) -> None:
    """Send until nothing more is taken."""
    sock.settimeout(0.5)
    with pytest.raises(socket.timeout):
        for _ in range(10_000):
            sock.sendall(message)


def test_a_program_sees_what_it_does_when_it_is_blocked(broker: Broker) -> None:
    """A confirmed publish waits for the end of the alarm, for longer than silence would be death."""
    told: list[str] = []
    with connect(broker) as connection:
        connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda _, frame: told.append("unblocked"))
        channel = connection.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        broker.block("low on disk")
        threading.Timer(3.5, broker.unblock).start()
        channel.basic_publish("", queue, b"late")
        connection.process_data_events(0)
        assert told == ["low on disk", "unblocked"]
        assert channel.basic_get(queue, auto_ack=True)[2] == b"late"


def test_an_alarm_holds_when_block_returns(broker: Broker) -> None:
    with connect(broker) as connection, connect(broker) as other:
        told: list[str] = []
        connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
        channel, others = connection.channel(), other.channel()
        queue = channel.queue_declare("fed").method.queue
        for count in range(20):
            broker.block()
            channel.basic_publish("", queue, b"x")
            while len(told) == count:
                connection.process_data_events(time_limit=PATIENCE)
            assert others.queue_declare(queue, passive=True).method.message_count == count
            broker.unblock()
            assert channel.queue_declare(queue, passive=True).method.message_count == count + 1


@pytest.mark.parametrize("reason", ["low on memory & disk", "", "ü" * 127])
def test_the_reason_is_what_clients_are_told(broker: Broker, reason: str) -> None:
    broker.block(reason)
    with connect(broker) as connection:
        told: list[str] = []
        connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
        connection.channel().basic_publish("", "nowhere", b"x")
        pump(connection, lambda: told)
        assert told == [reason]
        broker.unblock()


def test_what_cannot_be_a_reason(broker: Broker) -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        broker.block("ü" * 128)
    with pytest.raises(TypeError, match="must be str"):
        broker.block(1)  # type: ignore[arg-type]
    assert serves(broker)


def test_a_broker_that_does_not_run_has_no_alarm() -> None:
    broker = Broker()
    with pytest.raises(RuntimeError, match="start it first"):
        broker.block()
    broker.unblock()
    with broker:
        broker.block()
    with broker:
        assert serves(broker)


def test_any_number_of_alarms_from_any_thread(broker: Broker) -> None:
    def change() -> None:
        for _ in range(100):
            broker.block()
            broker.unblock()

    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert serves(broker)


def test_stopping_while_others_block() -> None:
    for _ in range(20):
        broker = Broker()
        broker.start()
        ended = threading.Event()

        def change(broker: Broker = broker, ended: threading.Event = ended) -> None:
            try:
                while True:
                    broker.block()
            except RuntimeError:
                ended.set()

        threading.Thread(target=change, daemon=True).start()
        broker.stop()
        assert ended.wait(PATIENCE)


def test_it_stops_with_blocked_connections() -> None:
    broker = Broker()
    broker.start()
    with opened(broker) as stalled, connect(broker) as told:
        broker.block()
        flood(stalled, published("", "nowhere", bytes(100_000)))
        told.channel().basic_publish("", "nowhere", b"x")
        began = time.monotonic()
        broker.stop()
        assert time.monotonic() - began < PATIENCE
        with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
            told.process_data_events(time_limit=PATIENCE)
        assert caught.value.args[0] == 320


def test_a_client_that_resets_its_blocked_connection_costs_nothing() -> None:
    """The broker's thread sleeps, though selectors report a socket that was reset again and again."""
    calls: list[None] = []
    # Of the threads that are started meanwhile.
    threading.setprofile(lambda frame, event, arg: calls.append(None) if event == "call" else None)
    try:
        broker = Broker(heartbeat=1)
        broker.start()
    finally:
        threading.setprofile(None)
    broker.block()
    sock = opened(broker)
    sock.sendall(published("", "nowhere", b"x"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    time.sleep(0.2)
    sock.close()
    before = len(calls)
    assert before
    time.sleep(1.0)
    # Heartbeats are some dozens of calls a second, and one that does not sleep makes hundreds of thousands.
    assert len(calls) - before < 5000
    broker.unblock()
    assert serves(broker)
    broker.stop()
