"""Connections on Tornado's event loop."""

from __future__ import annotations

import warnings
from typing import Any

from pika.adapters.asyncio_connection import LoopGuard
from pika.adapters.loop_connection import LoopConnection
from pika.adapters.utils.nbio_interface import AbstractIOServices
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

try:
    from tornado.ioloop import IOLoop
except ImportError as error:
    raise ModuleNotFoundError("TornadoConnection needs Tornado: pip install pika[tornado]", name="tornado") from error

__all__ = ["TornadoConnection"]


class _TornadoIOServices(SelectorIOServicesAdapter):
    """What a connection asks of its event loop, on Tornado, or on another loop with the same methods.

    :param native_loop: the loop
    """

    def __init__(self, native_loop: Any) -> None:
        super().__init__(native_loop)
        asyncio_loop = getattr(native_loop, "asyncio_loop", None)
        if asyncio_loop is not None:
            self.thread_guard = LoopGuard(asyncio_loop)


def _current_loop() -> IOLoop:
    """Return the loop that runs, or the thread's, which is made if there is none."""
    with warnings.catch_warnings():
        # Programs make a connection and then run its loop. Some versions of Python say that they should not.
        warnings.simplefilter("ignore", DeprecationWarning)
        return IOLoop.current()


class TornadoConnection(LoopConnection):
    """A callback connection on Tornado's event loop.

    See :class:`~pika.adapters.base_connection.BaseConnection` for threads and back-pressure. What a callback raises is
    logged as Tornado and asyncio log it.

    :param parameters: where and how to connect; the defaults of :class:`~pika.ConnectionParameters` if None
    :param on_open_callback: called as ``callback(connection)`` when the connection is open
    :param on_open_error_callback: called as ``callback(connection, exception)`` when it could not be opened
    :param on_close_callback: called as ``callback(connection, exception)`` when it was open and is closed
    :param custom_ioloop: a ``tornado.ioloop.IOLoop``, or the services of any loop
        (:class:`~pika.adapters.utils.nbio_interface.AbstractIOServices`). If None: ``IOLoop.current()``, which is the
        one that runs; where none runs, that of the thread, for ``connection.ioloop.start()``
    :param internal_connection_workflow: False when somebody else connects the stream
    :param background_heartbeats: whether heartbeats are sent while a callback keeps the loop busy, by a daemon thread
        that all connections of the process share
    :raises ValueError: ``parameters`` are something else
    """

    @classmethod
    def _services_on(cls, native_loop: Any) -> AbstractIOServices:
        return _TornadoIOServices(_current_loop() if native_loop is None else native_loop)
