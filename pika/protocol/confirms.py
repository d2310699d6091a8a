"""Publisher confirms: sequence numbers, acks, nacks, and the returns that belong to them (RabbitMQ's extension)."""

from __future__ import annotations

import enum
from collections import deque
from typing import Callable, NamedTuple

from pika import spec


class Outcome(enum.Enum):
    """How a published message ended."""

    ACKED = "acked"
    NACKED = "nacked"
    RETURNED = "returned"
    UNKNOWN = "unknown"


# Looking a member up in its class takes as long as the rest of what settles a message.
_ACKED, _NACKED, _RETURNED = Outcome.ACKED, Outcome.NACKED, Outcome.RETURNED


class Confirmation:
    """The outcome of one published message, which ends in exactly one :class:`Outcome`.

    :ivar delivery_tag: the message's number on its channel, from 1; 0 while it waits its turn to be sent
    :ivar outcome: None until it is known.  RETURNED: a mandatory message that no queue took; UNKNOWN: the channel or
        connection died first
    :ivar returned: the method, properties and body that came back, when it was returned
    :ivar error: why the outcome is unknown
    :ivar on_done: called with the confirmation when it ends, while the event that ends it is taken; it must not raise
    """

    __slots__ = ("_likeness", "delivery_tag", "error", "on_done", "outcome", "returned")

    def __init__(self) -> None:
        self.delivery_tag = 0
        self.outcome: Outcome | None = None
        self.returned: tuple[spec.Basic.Return, spec.BasicProperties, bytes] | None = None
        self.error: BaseException | None = None
        self.on_done: Callable[[Confirmation], None] | None = None
        self._likeness: _Likeness | None = None

    def __repr__(self) -> str:
        outcome = "pending" if self.outcome is None else self.outcome.value
        return f"<Confirmation {self.delivery_tag}: {outcome}>"

    def fail(self, error: BaseException) -> None:
        """End it, unless it has ended: whether the broker took the message will never be said.

        :param error: why
        """
        if self.outcome is None:
            self.error = error
            self._end(Outcome.UNKNOWN)

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._likeness = None
        on_done, self.on_done = self.on_done, None
        if on_done is not None:
            on_done(self)


class Publish(NamedTuple):
    """A message that is published, as far as confirms go.

    :ivar confirmation: what is told of its outcome; None when nobody asks
    :ivar exchange: where to
    :ivar routing_key: what the exchange routes it by
    :ivar body: its body
    :ivar mandatory: whether it is returned if it reaches no queue
    """

    confirmation: Confirmation | None
    exchange: str
    routing_key: str
    body: bytes
    mandatory: bool


_Likeness = tuple[str, str, bytes]  # exchange, routing key and body: all by which a return is recognized


class ConfirmTracker:
    """Numbers the publishes of a channel in confirm mode, and settles the confirmations of those that asked for one.

    Settling costs time in proportion to what is settled, whatever is outstanding.
    """

    __slots__ = ("_lowest", "_mandatory", "_pending", "published")

    def __init__(self) -> None:
        #: How many messages were published since the channel entered confirm mode.
        self.published = 0
        self._pending: dict[int, Confirmation] = {}
        # No tag below is pending: where an ack of several begins, without a look at what was settled before.
        self._lowest = 1
        # The mandatory ones that a return may still join: those that look alike together, in the order of publishing.
        self._mandatory: dict[_Likeness, deque[Confirmation]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(
        self, confirmation: Confirmation | None, exchange: str, routing_key: str, body: bytes, mandatory: bool
    ) -> None:
        """Number a message that goes out behind those that were numbered before; the parameters are a `Publish`'s."""
        self.published += 1
        if confirmation is None:
            return
        # In this order: one that a signal handler cuts short in between was not numbered, and is settled all the same.
        self._pending[self.published] = confirmation
        confirmation.delivery_tag = self.published
        if mandatory:
            likeness = confirmation._likeness = (exchange, routing_key, bytes(body))
            self._mandatory.setdefault(likeness, deque()).append(confirmation)

    def on_return(self, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes) -> None:
        """Join a returned message to its confirmation; the broker returns before it confirms.

        A return names no publish.  It belongs to the oldest one outstanding with its exchange, routing key and body;
        properties are no part of the match, since RabbitMQ returns them without BCC headers.
        """
        waiting = self._mandatory.get((method.exchange or "", method.routing_key or "", body))
        while waiting:
            confirmation = waiting.popleft()
            if confirmation.outcome is None:
                confirmation.returned = (method, properties, body)
                return

    def on_confirm(self, method: spec.Basic.Ack | spec.Basic.Nack) -> None:
        """Settle what an ack or nack of the broker's covers, in the order of publishing.

        A tag that is settled already, or was never tracked, settles nothing.
        """
        acked = isinstance(method, spec.Basic.Ack)
        if method.multiple:
            settled = self._take_up_to(method.delivery_tag)
        else:
            confirmation = self._pending.pop(method.delivery_tag, None)
            settled = [] if confirmation is None else [confirmation]
        for confirmation in settled:
            likeness = confirmation._likeness
            if not acked:
                confirmation._end(_NACKED)
            elif confirmation.returned is not None:
                confirmation._end(_RETURNED)
            else:
                confirmation._end(_ACKED)
            if likeness is not None:
                self._forget_settled(likeness)

    def fail_all(self, error: BaseException) -> None:
        """End everything outstanding with an unknown outcome: whether the broker took it will never be said."""
        pending, self._pending = self._pending, {}
        self._mandatory.clear()
        for confirmation in pending.values():
            confirmation.fail(error)

    def _take_up_to(self, delivery_tag: int) -> list[Confirmation]:
        pending = self._pending
        # Tag 0 covers everything outstanding (AMQP 0-9-1, basic.ack, multiple); a tag that was never
        # published must not set the pace of this loop.
        last = min(delivery_tag, self.published) if delivery_tag else self.published
        settled = [pending.pop(tag) for tag in range(self._lowest, last + 1) if tag in pending]
        self._lowest = max(self._lowest, last + 1)
        return settled

    def _forget_settled(self, likeness: _Likeness) -> None:
        waiting = self._mandatory.get(likeness)
        if waiting is None:
            return
        # One that was confirmed out of order goes when it gets to the front.
        while waiting and waiting[0].outcome is not None:
            waiting.popleft()
        if not waiting:
            del self._mandatory[likeness]
