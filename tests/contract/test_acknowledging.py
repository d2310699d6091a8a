"""Acknowledging, refusing and recovering deliveries."""

from __future__ import annotations

from typing import Callable

import pytest

from pika import spec
from tests.contract.drivers import Channel, Message
from tests.contract.profiles import Profile
from tests.contract.refusals import channel_refused, connection_refused
from tests.contract.wire import Wire


@pytest.fixture
def delivered(channel: Channel, other: Channel, queue: str) -> list[Message]:
    """Five messages, from "1" to "5", delivered to a consumer on the channel."""
    channel.basic_consume(queue, "tag")
    other.publish_all(queue, *[str(number).encode() for number in range(1, 6)])
    return [channel.delivery() for _ in range(5)]


def left(channel: Channel, other: Channel, queue: str) -> list[bytes]:
    """End the channel, and return what the queue got back."""
    channel.synchronize()
    channel.close()
    return other.get_all(queue)


def unknown(tag: int) -> str:
    return f"PRECONDITION_FAILED - unknown delivery tag {tag}"


@pytest.mark.parametrize(
    ("tag", "multiple", "remaining"),
    [
        (1, False, [b"2", b"3", b"4", b"5"]),
        (3, False, [b"1", b"2", b"4", b"5"]),
        (3, True, [b"4", b"5"]),
        (5, True, []),
        (0, True, []),
    ],
)
@pytest.mark.usefixtures("delivered")
def test_ack(channel: Channel, other: Channel, queue: str, tag: int, multiple: bool, remaining: list[bytes]) -> None:
    channel.basic_ack(tag, multiple=multiple)
    assert left(channel, other, queue) == remaining


@pytest.mark.parametrize(
    ("tag", "multiple", "remaining"),
    [
        (1, False, [b"2", b"3", b"4", b"5"]),
        (3, True, [b"4", b"5"]),
        (0, True, []),
    ],
)
@pytest.mark.usefixtures("delivered")
def test_nack_without_requeue(
    channel: Channel, other: Channel, queue: str, tag: int, multiple: bool, remaining: list[bytes]
) -> None:
    channel.basic_nack(tag, multiple=multiple, requeue=False)
    assert left(channel, other, queue) == remaining


