"""What tests of the callback API stand on: each broker, a connection to it, a channel and a queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pika import broker as embedded
from pika.channel import Channel
from tests.support.plain_connection import PlainConnection, call, open_channel, opened
from tests.support.rabbitmq import Broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # So that whoever looks for tests that need RabbitMQ by their fixtures finds these.
    for item in items:
        callspec = getattr(item, "callspec", None)
        if isinstance(item, pytest.Function) and callspec is not None and callspec.params.get("broker") == "rabbitmq":
            item.fixturenames = ["rabbitmq", *item.fixturenames]


@pytest.fixture(scope="session", params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The embedded broker, then RabbitMQ."""
    if request.param == "rabbitmq":
        yield request.getfixturevalue("rabbitmq")
        return
    with embedded.Broker() as running:
        yield Broker(running.url)


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
