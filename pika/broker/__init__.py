"""A broker inside this process, to develop and test against: ``with pika.broker.Broker() as broker: broker.url``."""

from __future__ import annotations

from pika.broker.server import Broker
from pika.broker.users import User

__all__ = ["Broker", "User"]
