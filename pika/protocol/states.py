"""The states of a connection and of a channel, their legal transitions, and what may be pipelined: as tables.

They rule which methods of the connection and channel classes are legal when, and in which order operations
may be sent; the diagrams of the architecture page are drawn from them.
"""

from __future__ import annotations

import enum
from typing import Union

from pika.amqp_object import Method
from pika.spec import Basic, Channel, Connection, Exchange, Queue, Tx


class ConnectionState(enum.IntEnum):
    """The states of a connection; the numbers are those of pika's ``CONNECTION_*`` constants."""

    CLOSED = 0
    INIT = 1
    PROTOCOL = 2
    START = 3
    TUNE = 4
    OPEN = 5
    CLOSING = 6


class ChannelState(enum.IntEnum):
    """The states of a channel; the numbers are those of pika's ``Channel`` constants."""

    CLOSED = 0
    OPENING = 1
    OPEN = 2
    CLOSING = 3


class Action(enum.Enum):
    """What moves a state without a method of the broker's doing it."""

    CONNECT = "the stream is connected"
    OPEN = "open() is called"
    CLOSE = "close() is called"
    LOSE = "the stream is lost"
    FAIL = "the broker breaks the protocol"


Trigger = Union[type[Method], Action]

# A method of the connection class that a state's row lacks is a violation of the protocol by the
# broker; an action that it lacks is a mistake of the caller's.
CONNECTION: dict[ConnectionState, dict[Trigger, ConnectionState]] = {
    ConnectionState.INIT: {
        Action.CONNECT: ConnectionState.PROTOCOL,
        Action.CLOSE: ConnectionState.CLOSED,
        Action.LOSE: ConnectionState.CLOSED,
        Action.FAIL: ConnectionState.CLOSED,
    },
    ConnectionState.PROTOCOL: {
        Connection.Start: ConnectionState.START,
        Connection.Close: ConnectionState.CLOSED,
        Action.CLOSE: ConnectionState.CLOSED,
        Action.LOSE: ConnectionState.CLOSED,
        Action.FAIL: ConnectionState.CLOSED,
    },
    ConnectionState.START: {
        Connection.Tune: ConnectionState.TUNE,
        Connection.Close: ConnectionState.CLOSED,
        Action.CLOSE: ConnectionState.CLOSED,
        Action.LOSE: ConnectionState.CLOSED,
        Action.FAIL: ConnectionState.CLOSED,
    },
    ConnectionState.TUNE: {
        Connection.OpenOk: ConnectionState.OPEN,
        Connection.Close: ConnectionState.CLOSED,
        Action.CLOSE: ConnectionState.CLOSED,
        Action.LOSE: ConnectionState.CLOSED,
        Action.FAIL: ConnectionState.CLOSED,
    },
    ConnectionState.OPEN: {
        Connection.Blocked: ConnectionState.OPEN,
        Connection.Unblocked: ConnectionState.OPEN,
        Connection.UpdateSecretOk: ConnectionState.OPEN,
        Connection.Close: ConnectionState.CLOSED,
        Action.CLOSE: ConnectionState.CLOSING,
        Action.LOSE: ConnectionState.CLOSED,
        Action.FAIL: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSING: {
        Connection.Blocked: ConnectionState.CLOSING,
        Connection.Unblocked: ConnectionState.CLOSING,
        Connection.UpdateSecretOk: ConnectionState.CLOSING,
        # Both sides closed at once: each answers the other, and nothing more is to be expected.
        Connection.Close: ConnectionState.CLOSED,
        Connection.CloseOk: ConnectionState.CLOSED,
        Action.LOSE: ConnectionState.CLOSED,
        Action.FAIL: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSED: {},
}

CHANNEL: dict[ChannelState, dict[Trigger, ChannelState]] = {
    ChannelState.OPENING: {
        Channel.OpenOk: ChannelState.OPEN,
        Channel.Close: ChannelState.CLOSED,
        Action.CLOSE: ChannelState.CLOSING,
        Action.LOSE: ChannelState.CLOSED,
    },
    ChannelState.OPEN: {
        Channel.Flow: ChannelState.OPEN,
        Channel.Close: ChannelState.CLOSED,
        Action.CLOSE: ChannelState.CLOSING,
        Action.LOSE: ChannelState.CLOSED,
    },
    ChannelState.CLOSING: {
        # The channel was still opening when close() was called.
        Channel.OpenOk: ChannelState.CLOSING,
        Channel.Flow: ChannelState.CLOSING,
        # Both sides closed at once.  RabbitMQ answers our close too, and until it has, the number is in use.
        Channel.Close: ChannelState.CLOSING,
        Channel.CloseOk: ChannelState.CLOSED,
        Action.LOSE: ChannelState.CLOSED,
    },
    # Where a channel begins, and where its number may be used again.
    ChannelState.CLOSED: {Action.OPEN: ChannelState.OPENING},
}

#: Synchronous methods that may be sent while others of this set are unanswered.  Any other one waits until
#: nothing is unanswered, and nothing follows it before its reply: RabbitMQ answers a declare ahead of an earlier
#: consume, and closes the connection over a cancel behind an unanswered consume (541) or over
#: anything behind an unanswered tx.commit (504).
PIPELINED: frozenset[type[Method]] = frozenset(
    {
        Exchange.Declare,
        Exchange.Delete,
        Exchange.Bind,
        Exchange.Unbind,
        Queue.Declare,
        Queue.Delete,
        Queue.Bind,
        Queue.Unbind,
        Queue.Purge,
    }
)

#: While one of these is unanswered, methods that have no reply (publish, ack, ...) wait as well.
HOLDS_ALL: frozenset[type[Method]] = frozenset({Tx.Select, Tx.Commit, Tx.Rollback})

#: Replies that name a consumer, and are matched by its tag.
MATCHED_BY_CONSUMER_TAG: frozenset[type[Method]] = frozenset({Basic.ConsumeOk, Basic.CancelOk})
