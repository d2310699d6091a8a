"""Looking up, connecting and streaming for any loop that watches descriptors."""

from __future__ import annotations

import contextlib
import functools
import socket
from typing import TYPE_CHECKING, Any, Callable

from pika.adapters.utils.nbio_interface import AbstractIOReference, AbstractStreamProtocol
from pika.adapters.utils.stream_transport import StreamTransport, WatchesDescriptors
from pika.transport import forks
from pika.transport.dial import call_in_thread
from pika.transport.sockets import connect_error
from pika.transport.stream import Stream

if TYPE_CHECKING:
    import ssl

OnDone = Callable[[Any], Any]


def require_on_done(on_done: OnDone) -> OnDone:
    """Return the callback, unless it cannot be called.

    :raises TypeError: it cannot
    """
    if not callable(on_done):
        raise TypeError(f"on_done must be callable, but got {on_done!r}")
    return on_done


class Task(AbstractIOReference):
    """Something that takes its time, and calls back once, unless it is cancelled.

    :param on_done: called with its result
    """

    def __init__(self, on_done: OnDone) -> None:
        self._on_done: OnDone | None = require_on_done(on_done)

    @property
    def is_over(self) -> bool:
        """Whether it has called back, or was cancelled."""
        return self._on_done is None

    def finish(self, result: Any) -> None:
        """Call back, unless that is over."""
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            self._clean_up()
            on_done(result)

    def cancel(self) -> bool:
        """See to it that the callback is not called."""
        if self._on_done is None:
            return False
        self._on_done = None
        self._clean_up()
        self._give_back()
        return True

    def _clean_up(self) -> None:
        """Stop watching."""

    def _give_back(self) -> None:
        """After cancelling: close what was taken over."""


def look_up(nbio: WatchesDescriptors, on_done: OnDone, host: str, port: int, *hints: int) -> AbstractIOReference:
    """Look a host name up in a daemon thread; see :meth:`AbstractIOServices.getaddrinfo`.

    :param hints: family, type, protocol and flags
    """
    task = Task(on_done)

    def deliver(result: Any) -> None:
        nbio.add_callback_threadsafe(functools.partial(task.finish, result))

    known = look_up_address(host, port, *hints)
    if known is not None:
        deliver(known)
        return task
    call_in_thread(lambda: socket.getaddrinfo(host, port, *hints), deliver, f"pika-resolve-{host}")
    return task


def look_up_address(
    host: str, port: int, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0
) -> list[Any] | None:
    """Return what a host is that is an address already, which needs no lookup and no thread; None for a name."""
    with contextlib.suppress(OSError, UnicodeError):
        return list(socket.getaddrinfo(host, port, family, kind, proto, flags | socket.AI_NUMERICHOST))
    return None


class _Watching(Task):
    """A task that waits for a descriptor."""

    def __init__(self, nbio: WatchesDescriptors, sock: socket.socket, on_done: OnDone) -> None:
        super().__init__(on_done)
        self._nbio = nbio
        self._sock = sock
        self._fd = sock.fileno()
        self._reading = self._writing = False

    def _watch(self, read: bool, write: bool, on_ready: Callable[[], Any]) -> None:
        if read and not self._reading:
            self._nbio.set_reader(self._fd, on_ready)
        elif self._reading and not read:
            self._nbio.remove_reader(self._fd)
        if write and not self._writing:
            self._nbio.set_writer(self._fd, on_ready)
        elif self._writing and not write:
            self._nbio.remove_writer(self._fd)
        self._reading, self._writing = read, write

    def _clean_up(self) -> None:
        self._watch(False, False, lambda: None)


class _Connect(_Watching):
    """A socket on its way to an address."""

    def start(self, address: Any) -> _Connect:
        try:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                self._sock.connect(address)
                self._finish_later(None)
                return self
        except Exception as error:
            self._finish_later(error)
        else:
            self._watch(False, True, self._on_writable)
        return self

    def _finish_later(self, result: Exception | None) -> None:
        self._nbio.add_callback_threadsafe(functools.partial(self.finish, result))

    def _on_writable(self) -> None:
        try:
            error = connect_error(self._sock)
        except OSError as failure:
            error = failure
        self.finish(error)


class _OpenStream(_Watching):
    """A socket on its way to being a stream."""

    def __init__(
        self,
        nbio: WatchesDescriptors,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: OnDone,
    ) -> None:
        super().__init__(nbio, sock, on_done)
        self._protocol_factory = protocol_factory
        self._stream: Stream | None = None

    def start(self, context: ssl.SSLContext | None, server_hostname: str | None) -> _OpenStream:
        forks.watch(self)
        try:
            if context is None:
                self._stream = Stream(self._sock)
            else:
                from pika.transport.tls import TLS

                self._stream = Stream(self._sock, tls=TLS(context, server_hostname))
        except Exception as error:
            self._nbio.add_callback_threadsafe(functools.partial(self._fail, error))
        else:
            self._nbio.add_callback_threadsafe(self._go_on)
        return self

    def _go_on(self) -> None:
        stream = self._stream
        if self.is_over or stream is None:
            return
        try:
            if not stream.shake_hands():
                self._watch(True, stream.has_output, self._go_on)
                return
            self._clean_up()
            protocol = self._protocol_factory()
            transport = StreamTransport(self._nbio, stream, protocol)
            transport.begin()
        except Exception as error:
            if self.is_over:
                # The protocol has heard of the end and given this up: what it raises is its user's.
                raise
            self._fail(error)
        else:
            self.finish((transport, protocol))

    def _fail(self, error: Exception) -> None:
        if not self.is_over:
            self._give_back()
            self.finish(error)

    def _give_back(self) -> None:
        self._clean_up()
        if self._stream is not None:
            self._stream.close()
        self._sock.close()

    def _on_fork(self, parent: int) -> None:
        """In a child: close the descriptor only; loop and peer are the parent's."""
        if not self.is_over:
            self._on_done = None
            if self._stream is not None:
                self._stream.abandon()
            self._sock.close()


class SocketConnectionMixin:
    """Connects sockets, on top of :class:`AbstractFileDescriptorServices`."""

    def connect_socket(
        self: WatchesDescriptors, sock: socket.socket, resolved_addr: Any, on_done: OnDone
    ) -> AbstractIOReference:
        """See :meth:`AbstractIOServices.connect_socket`.

        :raises TypeError: ``on_done`` cannot be called
        :raises ValueError: the address has a name, which is not looked up here
        """
        task = _Connect(self, sock, on_done)
        if sock.family in (socket.AF_INET, socket.AF_INET6) and isinstance(resolved_addr, tuple):
            host = str(resolved_addr[0])
            try:
                socket.inet_pton(sock.family, host.partition("%")[0])
            except OSError as error:
                raise ValueError(f"{host!r} is no address for {sock!r}: look names up with getaddrinfo()") from error
        return task.start(resolved_addr)


class StreamingConnectionMixin:
    """Makes streams of sockets, on top of :class:`AbstractFileDescriptorServices`."""

    def create_streaming_connection(
        self: WatchesDescriptors,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: OnDone,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """See :meth:`AbstractIOServices.create_streaming_connection`.

        :raises TypeError: ``protocol_factory`` or ``on_done`` cannot be called
        """
        if not callable(protocol_factory):
            raise TypeError(f"protocol_factory must be callable, but got {protocol_factory!r}")
        return _OpenStream(self, protocol_factory, sock, on_done).start(ssl_context, server_hostname)
