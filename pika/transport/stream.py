"""One connected socket, plain or TLS: non-blocking, and wakeable from any thread and from signal handlers."""

from __future__ import annotations

import enum
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import starmap
from operator import add
from typing import TYPE_CHECKING, Any

from pika.exceptions import StreamLostError
from pika.transport.backlog import Backlog, Buffer
from pika.transport.dial import Address, Destination, describe
from pika.transport.errors import (
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
)
from pika.transport.sockets import READ, WOKEN, WRITE, connect_tcp, wait_for

if TYPE_CHECKING:
    from pika.transport.tls import TLS

# The buffer of one read: as large as malloc gives without asking the operating system for fresh pages each time
# (glibc does from 128 KiB on), which makes a small read five times as slow.
READ_LIMIT = 128 * 1024 - 256
# What one system call is offered at most when pieces are gathered for it.
_SEND_LIMIT = 256 * 1024
_SEND_BUFFERS = 64


class Ready(enum.IntFlag):
    """Why :meth:`Stream.wait` returned; none of it when the time was over."""

    READ = READ
    WRITE = WRITE
    WOKEN = WOKEN


_READY = tuple(Ready(bits) for bits in range(8))


class Stream:
    """Bytes to and from a peer.

    One thread at a time uses a stream; only :meth:`wake` may be called by others. A signal handler may interrupt any
    method: it may call :meth:`write` and :meth:`wake`, and it may raise; no byte is sent twice or left out.

    **Death.** When sending fails the peer may have said why before it died. So a failed send is kept, and
    :meth:`read` first gives all that has arrived; only then it raises, with the original cause.

    :param sock: connected; made non-blocking here, and owned from now on
    :param peer: who is there, for messages
    :param tls: a session over this socket; without it the stream is plain
    """

    def __init__(self, sock: socket.socket, *, peer: str = "", tls: TLS | None = None) -> None:
        sock.setblocking(False)
        #: The socket itself. With TLS, what goes over it is ciphertext.
        self.socket = sock
        self.peer = peer or _peer_name(sock)
        self.closed = False
        self._recv = sock.recv
        self._send = sock.send
        self._sendmsg = getattr(sock, "sendmsg", None)
        self._tls = tls
        self._tls_has_more = False
        self._output = Backlog()
        self._pieces = self._output.pieces
        self._position = self._output.position
        # What was gathered from the output to be sent, and the position of its first byte.
        self._gathered: tuple[int, list[Buffer]] = (0, [])
        # What a signal handler writes while it interrupts a write.
        self._late: deque[Buffer] = deque()
        self._writing = False
        self._write_error: OSError | None = None
        self._read_error: StreamLostError | None = None
        self._waker: tuple[socket.socket, socket.socket] | None = None
        self._woken = False

    @classmethod
    def connect(cls, destination: Destination, address: Address, deadline: float | None = None) -> Stream:
        """Connect, blocking: TCP within ``socket_timeout``, and TLS if there are ``ssl_options``.

        :param destination: host, port and options
        :param address: one of those the host resolves to
        :param deadline: on ``time.monotonic()``, for TCP and TLS together; None for no limit
        :raises AMQPConnectorSocketConnectError: no TCP connection; its ``exception`` is the cause: an ``OSError``
            (``TimeoutError`` after ``socket_timeout``), or ``AMQPConnectorStackTimeout`` after the deadline
        :raises AMQPConnectorTransportSetupError: no TLS; its ``exception`` is the cause: an ``ssl.SSLError``
            or another ``OSError``, or ``AMQPConnectorStackTimeout``
        """
        where = describe(destination, address)
        try:
            sock = connect_tcp(destination, address, deadline)
        except (OSError, AMQPConnectorStackTimeout) as error:
            raise AMQPConnectorSocketConnectError(error, where=where) from error
        options = destination.ssl_options
        if options is None:
            return cls(sock, peer=where)
        from pika.transport.tls import TLS

        hostname = options.server_hostname or destination.host
        try:
            tls = TLS(options.context, hostname)
            stream = cls(sock, peer=where, tls=tls)
            stream._shake_hands(tls, deadline)
        except (OSError, AMQPConnectorStackTimeout) as error:
            sock.close()
            hint = tls.explain(error) if isinstance(error, OSError) else ""
            raise AMQPConnectorTransportSetupError(error, where=where, hint=hint) from error
        except BaseException:
            sock.close()
            raise
        return stream

    def _shake_hands(self, tls: TLS, deadline: float | None) -> None:
        while True:
            try:
                done = tls.do_handshake()
            finally:
                # Also when it failed: the peer is told why.
                self.flush()
            if done:
                # What the peer sent right behind its part of the handshake is in memory already.
                self._tls_has_more = True
                return
            wait = None if deadline is None else deadline - time.monotonic()
            if wait is not None and wait <= 0:
                raise AMQPConnectorStackTimeout("no TLS handshake within stack_timeout")
            if wait_for(self.socket, read=True, write=self.pending_output > 0, timeout=wait) & READ:
                try:
                    data = self._recv(READ_LIMIT)
                except BlockingIOError:
                    continue
                if data:
                    tls.receive(data)
                else:
                    tls.receive_eof()

    @property
    def tls(self) -> TLS | None:
        """The TLS session, or None if the stream is plain."""
        return self._tls

    @property
    def local_address(self) -> Any:
        """This end's address as the socket gives it, or None if there is none any more."""
        try:
            return self.socket.getsockname()
        except OSError:
            return None

    @property
    def peer_address(self) -> Any:
        """The peer's address as the socket gives it, or None if there is none any more."""
        try:
            return self.socket.getpeername()
        except OSError:
            return None

    def fileno(self) -> int:
        """The descriptor of the socket, -1 once it is closed."""
        return self.socket.fileno()

    # --- reading

    def read(self, limit: int = READ_LIMIT) -> bytes | None:
        """Give what has arrived, without waiting.

        :param limit: at most so many bytes, at least 1
        :returns: None when nothing is there now
        :raises StreamLostError: the peer hung up, the connection was reset, sending had failed, or the stream was
            closed here; ``__cause__`` is the original ``OSError``, if there was one
        """
        if self._tls is not None:
            return self._read_tls(self._tls, limit)
        try:
            data = self._recv(limit)
        except BlockingIOError:
            if self._write_error is None:
                return None
            raise self._lost(self._write_error) from self._write_error
        except OSError as error:
            raise self._lost(error) from (self._write_error or error)
        if not data:
            raise self._ended(limit) from self._write_error
        return data

    def _read_tls(self, tls: TLS, limit: int) -> bytes | None:
        while True:
            try:
                data = tls.read(limit)
            except OSError as error:
                self.flush()
                raise self._lost(error, tls.explain(error)) from (self._write_error or error)
            if tls.has_output or tls.pending:
                # Reading can complete a handshake, or ask for an answer (key update).
                self.flush()
            self._tls_has_more = bool(data)
            if data:
                return data
            if tls.eof:
                raise self._ended(limit) from self._write_error
            try:
                ciphertext = self._recv(READ_LIMIT)
            except BlockingIOError:
                if self._write_error is None:
                    return None
                raise self._lost(self._write_error) from self._write_error
            except OSError as error:
                raise self._lost(error) from (self._write_error or error)
            if ciphertext:
                tls.receive(ciphertext)
            else:
                tls.receive_eof()

    def _lost(self, error: OSError, hint: str = "") -> StreamLostError:
        if self.closed:
            return StreamLostError(f"The stream to {self.peer} was closed by this side.")
        if self._read_error is None:
            cause = self._write_error or error
            remedy = f": {hint}" if hint else ""
            self._read_error = StreamLostError(f"Stream connection lost: {cause!r} ({self.peer}){remedy}")
        return self._read_error

    def _ended(self, limit: int) -> StreamLostError:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit!r}")
        if self._write_error is not None:
            return self._lost(self._write_error)
        if self._read_error is None:
            self._read_error = StreamLostError(f"Transport indicated EOF: {self.peer} closed the connection")
        return self._read_error

    # --- writing

    @property
    def pending_output(self) -> int:
        """How many bytes were written but not yet taken by the kernel (with TLS partly in ciphertext)."""
        late = sum(map(len, self._late)) if self._late else 0
        return self._output.size + late + (self._tls.pending if self._tls is not None else 0)

    def write(self, data: Buffer) -> None:
        """Send bytes, and queue what the kernel does not take now. Never waits.

        It raises nothing when the connection is broken: :meth:`read` does.

        :param data: not to be changed afterwards, if it can be (``bytearray``, ``memoryview``)
        """
        if self._writing and self._is_interrupted():
            self._late.append(data)
            return
        try:
            self._writing = True
            if self._pieces or self._tls is not None or self._write_error is not None or not data:
                self._accept(data)
                self._send_all()
            else:
                # What _accept and _send_all come to for the usual case, without the calls: see Backlog for the steps.
                start = self._position[0]
                self._pieces.append((start, data))
                self._position.extend(map(add, (start,), map(self._send, (data,))))
                if self._position[0] - start == len(data):
                    self._pieces.popleft()
                else:
                    self._send_all()
        except BlockingIOError:
            pass
        except OSError as error:
            self._write_error = self._write_error or error
        finally:
            self._writing = False
        if self._late:
            self.flush()

    def write_pieces(self, pieces: Iterable[Buffer]) -> None:
        """Send pieces of bytes one behind the other, as :meth:`write` does.

        Small ones are joined and large ones sent from where they are, with few system calls.
        """
        if self._writing and self._is_interrupted():
            self._late.extend(pieces)
            return
        try:
            self._writing = True
            for data in pieces:
                self._accept(data)
            self._send_all()
        except OSError as error:
            self._note(error)
        finally:
            self._writing = False
        if self._late:
            self.flush()

    def flush(self) -> bool:
        """Offer the kernel once more what it has not taken yet.

        :returns: True if nothing is pending any more
        """
        if self._writing and self._is_interrupted():
            return False
        try:
            self._writing = True
            self._send_all()
        except OSError as error:
            self._note(error)
        finally:
            self._writing = False
        return self.pending_output == 0

    def _is_interrupted(self) -> bool:
        """Whether a write is going on further down the stack, and not one that was cut short before it could say so."""
        frame = sys._getframe(1).f_back
        while frame is not None:
            if frame.f_code in _WRITERS and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back
        self._writing = False
        return False

    def _note(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError) and self._write_error is None:
            self._write_error = error

    def _accept(self, data: Buffer) -> None:
        if self._write_error is not None:
            return  # it could never be sent: reading raises soon
        if self._tls is None:
            self._output.append(data)
        else:
            self._tls.write(data)

    def _send_all(self) -> None:
        """Send until the kernel takes no more, which raises BlockingIOError, or nothing is left."""
        output = self._output
        while self._write_error is None:
            while self._late:
                self._accept(self._late.popleft())
            if not output.prune() and not self._encrypt():
                self._gathered = (0, [])
                return
            buffers = self._next_buffers(self._position[0])
            if len(buffers) > 1 and self._sendmsg is not None:
                output.hand(self._sendmsg, buffers)
            else:
                output.hand(self._send, buffers[0])

    def _next_buffers(self, position: int) -> list[Buffer]:
        """What to offer the kernel. Gathered once, however often and in however small portions the kernel takes it."""
        start, gathered = self._gathered
        left = position - start
        skip = 0
        for data in gathered:
            if left < len(data):
                break
            left -= len(data)
            skip += 1
        buffers = gathered[skip:]
        if not buffers:
            buffers = self._output.gather(_SEND_LIMIT, _SEND_BUFFERS)
        elif left:
            buffers[0] = memoryview(buffers[0])[left:]
        self._gathered = (position, buffers)
        return buffers

    def _encrypt(self) -> bool:
        """Move ciphertext to the output. Returns whether there was any."""
        tls = self._tls
        if tls is None:
            return False
        tls.encrypt()
        if not tls.has_output:
            return False
        # One step: ciphertext that was taken and not queued would break the session.
        self._pieces.extend(zip((self._output.end,), starmap(tls.take_output, ((),))))
        return True

    # --- waiting

    def wait(self, timeout: float | None, *, read: bool = True) -> Ready:
        """Wait until there is something to read, or room for pending output, or :meth:`wake` is called.

        :param timeout: seconds; 0 only looks, None waits without limit
        :param read: False to leave what arrives alone: only the death of the connection is still reported as READ,
            while output is pending. Without pending output that is to wait for :meth:`wake` alone
        :returns: what is the case; nothing (false) when the time was over. READ also when :meth:`read` will raise
        """
        if self._waker is None and not self.closed:
            self._waker = _socket_pair()
        # The waker exists before the flag is looked at: whoever sets the flag now, sends a byte.
        if self._woken:
            self._rearm()
            return Ready.WOKEN
        if self.closed or self._write_error is not None:
            return Ready.READ
        if read and (self._tls_has_more or self._read_error is not None):
            return Ready.READ
        assert self._waker is not None
        try:
            ready = wait_for(
                self.socket, read=read, write=self.pending_output > 0, timeout=timeout, waker=self._waker[0]
            )
        except InterruptedError:
            return _READY[0]
        if ready & WOKEN:
            self._rearm()
        return _READY[ready]

    def wake(self) -> None:
        """End the :meth:`wait` that is going on, or else the next one. For any thread and for signal handlers."""
        if self._woken:
            return
        self._woken = True
        waker = self._waker
        if waker is not None:
            # Full: it wakes anyhow. Closed: nobody waits any more.
            with suppress(OSError):
                waker[1].send(b"\0")

    def _rearm(self) -> None:
        # The flag first: a wake in between leaves a byte too many, never one too few.
        self._woken = False
        if self._waker is not None:
            with suppress(OSError):
                self._waker[0].recv(64)

    # --- the end

    def close(self) -> None:
        """Close the connection; pending output is offered to the kernel once more. Never waits, never raises."""
        if self.closed:
            return
        with suppress(OSError, ValueError):
            self.flush()
            if self._tls is not None and self._write_error is None:
                self._tls.shutdown()
                self.flush()
            # A copy of the descriptor in another process (fork) would keep the connection open.
            self.socket.shutdown(socket.SHUT_RDWR)
        self.abort()

    def abort(self) -> None:
        """Close the descriptor only: nothing is sent, and a copy of it in another process stays usable (fork)."""
        self.closed = True
        waker, self._waker = self._waker, None
        for sock in (self.socket, *(waker or ())):
            with suppress(OSError):
                sock.close()
        self._output.clear()
        self._late.clear()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd {self.fileno()}"
        return f"<Stream to {self.peer}, {'plain' if self._tls is None else 'TLS'}, {state}>"


_WRITERS = frozenset(method.__code__ for method in (Stream.write, Stream.write_pieces, Stream.flush))


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


def _peer_name(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()[:2]
    except (OSError, ValueError):
        return "the peer"
    return f"{host}:{port}"


def looks_like_tls(data: bytes) -> bool:
    """Whether the first bytes from a peer are a TLS record: a plain client has reached a TLS port.

    :param data: at least the first two bytes
    """
    return data[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") and data[1:2] == b"\x03"
