"""What tests of ``pika.Connection`` do again and again."""

from __future__ import annotations

import sys
import threading

from pika.client import Channel
from pika.client.threaded_waiting import Gate


def ready(channel: Channel, queue: str) -> int:
    """Return how many messages are in a queue that nobody has got."""
    return channel.queue_declare(queue, passive=True).method.message_count


def waits(thread: threading.Thread) -> bool:
    """Say whether a thread has come to wait in a call of a client's."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code is Gate.wait.__code__:
            return True
        frame = frame.f_back
    return False
