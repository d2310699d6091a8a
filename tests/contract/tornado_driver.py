"""The driver on :class:`pika.adapters.tornado_connection.TornadoConnection`, outside of coroutines."""

from __future__ import annotations

from tornado.ioloop import IOLoop

import pika
from pika.adapters.tornado_connection import TornadoConnection
from tests.contract.callback_driver import CallbackConnection
from tests.contract.turned import Turned


class TurnedTornado(Turned, TornadoConnection):
    """A connection whose loop is run until something has arrived."""

    def drop(self) -> None:
        # Unlike the others, it cannot be closed twice.
        if not self.ioloop.asyncio_loop.is_closed():
            super().drop()


class TornadoDriverConnection(CallbackConnection):
    """A TornadoConnection."""

    def _connect(self, parameters: pika.URLParameters) -> TurnedTornado:
        return TurnedTornado(
            parameters,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
            custom_ioloop=IOLoop(make_current=False),
        )
