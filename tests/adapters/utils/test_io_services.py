"""The services of event loops, as those see them who write adapters: lookups, sockets, streams; and a loop that has
streams of its own."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import pika
from pika import exceptions
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.adapters.utils import nbio_interface
from pika.adapters.utils.io_services import Task
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter
from tests.support.adapter_loops import KINDS, Loop
from tests.support.peer import Peer, PeerSocket, free_port
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, scripted_broker


@pytest.fixture(params=KINDS)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    loop = Loop(request.param)
    yield loop
    assert loop.leftovers() == ""
    loop.close()


@pytest.fixture
def nbio(loop: Loop) -> Any:
    """The services, as a connection has them."""
    adapter: Any = loop.adapter
    return adapter(custom_ioloop=loop.native, internal_connection_workflow=False)._nbio


class Protocol(AbstractStreamProtocol):
    """Writes down what it is told."""

    def __init__(self, keep_open: bool = False) -> None:
        self.log: list[Any] = []
        self.transport: Any = None
        self._keep_open = keep_open

    def connection_made(self, transport: AbstractStreamTransport) -> None:
        self.transport = transport
        self.log.append("made")

    def connection_lost(self, error: BaseException | None) -> None:
        self.log.append(("lost", error))

    def eof_received(self) -> bool:
        self.log.append("eof")
        return self._keep_open

    def data_received(self, data: bytes) -> None:
        self.log.append(data)


def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


# Lookups


def test_lookup(loop: Loop, nbio: Any) -> None:
    nbio.getaddrinfo("127.0.0.1", 5672, loop.log.append, socktype=socket.SOCK_STREAM)
    assert loop.log == []
    loop.run(lambda: loop.log)
    assert loop.log[0] == socket.getaddrinfo("127.0.0.1", 5672, 0, socket.SOCK_STREAM)
    nbio.getaddrinfo("no.such.host.invalid", 5672, loop.log.append)
    loop.run(lambda: len(loop.log) == 2)
    assert isinstance(loop.log[1], socket.gaierror)


def test_cancelling_a_lookup(loop: Loop, nbio: Any) -> None:
    for host in ("127.0.0.1", "localhost"):
        reference = nbio.getaddrinfo(host, 5672, loop.log.append)
        assert reference.cancel() is True
        assert reference.cancel() is False
    loop.run_for(0.05)
    assert loop.log == []
    done = nbio.getaddrinfo("127.0.0.1", 5672, loop.log.append)
    loop.run(lambda: loop.log)
    assert done.cancel() is False


# Sockets


def test_connecting(loop: Loop, nbio: Any) -> None:
    with Peer(PeerSocket.recv_until_end) as peer, socket.socket() as sock:
        sock.setblocking(False)
        reference = nbio.connect_socket(sock, ("127.0.0.1", peer.port), loop.log.append)
        assert loop.log == []
        loop.run(lambda: loop.log)
        assert loop.log == [None] and reference.cancel() is False
        assert sock.getpeername() == ("127.0.0.1", peer.port)


def test_connecting_is_refused(loop: Loop, nbio: Any) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        nbio.connect_socket(sock, ("127.0.0.1", free_port()), loop.log.append)
        loop.run(lambda: loop.log)
        assert isinstance(loop.log[0], ConnectionRefusedError)


def test_connecting_refuses(loop: Loop, nbio: Any) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(TypeError, match="on_done"):
            nbio.connect_socket(sock, ("127.0.0.1", 1), None)
        with pytest.raises(ValueError, match="localhost"):
            nbio.connect_socket(sock, ("localhost", 1), loop.log.append)
        nbio.connect_socket(sock, ("127.0.0.1",), loop.log.append)
        loop.run(lambda: loop.log)
        # Whichever the interpreter has for it: PyPy has ValueError.
        assert isinstance(loop.log[0], (TypeError, ValueError))


def test_cancelling_a_connect_leaves_the_socket_to_its_owner(loop: Loop, nbio: Any) -> None:
    with socket.socket() as sock, socket.create_server(("127.0.0.1", 0)) as listener:
        sock.setblocking(False)
        reference = nbio.connect_socket(sock, listener.getsockname(), loop.log.append)
        assert reference.cancel() is True and reference.cancel() is False
        loop.run_for(0.02)
        assert loop.log == [] and sock.fileno() > 0


# Streams


def stream(loop: Loop, nbio: Any, port: int, protocol: Protocol) -> Any:
    results: list[Any] = []
    reference = nbio.create_streaming_connection(lambda: protocol, connected(port), results.append)
    assert results == [] and protocol.log == []
    loop.run(lambda: results)
    transport, other = results[0]
    assert other is protocol and transport is protocol.transport and transport.get_protocol() is protocol
    assert protocol.log[0] == "made" and reference.cancel() is False
    return transport


def test_a_stream_to_its_end(loop: Loop, nbio: Any) -> None:
    def script(peer: PeerSocket) -> None:
        assert peer.recv_exactly(4) == b"ping"
        peer.send(b"pong")

    protocol = Protocol()
    with Peer(script) as peer:
        transport = stream(loop, nbio, peer.port, protocol)
        transport.write(b"ping")
        assert transport.get_write_buffer_size() == 0
        loop.run(lambda: ("lost", None) in protocol.log)
    assert protocol.log == ["made", b"pong", "eof", ("lost", None)]


def test_a_stream_that_goes_on_writing_after_the_end_of_file(loop: Loop, nbio: Any) -> None:
    got: list[bytes] = []

    def script(peer: PeerSocket) -> None:
        peer.socket.shutdown(socket.SHUT_WR)
        got.append(peer.recv_until_end())

    protocol = Protocol(keep_open=True)
    with Peer(script) as peer:
        transport = stream(loop, nbio, peer.port, protocol)
        loop.run(lambda: "eof" in protocol.log)
        transport.write(bytes(3_000_000))
        loop.run(lambda: transport.get_write_buffer_size() == 0)
        transport.abort()
        loop.run(lambda: ("lost", None) in protocol.log)
    assert len(got[0]) == 3_000_000
    assert protocol.log == ["made", "eof", ("lost", None)]


def test_a_reset_is_told_as_what_it_is(loop: Loop, nbio: Any) -> None:
    protocol = Protocol()
    with Peer(lambda peer: (peer.recv_exactly(1), peer.reset())) as peer:
        stream(loop, nbio, peer.port, protocol).write(b"x")
        loop.run(lambda: len(protocol.log) == 2)
    name, error = protocol.log[1]
    assert name == "lost" and isinstance(error, ConnectionResetError)


def test_aborting_a_stream(loop: Loop, nbio: Any) -> None:
    protocol = Protocol()
    with Peer(PeerSocket.recv_until_end) as peer:
        transport = stream(loop, nbio, peer.port, protocol)
        transport.abort()
        transport.abort()
        assert protocol.log == ["made"]
        loop.run_for(0.02)
        transport.write(b"too late")
    assert protocol.log == ["made", ("lost", None)]


def test_cancelling_a_stream_closes_the_socket(loop: Loop, nbio: Any) -> None:
    with Peer(PeerSocket.recv_until_end) as peer:
        sock = connected(peer.port)
        reference = nbio.create_streaming_connection(Protocol, sock, loop.log.append)
        assert reference.cancel() is True and reference.cancel() is False
        assert sock.fileno() == -1
        loop.run_for(0.02)
    assert loop.log == []


def test_a_protocol_that_fails_to_begin(loop: Loop, nbio: Any) -> None:
    class Failing(Protocol):
        def connection_made(self, transport: AbstractStreamTransport) -> None:
            raise ZeroDivisionError

    with Peer(PeerSocket.recv_until_end) as peer:
        sock = connected(peer.port)
        nbio.create_streaming_connection(Failing, sock, loop.log.append)
        loop.run(lambda: loop.log)
        assert isinstance(loop.log[0], ZeroDivisionError) and sock.fileno() == -1


def test_a_protocol_that_fails_behind_its_beginning_hears_of_the_end(loop: Loop, nbio: Any) -> None:
    class Failing(Protocol):
        def connection_made(self, transport: AbstractStreamTransport) -> None:
            super().connection_made(transport)
            transport.write(b"x")
            raise ZeroDivisionError

    protocol = Failing()
    got: list[bytes] = []
    with Peer(lambda peer: got.append(peer.recv_until_end())) as peer:
        nbio.create_streaming_connection(lambda: protocol, connected(peer.port), loop.log.append)
        loop.run(lambda: loop.log)
    (error,) = loop.log
    assert isinstance(error, ZeroDivisionError) and protocol.log == ["made", ("lost", error)] and got == [b"x"]


def test_a_protocol_that_fails_to_take_bytes_loses_them_and_the_stream(loop: Loop, nbio: Any) -> None:
    class Failing(Protocol):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    protocol = Failing()
    with Peer(lambda peer: (peer.send(b"x"), peer.recv_until_end())) as peer:
        stream(loop, nbio, peer.port, protocol)
        if loop.kind == "select":
            with pytest.raises(ZeroDivisionError):
                loop.run(lambda: False)
        else:
            loop.run(lambda: loop.raised)
    assert protocol.log[0] == "made" and isinstance(protocol.log[1][1], ZeroDivisionError)


# A loop that has streams of its own, and nothing beyond the interface


class PlainTransport(AbstractStreamTransport):
    """A transport that has what the interface says, and no more."""

    def __init__(self, protocol: AbstractStreamProtocol) -> None:
        self._protocol = protocol
        self.inner: Any = None

    def abort(self) -> None:
        self.inner.abort()

    def get_protocol(self) -> AbstractStreamProtocol:
        return self._protocol

    def write(self, data: bytes) -> None:
        assert type(data) is bytes and data
        self.inner.write(data)

    def get_write_buffer_size(self) -> int:
        size: int = self.inner.get_write_buffer_size()
        return size


class Between(AbstractStreamProtocol):
    """Hands a protocol its plain transport."""

    def __init__(self, protocol: AbstractStreamProtocol) -> None:
        self.protocol = protocol
        self.transport = PlainTransport(protocol)

    def connection_made(self, transport: AbstractStreamTransport) -> None:
        self.transport.inner = transport
        self.protocol.connection_made(self.transport)

    def connection_lost(self, error: BaseException | None) -> None:
        self.protocol.connection_lost(error)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)


class PlainServices(nbio_interface.AbstractIOServices):
    """The services of a loop, and no more than that."""

    def __init__(self, native: IOLoop) -> None:
        self._inner = SelectorIOServicesAdapter(native)

    def get_native_ioloop(self) -> Any:
        return self._inner.get_native_ioloop()

    def close(self) -> None:
        self._inner.close()

    def run(self) -> None:
        self._inner.run()

    def stop(self) -> None:
        self._inner.stop()

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        self._inner.add_callback_threadsafe(callback)

    def call_later(self, delay: float, callback: Callable[[], Any]) -> nbio_interface.AbstractTimerReference:
        return self._inner.call_later(delay, callback)

    def getaddrinfo(self, *arguments: Any, **options: Any) -> nbio_interface.AbstractIOReference:
        return self._inner.getaddrinfo(*arguments, **options)

    def connect_socket(self, *arguments: Any) -> nbio_interface.AbstractIOReference:
        return self._inner.connect_socket(*arguments)

    def create_streaming_connection(
        self, protocol_factory: Any, sock: Any, on_done: Any, ssl_context: Any = None, server_hostname: Any = None
    ) -> nbio_interface.AbstractIOReference:
        def done(result: Any) -> None:
            on_done(result if isinstance(result, BaseException) else (result[1].transport, result[1].protocol))

        return self._inner.create_streaming_connection(
            lambda: Between(protocol_factory()), sock, done, ssl_context, server_hostname
        )


@contextlib.contextmanager
def plain_loop() -> Iterator[tuple[Loop, PlainServices]]:
    loop = Loop("select")
    yield loop, PlainServices(loop.native)
    assert loop.leftovers() == ""
    loop.close()


def test_a_connection_on_nothing_but_the_interface(broker: Broker) -> None:
    with plain_loop() as (loop, services):
        connection = loop.connect(broker.parameters(), custom_ioloop=services)
        loop.run(lambda: connection.is_open)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        queues: list[str] = []
        channel.queue_declare("", exclusive=True, callback=lambda answer: queues.append(answer.method.queue))
        loop.run(lambda: queues)
        got: list[bytes] = []
        channel.basic_consume(queues[0], lambda channel, method, properties, body: got.append(body), auto_ack=True)
        for size in (0, 10, 1_000_000):
            channel.basic_publish("", queues[0], bytes(size))
        loop.run(lambda: len(got) == 3)
        assert [len(body) for body in got] == [0, 10, 1_000_000]
        connection.close()
        loop.run(lambda: connection.is_closed)
        assert type(loop.log[-1][1]) is exceptions.ConnectionClosedByClient


def test_the_ends_of_such_a_connection(broker: Broker) -> None:
    with plain_loop() as (loop, services):
        loop.connect(pika.ConnectionParameters("127.0.0.1", free_port()), custom_ioloop=services)
        loop.run(lambda: len(loop.log) == 1)
        with Peer(lambda peer: (peer.recv_exactly(8), peer.reset())) as peer:
            loop.connect(pika.ConnectionParameters("127.0.0.1", peer.port), custom_ioloop=services)
            loop.run(lambda: len(loop.log) == 2)
        with scripted_broker(Session.open) as peer:
            loop.connect(pika.ConnectionParameters("127.0.0.1", peer.port), custom_ioloop=services)
            loop.run(lambda: len(loop.log) == 4)
        kinds = [entry if isinstance(entry, str) else (entry[0], type(entry[1]).__mro__) for entry in loop.log]
        assert kinds[0][0] == "error" and exceptions.AMQPConnectionError in kinds[0][1]
        assert kinds[1][0] == "error" and exceptions.IncompatibleProtocolError in kinds[1][1]
        assert kinds[2] == "open" and kinds[3][0] == "close" and exceptions.StreamLostError in kinds[3][1]
        assert "Transport indicated EOF" in str(loop.log[3][1])


class Deaf(PlainTransport):
    """A transport that leads nowhere."""

    def abort(self) -> None:
        return

    def write(self, data: bytes) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0


class FailingServices(PlainServices):
    """Services whose streams fail when they have begun, and do not tell the connection."""

    def create_streaming_connection(
        self, protocol_factory: Any, sock: Any, on_done: Any, ssl_context: Any = None, server_hostname: Any = None
    ) -> nbio_interface.AbstractIOReference:
        def fail() -> None:
            protocol = protocol_factory()
            protocol.connection_made(Deaf(protocol))
            sock.close()
            on_done(OSError("out of streams"))

        self.call_later(0, fail)
        return Task(on_done)


def test_streams_that_fail_when_they_have_begun() -> None:
    with plain_loop() as (loop, _), Peer(PeerSocket.recv_until_end) as peer:
        parameters = pika.ConnectionParameters("127.0.0.1", peer.port)
        connection = loop.connect(parameters, custom_ioloop=FailingServices(loop.native))
        loop.run(lambda: connection.is_closed)
        loop.run_for(0.02)
        ((name, error),) = loop.log
    assert name == "error" and "out of streams" in str(error)


def test_marks_of_such_a_connection() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        time.sleep(0.5)
        session.peer.recv_until_end()

    with plain_loop() as (loop, services), scripted_broker(script) as peer:
        connection = loop.connect(pika.ConnectionParameters(peer.host, peer.port), custom_ioloop=services)
        connection.OUTPUT_HIGH_MARK, connection.OUTPUT_LOW_MARK = 1_000_000, 1000
        connection.add_on_output_paused_callback(lambda connection: loop.log.append("paused"))
        connection.add_on_output_resumed_callback(lambda connection: loop.log.append("resumed"))
        loop.run(lambda: connection.is_open)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        channel.basic_publish("", "queue", bytes(20_000_000))
        assert loop.log[-1] == "paused"
        loop.run(lambda: loop.log[-1] == "resumed")
        connection._abort(exceptions.StreamLostError("enough"))
        loop.run(lambda: connection.is_closed)


def test_the_end_of_such_a_connection_leaves_no_timer() -> None:
    ending = threading.Event()

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        assert ending.wait(20)

    with plain_loop() as (loop, services), scripted_broker(script) as peer:
        connection = loop.connect(pika.ConnectionParameters(peer.host, peer.port), custom_ioloop=services)
        connection.OUTPUT_HIGH_MARK = connection.OUTPUT_LOW_MARK = 1_000_000
        loop.run(lambda: connection.is_open)
        channel = connection.channel()
        loop.run(lambda: channel.is_open)
        channel.basic_publish("", "queue", bytes(20_000_000))
        connection.add_on_close_callback(lambda connection, error: loop.native.stop())
        ending.set()
        loop.run_until_stopped()
        assert not connection.is_output_paused
        # Nothing was left for later, which would run in the time that the loop is given now.
        assert loop.leftovers() == ""


@pytest.mark.slow
def test_such_a_loop_that_is_blocked_says_so(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with plain_loop() as (loop, services):
        connection = loop.connect(broker.parameters(heartbeat=4), custom_ioloop=services)
        loop.run(lambda: connection.is_open)
        with caplog.at_level(logging.WARNING, "pika.adapters.base_connection"):
            loop.call_later(0, lambda: time.sleep(5))
            loop.run_for(5.2)
        assert "the loop was blocked" in caplog.text
        connection.close()
        loop.run(lambda: connection.is_closed)


def test_select_connection_is_what_stands_on_it() -> None:
    with plain_loop() as (loop, services):
        connection = loop.connect(custom_ioloop=services, internal_connection_workflow=False)
        assert isinstance(connection, SelectConnection) and connection.ioloop is loop.native
