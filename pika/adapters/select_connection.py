"""pika's own event loop, and connections on it."""

from __future__ import annotations

from typing import Any

from pika.adapters.loop_connection import LoopConnection
from pika.adapters.utils.nbio_interface import AbstractIOServices
from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop, SelectorIOServicesAdapter
from pika.transport import pollers
from pika.transport.loop import Loop
from pika.transport.pollers import EPollPoller, KQueuePoller, PollPoller, SelectPoller

__all__ = ["EPollPoller", "IOLoop", "KQueuePoller", "PollEvents", "PollPoller", "SelectConnection", "SelectPoller"]

#: How new loops wait: ``"epoll"``, ``"kqueue"``, ``"poll"`` or ``"select"``; None is the best that the system has.
#: One that it does not have is ``"select"``.
SELECT_TYPE: str | None = None


class PollEvents:
    """What a descriptor can be ready for."""

    READ = pollers.READ
    WRITE = pollers.WRITE
    ERROR = pollers.ERROR
    #: Told without being asked for, where the system tells it apart: both directions are over.
    HANGUP = pollers.HANGUP


class IOLoop(Loop, AbstractSelectorIOLoop):
    """An event loop that watches descriptors, and has timers and callbacks; see :class:`pika.transport.loop.Loop`."""

    def __init__(self) -> None:
        super().__init__(pollers.poller_class(SELECT_TYPE))


class SelectConnection(LoopConnection):
    """A callback connection on pika's own event loop; it moves while ``connection.ioloop.start()`` runs.

    See :class:`~pika.adapters.base_connection.BaseConnection` for threads and back-pressure.

    :param parameters: where and how to connect; the defaults of :class:`~pika.ConnectionParameters` if None
    :param on_open_callback: called as ``callback(connection)`` when the connection is open
    :param on_open_error_callback: called as ``callback(connection, exception)`` when it could not be opened
    :param on_close_callback: called as ``callback(connection, exception)`` when it was open and is closed
    :param custom_ioloop: an :class:`IOLoop`, or a loop that has what
        :class:`~pika.adapters.utils.selector_ioloop_adapter.AbstractSelectorIOLoop` has, or the services of any loop
        (:class:`~pika.adapters.utils.nbio_interface.AbstractIOServices`); a new :class:`IOLoop` if None
    :param internal_connection_workflow: False when somebody else connects the stream
    :param background_heartbeats: whether heartbeats are sent while a callback keeps the loop busy, by a daemon thread
        that all connections of the process share
    :raises ValueError: ``parameters`` are something else
    """

    @classmethod
    def _services_on(cls, native_loop: Any) -> AbstractIOServices:
        return SelectorIOServicesAdapter(IOLoop() if native_loop is None else native_loop)
