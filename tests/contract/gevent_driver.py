"""The driver on :class:`pika.adapters.gevent_connection.GeventConnection`, in the hub of the tests' thread."""

from __future__ import annotations

import pika
from pika.adapters.gevent_connection import GeventConnection
from tests.contract.callback_driver import CallbackConnection
from tests.contract.turned import Turned


class TurnedGevent(Turned, GeventConnection):
    """A connection whose loop is run until something has arrived."""


class GeventDriverConnection(CallbackConnection):
    """A GeventConnection."""

    def _connect(self, parameters: pika.URLParameters) -> TurnedGevent:
        return TurnedGevent(parameters, on_open_error_callback=self._on_end, on_close_callback=self._on_end)
