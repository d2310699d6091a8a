"""The driver on :class:`pika.SelectConnection`, which differs from that on the callback API in how its loop turns."""

from __future__ import annotations

import time
from typing import Any

import pika
from tests.contract.callback_driver import CallbackConnection
from tests.contract.wire import PATIENCE


class TurnedSelect(pika.SelectConnection):
    """A connection whose loop is run until something has arrived."""

    def turn(self, timeout: float) -> None:
        timer = self.ioloop.call_later(timeout, self.ioloop.stop)
        self.ioloop.start()
        self.ioloop.remove_timeout(timer)

    def run(self, until: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline
            self.turn(PATIENCE)

    def drop(self) -> None:
        self.ioloop.close()
        if self._streaming is not None:
            self._streaming.stream.close()

    def data_received(self, data: bytes) -> None:
        self.ioloop.stop()
        super().data_received(data)

    def _on_stream_terminated(self, error: BaseException | None) -> None:
        self.ioloop.stop()
        super()._on_stream_terminated(error)


class SelectDriverConnection(CallbackConnection):
    """A SelectConnection."""

    def _connect(self, parameters: pika.URLParameters) -> TurnedSelect:
        return TurnedSelect(parameters, on_open_error_callback=self._on_end, on_close_callback=self._on_end)
