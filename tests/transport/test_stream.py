"""A stream over real sockets, against scripted peers."""

from __future__ import annotations

import contextlib
import dis
import hashlib
import os
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from pika import frame as frames
from pika.exceptions import StreamLostError
from pika.transport.dial import TLSOptions, resolve
from pika.transport.errors import (
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
)
from pika.transport.stream import Ready, Stream
from pika.transport.tls import TLS
from tests.support.bounded import Running, eventually
from tests.support.certificates import Authority, Certificate
from tests.support.interrupt import Interruption, interrupted_after
from tests.support.memory import traced
from tests.support.peer import Peer, PeerSocket, free_port
from tests.support.signals import alarm, needs_alarms

MIB = 1 << 20


class Options(NamedTuple):
    context: ssl.SSLContext
    server_hostname: str | None = None


class Target(NamedTuple):
    host: str
    port: int
    ssl_options: TLSOptions | None = None
    socket_timeout: float | None = 10.0
    stack_timeout: float | None = 15.0
    tcp_options: Mapping[str, int] | None = None
    connection_attempts: int = 1
    retry_delay: float = 2.0


def connect(target: Target, deadline: float | None = None) -> Stream:
    return Stream.connect(target, resolve(target.host, target.port)[0], deadline)


def read_exactly(stream: Stream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = stream.read(size - len(received))
        if data is None:
            stream.flush()
            assert stream.wait(20), "the peer sends nothing"
        else:
            received += data
    return bytes(received)


def read_until_lost(stream: Stream) -> tuple[bytes, StreamLostError]:
    received = bytearray()
    while True:
        try:
            data = stream.read()
        except StreamLostError as error:
            return bytes(received), error
        if data is None:
            stream.flush()
            assert stream.wait(20), "the peer sends nothing"
        else:
            received += data


def drain(stream: Stream) -> None:
    for _ in range(400):
        if stream.flush():
            return
        # Not longer: a signal handler that writes can have sent everything since.
        select.select([], [stream.socket], [], 0.05)
    raise AssertionError("the peer takes nothing")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.issue("stream-server")


class Link(NamedTuple):
    """How streams of a test are made: plain, or with TLS."""

    tls: ssl.SSLContext | None
    options: TLSOptions | None

    def serve(self, script: Callable[[PeerSocket], object], host: str = "127.0.0.1") -> Peer:
        return Peer(script, tls=self.tls, host=host)

    def connect(self, peer: Peer) -> Stream:
        return connect(Target(peer.host, peer.port, self.options), time.monotonic() + 20)


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def link(request: pytest.FixtureRequest, authority: Authority, server: Certificate) -> Link:
    if request.param == "plain":
        return Link(None, None)
    context = authority.server_context(server)
    version = ssl.TLSVersion.TLSv1_2 if request.param == "TLS 1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = version
    return Link(context, Options(authority.client_context(), "localhost"))


class Pair(NamedTuple):
    stream: Stream
    other: socket.socket


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    stream = Stream(one, peer="other:1")
    yield Pair(stream, other)
    stream.close()
    other.close()


# --- connecting


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


# --- reading and writing


def pattern(size: int) -> bytes:
    return hashlib.sha512(b"seed").digest() * (size // 64 + 1)


def test_large_transfers_both_ways_through_small_buffers(link: Link) -> None:
    sent = pattern(3 * MIB)[: 3 * MIB + 17]

    def echo(peer: PeerSocket) -> None:
        received = 0
        while received < len(sent):
            data = peer.recv_some()
            received += len(data)
            peer.send(data)
        peer.recv_until_end()

    with link.serve(echo) as peer:
        stream = link.connect(peer)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        pieces = []
        sizes = (1, 70_000, 3, 5, 0, 4096, 9, 300_000, 4095)
        at = turn = 0
        while at < len(sent):
            size = sizes[turn % len(sizes)]
            pieces.append(sent[at : at + size])
            at, turn = at + size, turn + 1
        half = len(pieces) // 2
        stream.write_pieces(pieces[:half])
        for piece in pieces[half:]:
            stream.write(memoryview(piece))
        assert stream.pending_output > 0
        assert read_exactly(stream, len(sent)) == sent
        assert stream.flush()
        assert stream.pending_output == 0
        stream.close()


def test_64_mib_in_bounded_memory(link: Link) -> None:
    size = 64 * MIB
    block = pattern(MIB)[:MIB]

    def script(peer: PeerSocket) -> None:
        digest = hashlib.sha256()
        left = size
        while left:
            data = peer.recv_some(1 << 16)
            left -= len(data)
            digest.update(data)
        peer.send(digest.digest())
        for _ in range(size // MIB):
            peer.send(block)
        peer.recv_until_end()

    sent = block * (size // MIB)
    with link.serve(script) as peer:
        stream = link.connect(peer)
        with traced() as memory:
            stream.write(sent)
            drain(stream)
            assert read_exactly(stream, 32) == hashlib.sha256(sent).digest()
            received = 0
            digest = hashlib.sha256()
            while received < size:
                data = stream.read()
                if data is None:
                    assert stream.wait(20)
                    continue
                received += len(data)
                digest.update(data)
            _, peak = memory.get_traced_memory()
        assert digest.digest() == hashlib.sha256(sent).digest()
        assert peak < 8 * MIB
        stream.close()


def test_many_small_writes_while_the_peer_does_not_read(link: Link) -> None:
    go = threading.Event()
    count = 30_000

    def script(peer: PeerSocket) -> None:
        go.wait(20)
        assert peer.recv_exactly(100 * count) == b"".join(b"%0100d" % number for number in range(count))

    with link.serve(script) as peer:
        stream = link.connect(peer)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for number in range(count):
            stream.write(b"%0100d" % number)
        assert stream.pending_output > 0
        go.set()
        drain(stream)
        stream.close()


def test_read_keeps_to_its_limit(link: Link) -> None:
    def send_much(peer: PeerSocket) -> None:
        peer.send(b"0123456789" * 10_000)
        peer.recv_until_end()

    with link.serve(send_much) as peer:
        stream = link.connect(peer)
        assert stream.wait(20) == Ready.READ
        received = bytearray()
        while len(received) < 100_000:
            data = stream.read(7000)
            if data is None:
                assert stream.wait(20)
                continue
            assert 0 < len(data) <= 7000
            received += data
            if len(received) < 100_000 and link.tls is not None and len(data) == 7000:
                # More may lie decrypted in memory, where no poll() sees it.
                assert stream.wait(20) & Ready.READ
        assert received == b"0123456789" * 10_000
        assert stream.read() is None
        stream.close()


def test_what_comes_right_behind_the_handshake_is_there_to_read(authority: Authority, server: Certificate) -> None:
    context = authority.server_context(server)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def script(peer: PeerSocket) -> None:
        """Hold back the end of the handshake until there is more to send, and send both at once."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                peer.send(outgoing.read())
                incoming.write(peer.recv_some())
            else:
                break
        session.write(b"hello")
        peer.send(outgoing.read())
        peer.recv_until_end()

    with Peer(script) as peer:
        stream = connect(Target("127.0.0.1", peer.port, Options(authority.client_context())))
        assert stream.wait(20) == Ready.READ
        assert stream.read() == b"hello"
        stream.close()


def test_a_limit_of_nothing_is_a_mistake(pair: Pair) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        pair.stream.read(0)


def test_the_peer_hangs_up(link: Link) -> None:
    with link.serve(lambda peer: peer.send(b"last words")) as peer:
        stream = link.connect(peer)
        received, error = read_until_lost(stream)
        assert received == b"last words"
        assert error.args == ("Transport indicated EOF",) and f"127.0.0.1:{peer.port}" in str(error)
        assert stream.wait(0) & Ready.READ
        with pytest.raises(StreamLostError, match="Transport indicated EOF"):
            stream.read()
        stream.close()


def test_the_peer_resets_the_connection(link: Link) -> None:
    def reset(peer: PeerSocket) -> None:
        peer.recv_exactly(2)
        peer.reset()

    with link.serve(reset) as peer:
        stream = link.connect(peer)
        stream.write(b"go")
        _, error = read_until_lost(stream)
        assert str(error).startswith("Stream connection lost: ConnectionResetError(")
        assert f"127.0.0.1:{peer.port}" in str(error)
        assert isinstance(error.__cause__, ConnectionResetError)
        stream.close()


def test_what_the_peer_said_before_it_died_is_read_after_a_failed_write(link: Link) -> None:
    def script(peer: PeerSocket) -> None:
        peer.recv_exactly(2)
        peer.send(b"why I am going")
        # Hanging up with something unread makes a reset of it.
        peer.close()

    with link.serve(script) as peer:
        stream = link.connect(peer)
        stream.write(b"go and more")

        def refused() -> int:
            stream.write(b"x" * 100)
            return stream.pending_output

        # The kernel has room for much more, so it takes nothing at all any more.
        pending = eventually(refused)
        stream.write(b"into the void")
        stream.write_pieces([b"into", b"the void"])
        assert stream.pending_output == pending
        assert not stream.flush()
        assert stream.wait(None) == Ready.READ
        received, error = read_until_lost(stream)
        assert received == b"why I am going"
        assert isinstance(error.__cause__, (BrokenPipeError, ConnectionResetError))
        assert type(error.__cause__).__name__ in str(error)
        stream.close()


def test_nothing_at_all_is_written(pair: Pair) -> None:
    pair.stream.write(b"")
    pair.stream.write_pieces([])
    pair.stream.write_pieces([b"", b""])
    assert pair.stream.pending_output == 0
    pair.stream.write(b"x")
    assert pair.other.recv(10) == b"x"


class WithoutSendmsg(socket.socket):
    """A socket of a platform that cannot gather pieces: Windows."""

    sendmsg = None  # type: ignore[assignment]


def test_without_sendmsg() -> None:
    one, other = socket.socketpair()
    pieces = [b"a" * 15_000, b"b", b"c" * 5000, b"d"]
    with other, contextlib.closing(Stream(WithoutSendmsg(fileno=one.detach()))) as stream:
        stream.write_pieces(pieces)
        assert stream.pending_output == 0
        assert other.recv(30_000) == b"".join(pieces)


# --- waiting


def test_wait_says_what_is_the_case(pair: Pair) -> None:
    stream, other = pair
    assert not stream.wait(0)
    assert not stream.wait(0.01)
    other.send(b"x")
    assert stream.wait(None) == Ready.READ
    stream.write(bytes(10 * MIB))
    assert stream.pending_output > 0
    assert stream.wait(0) == Ready.READ
    while not stream.wait(0) & Ready.WRITE:
        other.recv(MIB)
    assert stream.wait(20) == Ready.READ | Ready.WRITE


def test_a_wake_that_was_interrupted_keeps_no_other_from_waking(pair: Pair) -> None:
    stream = pair.stream
    stream.wait(0)
    lines, came = 0, True
    while came:
        waiting = Running(lambda: stream.wait(20))
        # Most likely it waits by now; if it does not, there is nothing to see.
        time.sleep(0.02)
        with interrupted_after(lines) as countdown:
            stream.wake()
        came, lines = countdown.came, lines + 1
        began = time.monotonic()
        stream.wake()
        assert waiting.result() == Ready.WOKEN
        assert time.monotonic() - began < 15
        stream.wait(0)
    assert lines > 3


def test_wake_before_during_and_after_a_wait(pair: Pair) -> None:
    stream = pair.stream
    stream.wake()
    stream.wake()
    assert stream.wait(20) == Ready.WOKEN
    assert not stream.wait(0)
    for _ in range(20):
        timer = threading.Timer(0.01, stream.wake)
        timer.start()
        assert stream.wait(20) == Ready.WOKEN
        timer.join()
        assert not stream.wait(0)
    stream.wake()
    assert stream.wait(None) == Ready.WOKEN
    stream.close()
    stream.wake()
    assert stream.wait(None)


def test_no_wake_is_lost_among_many(pair: Pair) -> None:
    stream = pair.stream
    asked: list[int] = []
    served = 0

    def ask() -> None:
        for number in range(500):
            asked.append(number)
            stream.wake()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while served < 2000:
        assert stream.wait(20) == Ready.WOKEN
        while asked:
            asked.pop()
            served += 1
    for thread in threads:
        thread.join()


@needs_alarms
def test_a_signal_handler_can_wake(pair: Pair) -> None:
    with alarm(0.05, pair.stream.wake):
        assert pair.stream.wait(20) == Ready.WOKEN


@needs_alarms
def test_a_signal_whose_handler_returns_does_not_end_a_wait(pair: Pair) -> None:
    ran: list[int] = []
    with alarm(0.01, lambda: ran.append(1), interval=0.01):
        sending = Running(lambda: eventually(lambda: len(ran) > 5) and pair.other.send(b"x"))
        assert pair.stream.wait(None) == Ready.READ
    sending.result()


@needs_alarms
def test_a_signal_handler_that_raises_leaves_the_stream_usable(pair: Pair) -> None:
    with alarm(0.05, interrupt), pytest.raises(Interruption):
        pair.stream.wait(20)
    pair.other.send(b"x")
    assert pair.stream.wait(20) == Ready.READ
    assert pair.stream.read() == b"x"
    pair.stream.wake()
    assert pair.stream.wait(20) == Ready.WOKEN


@needs_alarms
def test_a_signal_handler_that_writes_does_not_break_into_a_write(link: Link) -> None:
    """Frames of a signal handler go between the frames of the main program, whole and all of them."""
    beats: list[int] = []
    frames = 3000

    def script(peer: PeerSocket) -> None:
        kinds = {b"m": 500, b"h": 20}
        seen = {b"m": 0, b"h": 0}
        while True:
            kind = peer.recv_exactly(1)
            if kind == b"e":
                break
            assert peer.recv_exactly(kinds[kind] - 1) == kind * (kinds[kind] - 1)
            seen[kind] += 1
        peer.send(b"%d %d" % (seen[b"m"], seen[b"h"]))

    with link.serve(script) as peer:
        stream = link.connect(peer)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)

        def beat() -> None:
            beats.append(1)
            stream.write(b"h" * 20)

        with alarm(0.001, beat, interval=0.001):
            for number in range(frames):
                stream.write(b"m" * 500)
                if number % 50 == 0:
                    drain(stream)
        drain(stream)
        stream.write(b"e")
        assert beats
        assert read_until_lost(stream)[0] == b"%d %d" % (frames, len(beats))
        stream.close()


# --- a signal at any moment


def interrupt() -> None:
    raise Interruption


# Behind which bytecodes CPython runs signal handlers: before 3.11 most, then calls and jumps backward.
_MOMENTS = ("",) if sys.version_info < (3, 11) else ("RESUME", "CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")


def signalled(action: Callable[[], object], moment: int, handler: Callable[[], object]) -> bool:
    """Run ``action`` and call ``handler`` at its moment number ``moment``. Returns False if it was over before.

    The moments are those at which a signal handler can run in the code of the transport.
    """
    count = 0
    behind: dict[FrameType, str] = {}

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if Path(frame.f_code.co_filename).parent.name != "transport" and frame.f_globals["__name__"] != "ssl":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += behind.get(frame, "RESUME").startswith(_MOMENTS)
            if count == moment:
                sys.settrace(None)
                handler()
            behind[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    with contextlib.suppress(Interruption):
        try:
            action()
        finally:
            sys.settrace(before)
    return count >= moment


needs_opcodes = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="traces single bytecodes, as CPython counts them"
)


def is_usable(stream: Stream) -> bool:
    """Whether a stream whose peer has said nothing can still be used. If not, it says so in every way."""
    try:
        assert stream.read() is None
    except StreamLostError as error:
        assert "interrupted in the middle of a write by Interruption()" in str(error)
        assert isinstance(error.__cause__, Interruption)
        assert stream.wait(None) == Ready.READ
        return False
    return True


def recv_all(sock: socket.socket, stream: Stream) -> bytes:
    """What a stream has to say and the kernel takes."""
    received = b""
    while True:
        stream.flush()
        try:
            received += sock.recv(MIB)
        except BlockingIOError:
            return received


PIECES = [b"<ne", b"x", bytes(9000), b"", bytes(9000), b"t>"]
WRITES: dict[str, tuple[str, tuple[Any, ...], bytes]] = {
    "idle": ("write", (b"<next>",), b"<next>"),
    "queued": ("write", (b"<next>",), b"<next>"),
    "much": ("write", (b"<next>" * 50_000,), b"<next>" * 50_000),
    "small pieces": ("write_pieces", ([b"<ne", b"xt>"],), b"<next>"),
    "large pieces": ("write_pieces", (PIECES,), b"".join(PIECES)),
}


@contextlib.contextmanager
def begun(kind: str) -> Iterator[tuple[Stream, socket.socket, bytes]]:
    """A stream, its peer, and what was written before."""
    one, other = socket.socketpair()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096 if kind in ("queued", "much") else 1 << 18)
    other.setblocking(False)
    stream = Stream(one)
    with other, contextlib.closing(stream):
        before = b"<queued>" * 20_000 if kind == "queued" else b"<first>"
        stream.write(before)
        assert (stream.pending_output > 0) == (kind == "queued")
        yield stream, other, before


@needs_opcodes
@pytest.mark.parametrize("kind", list(WRITES))
def test_an_exception_at_any_moment_of_a_write(kind: str) -> None:
    """Then all is as if nothing was, or the stream is lost, and the peer got a part with nothing twice or left out."""
    method, arguments, whole = WRITES[kind]
    ends = {True: 0, False: 0}
    moment = 1
    while True:
        with begun(kind) as (stream, other, before):
            if not signalled(partial(getattr(stream, method), *arguments), moment, interrupt):
                break
            usable = is_usable(stream)
            stream.write(b"<last>")
            arrived = recv_all(other, stream)
            if usable:
                assert arrived in (before + whole + b"<last>", before + b"<last>"), moment
                assert stream.pending_output == 0
            else:
                assert (before + whole).startswith(arrived), moment
            ends[usable] += 1
        moment += 1
    assert min(ends.values()) > 0


@needs_opcodes
@pytest.mark.parametrize("kind", list(WRITES))
@pytest.mark.parametrize("times", [1, 50_000], ids=["a little", "more than the kernel takes"])
def test_a_write_at_any_moment_of_a_write(kind: str, times: int) -> None:
    """What a signal handler writes goes before or behind, never between, and waits for nothing."""
    method, arguments, whole = WRITES[kind]
    signal = b"<signal>" * times
    moment = 1
    orders = set()
    while True:
        with begun(kind) as (stream, other, before):

            def handler(stream: Stream = stream) -> None:
                stream.wake()
                stream.write_pieces([signal[:4], signal[4:]])

            if not signalled(partial(getattr(stream, method), *arguments), moment, handler):
                break
            assert is_usable(stream)
            arrived = recv_all(other, stream)
            orders.add([before + signal + whole, before + whole + signal].index(arrived))
            assert stream.wait(20) == Ready.WOKEN
        moment += 1
    assert orders == {0, 1}


@needs_opcodes
def test_nothing_is_pending_to_one_who_interrupts_a_write() -> None:
    """So a signal handler that publishes does not wait for the very write that waits for the handler."""
    seen: set[int] = set()
    moment = 1
    while True:
        with begun("queued") as (stream, _, _):
            if not signalled(lambda: stream.flush(), moment, lambda: seen.add(stream.pending_output)):
                break
            assert stream.pending_output > 0
        moment += 1
    assert 0 in seen


@needs_opcodes
def test_an_exception_at_any_moment_of_a_tls_write(authority: Authority, server: Certificate) -> None:
    context = authority.server_context(server)
    client = authority.client_context()
    ends = {True: 0, False: 0}
    moment = 1
    while True:
        one, other = socket.socketpair()
        with other:
            other.setblocking(False)
            tls = TLS(client, "localhost")
            stream = Stream(one, tls=tls)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            peer = context.wrap_bio(incoming, outgoing, server_side=True)
            while not tls.do_handshake() or peer.version() is None or incoming.pending:
                stream.flush()
                incoming.write(other.recv(MIB))
                with contextlib.suppress(ssl.SSLWantReadError):
                    peer.do_handshake()
                tls.receive(outgoing.read())
            if not signalled(partial(stream.write, b"<next>"), moment, interrupt):
                stream.abort()
                break
            usable = is_usable(stream)
            stream.write(b"<last>")
            incoming.write(recv_all(other, stream))
            arrived = b""
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    arrived += peer.read(MIB)
            assert arrived in ((b"<next><last>", b"<last>") if usable else (b"<next>", b"")), moment
            assert not usable or stream.pending_output == 0
            ends[usable] += 1
            stream.abort()
        moment += 1
    assert min(ends.values()) > 0


class InterruptedSocket(socket.socket):
    """A socket whose first recv() is interrupted when the kernel has given what there was."""

    interrupted = False

    def recv(self, *arguments: Any) -> bytes:
        data = super().recv(*arguments)
        if not self.interrupted:
            self.interrupted = True
            raise Interruption
        return data


def test_an_exception_in_the_middle_of_receiving() -> None:
    """What recv() had taken is lost with the exception: nothing that comes behind it is given out."""
    one, other = socket.socketpair()
    with other, contextlib.closing(Stream(InterruptedSocket(fileno=one.detach()))) as stream:
        other.send(b"one")
        with pytest.raises(Interruption):
            stream.read()
        other.send(b"two")
        assert stream.wait(None) == Ready.READ
        for _ in range(2):
            with pytest.raises(StreamLostError, match="interrupted in the middle of a read by Interruption") as caught:
                stream.read()
            assert isinstance(caught.value.__cause__, Interruption)


@needs_alarms
def test_a_signal_handler_that_waits_in_the_middle_of_a_wait(pair: Pair) -> None:
    seen: list[int] = []
    with alarm(0.01, lambda: seen.append(pair.stream.wait(0)), interval=0.01):
        sending = Running(lambda: eventually(lambda: len(seen) > 5) and pair.other.send(b"x"))
        assert pair.stream.wait(None) == Ready.READ
    sending.result()
    assert seen[:5] == [0] * 5
    assert pair.stream.wait(20) == Ready.READ


# --- the end


def test_after_close_reading_raises_and_writing_does_nothing(pair: Pair) -> None:
    pair.stream.close()
    pair.stream.write(b"x")
    pair.stream.write_pieces([b"x"])
    assert pair.stream.wait(None) == Ready.READ
    with pytest.raises(StreamLostError, match="closed by this side"):
        pair.stream.read()
    assert pair.other.recv(10) == b""


def test_close_offers_pending_output_once_more_and_never_waits(link: Link) -> None:
    done = threading.Event()
    with link.serve(lambda peer: done.wait(20)) as peer:
        stream = link.connect(peer)
        stream.write(bytes(20 * MIB))
        assert stream.pending_output > 0
        stream.close()
        assert stream.closed
        done.set()


def test_close_of_tls_is_a_close_notify(authority: Authority, server: Certificate) -> None:
    ends: list[bytes] = []
    with Peer(lambda peer: ends.append(peer.recv_some()), tls=authority.server_context(server)) as peer:
        connect(Target("127.0.0.1", peer.port, Options(authority.client_context()))).close()
    assert ends == [b""]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_abort_leaves_a_copy_in_another_process_usable(link: Link) -> None:
    """What a child does after fork. Here the copy is a duplicate of the descriptor."""
    received: list[bytes] = []
    with link.serve(lambda peer: received.append(peer.recv_exactly(12))) as peer:
        stream = link.connect(peer)
        stream.write(b"before")
        copy = Stream(socket.socket(fileno=os.dup(stream.fileno())), tls=stream.tls)
        stream.abort()
        copy.write(b" after")
        copy.close()
    assert received == [b"before after"]


@pytest.mark.skipif(not hasattr(select, "poll"), reason="the platform has no poll()")
def test_high_descriptors() -> None:
    import fcntl
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    one, other = socket.socketpair()
    try:
        with one, other:
            stream = Stream(socket.socket(fileno=fcntl.fcntl(one, fcntl.F_DUPFD, 1500)))
            other.send(b"x")
            assert stream.wait(20) == Ready.READ
            assert stream.read() == b"x"
            stream.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
