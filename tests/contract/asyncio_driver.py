"""The driver on :class:`pika.adapters.AsyncioConnection`, outside of coroutines."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from tests.contract.callback_driver import CallbackConnection
from tests.contract.wire import PATIENCE


class TurnedAsyncio(AsyncioConnection):
    """A connection whose loop is run until something has arrived."""

    def turn(self, timeout: float) -> None:
        timer = self.ioloop.call_later(timeout, self.ioloop.stop)
        self.ioloop.run_forever()
        timer.cancel()

    def run(self, until: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline
            self.turn(PATIENCE)

    def drop(self) -> None:
        if self._streaming is not None:
            self._streaming.stream.close()
        self.ioloop.close()

    def data_received(self, data: bytes) -> None:
        self.ioloop.stop()
        super().data_received(data)

    def _on_stream_terminated(self, error: BaseException | None) -> None:
        self.ioloop.stop()
        super()._on_stream_terminated(error)


class AsyncioDriverConnection(CallbackConnection):
    """An AsyncioConnection."""

    def _connect(self, parameters: pika.URLParameters) -> TurnedAsyncio:
        return TurnedAsyncio(
            parameters,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
            custom_ioloop=asyncio.new_event_loop(),
        )
