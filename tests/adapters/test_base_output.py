"""What a connection on an event loop does when its output has to wait, and when its loop is busy, whichever loop."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import pika
from pika import exceptions
from pika.adapters.base_connection import OutputLimitExceeded
from pika.frame import HEARTBEAT_FRAME
from tests.adapters.test_base_connection import ended
from tests.support.adapter_loops import Loop, on_each_at_once
from tests.support.bounded import PATIENCE
from tests.support.certificates import Authority
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, scripted_broker

Parameters = pika.ConnectionParameters


# Back-pressure


def test_room_that_reading_has_made(loop: Loop, tmp_path: Path) -> None:
    """Over TLS a read sends too: who waits for room hears of it, also when nothing else is sent."""
    paused, over = threading.Event(), threading.Event()

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        assert paused.wait(PATIENCE)
        # The loop is busy meanwhile: it finds room and bytes to read in the same turn.
        taken = 0
        while taken < 900_000:
            taken += len(session.peer.recv_some())
        session.send(HEARTBEAT_FRAME)
        session.peer.socket.settimeout(0.1)
        while not over.is_set():
            with contextlib.suppress(OSError):
                session.peer.recv_some()

    authority = Authority(tmp_path)
    context = authority.server_context(authority.issue("server", hosts=("localhost", "127.0.0.1")))
    with scripted_broker(script, tls=context) as peer:
        options = pika.SSLOptions(authority.client_context(), "127.0.0.1")
        connection = loop.connect(Parameters("127.0.0.1", peer.port, heartbeat=0, ssl_options=options))
        connection.OUTPUT_HIGH_MARK, connection.OUTPUT_LOW_MARK = 1_000_000, 100_000
        connection.add_on_output_resumed_callback(lambda connection: loop.log.append("resumed"))
        loop.run(lambda: connection.is_open)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        while not connection.is_output_paused:
            channel.basic_publish("", "queue", bytes(20_000))
        paused.set()
        time.sleep(1)
        loop.run(lambda: "resumed" in loop.log)
        assert not connection.is_output_paused
        over.set()
        connection._abort(exceptions.StreamLostError("enough"))
        assert ended(loop).args == ("enough",)


def test_marks(loop: Loop) -> None:
    ready = threading.Event()
    total: list[int] = []

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        assert ready.wait(PATIENCE)
        total.append(len(session.peer.recv_until_end()))

    with scripted_broker(script) as peer:
        connection = loop.connect(Parameters(peer.host, peer.port))
        connection.OUTPUT_HIGH_MARK, connection.OUTPUT_LOW_MARK = 1_000_000, 100_000
        connection.OUTPUT_LIMIT = 30_000_000
        connection.add_on_output_paused_callback(lambda connection: loop.log.append("paused"))
        connection.add_on_output_resumed_callback(lambda connection: loop.log.append("resumed"))
        loop.run(lambda: connection.is_open)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        published = 0
        while not connection.is_output_paused:
            channel.basic_publish("", "queue", bytes(100_000))
            published += 1
        assert loop.log == ["open", "paused"] and connection.unsent_bytes > 1_000_000
        with pytest.raises(OutputLimitExceeded, match="OUTPUT_LIMIT"):
            while published < 1000:
                channel.basic_publish("", "queue", bytes(100_000))
                published += 1
        waiting = connection.unsent_bytes
        assert 30_000_000 < waiting < 30_200_000
        ready.set()
        loop.run(lambda: "resumed" in loop.log)
        assert connection.unsent_bytes <= 100_000
        loop.run(lambda: connection.unsent_bytes == 0)
        assert loop.log == ["open", "paused", "resumed"]
        connection._abort(exceptions.StreamLostError("enough"))
        assert ended(loop).args == ("enough",)
    assert total[0] > published * 100_000


def test_what_waits_for_the_loop_to_go_on_is_unsent(loop: Loop, broker: Broker) -> None:
    """A program may wait for nothing to be unsent before it stops its loop."""
    connection = loop.connect(pika.URLParameters(broker.url))
    loop.run(lambda: connection.is_open)
    channel = connection.channel()
    loop.run(lambda: channel.is_open)
    unsent: list[int] = []

    def publish() -> None:
        for _ in range(10):
            channel.basic_publish("", "no such queue", bytes(1000))
        unsent.append(connection.unsent_bytes)

    connection._adapter_call_later(0, publish)
    loop.run(lambda: unsent)
    assert unsent[0] == 0 or unsent[0] > 5000
    loop.run(lambda: connection.unsent_bytes == 0)
    connection.close()
    loop.run(lambda: connection.is_closed)


def test_what_a_callback_of_the_marks_raises_does_not_fail_the_publish(loop: Loop) -> None:
    def fail(connection: Any) -> None:
        raise ZeroDivisionError("mine")

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        assert failed.wait(PATIENCE)
        session.peer.recv_until_end()

    failed = threading.Event()
    with scripted_broker(script) as peer:
        connection = loop.connect(Parameters(peer.host, peer.port))
        connection.OUTPUT_HIGH_MARK = connection.OUTPUT_LOW_MARK = 1_000_000
        connection.add_on_output_paused_callback(fail)
        loop.run(lambda: connection.is_open)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        channel.basic_publish("", "queue", bytes(20_000_000))
        if loop.kind == "select":
            with pytest.raises(ZeroDivisionError, match="mine"):
                loop.run(lambda: False)
        else:
            loop.run(lambda: loop.raised)
        assert connection.is_open
        failed.set()
        loop.run(lambda: not connection.is_output_paused)
        connection._abort(exceptions.StreamLostError("enough"))
        ended(loop)


@pytest.mark.parametrize("how", ["broker", "client"])
def test_an_end_is_the_end_of_a_pause(loop: Loop, how: str) -> None:
    """Nothing was sent any more, so nobody is told to resume; the close callback tells."""
    pausing = threading.Event()

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        assert pausing.wait(PATIENCE)

    with scripted_broker(script) as peer:
        connection = loop.connect(Parameters(peer.host, peer.port))
        connection.OUTPUT_HIGH_MARK = connection.OUTPUT_LOW_MARK = 1_000_000
        connection.add_on_output_paused_callback(lambda connection: loop.log.append("paused"))
        connection.add_on_output_resumed_callback(lambda connection: loop.log.append("resumed"))
        connection.add_on_close_callback(lambda connection, error: loop.log.append(connection.is_output_paused))
        loop.run(lambda: connection.is_open)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        channel.basic_publish("", "queue", bytes(20_000_000))
        assert connection.is_output_paused
        if how == "broker":
            pausing.set()
        else:
            connection._abort(exceptions.ConnectionOpenAborted("enough"))
        ended(loop)
        pausing.set()
    assert connection.is_output_paused is False and connection.unsent_bytes == 0
    assert [entry for entry in loop.log if not isinstance(entry, tuple)] == ["open", "paused", False]


# Heartbeats


@pytest.mark.slow
def test_loops_that_are_blocked_keep_their_connections(broker: Broker) -> None:
    def use(loop: Loop) -> None:
        connection = loop.connect(broker.parameters(heartbeat=1))
        loop.run(lambda: connection.is_open)
        loop.call_later(0, lambda: time.sleep(5))
        loop.run_for(5.5)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        connection.close()
        loop.run(lambda: connection.is_closed)
        assert loop.log[0] == "open" and type(loop.log[1][1]) is exceptions.ConnectionClosedByClient

    assert on_each_at_once(use)


def fill(sock: socket.socket) -> None:
    """Send zeros until nothing more is taken for a while: the kernel makes room as it carries them to the other end."""
    full = 0
    while full < 5:
        full += 1
        for size in (65536, 1):
            with contextlib.suppress(BlockingIOError):
                while sock.send(bytes(size)):
                    full = 0
        time.sleep(0.1)


@pytest.mark.slow
def test_what_the_keeper_could_not_send_goes_out_when_the_loop_is_back(loop: Loop) -> None:
    reading = threading.Event()
    got: list[bytes] = []

    def script(session: Session) -> None:
        session.open(pika.spec.Connection.Tune(2047, 131072, 4))
        assert reading.wait(PATIENCE)
        got.append(session.peer.recv_until_end())

    with scripted_broker(script) as peer:
        connection = loop.connect(Parameters(peer.host, peer.port, heartbeat=4))
        loop.run(lambda: connection.is_open)
        stream = connection._transport.stream
        # To the last byte, past the connection: that has nothing of its own to send.
        fill(connection._transport._sock)
        left: list[bool] = []

        def be_busy() -> None:
            deadline = time.monotonic() + 20
            while not stream.has_output and time.monotonic() < deadline:
                time.sleep(0.05)
            left.append(stream.has_output)
            reading.set()

        loop.call_later(0, be_busy)
        loop.run(lambda: left)
        assert left == [True]
        loop.run(lambda: not stream.has_output)
        connection._abort(exceptions.ConnectionOpenAborted("enough"))
        ended(loop)
    ends = HEARTBEAT_FRAME.replace(b"\0", b"")
    said = got[0].replace(b"\0", b"")
    assert said and said == ends * (len(said) // len(ends))


@pytest.mark.slow
def test_without_the_keeper_the_log_says_that_the_loop_was_blocked(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def use(loop: Loop) -> None:
        connection = loop.connect(broker.parameters(heartbeat=4), background_heartbeats=False)
        loop.run(lambda: connection.is_open)
        loop.call_later(0, lambda: time.sleep(5))
        loop.run_for(5.5)
        connection.close()
        loop.run(lambda: connection.is_closed)

    with caplog.at_level(logging.WARNING, "pika.adapters.base_connection"):
        kinds = on_each_at_once(use)
    told = {record.threadName for record in caplog.records if "the loop was blocked" in record.getMessage()}
    assert len(told) == len(kinds)


@pytest.mark.slow
def test_silence_is_death(loop: Loop) -> None:
    def script(session: Session) -> None:
        session.open(pika.spec.Connection.Tune(2047, 131072, 1))
        session.hold()

    with scripted_broker(script) as peer:
        loop.connect(Parameters(peer.host, peer.port, heartbeat=1))
        assert type(ended(loop)) is exceptions.AMQPHeartbeatTimeout
