"""How a stream connects, and what its TLS says when it does not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pika import frame as frames
from pika.exceptions import StreamLostError
from pika.transport.errors import (
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
)
from tests.support.certificates import Authority, Certificate
from tests.support.peer import Peer, PeerSocket, free_port
from tests.transport.streams import Link, Options, Target, connect, read_exactly, read_until_lost


def test_refused() -> None:
    port = free_port()
    with pytest.raises(AMQPConnectorSocketConnectError) as caught:
        connect(Target("127.0.0.1", port))
    assert isinstance(caught.value.exception, ConnectionRefusedError)
    assert str(caught.value) == f"TCP connection to 127.0.0.1:{port}: Connection refused"


@pytest.fixture
def blackhole() -> Iterator[int]:
    """A port whose queue of connections is full: nothing answers a further one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]
        for client in clients:
            client.close()


def test_no_answer_within_socket_timeout(blackhole: int) -> None:
    with pytest.raises(
        AMQPConnectorSocketConnectError, match=r"no answer within socket_timeout \(0.1 seconds\)"
    ) as caught:
        connect(Target("127.0.0.1", blackhole, socket_timeout=0.1), time.monotonic() + 20)
    assert isinstance(caught.value.exception, TimeoutError)


def test_no_answer_before_the_deadline(blackhole: int) -> None:
    with pytest.raises(AMQPConnectorSocketConnectError, match="within the stack_timeout of") as caught:
        connect(Target("127.0.0.1", blackhole, socket_timeout=None), time.monotonic() + 0.1)
    assert isinstance(caught.value.exception, AMQPConnectorStackTimeout)


