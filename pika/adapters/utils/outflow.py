"""Back-pressure: how much waits to be sent, and who is told when it is much."""

from __future__ import annotations

import logging
from typing import Callable, ClassVar, Generic, TypeVar

from pika._arguments import require_callable
from pika.exceptions import AMQPError

LOGGER = logging.getLogger(__name__)

C = TypeVar("C")


class OutputLimitExceeded(AMQPError, BufferError):
    """A message was not taken: too much waits to be sent already, because the broker takes less than is published."""

    _meaning: ClassVar[str] = (
        "Too much waits to be sent; publish less while the broker takes less: see add_on_output_paused_callback()."
    )


class Outflow(Generic[C]):
    """Tells when what waits crosses a high mark, and when it has fallen to a low one.

    :param owner: what callbacks are called with
    :param later: has a function called by the loop, soon
    """

    def __init__(self, owner: C, later: Callable[[Callable[[], object]], object]) -> None:
        #: Whether the high mark was crossed, and the low one not reached since.
        self.paused = False
        self.on_paused: list[Callable[[C], object]] = []
        self.on_resumed: list[Callable[[C], object]] = []
        self._owner = owner
        self._later = later

    def add(self, callbacks: list[Callable[[C], object]], callback: Callable[[C], object]) -> None:
        """Add a callback to one of the lists.

        :raises TypeError: it cannot be called
        """
        callbacks.append(require_callable(callback))

    def look(self, waiting: int, high: int, low: int) -> None:
        """Take note of how many bytes wait, and tell if that is news."""
        if self.paused:
            if waiting > low:
                return
        elif waiting <= high:
            return
        told = self.paused = not self.paused
        for callback in tuple(self.on_paused if told else self.on_resumed):
            if self.paused is not told:
                # One of them published, and all were told of what came of that.
                break
            try:
                callback(self._owner)
            except Exception as error:
                # Who publishes is not to be told that it failed. It leaves the loop by itself.
                self._later(_raiser(error))


def _raiser(error: Exception) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail
