"""What a connection on an event loop does, whichever loop: opening, its errors, ends, threads, marks, heartbeats."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import pika
from pika import exceptions
from pika.adapters.select_connection import PollEvents
from pika.adapters.utils.connection_workflow import (
    AbstractAMQPConnectionWorkflow,
    AMQPConnectionWorkflow,
    AMQPConnectionWorkflowAborted,
    AMQPConnectionWorkflowFailed,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
    AMQPConnectorWrongState,
)
from tests.support.adapter_loops import KINDS, Loop, on_each_at_once
from tests.support.bounded import bounded, eventually
from tests.support.certificates import Authority
from tests.support.peer import Peer, PeerSocket, free_port, unanswering
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, scripted_broker

Parameters = pika.ConnectionParameters


@contextlib.contextmanager
def silent() -> Iterator[Peer]:
    """A server that accepts, and says nothing."""
    with Peer(PeerSocket.recv_until_end) as peer:
        yield peer


def ended(loop: Loop) -> BaseException:
    """Run until the connection has ended, and a bit on; return the one reason that was told."""
    loop.run(lambda: [entry for entry in loop.log if isinstance(entry, tuple)])
    loop.run_for(0.02)
    ends = [entry for entry in loop.log if isinstance(entry, tuple)]
    assert len(ends) == 1, ends
    assert loop.leftovers() == ""
    error: BaseException = ends[0][1]
    return error


# Opening, and what can go wrong


def test_opens_and_closes(loop: Loop, broker: Broker) -> None:
    connection = loop.connect(broker.parameters())
    assert not (connection.is_open or connection.is_closed or connection.is_closing)
    assert connection.ioloop is loop.native
    loop.run(lambda: connection.is_open)
    connection.close()
    error = ended(loop)
    assert loop.log[0] == "open"
    assert error.args == (200, "Normal shutdown")
    assert type(error) is exceptions.ConnectionClosedByClient
    assert connection.is_closed


def test_closing_has_its_bound(loop: Loop) -> None:
    """A broker that does not answer, and has agreed to no heartbeats that would tell."""

    def script(session: Session) -> None:
        session.open()
        session.hold()

    with scripted_broker(script) as peer:
        connection = loop.connect(Parameters(peer.host, peer.port, heartbeat=0))
        connection.CLOSE_TIMEOUT = 0.2
        loop.run(lambda: connection.is_open)
        connection.close(200, "enough")
        assert connection.is_closing
        error = ended(loop)
        assert type(error) is exceptions.ConnectionClosedByClient and error.args == (200, "enough")
        assert connection.is_closed


def test_refused(loop: Loop) -> None:
    port = free_port()
    loop.connect(Parameters("127.0.0.1", port, connection_attempts=2, retry_delay=0.01))
    error = ended(loop)
    assert isinstance(error, exceptions.AMQPConnectionError)
    assert not isinstance(error, AMQPConnectionWorkflowFailed)
    assert f"127.0.0.1:{port}: TCP connection: Connection refused (2 times)" in str(error)
    (failed,) = error.args
    assert isinstance(failed, AMQPConnectionWorkflowFailed)
    assert [type(cause) for cause in failed.exceptions] == [AMQPConnectorSocketConnectError] * 2
    assert repr(failed).startswith("AMQPConnectionWorkflowFailed: 2 exceptions in all; last exception - ")


def test_unresolvable(loop: Loop) -> None:
    loop.connect(Parameters("no.such.host.invalid", 5672))
    error = ended(loop)
    assert isinstance(error, AMQPConnectionWorkflowFailed) and isinstance(error, exceptions.AMQPConnectionError)
    assert error.args == () and isinstance(error.exceptions[0], socket.gaierror)
    assert "no.such.host.invalid:5672: name resolution" in str(error)


def test_wrong_credentials_and_wrong_virtual_host(loop: Loop, broker: Broker) -> None:
    loop.connect(broker.parameters(credentials=pika.PlainCredentials("guest", "wrong")))
    error = ended(loop)
    assert type(error) is exceptions.ProbableAuthenticationError
    assert "ACCESS_REFUSED" in str(error) and "wrong" not in str(error)
    loop.log.clear()
    loop.connect(broker.parameters(virtual_host="there-is-none"))
    error = ended(loop)
    assert type(error) is exceptions.ProbableAccessDeniedError
    assert "there-is-none" in str(error)


def test_a_second_round_after_wrong_credentials_is_not_for_constructors(loop: Loop, broker: Broker) -> None:
    wrong = broker.parameters(
        credentials=pika.PlainCredentials("guest", "wrong"), connection_attempts=3, retry_delay=0.01
    )
    loop.connect(wrong)
    assert type(ended(loop)) is exceptions.ProbableAuthenticationError


def test_tcp_timeouts(loop: Loop) -> None:
    with unanswering() as port:
        loop.connect(Parameters("127.0.0.1", port, socket_timeout=0.05))
        error = ended(loop)
        cause = error.args[0].exceptions[0]
        assert isinstance(cause, AMQPConnectorSocketConnectError) and isinstance(cause.exception, TimeoutError)
        loop.log.clear()
        loop.connect(Parameters("127.0.0.1", port, socket_timeout=5, stack_timeout=0.05))
        error = ended(loop)
        cause = error.args[0].exceptions[0]
        assert isinstance(cause, AMQPConnectorSocketConnectError)
        assert isinstance(cause.exception, AMQPConnectorStackTimeout)


def test_amqp_timeout(loop: Loop) -> None:
    with silent() as peer:
        loop.connect(Parameters("127.0.0.1", peer.port, stack_timeout=1))
        error = ended(loop)
    assert type(error) is exceptions.ConnectionOpenAborted
    assert "stack_timeout" in str(error) and f"127.0.0.1:{peer.port}" in str(error)


def tls(authority: Authority | None = None) -> pika.SSLOptions:
    context = ssl.create_default_context() if authority is None else authority.client_context()
    return pika.SSLOptions(context, "localhost")


def test_tls_failures(loop: Loop, tmp_path: Any) -> None:
    with silent() as peer:
        loop.connect(Parameters("127.0.0.1", peer.port, stack_timeout=1, ssl_options=tls()))
        error = ended(loop)
        assert isinstance(error, AMQPConnectionWorkflowFailed) and isinstance(error, exceptions.AMQPConnectionError)
        cause = error.exceptions[0]
        assert isinstance(cause, AMQPConnectorTransportSetupError)
        assert isinstance(cause.exception, AMQPConnectorStackTimeout)
    loop.log.clear()
    authority = Authority(tmp_path)
    with Peer(PeerSocket.recv_until_end, tls=authority.server_context(authority.issue("localhost"))) as peer:
        loop.connect(Parameters("127.0.0.1", peer.port, ssl_options=tls()))
        error = ended(loop)
        assert isinstance(error, AMQPConnectionWorkflowFailed)
        assert isinstance(error.exceptions[0].exception, ssl.SSLCertVerificationError)
        assert "trusts the CA" in str(error) and f"127.0.0.1:{peer.port}: TLS handshake" in str(error)
    loop.log.clear()
    with Peer(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as peer:
        loop.connect(Parameters("127.0.0.1", peer.port, ssl_options=tls()))
        error = ended(loop)
        assert "does not speak TLS" in str(error)


def test_without_a_callback_the_error_leaves_the_loop(broker: Broker) -> None:
    loop = Loop("select")
    pika.SelectConnection(Parameters("127.0.0.1", free_port()), custom_ioloop=loop.native)
    with pytest.raises(exceptions.AMQPConnectionError, match="refused"):
        loop.native.start()
    loop.close()


@pytest.fixture(params=KINDS)
def full_loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    """A loop of a system that can watch for no more descriptors to read."""
    loop = Loop(request.param)
    name = "add_reader" if loop.kind == "asyncio" else "add_handler"
    add = getattr(loop.native, name)

    def refuse(fd: Any, callback: Any, events: int = PollEvents.READ) -> None:
        if events & PollEvents.READ:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(fd, callback, events)

    setattr(loop.native, name, refuse)
    yield loop
    loop.close()


def test_a_loop_that_can_watch_no_more(full_loop: Loop) -> None:
    got: list[bytes] = []
    with Peer(lambda peer: got.append(peer.recv_until_end())) as peer:
        parameters = Parameters("127.0.0.1", peer.port, connection_attempts=2, retry_delay=0.01)
        connection = full_loop.connect(parameters)
        error = ended(full_loop)
        assert connection.is_closed and eventually(lambda: peer.accepted == 2)
    # Each attempt has closed its socket, and nothing was said over it.
    assert got == [b"", b""]
    assert isinstance(error, exceptions.AMQPConnectionError) and "No space left on device" in str(error)


def test_create_connection_on_a_loop_that_can_watch_no_more(full_loop: Loop) -> None:
    got: list[bytes] = []
    with Peer(lambda peer: got.append(peer.recv_until_end())) as peer:
        parameters = Parameters("127.0.0.1", peer.port, connection_attempts=2, retry_delay=0.01)
        _, failed = created(full_loop, [parameters])
        assert full_loop.leftovers() == "" and eventually(lambda: peer.accepted == 2)
    assert got == [b"", b""]
    assert isinstance(failed, AMQPConnectionWorkflowFailed) and "No space left on device (2 times)" in str(failed)


def test_arguments(loop: Loop) -> None:
    with pytest.raises(ValueError, match="Expected instance of Parameters"):
        loop.connect("amqp://guest:secret@localhost")
    with pytest.raises(TypeError):
        loop.connect(Parameters(), on_open_callback=3)
    assert loop.leftovers() == ""


# Closing while connecting

CLOSINGS: dict[str, Callable[[Loop, Any], None]] = {
    "at once": lambda loop, connection: connection.close(),
    "in the first turn": lambda loop, connection: loop.call_later(0, connection.close),
    "later": lambda loop, connection: loop.call_later(0.05, connection.close),
}


@pytest.mark.parametrize("when", CLOSINGS)
@pytest.mark.parametrize("phase", ["resolving", "tcp", "tls", "amqp", "pause"])
def test_closing_while_connecting(loop: Loop, phase: str, when: str) -> None:
    with silent() as peer, unanswering() as port:
        parameters = {
            "resolving": Parameters("localhost", port),
            "tcp": Parameters("127.0.0.1", port),
            "tls": Parameters("127.0.0.1", peer.port, ssl_options=tls()),
            "amqp": Parameters("127.0.0.1", peer.port),
            "pause": Parameters("127.0.0.1", free_port(), connection_attempts=3, retry_delay=5),
        }[phase]
        connection = loop.connect(parameters)
        CLOSINGS[when](loop, connection)
        error = ended(loop)
        assert type(error) is exceptions.ConnectionOpenAborted
        assert loop.log[0][0] == "error"
        assert connection.is_closed
        with pytest.raises(exceptions.ConnectionWrongStateError):
            connection.close()


# create_connection()


def created(loop: Loop, configs: Any, **options: Any) -> tuple[Any, Any]:
    """Run create_connection() to its end, and return the workflow and what on_done was called with."""
    results: list[Any] = []
    workflow = loop.adapter.create_connection(configs, results.append, custom_ioloop=loop.native, **options)
    assert results == []
    loop.run(lambda: results)
    (result,) = results
    return workflow, result


def test_create_connection_tries_in_order(loop: Loop, broker: Broker) -> None:
    wrong = broker.parameters(credentials=pika.PlainCredentials("guest", "wrong"))
    refused = Parameters("127.0.0.1", free_port())
    workflow, connection = created(loop, [refused, wrong, broker.parameters()])
    assert isinstance(workflow, AMQPConnectionWorkflow)
    assert isinstance(connection, loop.adapter) and connection.is_open
    with pytest.raises(AMQPConnectorWrongState):
        workflow.abort()
    connection.add_on_close_callback(lambda connection, error: loop.log.append(("close", error)))
    connection.close()
    assert type(ended(loop)) is exceptions.ConnectionClosedByClient


def test_create_connection_fails(loop: Loop, broker: Broker) -> None:
    wrong = broker.parameters(credentials=pika.PlainCredentials("guest", "wrong"))
    refused = Parameters("127.0.0.1", free_port(), connection_attempts=2, retry_delay=0.01)
    _, failed = created(loop, (wrong, refused))
    assert isinstance(failed, AMQPConnectionWorkflowFailed) and isinstance(failed, exceptions.AMQPConnectionError)
    kinds = ["AMQPConnectorAMQPHandshakeError", "AMQPConnectorSocketConnectError"] * 2
    assert [type(error).__name__ for error in failed.exceptions] == kinds
    assert "ACCESS_REFUSED" in str(failed) and "refused (2 times)" in str(failed)
    assert loop.leftovers() == ""


@pytest.mark.parametrize("after", [0, 0.05])
@pytest.mark.parametrize("phase", ["tcp", "tls", "amqp", "pause"])
def test_aborting_a_workflow(loop: Loop, phase: str, after: float) -> None:
    with silent() as peer, unanswering() as port:
        parameters = {
            "tcp": Parameters("127.0.0.1", port),
            "tls": Parameters("127.0.0.1", peer.port, ssl_options=tls()),
            "amqp": Parameters("127.0.0.1", peer.port),
            "pause": Parameters("127.0.0.1", free_port(), connection_attempts=3, retry_delay=5),
        }[phase]
        results: list[Any] = []
        workflow = loop.adapter.create_connection([parameters], results.append, custom_ioloop=loop.native)
        loop.call_later(after, workflow.abort)
        loop.run(lambda: results)
        loop.run_for(0.02)
    assert [type(result) for result in results] == [AMQPConnectionWorkflowAborted]
    assert loop.leftovers() == ""


def test_workflows_refuse(loop: Loop, broker: Broker) -> None:
    with pytest.raises(ValueError):
        loop.adapter.create_connection([], print, custom_ioloop=loop.native)
    with pytest.raises(TypeError):
        loop.adapter.create_connection(Parameters(), print, custom_ioloop=loop.native)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loop.adapter.create_connection([Parameters()], 3, custom_ioloop=loop.native)  # type: ignore[arg-type]
    with pytest.raises(AMQPConnectorWrongState):
        AMQPConnectionWorkflow().abort()
    workflow, connection = created(loop, [broker.parameters()], workflow=AMQPConnectionWorkflow())
    with pytest.raises(AMQPConnectorWrongState):
        loop.adapter.create_connection([Parameters()], print, custom_ioloop=loop.native, workflow=workflow)
    connection.close()
    loop.run(lambda: connection.is_closed)


def test_a_workflow_of_ones_own(loop: Loop, broker: Broker) -> None:
    class Once(AbstractAMQPConnectionWorkflow):
        def start(self, connection_configs: Any, connector_factory: Any, native_loop: Any, on_done: Any) -> None:
            assert native_loop is loop.native
            (parameters,) = connection_configs
            record = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (parameters.host, parameters.port))
            self.connector = connector_factory()
            self.connector.start(record, parameters, on_done)

        def abort(self) -> None:
            self.connector.abort()

    parameters = broker.parameters()
    parameters.host = "127.0.0.1"
    workflow, connection = created(loop, [parameters], workflow=Once())
    assert isinstance(workflow, Once) and connection.is_open
    connection.close()
    loop.run(lambda: connection.is_closed)
    assert loop.leftovers() == ""


def test_two_connections_on_one_loop(loop: Loop, broker: Broker) -> None:
    connections = [loop.connect(broker.parameters()) for _ in range(2)]
    loop.run(lambda: all(connection.is_open for connection in connections))
    got: list[bytes] = []
    queues: list[str] = []
    consumer, publisher = (connection.channel() for connection in connections)
    loop.run(lambda: consumer.is_open and publisher.is_open)
    consumer.queue_declare("", exclusive=True, callback=lambda answer: queues.append(answer.method.queue))
    loop.run(lambda: queues)
    consumer.basic_consume(queues[0], lambda channel, method, properties, body: got.append(body), auto_ack=True)
    publisher.basic_publish("", queues[0], b"body")
    loop.run(lambda: got == [b"body"])
    connections[0].close()
    loop.run(lambda: connections[0].is_closed)
    assert connections[1].is_open
    connections[1].close()
    loop.run(lambda: connections[1].is_closed)
    assert loop.leftovers() == ""


# What callbacks raise


def test_what_a_callback_raises_leaves_the_loop(loop: Loop, broker: Broker) -> None:
    def fail(connection: Any) -> None:
        raise ZeroDivisionError("mine")

    connection = loop.connect(broker.parameters(), on_open_callback=fail)
    if loop.kind == "select":
        with pytest.raises(ZeroDivisionError, match="mine") as caught:
            loop.run(lambda: False)
        assert caught.traceback[-1].name == "fail"
    else:
        loop.run(lambda: loop.raised)
        (error,) = loop.raised
        assert isinstance(error, ZeroDivisionError)
    # The connection has not suffered.
    channel = connection.channel()
    loop.run(lambda: channel.is_open)
    connection.close()
    loop.run(lambda: connection.is_closed)


# Threads


def test_a_thread_for_each_loop(broker: Broker) -> None:
    def use(loop: Loop) -> None:
        connection = loop.connect(broker.parameters())
        loop.run(lambda: connection.is_open)
        connection.close()
        loop.run(lambda: connection.is_closed)
        assert loop.leftovers() == ""

    assert on_each_at_once(use)


def test_another_thread_is_refused_while_the_loop_runs(loop: Loop, broker: Broker) -> None:
    connection = loop.connect(broker.parameters())
    loop.run(lambda: connection.is_open)
    channel = connection.channel()
    loop.run(lambda: channel.is_open)
    outcome: list[Any] = []

    def other() -> None:
        for call in (
            lambda: channel.basic_publish("", "queue", b""),
            lambda: channel.queue_declare("queue"),
            connection.channel,
            connection.close,
        ):
            try:
                call()
            except exceptions.WrongThreadError as error:
                outcome.append("add_callback_threadsafe" in str(error))
        assert connection.is_open and channel.is_open and connection.unsent_bytes == 0
        connection.add_callback_threadsafe(lambda: outcome.append(threading.current_thread() is runner))

    runner = threading.current_thread()
    thread = threading.Thread(target=other)
    loop.call_later(0.01, thread.start)
    loop.run(lambda: len(outcome) == 5)
    thread.join()
    assert outcome == [True] * 5
    if loop.kind == "gevent":
        # A hub belongs to its thread for good.
        with pytest.raises(exceptions.WrongThreadError):
            bounded(connection.close)
        connection.close()
        loop.run(lambda: connection.is_closed)
    else:
        # While nobody runs it, another thread may take it over.
        bounded(connection.close)
        bounded(lambda: loop.run(lambda: connection.is_closed))
