"""What these tests share: both brokers, and on the one under test a connection, a channel and a queue."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.support.brokers import BOTH
from tests.support.rabbitmq import Broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # So that whoever looks for tests that need RabbitMQ by their fixtures finds these.
    for item in items:
        callspec = getattr(item, "callspec", None)
        if isinstance(item, pytest.Function) and callspec is not None and callspec.params.get("broker") == "rabbitmq":
            item.fixturenames = ["rabbitmq", *item.fixturenames]


@pytest.fixture(scope="session", params=BOTH)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The broker under test: the embedded one, then RabbitMQ."""
    if request.param == "rabbitmq":
        yield request.getfixturevalue("rabbitmq")
        return
    from pika.broker import Broker as EmbeddedBroker

    with EmbeddedBroker() as embedded:
        yield Broker(embedded.url)


@pytest.fixture
def connection(broker: Broker) -> Iterator[BlockingConnection]:
    """A connection; closed at the end if the test has not done it."""
    opened = pika.BlockingConnection(broker.parameters())
    yield opened
    if opened.is_open:
        opened.close()


@pytest.fixture
def channel(connection: BlockingConnection) -> BlockingChannel:
    """A channel of the connection."""
    return connection.channel()


@pytest.fixture
def queue(channel: BlockingChannel) -> str:
    """The name of a queue that goes with the connection."""
    name = f"pika-{uuid.uuid4().hex}"
    channel.queue_declare(name, exclusive=True)
    return name
