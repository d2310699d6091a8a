"""What connections and channels say of themselves, and whom they call back, whichever way one waits for calls."""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar

from pika import exceptions, protocol, spec
from pika._arguments import require_callable
from pika.client.session import ChannelBook, Ending, Session

Self = TypeVar("Self", bound="BaseConnection")
ChannelSelf = TypeVar("ChannelSelf", bound="BaseChannel")


class BaseConnection:
    """A connection's state, and its callbacks.

    :param name: what the broker shows the connection as
    """

    _link: Session

    def __init__(self, name: str | None) -> None:
        self._name = name

    def __repr__(self) -> str:
        name = "" if self._name is None else f" {self._name!r}"
        rules = self._rules
        state = "CONNECTING" if rules is None else f"to {rules.settings.peer} {rules.state.name}"
        return f"<{type(self).__name__}{name} {state}>"

    @property
    def _rules(self) -> protocol.Connection | None:
        # A function that chooses the heartbeat is given the connection before it is open.
        link = getattr(self, "_link", None)
        return None if link is None else link.rules

    @property
    def name(self) -> str | None:
        """What the broker shows the connection as, if it was given a name."""
        return self._name

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        rules = self._rules
        return rules is not None and rules.state is protocol.ConnectionState.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether it is closed; between the two it is opening or closing."""
        rules = self._rules
        return rules is not None and rules.state is protocol.ConnectionState.CLOSED

    @property
    def is_blocked(self) -> bool:
        """Whether the broker has stopped reading what is published, because it is low on memory or disk."""
        rules = self._rules
        return rules is not None and rules.blocked is not None

    @property
    def server_properties(self) -> dict[str, Any]:
        """What the broker says of itself, such as ``product`` and ``version``."""
        rules = self._rules
        return {} if rules is None else dict(rules.server_properties or {})

    def _tell(self, error: exceptions.AMQPError) -> None:
        """Have the first call that comes too late raise why: nobody may have used the connection when it ended.

        :param error: what a call raises otherwise
        """
        if isinstance(error, exceptions.ConnectionWrongStateError):
            self._link.tell()
        elif isinstance(error, exceptions.AMQPConnectionError):
            self._link.told = True

    def add_on_connection_blocked_callback(
        self: Self, callback: Callable[[Self, spec.Connection.Blocked], object]
    ) -> None:
        """Have a function called when the broker stops reading what is published.

        :param callback: called as ``callback(connection, method)``, with connection.blocked; in the callback thread of
            a :class:`pika.Connection`, while for a :class:`pika.aio.Connection` it may be a coroutine function
        :raises TypeError: when it cannot be called
        """
        self._link.on_blocked.append(functools.partial(require_callable(callback), self))

    def add_on_connection_unblocked_callback(
        self: Self, callback: Callable[[Self, spec.Connection.Unblocked], object]
    ) -> None:
        """Have a function called when the broker goes on reading what is published.

        :param callback: called as ``callback(connection, method)``, with connection.unblocked; where, see
            :meth:`add_on_connection_blocked_callback`
        :raises TypeError: when it cannot be called
        """
        self._link.on_unblocked.append(functools.partial(require_callable(callback), self))

    def add_on_close_callback(self: Self, callback: Callable[[Self, BaseException], object]) -> None:
        """Have a function called when the connection is closed, by whichever side.

        :param callback: called as ``callback(connection, reason)``; where, see
            :meth:`add_on_connection_blocked_callback`
        :raises TypeError: when it cannot be called
        """
        self._link.on_close.append(functools.partial(require_callable(callback), self))


class BaseChannel:
    """A channel's state, and its callbacks.

    :param link: the connection
    :param book: what it keeps of the channel
    """

    _connection: BaseConnection

    def __init__(self, link: Session, book: ChannelBook) -> None:
        self._link = link
        self._book = book
        self._rules: protocol.Channel = book.rules
        # Whether basic_publish waits for confirms.
        self._confirming = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.channel_number} {self._rules.state.name} of {self._connection!r}>"

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._rules.state is protocol.ChannelState.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether it is closed; between the two it is opening or closing."""
        return self._rules.state is protocol.ChannelState.CLOSED

    @property
    def channel_number(self) -> int:
        """Its number on the connection."""
        return self._rules.number

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of its consumers."""
        # A copy: other threads may add some meanwhile.
        return [tag for tag, consumer in list(self._book.consumers.items()) if not consumer.stopped]

    @property
    def _where(self) -> str:
        """How the texts of errors name it."""
        return f"{self._link.peer}; channel {self._rules.number}"

    @property
    def _ending(self) -> Ending:
        """What has ended: the channel, or the connection, whose end one channel tells for all."""
        return self._link if self._book.error is self._link.error else self._book

    def _tell(self, error: exceptions.AMQPError) -> None:
        """Have the first call that comes too late raise why.

        What was not waited for, as an acknowledgement, may have ended the channel.

        :param error: what a call raises otherwise
        """
        if isinstance(error, exceptions.ChannelWrongStateError):
            self._ending.tell()
        elif isinstance(error, (exceptions.ChannelClosed, exceptions.AMQPConnectionError)):
            self._ending.told = True

    def add_on_cancel_callback(self, callback: Callable[[spec.Basic.Cancel], object]) -> None:
        """Have a function called when the broker cancels a consumer.

        :param callback: called as ``callback(method)``, with basic.cancel; in the callback thread of a
            :class:`pika.Connection`, while for a :class:`pika.aio.Connection` it may be a coroutine function
        :raises TypeError: when it cannot be called
        """
        self._book.on_cancel.append(require_callable(callback))

    def add_on_return_callback(
        self: ChannelSelf, callback: Callable[[ChannelSelf, spec.Basic.Return, spec.BasicProperties, bytes], object]
    ) -> None:
        """Have a function called when a mandatory message comes back, with confirms or without.

        :param callback: called as ``callback(channel, method, properties, body)``; where, see
            :meth:`add_on_cancel_callback`
        :raises TypeError: when it cannot be called
        """
        self._book.on_return.append(functools.partial(require_callable(callback), self))

    def add_on_close_callback(self: ChannelSelf, callback: Callable[[ChannelSelf, BaseException], object]) -> None:
        """Have a function called when the channel is closed, by whichever side.

        :param callback: called as ``callback(channel, reason)``; where, see :meth:`add_on_cancel_callback`
        :raises TypeError: when it cannot be called
        """
        self._book.on_close.append(functools.partial(require_callable(callback), self))
