"""The example that puts a connection on a plain ``select()``: what its users and pika ask of it."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

import pytest

import pika
from tests.examples.conftest import Start, load
from tests.support.peer import free_port
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker

LoopConnection = load("select_connection_subclass").LoopConnection


class Life:
    """A connection, and what it told.

    :param parameters: where to connect
    :param on_open: called with the connection when it is open
    """

    def __init__(self, parameters: pika.connection.Parameters, on_open: Callable[[Any], object]) -> None:
        self.ends: list[BaseException] = []
        self.connection = LoopConnection(
            parameters,
            on_open_callback=on_open,
            on_open_error_callback=lambda _, reason: self.ends.append(reason),
            on_close_callback=lambda _, reason: self.ends.append(reason),
        )

    def run(self) -> BaseException:
        """Run until it is closed, and return the reason that it told."""
        self.connection.run()
        (end,) = self.ends
        return end


def close(connection: Any) -> None:
    connection.close()


def test_it_sends_itself_messages(rabbitmq: Broker, start_on_both: Start) -> None:
    lines, errors = start_on_both("select_connection_subclass", rabbitmq.url).finish()
    assert lines[:-1] == ["got message 1", "got message 2", "got message 3"]
    assert lines[-1].startswith("closed: (200, 'Normal shutdown')")
    assert errors == ""


def test_no_broker_and_a_wrong_password(rabbitmq: Broker, start_on_both: Start) -> None:
    for url in (f"amqp://127.0.0.1:{free_port()}", rabbitmq.url.replace("guest:guest", "guest:wrong")):
        (line,), errors = start_on_both("select_connection_subclass", url).finish()
        assert line.startswith("not connected: ") and ("refused" in line or "ACCESS_REFUSED" in line)
        assert errors == ""


def test_a_body_that_is_larger_than_what_the_socket_takes(rabbitmq: Broker) -> None:
    body = bytes(range(256)) * (16 << 10)
    received = []

    def on_channel(channel: pika.channel.Channel) -> None:
        channel.queue_declare("", exclusive=True, callback=lambda frame: on_queue(channel, frame.method.queue))

    def on_queue(channel: pika.channel.Channel, queue: str) -> None:
        channel.basic_consume(queue, on_message, auto_ack=True)
        channel.basic_publish("", queue, body)

    def on_message(channel: pika.channel.Channel, method: Any, properties: Any, body: bytes) -> None:
        received.append(body)
        channel.connection.close()

    life = Life(rabbitmq.parameters(), lambda connection: connection.channel(on_open_callback=on_channel))
    assert isinstance(life.run(), pika.exceptions.ConnectionClosedByClient)
    assert received == [body]


def test_callbacks_of_other_threads_come_in_their_order(rabbitmq: Broker) -> None:
    calls: list[tuple[int, int]] = []
    threads = []

    def on_open(connection: Any) -> None:
        for thread in range(4):
            threads.append(threading.Thread(target=hand_over, args=(connection, thread)))
            threads[-1].start()

    def hand_over(connection: Any, thread: int) -> None:
        for number in range(5000):
            connection._adapter_add_callback_threadsafe(lambda call=(thread, number): on_call(connection, call))

    def on_call(connection: Any, call: tuple[int, int]) -> None:
        assert threading.current_thread() is threading.main_thread()
        calls.append(call)
        if len(calls) == 20_000:
            connection.close()

    Life(rabbitmq.parameters(), on_open).run()
    for thread in threads:
        thread.join()
    for thread in range(4):
        assert [number for caller, number in calls if caller == thread] == list(range(5000))


def test_timers_come_in_their_order_unless_cancelled(rabbitmq: Broker) -> None:
    calls: list[str] = []

    def on_open(connection: Any) -> None:
        later = connection._adapter_call_later
        later(0.2, lambda: connection.close())
        later(0.1, lambda: calls.append("second"))
        cancelled = later(0.02, lambda: calls.append("cancelled by the first"))
        late = later(0.1, lambda: calls.append("cancelled at once"))
        later(0.01, lambda: (calls.append("first"), connection._adapter_remove_timeout(cancelled)))
        connection._adapter_remove_timeout(late)
        # So long that both are due in the same turn.
        time.sleep(0.05)

    Life(rabbitmq.parameters(), on_open).run()
    assert calls == ["first", "second"]


@pytest.mark.parametrize(("fail", "expected"), [("cut", EOFError), ("reset", ConnectionResetError)])
def test_a_connection_that_breaks(rabbitmq: Broker, fail: str, expected: type[BaseException]) -> None:
    with Proxy(rabbitmq.port, rabbitmq.host) as proxy:
        life = Life(pika.URLParameters(proxy.url), lambda connection: getattr(proxy, fail)())
        assert isinstance(life.run(), expected)


def test_heartbeats(rabbitmq: Broker) -> None:
    """They keep an idle connection, and find a dead one."""
    idle = []
    with Proxy(rabbitmq.port, rabbitmq.host) as proxy:

        def on_open(connection: Any) -> None:
            connection._adapter_call_later(3.5, lambda: (idle.append(connection.is_open), proxy.freeze()))

        parameters = pika.URLParameters(proxy.url)
        parameters.heartbeat = 1
        assert isinstance(Life(parameters, on_open).run(), pika.exceptions.AMQPHeartbeatTimeout)
    assert idle == [True]


def test_it_turns_in_a_loop_of_its_users(rabbitmq: Broker) -> None:
    life = Life(rabbitmq.parameters(), close)
    began = time.monotonic()
    while not life.ends:
        life.connection.turn(longest=0.01)
        assert time.monotonic() - began < 60
    life.connection.run()
    assert isinstance(life.ends[0], pika.exceptions.ConnectionClosedByClient)
