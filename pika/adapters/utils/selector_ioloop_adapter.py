"""Connections on loops that watch descriptors, such as pika's own and Tornado's."""

from __future__ import annotations

from typing import Any, Callable


class AbstractSelectorIOLoop:
    """What a loop that watches descriptors offers. Tornado's loop has the same methods.

    A loop need not inherit from this, it only has to have what is here.
    """

    @property
    def READ(self) -> int:
        """The bit of a descriptor that can be read."""
        raise NotImplementedError

    @property
    def WRITE(self) -> int:
        """The bit of a descriptor that can be written."""
        raise NotImplementedError

    @property
    def ERROR(self) -> int:
        """The bit of a descriptor that has failed."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the loop has opened. It is not running, and not used any more."""
        raise NotImplementedError

    def start(self) -> None:
        """Run, until :meth:`stop`."""
        raise NotImplementedError

    def stop(self) -> None:
        """End :meth:`start`, as soon as what is under way is over."""
        raise NotImplementedError

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """Have a function called once, after some time.

        :param delay: seconds
        :param callback: called without arguments
        :returns: the handle for :meth:`remove_timeout`
        """
        raise NotImplementedError

    def remove_timeout(self, timeout_handle: Any) -> None:
        """See to it that a timer does not run.

        :param timeout_handle: what :meth:`call_later` returned
        """
        raise NotImplementedError

    def add_callback(self, callback: Callable[[], Any]) -> None:
        """Have a function called by the loop's thread, in the next iteration. Any thread may call this at any time.

        :param callback: called without arguments
        """
        raise NotImplementedError

    def add_handler(self, fd: int, handler: Callable[[int, int], Any], events: int) -> None:
        """Have ``handler(fd, events)`` called whenever a descriptor is ready.

        :param fd: the descriptor
        :param handler: what to call, with the events that it is ready for
        :param events: READ, WRITE and ERROR, or'd
        """
        raise NotImplementedError

    def update_handler(self, fd: int, events: int) -> None:
        """Change what is waited for.

        :param fd: a descriptor that has a handler
        :param events: as for :meth:`add_handler`, instead of those before
        """
        raise NotImplementedError

    def remove_handler(self, fd: int) -> None:
        """Wait for a descriptor no longer.

        :param fd: a descriptor that has a handler
        """
        raise NotImplementedError
