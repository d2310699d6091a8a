"""One thread at a time: who calls a connection while another thread is inside is refused, before anything happens.

A connection and its channels share one :class:`Inside`, whose lock is never waited for. Signal handlers and callbacks
run in the thread that is inside, and pass.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, NoReturn, Protocol, TypeVar, cast

from pika.exceptions import WrongThreadError

M = TypeVar("M", bound=Callable[..., Any])


class Inside:
    """Which thread is inside a connection, and whether the library is at work there.

    :ivar acquire: called with False, lets the thread in and says so, as often as it asks; False to any other thread
    :ivar release: lets the thread out, as often as it was let in
    :ivar busy: over 0 while bytes or events are being dealt with. Whoever finds that is a signal handler that
        interrupts it
    :ivar give_up: ends the connection, with the exception that cut its work short

    :param give_up: see above
    """

    __slots__ = ("acquire", "busy", "give_up", "release")

    def __init__(self, give_up: Callable[[BaseException], object]) -> None:
        self.busy = 0
        self.give_up = give_up
        self._begin()

    def _begin(self) -> None:
        # Looked up now, not when this module is loaded: gevent may have put its own in place.
        lock = threading.RLock()
        self.acquire: Callable[[bool], bool] = lock.acquire
        self.release: Callable[[], None] = lock.release

    def after_fork(self) -> None:
        """In a child: forget the thread that was inside, unless it is the one that forked; the others are not here."""
        if self.acquire(False):
            self.release()
        else:
            self._begin()

    def require_order(self, busy: int, error: BaseException) -> None:
        """After an exception: end the connection if that left work half done, as only a signal handler's can.

        :param busy: what :attr:`busy` was when the call began
        :param error: the exception
        """
        if self.busy != busy:
            self.busy = busy
            self.give_up(error)


class Guarded(Protocol):
    """A part of a connection that only one thread may be in."""

    #: That of the connection, shared by all of its parts.
    _inside: Inside


def refuse(part: object, call: str) -> NoReturn:
    """Raise what a thread gets that comes while another is inside.

    :param part: the connection or channel that it called
    :param call: what it called
    :raises pika.exceptions.WrongThreadError: always
    """
    me = threading.current_thread().name
    raise WrongThreadError(
        f"{call}() was called in thread {me!r} while another thread is inside {part!r}, in one of its calls or of its "
        f"callbacks. Nothing was sent. Hand the work to that thread with connection.add_callback_threadsafe(function), "
        f"or give each thread a connection of its own"
    )


def one_thread(method: M) -> M:
    """Decorate a method of a part of a connection: it is refused to a thread that comes while another is inside."""

    @functools.wraps(method)
    def guarded(self: Guarded, *args: Any, **kwargs: Any) -> Any:
        inside = self._inside
        if not inside.acquire(False):
            refuse(self, method.__name__)
        busy = inside.busy
        try:
            return method(self, *args, **kwargs)
        except BaseException as error:
            inside.require_order(busy, error)
            raise
        finally:
            inside.release()

    return cast(M, guarded)
