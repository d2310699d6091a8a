"""A signal handler that raises, at a moment of the test's choosing: at the n-th line that the library runs."""

from __future__ import annotations

import linecache
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pika

_LIBRARY = str(Path(pika.__file__).parent)


class Interruption(BaseException):
    """What the signal handler raises."""


class CtrlC(Interruption, KeyboardInterrupt):
    """The same, as asyncio lets it pass, and as it comes before Python 3.11: never between a ``try:`` and its block."""


class Countdown:
    """Says whether the interruption came."""

    def __init__(self, lines: int) -> None:
        self.left = lines

    @property
    def came(self) -> bool:
        """Whether it came; otherwise less than that number of lines were run."""
        return self.left < 0


def _is_try(frame: FrameType) -> bool:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"


@contextmanager
def interrupted_after(lines: int, pause: float = 0.0, error: type[Interruption] = Interruption) -> Iterator[Countdown]:
    """Raise :class:`Interruption` in this thread before the library runs one more line than `lines`, once.

    :param lines: how many lines of the library run before
    :param pause: seconds that the signal handler takes, in which other threads come to wait for what this one has
    :param error: what to raise
    """
    countdown = Countdown(lines)

    def on_event(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(_LIBRARY):
            return None
        if event == "line" and not (error is CtrlC and _is_try(frame)):
            countdown.left -= 1
            if countdown.came:
                sys.settrace(None)
                time.sleep(pause)
                raise error
        return on_event

    before = sys.gettrace()
    sys.settrace(on_event)
    try:
        yield countdown
    except Interruption:
        pass
    finally:
        sys.settrace(before)
