"""Answers of the embedded broker that are RabbitMQ's, asked of both, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pika import spec
from pika.broker import Broker
from tests.contract.profiles import profile_for
from tests.contract.wire import Wire
from tests.support.bounded import eventually


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """An open connection with channel 1 open."""
    if request.param == "rabbitmq":
        wire = Wire(request.getfixturevalue("rabbitmq").url).connect()
        wire.open_channel()
        yield wire
        wire.close()
        return
    with Broker() as broker:
        wire = Wire(broker.url).connect()
        wire.open_channel()
        yield wire
        wire.close()


# A limit for all consumers of a channel, while messages that were got are unsettled -------------------------------


@pytest.fixture
def queue(wire: Wire) -> str:
    """A queue of 20 messages; the test is over where global limits are not RabbitMQ 3's."""
    if not profile_for(wire.server_properties).channel_prefetch:
        pytest.skip("this version takes a limit for a channel as one for each consumer")
    queue = wire.declare_queue()
    for _ in range(20):
        wire.publish("", queue, b"x")
    eventually(lambda: ready(wire, queue) == 20)
    return queue


def ready(wire: Wire, queue: str) -> int:
    """How many messages of a queue are ready."""
    wire.send(spec.Queue.Declare(0, queue, passive=True))
    return wire.expect(spec.Queue.DeclareOk).message_count


def get(wire: Wire, queue: str, count: int, no_ack: bool = False) -> None:
    for _ in range(count):
        wire.send(spec.Basic.Get(0, queue, no_ack))
        wire.expect_content(spec.Basic.GetOk)


def limit(wire: Wire, prefetch_count: int, is_global: bool = True) -> None:
    wire.send(spec.Basic.Qos(0, prefetch_count, is_global))
    wire.expect(spec.Basic.QosOk)


def consume(wire: Wire, queue: str, count: int) -> None:
    """Consume, and see that so many deliveries come."""
    wire.send(spec.Basic.Consume(0, queue))
    wire.expect(spec.Basic.ConsumeOk)
    deliveries(wire, count)


def deliveries(wire: Wire, count: int) -> None:
    """See that so many deliveries come, and then nothing."""
    for _ in range(count):
        wire.expect_content(spec.Basic.Deliver)
    with pytest.raises(TimeoutError):
        wire.next(0.3)


def test_what_was_got_before_the_limit_counts_even_when_it_is_settled(wire: Wire, queue: str) -> None:
    get(wire, queue, 3)
    limit(wire, 5)
    consume(wire, queue, 2)
    wire.send(spec.Basic.Ack(1))
    deliveries(wire, 0)
    wire.send(spec.Basic.Ack(4))
    deliveries(wire, 1)
    limit(wire, 6)
    deliveries(wire, 1)
    wire.send(spec.Basic.Ack(0, True))
    deliveries(wire, 3)


def test_what_is_got_under_the_limit_does_not_count(wire: Wire, queue: str) -> None:
    limit(wire, 5)
    get(wire, queue, 3)
    limit(wire, 6)
    consume(wire, queue, 6)


@pytest.mark.parametrize("is_global", [True, False])
def test_a_limit_that_was_taken_away_counts_anew(wire: Wire, queue: str, is_global: bool) -> None:
    get(wire, queue, 2)
    limit(wire, 5)
    wire.send(spec.Basic.Ack(1))
    limit(wire, 0, is_global)
    get(wire, queue, 2)
    limit(wire, 5)
    consume(wire, queue, 2)


def test_as_many_were_got_as_the_limit_allows(wire: Wire, queue: str) -> None:
    get(wire, queue, 5)
    limit(wire, 5)
    consume(wire, queue, 0)
    wire.send(spec.Basic.Ack(0, True))
    deliveries(wire, 0)
    limit(wire, 0)
    deliveries(wire, 15)


@pytest.mark.parametrize("settle", [spec.Basic.Nack(1, False, True), spec.Basic.Reject(1, True)])
def test_what_was_got_and_given_back_still_counts(wire: Wire, queue: str, settle: Any) -> None:
    get(wire, queue, 3)
    limit(wire, 5)
    consume(wire, queue, 2)
    wire.send(settle)
    deliveries(wire, 0)


def test_what_was_got_without_acknowledgement_does_not_count(wire: Wire, queue: str) -> None:
    get(wire, queue, 3, no_ack=True)
    limit(wire, 5)
    consume(wire, queue, 5)


# Names of direct reply-to ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["amq.rabbitmq.reply-to.x", "amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-tox"])
@pytest.mark.parametrize("passive", [False, True])
def test_declaring_a_reply_queue_that_nobody_consumes(wire: Wire, name: str, passive: bool) -> None:
    wire.send(spec.Queue.Declare(0, name, passive))
    wire.expect_channel_closed(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", spec.Queue.Declare)
