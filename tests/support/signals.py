"""Signal handlers that interrupt this thread after some time."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Callable

import pytest

from pika.transport.loop import Loop

needs_alarms = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this platform")


@contextlib.contextmanager
def alarm(
    seconds: float, handler: Callable[[], object], loop: Loop | None = None, interval: float = 0.0
) -> Iterator[None]:
    """Have a signal handler run in the main thread, and put back what was there before.

    :param seconds: after which it runs
    :param handler: what it does
    :param loop: a loop that is about to be started: the time begins when it runs
    :param interval: seconds after which it runs again, and again; 0 for once
    """

    def run(_number: int, _frame: FrameType | None) -> None:
        handler()

    def begin() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, interval)

    before = signal.signal(signal.SIGALRM, run)
    try:
        if loop is None:
            begin()
        else:
            loop.add_callback(begin)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
