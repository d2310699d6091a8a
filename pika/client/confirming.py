"""Publishing with confirms: what an outcome is to a user, and how many may be under way. Nothing here waits."""

from __future__ import annotations

import abc
import logging
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Optional, TypeVar, Union

from pika import exceptions, protocol, spec
from pika._arguments import as_body, require_text
from pika.protocol import Outcome

LOGGER = logging.getLogger(__name__)

#: So many failures that nobody has looked at are kept; of more only the number is known.
FAILURES_KEPT = 1000

Body = Union[bytes, bytearray, memoryview, str]
Content = tuple[str, str, Optional[spec.BasicProperties], bytes]


def body_of(body: object, exchange: object, routing_key: object) -> bytes:
    """Return a body that is no bytes as bytes, and look whether the arguments came in another order.

    :raises TypeError: when one of them is of a type that it cannot be
    """
    require_text("exchange", exchange)
    require_text("routing_key", routing_key)
    return as_body(body)


class PublishedMessage(NamedTuple):
    """A message that did not arrive, as exceptions carry it in their ``messages``.

    :ivar method: of one that came back, the basic.return; of one that was refused, the basic.publish
    :ivar properties: its properties
    :ivar body: its body
    """

    method: spec.Basic.Return | spec.Basic.Publish
    properties: spec.BasicProperties
    body: bytes


class BaseConfirmation(protocol.Confirmation):
    """What became of a published message, once the broker has said it. Who makes it sets what stands here.

    :ivar _content: exchange, routing key, properties and body, until it is known that the broker has it
    :ivar _watchers: what wants to know of its end; None as long as nobody has looked at it
    """

    __slots__ = ("_content", "_watchers")

    # Set from outside: a constructor that calls another one takes a tenth of the time that a message takes.
    _content: Content | None
    _watchers: list[Any] | None

    def done(self) -> bool:
        """Say whether its outcome is known."""
        return self.outcome is not None

    def require_success(self, where: str) -> None:
        """Raise unless the broker took the message; its outcome is known.

        :param where: the broker and the channel, for the text
        :raises pika.exceptions.NackError: when the broker refused it
        :raises pika.exceptions.UnroutableError: when it came back
        :raises pika.exceptions.PublishOutcomeUnknown: when the channel or the connection ended before
        """
        if self.outcome is not Outcome.ACKED:
            error = gather([self], where)
            assert error is not None
            raise error


C = TypeVar("C", bound=BaseConfirmation)


def _message(confirmation: BaseConfirmation) -> PublishedMessage:
    if confirmation.returned is not None:
        return PublishedMessage(*confirmation.returned)
    exchange, routing_key, properties, body = confirmation._content or ("", "", None, b"")
    return PublishedMessage(spec.Basic.Publish(0, exchange, routing_key), properties or spec.BasicProperties(), body)


def _place(confirmation: BaseConfirmation) -> str:
    exchange, routing_key, _, _ = confirmation._content or ("", "", None, b"")
    return f"exchange {exchange!r}, routing key {routing_key!r}"


def _words(error: BaseException | None) -> str:
    """Return an exception's text without where it happened, for the text of another that happened there."""
    return str(error).removesuffix(f" [{getattr(error, 'context', None)}]")


def gather(confirmations: Sequence[BaseConfirmation], where: str) -> exceptions.AMQPError | None:
    """Make one exception of outcomes: that of the worst kind, whose text or cause has those of the other kinds.

    :param confirmations: what has ended
    :param where: the broker and the channel, for the text
    :returns: None when the broker has taken all of them
    """
    sorts: dict[Outcome | None, list[BaseConfirmation]] = {}
    for one in confirmations:
        sorts.setdefault(one.outcome, []).append(one)
    errors: list[exceptions.AMQPError] = []
    for outcome, kind in _FAILURES.items():
        if outcome in sorts:
            error = kind([_message(one) for one in sorts[outcome]])
            error.context = f"{where}; {error.context or _place(sorts[outcome][0])}"
            errors.append(error)
    if not errors:
        return None
    if Outcome.UNKNOWN in sorts:
        reason = errors[0].__cause__ = sorts[Outcome.UNKNOWN][0].error
        errors[0].context = "; ".join([str(errors[0].context), *map(_words, [reason, *errors[1:]])])
    elif len(errors) > 1:
        errors[0].__cause__ = errors[1]
    return errors[0]


# The worst first.
_FAILURES: dict[Outcome, type[exceptions.PublishOutcomeUnknown | exceptions.NackError | exceptions.UnroutableError]] = {
    Outcome.UNKNOWN: exceptions.PublishOutcomeUnknown,
    Outcome.NACKED: exceptions.NackError,
    Outcome.RETURNED: exceptions.UnroutableError,
}


class Window(abc.ABC, Generic[C]):
    """How many messages are under way, and which of them failed without anybody looking.

    :param limit: how many may be under way
    :param where: the broker and the channel, for errors
    """

    def __init__(self, limit: int, where: str) -> None:
        if limit < 1:
            raise ValueError(f"max_in_flight must be at least 1, but got {limit!r}")
        self.limit = limit
        self._where = where
        # Those that are: a set changes in one step, where a sum would forget what a signal handler adds meanwhile.
        self._flight: set[C] = set()
        # Who waits for room is woken for several messages at once: a wake-up costs more than a message.
        self._roomy = limit - max(limit // 4, 1)
        # Somebody is to be woken as soon as no more than these are under way.
        self._threshold = -1
        self._failures: list[C] = []
        self._forgotten = 0

    @property
    def in_flight(self) -> int:
        """How many are under way."""
        return len(self._flight)

    @abc.abstractmethod
    def _wake(self) -> None:
        """Wake whoever waits for room, or for the end of all."""

    @abc.abstractmethod
    def _report(self, confirmation: C) -> None:
        """Wake whoever waits for a confirmation, and see that its callbacks are called."""

    def _on_done(self, confirmation: C) -> None:
        """What a confirmation calls when it ends."""
        if confirmation.outcome is Outcome.ACKED:
            confirmation._content = None
        elif confirmation._watchers is None:
            self._note_failure(confirmation)
        if confirmation._watchers is not None:
            self._report(confirmation)
        self._land(confirmation)

    def _land(self, confirmation: C) -> None:
        """Take note that a message is not under way any more, or never was, and wake whoever waits for that."""
        self._flight.discard(confirmation)
        if len(self._flight) <= self._threshold:
            self._threshold = -1
            self._wake()

    def _note_failure(self, confirmation: C) -> None:
        if len(self._failures) < FAILURES_KEPT:
            self._failures.append(confirmation)
        else:
            self._forgotten += 1
            LOGGER.warning("A message failed, and nobody has looked at %d of them: %r", self._forgotten, confirmation)

    def _take_failure(self) -> exceptions.AMQPError | None:
        """Return what to raise over the failures that nobody has looked at, once."""
        failures = [one for one in self._failures if one._watchers is None]
        self._failures.clear()
        return gather(failures, self._where)
