"""What the tests of pika.Connection share: on the broker under test a connection, a channel, a queue."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import pika
from pika.client.threaded_channel import Channel
from tests.support.rabbitmq import Broker


@pytest.fixture
def connection(broker: Broker) -> Iterator[pika.Connection]:
    """A connection; closed at the end."""
    with pika.connect(broker.url) as connection:
        yield connection


@pytest.fixture
def channel(connection: pika.Connection) -> Channel:
    """A channel of the connection."""
    return connection.channel()


@pytest.fixture
def queue(channel: Channel) -> str:
    """The name of a queue that goes with the connection."""
    return channel.queue_declare(f"client-{uuid.uuid4().hex}", exclusive=True).method.queue
