"""What another thread may do in the middle of a function, at a moment of the test's choosing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Callable


@contextmanager
def before_line(code: CodeType, number: int | None, action: Callable[[], object]) -> Iterator[None]:
    """Do something in this thread before it runs a line of a function.

    :param code: that of the function
    :param number: which of the lines that it runs, from 1, and once; None for each of them
    :param action: what to do
    """
    lines = 0

    def on_event(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        if frame.f_code is not code:
            return None
        if event == "line":
            lines += 1
            if number is None or lines == number:
                action()
        return on_event

    before = sys.gettrace()
    sys.settrace(on_event)
    try:
        yield
    finally:
        sys.settrace(before)
