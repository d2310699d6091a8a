"""What connections and channels say of themselves, and whom they call back, whichever way one waits for calls."""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar

from pika import protocol, spec
from pika._arguments import require_callable
from pika.client.session import Session

Self = TypeVar("Self", bound="BaseConnection")


class BaseConnection:
    """A connection's state, and its callbacks.

    :param name: what the broker shows the connection as
    """

    _link: Session
    # None until the connection is open: a function that chooses its heartbeat is given it before.
    _rules: protocol.Connection | None = None

    def __init__(self, name: str | None) -> None:
        self._name = name

    def __repr__(self) -> str:
        name = "" if self._name is None else f" {self._name!r}"
        rules = self._rules
        state = "CONNECTING" if rules is None else f"to {rules.settings.peer} {rules.state.name}"
        return f"<{type(self).__name__}{name} {state}>"

    @property
    def name(self) -> str | None:
        """What the broker shows the connection as, if it was given a name."""
        return self._name

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._rules is not None and self._rules.state is protocol.ConnectionState.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether it is closed; between the two it is opening or closing."""
        return self._rules is not None and self._rules.state is protocol.ConnectionState.CLOSED

    @property
    def is_blocked(self) -> bool:
        """Whether the broker has stopped reading what is published, because it is low on memory or disk."""
        return self._rules is not None and self._rules.blocked is not None

    @property
    def server_properties(self) -> dict[str, Any]:
        """What the broker says of itself, such as ``product`` and ``version``."""
        return {} if self._rules is None else dict(self._rules.server_properties or {})

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
