"""The adapters: pika's clients, each on a way of waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika._lazy import make_lazy

if TYPE_CHECKING:
    from pika.adapters.asyncio_connection import AsyncioConnection
    from pika.adapters.base_connection import BaseConnection
    from pika.adapters.blocking_connection import BlockingConnection
    from pika.adapters.select_connection import IOLoop, SelectConnection

__all__ = ["AsyncioConnection", "BaseConnection", "BlockingConnection", "IOLoop", "SelectConnection"]

# Where the names live. They are loaded when they are used: who wants one loop does not pay for the others.
_HOMES = {
    "AsyncioConnection": "pika.adapters.asyncio_connection",
    "BaseConnection": "pika.adapters.base_connection",
    "BlockingConnection": "pika.adapters.blocking_connection",
    "IOLoop": "pika.adapters.select_connection",
    "SelectConnection": "pika.adapters.select_connection",
}

_MODULES = ("asyncio_connection", "base_connection", "blocking_connection", "select_connection", "utils")

make_lazy(__name__, _HOMES, _MODULES)
