"""The driver on :class:`pika.adapters.AsyncioConnection`, outside of coroutines."""

from __future__ import annotations

import asyncio

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from tests.contract.callback_driver import CallbackConnection
from tests.contract.turned import Turned


class TurnedAsyncio(Turned, AsyncioConnection):
    """A connection whose loop is run until something has arrived."""

    def _turn(self, timeout: float) -> None:
        timer = self.ioloop.call_later(timeout, self.ioloop.stop)
        self.ioloop.run_forever()
        timer.cancel()


class AsyncioDriverConnection(CallbackConnection):
    """An AsyncioConnection."""

    def _connect(self, parameters: pika.URLParameters) -> TurnedAsyncio:
        return TurnedAsyncio(
            parameters,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
            custom_ioloop=asyncio.new_event_loop(),
        )