def test_options_that_the_system_refuses_name_themselves() -> None:
    with pytest.raises(AMQPConnectorSocketConnectError, match="TCP_KEEPIDLE=-5"):
        connect(Target("127.0.0.1", free_port(), tcp_options={"TCP_KEEPIDLE": -5}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_there_and_back(link: Link, host: str) -> None:
    def echo(peer: PeerSocket) -> None:
        peer.send(peer.recv_exactly(5).upper())
        assert peer.recv_until_end() == b"bye"

    with link.serve(echo, host) as peer:
        stream = link.connect(peer)
        assert stream.socket.getpeername()[:2] == (host, peer.port)
        assert stream.fileno() == stream.socket.fileno() >= 0
        assert f"{peer.port}" in repr(stream)
        assert (stream.tls is None) == (link.tls is None)
        assert stream.read() is None
        stream.write(b"hello")
        assert read_exactly(stream, 5) == b"HELLO"
        stream.write(b"bye")
        stream.close()
        stream.close()
        assert stream.fileno() == -1
        assert "closed" in repr(stream)


def failed_handshake(target: Target) -> tuple[AMQPConnectorTransportSetupError, BaseException]:
    with pytest.raises(AMQPConnectorTransportSetupError) as caught:
        connect(target, time.monotonic() + 20)
    assert str(caught.value).startswith(f"TLS handshake to {target.host}:{target.port}")
    return caught.value, caught.value.exception


def test_tls_on_a_plain_port(authority: Authority) -> None:
    def amqp(peer: PeerSocket) -> None:
        peer.recv_some()
        peer.send(b"AMQP\x00\x00\x09\x01")

    with Peer(amqp) as peer:
        error, cause = failed_handshake(Target("127.0.0.1", peer.port, Options(authority.client_context())))
    assert isinstance(cause, ssl.SSLError)
    assert "the peer does not speak TLS: is this the plain port? amqps is usually 5671" in str(error)


@pytest.mark.parametrize("reset", [False, True])
def test_a_peer_that_hangs_up_during_the_handshake(authority: Authority, reset: bool) -> None:
    def hang_up(peer: PeerSocket) -> None:
        peer.recv_some()
        peer.reset() if reset else peer.close()

    with Peer(hang_up) as peer:
        error, cause = failed_handshake(Target("127.0.0.1", peer.port, Options(authority.client_context())))
    assert isinstance(cause, ConnectionResetError if reset else ssl.SSLError)
    assert "the peer hung up during the handshake" in str(error)


def test_a_peer_that_says_nothing_in_the_handshake(authority: Authority) -> None:
    with Peer(lambda peer: peer.recv_until_end()) as peer:
        target = Target("127.0.0.1", peer.port, Options(authority.client_context()))
        with pytest.raises(AMQPConnectorTransportSetupError, match="no TLS handshake within stack_timeout") as caught:
            connect(target, time.monotonic() + 0.2)
    assert isinstance(caught.value.exception, AMQPConnectorStackTimeout)


def test_plain_on_a_tls_port(authority: Authority, server: Certificate) -> None:
    with Peer(lambda peer: None, tls=authority.server_context(server)) as peer:
        stream = connect(Target("127.0.0.1", peer.port))
        stream.write(b"AMQP\x00\x00\x09\x01")
        received, _ = read_until_lost(stream)
        stream.close()
    # Some TLS servers answer with an alert, others just hang up.
    assert received == b"" or frames.looks_like_tls(received)
    assert peer.handshake_errors


def test_a_certificate_of_an_unknown_authority(
    authority: Authority, server: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"), "other-ca")
    with Peer(lambda peer: None, tls=authority.server_context(server)) as peer:
        error, cause = failed_handshake(Target("127.0.0.1", peer.port, Options(other.client_context(), "localhost")))
    assert isinstance(cause, ssl.SSLCertVerificationError)
    assert "'localhost'" in str(error)
    assert "local issuer certificate" in str(error)
    assert peer.handshake_errors  # the peer was told


def test_a_certificate_for_another_host(authority: Authority) -> None:
    elsewhere = authority.issue("elsewhere", hosts=["elsewhere.example"])
    with Peer(lambda peer: None, tls=authority.server_context(elsewhere)) as peer:
        # Without a server_hostname it is the host that the certificate is to be for.
        error, cause = failed_handshake(Target("127.0.0.1", peer.port, Options(authority.client_context())))
        assert isinstance(cause, ssl.SSLCertVerificationError)
        assert "'127.0.0.1'" in str(error) and "mismatch" in str(error)
        stream = connect(Target("127.0.0.1", peer.port, Options(authority.client_context(), "elsewhere.example")))
        stream.close()


def test_a_certificate_that_has_expired(authority: Authority) -> None:
    old = authority.issue("old", expired=True)
    with Peer(lambda peer: None, tls=authority.server_context(old)) as peer:
        error, cause = failed_handshake(Target("localhost", peer.port, Options(authority.client_context())))
    assert isinstance(cause, ssl.SSLCertVerificationError)
    assert "certificate has expired" in str(error)


def test_no_version_in_common(authority: Authority, server: Certificate) -> None:
    context = authority.server_context(server)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    client = authority.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with Peer(lambda peer: None, tls=context) as peer:
        error, _ = failed_handshake(Target("127.0.0.1", peer.port, Options(client)))
    assert "no TLS version in common" in str(error)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate(authority: Authority, server: Certificate, version: ssl.TLSVersion) -> None:
    client = authority.issue("client")
    context = authority.server_context(server, ask_client=True)
    context.minimum_version = context.maximum_version = version

    def hello(peer: PeerSocket) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        subject: Any = (peer.socket.getpeercert() or {})["subject"]
        peer.send(subject[0][0][1].encode())

    with Peer(hello, tls=context) as peer:
        stream = connect(Target("127.0.0.1", peer.port, Options(authority.client_context(client))))
        received, _ = read_until_lost(stream)
        stream.close()
        assert received == b"client"

        # Without one: TLS 1.2 says so in the handshake, 1.3 when the client believes it is over.
        with pytest.raises((AMQPConnectorTransportSetupError, StreamLostError), match="client certificate"):
            stream = connect(Target("127.0.0.1", peer.port, Options(authority.client_context())))
            with contextlib.closing(stream):
                read_exactly(stream, 1)
