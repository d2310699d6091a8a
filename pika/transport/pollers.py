"""Waiting for many descriptors and serving those that are ready: a poller for each way that systems have of it.

A poller is used by one thread at a time; :meth:`_PollerBase.stop`, :meth:`_PollerBase.rouse` and
:meth:`_PollerBase.wake_threadsafe` may be called by any thread and by signal handlers.
"""

from __future__ import annotations

import abc
import errno
import logging
import math
import os
import select
import socket
import sys
import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Callable

from pika.transport.sockets import socket_pair

LOGGER = logging.getLogger(__name__)

#: What a descriptor can be ready for. These are the numbers of poll() and epoll on Linux, macOS and the BSDs.
READ, WRITE, ERROR, HANGUP = 1, 4, 8, 16

_ASKABLE = READ | WRITE | ERROR
# What poll() says of a descriptor that was closed.
_INVALID = 32

# Looked up when a poller is made, not when this module is loaded: gevent and eventlet replace or remove parts of it.
_select: Any = select

#: Called with the descriptor and the events that it is ready for.
Handler = Callable[[int, int], object]


class _Waker:
    """Two connected sockets: a byte written to one ends the wait for the other. Closed when it is forgotten, too."""

    def __init__(self) -> None:
        self._reader, self._writer = socket_pair()
        # A program that drops its loop without closing it is not to be warned of sockets that it has never seen.
        self.close = weakref.finalize(self, _close_both, self._reader, self._writer)

    def fileno(self) -> int:
        return self._reader.fileno()

    def wake(self) -> None:
        # Full is as good as written to, and who is closed waits for nothing.
        with suppress(OSError):
            self._writer.send(b"\0")

    def drain(self, fd: int, events: int) -> None:
        with suppress(BlockingIOError):
            self._reader.recv(4096)


def _close_both(one: socket.socket, other: socket.socket) -> None:
    one.close()
    other.close()


class _Entry:
    """A descriptor that is waited for."""

    __slots__ = ("asked", "born", "handler")

    def __init__(self, handler: Handler, asked: int, born: int) -> None:
        self.handler = handler
        self.asked = asked
        # The number of the wait that was the last one before it came. What that wait found is not meant for it.
        self.born = born


