"""A connection that is kept busy by wake-ups, by an alarm or by a flood, and what it must not overlook meanwhile."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

import pika
import pika.broker
from pika import exceptions, spec
from tests.support.bounded import PATIENCE
from tests.support.encoding import method
from tests.support.interrupt import Interruption
from tests.support.scripted_broker import Session, delivery, scripted_broker
from tests.support.signals import alarm, needs_alarms

BlockingChannel = pika.adapters.blocking_connection.BlockingChannel


@pytest.mark.slow
def test_wake_ups_are_no_silence() -> None:
    """After a long stretch of work, callbacks from other threads end one wait after the other: what has arrived from
    the broker meanwhile is read all the same, before anybody calls it silent."""
    with pika.broker.Broker() as broker:
        parameters = pika.URLParameters(broker.url)
        parameters.heartbeat = 1
        with pika.BlockingConnection(parameters) as connection:
            time.sleep(2.5)
            again = 20

            def wake() -> None:
                nonlocal again
                if again:
                    again -= 1
                    connection.add_callback_threadsafe(wake)

            # Each of these is there before the wait that it ends.
            wake()
            while again:
                connection.process_data_events()
            connection.sleep(0.5)
            assert connection.is_open


@needs_alarms
@pytest.mark.slow
def test_waiting_for_events_under_an_alarm_has_its_limit() -> None:
    """A publish that the alarm stalled was given up by a signal handler: its rest does not hold up what comes next."""

    def give_up() -> None:
        raise Interruption

    with pika.broker.Broker() as broker:
        parameters = pika.URLParameters(broker.url)
        parameters.heartbeat = 1
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.queue_declare("jobs")
        broker.block("low on memory")
        with alarm(1, give_up), pytest.raises(Interruption):
            while True:
                channel.basic_publish("", "jobs", bytes(5_000_000))
        # Far above the limits below, and far below what a hang takes.
        with alarm(PATIENCE, give_up):
            connection.process_data_events(0)
            # Long enough for a heartbeat to arrive and to be due.
            connection.process_data_events(1.5)
            connection.sleep(0.5)
        assert connection.is_open
        broker.unblock()
        connection.close()


def test_a_flood_of_messages_does_not_hold_up_the_end_of_an_alarm_that_takes_too_long() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.send(method(0, spec.Connection.Blocked("low on memory")))
        block = delivery(number, tag, 1, bytes(100)) * 500
        with contextlib.suppress(OSError):
            while True:
                session.send(block)

    with scripted_broker(script) as peer:
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(peer.host, peer.port, blocked_connection_timeout=0.3, heartbeat=0)
        )
        channel = connection.channel()
        channel.basic_consume("jobs", lambda *message: None, auto_ack=True)
        deadline = time.monotonic() + 60
        with pytest.raises(exceptions.ConnectionBlockedTimeout, match=r"0.3 seconds: low on memory; see the broker's"):
            while time.monotonic() < deadline:
                connection.process_data_events(0.1)


class _Operations:
    """What a signal handler must not call in the middle of I/O, since nobody could wait for the answer."""

    @staticmethod
    def get(channel: BlockingChannel) -> object:
        return channel.basic_get("jobs", auto_ack=True)

    @staticmethod
    def declare(channel: BlockingChannel) -> object:
        return channel.queue_declare("another")

    @staticmethod
    def delete(channel: BlockingChannel) -> object:
        return channel.queue_delete("jobs")

    @staticmethod
    def flow(channel: BlockingChannel) -> object:
        return channel.flow(True)

    @staticmethod
    def publish(channel: BlockingChannel) -> object:
        return channel.basic_publish("", "jobs", b"confirmed")

    @staticmethod
    def open(channel: BlockingChannel) -> object:
        return channel.connection.channel()


@pytest.mark.parametrize("name", [name for name in vars(_Operations) if not name.startswith("_")])
def test_what_is_refused_in_the_middle_of_io_is_not_sent(name: str) -> None:
    """Seen through a consumer's patch on `_on_deliver`, which runs where a signal handler would find I/O under way."""
    operation = getattr(_Operations, name)
    outcomes: list[Any] = []
    with pika.broker.Broker() as broker, pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel, other = connection.channel(), connection.channel()
        channel.queue_declare("jobs")
        channel.queue_declare("wake")
        other.confirm_delivery()
        channel.basic_publish("", "jobs", b"message")

        def on_deliver(*delivery: object) -> None:
            try:
                outcomes.append(operation(other))
            except exceptions.ReentrancyError as error:
                outcomes.append(error)

        channel.basic_consume("wake", lambda *message: None, auto_ack=True)
        channel._impl._on_deliver = on_deliver  # type: ignore[method-assign]
        connection.channel().basic_publish("", "wake", b"now")
        deadline = time.monotonic() + 30
        while not outcomes and time.monotonic() < deadline:
            connection.process_data_events(0.1)
        assert [type(outcome) for outcome in outcomes] == [exceptions.ReentrancyError]
        observer = connection.channel()
        assert observer.queue_declare("jobs", passive=True).method.message_count == 1
        with pytest.raises(exceptions.ChannelClosedByBroker, match="another"):
            observer.queue_declare("another", passive=True)
        # And the channel it was refused on works.
        other.basic_publish("", "jobs", b"later")
        assert other.basic_get("jobs", auto_ack=True)[2] == b"message"
