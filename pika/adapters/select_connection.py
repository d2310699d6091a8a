"""pika's own event loop, and connections on it."""

from __future__ import annotations

from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop
from pika.transport import pollers
from pika.transport.loop import Loop
from pika.transport.pollers import EPollPoller, KQueuePoller, PollPoller, SelectPoller

__all__ = ["EPollPoller", "IOLoop", "KQueuePoller", "PollEvents", "PollPoller", "SelectPoller"]

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
