"""Connections on loops, whose loop is run until something has arrived."""

from __future__ import annotations

import time
from typing import Any

from pika.adapters.base_connection import BaseConnection
from tests.support.bounded import PATIENCE


class Turned(BaseConnection):
    """To be put in front of an adapter whose loop is pika's, or has the same methods."""

    def turn(self, timeout: float) -> None:
        """Turn the loop until something has arrived, at most so many seconds."""
        self._turn(timeout)
        # What is sent before the loop goes on waits for that, and it may be another loop's turn next.
        while self._bursting:
            self._turn(0.001)

    def _turn(self, timeout: float) -> None:
        timer = self.ioloop.call_later(timeout, self.ioloop.stop)
        self.ioloop.start()
        self.ioloop.remove_timeout(timer)

    def run(self, until: Any) -> None:
        """Turn the loop until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline
            self.turn(PATIENCE)

    def drop(self) -> None:
        """Give back what is open, without a word to anybody."""
        self.ioloop.close()
        if self._streaming is not None:
            self._streaming.stream.close()

    def data_received(self, data: bytes) -> None:
        self.ioloop.stop()
        super().data_received(data)

    def _on_stream_terminated(self, error: BaseException | None) -> None:
        self.ioloop.stop()
        super()._on_stream_terminated(error)
