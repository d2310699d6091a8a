"""The fixtures of the callback API."""

from __future__ import annotations

from tests.connection.conftest import broker, channel, connection, pytest_collection_modifyitems, queue

__all__ = ["broker", "channel", "connection", "pytest_collection_modifyitems", "queue"]