class _PollerBase(abc.ABC):
    """Waits for descriptors, and calls the handlers of those that are ready.

    :param get_wait_seconds: asked before each wait how long it may be, in seconds; None is as long as it likes
    :param process_timeouts: called by :meth:`start` after each wait
    """

    #: What a second is in the unit of the system's call.
    POLL_TIMEOUT_MULT = 1
    # The longest wait, in seconds. On Windows no signal, not even Ctrl-C, ends a wait before its time.
    _MAX_POLL_TIMEOUT = 5

    def __init__(self, get_wait_seconds: Callable[[], float | None], process_timeouts: Callable[[], object]) -> None:
        self._get_wait_seconds = get_wait_seconds
        self._process_timeouts = process_timeouts
        self._entries: dict[int, _Entry] = {}
        self._waker: _Waker | None = None
        self._batch = 0
        self._removed_in = 0
        self._active = False
        self._closed = False
        # True while a wait may be under way that does not know what has come up in the meantime.
        self._asleep = False
        self._stopping = False
        self._runner: int | None = None
        self.activate_poller()

    @property
    def running(self) -> bool:
        """Whether :meth:`start` is under way."""
        return self._runner is not None

    def __len__(self) -> int:
        """How many descriptors have a handler."""
        return len(self._entries) - (self._waker is not None)

    def activate_poller(self) -> None:
        """Get the system's means of waiting, if they are not there. A wait does it by itself.

        :raises RuntimeError: the poller is closed
        :raises OSError: the process has too many descriptors
        """
        if self._active:
            return
        if self._closed:
            raise RuntimeError("The loop is closed; make a new one")
        if self._waker is None:
            self._waker = _Waker()
            self._entries[self._waker.fileno()] = _Entry(self._waker.drain, READ, self._batch)
        self._open()
        self._active = True
        for fd, entry in list(self._entries.items()):
            try:
                self._set(fd, 0, entry.asked)
            except OSError as error:
                self._give_up(fd, error)

    def deactivate_poller(self) -> None:
        """Give the system's means of waiting back. Handlers stay, and are served again by the next wait."""
        if self._active:
            self._active = False
            self._shut()

    def close(self) -> None:
        """Forget the handlers and close what the poller has opened. Closing it again does nothing."""
        self._closed = True
        self._forget()

    def start_afresh(self) -> None:
        """Leave everything that belongs to the parent to it, in a child that was forked: no handlers are left here."""
        self._forget()
        if self._runner != threading.get_ident():
            # It was another thread that ran the poller, and that stayed in the parent.
            self._runner = None
            self._stopping = False

    def _forget(self) -> None:
        self.deactivate_poller()
        self._entries.clear()
        self._removed_in = self._batch
        self._asleep = False
        if self._waker is not None:
            self._waker.close()
            self._waker = None

    def add_handler(self, fileno: int, handler: Handler, events: int) -> None:
        """Have ``handler(fileno, events)`` called whenever a descriptor is ready, until it is removed.

        :param fileno: the descriptor; a handler that it had is replaced
        :param handler: what to call. ``events`` are those that were asked for, and ``HANGUP`` when it is the case
        :param events: READ, WRITE and ERROR, or'd; 0 waits for nothing
        :raises TypeError: the handler cannot be called, or the descriptor is no number
        :raises OSError: there is no such descriptor, or it is of a kind that cannot be waited for
        :raises ValueError: the system's call cannot take so high a descriptor
        :raises RuntimeError: the poller is closed
        """
        if not callable(handler):
            raise TypeError(f"handler must be a callable, but got {handler!r}")
        if not isinstance(fileno, int):
            raise TypeError(f"fd must be a descriptor's number, such as socket.fileno(), but got {fileno!r}")
        self.activate_poller()
        known = self._entries.get(fileno)
        asked = events & _ASKABLE
        self._set(fileno, known.asked if known else 0, asked)
        self._entries[fileno] = _Entry(handler, asked, self._batch)

    def update_handler(self, fileno: int, events: int) -> None:
        """Change what is waited for.

        :param fileno: a descriptor that has a handler
        :param events: as for :meth:`add_handler`, instead of those before
        :raises FileNotFoundError: the descriptor has no handler
        :raises OSError: there is no such descriptor any more
        """
        entry = self._entries.get(fileno)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, f"Descriptor {fileno} has no handler; add one with add_handler()")
        asked = events & _ASKABLE
        if asked != entry.asked:
            if self._active:
                self._set(fileno, entry.asked, asked)
            entry.asked = asked

    def remove_handler(self, fileno: int) -> None:
        """Wait for a descriptor no longer. Its handler is not called again, not even for what was found already.

        :param fileno: the descriptor; it may be closed
        :raises KeyError: it has no handler
        """
        entry = self._entries.pop(fileno)
        self._removed_in = self._batch
        if self._active:
            self._set(fileno, entry.asked, 0)

    def start(self) -> None:
        """Wait and serve, until :meth:`stop`; the one before it counts, and makes this return at once.

        :raises RuntimeError: it is under way already, or the poller is closed
        :raises BaseException: what a handler, a callback or a signal handler raises. What is left is served by the
            next start
        """
        if self._runner is not None:
            raise RuntimeError("IOLoop is not reentrant and is already running")
        try:
            self._runner = threading.get_ident()
            self.activate_poller()
            while not self._stopping:
                self.poll()
                self._process_timeouts()
        finally:
            self._runner = None
            self._stopping = False

    def stop(self) -> None:
        """End :meth:`start`, after the callbacks of this iteration. Any thread and any signal handler may call it."""
        self._stopping = True
        self.rouse()

    def wake_threadsafe(self) -> None:
        """End the wait under way, or else the next one, at once. Any thread and any signal handler may call it."""
        waker = self._waker
        if waker is not None:
            waker.wake()

    def rouse(self) -> None:
        """End the wait under way, if there is one: the cheap way for whom the next wait asks how long it may be."""
        # The waiter says that it sleeps, then looks whether there is something to do; the others come with it first
        # and look then. So it is never missed, and one of them wakes for all.
        if self._asleep:
            try:
                self._asleep = False
                self.wake_threadsafe()
            except BaseException:
                # A signal handler raised in between, and the byte may not be on its way.
                self._asleep = True
                raise

    def poll(self) -> None:
        """Wait once, and call the handlers of what is ready. The wait is over after 5 seconds at the latest.

        :raises RuntimeError: the poller is closed
        :raises Exception: what a handler raises; the next wait finds what is left
        """
        if not self._active:
            self.activate_poller()
        self._asleep = True
        try:
            seconds = 0.0 if self._stopping else self._get_wait_seconds()
            if seconds is None or seconds > self._MAX_POLL_TIMEOUT:
                seconds = self._MAX_POLL_TIMEOUT
            ready = self._wait(seconds)
        finally:
            self._asleep = False
        batch = self._batch = self._batch + 1
        entries = self._entries
        for fd, events in ready:
            entry = entries.get(fd)
            # The one that was meant may have been removed, and its number may belong to another one by now.
            if entry is not None and entry.born < batch:
                asked = entry.asked
                served = events & (asked | HANGUP) if asked else 0
                if not served:
                    served = self._odd(fd, events, asked)
                    if not served:
                        continue
                entry.handler(fd, served)
            elif self._removed_in < batch:
                self._stray(fd)

    def _odd(self, fd: int, events: int, asked: int) -> int:
        """What to tell a handler that asked for nothing of what its descriptor is ready for."""
        if events & _INVALID:
            self._give_up(fd, OSError(errno.EBADF, os.strerror(errno.EBADF)))
            return 0
        # An error that nobody asked about is told rather than found again and again. Anything else was asked for when
        # the wait began, and is not any more.
        return events & ERROR if asked else 0

    def _give_up(self, fd: int, error: OSError) -> None:
        """Wait no longer for a descriptor that the system refuses; its handler stays until it is removed."""
        LOGGER.warning("Descriptor %d is not waited for any more: it was closed before remove_handler(): %s", fd, error)
        entry = self._entries.get(fd)
        if entry is not None:
            self._set(fd, entry.asked, 0)
            entry.asked = 0

    def _stray(self, fd: int) -> None:
        """Begin anew, when the system reports a descriptor that nobody waits for, and would do so for ever.

        So does epoll, for one that was closed before its handler was removed while a child process still has it.
        """
        LOGGER.warning("Descriptor %d was closed before remove_handler(); waiting for the others anew", fd)
        self.deactivate_poller()

    @abc.abstractmethod
    def _open(self) -> None:
        """Get the system's means of waiting."""

    @abc.abstractmethod
    def _shut(self) -> None:
        """Give them back. In the child of a fork this leaves the parent's alone."""

    @abc.abstractmethod
    def _set(self, fd: int, before: int, after: int) -> None:
        """Tell the system what to wait for.

        :param fd: the descriptor
        :param before: the events that it was waited for, as far as is known; 0 for none
        :param after: those that it is to be waited for
        :raises OSError: there is no such descriptor, unless ``after`` is 0
        """

    @abc.abstractmethod
    def _wait(self, seconds: float) -> Iterable[tuple[int, int]]:
        """Wait, and return what is ready: pairs of descriptor and events."""


