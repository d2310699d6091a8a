"""Deferreds that wait for the broker, and the queue of a consumer: what Twisted's connection and channel share."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure


def fire(deferred: defer.Deferred[Any], result: object) -> bool:
    """Give a Deferred its result, or a Failure, unless it has one, as when it was cancelled.

    :returns: whether it was given
    """
    if deferred.called:
        return False
    deferred.callback(result)
    return True


def fail(deferred: defer.Deferred[Any], reason: BaseException) -> None:
    """Fail a Deferred with an exception, unless it has a result."""
    fire(deferred, Failure(reason))  # type: ignore[no-untyped-call]


class Calls:
    """The Deferreds of what was asked for and is not answered, in the order of the calls."""

    def __init__(self) -> None:
        self._waiting: dict[defer.Deferred[Any], None] = {}

    def new(self) -> defer.Deferred[Any]:
        """Return one more."""
        return self.add(defer.Deferred())

    def add(self, deferred: defer.Deferred[Any]) -> defer.Deferred[Any]:
        """Take one that somebody else made, and return it."""
        self._waiting[deferred] = None
        deferred.addBoth(self.forget, deferred)
        return deferred

    def forget(self, result: Any, deferred: defer.Deferred[Any]) -> Any:
        """Take one off the list, and return the result."""
        self._waiting.pop(deferred, None)
        return result

    def fail(self, reason: BaseException) -> None:
        """Fail all of them: no answer will come."""
        waiting, self._waiting = self._waiting, {}
        for deferred in waiting:
            fail(deferred, reason)


class ClosableDeferredQueue(defer.DeferredQueue[Any]):
    """The messages of a consumer: :meth:`get` returns a Deferred of the next one.

    When the consumer ends, whether it was cancelled or the channel or the connection is gone, the queue is closed: what
    nobody has taken yet is dropped, and those who wait, or come later, get the reason.

    :param size: how many messages may be kept; None is no bound
    :param backlog: how many calls of :meth:`get` may wait; None is no bound
    """

    def __init__(self, size: int | None = None, backlog: int | None = None) -> None:
        #: Why the queue is closed; None while it is not.
        self.closed: BaseException | None = None
        super().__init__(size, backlog)

    def put(self, obj: Any) -> defer.Deferred[Any] | None:  # type: ignore[override]  # as in pika 1.x
        """Add a message.

        :param obj: the message
        :returns: None; of a closed queue a Deferred that has failed with the reason
        :raises twisted.internet.defer.QueueOverflow: `size` messages are kept already
        """
        if self.closed is not None:
            return defer.fail(self.closed)
        super().put(obj)
        return None

    def get(self) -> defer.Deferred[Any]:
        """Take the next message.

        :returns: a Deferred of it, which fails with the reason if the queue is closed, or is closed first
        :raises twisted.internet.defer.QueueUnderflow: `backlog` calls wait already
        """
        if self.closed is not None:
            return defer.fail(self.closed)
        return super().get()

    def close(self, reason: BaseException) -> None:
        """Close the queue. Those who wait fail with the reason; a queue that is closed gets the new one.

        :param reason: why, an exception
        """
        self.closed = reason
        self.pending.clear()
        while self.waiting:
            fail(self.waiting.pop(0), reason)
