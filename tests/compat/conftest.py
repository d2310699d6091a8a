"""What these tests share: on the broker under test a blocking connection, a channel and a queue."""

from __future__ import annotations

from tests.adapters.conftest import channel, connection, new_queue, queue

__all__ = ["channel", "connection", "new_queue", "queue"]
