"""What the tests of the adapters share: on the broker under test a connection, a channel, a queue."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

import pika
from pika.adapters.blocking_connection import BlockingChannel
from tests.support.adapter_loops import KINDS, Loop
from tests.support.brokers import BOTH
from tests.support.rabbitmq import Broker

#: For a test of what the embedded broker does not have.
only_rabbitmq = pytest.mark.parametrize("broker", BOTH[1:], indirect=True)


@pytest.fixture(params=KINDS)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    """A loop, of each kind in turn; closed at the end."""
    loop = Loop(request.param)
    yield loop
    loop.close()


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
