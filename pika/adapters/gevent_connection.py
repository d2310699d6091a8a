"""Connections in gevent's hub, with and without monkey patching."""

from __future__ import annotations

import functools
import socket
import sys
from typing import Any, Callable

from pika._threads import Inside, one_thread
from pika.adapters.loop_connection import LoopConnection
from pika.adapters.utils.io_services import OnDone, Task
from pika.adapters.utils.nbio_interface import AbstractIOReference, AbstractIOServices
from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop, SelectorIOServicesAdapter

try:
    import gevent
    import gevent.event
    import gevent.exceptions
    import gevent.hub
    import gevent.monkey
    import gevent.socket
except ImportError as error:
    raise ModuleNotFoundError("GeventConnection needs gevent: pip install pika[gevent]", name="gevent") from error

__all__ = ["GeventConnection"]

_REMEDY = (
    "A hub belongs to its thread, also while it does not run. Nothing was done. Hand the work to that thread with "
    "connection.add_callback_threadsafe(function)"
)


class _GeventLoop(AbstractSelectorIOLoop):
    """A part of gevent's hub, seen as a loop: what is asked of it the hub does, whenever greenlets let it run.

    Handlers, callbacks and timers are called in the hub, and so they must not wait: they spawn greenlets for what does.
    What they raise goes to the hub's ``handle_error``, which prints it, or raises it in the main greenlet if it is to
    end the program. The loop is used in the thread of its hub, but for :meth:`add_callback` and :meth:`stop`.

    :param hub: the hub; that of this thread if None
    """

    READ = 1
    WRITE = 2
    #: A descriptor that has failed can be read and written, and so the failure is found.
    ERROR = 0

    def __init__(self, hub: Any = None) -> None:
        self._hub: Any = gevent.get_hub() if hub is None else hub
        # Descriptors, each with its watcher and what to call.
        self._watchers: dict[int, tuple[Any, Callable[[int, int], Any]]] = {}
        self._timers: set[Any] = set()
        self._stopped: Any = gevent.event.Event()
        self._running = False
        self._closed = False
        # Greenlets take turns where they wait, and nothing in here waits: only other threads are to be kept out.
        self._inside = Inside(remedy=_REMEDY)
        self._inside.acquire, self._inside.release = self._is_own_thread, lambda: None
        # The patched one tells greenlets apart.
        self._get_ident: Callable[[], int] = gevent.monkey.get_original("_thread", "get_ident")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._running else "not running"
        return f"<{type(self).__name__}, {state}: {len(self._watchers)} descriptors, {len(self._timers)} timers>"

    def _is_own_thread(self, blocking: bool) -> bool:
        return bool(self._get_ident() == self._hub.thread_ident)

    @property
    def thread_guard(self) -> Inside:
        """What keeps other threads out: what stands on the loop is guarded alike."""
        return self._inside

    @one_thread
    def start(self) -> None:
        """Wait in this greenlet, until :meth:`stop`. When that was called before, return at once.

        The loop also moves without, whenever the hub runs.

        :raises gevent.exceptions.ConcurrentObjectUseError: another greenlet is in here
        :raises ValueError: the loop is closed
        :raises pika.exceptions.WrongThreadError: this is not the hub's thread
        """
        self._require_open("start")
        if self._running:
            raise gevent.exceptions.ConcurrentObjectUseError("start() is under way already, in another greenlet")
        # With it, gevent knows that something may come yet, from another thread: it does not give up waiting.
        waker = self._hub.loop.async_()
        waker.start(lambda: None)
        self._running = True
        try:
            self._stopped.wait()
        finally:
            self._running = False
            self._stopped.clear()
            waker.close()

    def stop(self) -> None:
        """End :meth:`start`. Any greenlet, any thread and any signal handler may call it."""
        self.add_callback(self._stopped.set)

    @one_thread
    def close(self) -> None:
        """Forget handlers, callbacks and timers. The hub stays, with all else that is in it. Closing it again does
        nothing.

        :raises AssertionError: a greenlet is in :meth:`start`; stop it first
        :raises pika.exceptions.WrongThreadError: this is not the hub's thread
        """
        if self._running:
            raise AssertionError("Cannot call close() before start() unwinds.")
        self._closed = True
        for fd in tuple(self._watchers):
            self.remove_handler(fd)
        for timer in tuple(self._timers):
            self.remove_timeout(timer)

    @one_thread
    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Have a function called once, after some time.

        :param delay: seconds; what is negative counts as 0
        :param callback: called without arguments
        :returns: the handle for :meth:`remove_timeout`
        :raises TypeError: the callback cannot be called
        :raises ValueError: the loop is closed
        :raises pika.exceptions.WrongThreadError: this is not the hub's thread
        """
        _check(callback)
        self._require_open("call_later")
        timer = self._hub.loop.timer(max(delay, 0))
        self._timers.add(timer)
        # The hub's idea of the time may be old.
        timer.start(self._fire, timer, callback, update=True)
        return timer

    @one_thread
    def remove_timeout(self, timeout_handle: Any) -> None:
        """See to it that a timer does not run. One that has run, or was removed before, is left alone.

        :param timeout_handle: what :meth:`call_later` returned
        :raises AttributeError: it is something else
        :raises pika.exceptions.WrongThreadError: this is not the hub's thread
        """
        self._timers.discard(timeout_handle)
        timeout_handle.close()

    def _fire(self, timer: Any, callback: Callable[[], Any]) -> None:
        self.remove_timeout(timer)
        self._call(callback)

    def add_callback(self, callback: Callable[[], Any]) -> None:
        """Have a function called by the hub, soon. Any thread may call this at any time.

        :param callback: called without arguments, in the order of these calls
        :raises TypeError: it cannot be called
        """
        _check(callback)
        if not self._closed:
            self._hub.loop.run_callback_threadsafe(self._call, callback)

    @one_thread
    def add_handler(self, fd: int, handler: Callable[[int, int], Any], events: int) -> None:
        """Have ``handler(fd, events)`` called whenever a descriptor is ready, until it is removed.

        :param fd: the descriptor; a handler that it had is replaced
        :param handler: what to call, with the events that it is ready for
        :param events: READ and WRITE, or'd
        :raises TypeError: the handler cannot be called
        :raises ValueError: the loop is closed
        :raises pika.exceptions.WrongThreadError: this is not the hub's thread
        """
        _check(handler)
        self._require_open("add_handler")
        if fd in self._watchers:
            self.remove_handler(fd)
        watcher = self._hub.loop.io(fd, events)
        self._watchers[fd] = watcher, handler
        watcher.start(self._on_ready, fd, handler, pass_events=True)

    @one_thread
    def update_handler(self, fd: int, events: int) -> None:
        """Change what is waited for.

        :param fd: a descriptor that has a handler
        :param events: as for :meth:`add_handler`, instead of those before
        :raises KeyError: the descriptor has no handler
        :raises pika.exceptions.WrongThreadError: this is not the hub's thread
        """
        watcher, handler = self._watchers[fd]
        watcher.stop()
        watcher.events = events
        watcher.start(self._on_ready, fd, handler, pass_events=True)

    @one_thread
    def remove_handler(self, fd: int) -> None:
        """Wait for a descriptor no longer.

        :param fd: a descriptor that has a handler
        :raises KeyError: it has none
        :raises pika.exceptions.WrongThreadError: this is not the hub's thread
        """
        watcher, _ = self._watchers.pop(fd)
        watcher.close()

    def _on_ready(self, events: int, fd: int, handler: Callable[[int, int], Any]) -> None:
        self._call(handler, fd, events)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self._closed:
            return
        try:
            function(*arguments)
        except BaseException:
            # What is raised in a watcher would stop it.
            self._hub.handle_error(self, *sys.exc_info())

    def _require_open(self, call: str) -> None:
        if self._closed:
            raise ValueError(f"{call}: the loop is closed")


def _check(callback: Callable[..., Any]) -> None:
    if not callable(callback):
        raise TypeError(f"callback must be a callable, but got {callback!r}")


class _Lookup(Task):
    """A lookup of a host name: by the hub's resolver, in a greenlet.

    :param loop: where to call back
    :param on_done: called with the addresses, or with the exception that tells why there are none
    :param query: the arguments of :func:`socket.getaddrinfo`
    """

    def __init__(self, loop: Any, on_done: OnDone, *query: Any) -> None:
        super().__init__(on_done)
        self._loop = loop
        self._greenlet: Any = None
        host, port, family, kind, proto, flags = query
        try:
            # An address needs no lookup: it does not wait for others that do.
            look_up = gevent.monkey.get_original("socket", "getaddrinfo")
            self._report(look_up(host, port, family, kind, proto, flags | socket.AI_NUMERICHOST))
        except (OSError, UnicodeError):
            self._greenlet = gevent.spawn(self._run, query)

    def _run(self, query: tuple[Any, ...]) -> None:
        try:
            result: Any = gevent.socket.getaddrinfo(*query)
        except Exception as error:
            result = error
        self._report(result)

    def _report(self, result: Any) -> None:
        self._loop.add_callback(functools.partial(self.finish, result))

    def _give_back(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)


class _GeventIOServices(SelectorIOServicesAdapter):
    """What a connection asks of its event loop, in gevent's hub.

    :param native_loop: the loop
    """

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
        """Look a host name up, as gevent does it."""
        return _Lookup(self._loop, on_done, host, port, family, socktype, proto, flags)


class GeventConnection(LoopConnection):
    """A callback connection in gevent's hub; it moves whenever the hub runs, that is, while greenlets wait.

    Any greenlet of the hub's thread may use it, and none ever waits in it but in ``connection.ioloop.start()``, which
    returns after ``connection.ioloop.stop()``. Callbacks are called in the hub, and must not wait: they spawn greenlets
    for what does. What they raise goes to the hub's ``handle_error``, which prints it.

    See :class:`~pika.adapters.base_connection.BaseConnection` for back-pressure.

    :param parameters: where and how to connect; the defaults of :class:`~pika.ConnectionParameters` if None
    :param on_open_callback: called as ``callback(connection)`` when the connection is open
    :param on_open_error_callback: called as ``callback(connection, exception)`` when it could not be opened
    :param on_close_callback: called as ``callback(connection, exception)`` when it was open and is closed
    :param custom_ioloop: the ``ioloop`` of another GeventConnection; or a hub; or the services of any loop
        (:class:`~pika.adapters.utils.nbio_interface.AbstractIOServices`). If None: the hub of this thread
    :param internal_connection_workflow: False when somebody else connects the stream
    :param background_heartbeats: whether heartbeats are sent while a greenlet keeps the hub from running, by a daemon
        thread that all connections of the process share
    :raises ValueError: ``parameters`` are something else
    """

    @classmethod
    def _services_on(cls, native_loop: Any) -> AbstractIOServices:
        if native_loop is None or isinstance(native_loop, gevent.hub.Hub):
            native_loop = _GeventLoop(native_loop)
        return _GeventIOServices(native_loop)
