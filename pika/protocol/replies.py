"""Replies: the handle that an operation returns, and the queue of those that the broker still owes."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Generic, TypeVar

from pika import spec
from pika.amqp_object import Method
from pika.protocol import states

M = TypeVar("M", bound=Method)

_BY_CONSUMER_TAG = states.MATCHED_BY_CONSUMER_TAG


class Reply(Generic[M]):
    """The answer to an operation: pending, then done with the broker's method or failed with its reason.

    A reply always ends.  It ends while the event that ends it is taken from the connection; the client
    decides how to wait for it.

    :ivar request: the method that was asked
    :ivar error: the reason of the failure, or None
    :ivar content: properties and body that came with the answer, as they do with get-ok; otherwise None
    :ivar on_done: called with the reply when it ends.  It is the client's way to wake whoever waits and must
        not raise; a user's code never runs in it
    """

    __slots__ = ("_answer", "accepts", "content", "done", "error", "on_done", "request")

    def __init__(self, request: Method, accepts: tuple[type[Method], ...]) -> None:
        self.request = request
        self.accepts = accepts
        self.done = False
        self.error: BaseException | None = None
        self.content: tuple[spec.BasicProperties, bytes] | None = None
        self.on_done: Callable[[Reply[M]], None] | None = None
        self._answer: Any = None

    def __repr__(self) -> str:
        outcome = "pending" if not self.done else f"failed: {self.error!r}" if self.error else repr(self._answer)
        return f"<Reply to {self.request.NAME}: {outcome}>"

    def result(self) -> M:
        """Return the method that the broker answered with.

        :raises BaseException: the reason of the failure, when the reply failed
        :raises RuntimeError: when the reply is still pending
        """
        if self.error is not None:
            raise self.error
        if not self.done:
            raise RuntimeError(f"{self.request.NAME} has not been answered yet")
        answer: M = self._answer
        return answer

    def succeed(self, answer: Method) -> None:
        """End the reply with the broker's answer."""
        self._answer = answer
        self.done = True
        if self.on_done is not None:
            self._tell()

    def fail(self, error: BaseException) -> None:
        """End the reply with the reason why no answer will come."""
        self.error = error
        self.done = True
        if self.on_done is not None:
            self._tell()

    def _tell(self) -> None:
        on_done, self.on_done = self.on_done, None
        if on_done is not None:
            on_done(self)


class Expectations(deque[Reply[Any]]):
    """The replies that a channel is owed, in the order of asking."""

    __slots__ = ()

    def take(self, answer: Method) -> Reply[Any] | None:
        """Remove and return the oldest expectation that accepts an answer, or return None."""
        kind = type(answer)
        for index, reply in enumerate(self):
            if kind in reply.accepts and (kind not in _BY_CONSUMER_TAG or _names_same_consumer(reply.request, answer)):
                del self[index]
                return reply
        return None

    def take_all(self) -> list[Reply[Any]]:
        """Remove and return everything that is expected."""
        owed = list(self)
        self.clear()
        return owed


def _names_same_consumer(request: Method, answer: Method) -> bool:
    # A consume that left the tag to the broker learns it from the answer.
    asked: str = getattr(request, "consumer_tag", "")
    return not asked or asked == getattr(answer, "consumer_tag", None)
