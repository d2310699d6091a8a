"""Heartbeats as deadlines (AMQP 0-9-1, section 4.2.7): when one is due, and when silence means death."""

from __future__ import annotations


def told_late(peer: str, seconds: float, interval: float) -> str:
    """Return what to say of a heartbeat that a busy event loop has sent too late.

    :param peer: the broker
    :param seconds: how late
    :param interval: the negotiated interval, in seconds
    """
    return (
        f"A heartbeat to {peer} is sent {seconds:.1f} seconds late: the loop was blocked for so long. The broker ends "
        f"connections that it has not heard of for {2 * interval:g} seconds; do long work in another thread"
    )


class Heartbeat:
    """The heartbeat of an open connection.  It has no clock: the time is an argument.

    :param interval: the negotiated interval, in seconds
    :param now: the time
    """

    __slots__ = ("deadline", "interval", "last_received", "sent")

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        #: When bytes arrived last.
        self.last_received = now
        #: Whether anything but a heartbeat was sent since the last tick.
        self.sent = False
        #: When :meth:`tick` is to be called.
        self.deadline = now + interval / 2

    def tick(self, now: float) -> bool:
        """Say whether a heartbeat is due, and set the next deadline.

        Ticking at half the interval keeps the gap between our bytes below one interval; any byte counts. An idle
        connection sends one at every tick, as RabbitMQ does.
        """
        due = not self.sent
        self.sent = False
        self.deadline = min(now + self.interval / 2, max(self.last_received + 2 * self.interval, now))
        return due

    def silent(self, now: float) -> bool:
        """Say whether no byte arrived for two intervals.  Ask after everything that arrived has been read."""
        return now - self.last_received >= 2 * self.interval
