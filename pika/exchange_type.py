"""The exchange types that every AMQP 0-9-1 broker has (section 3.1.3)."""

from __future__ import annotations

from enum import Enum


class ExchangeType(str, Enum):
    """How an exchange routes; a ``str``, so it stands wherever the name of an exchange type does."""

    # To queues bound with the message's routing key.
    direct = "direct"
    # To every queue bound.
    fanout = "fanout"
    # To queues whose binding arguments match the message's headers.
    headers = "headers"
    # To queues bound with a pattern that matches the words of the routing key.
    topic = "topic"
