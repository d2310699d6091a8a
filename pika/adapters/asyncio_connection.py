"""Connections on asyncio's event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
import warnings
from typing import Any, Callable

from pika.adapters.loop_connection import LoopConnection
from pika.adapters.utils.io_services import (
    OnDone,
    SocketConnectionMixin,
    StreamingConnectionMixin,
    Task,
    look_up_address,
)
from pika.adapters.utils.nbio_interface import (
    AbstractFileDescriptorServices,
    AbstractIOReference,
    AbstractIOServices,
    AbstractTimerReference,
)

__all__ = ["AsyncioConnection"]

# The shortest delay of a timer, in seconds. It makes sure that what is there to be read is read before, on uvloop too,
# which runs what has no delay before it looks.
_NEXT_TURN = 0.001


class LoopGuard:
    """Lets one thread at a time in, and none but the one that runs the loop while it runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.RLock()
        self.release = self._lock.release

    def acquire(self, blocking: bool) -> bool:
        """Let the thread in, and say so; or False."""
        if asyncio._get_running_loop() is not self._loop and self._loop.is_running():
            return False
        return self._lock.acquire(blocking)


class _Timer(AbstractTimerReference):
    """A timer of the loop's."""

    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle

    def cancel(self) -> None:
        """See to it that it does not run."""
        self._handle.cancel()


class _Lookup(Task):
    """A lookup of a host name."""

    def __init__(self, on_done: OnDone, future: asyncio.Future[Any]) -> None:
        super().__init__(on_done)
        self._future = future
        future.add_done_callback(self._on_future_done)

    def _on_future_done(self, future: asyncio.Future[Any]) -> None:
        # The loop cancels what is left when a program ends: then nobody waits any more.
        if not future.cancelled():
            error = future.exception()
            self.finish(future.result() if error is None else error)

    def _give_back(self) -> None:
        self._future.cancel()


class _AsyncioIOServices(
    SocketConnectionMixin, StreamingConnectionMixin, AbstractIOServices, AbstractFileDescriptorServices
):
    """What a connection asks of its event loop, on asyncio.

    :param loop: the loop
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.thread_guard = LoopGuard(loop)

    def get_native_ioloop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self._loop

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()

    def run(self) -> None:
        """Run the loop, until :meth:`stop`."""
        self._loop.run_forever()

    def stop(self) -> None:
        """Ask the loop to end its :meth:`run`."""
        self._loop.stop()

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Have a function called in the loop's thread, as soon as possible. Any thread may call this."""
        self._loop.call_soon_threadsafe(callback)

    def call_soon(self, callback: Callable[[], Any]) -> bool:
        """Have a function called in the loop's next iteration, also if the loop is about to stop.

        :returns: whether it will be; not when the loop does not run
        """
        if not self._loop.is_running():
            return False
        self._loop.call_soon(callback)
        return True

    def call_later(self, delay: float, callback: Callable[[], Any]) -> AbstractTimerReference:
        """Have a function called once, after ``delay`` seconds."""
        return _Timer(self._loop.call_later(max(delay, _NEXT_TURN), callback))

    def getaddrinfo(
        self,
        host: str,
        port: int,
        on_done: OnDone,
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> AbstractIOReference:
        """Look a host name up, as the loop does it."""
        known = look_up_address(host, port, family, socktype, proto, flags)
        if known is not None:
            task = Task(on_done)
            self.add_callback_threadsafe(functools.partial(task.finish, known))
            return task
        lookup = self._loop.getaddrinfo(host, port, family=family, type=socktype, proto=proto, flags=flags)
        return _Lookup(on_done, asyncio.ensure_future(lookup, loop=self._loop))

    def set_reader(self, fd: int, on_readable: Callable[[], Any]) -> None:
        """Have a function called whenever a descriptor can be read, instead of the one before."""
        self._loop.add_reader(fd, on_readable)

    def remove_reader(self, fd: int) -> bool:
        """Stop watching whether a descriptor can be read."""
        return self._loop.remove_reader(fd)

    def set_writer(self, fd: int, on_writable: Callable[[], Any]) -> None:
        """Have a function called whenever a descriptor can be written, instead of the one before."""
        self._loop.add_writer(fd, on_writable)

    def remove_writer(self, fd: int) -> bool:
        """Stop watching whether a descriptor can be written."""
        return self._loop.remove_writer(fd)


def _current_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that runs; or the one that was set for this thread, or else a new one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        with warnings.catch_warnings():
            # Programs make a connection and then run its loop. Some versions of Python say that they should not.
            warnings.simplefilter("ignore", DeprecationWarning)
            return asyncio.get_event_loop()
    except RuntimeError:
        return asyncio.new_event_loop()


class AsyncioConnection(LoopConnection):
    """A callback connection on asyncio's event loop, or on another one with its interface, such as uvloop's.

    The loop must be able to watch descriptors, which the one that Windows has by default is not.
    See :class:`~pika.adapters.base_connection.BaseConnection` for threads and back-pressure. What a callback raises
    goes to the loop's exception handler.

    :param parameters: where and how to connect; the defaults of :class:`~pika.ConnectionParameters` if None
    :param on_open_callback: called as ``callback(connection)`` when the connection is open
    :param on_open_error_callback: called as ``callback(connection, exception)`` when it could not be opened
    :param on_close_callback: called as ``callback(connection, exception)`` when it was open and is closed
    :param custom_ioloop: the loop, or the services of any loop
        (:class:`~pika.adapters.utils.nbio_interface.AbstractIOServices`). If None: the one that runs; where none runs,
        that of the thread, which is made if there is none, for ``connection.ioloop.run_forever()``
    :param internal_connection_workflow: False when somebody else connects the stream
    :param background_heartbeats: whether heartbeats are sent while a callback keeps the loop busy, by a daemon thread
        that all connections of the process share
    :raises ValueError: ``parameters`` are something else
    """

    @classmethod
    def _services_on(cls, native_loop: Any) -> AbstractIOServices:
        return _AsyncioIOServices(_current_loop() if native_loop is None else native_loop)