class SelectPoller(_PollerBase):
    """Waits with ``select.select()``, which every system has."""

    def _open(self) -> None:
        # What each of select's three arguments waits for. Only Windows reports a connection that failed as an
        # exceptional condition; elsewhere that is urgent data, which nobody who writes has asked about.
        exceptional = ERROR | WRITE if sys.platform == "win32" else ERROR
        self._kinds = (READ, WRITE, exceptional)
        self._sets: tuple[set[int], set[int], set[int]] = (set(), set(), set())

    def _shut(self) -> None:
        for descriptors in self._sets:
            descriptors.clear()

    def _set(self, fd: int, before: int, after: int) -> None:
        if after and not before:
            _select.select([fd], [], [], 0)
        for kind, descriptors in zip(self._kinds, self._sets):
            if after & kind:
                descriptors.add(fd)
            else:
                descriptors.discard(fd)

    def _wait(self, seconds: float) -> Iterable[tuple[int, int]]:
        try:
            found = _select.select(*self._sets, seconds)
        except OSError:
            if not self._lose_closed():
                raise
            return ()
        ready: dict[int, int] = {}
        for kind, descriptors in zip(self._kinds, found):
            for fd in descriptors:
                ready[fd] = ready.get(fd, 0) | kind
        return ready.items()

    def _lose_closed(self) -> bool:
        """Give up the descriptors that made select() fail; says whether there were any."""
        lost = False
        for fd in set().union(*self._sets):
            try:
                _select.select([fd], [], [], 0)
            except OSError as error:
                lost = True
                self._give_up(fd, error)
        return lost


