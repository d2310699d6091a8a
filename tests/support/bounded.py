"""Calls that must end: what hangs fails with the stacks of all threads, long before the time of a test is over."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, Callable, Generic, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
#: Whether all is tried that could go wrong, however long it takes: in `make torture`.
EVERY_LINE = "PIKA_TEST_EVERY_LINE" in os.environ


class Running(Generic[T]):
    """A call that runs in a daemon thread of its own.

    :param function: what to call, without arguments
    :param name: the name of the thread
    """

    def __init__(self, function: Callable[[], T], name: str = "bounded") -> None:
        self._function = function
        self._returned: list[T] = []
        self._raised: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._returned.append(self._function())
        except BaseException as error:
            self._raised = error

    def result(self, seconds: float = PATIENCE) -> T:
        """Wait for its end, and return what it returned or raise what it raised.

        :param seconds: how long to wait for it
        :raises AssertionError: when it is still running then; the text has the stacks of all threads
        """
        self.thread.join(seconds)
        if self.thread.is_alive():
            raise AssertionError(f"{self.thread.name} has not ended within {seconds} seconds:\n{stacks()}")
        if self._raised is not None:
            raise self._raised
        return self._returned[0]


def bounded(function: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Call a function that must end within some seconds, in a thread of its own, and return what it returns."""
    return Running(function).result(seconds)


def side_by_side(functions: Sequence[Callable[[], Any]], seconds: float = PATIENCE) -> list[Any]:
    """Call functions at the same time, each in a thread of its own, and return what they return, in their order."""
    running = [Running(function, f"bounded-{index}") for index, function in enumerate(functions)]
    return [one.result(seconds) for one in running]


def eventually(holds: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Ask again and again until the answer is true, and return it.

    :param holds: what to ask
    :param seconds: how long to ask
    :raises AssertionError: when it was still false then; the text has the last answer
    """
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() > deadline
        answer = holds()
        if answer:
            return answer
        assert not late, f"still {answer!r} after {seconds} seconds"
        time.sleep(0.01)


def until_it_raises(call: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Call again and again, until it raises what the caller wants to see, or the time is over.

    :param call: what to call
    :param seconds: how long to go on
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        call()
        time.sleep(0.002)


def is_inside(thread: threading.Thread, function: Callable[..., object]) -> bool:
    """Say whether a thread is in a call of a function just now."""
    code = function.__code__
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def stacks() -> str:
    """Return the stacks of all threads, as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    pieces = []
    for ident, top in sys._current_frames().items():
        pieces.append(f"--- {names.get(ident, ident)}\n{_stack(top)}")
    return "\n".join(pieces)


def _stack(top: FrameType) -> str:
    try:
        return "".join(traceback.format_stack(top))
    except SystemError as error:
        # PyPy may fail to walk the stack of a thread that runs compiled code.
        return f"  {error}\n"
