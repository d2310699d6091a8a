"""Threads and locks of the system's own, also where gevent has put greenlets in their place."""

from __future__ import annotations

import _thread
import sys
import threading
from typing import Any, Callable


def lock() -> Any:
    """Return a new lock, to be held for moments in which no greenlet can take its turn."""
    return _original("allocate_lock")()


def start_daemon(run: Callable[[], object], name: str) -> None:
    """Start a thread, which nobody waits for when the program ends.

    It goes on while greenlets keep the thread that they share busy. Starting it never waits, as gevent's hub must not.

    :param run: what it does
    :param name: its name
    :raises RuntimeError: no thread can be started: late in the interpreter's life, or for a limit of the system
    """
    start = _original("start_new_thread")
    if start is _thread.start_new_thread:
        threading.Thread(target=run, name=name, daemon=True).start()
    else:
        start(run, ())


def _original(name: str) -> Any:
    # A program that has not loaded it has nothing patched.
    monkey = sys.modules.get("gevent.monkey")
    return getattr(_thread, name) if monkey is None else monkey.get_original("_thread", name)
