"""BlockingConnection on both brokers: connecting, channels, events, timers, threads, closing."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.support.bounded import eventually
from tests.support.consuming import pump
from tests.support.peer import free_port
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker, RabbitMQ
from tests.support.scripted_broker import Session, scripted_broker

# Connecting


def test_connecting_with_one_or_several_parameters(broker: Broker) -> None:
    good = broker.parameters()
    refused = pika.ConnectionParameters("127.0.0.1", free_port())
    for parameters in (good, [good], (refused, good), [refused, refused, good]):
        with pika.BlockingConnection(parameters) as connection:
            assert state(connection) == (True, False)
            assert connection._impl.params == good
            assert connection.basic_nack_supported and connection.publisher_confirms_supported
            assert connection.consumer_cancel_notify_supported and connection.exchange_exchange_bindings_supported
        assert state(connection) == (False, True)


def state(connection: BlockingConnection) -> tuple[bool, bool]:
    return connection.is_open, connection.is_closed


def test_when_all_parameters_fail_the_error_names_each() -> None:
    ports = [free_port(), free_port()]
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        pika.BlockingConnection([pika.ConnectionParameters("127.0.0.1", port) for port in ports])
    for port in ports:
        assert f"127.0.0.1:{port}" in str(caught.value)
    assert "refused" in str(caught.value)


@pytest.mark.parametrize("bad", [[], 5, "amqp://localhost"])
def test_what_are_no_parameters(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        pika.BlockingConnection(bad)
    assert str(caught.value)


def test_attempts_wait_for_a_broker_that_comes(broker: Broker) -> None:
    parameters = broker.parameters(connection_attempts=3, retry_delay=0.01)
    refused = pika.ConnectionParameters("127.0.0.1", free_port(), connection_attempts=3, retry_delay=0.01)
    with pytest.raises(exceptions.AMQPConnectionError, match="3 times"):
        pika.BlockingConnection(refused)
    pika.BlockingConnection([refused, parameters]).close()


def test_wrong_credentials_and_virtual_host(broker: Broker) -> None:
    where = f"{broker.host}:{broker.port}"
    for credentials in (pika.PlainCredentials("guest", "wrong"), pika.PlainCredentials("pika-nobody", "guest")):
        with pytest.raises(exceptions.ProbableAuthenticationError) as caught:
            pika.BlockingConnection(broker.parameters(credentials=credentials))
        for word in (where, "ACCESS_REFUSED", "403", "authentication"):
            assert word in str(caught.value)
    with pytest.raises(exceptions.ProbableAccessDeniedError) as denied:
        pika.BlockingConnection(broker.parameters(virtual_host="pika-missing"))
    for word in (where, "NOT_ALLOWED", "pika-missing", "530"):
        assert word in str(denied.value)


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(exceptions.AMQPConnectionError, match=r"pika-missing\.invalid:5672") as caught:
        pika.BlockingConnection(pika.ConnectionParameters("pika-missing.invalid"))
    assert isinstance(caught.value, OSError)


# Channels


def test_channel_numbers(connection: BlockingConnection) -> None:
    channels = [connection.channel() for _ in range(3)]
    assert [int(channel) for channel in channels] == [1, 2, 3]
    channels[1].close()
    assert connection.channel().channel_number == 2
    assert connection.channel(9).channel_number == 9
    assert connection.channel().channel_number == 4
    for wrong in (9, -1, 70_000, "1", 1.5):
        with pytest.raises(exceptions.InvalidChannelNumber, match=str(wrong)):
            connection.channel(wrong)  # type: ignore[arg-type]  # that is the mistake
    assert connection.is_open
    assert repr(channels[0]).startswith("<BlockingChannel") and channels[0].connection is connection


def test_the_channels_of_a_connection_come_to_an_end(broker: Broker) -> None:
    with pika.BlockingConnection(broker.parameters(channel_max=2)) as connection:
        first = connection.channel()
        connection.channel()
        with pytest.raises(exceptions.NoFreeChannels):
            connection.channel()
        first.close()
        assert connection.channel().channel_number == 1


# Closing


def test_closing(connection: BlockingConnection) -> None:
    channels = [connection.channel(), connection.channel()]
    connection.close()
    assert connection.is_closed and all(channel.is_closed for channel in channels)
    with pytest.raises(exceptions.ConnectionWrongStateError, match="closed connection"):
        connection.close()
    calls: list[Callable[[], object]] = [
        connection.channel,
        connection.process_data_events,
        lambda: connection.sleep(0.01),
        lambda: connection.call_later(0, print),
        lambda: connection.add_callback_threadsafe(print),
        lambda: connection.update_secret("guest", "test"),
        lambda: channels[0].basic_get("queue"),
    ]
    for call in calls:
        with pytest.raises(exceptions.ConnectionWrongStateError):
            call()
    for call in (
        lambda: channels[0].basic_publish("", "queue", b""),
        lambda: channels[0].basic_ack(1),
        lambda: next(channels[0].consume("queue")),
        channels[0].start_consuming,
        channels[0].close,
    ):
        with pytest.raises(exceptions.ChannelWrongStateError, match="Normal shutdown"):
            call()


def test_with_closes_the_connection_and_lets_the_error_out(broker: Broker) -> None:
    with pytest.raises(ZeroDivisionError, match="mine"), pika.BlockingConnection(broker.parameters()) as connection:
        raise ZeroDivisionError("mine")
    assert connection.is_closed
    with pika.BlockingConnection(broker.parameters()) as connection:
        connection.close()


def test_the_reason_for_closing_is_in_the_brokers_log(spare_rabbitmq: RabbitMQ) -> None:
    node = spare_rabbitmq
    name = uuid.uuid4().hex
    connection = pika.BlockingConnection(node.parameters(client_properties={"connection_name": name}))
    connection.close(320, "for the log")
    eventually(lambda: re.search(f"closing AMQP connection .*{name}", node.log()))
    connection = pika.BlockingConnection(node.parameters())
    channel = connection.channel()
    node.ctl("close_all_connections", "maintenance")
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        connection.sleep(20)
    assert caught.value.reply_code == 320
    for word in ("maintenance", "320", f"127.0.0.1:{node.port}"):
        assert word in str(caught.value)
    with pytest.raises(exceptions.ChannelWrongStateError, match="maintenance"):
        channel.queue_declare("queue")


# Events


def test_process_data_events_returns_when_its_time_is_over(connection: BlockingConnection) -> None:
    connection.process_data_events()
    connection.process_data_events(0)
    connection.process_data_events(0.2)


def test_process_data_events_returns_when_something_was_called(connection: BlockingConnection) -> None:
    """With a limit that would fail the test, and without any."""
    called: list[str] = []
    for limit in (100, None):
        connection.call_later(0.05, lambda: called.append("timer"))
        connection.process_data_events(limit)
    assert called == ["timer", "timer"]


def test_process_data_events_in_a_callback_calls_nobody(connection: BlockingConnection) -> None:
    order: list[str] = []

    def outer() -> None:
        connection.call_later(0, lambda: order.append("inner"))
        connection.process_data_events(0.05)
        connection.sleep(0.05)
        order.append("outer")

    connection.call_later(0, outer)
    pump(connection, lambda: len(order) == 2)
    assert order == ["outer", "inner"]


def test_sleep_sleeps_and_calls_back(connection: BlockingConnection) -> None:
    called: list[int] = []
    for delay in (3, 1, 2):
        connection.call_later(delay / 5, lambda delay=delay: called.append(delay))  # type: ignore[misc]
    connection.sleep(0.7)
    assert called == [1, 2, 3]


def test_timers_can_be_taken_back(connection: BlockingConnection) -> None:
    called: list[str] = []
    connection.call_later(0.02, lambda: connection.remove_timeout(late))
    late = connection.call_later(0.05, lambda: called.append("late"))
    gone = connection.call_later(0, lambda: called.append("gone"))
    connection.remove_timeout(gone)
    done = connection.call_later(0, lambda: called.append("done"))
    connection.sleep(0.2)
    connection.remove_timeout(done)
    assert called == ["done"]


def test_a_timer_that_is_due_can_be_taken_back_by_another(connection: BlockingConnection) -> None:
    called: list[str] = []

    def first() -> None:
        called.append("first")
        connection.remove_timeout(second)

    connection.call_later(0, first)
    second = connection.call_later(0, lambda: called.append("second"))
    connection.sleep(0.05)
    assert called == ["first"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda connection: connection.call_later(-1, print), ValueError),
        (lambda connection: connection.call_later(0, None), TypeError),
        (lambda connection: connection.remove_timeout(None), AttributeError),
        (lambda connection: connection.add_callback_threadsafe("print"), TypeError),
        (lambda connection: connection.add_on_connection_blocked_callback(None), TypeError),
    ],
)
def test_bad_arguments(connection: BlockingConnection, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        call(connection)
    assert str(caught.value)
    connection.process_data_events(0)


def test_a_timer_that_raises(connection: BlockingConnection) -> None:
    called: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError("mine")

    connection.call_later(0, fail)
    connection.call_later(0, lambda: called.append("after"))
    with pytest.raises(ZeroDivisionError, match="mine"):
        connection.sleep(10)
    connection.process_data_events(0)
    assert called == ["after"]


def test_callbacks_from_eight_threads(connection: BlockingConnection) -> None:
    seen: list[tuple[int, int]] = []
    main = threading.get_ident()

    def note(thread: int, number: int) -> None:
        assert threading.get_ident() == main
        seen.append((thread, number))

    def run(thread: int) -> None:
        for number in range(250):
            connection.add_callback_threadsafe(_bound(note, thread, number))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    pump(connection, lambda: len(seen) == 8 * 250)
    for thread in threads:
        thread.join()
    assert sorted(seen) == [(thread, number) for thread in range(8) for number in range(250)]
    for index in range(8):
        assert [number for thread, number in seen if thread == index] == list(range(250))


def _bound(function: Any, *arguments: Any) -> Any:
    return lambda: function(*arguments)


def test_a_callback_from_a_thread_wakes_start_consuming(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    channel.basic_consume(queue, print)
    stopper = threading.Timer(0.1, lambda: connection.add_callback_threadsafe(channel.stop_consuming))
    stopper.start()
    channel.start_consuming()
    stopper.join()
    assert channel.consumer_tags == []


# Blocked, secrets, heartbeats


@contextlib.contextmanager
def memory_alarm(broker: Broker) -> Iterator[None]:
    broker.raise_memory_alarm()
    try:
        yield
    finally:
        broker.end_memory_alarm()


def test_blocked_and_unblocked(spare_rabbitmq: RabbitMQ) -> None:
    node = spare_rabbitmq
    connection = pika.BlockingConnection(node.parameters())
    events: list[tuple[Any, Any]] = []
    connection.add_on_connection_blocked_callback(lambda *event: events.append(event))
    connection.add_on_connection_unblocked_callback(lambda *event: events.append(event))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    with memory_alarm(node):
        channel.basic_publish("", queue, b"under the alarm")
        pump(connection, lambda: len(events) == 1)
    pump(connection, lambda: len(events) == 2)
    assert [event[0] for event in events] == [connection, connection]
    assert isinstance(events[0][1].method, spec.Connection.Blocked) and "memory" in events[0][1].method.reason
    assert isinstance(events[1][1].method, spec.Connection.Unblocked)
    assert channel.basic_get(queue)[2] == b"under the alarm"
    connection.close()

    parameters = node.parameters(blocked_connection_timeout=0.5)
    for waiting in ("sleep", "confirm"):
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.confirm_delivery()
        with memory_alarm(node), pytest.raises(exceptions.ConnectionBlockedTimeout, match=f"127.0.0.1:{node.port}"):
            # The broker takes the first one, and blocks then.
            channel.basic_publish("", "queue", b"")
            if waiting == "sleep":
                connection.sleep(60)
            else:
                channel.basic_publish("", "queue", b"")
        assert connection.is_closed


def test_a_publish_that_the_alarm_holds_up_raises_when_the_connection_is_given_up(spare_rabbitmq: RabbitMQ) -> None:
    """Megabytes that the broker does not read: the publish itself ends with the reason, it is not lost in silence."""
    node = spare_rabbitmq
    connection = pika.BlockingConnection(node.parameters(blocked_connection_timeout=0.5))
    channel = connection.channel()
    with memory_alarm(node), pytest.raises(exceptions.ConnectionBlockedTimeout):
        for _ in range(50):
            channel.basic_publish("", "queue", bytes(4 << 20))
    assert connection.is_closed


def test_a_new_secret(connection: BlockingConnection) -> None:
    connection.update_secret("guest", "the old one expires")
    assert connection.channel().is_open


@pytest.mark.slow
def test_heartbeats_of_an_idle_connection(broker: Broker) -> None:
    with pika.BlockingConnection(broker.parameters(heartbeat=1)) as connection:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            connection.process_data_events(1)
        assert connection.channel().is_open


@pytest.mark.slow
def test_heartbeats_of_one_that_only_waits(broker: Broker) -> None:
    with pika.BlockingConnection(broker.parameters(heartbeat=1)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        connection.call_later(4, channel.stop_consuming)
        channel.basic_consume(queue, print)
        channel.start_consuming()
        assert channel.is_open


@pytest.mark.slow
def test_heartbeats_of_one_that_only_publishes(broker: Broker) -> None:
    """It never pumps: its publishes look for heartbeats, and its bytes are heartbeats to the broker."""
    with pika.BlockingConnection(broker.parameters(heartbeat=1)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        end = time.monotonic() + 5
        published = 0
        while time.monotonic() < end:
            channel.basic_publish("", queue, b"x")
            published += 1
            time.sleep(0.1)
        assert channel.queue_purge(queue).method.message_count == published


def test_a_frozen_network_is_noticed(broker: Broker) -> None:
    with Proxy(broker.port, broker.host) as proxy:
        parameters = pika.URLParameters(proxy.url)
        parameters.heartbeat = 1
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        connection.sleep(0.1)
        proxy.freeze()
        with pytest.raises(exceptions.AMQPHeartbeatTimeout) as caught:
            channel.queue_declare("queue")
        assert f"127.0.0.1:{proxy.port}" in str(caught.value)
        assert "heartbeat" in str(caught.value)
        assert connection.is_closed and channel.is_closed


@pytest.mark.slow
def test_a_busy_program_is_no_silence() -> None:
    """What arrived while the program did not look is read before the broker is judged."""

    def script(session: Session) -> None:
        session.open(spec.Connection.Tune(10, 131072, 1))
        session.peer.socket.settimeout(0.2)
        while True:
            session.send(frame.HEARTBEAT_FRAME)
            with contextlib.suppress(TimeoutError, socket.timeout):
                session.expect(spec.Channel.Open, spec.Channel.OpenOk())

    with scripted_broker(script) as peer:
        connection = pika.BlockingConnection(pika.ConnectionParameters(peer.host, peer.port))
        for _ in range(2):
            time.sleep(2.5)
            connection.process_data_events(0)
            connection.process_data_events(0)
            connection.process_data_events(0)
            assert connection.channel().is_open
        connection._impl.stream.close()
