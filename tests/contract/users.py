"""Users who may not do everything."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, NamedTuple


class User(NamedTuple):
    """A user of the broker.

    :param permissions: patterns of what they may configure, write to and read from in the virtual host ``/``; None:
        they may not enter it
    """

    name: str
    password: str
    permissions: tuple[str, str, str] | None


_run = secrets.token_hex(4)

#: What this user may touch begins with what they may do to it.
LIMITED = User(f"contract-{_run}-limited", "secret", ("^(c|cw|cr|cwr)-", "^(w|cw|wr|cwr)-", "^(r|cr|wr|cwr)-"))
STRANGER = User(f"contract-{_run}-stranger", "secret", None)
USERS = (LIMITED, STRANGER)


def add_users(ctl: Callable[..., str]) -> None:
    """Add the users to a RabbitMQ."""
    with ThreadPoolExecutor(len(USERS)) as pool:
        list(pool.map(lambda user: _add(ctl, user), USERS))


def delete_users(ctl: Callable[..., str]) -> None:
    """Delete the users of a RabbitMQ."""
    with ThreadPoolExecutor(len(USERS)) as pool:
        list(pool.map(lambda user: ctl("delete_user", user.name), USERS))


def _add(ctl: Callable[..., str], user: User) -> None:
    ctl("add_user", user.name, user.password)
    if user.permissions is not None:
        ctl("set_permissions", "-p", "/", user.name, *user.permissions)
