"""One thread at a time: who calls in while another thread is inside is refused, before anything happens.

A connection and its channels share one :class:`Inside`, and so has an event loop its own; its lock is never waited for.
Callbacks and signal handlers run in the thread that is inside, and pass.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, NoReturn, Protocol, TypeVar, cast

from pika.exceptions import WrongThreadError

M = TypeVar("M", bound=Callable[..., Any])

_REMEDY = (
    "Nothing was sent. Hand the work to that thread with connection.add_callback_threadsafe(function), "
    "give each thread a connection of its own, or use pika.connect(), whose connections any thread may use"
)


def ignore(error: BaseException) -> None:
    """What has no work that could be cut short has nothing to give up."""


class Inside:
    """Which thread is inside a connection or a loop, and whether the library is at work there.

    :ivar acquire: called with False, lets the thread in and says so, as often as it asks; False to any other thread,
        which is to be refused with :meth:`refuse`. Every call does this, so it is the lock's own method
    :ivar release: lets the thread out, as often as it was let in
    :ivar busy: over 0 while bytes or events are being dealt with. A connection that calls back in the middle of that,
        as those of the callback API do, shows it to its callbacks; one that is pumped calls back when it is over, so
        that whoever finds it there is a signal handler that interrupts the work
    :ivar give_up: ends the connection, with the exception that cut its work short

    :param give_up: see above; nothing is done by itself
    :param remedy: ends the text of a refusal: what has not happened, and what to do instead
    """

    __slots__ = ("_remedy", "acquire", "busy", "give_up", "release")

    def __init__(self, give_up: Callable[[BaseException], object] = ignore, remedy: str = _REMEDY) -> None:
        self.busy = 0
        self.give_up = give_up
        self._remedy = remedy
        self._begin()

    def _begin(self) -> None:
        # Looked up now, not when this module is loaded: gevent may have put its own in place.
        lock = threading.RLock()
        self.acquire: Callable[[bool], bool] = lock.acquire
        self.release: Callable[[], None] = lock.release

    def refuse(self, part: object, call: str) -> NoReturn:
        """Raise what a thread gets that :attr:`acquire` does not let in.

        :param part: the connection, channel or loop that it called
        :param call: what it called
        :raises pika.exceptions.WrongThreadError: always
        """
        raise WrongThreadError(
            f"{call}() was called in thread {threading.current_thread().name!r} while another thread is inside "
            f"{part!r}, in one of its calls or of its callbacks. {self._remedy}"
        )

    def after_fork(self) -> None:
        """In a child: forget the thread that was inside, unless it is the one that forked; the others are not here."""
        if self.acquire(False):
            self.release()
        else:
            self.busy = 0
            self._begin()

    def require_order(self, busy: int, error: BaseException) -> None:
        """After an exception: end the connection if that left work half done, as only a signal handler's can.

        :param busy: what :attr:`busy` was when the call began
        :param error: the exception
        """
        if self.busy != busy:
            self.busy = busy
            self.give_up(error)

    def require_order_behind(self, busy: int, error: BaseException) -> None:
        """As :meth:`require_order`, behind a call that may have been refused to this thread, or have let it out again.

        :param busy: what :attr:`busy` was before, to whatever thread
        :param error: the exception
        """
        if self.acquire(False):
            try:
                if self.busy > busy:
                    self.require_order(busy, error)
            finally:
                self.release()


class Guarded(Protocol):
    """What only one thread may be in: a part of a connection, or a loop."""

    #: A connection's is shared by all of its parts.
    _inside: Inside


def one_thread(method: M) -> M:
    """Decorate a method of something guarded: it is refused to a thread that comes while another is inside."""
    return one_thread_as(method.__name__)(method)


def one_thread_as(name: str) -> Callable[[M], M]:
    """As :func:`one_thread`, for a method that is a part of another one.

    :param name: how that is called, which is what a thread is told that is refused
    """
    return functools.partial(_guard, name)


def _guard(name: str, method: M) -> M:
    @functools.wraps(method)
    def guarded(self: Guarded, *args: Any, **kwargs: Any) -> Any:
        inside = self._inside
        if not inside.acquire(False):
            inside.refuse(self, name)
        busy = inside.busy
        try:
            return method(self, *args, **kwargs)
        except BaseException as error:
            inside.require_order(busy, error)
            raise
        finally:
            inside.release()

    return cast(M, guarded)
