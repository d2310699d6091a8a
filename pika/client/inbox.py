"""Deliveries on their way from the connection to whoever works them off. Nothing here waits."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

from pika import protocol

#: So many messages, or octets of bodies, may wait in an inbox; then its connection is not read until half of them
#: are worked off.
MOST_MESSAGES = 1000
MOST_OCTETS = 32 * 1024 * 1024

Item = tuple["Consumer", protocol.Delivery]


class Consumer:
    """A consumer of a channel.

    :ivar stopped: whether it was cancelled, or its channel is dead: what waits for it is not handed out any more,
        unless it needs no acknowledgement, since such a message is nowhere else

    :param tag: its tag on the channel
    :param inbox: where its deliveries go
    :param auto_ack: whether they need no acknowledgement
    :param handler: what is called with them; None when somebody takes them out of the inbox
    :param handler_channel: the channel that the handler is given
    :param shares: whether other consumers have the same inbox, which outlives this one
    """

    __slots__ = ("__weakref__", "auto_ack", "handler", "handler_channel", "inbox", "shares", "stopped", "tag")

    def __init__(
        self,
        tag: str,
        inbox: Inbox,
        auto_ack: bool,
        handler: Callable[..., object] | None = None,
        handler_channel: Any = None,
        shares: bool = False,
    ) -> None:
        self.tag = tag
        self.inbox = inbox
        self.auto_ack = auto_ack
        self.handler = handler
        self.handler_channel = handler_channel
        self.shares = shares
        self.stopped = False


def _nobody() -> None:
    """Wake nobody: an inbox that nobody reads yet."""


class Inbox:
    """Deliveries in the order of their arrival, and when they are too many.

    Who takes one out needs no lock: ``items.popleft()`` makes it his. All the rest happens under the connection's lock.

    :ivar items: the deliveries, each with its consumer
    :ivar over: whether nothing more will arrive
    :ivar error: why, when it is no end that somebody asked for
    :ivar wake: wakes those who found it empty; a client sets it
    """

    __slots__ = ("_octets", "error", "items", "over", "wake")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.over = False
        self.error: BaseException | None = None
        self.wake: Callable[[], object] = _nobody
        # Of all bodies that have come since it was empty; more than there are now.
        self._octets = 0

    def put(self, consumer: Consumer, delivery: protocol.Delivery) -> None:
        """Add a delivery behind the others.

        :param consumer: whose it is
        :param delivery: the delivery
        """
        if not self.items:
            self._octets = 0
        self._octets += len(delivery.body)
        self.items.append((consumer, delivery))

    def holds(self, share: float = 1.0) -> bool:
        """Say whether it holds as much as it may, or a share of that."""
        if len(self.items) >= MOST_MESSAGES * share:
            return True
        octets = self._octets
        if octets >= MOST_OCTETS * share:
            # Looked at no more: another thread that has counted before may say so only now.
            octets = self._octets = sum(len(delivery.body) for _, delivery in self.items.copy())
        return octets >= MOST_OCTETS * share

    def take_out(self, consumer: Consumer) -> list[protocol.Delivery]:
        """Take out and return what waits for a consumer; the order of the rest stays.

        :param consumer: the consumer
        """
        taken: list[protocol.Delivery] = []
        kept: list[Item] = []
        try:
            while True:
                # The last one first: who takes some out meanwhile gets what is older than all that is put back.
                item = self.items.pop()
                if item[0] is consumer:
                    taken.append(item[1])
                else:
                    kept.append(item)
        except IndexError:
            self.items.extend(reversed(kept))
        return taken[::-1]

    def end(self, error: BaseException | None) -> None:
        """Take note that nothing more will arrive.

        :param error: why, when it is no end that somebody asked for
        """
        if not self.over:
            self.over = True
            self.error = error


def stalled(inbox: Inbox, seconds: float, peer: str) -> str:
    """Return what to warn of when a connection is not read since nobody takes anything out of a full inbox.

    :param inbox: holds at least one delivery
    :param seconds: for how long
    :param peer: the broker
    """
    return (
        f"The connection to {peer} is not read: for {seconds:g} seconds nobody has taken any of the "
        f"{len(inbox.items)} messages that wait for consumer {inbox.items[0][0].tag!r}. Other consumers of the "
        f"connection get nothing meanwhile; if that is what it waits for, this lasts for ever. Open its channel with a "
        f"prefetch, such as connection.channel(prefetch=50)"
    )
