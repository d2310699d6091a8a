"""Heartbeats are sent whatever the program does, and silence is judged by what has been read."""

from __future__ import annotations

import threading
import time

import pytest

import pika
from pika import frame, spec
from pika.client import threaded_io
from pika.client.inbox import MOST_MESSAGES
from pika.client.threaded_channel import Channel
from tests.support.bounded import PATIENCE, eventually, side_by_side
from tests.support.brokers import Target
from tests.support.encoding import method
from tests.support.scripted_broker import START, Session, delivery, scripted_broker
from tests.support.threaded import fill, ready

HEARTBEAT = 1


def connect(target: Target) -> pika.Connection:
    return pika.connect(target.parameters(heartbeat=HEARTBEAT))


def slow_handler(target: Target) -> None:
    """A handler takes ten heartbeats; then it acknowledges."""
    with connect(target) as connection:
        channel = connection.channel(prefetch=1)
        queue = channel.queue_declare("", exclusive=True).method.queue
        done = threading.Event()

        def on_message(own: Channel, method: spec.Basic.Deliver, _properties: object, _body: bytes) -> None:
            time.sleep(10 * HEARTBEAT)
            own.basic_ack(method.delivery_tag)
            own.flow(True)
            done.set()

        channel.basic_consume(queue, on_message)
        channel.basic_publish("", queue, b"")
        assert done.wait(PATIENCE)
        assert ready(channel, queue) == 0


def full_inbox(target: Target) -> None:
    """For four heartbeats nothing is read, because the handler does not keep up: neither side thinks the other dead."""
    with connect(target) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        count = 8 * MOST_MESSAGES
        fill(channel, queue, count, size=4096)
        seen = 0
        paused = threading.Event()

        def on_message(_channel: object, _method: object, _properties: object, _body: bytes) -> None:
            nonlocal seen
            if not seen:
                eventually(lambda: connection._link.io.paused)
                paused.set()
                time.sleep(4 * HEARTBEAT)
            seen += 1

        channel.basic_consume(queue, on_message, auto_ack=True)
        assert paused.wait(PATIENCE)
        eventually(lambda: seen == count)
        assert connection.is_open


def slow_loop(target: Target) -> None:
    """A loop over messages takes four heartbeats over one of them."""
    with connect(target) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"")
        for message in channel.consume(queue):
            time.sleep(4 * HEARTBEAT)
            message.ack()
            break
        assert channel.flow(True)


def idle(target: Target) -> None:
    """Nobody calls anything for four heartbeats."""
    with connect(target) as connection:
        time.sleep(4 * HEARTBEAT)
        connection.channel().queue_declare("", exclusive=True)


def test_heartbeats_while_the_broker_opens_the_virtual_host() -> None:
    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, START))
        session.expect(spec.Connection.StartOk, spec.Connection.Tune(2047, 131072, HEARTBEAT))
        session.expect(spec.Connection.TuneOk)
        session.expect(spec.Connection.Open)
        while not isinstance(session.receive(), frame.Heartbeat):
            pass
        session.send(method(0, spec.Connection.OpenOk()))
        session.close_politely()

    with scripted_broker(script) as peer:
        parameters = pika.ConnectionParameters("127.0.0.1", peer.port, heartbeat=HEARTBEAT, stack_timeout=PATIENCE)
        with pika.connect(parameters) as connection:
            assert connection.is_open


def test_the_end_of_an_alarm_behind_what_nobody_has_room_for() -> None:
    """It came in time, but nothing is read while the handler does not keep up."""
    sent, late = threading.Event(), threading.Event()

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.send(method(0, spec.Connection.Blocked("low on memory")))
        session.send(*(delivery(number, tag, count, bytes(200)) for count in range(1, 3001)))
        eventually(paused.is_set)
        session.send(*(delivery(number, tag, count, bytes(200)) for count in range(3001, 4001)))
        session.send(method(0, spec.Connection.Unblocked()))
        sent.set()
        session.close_politely()

    paused = threading.Event()
    with scripted_broker(script) as peer:
        parameters = pika.ConnectionParameters("127.0.0.1", peer.port, blocked_connection_timeout=5)
        with pika.connect(parameters) as connection:
            connection.add_on_connection_unblocked_callback(lambda *_: late.set())
            connection.add_on_close_callback(lambda *_: late.set())
            connection.channel().basic_consume("queue", lambda *_: late.wait(PATIENCE), auto_ack=True)
            eventually(lambda: connection._link.io.paused)
            paused.set()
            assert sent.wait(PATIENCE)
            assert late.wait(PATIENCE)
            assert connection.is_open
            assert not connection.is_blocked


def test_consumers_that_wait_for_each_other_are_told_of(
    connection: pika.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler waits for what comes behind more than has room: once, a warning says what would help."""
    monkeypatch.setattr(threaded_io, "PAUSE_TO_TELL_OF", 0.1)
    setup, answering = connection.channel(), connection.channel()
    work, answers = (setup.queue_declare("", exclusive=True).method.queue for _ in range(2))
    fill(setup, work, 3 * MOST_MESSAGES, size=1000)
    answered = threading.Event()

    def on_message(*_: object) -> None:
        if not answered.is_set():
            eventually(lambda: connection._link.io.paused)
            answering.basic_publish("", answers, b"")
            answered.wait(PATIENCE)

    answering.basic_consume(answers, lambda *_: answered.set(), auto_ack=True)
    tag = connection.channel().basic_consume(work, on_message, auto_ack=True)

    def told() -> int:
        texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        return sum(tag in text and "prefetch" in text for text in texts)

    eventually(told)
    time.sleep(0.5)
    assert told() == 1
    # Whoever waits for an answer has the others' read too.
    setup.queue_declare(answers, passive=True)
    assert answered.wait(PATIENCE)


@pytest.mark.slow
def test_a_connection_that_is_busy_is_alive(target: Target) -> None:
    programs = (slow_handler, full_inbox, slow_loop, idle)
    side_by_side([lambda program=program: program(target) for program in programs])  # type: ignore[misc]
