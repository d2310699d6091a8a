"""What code takes in memory and in descriptors, and when it is given back."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

_FINALIZERS_IN_A_ROW = 4


@contextmanager
def traced() -> Iterator[ModuleType]:
    """Trace memory, and hand out :mod:`tracemalloc` to ask about it. Skips the test where Python traces none."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not trace memory")
    gc.collect()
    tracemalloc.start()
    try:
        yield tracemalloc
    finally:
        tracemalloc.stop()


def count_descriptors() -> int:
    """Return how many descriptors this process has open; 0 where that cannot be known."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def free_forgotten() -> None:
    """See to it that what nobody refers to is gone: CPython, which counts references, has freed it already."""
    if sys.implementation.name != "cpython":
        # What has a finalizer keeps what it refers to until the next collection; of these there may be some in a row,
        # such as a task, its coroutine, and what that looped over.
        for _ in range(_FINALIZERS_IN_A_ROW):
            gc.collect()
