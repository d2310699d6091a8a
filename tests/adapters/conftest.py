"""What the tests of the adapters share: a connection, a channel and a queue on the run's RabbitMQ."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import pika
from tests.support.rabbitmq import Broker


@pytest.fixture
def connection(rabbitmq: Broker) -> Iterator[pika.BlockingConnection]:
    """A connection; closed at the end if the test has not done it."""
    opened = pika.BlockingConnection(rabbitmq.parameters())
    yield opened
    if opened.is_open:
        opened.close()


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> pika.adapters.blocking_connection.BlockingChannel:
    """A channel of the connection."""
    return connection.channel()


@pytest.fixture
def queue(channel: pika.adapters.blocking_connection.BlockingChannel) -> str:
    """The name of a queue that goes with the connection."""
    name = f"pika-{uuid.uuid4().hex}"
    channel.queue_declare(name, exclusive=True)
    return name
