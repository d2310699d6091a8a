"""Raw TCP sockets: options, connecting, waiting."""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from pika.transport.dial import Address, Destination, out_of_time

LOGGER = logging.getLogger(__name__)

#: Why :meth:`Poller.wait` returned.
READ, WRITE, WOKEN = 1, 2, 4

# poll() counts milliseconds in a C int; a longer wait ends early, and its caller waits again.
_LONGEST_WAIT = 1_000_000.0

# The options that ``tcp_options`` may name. What a platform calls differently stands behind.
_TCP_OPTIONS: dict[str, tuple[str, ...]] = {
    "TCP_KEEPIDLE": ("TCP_KEEPIDLE", "TCP_KEEPALIVE"),
    "TCP_KEEPCNT": ("TCP_KEEPCNT",),
    "TCP_KEEPINTVL": ("TCP_KEEPINTVL",),
    "TCP_USER_TIMEOUT": ("TCP_USER_TIMEOUT",),
}


# Windows has no poll(), and these are not used there.
_IN = getattr(select, "POLLIN", 1)
_OUT = getattr(select, "POLLOUT", 4)


class Poller:
    """Waits for one socket, again and again. A wait cannot be begun in the middle of another one.

    :param sock: the socket
    :param waker: another socket whose readability ends every wait
    """

    def __init__(self, sock: socket.socket, waker: socket.socket | None = None) -> None:
        self._sock = sock
        self._waker = waker
        self._number = sock.fileno()
        self._registered = 0
        # Looked up here, not when this module is loaded: gevent and eventlet replace or remove it.
        make_poll = getattr(select, "poll", None)
        self._poll = None if make_poll is None else make_poll()
        if self._poll is not None and waker is not None:
            self._poll.register(waker, select.POLLIN)

    def wait(self, read: bool, write: bool, timeout: float | None) -> int:
        """Wait until the socket is ready. An error on it counts as ready for everything asked, and for reading.

        :param read: wait for bytes, or the end of them
        :param write: wait for room, or for the end of connecting
        :param timeout: seconds; None waits without limit
        :returns: the bits READ, WRITE and WOKEN, 0 when the time was over
        """
        poll = self._poll
        if poll is None:
            return self._select(read, write, timeout)
        asked = (_IN if read else 0) | (_OUT if write else 0)
        if asked != self._registered:
            if asked:
                poll.register(self._number, asked)
            else:
                poll.unregister(self._number)
            self._registered = asked
        if timeout is None:
            milliseconds = None
        elif timeout <= 0:
            milliseconds = 0
        else:
            # Rounded up: who waits for a moment would come too early, and wait again.
            milliseconds = int((timeout if timeout < _LONGEST_WAIT else _LONGEST_WAIT) * 1000) + 1
        ready = 0
        for descriptor, events in poll.poll(milliseconds):
            if descriptor != self._number:
                ready |= WOKEN
                continue
            if events & ~_OUT:
                ready |= READ
            if write and events & ~_IN:
                ready |= WRITE
        return ready

    def _select(self, read: bool, write: bool, timeout: float | None) -> int:
        sock, waker = self._sock, self._waker
        readers = ([sock] if read else []) + ([waker] if waker is not None else [])
        writers = [sock] if write else []
        if timeout is not None:
            timeout = min(max(timeout, 0.0), _LONGEST_WAIT)
        # Windows reports a connection that failed as exceptional, not as writable.
        can_read, can_write, failed = select.select(readers, writers, writers, timeout)
        ready = READ if sock in can_read or failed else 0
        if can_write or failed:
            ready |= WRITE
        if waker is not None and waker in can_read:
            ready |= WOKEN
        return ready


def start_connecting(address: Address, tcp_options: Mapping[str, int] | None = None) -> socket.socket:
    """Make a non-blocking socket that is on its way to ``address``.

    :param tcp_options: see :func:`set_options`
    :returns: the socket: once it is writable, :func:`connect_error` says how it went
    :raises OSError: it failed at once
    """
    sock = open_socket(address, tcp_options)
    try:
        with suppress(BlockingIOError, InterruptedError):
            sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def open_socket(address: Address, tcp_options: Mapping[str, int] | None = None) -> socket.socket:
    """Make a non-blocking socket that is to be connected to ``address``.

    :param tcp_options: see :func:`set_options`
    :raises OSError: the system has no more of them, not of this family, or does not accept an option
    """
    sock = socket.socket(address.family, address.type, address.proto)
    try:
        sock.setblocking(False)
        set_options(sock, tcp_options)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_error(sock: socket.socket) -> OSError | None:
    """What became of a socket that was connecting and is now writable: an error, or None for success."""
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None


def set_options(sock: socket.socket, tcp_options: Mapping[str, int] | None = None) -> None:
    """Prepare a TCP socket: no delay for small segments, keepalive on, and what the user wants.

    :param tcp_options: ``TCP_KEEPIDLE``, ``TCP_KEEPINTVL`` (seconds), ``TCP_KEEPCNT`` (probes) and
        ``TCP_USER_TIMEOUT`` (milliseconds); what the platform does not have is logged and left out
    :raises TypeError: a value is no integer
    :raises OSError: the system does not accept a value
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (tcp_options or {}).items():
        if name not in _TCP_OPTIONS:
            LOGGER.warning("Unknown TCP option %s=%r is ignored; known are %s", name, value, ", ".join(_TCP_OPTIONS))
            continue
        numbers = [getattr(socket, known) for known in _TCP_OPTIONS[name] if hasattr(socket, known)]
        if not numbers:
            LOGGER.warning("TCP option %s=%r is ignored: this platform does not have it", name, value)
            continue
        if not isinstance(value, int):
            raise TypeError(f"TCP option {name} must be an integer, got {value!r}")
        try:
            sock.setsockopt(socket.IPPROTO_TCP, numbers[0], value)
        except OSError as error:
            raise OSError(error.errno, f"TCP option {name}={value}: {error.strerror}") from error


def connect_tcp(destination: Destination, address: Address, deadline: float | None) -> socket.socket:
    """Connect, waiting as long as it takes.

    :param destination: says ``socket_timeout``, in seconds, and ``tcp_options``
    :param address: one of those its host resolves to
    :param deadline: on ``time.monotonic()``; None for no limit
    :returns: the socket: connected, and non-blocking
    :raises TimeoutError: no answer within ``socket_timeout``
    :raises AMQPConnectorStackTimeout: no answer before the deadline
    :raises OSError: refused, unreachable, or an option that the system does not accept
    """
    limit = destination.socket_timeout
    patience = math.inf if limit is None else time.monotonic() + limit
    until = min(patience, math.inf if deadline is None else deadline)
    sock = start_connecting(address, destination.tcp_options)
    try:
        poller = Poller(sock)
        while True:
            left = until - time.monotonic()
            if poller.wait(False, True, None if left == math.inf else left):
                error = connect_error(sock)
                if error is not None:
                    raise error
                return sock
            if left <= 0 and until == patience:
                raise TimeoutError(f"no answer within socket_timeout ({limit:g} seconds)")
            if left <= 0:
                raise out_of_time(destination)
    except BaseException:
        sock.close()
        raise


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two non-blocking sockets that are connected to each other."""
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


def peer_name(sock: socket.socket) -> str:
    """Where a socket is connected to, for messages."""
    try:
        host, port = sock.getpeername()[:2]
    except (OSError, ValueError):
        return "the peer"
    return f"{host}:{port}"
