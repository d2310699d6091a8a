"""What tests of the callback API stand on: on the broker under test a connection, a channel and a queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pika.channel import Channel
from tests.support.plain_connection import PlainConnection, call, open_channel, opened
from tests.support.rabbitmq import Broker


@pytest.fixture
def connection(broker: Broker) -> Iterator[PlainConnection]:
    """An open connection."""
    with opened(broker.parameters()) as connection:
        yield connection


@pytest.fixture
def channel(connection: PlainConnection) -> Channel:
    """An open channel."""
    return open_channel(connection)


@pytest.fixture
def queue(connection: PlainConnection, channel: Channel) -> str:
    """An exclusive queue."""
    return str(call(connection, channel.queue_declare, "", exclusive=True).method.queue)
