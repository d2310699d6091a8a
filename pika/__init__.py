"""pika: a RabbitMQ (AMQP 0-9-1) client library in pure Python."""

from __future__ import annotations

import logging

__version__ = "1.9.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())
