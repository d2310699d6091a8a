"""The differences from pika 1.4.4 that are on purpose, by the keys with which scenarios declare them."""

from __future__ import annotations

import re
from typing import NamedTuple

from .compare import FORBIDDEN, RAISED_OTHERWISE, Difference


class Expected(NamedTuple):
    """A difference on purpose.

    :param what: what differs
    :param row: the sentence or the beginning of the table's row in docs/compatibility.md that lists it
    :param kind: the kind of differences that it covers
    :param theirs: a regular expression for what pika 1.4.4 has there
    :param ours: a regular expression for what this library has there
    :param logged: a regular expression for what one of the two logs over it, and the other does not; none if empty
    :param reason: the key of `RAISED_OTHERWISE` that lets it be of a forbidden kind; none if empty
    """

    what: str
    row: str
    kind: str
    theirs: str
    ours: str
    logged: str = ""
    reason: str = ""

    def covers(self, difference: Difference, scenario: str) -> bool:
        """Tell whether a difference in a scenario is this one."""
        if difference.kind == "log":
            logs = f"{difference.theirs} {difference.ours}"
            return bool(self.logged) and re.search(self.logged, logs) is not None
        if difference.kind != self.kind:
            return False
        if self.kind in FORBIDDEN and scenario not in RAISED_OTHERWISE.get(self.reason, ()):
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
        logged=r"CHANNEL_ERROR - expected",
    ),
    "heartbeat callable": Expected(
        "what a user's heartbeat callable raises has its own type",
        "| a `heartbeat` callable that raises | `ProbableAccessDeniedError`",
        "exception type",
        r"^ProbableAccessDeniedError .*LookupError",
        r"^LookupError \['no heartbeat'\]$",
        reason="a user's exception",
    ),
    "number in use": Expected(
        "a channel number in use is refused before anything is sent",
        "| `channel(number)` with a number in use | the broker ends the connection (504)",
        "exception type",
        r"^ConnectionClosedByBroker .*second 'channel.open' seen",
        r"^InvalidChannelNumber .*channel number 7 is in use",
        logged=r"CHANNEL_ERROR - second",
        reason="refused at once",
    ),
    "number in use, and nothing lost": Expected(
        "the connection on which a channel number in use was refused, and its channels, stay open",
        "| `channel(number)` with a number in use | the broker ends the connection (504)",
        "state",
        r"^(True|False)$",
        r"^(True|False)$",
    ),
    "callback that is none": Expected(
        "add_callback_threadsafe refuses what cannot be called",
        "| `add_callback_threadsafe` of what cannot be called | returns, and the `TypeError` comes",
        "raises instead",
        r"^(None|<AMQPConnectionWorkflow>)$",
        r"TypeError.*must be callable",
        reason="refused at once",
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
        logged=r"getaddrinfo failed",
    ),
    "error callback besides the default": Expected(
        "a callback beside the default one that raises is called",
        "| `add_on_open_error_callback(callback, remove_default=False)` | the error is raised, and `callback` is not",
        "value",
        r"^0$",
        r"^1$",
    ),
    "raising callbacks, the error": Expected(
        "what a callback raises leaves the loop, or goes to asyncio's handler",
        "| a callback that raises | the connection ends with `StreamLostError`",
        "value",
        r"^\[\]$",
        r"'exception': 'LookupError'",
        logged=r"LookupError",
    ),
    "raising callbacks, the connection": Expected(
        "a connection outlives a callback that raises",
        "| a callback that raises | the connection ends with `StreamLostError`",
        "value",
        r"^(\['raising'.*'connection closed'\]|False|True)$",
        r"^(\['raising'\]|False|True)$",
    ),
    "no error of ours": Expected(
        "a call that is refused, or that was asked for, is no error in the log",
        "Neither `abort()` nor a `close()` that is refused is logged as an error.",
        "log",
        "",
        "",
        logged=r"Illegal close|AMQPConnectionWorkflowAborted",
    ),
    "no callback": Expected(
        "adding what cannot be called is refused",
        "| a callback that cannot be called | `TypeError`, except for a channel's `add_…_callback`",
        "raises instead",
        r"^None$",
        r"TypeError.*must be callable",
        reason="refused at once",
    ),
    "paused flow": Expected(
        "a broker that pauses publishing is told of in the log",
        "A broker that pauses publishing (`channel.flow`) is a warning in the log.",
        "log",
        "",
        "",
        logged=r"pauses publishing",
    ),
    "end in the log": Expected(
        "the end of a connection that the program did not ask for is an error in the log",
        "So is, as an error, the end of a callback connection that the program did not ask for",
        "log",
        "",
        "",
        logged=r"The connection to \S+ has ended",
    ),
    "number in use on a loop": Expected(
        "a channel number in use is refused before anything is sent",
        "| `connection.channel(number)` with a number in use | a second channel of that number;",
        "raises instead",
        r"^<Channel 7>$",
        r"InvalidChannelNumber",
        reason="refused at once",
    ),
    "opened again": Expected(
        "a channel that is open cannot be opened",
        "| `channel.open()` a second time | the broker ends the connection (504) | `ChannelWrongStateError`",
        "raises instead",
        r"^None$",
        r"ChannelWrongStateError",
        logged=r"Duplicate callback found",
        reason="refused at once",
    ),
    "program order": Expected(
        "publishes stay in the order of the calls, behind operations that wait for their turn",
        "| publishes and acknowledgements behind operations that wait for their turn | overtake them",
        "value",
        r"^0$",
        r"^1$",
    ),
    "get on a closed channel": Expected(
        "basic_get on a channel that is not open raises",
        "| `basic_get` on a channel that is not open | returns, and never calls back",
        "raises instead",
        r"^None$",
        r"ChannelWrongStateError",
        reason="refused at once",
    ),
    "tag of a consumer that is gone": Expected(
        "the tag of a consumer that was cancelled without a callback can be used again",
        "| the tag of a consumer that was cancelled without a callback, or inside the callback of its cancel",
        "returns instead",
        r"DuplicateConsumerTag",
        r"^mine$",
    ),
    "reason of the end": Expected(
        "the end of a Twisted connection is told with its reason",
        "| the end of a connection | what Twisted says of the transport: `ConnectionDone`",
        "args",
        r"^(\[\]|\{\})$",
        r".",
    ),
    "why it is not ready": Expected(
        "`ready` fails with the reason",
        "| a connection that cannot be opened | `ready` fails with a bare `AMQPConnectionError(1)`",
        "args",
        r"^1$",
        r".",
        logged=r"could not be opened",
    ),
    "told by a Deferred": Expected(
        "nothing is logged of what a Deferred or a callback tells",
        "Of what a Deferred or a return callback tells nothing is logged besides.",
        "log",
        "",
        "",
        logged=r"Impossible to (get|put)|already enabled|message was returned|Nack'ed|consumer not found",
    ),
}
