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

from pika.transport.dial import Address, Destination
from pika.transport.errors import AMQPConnectorStackTimeout

LOGGER = logging.getLogger(__name__)

#: Why :func:`wait_for` returned.
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


def wait_for(
    sock: socket.socket, *, read: bool, write: bool, timeout: float | None, waker: socket.socket | None = None
) -> int:
    """Wait until a socket is ready. An error on it counts as ready for everything asked, and for reading.

    :param read: wait for bytes, or the end of them
    :param write: wait for room, or for the end of connecting
    :param timeout: seconds; None waits without limit
    :param waker: another socket whose readability ends the wait
    :returns: the bits READ, WRITE and WOKEN, 0 when the time was over
    """
    if timeout is not None:
        timeout = min(max(timeout, 0.0), _LONGEST_WAIT)
    # Looked up each time: gevent and eventlet replace or remove it.
    make_poll = getattr(select, "poll", None)
    ready = 0
    if make_poll is not None:
        poller = make_poll()
        if read or write:
            poller.register(sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        if waker is not None:
            poller.register(waker, select.POLLIN)
        number = sock.fileno()
        for descriptor, events in poller.poll(None if timeout is None else math.ceil(timeout * 1000)):
            if descriptor != number:
                ready |= WOKEN
                continue
            if events & ~select.POLLOUT:
                ready |= READ
            if events & ~select.POLLIN and write:
                ready |= WRITE
        return ready
    readers = ([sock] if read else []) + ([waker] if waker is not None else [])
    writers = [sock] if write else []
    # Windows reports a connection that failed as exceptional, not as writable.
    can_read, can_write, failed = select.select(readers, writers, writers, timeout)
    if sock in can_read or failed:
        ready |= READ
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
    sock = socket.socket(address.family, address.type, address.proto)
    try:
        sock.setblocking(False)
        set_options(sock, tcp_options)
        with suppress(BlockingIOError, InterruptedError):
            sock.connect(address.sockaddr)
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
    limit = destination.socket_timeout
    patience = math.inf if limit is None else time.monotonic() + limit
    until = min(patience, math.inf if deadline is None else deadline)
    sock = start_connecting(address, destination.tcp_options)
    try:
        while True:
            left = until - time.monotonic()
            if wait_for(sock, read=False, write=True, timeout=None if left == math.inf else left):
                error = connect_error(sock)
                if error is not None:
                    raise error
                return sock
            if left <= 0 and until == patience:
                raise TimeoutError(f"no answer within socket_timeout ({limit:g} seconds)")
            if left <= 0:
                raise AMQPConnectorStackTimeout("no answer within stack_timeout")
    except BaseException:
        sock.close()
        raise
