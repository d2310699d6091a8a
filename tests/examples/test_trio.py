"""The examples on trio: what pika asks of the services of a loop, and what their users see."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowAborted, AMQPConnectionWorkflowFailed
from tests.examples.conftest import Start, Tasks, load
from tests.support.peer import Peer, PeerSocket, free_port
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker
from tests.support.secure_rabbitmq import SecureRabbitMQ

example = load("trio_connection")


def run(function: Callable[[trio.Nursery], Awaitable[object]]) -> None:
    """Run an asynchronous function with a nursery, until that is cancelled; it must not take long."""

    async def main() -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await function(nursery)

    trio.run(main)


def live(parameters: pika.connection.Parameters, on_open: Callable[[Any], object]) -> BaseException:
    """Have a connection, from its opening to its end, and return the reason of that."""
    reasons: list[BaseException] = []

    async def main(nursery: trio.Nursery) -> None:
        def on_end(connection: Any, reason: BaseException) -> None:
            reasons.append(reason)
            connection.ioloop.cancel_scope.cancel()

        services = example.TrioServices(nursery)
        connection = example.TrioConnection(parameters, on_open, on_end, on_end, services)
        assert connection.ioloop is nursery

    run(main)
    (reason,) = reasons
    return reason


def check_large_body(parameters: pika.connection.Parameters) -> None:
    """Publish a body that is larger than what the network takes at once, and get it back."""
    body = bytes(range(256)) * (32 << 10)
    received = []

    def on_channel(channel: pika.channel.Channel) -> None:
        channel.queue_declare("", exclusive=True, callback=lambda frame: on_queue(channel, frame.method.queue))

    def on_queue(channel: pika.channel.Channel, queue: str) -> None:
        channel.basic_consume(queue, on_message, auto_ack=True)
        channel.basic_publish("", queue, body)
        assert channel.connection.unsent_bytes > len(body) // 2

    def on_message(channel: pika.channel.Channel, method: Any, properties: Any, body: bytes) -> None:
        received.append(body)
        assert channel.connection.unsent_bytes == 0
        channel.connection.close()

    end = live(parameters, lambda connection: connection.channel(on_open_callback=on_channel))
    assert isinstance(end, pika.exceptions.ConnectionClosedByClient)
    assert received == [body]


class TestConsumer:
    def test_it_consumes_until_ctrl_c(self, tasks: Tasks, start: Start) -> None:
        bodies = [f"task {number}" for number in range(25)]
        tasks.publish(*bodies)
        consumer = start("trio_consumer", tasks.broker.url)
        assert consumer.line() == "consuming"
        assert sorted(consumer.lines(25)) == sorted(f"got {body}" for body in bodies)
        consumer.interrupt()
        (line,), errors = consumer.finish()
        assert line.startswith("closed: (200, 'Normal shutdown')")
        assert errors == ""
        assert tasks.take_all() == []

    def test_it_ends_when_the_connection_is_lost(self, tasks: Tasks, start: Start) -> None:
        with Proxy(tasks.broker.port, tasks.broker.host) as proxy:
            consumer = start("trio_consumer", proxy.url)
            assert consumer.line() == "consuming"
            proxy.cut()
            (line,), errors = consumer.finish()
        assert line.startswith("closed: ") and f"127.0.0.1:{proxy.port}" in line
        assert errors == ""

    def test_it_says_why_its_channel_is_closed(self, tasks: Tasks, start: Start) -> None:
        with pika.BlockingConnection(tasks.broker.parameters()) as connection:
            connection.channel().queue_declare("tasks", exclusive=True)
            lines, errors = start("trio_consumer", tasks.broker.url).finish()
        assert lines[0].startswith("the broker closed the channel: ") and "405" in lines[0]
        assert errors == ""


class TestConnection:
    def test_a_large_body(self, rabbitmq: Broker) -> None:
        check_large_body(rabbitmq.parameters())

    @pytest.mark.parametrize("fail", ["cut", "reset"])
    def test_a_connection_that_breaks(self, rabbitmq: Broker, fail: str) -> None:
        with Proxy(rabbitmq.port, rabbitmq.host) as proxy:
            end = live(pika.URLParameters(proxy.url), lambda connection: getattr(proxy, fail)())
        assert isinstance(end, pika.exceptions.StreamLostError)

    def test_no_broker(self) -> None:
        port = free_port()
        end = live(pika.ConnectionParameters("127.0.0.1", port), pytest.fail)
        assert isinstance(end, pika.exceptions.AMQPConnectionError)
        assert f"127.0.0.1:{port}" in str(end) and "refused" in str(end)

    def test_a_host_that_does_not_exist(self) -> None:
        end = live(pika.ConnectionParameters("no-such-host.invalid"), pytest.fail)
        assert isinstance(end, pika.exceptions.AMQPConnectionError)
        assert "no-such-host.invalid" in str(end) and "name resolution" in str(end)

    def test_heartbeats(self, rabbitmq: Broker) -> None:
        """They keep an idle connection, and find a dead one."""
        idle = []
        with Proxy(rabbitmq.port, rabbitmq.host) as proxy:

            def on_open(connection: Any) -> None:
                connection._adapter_call_later(3.5, lambda: (idle.append(connection.is_open), proxy.freeze()))

            parameters = pika.URLParameters(proxy.url)
            parameters.heartbeat = 1
            assert isinstance(live(parameters, on_open), pika.exceptions.AMQPHeartbeatTimeout)
        assert idle == [True]

    def test_callbacks_of_other_threads_come_in_their_order(self, rabbitmq: Broker) -> None:
        calls: list[tuple[int, int]] = []
        threads: list[threading.Thread] = []

        def on_open(connection: Any) -> None:
            for thread in range(4):
                threads.append(threading.Thread(target=hand_over, args=(connection, thread)))
                threads[-1].start()

        def hand_over(connection: Any, thread: int) -> None:
            for number in range(2000):
                connection.add_callback_threadsafe(lambda call=(thread, number): on_call(connection, call))

        def on_call(connection: Any, call: tuple[int, int]) -> None:
            assert threading.current_thread() is threading.main_thread()
            calls.append(call)
            if len(calls) == 8000:
                connection.close()

        live(rabbitmq.parameters(), on_open)
        for thread in threads:
            thread.join()
        for number in range(4):
            assert [call for caller, call in calls if caller == number] == list(range(2000))


class TestSeveralBrokers:
    def connect(self, *parameters: pika.connection.Parameters, abort: bool = False) -> Any:
        """Return what ``create_connection`` calls back with; a connection is closed before."""
        results: list[Any] = []

        async def main(nursery: trio.Nursery) -> None:
            def on_done(result: Any) -> None:
                results.append(result)
                if isinstance(result, BaseException):
                    nursery.cancel_scope.cancel()
                else:
                    result.add_on_close_callback(lambda *_: nursery.cancel_scope.cancel())
                    result.close()

            workflow = example.TrioConnection.create_connection(parameters, on_done, custom_ioloop=nursery)
            if abort:
                await trio.sleep(0.1)
                workflow.abort()

        run(main)
        (result,) = results
        return result

    def test_the_first_that_answers(self, rabbitmq: Broker) -> None:
        connection = self.connect(pika.ConnectionParameters("127.0.0.1", free_port()), rabbitmq.parameters())
        assert isinstance(connection, example.TrioConnection)
        assert connection.is_closed and connection.params.port == rabbitmq.port

    def test_none_answers(self) -> None:
        nobody = pika.ConnectionParameters("127.0.0.1", free_port())
        assert isinstance(self.connect(nobody, nobody), AMQPConnectionWorkflowFailed)

    def test_giving_up(self) -> None:
        with Peer(PeerSocket.recv_until_end) as silent:
            result = self.connect(pika.ConnectionParameters(silent.host, silent.port), abort=True)
        assert isinstance(result, AMQPConnectionWorkflowAborted)


@pytest.fixture
def node(spare_rabbitmq: SecureRabbitMQ) -> SecureRabbitMQ:
    return spare_rabbitmq


@pytest.mark.rabbitmq
class TestTLS:
    def test_a_large_body(self, node: SecureRabbitMQ) -> None:
        check_large_body(node.tls_parameters())

    def test_a_stranger_is_not_taken_for_the_broker(self, node: SecureRabbitMQ) -> None:
        parameters = node.tls_parameters()
        assert parameters.ssl_options is not None
        parameters.ssl_options.server_hostname = "broker.example"
        end = live(parameters, pytest.fail)
        assert isinstance(end, pika.exceptions.AMQPConnectionError)
        assert "certificate verify failed" in str(end)

    def test_a_connection_that_breaks(self, node: SecureRabbitMQ) -> None:
        with Proxy(node.tls_port) as proxy:
            parameters = node.tls_parameters()
            parameters.port = proxy.port
            end = live(parameters, lambda connection: proxy.cut())
        assert isinstance(end, pika.exceptions.StreamLostError)


class TestServices:
    def test_timers_run_unless_cancelled(self) -> None:
        calls: list[str] = []

        async def main(nursery: trio.Nursery) -> None:
            services = example.TrioServices(nursery)
            services.call_later(0.1, lambda: calls.append("second"))
            services.call_later(0, lambda: calls.append("first"))
            services.call_later(0.05, lambda: calls.append("cancelled")).cancel()
            done = services.call_later(0, lambda: None)
            assert calls == []
            while "second" not in calls:
                await trio.sleep(0.01)
            await trio.sleep(0.1)
            done.cancel()
            services.stop()

        run(main)
        assert calls == ["first", "second"]

    def test_what_is_cancelled_does_not_call_back(self) -> None:
        async def main(nursery: trio.Nursery) -> None:
            services = example.TrioServices(nursery)
            ours, theirs = socket.socketpair()
            with theirs:
                factory = pytest.fail
                asked = [
                    services.getaddrinfo("localhost", 1, pytest.fail),
                    services.create_streaming_connection(factory, ours, pytest.fail),
                ]
                assert [one.cancel() for one in asked] == [True, True]
                assert [one.cancel() for one in asked] == [False, False]
                await trio.sleep(0.1)
                # The stream was closed.
                assert theirs.recv(1) == b""
            services.stop()

        run(main)

    def test_what_is_done_is_not_cancelled(self) -> None:
        results: list[Any] = []

        async def main(nursery: trio.Nursery) -> None:
            services = example.TrioServices(nursery)
            asked = services.getaddrinfo("127.0.0.1", 5672, results.append, 0, socket.SOCK_STREAM)
            assert results == []
            while not results:
                await trio.sleep(0.01)
            assert asked.cancel() is False
            services.stop()

        run(main)
        assert results[0][0][4] == ("127.0.0.1", 5672)
