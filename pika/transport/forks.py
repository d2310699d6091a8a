"""What becomes of connections when the process forks: the parent keeps them, and in the child they are closed.

Both would otherwise write into one stream, and the broker would see two conversations in one. The child is told by
the interpreter (:func:`os.register_at_fork`), so that no call has to ask which process it is in.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from pika.exceptions import ConnectionWrongStateError


class Forked(Protocol):
    """Something that must not be used on both sides of a fork."""

    def _on_fork(self, parent: int) -> None:
        """Take note of being a copy in a child.

        :param parent: the process id of the parent, which has the original
        """


# By identity, since a user's own class of connection may compare as it likes.
_watched: weakref.WeakValueDictionary[int, Forked] = weakref.WeakValueDictionary()
_process = os.getpid()


def watch(owner: Forked) -> None:
    """Have ``owner._on_fork()`` called in every child of this process, as long as somebody holds on to the owner.

    :param owner: what is told
    """
    _watched[id(owner)] = owner


def closed_in_child(peer: str, parent: int) -> ConnectionWrongStateError:
    """Return why a connection is closed in a child.

    :param peer: the broker
    :param parent: the process id of the parent
    """
    return ConnectionWrongStateError(
        f"the connection to {peer} belongs to process {parent}; in a child of that it is closed: open a connection "
        f"after the fork"
    )


def _in_child() -> None:
    global _process
    parent, _process = _process, os.getpid()
    owners = list(_watched.values())
    _watched.clear()
    for owner in owners:
        owner._on_fork(parent)


# Where there is no such function there is no fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
