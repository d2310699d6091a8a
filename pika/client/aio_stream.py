"""The stream of ``pika.aio``: a transport of asyncio's, plain or with TLS over memory."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pika.exceptions import StreamLostError
from pika.transport.dial import Address, Destination, TLSOptions, describe, out_of_time
from pika.transport.errors import (
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
)
from pika.transport.pieces import Buffer, take_next
from pika.transport.sockets import Poller, open_socket
from pika.transport.stream import READ_LIMIT

if TYPE_CHECKING:
    from pika.transport.tls import TLS

T = TypeVar("T")

#: What asyncio lets pass out of its loop, which may run on all the same: asyncio.run() has its tasks come to their end.
UNCAUGHT = (KeyboardInterrupt, SystemExit)
#: Who publishes waits for the transport when so many octets wait in it already.
_CONGESTION = 256 * 1024
# Up to this size, on average, pieces that come together are cheaper to copy into one than to send one by one.
_JOIN_LIMIT = 4 * 1024
# What is read into: whoever is reading has one out. One is enough where a loop reads as soon as it has asked for one.
_buffers: list[memoryview] = []
_BUFFERS_KEPT = 4


class Owner(Protocol):
    """What a stream tells of."""

    def receive(self, data: bytes) -> None:
        """Take bytes that have arrived."""

    def on_room(self) -> None:
        """Take note that the stream takes bytes again."""

    def on_lost(self, error: StreamLostError) -> None:
        """Take note that nothing more will arrive, and nothing can be sent; what was before has been told."""

    def cut_short(self, error: BaseException) -> None:
        """Take note that what has arrived was dealt with in part only, as Ctrl-C came in the middle."""


class Stream(asyncio.BufferedProtocol):
    """Bytes to and from a peer.

    :ivar congested: whether the transport has enough to send; what is written all the same waits in it
    :ivar lost: whether it has ended

    :param sock: the socket, which goes with it
    :param peer: who is there, for messages
    """

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.congested = False
        self.lost = False
        self._peer = peer
        self._socket = sock
        self._tls: TLS | None = None
        self._owner: Owner | None = None
        # What came, and how it ended, before anybody was there to be told.
        self._early: list[bytes] = []
        self._early_end: StreamLostError | None = None
        self._transport: asyncio.Transport | None = None
        # What waits for room in it. With TLS it waits there.
        self._output: deque[Buffer] = deque()
        self._view: memoryview | None = None
        self._closing = False
        self._eof = False
        self._tls_error: OSError | None = None
        self._established: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, destination: Destination, address: Address, deadline: float | None) -> Stream:
        """Connect: TCP within ``socket_timeout``, and TLS if there are ``ssl_options``.

        :param destination: host, port and options
        :param address: one of those the host resolves to
        :param deadline: on the loop's clock, for TCP and TLS together; None for no limit
        :raises AMQPConnectorSocketConnectError: no TCP connection; its ``exception`` is the cause
        :raises AMQPConnectorTransportSetupError: no TLS; its ``exception`` is the cause
        """
        where = describe(destination, address)
        try:
            sock = await _connect_tcp(destination, address, deadline)
        except (OSError, AMQPConnectorStackTimeout) as error:
            raise AMQPConnectorSocketConnectError(error, where=where) from error
        options, hostname = destination.ssl_options, destination.host
        stream = cls(sock, where)
        try:
            if options is None:
                await stream._attach()
            else:
                hostname = hostname if options.server_hostname is None else options.server_hostname
                await stream._shake_hands(options, hostname, deadline)
        except (OSError, AMQPConnectorStackTimeout, ValueError, TypeError) as error:
            # The last two are those of a name that cannot be one.
            stream.abort()
            if options is None:
                raise AMQPConnectorSocketConnectError(error, where=where) from error
            raise AMQPConnectorTransportSetupError(error, where=where, hint=_hint(error, hostname)) from error
        except BaseException:
            stream.abort()
            raise
        return stream

    async def _attach(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)

    async def _shake_hands(self, options: TLSOptions, hostname: str, deadline: float | None) -> None:
        from pika.transport.tls import TLS

        self._tls = TLS(options.context, hostname)
        await self._attach()
        self._established = asyncio.get_running_loop().create_future()
        self._go_on_with_tls()
        try:
            await until(deadline, self._established)
        except asyncio.TimeoutError as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise AMQPConnectorStackTimeout("no TLS handshake within stack_timeout") from None

    def start(self, owner: Owner) -> None:
        """Tell somebody of what arrives from now on, and of what has.

        :param owner: who is told
        """
        self._owner = owner
        while self._early:
            owner.receive(self._early.pop(0))
        if self._early_end is not None:
            owner.on_lost(self._early_end)

    # Reading

    def connection_made(self, transport: Any) -> None:
        """What asyncio calls first."""
        self._transport = transport
        transport.set_write_buffer_limits(high=_CONGESTION)

    def get_buffer(self, sizehint: int) -> memoryview:
        """What asyncio reads into."""
        if self._view is None:
            self._view = _buffers.pop() if _buffers else memoryview(bytearray(READ_LIMIT))
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """What asyncio calls when it has read."""
        try:
            view, self._view = self._view, None
            assert view is not None
            data = view[:nbytes].tobytes()
            if len(_buffers) < _BUFFERS_KEPT:
                _buffers.append(view)
            self._take(data)
        except UNCAUGHT as error:
            if self._owner is None:
                self.abort()
            else:
                self._owner.cut_short(error)
            raise

    def _take(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.receive(data)
            self._go_on_with_tls()
        elif self._owner is not None:
            self._owner.receive(data)
        else:
            self._early.append(data)

    def eof_received(self) -> None:
        """What asyncio calls when the peer has hung up."""
        self._eof = True
        if self._tls is not None:
            self._tls.receive_eof()
            self._go_on_with_tls()

    def pause_reading(self) -> None:
        """Leave what arrives to the kernel."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def has_input(self) -> bool:
        """Say whether something has arrived that was not read yet."""
        if self.lost or self._socket.fileno() < 0:
            return False
        return bool(Poller(self._socket).wait(True, False, 0))

    # TLS

    def _go_on_with_tls(self) -> None:
        tls, established = self._tls, self._established
        assert tls is not None
        if established is None:
            return
        try:
            if not established.done() and tls.do_handshake():
                established.set_result(None)
            if established.done():
                self._read_tls(tls)
        except OSError as error:
            self._tls_error = error
            if not established.done():
                established.set_exception(error)
        finally:
            # Also when it failed: the peer is told why.
            self._push()
        if (tls.eof or self._tls_error is not None) and self._transport is not None:
            self._transport.close()

    def _read_tls(self, tls: TLS) -> None:
        while True:
            data = tls.read(READ_LIMIT)
            if not data:
                return
            if self._owner is None:
                self._early.append(data)
            else:
                self._owner.receive(data)

    # Writing

    def write(self, pieces: Sequence[Buffer]) -> None:
        """Send pieces of bytes one behind the other; what cannot be sent any more is dropped.

        :param pieces: at least one
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._tls is not None:
            self._tls.plaintext.extend(filter(None, pieces))
            self._push()
        elif self._output or sum(map(len, pieces)) > _JOIN_LIMIT * len(pieces):
            self._output.extend(filter(None, pieces))
            self._push()
        else:
            transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _push(self) -> None:
        """Hand on what waits, as long as the transport takes it: it would copy what it cannot send at once."""
        transport = self._transport
        while not self.congested and transport is not None and not transport.is_closing():
            data = self._next()
            if not data:
                return
            transport.write(data)

    def _next(self) -> Buffer:
        """Take what is to be sent next, b"" when there is nothing."""
        if self._tls is None:
            return take_next(self._output) if self._output else b""
        try:
            return self._tls.take_output()
        except OSError:
            # What is broken, reading tells.
            return b""

    def pause_writing(self) -> None:
        """What asyncio calls when it has enough to send."""
        self.congested = True

    def resume_writing(self) -> None:
        """What asyncio calls when most of that was sent."""
        self.congested = False
        self._push()
        if not self.congested and self._owner is not None:
            self._owner.on_room()

    # The end

    def close(self) -> None:
        """Send what was written, and hang up."""
        self._closing = True
        if self._transport is None or self._transport.is_closing():
            return
        self._write_all(self._transport)
        if self._tls is not None:
            self._tls.shutdown()
            self._write_all(self._transport)
        self._transport.close()

    def _write_all(self, transport: asyncio.Transport) -> None:
        while data := self._next():
            transport.write(data)

    def abort(self) -> None:
        """Hang up, whatever was not sent."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
        elif not self.lost:
            self._socket.close()

    def abandon(self) -> None:
        """In a child of a fork: close the descriptor alone, and touch nothing that the parent has too."""
        self.lost = True
        self._owner = None
        with suppress(OSError):
            self._socket.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """What asyncio calls last."""
        self.congested = False
        self._view = None
        self._output.clear()
        if isinstance(exc, OSError) and not self._closing:
            self._read_the_rest()
        self.lost = True
        error = self._lost(exc)
        established, self._transport = self._established, None
        if established is not None and not established.done():
            established.set_exception(exc if isinstance(exc, OSError) else ConnectionResetError("the peer hung up"))
        if self._owner is not None:
            self._owner.on_lost(error)
        else:
            self._early_end = error

    def _read_the_rest(self) -> None:
        """Read what arrived before sending failed: the peer may have said why, and the loop reads no more."""
        with suppress(OSError):
            data = self._socket.recv(READ_LIMIT)
            while data:
                self._take(data)
                data = self._socket.recv(READ_LIMIT)

    def _lost(self, cause: Exception | None) -> StreamLostError:
        tls = self._tls
        cause = cause or self._tls_error
        detail = ""
        if cause is not None:
            hint = tls.explain(cause) if tls is not None and isinstance(cause, OSError) else ""
            error = StreamLostError(f"Stream connection lost: {cause!r}{': ' if hint else ''}{hint}")
            error.__cause__ = cause
        elif self._closing and not self._eof:
            error = StreamLostError(f"The stream to {self._peer} was closed by this side.")
        else:
            error = StreamLostError("Transport indicated EOF")
            if tls is not None and tls.truncated:
                detail = "; TLS was cut off: no close-notify came before the end"
        error.context = f"{self._peer}{detail}"
        return error


