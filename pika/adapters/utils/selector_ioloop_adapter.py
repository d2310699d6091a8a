"""Connections on loops that watch descriptors, such as pika's own and Tornado's."""

from __future__ import annotations

import functools
from typing import Any, Callable

from pika.adapters.utils.io_services import OnDone, SocketConnectionMixin, StreamingConnectionMixin, look_up
from pika.adapters.utils.nbio_interface import (
    AbstractFileDescriptorServices,
    AbstractIOReference,
    AbstractIOServices,
    AbstractTimerReference,
)


class AbstractSelectorIOLoop:
    """What a loop that watches descriptors offers. Tornado's loop has the same methods.

    A loop need not inherit from this, it only has to have what is here.
    """

    @property
    def READ(self) -> int:
        """The bit of a descriptor that can be read."""
        raise NotImplementedError

    @property
    def WRITE(self) -> int:
        """The bit of a descriptor that can be written."""
        raise NotImplementedError

    @property
    def ERROR(self) -> int:
        """The bit of a descriptor that has failed."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the loop has opened. It is not running, and not used any more."""
        raise NotImplementedError

    def start(self) -> None:
        """Run, until :meth:`stop`."""
        raise NotImplementedError

    def stop(self) -> None:
        """End :meth:`start`, as soon as what is under way is over."""
        raise NotImplementedError

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Have a function called once, after some time.

        :param delay: seconds
        :param callback: called without arguments
        :returns: the handle for :meth:`remove_timeout`
        """
        raise NotImplementedError

    def remove_timeout(self, timeout_handle: Any) -> None:
        """See to it that a timer does not run.

        :param timeout_handle: what :meth:`call_later` returned
        """
        raise NotImplementedError

    def add_callback(self, callback: Callable[[], Any]) -> None:
        """Have a function called by the loop's thread, in the next iteration. Any thread may call this at any time.

        :param callback: called without arguments
        """
        raise NotImplementedError

    def add_handler(self, fd: int, handler: Callable[[int, int], Any], events: int) -> None:
        """Have ``handler(fd, events)`` called whenever a descriptor is ready.

        :param fd: the descriptor
        :param handler: what to call, with the events that it is ready for
        :param events: READ, WRITE and ERROR, or'd
        """
        raise NotImplementedError

    def update_handler(self, fd: int, events: int) -> None:
        """Change what is waited for.

        :param fd: a descriptor that has a handler
        :param events: as for :meth:`add_handler`, instead of those before
        """
        raise NotImplementedError

    def remove_handler(self, fd: int) -> None:
        """Wait for a descriptor no longer.

        :param fd: a descriptor that has a handler
        """
        raise NotImplementedError


class _Timer(AbstractTimerReference):
    """A timer of the loop's."""

    def __init__(self, loop: AbstractSelectorIOLoop, handle: Any) -> None:
        self._loop = loop
        self._handle = handle

    def cancel(self) -> None:
        """See to it that it does not run."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            self._loop.remove_timeout(handle)


class _Descriptor:
    """A descriptor that is watched."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader: Callable[[], Any] | None = None
        self.writer: Callable[[], Any] | None = None


class SelectorIOServicesAdapter(
    SocketConnectionMixin, StreamingConnectionMixin, AbstractIOServices, AbstractFileDescriptorServices
):
    """What a connection asks of its event loop, on a loop that watches descriptors.

    :param native_loop: the loop, which has what :class:`AbstractSelectorIOLoop` has
    """

    def __init__(self, native_loop: Any) -> None:
        self._loop = native_loop
        #: Lets one thread at a time in, with ``acquire(False)`` and ``release()``, and none but the one that runs the
        #: loop; None when the loop has no such lock.
        self.thread_guard: Any = getattr(native_loop, "thread_guard", None)
        self._descriptors: dict[int, _Descriptor] = {}
        self._read: int = native_loop.READ
        self._write: int = native_loop.WRITE
        self._error: int = native_loop.ERROR

    def get_native_ioloop(self) -> Any:
        """Return the loop."""
        return self._loop

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()

    def run(self) -> None:
        """Run the loop, until :meth:`stop`."""
        self._loop.start()

    def stop(self) -> None:
        """Ask the loop to end its :meth:`run`."""
        self._loop.stop()

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """Have a function called in the loop's thread, as soon as possible. Any thread may call this."""
        self._loop.add_callback(callback)

    def call_later(self, delay: float, callback: Callable[[], Any]) -> AbstractTimerReference:
        """Have a function called once, after ``delay`` seconds."""
        return _Timer(self._loop, self._loop.call_later(delay, callback))

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
        """Look a host name up, in a daemon thread."""
        return look_up(self, on_done, host, port, family, socktype, proto, flags)

    def set_reader(self, fd: int, on_readable: Callable[[], Any]) -> None:
        """Have a function called whenever a descriptor can be read, instead of the one before."""
        watched = self._descriptors.get(fd)
        if watched is None:
            watched = self._add(fd, self._read)
        elif watched.reader is None:
            self._loop.update_handler(fd, self._read | self._write | self._error)
        watched.reader = on_readable

    def remove_reader(self, fd: int) -> bool:
        """Stop watching whether a descriptor can be read."""
        watched = self._descriptors.get(fd)
        if watched is None or watched.reader is None:
            return False
        watched.reader = None
        self._narrow(fd, watched.writer, self._write)
        return True

    def set_writer(self, fd: int, on_writable: Callable[[], Any]) -> None:
        """Have a function called whenever a descriptor can be written, instead of the one before."""
        watched = self._descriptors.get(fd)
        if watched is None:
            watched = self._add(fd, self._write)
        elif watched.writer is None:
            self._loop.update_handler(fd, self._read | self._write | self._error)
        watched.writer = on_writable

    def remove_writer(self, fd: int) -> bool:
        """Stop watching whether a descriptor can be written."""
        watched = self._descriptors.get(fd)
        if watched is None or watched.writer is None:
            return False
        watched.writer = None
        self._narrow(fd, watched.reader, self._read)
        return True

    def _add(self, fd: int, events: int) -> _Descriptor:
        watched = _Descriptor()
        self._loop.add_handler(fd, functools.partial(self._on_ready, watched), events | self._error)
        self._descriptors[fd] = watched
        return watched

    def _narrow(self, fd: int, left: Callable[[], Any] | None, events: int) -> None:
        if left is not None:
            self._loop.update_handler(fd, events | self._error)
        else:
            del self._descriptors[fd]
            self._loop.remove_handler(fd)

    def _on_ready(self, watched: _Descriptor, fd: int, events: int) -> None:
        # What is neither readable nor writable has failed: whoever watches finds out how, by trying.
        if events & ~self._write and watched.reader is not None:
            watched.reader()
        if events & ~self._read and watched.writer is not None:
            watched.writer()
