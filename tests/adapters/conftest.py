"""What the tests of the adapters share: both brokers, and on the one under test a connection, a channel, a queue."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

import pika
from pika import broker as embedded_broker
from pika.adapters.blocking_connection import BlockingChannel
from tests.support.brokers import BOTH
from tests.support.rabbitmq import Broker

#: For a test of what the embedded broker does not have.
only_rabbitmq = pytest.mark.parametrize("broker", BOTH[1:], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # So that whoever looks for tests that need RabbitMQ by their fixtures finds these.
    for item in items:
        callspec = getattr(item, "callspec", None)
        if isinstance(item, pytest.Function) and callspec is not None and callspec.params.get("broker") == "rabbitmq":
            item.fixturenames = ["rabbitmq", *item.fixturenames]


@pytest.fixture(scope="session", params=BOTH)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The broker under test: the embedded one, then RabbitMQ. Only RabbitMQ has a `ctl`."""
    if request.param == "rabbitmq":
        yield request.getfixturevalue("rabbitmq")
        return
    with embedded_broker.Broker() as embedded:
        yield Broker(embedded.url)


@pytest.fixture
def connection(broker: Broker) -> Iterator[pika.BlockingConnection]:
    """A connection; closed at the end if the test has not done it."""
    opened = pika.BlockingConnection(broker.parameters())
    yield opened
    if opened.is_open:
        opened.close()


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> BlockingChannel:
    """A channel of the connection."""
    return connection.channel()


@pytest.fixture
def new_queue(channel: BlockingChannel) -> Callable[[], str]:
    """Declare queues that go with the connection."""

    def new() -> str:
        name = f"pika-{uuid.uuid4().hex}"
        channel.queue_declare(name, exclusive=True)
        return name

    return new


@pytest.fixture
def queue(new_queue: Callable[[], str]) -> str:
    """The name of a queue that goes with the connection."""
    return new_queue()
