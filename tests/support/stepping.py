"""Cancelling a coroutine at a moment of the test's choosing: at the n-th time that it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: When, after a coroutine has begun to wait, it is cancelled: at once; when what it has written is on its way; when
#: what it waits for has come, but before it has seen it; or at once, and again as soon as it waits for something else.
MOMENTS = ("at once", "on its way", "answered", "twice")
_TURNS = 3


class Stepped(Generic[T]):
    """An awaitable that runs a coroutine in the task that awaits it, and has that task cancelled at some point.

    :param coroutine: the coroutine
    :param step: how often it waits before; no such point is no error
    :param moment: one of MOMENTS
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], step: int, moment: str) -> None:
        self._coroutine = coroutine
        self._step = step
        self._moment = moment
        self.steps = 0

    @property
    def came(self) -> bool:
        """Whether the coroutine has come to the point."""
        return self.steps > self._step

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        while True:
            try:
                waited_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if self.steps == self._step or (self.steps == self._step + 1 and self._moment == "twice"):
                self._cancel(waited_for)
            self.steps += 1
            error = None
            try:
                yield waited_for
            except BaseException as raised:
                error = raised

    def _cancel(self, waited_for: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._moment == "answered" and waited_for is not None:
            # Before the task's own callback: it is cancelled while its answer is there.
            waited_for.add_done_callback(lambda _: task.cancel())
        elif self._moment == "on its way":
            _later(task, _TURNS)
        else:
            task.cancel()


def _later(task: asyncio.Task[Any], turns: int) -> None:
    if turns:
        asyncio.get_running_loop().call_soon(_later, task, turns - 1)
    else:
        task.cancel()
