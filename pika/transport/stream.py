"""One connected socket, plain or TLS: non-blocking, and wakeable from any thread and from signal handlers."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pika.exceptions import StreamLostError
from pika.transport import native
from pika.transport.dial import Address, Destination, describe
from pika.transport.errors import (
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
)
from pika.transport.pieces import Buffer, take_next
from pika.transport.sockets import READ, WOKEN, WRITE, Poller, connect_tcp, peer_name, socket_pair

if TYPE_CHECKING:
    from pika.transport.tls import TLS

# The buffer of one read: as large as malloc gives without asking the operating system for fresh pages each time
# (glibc does from 128 KiB on), which makes a small read five times as slow.
READ_LIMIT = 128 * 1024 - 256
#: How long the last bytes, such as the answer to the broker's close and TLS's farewell, may take to leave on an event
#: loop, in seconds.
LINGER = 1.0
# What one system call is offered at most when pieces are gathered for it.
_SEND_LIMIT = 256 * 1024
_SEND_BUFFERS = 64
# Up to this size, on average, pieces that come together are cheaper to copy into one than to gather.
_JOIN_LIMIT = 4 * 1024
# How many seconds closing waits for a beat that another thread sends.
_LOCK_PATIENCE = 1.0


class Ready:
    """Why :meth:`Stream.wait` returned, as bits of an integer; 0 when the time was over."""

    # No enum: testing one of its members takes as long as the system call that waits.
    READ = READ
    WRITE = WRITE
    WOKEN = WOKEN


class Stream:
    """Bytes to and from a peer.

    One thread at a time uses a stream; only :meth:`wake` and :meth:`beat` may be called by others.

    **Signal handlers** may interrupt any method, and call :meth:`write`, :meth:`write_pieces` and :meth:`wake`. What
    one writes in the middle of a write goes out behind it. One that raises (Ctrl-C, a time limit) out of a
    :meth:`wait` does no harm. Out of the middle of sending or receiving, nobody can know how much the kernel took or
    gave: the stream is lost from then on.

    **Death.** When sending fails, or is cut short, the peer may have said why before it died. So :meth:`read` first
    gives all that has arrived; only then it raises, with the original cause. What is written meanwhile is dropped.

    :param sock: connected; made non-blocking here, and owned from now on
    :param peer: who is there, for messages
    :param tls: a session over this socket; without it the stream is plain
    """

    def __init__(self, sock: socket.socket, *, peer: str = "", tls: TLS | None = None) -> None:
        sock.setblocking(False)
        #: The socket itself. With TLS, what goes over it is ciphertext.
        self.socket = sock
        #: What messages call the peer.
        self.peer = peer or peer_name(sock)
        self.closed = False
        self._recv = sock.recv
        self._send = sock.send
        self._sendmsg = getattr(sock, "sendmsg", None)
        self._tls = tls
        self._tls_has_more = False
        # What the kernel is to take next.
        self._output: deque[Buffer] = deque()
        # Where writing queues: with TLS it becomes output later.
        self._written = self._output if tls is None else tls.plaintext
        # The owner's thread writes, or holds the lock below: whoever finds this set there is a signal handler that
        # interrupts it, and must not wait for the lock.
        self._writing = False
        # Held while bytes go out, and while the TLS session is used: for beat(), which another thread calls.
        self._lock = native.lock()
        # Another thread sends a beat, and may have taken what was pending.
        self._beating = False
        self._sent = 0
        self._write_error: BaseException | None = None
        self._read_error: StreamLostError | None = None
        self._waker: tuple[socket.socket, socket.socket] | None = None
        self._woken = False
        self._poller: Poller | None = None

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
        from pika.transport.tls import TLS, explain

        hostname = destination.host if options.server_hostname is None else options.server_hostname
        try:
            tls = TLS(options.context, hostname)
            stream = cls(sock, peer=where, tls=tls)
            stream._wait_for_tls(deadline)
        except (OSError, AMQPConnectorStackTimeout, ValueError, TypeError) as error:
            # The last two are those of a name that cannot be one.
            sock.close()
            hint = explain(error, hostname) if isinstance(error, OSError) else ""
            raise AMQPConnectorTransportSetupError(error, where=where, hint=hint) from error
        except BaseException:
            sock.close()
            raise
        return stream

    def shake_hands(self) -> bool:
        """Go on with the TLS handshake, without waiting.

        :returns: True once it is complete. Until then call it again when the socket is readable, or writable where
            there is :attr:`pending_output`
        :raises OSError: it failed, or the connection did: an ``ssl.SSLError`` or another
        """
        tls = self._tls
        while tls is not None:
            try:
                done = tls.do_handshake()
            finally:
                # Also when it failed: the peer is told why.
                self.flush()
            if done:
                # What the peer sent right behind its part of the handshake is in memory already.
                self._tls_has_more = True
                return True
            try:
                data = self._recv(READ_LIMIT)
            except BlockingIOError:
                return False
            if data:
                tls.receive(data)
            else:
                tls.receive_eof()
        return True

    def _wait_for_tls(self, deadline: float | None) -> None:
        poller = Poller(self.socket)
        while not self.shake_hands():
            wait = None if deadline is None else deadline - time.monotonic()
            if wait is not None and wait <= 0:
                raise AMQPConnectorStackTimeout("no TLS handshake within stack_timeout")
            poller.wait(True, bool(self._output), wait)

    @property
    def tls(self) -> TLS | None:
        """The TLS session, or None if the stream is plain."""
        return self._tls

    def fileno(self) -> int:
        """The descriptor of the socket, -1 once it is closed."""
        return self.socket.fileno()

    # --- reading

    @property
    def has_input(self) -> bool:
        """Whether :meth:`read` has something to give, or to raise, of which the socket's readiness does not tell."""
        return self._tls_has_more or self._write_error is not None or self._read_error is not None or self.closed

    def read(self, limit: int = READ_LIMIT) -> bytes | None:
        """Give what has arrived, without waiting.

        :param limit: at most so many bytes, at least 1
        :returns: None when nothing is there now
        :raises StreamLostError: the peer hung up, the connection was reset, sending had failed, the stream was closed
            here, or interrupted; ``__cause__`` is the original ``OSError``, or what a signal handler raised
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit!r}")
        if self._read_error is not None:
            raise self._read_error
        try:
            data = self._recv(limit) if self._tls is None else self._read_tls(self._tls, limit)
        except BlockingIOError:
            if self._write_error is None:
                return None
            raise self._lost(self._write_error) from self._write_error
        except OSError as error:
            raise self._lost(error) from (self._write_error or error)
        except BaseException as error:
            self._lock = native.lock()
            self._read_error = self._interrupted("read", error)
            raise
        if data:
            return data
        if self._write_error is not None:
            raise self._lost(self._write_error) from self._write_error
        cut_off = self._tls is not None and self._tls.truncated
        detail = "TLS was cut off: no close-notify came before the end" if cut_off else ""
        self._read_error = self._stream_lost("Transport indicated EOF", detail)
        raise self._read_error

    def _read_tls(self, tls: TLS, limit: int) -> bytes:
        """As ``recv()`` of a plain socket does: b"" is the end, and BlockingIOError says that nothing is there."""
        while True:
            try:
                self._writing = True
                with self._lock:
                    data = tls.read(limit)
            finally:
                self._writing = False
                if tls.has_output or tls.plaintext:
                    # Reading can complete a handshake, ask for an answer (key update), or tell the peer what is wrong.
                    self.flush()
            self._tls_has_more = bool(data)
            if data or tls.eof:
                return data
            ciphertext = self._recv(READ_LIMIT)
            try:
                self._writing = True
                with self._lock:
                    if ciphertext:
                        tls.receive(ciphertext)
                    else:
                        tls.receive_eof()
            finally:
                self._writing = False

    def _lost(self, error: BaseException) -> StreamLostError:
        if self.closed:
            return StreamLostError(f"The stream to {self.peer} was closed by this side.")
        cause = self._write_error or error
        if isinstance(cause, OSError):
            hint = self._tls.explain(error) if self._tls is not None and error is self._tls.read_error else ""
            text = f"Stream connection lost: {cause!r}"
            self._read_error = self._stream_lost(f"{text}: {hint}" if hint else text)
        else:
            self._read_error = self._interrupted("write", cause)
        return self._read_error

    def _stream_lost(self, text: str, detail: str = "") -> StreamLostError:
        # The text is what programs know of pika 1.x; who the peer is stands behind it.
        error = StreamLostError(text)
        error.context = f"{self.peer}; {detail}" if detail else self.peer
        return error

    def _interrupted(self, what: str, cause: BaseException) -> StreamLostError:
        error = StreamLostError(
            f"Stream connection lost: interrupted in the middle of a {what} by {cause!r}, "
            f"so what {self.peer} got or sent is not known; connect again"
        )
        error.__cause__ = cause
        return error

    # --- writing

    @property
    def pending_output(self) -> int:
        """How many bytes were written but not yet taken by the kernel (with TLS partly in ciphertext).

        To a signal handler in the middle of a write it is 0: that write sends what waits, the handler's own included.
        """
        if self._writing or self.closed or not (self._output or self._written):
            return 0
        # Copies, made in one step: a signal handler may write while it is counted.
        size = sum(map(len, tuple(self._output)))
        return size if self._tls is None else size + sum(map(len, tuple(self._written)))

    @property
    def has_output(self) -> bool:
        """Whether bytes were written that the kernel has not taken yet."""
        return bool(self._output or self._written) and not self.closed

    @property
    def is_settled(self) -> bool:
        """Whether neither :attr:`wants_room` nor :attr:`has_input` may hold: told in one look, after each write."""
        return not (
            self._output
            or self._written
            or self._beating
            or self._tls_has_more
            or self._write_error is not None
            or self._read_error is not None
            or self.closed
        )

    @property
    def wants_room(self) -> bool:
        """Whether room in the kernel's buffer is what bytes wait for: not so while TLS waits for the peer."""
        if self.closed:
            return False
        if not (self._output or self._written):
            # What beat() sends, it may have in hand, and give back.
            return self._beating
        return self._tls is None or bool(self._output) or self._tls.has_output or not self._tls.wants_read

    @property
    def taken(self) -> int:
        """How many of the bytes that were written, and of heartbeats, are through: with the kernel, or with TLS
        encrypted."""
        return self._sent if self._tls is None else self._tls.taken

    def write(self, data: Buffer) -> bool:
        """Send bytes, and queue what the kernel does not take now. Never waits.

        It raises nothing when the connection is broken: :meth:`read` does.

        :param data: not to be changed afterwards, if it can be (``bytearray``, ``memoryview``)
        :returns: True if nothing is pending any more
        """
        if self._writing or self._tls is not None or self._write_error is not None:
            return self._write_behind((data,))
        try:
            self._writing = True
            # From here on a signal handler that writes only appends to the output.
            lock = self._lock
            # No with statement, which costs as much as the rest of this.
            lock.acquire()
            try:
                if self._output:
                    self._output.append(data)
                else:
                    try:
                        sent = self._send(data)
                    except OSError as error:
                        sent = 0
                        self._note(error)
                    self._sent += sent
                    if sent < len(data):
                        self._output.appendleft(memoryview(data)[sent:])
            finally:
                lock.release()
            self._writing = False
        except BaseException as error:
            self._cut_short(error)
            raise
        return not self._output or self.flush()

    def write_pieces(self, pieces: Sequence[Buffer]) -> bool:
        """Send pieces of bytes one behind the other, as :meth:`write` does.

        Small ones are joined and large ones sent from where they are, with few system calls.

        :returns: True if nothing is pending any more
        """
        if sum(map(len, pieces)) <= _JOIN_LIMIT * len(pieces):
            return self.write(b"".join(pieces))
        return self._write_behind(pieces)

    def _write_behind(self, pieces: Iterable[Buffer]) -> bool:
        # After an error they could never be sent: reading raises soon.
        if self._write_error is None:
            self._written.extend(filter(None, pieces))
        return self.flush()

    def flush(self) -> bool:
        """Offer the kernel once more what it has not taken yet.

        :returns: True if nothing is pending any more
        """
        if not self._writing and self._write_error is None:
            try:
                self._writing = True
                with self._lock:
                    self._send_all()
                self._writing = False
            except BaseException as error:
                self._cut_short(error)
                raise
        return not (self._writing or self._output or self._written)

    def beat(self, data: bytes) -> bool:
        """Send a few bytes that may stand between any two writes. For another thread than the one that uses the stream.

        It never waits: it does nothing while the owner writes, or while something is pending.

        :param data: the bytes
        :returns: whether they are with the kernel, or are next to go there
        """
        if self._write_error is not None or not self._lock.acquire(blocking=False):
            return False
        try:
            if self.closed or self._output or self._written:
                return False
            self._beating = True
            self._written.append(data)
            self._send_all()
            return self._write_error is None
        finally:
            self._beating = False
            self._lock.release()

    def _send_all(self) -> None:
        try:
            while self._send_next():
                pass
        except OSError as error:
            self._note(error)

    def _send_next(self) -> bool:
        """Offer the kernel what is next. Returns whether there was something and it took all of it."""
        output = self._output
        if output:
            buffers = [take_next(output)]
        elif self._tls is not None and (ciphertext := self._tls.take_output()):
            buffers = [ciphertext]
        else:
            return False
        sent = 0
        try:
            if self._sendmsg is None or not output:
                sent = self._send(buffers[0])
            else:
                size = len(buffers[0])
                while output and size < _SEND_LIMIT and len(buffers) < _SEND_BUFFERS:
                    buffers.append(take_next(output))
                    size += len(buffers[-1])
                sent = self._sendmsg(buffers)
        finally:
            self._sent += sent
            while buffers and sent >= len(buffers[0]):
                sent -= len(buffers.pop(0))
            if buffers:
                buffers[0] = memoryview(buffers[0])[sent:]
                output.extendleft(reversed(buffers))
        return not buffers

    def _note(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._write_error = error

    def _cut_short(self, error: BaseException) -> None:
        # Python 3.9 may be interrupted behind the body of a with statement, and leave the lock taken for ever.
        self._lock = native.lock()
        self._write_error = error
        self._writing = False

    # --- waiting

    def wait(self, timeout: float | None, read: bool = True) -> int:
        """Wait until there is something to read, or room for pending output, or :meth:`wake` is called.

        :param timeout: seconds; 0 only looks, None waits without limit
        :param read: whether to wait for something to read; if not, only the end of the stream may count as that
        :returns: the bits of :class:`Ready`, 0 when the time was over. READ also when :meth:`read` will raise
        """
        if self._waker is None and not self.closed:
            self._waker = socket_pair()
        # The waker exists before the flag is looked at: whoever sets the flag now, sends a byte.
        woken = 0
        if self._woken:
            self._rearm()
            # What has arrived is looked at all the same: many wake-ups must not keep it unread.
            woken, timeout = Ready.WOKEN, 0
        if read and (
            self._tls_has_more or self._write_error is not None or self._read_error is not None or self.closed
        ):
            return READ | woken
        assert self._waker is not None
        # While it is taken out, a signal handler that waits makes one of its own. One that raises leaves none behind.
        poller, self._poller = self._poller or Poller(self.socket, self._waker[0]), None
        # Looked at here too: nothing waits most of the time, and every round trip passes here.
        waits = self._output or self._written or self._beating
        ready = poller.wait(read, bool(waits) and self.wants_room, timeout)
        self._poller = poller
        if ready & WOKEN:
            self._rearm()
        return ready | woken

    def wake(self) -> None:
        """End the :meth:`wait` that is going on, or else the next one. For any thread and for signal handlers."""
        if self._woken:
            return
        try:
            self._woken = True
            waker = self._waker
            if waker is not None:
                # Full: it wakes anyhow. Closed: nobody waits any more.
                with suppress(OSError):
                    waker[1].send(b"\0")
        except BaseException:
            # A signal handler raised in between, and the byte may not be on its way.
            self._woken = False
            raise

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
                with self._lock:
                    self._tls.shutdown()
                self.flush()
            # A copy of the descriptor in another process (fork) would keep the connection open.
            self.socket.shutdown(socket.SHUT_RDWR)
        self.abort()

    def abort(self) -> None:
        """Close the descriptor only: nothing is sent, and a copy of it in another process stays usable (fork)."""
        self.closed = True
        # A beat that is going on must not end in a descriptor of the same number that somebody opens now. It takes
        # microseconds; the bound is for a signal handler that interrupts who holds the lock.
        locked = self._lock.acquire(timeout=_LOCK_PATIENCE)
        try:
            waker, self._waker = self._waker, None
            for sock in (self.socket, *(waker or ())):
                with suppress(OSError):
                    sock.close()
            self._poller = None
            self._output.clear()
            self._written.clear()
        finally:
            if locked:
                self._lock.release()

    def abandon(self) -> None:
        """As :meth:`abort`, in the child after a fork, where the threads that held locks are gone."""
        self._lock = native.lock()
        self.abort()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd {self.fileno()}"
        return f"<Stream to {self.peer}, {'plain' if self._tls is None else 'TLS'}, {state}>"
