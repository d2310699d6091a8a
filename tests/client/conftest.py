"""What the tests of the modern clients share: brokers; and for threads a connection, a channel, a queue."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import pika
from pika.broker import Broker as EmbeddedBroker
from pika.client.threaded_channel import Channel
from tests.support.bounded import EVERY_LINE
from tests.support.brokers import BOTH, Target
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


@pytest.fixture(params=BOTH)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A broker that can be given an alarm, and connections to it with parameters of their own."""
    if request.param == "rabbitmq":
        target = Target(request.getfixturevalue("rabbitmq"))
        yield target
        if target.is_alarmed:
            target.clear_alarm()
    else:
        with EmbeddedBroker() as embedded:
            yield Target(embedded)


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"] if EVERY_LINE else ["embedded"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a broker for what takes long: RabbitMQ is asked too when all is tried."""
    if request.param == "rabbitmq":
        yield request.getfixturevalue("rabbitmq").url
    else:
        with EmbeddedBroker() as embedded:
            yield embedded.url
