"""What a connection needs of an event loop, as interfaces: implement them, and pika runs on that loop.

A connection uses :class:`AbstractIOServices`, which is made for a loop that somebody else runs. Everything in these
interfaces is called in the thread of that loop, but for :meth:`AbstractIOServices.add_callback_threadsafe`.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import socket
    import ssl


class AbstractIOServices(abc.ABC):
    """What a connection asks of its event loop. Its results come through callbacks, never before the call returned.

    An attribute ``thread_guard`` may let one thread at a time in, with ``acquire(False)`` and ``release()``, and none
    but the one that runs the loop while it runs: the connection uses it to refuse other threads. Without one they are
    noticed only while the connection is in use.
    """

    @abc.abstractmethod
    def get_native_ioloop(self) -> Any:
        """Return the loop that this stands on: what users get as ``connection.ioloop``."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the loop. It is not running, and neither it nor this is used any more."""

    @abc.abstractmethod
    def run(self) -> None:
        """Run the loop, until :meth:`stop`. Calling it while it runs is not supported."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ask the loop to end its :meth:`run`, which may happen later."""

    @abc.abstractmethod
    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Have a function called in the loop's thread, as soon as possible. Any thread may call this.

        :param callback: called without arguments, in the order of these calls
        """

    @abc.abstractmethod
    def call_later(self, delay: float, callback: Callable[[], Any]) -> AbstractTimerReference:
        """Have a function called once, after some time.

        :param delay: seconds
        :param callback: called without arguments
        :returns: what cancels it
        """

    @abc.abstractmethod
    def getaddrinfo(
        self,
        host: str,
        port: int,
        on_done: Callable[[BaseException | list[Any]], Any],
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> AbstractIOReference:
        """Look a host name up, without blocking the loop.

        :param host: a name, or an address as text
        :param port: the port
        :param on_done: called with what :func:`socket.getaddrinfo` returns, or with the exception that it raises
        :param family: as for :func:`socket.getaddrinfo`, as are the others
        :returns: what cancels it; ``on_done`` is not called then
        """

    @abc.abstractmethod
    def connect_socket(
        self, sock: socket.socket, resolved_addr: Any, on_done: Callable[[BaseException | None], Any]
    ) -> AbstractIOReference:
        """Connect a socket, without blocking the loop.

        :param sock: a socket that is non-blocking; it stays the caller's
        :param resolved_addr: where to, as :func:`socket.getaddrinfo` returns it for the socket's family
        :param on_done: called with None when it is connected, or with the exception that tells why not
        :returns: what cancels it; ``on_done`` is not called then
        """

    @abc.abstractmethod
    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Callable[[Any], Any],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """Make a stream of bytes of a connected socket, after a TLS handshake if there is to be one.

        :param protocol_factory: called without arguments for the other end of the stream, whose ``connection_made``
            is called before ``on_done``
        :param sock: connected and non-blocking. This takes it over, and closes it when anything fails
        :param on_done: called with a pair of :class:`AbstractStreamTransport` and :class:`AbstractStreamProtocol`, or
            with the exception that tells why there is none
        :param ssl_context: for TLS; None is without
        :param server_hostname: the name that is told to the server, and verified if the context says so
        :returns: what cancels it; ``on_done`` is not called then, and the socket is closed
        """


class AbstractFileDescriptorServices(abc.ABC):
    """What loops that watch descriptors can offer besides: with this, the rest can be had ready-made."""

    @abc.abstractmethod
    def set_reader(self, fd: int, on_readable: Callable[[], Any]) -> None:
        """Have a function called whenever a descriptor can be read, instead of the one before.

        :param fd: the descriptor
        :param on_readable: called without arguments
        """

    @abc.abstractmethod
    def remove_reader(self, fd: int) -> bool:
        """Stop watching whether a descriptor can be read.

        :param fd: the descriptor
        :returns: whether it was watched
        """

    @abc.abstractmethod
    def set_writer(self, fd: int, on_writable: Callable[[], Any]) -> None:
        """Have a function called whenever a descriptor can be written, instead of the one before.

        :param fd: the descriptor
        :param on_writable: called without arguments
        """

    @abc.abstractmethod
    def remove_writer(self, fd: int) -> bool:
        """Stop watching whether a descriptor can be written.

        :param fd: the descriptor
        :returns: whether it was watched
        """


class AbstractTimerReference(abc.ABC):
    """A timer that was asked for."""

    @abc.abstractmethod
    def cancel(self) -> None:
        """See to it that it does not run. One that has run, or was cancelled before, is left alone."""


class AbstractIOReference(abc.ABC):
    """Something that was asked for, and takes its time."""

    @abc.abstractmethod
    def cancel(self) -> bool:
        """See to it that its callback is not called.

        :returns: False when it is over already, or was cancelled before
        """


class AbstractStreamProtocol(abc.ABC):
    """The end of a stream that makes sense of the bytes: an AMQP connection."""

    @abc.abstractmethod
    def connection_made(self, transport: AbstractStreamTransport) -> None:
        """Take note of the stream: the first call, and the only one of its kind.

        :param transport: the end that moves the bytes
        """

    @abc.abstractmethod
    def connection_lost(self, error: BaseException | None) -> None:
        """Take note of the end of the stream: the last call, made once, if ``connection_made`` was.

        :param error: why; None when it was aborted, or the peer has closed it and ``eof_received`` said to close
        """

    @abc.abstractmethod
    def eof_received(self) -> bool | None:
        """Take note that the peer sends nothing more.

        :returns: something false to have the stream closed, which ``connection_lost(None)`` tells
        """

    @abc.abstractmethod
    def data_received(self, data: bytes) -> None:
        """Take bytes.

        :param data: at least one
        """


class AbstractStreamTransport(abc.ABC):
    """The end of a stream that moves the bytes."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End the stream without waiting for what is left; ``connection_lost(None)`` is called later. Never fails."""

    @abc.abstractmethod
    def get_protocol(self) -> AbstractStreamProtocol:
        """Return the other end."""

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Send bytes, without blocking: what the socket does not take is kept until it does.

        :param data: at least one
        """

    @abc.abstractmethod
    def get_write_buffer_size(self) -> int:
        """Return how many bytes are kept."""