@pytest.mark.usefixtures("delivered")
def test_reject_without_requeue(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_reject(2, requeue=False)
    assert left(channel, other, queue) == [b"1", b"3", b"4", b"5"]


@pytest.mark.parametrize(
    ("tag", "multiple", "again"),
    [
        (2, False, [b"2"]),
        (3, True, [b"1", b"2", b"3"]),
        (0, True, [b"1", b"2", b"3", b"4", b"5"]),
    ],
)
@pytest.mark.usefixtures("delivered")
def test_nack_with_requeue(channel: Channel, tag: int, multiple: bool, again: list[bytes]) -> None:
    channel.basic_nack(tag, multiple=multiple)
    received = [channel.delivery() for _ in again]
    assert [message.body for message in received] == again
    assert [message.delivery_tag for message in received] == list(range(6, 6 + len(again)))
    assert all(message.redelivered for message in received)


@pytest.mark.usefixtures("delivered")
def test_reject_with_requeue(channel: Channel) -> None:
    channel.basic_reject(4)
    received = channel.delivery()
    assert (received.body, received.delivery_tag, received.redelivered) == (b"4", 6, True)


@pytest.mark.parametrize("order", [(5, 4, 3, 2, 1), (1, 2, 3, 4, 5), (3, 1, 5, 2, 4)])
@pytest.mark.usefixtures("delivered")
def test_requeued_messages_take_their_old_places(
    channel: Channel, other: Channel, queue: str, order: tuple[int, ...]
) -> None:
    channel.basic_cancel("tag")
    other.publish_all(queue, b"6")
    for tag in order:
        channel.basic_nack(tag)
    channel.synchronize()
    assert other.get_all(queue) == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_requeued_message_goes_to_another_consumer(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(1)
    channel.basic_consume(queue, "a")
    other.basic_consume(queue, "b")
    other.publish_all(queue, b"1")
    first = channel.delivery()
    channel.basic_nack(first.delivery_tag)
    received = other.delivery()
    assert (received.body, received.redelivered) == (b"1", True)


# Tags that are not outstanding


@pytest.mark.parametrize("tag", [1, 7, 2**63 - 1])
@pytest.mark.parametrize("operation", ["ack", "nack", "reject"])
def test_tag_that_was_never_delivered(channel: Channel, operation: str, tag: int) -> None:
    with channel_refused(406, unknown(tag)):
        getattr(channel, f"basic_{operation}")(tag)
        channel.synchronize()


@pytest.mark.parametrize("operation", ["ack", "nack", "reject"])
def test_tag_zero_means_nothing_alone(channel: Channel, operation: str) -> None:
    with channel_refused(406, unknown(0)):
        getattr(channel, f"basic_{operation}")(0)
        channel.synchronize()


@pytest.mark.parametrize("operation", ["ack", "nack"])
def test_tag_zero_with_nothing_outstanding(channel: Channel, operation: str) -> None:
    getattr(channel, f"basic_{operation}")(0, multiple=True)
    channel.synchronize()


@pytest.mark.usefixtures("delivered")
def test_ack_twice(channel: Channel) -> None:
    with channel_refused(406, unknown(2)):
        channel.basic_ack(2)
        channel.basic_ack(2)
        channel.synchronize()


@pytest.mark.usefixtures("delivered")
def test_ack_after_nack(channel: Channel) -> None:
    with channel_refused(406, unknown(2)):
        channel.basic_nack(2, requeue=False)
        channel.basic_ack(2)
        channel.synchronize()


@pytest.mark.usefixtures("delivered")
def test_multiple_beyond_what_was_delivered(channel: Channel) -> None:
    with channel_refused(406, unknown(6)):
        channel.basic_ack(6, multiple=True)
        channel.synchronize()


@pytest.mark.usefixtures("delivered")
def test_multiple_twice(channel: Channel) -> None:
    channel.basic_ack(3, multiple=True)
    with channel_refused(406, unknown(3)):
        channel.basic_ack(3, multiple=True)
        channel.synchronize()


@pytest.mark.usefixtures("delivered")
def test_multiple_up_to_a_tag_that_is_settled(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_ack(3)
    with channel_refused(406, unknown(3)):
        channel.basic_ack(3, multiple=True)
        channel.synchronize()
    assert other.get_all(queue) == [b"1", b"2", b"4", b"5"]


def test_ack_of_what_needs_none(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1")
    received = channel.basic_get(queue, no_ack=True)
    assert received is not None
    with channel_refused(406, unknown(1)):
        channel.basic_ack(received.delivery_tag)
        channel.synchronize()


@pytest.mark.usefixtures("delivered")
def test_tags_belong_to_channels(other: Channel) -> None:
    with channel_refused(406, unknown(1)):
        other.basic_ack(1)
        other.synchronize()


def test_ack_when_the_queue_is_gone(channel: Channel, other: Channel, queue: str, delivered: list[Message]) -> None:
    other.queue_delete(queue)
    assert channel.next() == ("tag",)
    channel.basic_ack(delivered[0].delivery_tag)
    channel.basic_nack(delivered[1].delivery_tag)
    channel.synchronize()


# Recovering


@pytest.mark.usefixtures("delivered")
def test_recover(channel: Channel) -> None:
    channel.basic_ack(2)
    channel.basic_recover(requeue=True)
    received = [channel.delivery() for _ in range(4)]
    assert [message.body for message in received] == [b"1", b"3", b"4", b"5"]
    assert [message.delivery_tag for message in received] == [6, 7, 8, 9]
    assert all(message.redelivered for message in received)


@pytest.mark.usefixtures("delivered")
def test_recover_spares_other_channels(channel: Channel, other: Channel, queue: str) -> None:
    other.basic_recover(requeue=True)
    assert channel.settled(queue) == []


def test_recover_with_nothing_outstanding(channel: Channel) -> None:
    channel.basic_recover(requeue=True)


def test_recover_to_the_same_consumer_is_refused(channel: Channel) -> None:
    with connection_refused(540, "NOT_IMPLEMENTED - requeue=false"):
        channel.basic_recover(requeue=False)


def test_recover_async(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.publish("", queue, b"x")
    wire.send(spec.Basic.Get(0, queue))
    wire.expect_content(spec.Basic.GetOk)
    wire.send(spec.Basic.RecoverAsync(True))
    wire.send(spec.Basic.Get(0, queue))
    method, content = wire.expect_content(spec.Basic.GetOk)
    assert (method.redelivered, method.delivery_tag, content.body) == (True, 2, b"x")


def test_recover_async_to_the_same_consumer_is_refused(wire: Wire) -> None:
    wire.send(spec.Basic.RecoverAsync(False))
    wire.expect_closed(540, "NOT_IMPLEMENTED - requeue=false", spec.Basic.RecoverAsync)


# Prefetch


def test_prefetch(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(2)
    channel.basic_consume(queue, "tag")
    other.publish_all(queue, *[str(number).encode() for number in range(1, 6)])
    assert channel.bodies(2) == [b"1", b"2"]
    assert channel.settled(queue) == []
    channel.basic_ack(1)
    assert channel.bodies(1) == [b"3"]
    assert channel.settled(queue) == []
    channel.basic_reject(2, requeue=False)
    assert channel.bodies(1) == [b"4"]
    assert channel.settled(queue) == []
    channel.basic_ack(0, multiple=True)
    assert channel.bodies(1) == [b"5"]


def test_prefetch_does_not_bound_what_needs_no_acknowledgement(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(1)
    channel.basic_consume(queue, "tag", no_ack=True)
    other.publish_all(queue, b"1", b"2", b"3")
    assert channel.bodies(3) == [b"1", b"2", b"3"]


def test_prefetch_does_not_bound_get(channel: Channel, queue: str) -> None:
    channel.basic_qos(1)
    channel.publish_all(queue, b"1", b"2")
    assert channel.basic_get(queue) is not None
    assert channel.basic_get(queue) is not None


def test_prefetch_counts_for_each_consumer(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(1)
    channel.basic_consume(queue, "a")
    channel.basic_consume(queue, "b")
    other.publish_all(queue, b"1", b"2", b"3")
    arrived = [channel.delivery() for _ in range(2)]
    assert [(message.consumer_tag, message.body) for message in arrived] == [("a", b"1"), ("b", b"2")]
    assert channel.settled(queue) == []


def test_prefetch_is_that_of_when_the_consumer_began(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(1)
    channel.basic_consume(queue, "a")
    channel.basic_qos(2)
    channel.basic_consume(queue, "b")
    other.publish_all(queue, b"1", b"2", b"3", b"4", b"5")
    assert sorted(channel.delivery().consumer_tag for _ in range(3)) == ["a", "b", "b"]
    assert channel.settled(queue) == []


def test_prefetch_of_the_channel_counts_all_consumers(
    channel: Channel, other: Channel, queue: str, profile: Profile
) -> None:
    channel.basic_qos(2, global_qos=True)
    channel.basic_consume(queue, "a")
    channel.basic_consume(queue, "b")
    other.publish_all(queue, *[str(number).encode() for number in range(1, 7)])
    # Without a prefetch of the channel it is one of each of its consumers.
    count = 2 if profile.channel_prefetch else 4
    assert sorted(channel.bodies(count)) == [b"1", b"2", b"3", b"4"][:count]
    assert channel.settled(queue) == []
    channel.basic_ack(0, multiple=True)
    assert sorted(channel.bodies(2)) == ([b"3", b"4"] if profile.channel_prefetch else [b"5", b"6"])
    assert channel.settled(queue) == []


def test_prefetch_of_the_channel_works_at_once(channel: Channel, other: Channel, queue: str, profile: Profile) -> None:
    channel.basic_consume(queue, "a")
    other.publish_all(queue, b"1")
    assert channel.bodies(1) == [b"1"]
    channel.basic_qos(2, global_qos=True)
    other.publish_all(queue, b"2", b"3")
    assert channel.bodies(1) == [b"2"]
    if profile.channel_prefetch:
        assert channel.settled(queue) == []
        channel.basic_qos(0, global_qos=True)
    assert channel.bodies(1) == [b"3"]


def test_prefetch_of_consumer_and_channel_both_count(
    channel: Channel, other: Channel, queue: str, profile: Profile
) -> None:
    channel.basic_qos(2)
    channel.basic_qos(3, global_qos=True)
    channel.basic_consume(queue, "a")
    channel.basic_consume(queue, "b")
    other.publish_all(queue, *[b"x"] * 8)
    tags = [channel.delivery().consumer_tag for _ in range(3 if profile.channel_prefetch else 6)]
    assert set(tags) == {"a", "b"}
    assert channel.settled(queue) == []


def test_prefetch_of_the_channel_is_its_own(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(1, global_qos=True)
    other.basic_consume(queue, "b")
    other.publish_all(queue, b"1", b"2")
    assert other.bodies(2) == [b"1", b"2"]


def test_prefetch_in_octets_is_refused(channel: Channel) -> None:
    with connection_refused(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
        channel.basic_qos(0, prefetch_size=1)


def test_what_is_given_back_is_not_counted(channel: Channel, other: Channel, new_queue: Callable[[], str]) -> None:
    queue = new_queue()
    channel.basic_qos(1)
    channel.basic_consume(queue, "tag")
    other.publish_all(queue, b"1", b"2")
    for _ in range(3):
        received = channel.delivery()
        assert received.body == b"1"
        channel.basic_nack(received.delivery_tag)
