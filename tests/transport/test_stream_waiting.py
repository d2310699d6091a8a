"""Waiting for a stream, and signal handlers that come at any moment."""

from __future__ import annotations

import contextlib
import dis
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pika.exceptions import StreamLostError
from pika.transport.stream import Ready, Stream
from pika.transport.tls import TLS
from tests.support.bounded import Running, eventually
from tests.support.certificates import Authority, Certificate
from tests.support.interrupt import Interruption, interrupted_after
from tests.support.peer import PeerSocket
from tests.support.signals import alarm, needs_alarms
from tests.transport.streams import MIB, Link, Pair, drain, read_until_lost

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
