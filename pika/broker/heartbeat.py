"""The heartbeats of one connection: when the next is due, and when a client has been silent for too long."""

from __future__ import annotations

_PATIENCE = 2


class Heartbeat:
    """Heartbeats as RabbitMQ has them, from connection.tune-ok on.

    One is sent when nothing else was for half an interval. The client is looked at once in an interval, and is gone
    when nothing came from it between three looks.

    :param interval: seconds, 0 for no heartbeats
    :param now: the time
    """

    __slots__ = ("_interval", "_look_at", "_seen", "_silent", "heard_at", "sent_at")

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        #: When something came last; whoever reads from the client sets this.
        self.heard_at = now
        #: When something was sent last; whoever sends sets this.
        self.sent_at = now
        self._look_at = now + interval
        # What heard_at was at the last look.
        self._seen = -1.0
        # How many looks in a row found that nothing had come.
        self._silent = 0

    def look(self, now: float) -> bool:
        """Look at the client if it is time to, and tell whether it is gone."""
        if self._interval and now >= self._look_at:
            self._silent = self._silent + 1 if self.heard_at == self._seen else 0
            self._seen = self.heard_at
            self._look_at = now + self._interval
        return self._silent >= _PATIENCE

    def is_due(self, now: float) -> bool:
        """Tell whether a heartbeat is to be sent."""
        return bool(self._interval) and now >= self.sent_at + self._interval / 2

    def next_at(self) -> float:
        """Return when the next look or the next heartbeat is due, infinity for never."""
        return min(self._look_at, self.sent_at + self._interval / 2) if self._interval else float("inf")

    def restart(self, now: float) -> None:
        """Begin to listen to a client that was not read from."""
        self.heard_at = now
        self._silent = 0
        self._look_at = now + self._interval
