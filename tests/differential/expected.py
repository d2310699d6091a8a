"""The differences from pika 1.4.4 that are on purpose, by the keys with which scenarios declare them."""

from __future__ import annotations

import re
from typing import NamedTuple

from .compare import FORBIDDEN, Difference


class Expected(NamedTuple):
    """A difference on purpose.

    :param what: what differs
    :param row: the sentence or the beginning of the table's row in docs/compatibility.md that lists it
    :param kind: the kind of differences that it covers
    :param theirs: a regular expression for what pika 1.4.4 has there
    :param ours: a regular expression for what this library has there
    """

    what: str
    row: str
    kind: str
    theirs: str
    ours: str

    def covers(self, difference: Difference) -> bool:
        """Tell whether a difference is this one."""
        if difference.kind != self.kind or difference.kind in FORBIDDEN:
            return False
        pairs = ((self.theirs, difference.theirs), (self.ours, difference.ours))
        return all(re.search(pattern, str(value)) for pattern, value in pairs)


EXPECTED: dict[str, Expected] = {
    "behind an exception": Expected(
        "what waits behind a callback that raises is called the next time",
        "What waits behind a callback that raises, such as further messages, is handed out the next time.",
        "value",
        r"^\[",
        r"^\[",
    ),
    "sent on a closed channel": Expected(
        "basic_get on a closed channel sends nothing",
        "| `basic_get` on a channel that the broker has closed | raises, but sends the method all the same",
        "returns instead",
        r"CHANNEL_ERROR - expected 'channel.open'",
        r"<BlockingChannel \d+>",
    ),
    "stopping on a lost channel": Expected(
        "stop_consuming and cancel on a channel that was lost have nothing to do",
        "| `stop_consuming` or `cancel` on a channel whose connection was lost | `AssertionError`",
        "returns instead",
        "AssertionError",
        r"^(None|0)$",
    ),
    "consumers of a lost channel": Expected(
        "consumer_tags does not list consumers that are gone",
        "| `consumer_tags` when the connection was lost, or the queue of `consume()` deleted | still lists them",
        "value",
        r"^\['(mine|ctag1.<generated>)'\]$",
        r"^\[\]$",
    ),
    "no AMQP": Expected(
        "the error over an answer that is no AMQP says what it looks like",
        "| an answer that is no AMQP (HTTP, TLS) | `AMQPConnectorStackTimeout`, when the time is over |",
        "args",
        r"^StreamLostError: \('Transport indicated EOF',\)$",
        r"^127.0.0.1:<peer> (is no AMQP|answers that)",
    ),
    "unresolved": Expected(
        "a host name that does not resolve does not end the round",
        "| a host name that does not resolve, in a list of parameters | ends the round",
        "returns instead",
        "gaierror",
        "<BlockingConnection>",
    ),
}
