"""Twisted's reactor and its transports, as a connection of :mod:`pika.adapters.base_connection` knows them."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Callable, NoReturn

from twisted.internet import interfaces
from twisted.python import threadable
from zope.interface import implementer  # type: ignore[import-untyped]

from pika.adapters.utils.nbio_interface import (
    AbstractIOReference,
    AbstractIOServices,
    AbstractStreamProtocol,
    AbstractStreamTransport,
    AbstractTimerReference,
)
from pika.transport.stream import LINGER


class _Guard:
    """Lets one thread at a time in, and none but the reactor's while that runs."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._lock = threading.RLock()
        self.release = self._lock.release

    def acquire(self, blocking: bool) -> bool:
        """Let the thread in, and say so; or False."""
        # None before a reactor has run.
        its_thread: Any = threadable.ioThread
        if getattr(self._reactor, "running", False) and its_thread not in (None, threading.get_ident()):
            return False
        return self._lock.acquire(blocking)


class _Timer(AbstractTimerReference):
    """A timer of the reactor's."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def cancel(self) -> None:
        """See to it that it does not run."""
        if self._call.active():
            self._call.cancel()


class TwistedIOServices(AbstractIOServices):
    """What a connection asks of its event loop, on a reactor. Connecting is the program's business.

    :param reactor: the reactor
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.thread_guard = _Guard(reactor)

    def get_native_ioloop(self) -> Any:
        """Return the reactor."""
        return self._reactor

    def close(self) -> None:
        """Nothing is to be done: a reactor that has stopped is closed."""

    def run(self) -> None:
        """Run the reactor, until :meth:`stop`; it cannot be run again."""
        self._reactor.run()

    def stop(self) -> None:
        """Ask the reactor to end its :meth:`run`."""
        self._reactor.stop()

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Have a function called in the reactor's thread, as soon as possible. Any thread may call this."""
        self._reactor.callFromThread(callback)

    def call_later(self, delay: float, callback: Callable[[], Any]) -> AbstractTimerReference:
        """Have a function called once, after ``delay`` seconds."""
        return _Timer(self._reactor.callLater(max(delay, 0), callback))

    def getaddrinfo(self, *_arguments: Any, **_keywords: Any) -> AbstractIOReference:
        """Not to be had of this.

        :raises RuntimeError: always
        """
        self._refuse()

    def connect_socket(self, *_arguments: Any, **_keywords: Any) -> AbstractIOReference:
        """Not to be had of this.

        :raises RuntimeError: always
        """
        self._refuse()

    def create_streaming_connection(self, *_arguments: Any, **_keywords: Any) -> AbstractIOReference:
        """Not to be had of this.

        :raises RuntimeError: always
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RuntimeError(
            "a Twisted connection is connected by the program, with an endpoint whose factory builds the "
            "TwistedProtocolConnection"
        )


@implementer(interfaces.IPushProducer)
class TwistedStream(AbstractStreamTransport):
    """A transport of Twisted's. As its producer, this learns when it takes no more, and keeps the rest: so it is known
    how much waits to be sent.

    :param transport: the transport
    :param protocol: the connection
    :param reactor: for the time that the last bytes may take
    :param on_sent: called when the transport takes more again
    """

    def __init__(
        self, transport: Any, protocol: AbstractStreamProtocol, reactor: Any, on_sent: Callable[[], object]
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._reactor = reactor
        self._on_sent = on_sent
        self._full = False
        # What the transport took when it was full, and what it has not taken.
        self._taken = 0
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._farewell: _Timer | None = None
        transport.registerProducer(self, True)

    def get_protocol(self) -> AbstractStreamProtocol:
        """Return the connection."""
        return self._protocol

    def write(self, data: bytes) -> None:
        """Send bytes; what the transport does not take is kept until it does."""
        if self._full:
            self._kept.append(data)
            self._kept_bytes += len(data)
        else:
            self._taken = len(data)
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are kept, here and by the transport; some 64 KiB more may be on their way."""
        return self._kept_bytes + (self._taken if self._full else 0)

    def abort(self) -> None:
        """End the stream, when what the transport has taken has left, or after a second."""
        self._transport.unregisterProducer()
        self._transport.loseConnection()
        if self._farewell is None:
            self._farewell = _Timer(self._reactor.callLater(LINGER, self._transport.abortConnection))

    def lost(self) -> None:
        """Take note that the transport is gone."""
        self.stopProducing()
        if self._farewell is not None:
            self._farewell.cancel()

    # What the transport calls

    def pauseProducing(self) -> None:
        """Take note that the transport takes no more."""
        self._full = True

    def resumeProducing(self) -> None:
        """Give the transport what was kept, until it takes no more again."""
        self._full = False
        while self._kept and not self._full:
            data = self._kept.popleft()
            self._kept_bytes -= len(data)
            self.write(data)
        self._on_sent()

    def stopProducing(self) -> None:
        """Drop what was kept: nobody takes it any more."""
        self._kept.clear()
        self._kept_bytes = 0
        self._full = False