class PollPoller(_PollerBase):
    """Waits with ``select.poll()``."""

    POLL_TIMEOUT_MULT = 1000

    def _open(self) -> None:
        self._kernel = _select.poll()

    def _shut(self) -> None:
        self._kernel = None

    def _set(self, fd: int, before: int, after: int) -> None:
        if after:
            # poll() takes any number, and complains later.
            if not before:
                os.fstat(fd)
            self._kernel.register(fd, after)
        else:
            with suppress(KeyError):
                self._kernel.unregister(fd)

    def _wait(self, seconds: float) -> Iterable[tuple[int, int]]:
        # Rounded up: a wait that ends before a timer is due would only begin again.
        found: list[tuple[int, int]] = self._kernel.poll(math.ceil(seconds * self.POLL_TIMEOUT_MULT))
        return found


class EPollPoller(PollPoller):
    """Waits with Linux's epoll."""

    POLL_TIMEOUT_MULT = 1

    def _open(self) -> None:
        self._kernel = _select.epoll()

    def _shut(self) -> None:
        self._kernel.close()

    def _set(self, fd: int, before: int, after: int) -> None:
        # Closing a descriptor takes it out of the set, and another one may have its number by now.
        if not after:
            with suppress(OSError):
                self._kernel.unregister(fd)
            return
        try:
            (self._kernel.modify if before else self._kernel.register)(fd, after)
        except (FileNotFoundError, FileExistsError):
            (self._kernel.register if before else self._kernel.modify)(fd, after)

    def _wait(self, seconds: float) -> Iterable[tuple[int, int]]:
        found: list[tuple[int, int]] = self._kernel.poll(seconds, len(self._entries))
        return found


class KQueuePoller(_PollerBase):
    """Waits with the kqueue of macOS and the BSDs."""

    def _open(self) -> None:
        self._kernel = _select.kqueue()
        self._filters = ((READ, _select.KQ_FILTER_READ), (WRITE, _select.KQ_FILTER_WRITE))

    def _shut(self) -> None:
        # A child does not inherit it, and has nothing to close.
        with suppress(OSError):
            self._kernel.close()

    def _set(self, fd: int, before: int, after: int) -> None:
        for event, number in self._filters:
            if after & event:
                # Adding one that is there changes nothing, and one that a closed descriptor had is gone.
                self._kernel.control([_select.kevent(fd, number, _select.KQ_EV_ADD)], 0, 0)
            elif before & event:
                with suppress(OSError):
                    self._kernel.control([_select.kevent(fd, number, _select.KQ_EV_DELETE)], 0, 0)

    def _wait(self, seconds: float) -> Iterable[tuple[int, int]]:
        # A descriptor is found once for each of its two filters.
        found = self._kernel.control(None, 2 * len(self._entries), seconds)
        ready: dict[int, int] = {}
        for event in found:
            reading = event.filter == _select.KQ_FILTER_READ
            events = READ if reading else WRITE
            if event.flags & _select.KQ_EV_ERROR:
                events |= ERROR
            elif event.flags & _select.KQ_EV_EOF:
                # Its end while writing is that of both directions; the error of the socket comes with it.
                events |= (0 if reading else HANGUP) | (ERROR if event.fflags else 0)
            ready[event.ident] = ready.get(event.ident, 0) | events
        return ready.items()


_BY_NAME: dict[str, type[_PollerBase]] = {
    "epoll": EPollPoller,
    "kqueue": KQueuePoller,
    "poll": PollPoller,
    "select": SelectPoller,
}


def poller_class(name: str | None = None) -> type[_PollerBase]:
    """Return the class of pollers to use on this system.

    :param name: ``epoll``, ``kqueue``, ``poll`` or ``select``; None for the best that there is
    :returns: the class; :class:`SelectPoller` when the system does not have what was asked for
    """
    for known, poller in _BY_NAME.items():
        if name in (None, known) and hasattr(_select, known):
            return poller
    return SelectPoller
