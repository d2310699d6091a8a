"""The callback API over a blocking socket and ``select``: what a user writes who has a loop of their own."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from pika.channel import Channel
from pika.connection import Connection, ConnectionParameters, Parameters
from pika.exceptions import StreamLostError
from tests.support.bounded import PATIENCE
from tests.support.scripted_broker import Session, scripted_broker


class PlainConnection(Connection):
    """A connection that moves while :meth:`run` or :meth:`run_for` does. Sending blocks.

    :param parameters: where to connect
    :param callbacks: those of :class:`pika.connection.Connection`
    """

    def __init__(self, parameters: Parameters, **callbacks: Any) -> None:
        self.sock: socket.socket | None = None
        #: What was called, in order: a place for tests' callbacks to write to.
        self.log: list[Any] = []
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._cancelled: set[int] = set()
        self._numbers = itertools.count()
        self._soon: deque[Callable[[], object]] = deque()
        super().__init__(parameters, **callbacks)

    def _adapter_connect_stream(self) -> None:
        try:
            self.sock = socket.create_connection((self.params.host, self.params.port), PATIENCE)
        except OSError as error:
            failure = error
            self._adapter_call_later(0, lambda: self._on_stream_terminated(failure))
        else:
            # Otherwise a second small write waits until the peer has confirmed the first: 40 ms.
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._adapter_call_later(0, self._on_stream_connected)

    def _adapter_disconnect_stream(self) -> None:
        self._close_socket()
        self._adapter_call_later(0, lambda: self._on_stream_terminated(None))

    def _adapter_emit_data(self, data: bytes) -> None:
        if self.sock is not None:
            # A broken stream is noticed where it is read.
            with contextlib.suppress(OSError):
                self.sock.sendall(data)

    def _adapter_call_later(self, delay: float, callback: Callable[[], object]) -> int:
        number = next(self._numbers)
        heapq.heappush(self._timers, (time.monotonic() + delay, number, callback))
        return number

    def _adapter_remove_timeout(self, timeout_id: int) -> None:
        self._cancelled.add(timeout_id)

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        self._soon.append(callback)

    def _close_socket(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def drop(self) -> None:
        """Close the socket, if it is open, without a word to anybody."""
        self._close_socket()

    def turn(self, timeout: float = 0.005) -> None:
        """Go once round: read, then call what is due.

        :param timeout: how many seconds to wait for something to read, at the most
        """
        if self._soon:
            timeout = 0
        elif self._timers:
            timeout = min(timeout, max(self._timers[0][0] - time.monotonic(), 0))
        if self.sock is not None and select.select([self.sock], [], [], timeout)[0]:
            try:
                data = self.sock.recv(1 << 16)
            except OSError as error:
                data = b""
                reason: Exception = StreamLostError(f"lost: {error!r}")
            else:
                reason = StreamLostError("end of file")
            if data:
                self._on_data_available(data)
            else:
                self._close_socket()
                self._on_stream_terminated(reason)
        while self._soon:
            self._soon.popleft()()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, number, callback = heapq.heappop(self._timers)
            if number not in self._cancelled:
                callback()

    def run(self, until: Callable[[], object]) -> None:
        """Go round until something holds; AssertionError when it does not within 60 seconds."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, f"it never came to it; the log is {self.log}"
            self.turn()

    def run_despite(self, kind: type[BaseException], until: Callable[[], object]) -> list[str]:
        """Go round until something holds, whatever callbacks raise; returns the texts of that.

        :param kind: what they may raise
        :param until: says when it is enough
        """
        raised: list[str] = []
        while True:
            try:
                self.run(until)
            except kind as error:
                raised.append(str(error))
            else:
                return raised

    def run_for(self, seconds: float) -> None:
        """Go round for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()


@contextlib.contextmanager
def opened(parameters: Parameters) -> Iterator[PlainConnection]:
    """A connection that is open; it is closed at the end, if it still can be."""
    connection = PlainConnection(parameters)
    try:
        connection.run(lambda: connection.is_open)
        yield connection
        if connection.is_open:
            connection.close()
            connection.run(lambda: connection.is_closed and connection.sock is None)
    finally:
        connection.drop()


@contextlib.contextmanager
def opened_on(script: Callable[[Session], object], **options: Any) -> Iterator[PlainConnection]:
    """A connection that is open to a broker made of a script.

    :param script: what the broker does, from the client's protocol header on
    :param options: those of :class:`ConnectionParameters`
    """
    with scripted_broker(script) as peer, opened(ConnectionParameters(peer.host, peer.port, **options)) as connection:
        yield connection


def open_channel(connection: PlainConnection) -> Channel:
    """Open a channel, and return it when it is open."""
    channel = connection.channel()
    connection.run(lambda: channel.is_open)
    return channel


def call(connection: PlainConnection, operation: Callable[..., object], *arguments: Any, **options: Any) -> Any:
    """Call an operation, wait for its callback, and return what that was called with."""
    answers: list[Any] = []
    operation(*arguments, callback=answers.append, **options)
    assert answers == [], "called back before the operation returned"
    connection.run(lambda: answers)
    (answer,) = answers
    return answer


def states(it: Connection | Channel) -> list[str]:
    """Return which states a connection or a channel says that it is in."""
    return [name for name in ("opening", "open", "closing", "closed") if getattr(it, f"is_{name}", False)]
