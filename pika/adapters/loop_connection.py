"""What the adapters have in common whose loop may be the program's: how they are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, TypeVar

from pika.adapters.base_connection import BaseConnection
from pika.adapters.utils.connection_workflow import AbstractAMQPConnectionWorkflow
from pika.connection import Parameters

Self = TypeVar("Self", bound="LoopConnection")


class LoopConnection(BaseConnection):
    """A callback connection on an event loop that is given, or chosen by :meth:`_services_on`.

    :param parameters: where and how to connect; the defaults of :class:`~pika.ConnectionParameters` if None
    :param on_open_callback: called as ``callback(connection)`` when the connection is open
    :param on_open_error_callback: called as ``callback(connection, exception)`` when it could not be opened
    :param on_close_callback: called as ``callback(connection, exception)`` when it was open and is closed
    :param custom_ioloop: the loop, or the services of any loop
        (:class:`~pika.adapters.utils.nbio_interface.AbstractIOServices`); the adapter's own choice if None
    :param internal_connection_workflow: False when somebody else connects the stream
    :param background_heartbeats: whether heartbeats are sent while a callback keeps the loop busy, by a daemon thread
        that all connections of the process share
    :raises ValueError: ``parameters`` are something else
    """

    def __init__(
        self: Self,
        parameters: Parameters | None = None,
        on_open_callback: Callable[[Self], object] | None = None,
        on_open_error_callback: Callable[[Self, Any], object] | None = None,
        on_close_callback: Callable[[Self, Any], object] | None = None,
        custom_ioloop: Any = None,
        internal_connection_workflow: bool = True,
        *,
        background_heartbeats: bool = True,
    ) -> None:
        super().__init__(
            parameters,
            on_open_callback,
            on_open_error_callback,
            on_close_callback,
            self._services(custom_ioloop),
            internal_connection_workflow,
            background_heartbeats=background_heartbeats,
        )

    @classmethod
    def create_connection(
        cls,
        connection_configs: Iterable[Parameters],
        on_done: Callable[[Any], Any],
        custom_ioloop: Any = None,
        workflow: AbstractAMQPConnectionWorkflow | None = None,
    ) -> AbstractAMQPConnectionWorkflow:
        """Connect to the first broker of several that can be reached; see :meth:`BaseConnection.create_connection`."""
        return super().create_connection(connection_configs, on_done, custom_ioloop, workflow)
