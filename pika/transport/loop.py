"""An event loop: descriptors, timers, and callbacks from any thread. A poller does the waiting."""

from __future__ import annotations

import time
from collections import deque
from typing import Callable

from pika._threads import Inside, one_thread
from pika.transport import forks
from pika.transport.pollers import ERROR, READ, WRITE, Handler, PollerBase
from pika.transport.timers import Timer, Timers

#: Makes a poller of two functions: how many seconds a wait may be, and what to do after it.
MakePoller = Callable[[Callable[[], "float | None"], Callable[[], object]], PollerBase]

_REMEDY = "Nothing was done. Hand the work to that thread with ioloop.add_callback_threadsafe(function)"


class Loop:
    """Runs handlers of descriptors, callbacks and timers, in the thread that calls :meth:`start`.

    One iteration waits, calls the handlers of what is ready, then the callbacks that were added before, in their
    order, then the timers that are due, in the order of the times that they were made for. What is added meanwhile
    has its turn in the next iteration, so that nothing that renews itself keeps the rest from running.

    A loop is run and changed by one thread at a time; others may call :meth:`add_callback`,
    :meth:`add_callback_threadsafe` and :meth:`stop`, and so may signal handlers. In the child of a fork it is left
    without handlers, because the descriptors are shared with the parent; timers and callbacks are the child's own.

    :param make_poller: the class of poller to use
    :param clock: tells the time, in seconds. The one it has by itself never jumps
    """

    READ = READ
    WRITE = WRITE
    ERROR = ERROR

    def __init__(self, make_poller: MakePoller, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._timers = Timers()
        self._callbacks: deque[Callable[[], object]] = deque()
        self._inside = Inside(remedy=_REMEDY)
        self._closed = False
        self._poller = make_poller(self._wait_seconds, self._run_callbacks)
        forks.watch(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._poller.running else "not running"
        return (
            f"<{type(self).__name__} with {type(self._poller).__name__}, {state}: {len(self._poller)} descriptors, "
            f"{len(self._timers)} timers, {len(self._callbacks)} callbacks>"
        )

    @property
    def thread_guard(self) -> Inside:
        """The lock that a thread holds while it runs or changes the loop: what stands on it is guarded alike."""
        return self._inside

    @one_thread
    def start(self) -> None:
        """Run, until :meth:`stop`. When that was called before, return at once.

        :raises RuntimeError: it is running already, or closed
        :raises pika.exceptions.WrongThreadError: another thread runs it
        :raises BaseException: what a handler, callback, timer or signal handler raises; the next start goes on with
            what is left
        """
        self._poller.start()

    def stop(self) -> None:
        """End :meth:`start`, when the iteration is over. Any thread may call it, and any signal handler. An exception
        that leaves it before that has ended it as well, and the next start runs on."""
        self._poller.stop()

    @one_thread
    def close(self) -> None:
        """Forget handlers, timers and callbacks, and give the loop's descriptors back. Closing it again does nothing.

        :raises AssertionError: the loop is running; stop it first
        :raises pika.exceptions.WrongThreadError: another thread runs it
        """
        if self._poller.running:
            raise AssertionError("Cannot call close() before start() unwinds.")
        self._closed = True
        self._poller.close()
        self._timers = Timers()
        self._callbacks.clear()

    @one_thread
    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Have a function called once, after some time.

        :param delay: seconds; 0 is the next iteration
        :param callback: called without arguments; its result is ignored
        :returns: the handle for :meth:`remove_timeout`
        :raises TypeError: the callback cannot be called
        :raises ValueError: the delay is negative, or the loop is closed
        :raises pika.exceptions.WrongThreadError: another thread runs the loop; :meth:`add_callback_threadsafe` hands
            the work over
        """
        _check(callback)
        if not delay >= 0:
            raise ValueError(f"call_later: delay must be non-negative, but got {delay!r}")
        if self._closed:
            raise ValueError(f"call_later: {self!r} is closed")
        timer = self._timers.call_at(self._clock() + delay, callback)
        # Who waits right now was interrupted by the signal handler that calls this.
        self._poller.rouse()
        return timer

    @one_thread
    def remove_timeout(self, timeout_handle: Timer) -> None:
        """See to it that a timer does not run. One that has run, or was removed before, is left alone.

        :param timeout_handle: what :meth:`call_later` returned
        :raises AttributeError: it is something else
        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        """
        # What close() has left out is not counted any more.
        if not self._closed:
            self._timers.cancel(timeout_handle)

    def add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """Have a function called by the loop's thread, in the next iteration. Any thread may call this at any time.

        :param callback: called without arguments; its result is ignored
        :raises TypeError: it cannot be called
        """
        _check(callback)
        # Nobody runs it any more, and what it holds on to is to be freed.
        if not self._closed:
            self._callbacks.append(callback)
            self._poller.rouse()

    def add_callback(self, callback: Callable[[], object]) -> None:
        """As :meth:`add_callback_threadsafe`."""
        self.add_callback_threadsafe(callback)

    @one_thread
    def add_handler(self, fd: int, handler: Handler, events: int) -> None:
        """Have ``handler(fd, events)`` called whenever a descriptor is ready, until it is removed.

        :param fd: the descriptor; a handler that it had is replaced
        :param handler: what to call. ``events`` are those that were asked for, and ``HANGUP`` when it is the case
        :param events: READ, WRITE and ERROR, or'd; 0 waits for nothing
        :raises TypeError: the handler cannot be called, or the descriptor is no number
        :raises OSError: there is no such descriptor, or it is of a kind that cannot be waited for
        :raises ValueError: the system's call cannot take so high a descriptor
        :raises RuntimeError: the loop is closed
        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        """
        self._poller.add_handler(fd, handler, events)

    @one_thread
    def update_handler(self, fd: int, events: int) -> None:
        """Change what is waited for.

        :param fd: a descriptor that has a handler
        :param events: as for :meth:`add_handler`, instead of those before
        :raises FileNotFoundError: the descriptor has no handler
        :raises OSError: there is no such descriptor any more
        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        """
        self._poller.update_handler(fd, events)

    @one_thread
    def remove_handler(self, fd: int) -> None:
        """Wait for a descriptor no longer. Its handler is not called again, not even for what was found already.

        :param fd: the descriptor; it may be closed, though it should be removed first
        :raises KeyError: it has no handler
        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        """
        self._poller.remove_handler(fd)

    @one_thread
    def poll(self) -> None:
        """Wait once, for 5 seconds at most, and call the handlers of what is ready: for who runs a loop of his own.

        :raises RuntimeError: the loop is closed
        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        """
        self._poller.poll()

    @one_thread
    def process_timeouts(self) -> None:
        """Call the callbacks that wait, then the timers that are due: after :meth:`poll`.

        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        :raises Exception: what a callback raises; those behind it stay
        """
        self._run_callbacks()

    @one_thread
    def activate_poller(self) -> None:
        """Get the system's means of waiting, if they are not there. Waiting does it by itself.

        :raises RuntimeError: the loop is closed
        :raises OSError: the process has too many descriptors
        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        """
        self._poller.activate_poller()

    @one_thread
    def deactivate_poller(self) -> None:
        """Give the system's means of waiting back. Handlers stay, and are served again by the next wait.

        :raises pika.exceptions.WrongThreadError: another thread runs the loop
        """
        self._poller.deactivate_poller()

    def _wait_seconds(self) -> float | None:
        if self._callbacks:
            return 0.0
        deadline = self._timers.next_deadline()
        return None if deadline is None else max(deadline - self._clock(), 0.0)

    def _run_callbacks(self) -> None:
        callbacks = self._callbacks
        for _ in range(len(callbacks)):
            # One of them may have run the others, with process_timeouts().
            if not callbacks:
                break
            callbacks.popleft()()
        if self._timers.next_deadline() is not None:
            self._timers.run_due(self._clock())

    def _on_fork(self, parent: int) -> None:
        self._inside.after_fork()
        self._poller.start_afresh()
        if not self._closed:
            forks.watch(self)


def _check(callback: Callable[[], object]) -> None:
    if not callable(callback):
        raise TypeError(f"callback must be a callable, but got {callback!r}")
