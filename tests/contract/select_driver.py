"""The driver on :class:`pika.SelectConnection`, which differs from that on the callback API in how its loop turns."""

from __future__ import annotations

import pika
from tests.contract.callback_driver import CallbackConnection
from tests.contract.turned import Turned


class TurnedSelect(Turned, pika.SelectConnection):
    """A connection whose loop is run until something has arrived."""


class SelectDriverConnection(CallbackConnection):
    """A SelectConnection."""

    def _connect(self, parameters: pika.URLParameters) -> TurnedSelect:
        return TurnedSelect(parameters, on_open_error_callback=self._on_end, on_close_callback=self._on_end)