def _hint(error: Exception, hostname: str) -> str:
    from pika.transport.tls import explain

    return explain(error, hostname) if isinstance(error, OSError) else ""


async def until(deadline: float | None, awaitable: Awaitable[T]) -> T:
    """Await something until a deadline.

    :param deadline: on the loop's clock; None for no limit
    :param awaitable: what; it is cancelled when the time is over
    :raises asyncio.TimeoutError: when the time is over
    """
    if deadline is None:
        return await awaitable
    return await asyncio.wait_for(awaitable, max(deadline - asyncio.get_running_loop().time(), 0))


async def _connect_tcp(destination: Destination, address: Address, deadline: float | None) -> socket.socket:
    loop, limit = asyncio.get_running_loop(), destination.socket_timeout
    patience = None if limit is None else loop.time() + limit
    end = min((one for one in (patience, deadline) if one is not None), default=None)
    sock = open_socket(address, destination.tcp_options)
    try:
        await until(end, loop.sock_connect(sock, address.sockaddr))
    except asyncio.TimeoutError as error:
        sock.close()
        if getattr(error, "errno", None) is not None:
            # The system's own.
            raise
        if end == patience:
            raise TimeoutError(f"no answer within socket_timeout ({limit:g} seconds)") from None
        raise out_of_time(destination) from None
    except OSError as error:
        sock.close()
        if error.errno is None:
            raise
        # Some loops put a text of their own in the place of the system's.
        raise OSError(error.errno, os.strerror(error.errno)) from error
    except BaseException:
        sock.close()
        raise
    return sock
