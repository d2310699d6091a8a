"""How the broker keeps a message: the values of the ``delivery_mode`` property."""

from __future__ import annotations

from enum import Enum


class DeliveryMode(Enum):
    """The ``delivery-mode`` of a message (AMQP 0-9-1, class ``basic``); pass ``.value`` or the member itself."""

    # May be lost when the broker restarts.
    Transient = 1
    # Written to disk if the queue is durable.
    Persistent = 2
