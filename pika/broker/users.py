"""Who may connect, and what they may touch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pika.broker import errors

#: RabbitMQ's name of the default exchange where permissions are concerned.
_DEFAULT_EXCHANGE = "amq.default"


@dataclass(frozen=True)
class User:
    """A user of the broker.

    The patterns are regular expressions, searched for in the names of queues and exchanges as RabbitMQ does it; an
    empty one matches nothing but the empty name.

    :param password: the password
    :param configure: what the user may declare and delete
    :param write: what the user may publish to and bind
    :param read: what the user may consume, get, purge and bind from
    :param vhosts: the virtual hosts the user may open, None for all
    """

    password: str
    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"
    vhosts: Sequence[str] | None = None

    def may_open(self, vhost: str) -> bool:
        """Whether the user may open a virtual host."""
        return self.vhosts is None or vhost in self.vhosts


class Permissions:
    """What one user may do in one virtual host.

    :param name: the user's name, for the texts of refusals
    :param user: the user
    :param vhost: the name of the virtual host
    """

    def __init__(self, name: str, user: User, vhost: str) -> None:
        self.name = name
        self._user = user
        self._vhost = vhost

    def configure(self, kind: str, name: str) -> None:
        """Refuse with 403 unless the user may declare and delete this queue or exchange."""
        self._check(self._user.configure, kind, name)

    def write(self, kind: str, name: str) -> None:
        """Refuse with 403 unless the user may publish to this exchange or bind this queue or exchange."""
        self._check(self._user.write, kind, name)

    def read(self, kind: str, name: str) -> None:
        """Refuse with 403 unless the user may read from this queue or bind to this exchange."""
        self._check(self._user.read, kind, name)

    def _check(self, pattern: str, kind: str, name: str) -> None:
        if kind == "exchange" and not name:
            name = _DEFAULT_EXCHANGE
        if pattern != ".*" and not _compiled(pattern).search(name):
            where = errors.resource(kind, name, self._vhost)
            raise errors.access_refused(f"access to {where} refused for user '{self.name}'")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern or "^$")
