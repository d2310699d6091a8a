"""A stream over real sockets, against scripted peers: reading, writing, and its end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import ssl
import threading

import pytest

from pika.exceptions import StreamLostError
from pika.transport.stream import Ready, Stream
from tests.support.bounded import eventually
from tests.support.certificates import Authority, Certificate
from tests.support.memory import traced
from tests.support.peer import Peer, PeerSocket
from tests.transport.streams import MIB, Link, Options, Pair, Target, connect, drain, read_exactly, read_until_lost

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
