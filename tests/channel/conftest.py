"""The fixtures of the callback API."""

from __future__ import annotations

from tests.connection.conftest import channel, connection, queue

__all__ = ["channel", "connection", "queue"]
