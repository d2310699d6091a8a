"""The two brokers that tests of the clients run on, seen alike: the embedded one and RabbitMQ."""

from __future__ import annotations

from typing import Any

import pytest

import pika
from pika.broker import Broker as EmbeddedBroker
from tests.support.rabbitmq import Broker

#: What to parametrize a fixture with: its test runs on both brokers.
BOTH = [pytest.param("embedded"), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]


class Target:
    """A broker, and what can be done to it.

    :param broker: the embedded one, or RabbitMQ; it runs
    """

    def __init__(self, broker: EmbeddedBroker | Broker) -> None:
        self.broker = broker
        self.url = broker.url
        #: Whether it takes no more messages.
        self.is_alarmed = False

    def parameters(self, **attributes: Any) -> pika.URLParameters:
        """Return new connection parameters for it, with `attributes` set on them."""
        parameters = pika.URLParameters(self.url)
        for name, value in attributes.items():
            setattr(parameters, name, value)
        return parameters

    def connect(self, *, background_heartbeats: bool = True, **attributes: Any) -> pika.BlockingConnection:
        """Open a connection, with `attributes` set on its parameters."""
        return pika.BlockingConnection(self.parameters(**attributes), background_heartbeats=background_heartbeats)

    def raise_alarm(self) -> None:
        """Have it take no more messages."""
        self.is_alarmed = True
        if isinstance(self.broker, EmbeddedBroker):
            self.broker.block("low on memory")
        else:
            self.broker.raise_memory_alarm()

    def clear_alarm(self) -> None:
        """Have it take messages again."""
        self.is_alarmed = False
        if isinstance(self.broker, EmbeddedBroker):
            self.broker.unblock()
        else:
            self.broker.end_memory_alarm()


def at(port: int, **options: Any) -> pika.ConnectionParameters:
    """Return the parameters of a broker on a port of this machine.

    :param port: the port
    :param options: more of the parameters
    """
    return pika.ConnectionParameters("127.0.0.1", port, **options)
