"""A TCP proxy on the loopback: a network between a client and a server that fails when a test says so."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Literal, TypeVar

Direction = Literal["to_server", "to_client"]
Failure = Literal["cut", "reset", "freeze"]
BOTH: tuple[Direction, ...] = ("to_server", "to_client")

_CHUNK = 65536
# Seconds. By itself: real programs load this file alone, in environments that have no tests.
_PATIENCE = 60.0
_T = TypeVar("_T")


class Proxy:
    """Forwards every connection to its port to a server, and lets a test see and break what passes.

    All of it runs in one thread of its own; every method is safe from any thread and has taken effect when it
    returns. It stays open for new connections whatever happened to the old ones. Use it as a context manager.

    :param port: the server's port
    :param host: the server's host
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._links: list[_Link] = []
        self._flows = {direction: _Flow() for direction in BOTH}
        self._calls: deque[Callable[[], None]] = deque()
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._running = True
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The AMQP URL of a broker behind this proxy, as guest."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def record(self, direction: Direction) -> bytes:
        """Return every byte forwarded in `direction` so far, over all connections, in order."""
        return self._call(lambda: bytes(self._flows[direction].record))

    def connections(self) -> int:
        """Return how many connections are open now."""
        return self._call(lambda: len(self._links))

    def cut(self) -> None:
        """Close every connection on both sides; what is still under way is lost, and each side reads an end of file."""
        self._call(lambda: self._fail("cut"))

    def reset(self) -> None:
        """Reset every connection on both sides: each side gets ECONNRESET."""
        self._call(lambda: self._fail("reset"))

    def freeze(self, directions: Iterable[Direction] = BOTH) -> None:
        """Stop forwarding, as a network that swallows everything does: nothing is closed, nothing arrives."""
        chosen = list(directions)
        self._call(lambda: self._set_frozen(chosen, True))

    def thaw(self, directions: Iterable[Direction] = BOTH) -> None:
        """Forward again, first what was held back."""
        chosen = list(directions)
        self._call(lambda: self._set_frozen(chosen, False))

    def limit_after(self, count: int, direction: Direction, then: Failure = "cut") -> None:
        """Forward exactly `count` more bytes in `direction`, and then fail, once, as `then` says."""
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}: to fail at once call {then}()")
        self._call(lambda: self._flows[direction].set_limit(count, then))

    def close(self) -> None:
        """Close everything and end the thread. Does nothing the second time."""
        if self._thread.is_alive():
            self._call(self._stop)
            self._thread.join()
            self._waker.close()

    def _call(self, function: Callable[[], _T]) -> _T:
        """Run `function` in the proxy's thread and return its result."""
        if not self._thread.is_alive():
            return function()
        done: Future[_T] = Future()
        self._calls.append(lambda: done.set_result(function()))
        self._waker.send(b"!")
        return done.result(timeout=_PATIENCE)

    # What follows runs in the proxy's thread only.

    def _run(self) -> None:
        while self._running:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._woken.recv(_CHUNK)
                    while self._calls:
                        self._calls.popleft()()
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._links:
                    self._serve(key.data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            _close_with_reset(client)
            return
        link = _Link(client, server, self._flows)
        self._links.append(link)
        self._watch(link)

    def _serve(self, link: _Link) -> None:
        try:
            for pipe in link.pipes:
                pipe.fill()
                pipe.drain()
        except OSError:
            # One side is gone: the other learns it the hard way, as it would without a proxy.
            self._end(link, "reset")
            return
        for flow in self._flows.values():
            failure = flow.due_failure()
            if failure is not None:
                self._fail(failure, flow)
        if link in self._links:
            if all(pipe.ended for pipe in link.pipes):
                self._end(link, "cut")
            else:
                self._watch(link)

    def _watch(self, link: _Link) -> None:
        """Ask the selector for what this link can do now; a side that can do nothing is not watched."""
        for end in link.ends:
            wanted = link.wanted_events(end)
            known = self._selector.get_map().get(end)
            if known is None and wanted:
                self._selector.register(end, wanted, link)
            elif known is not None and wanted:
                self._selector.modify(end, wanted, link)
            elif known is not None:
                self._selector.unregister(end)

    def _set_frozen(self, directions: Iterable[Direction], frozen: bool) -> None:
        for direction in directions:
            self._flows[direction].frozen = frozen
        for link in self._links:
            self._watch(link)

    def _fail(self, failure: Failure, flow: _Flow | None = None) -> None:
        if failure == "freeze":
            self._set_frozen([name for name in BOTH if flow is None or self._flows[name] is flow], True)
            return
        for link in list(self._links):
            self._end(link, failure)

    def _end(self, link: _Link, how: Failure) -> None:
        self._links.remove(link)
        for end in link.ends:
            if end in self._selector.get_map():
                self._selector.unregister(end)
            if how == "reset":
                _close_with_reset(end)
            else:
                _close_with_end_of_file(end)

    def _stop(self) -> None:
        self._fail("cut")
        self._selector.close()
        self._listener.close()
        self._woken.close()
        self._running = False


class _Flow:
    """What is true of one direction of the network, whichever connection the bytes belong to."""

    def __init__(self) -> None:
        self.frozen = False
        self.record = bytearray()
        self._limit: int | None = None
        self._failure: Failure = "cut"

    def set_limit(self, count: int, failure: Failure) -> None:
        self._limit, self._failure = count, failure

    def allowance(self, waiting: int) -> int:
        """Return how many of `waiting` bytes may pass now."""
        if self.frozen:
            return 0
        return waiting if self._limit is None else min(waiting, self._limit)

    def passed(self, data: bytes) -> None:
        self.record += data
        if self._limit is not None:
            self._limit -= len(data)

    def due_failure(self) -> Failure | None:
        """Return the failure whose limit was just reached, and forget it."""
        if self._limit != 0:
            return None
        self._limit = None
        return self._failure


class _Pipe:
    """One direction of one connection. At most one chunk is held: a slow or frozen reader slows the writer down."""

    def __init__(self, source: socket.socket, target: socket.socket, flow: _Flow) -> None:
        self.source, self.target, self.flow = source, target, flow
        self.held = b""
        self.ended = False
        self._end_of_file = False

    def can_fill(self) -> bool:
        return not (self.held or self._end_of_file or self.flow.frozen)

    def can_drain(self) -> bool:
        return self.flow.allowance(len(self.held)) > 0

    def fill(self) -> None:
        if self.can_fill():
            with contextlib.suppress(BlockingIOError):
                self.held = self.source.recv(_CHUNK)
                self._end_of_file = not self.held

    def drain(self) -> None:
        if self.can_drain():
            allowed = self.flow.allowance(len(self.held))
            with contextlib.suppress(BlockingIOError):
                sent = self.target.send(self.held[:allowed])
                self.flow.passed(self.held[:sent])
                self.held = self.held[sent:]
        if self._end_of_file and not self.held and not self.ended:
            self.ended = True
            self.target.shutdown(socket.SHUT_WR)


class _Link:
    """One connection: the client's end, the server's end, and a pipe each way."""

    def __init__(self, client: socket.socket, server: socket.socket, flows: dict[Direction, _Flow]) -> None:
        self.ends = (client, server)
        for end in self.ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pipes = (_Pipe(client, server, flows["to_server"]), _Pipe(server, client, flows["to_client"]))

    def wanted_events(self, end: socket.socket) -> int:
        events = 0
        for pipe in self.pipes:
            if pipe.source is end and pipe.can_fill():
                events |= selectors.EVENT_READ
            if pipe.target is end and pipe.can_drain():
                events |= selectors.EVENT_WRITE
        return events


def _close_with_reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def _close_with_end_of_file(end: socket.socket) -> None:
    # Closing a socket that holds unread bytes would send a reset: read them away first.
    with contextlib.suppress(OSError):
        while end.recv(_CHUNK):
            pass
    end.close()
