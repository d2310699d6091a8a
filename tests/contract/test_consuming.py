"""Consuming and getting: tags, modes, order, who gets what, cancelling."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from pika import frame, spec
from tests.contract.drivers import Channel, Connection
from tests.contract.refusals import channel_refused, no_queue
from tests.contract.wire import Wire

Connect = Callable[[], Connection]


def exclusive_use(queue: str) -> str:
    return f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"


# Getting


def test_get_from_an_empty_queue(channel: Channel, queue: str) -> None:
    assert channel.basic_get(queue) is None


def test_get_counts_what_is_left(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1", b"2", b"3")
    for left, body in ((2, b"1"), (1, b"2"), (0, b"3")):
        received = channel.basic_get(queue)
        assert received is not None
        assert (received.message_count, received.body, received.redelivered) == (left, body, False)
        assert (received.delivery_tag, received.exchange, received.routing_key) == (3 - left, "", queue)


def test_get_without_acknowledgement(channel: Channel, other: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1")
    assert channel.basic_get(queue, no_ack=True) is not None
    channel.close()
    assert other.basic_get(queue) is None


def test_get_with_acknowledgement(channel: Channel, other: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1")
    received = channel.basic_get(queue)
    assert received is not None
    channel.basic_ack(received.delivery_tag)
    channel.close()
    assert other.basic_get(queue) is None


def test_get_that_was_not_acknowledged(channel: Channel, other: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1")
    assert channel.basic_get(queue) is not None
    assert other.basic_get(queue) is None
    channel.close()
    again = other.basic_get(queue)
    assert again is not None
    assert (again.redelivered, again.delivery_tag, again.body) == (True, 1, b"1")


def test_delivery_tags_count_what_needs_no_acknowledgement_too(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1", b"2", b"3")
    tags = []
    for no_ack in (False, True, False):
        received = channel.basic_get(queue, no_ack=no_ack)
        assert received is not None
        tags.append(received.delivery_tag)
    assert tags == [1, 2, 3]


# Tags


def test_consume_of_a_missing_queue(channel: Channel) -> None:
    with channel_refused(404, no_queue("contract-missing")):
        channel.basic_consume("contract-missing", "tag")


def test_server_chooses_the_tag(wire: Wire) -> None:
    queue = wire.declare_queue()
    tags = set()
    for _ in range(2):
        wire.send(spec.Basic.Consume(0, queue, "", no_ack=True))
        tags.add(wire.expect(spec.Basic.ConsumeOk).consumer_tag)
    assert len(tags) == 2
    assert all(tag.startswith("amq.ctag-") and len(tag) == len("amq.ctag-") + 22 for tag in tags)


def test_tag_in_use(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "tag"))
    wire.expect(spec.Basic.ConsumeOk)
    wire.send(spec.Basic.Consume(0, queue, "tag"))
    wire.expect_closed(530, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'", spec.Basic.Consume)


def test_tags_belong_to_channels(channel: Channel, other: Channel, queue: str) -> None:
    assert channel.basic_consume(queue, "tag") == "tag"
    assert other.basic_consume(queue, "tag") == "tag"


def test_consume_without_an_answer(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "tag", no_ack=True, nowait=True))
    wire.publish("", queue, b"x")
    method, content = wire.expect_content(spec.Basic.Deliver)
    assert (method.consumer_tag, content.body) == ("tag", b"x")


def test_consume_without_an_answer_or_a_tag(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "", no_ack=True, nowait=True))
    wire.publish("", queue, b"x")
    method, _ = wire.expect_content(spec.Basic.Deliver)
    assert method.consumer_tag.startswith("amq.ctag-")


def test_no_local_means_nothing(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "tag", no_local=True, no_ack=True))
    wire.expect(spec.Basic.ConsumeOk)
    wire.publish("", queue, b"x")
    assert wire.expect_content(spec.Basic.Deliver)[1].body == b"x"


def test_consume_ok_comes_before_the_first_delivery(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.publish("", queue, b"1")
    wire.publish("", queue, b"2")
    wire.send(spec.Basic.Consume(0, queue, "tag", no_ack=True))
    assert wire.names(3) == ["Basic.ConsumeOk", "Basic.Deliver", "Basic.Deliver"]


# Exclusive consumers


def test_exclusive_consumer_keeps_others_out(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag", exclusive=True)
    with channel_refused(403, exclusive_use(queue)):
        other.basic_consume(queue, "another")


def test_exclusive_consumer_comes_too_late(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag")
    with channel_refused(403, exclusive_use(queue)):
        other.basic_consume(queue, "another", exclusive=True)


def test_exclusive_consumer_does_not_keep_get_out(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(1)
    channel.basic_consume(queue, "tag", exclusive=True)
    other.publish_all(queue, b"1", b"2")
    assert channel.delivery().body == b"1"
    assert other.get_all(queue) == [b"2"]


def test_exclusive_consumer_that_is_gone(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag", exclusive=True)
    channel.basic_cancel("tag")
    assert other.basic_consume(queue, "another", exclusive=True) == "another"


# What is delivered


def test_delivery(channel: Channel, queue: str) -> None:
    channel.queue_bind(queue, "amq.direct", queue)
    channel.basic_consume(queue, "tag")
    channel.basic_publish("amq.direct", queue, b"body")
    received = channel.delivery()
    assert (received.consumer_tag, received.delivery_tag, received.redelivered) == ("tag", 1, False)
    assert (received.exchange, received.routing_key, received.body) == ("amq.direct", queue, b"body")


def test_deliveries_come_in_order(channel: Channel, queue: str) -> None:
    bodies = [str(number).encode() for number in range(200)]
    channel.publish_all(queue, *bodies)
    channel.basic_consume(queue, "tag")
    received = [channel.delivery() for _ in bodies]
    assert [message.body for message in received] == bodies
    assert [message.delivery_tag for message in received] == list(range(1, 201))


def test_without_acknowledgement_nothing_comes_again(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag", no_ack=True)
    other.publish_all(queue, b"1", b"2")
    assert channel.bodies(2) == [b"1", b"2"]
    channel.close()
    assert other.basic_get(queue) is None


def test_consumers_take_turns(channel: Channel, queue: str) -> None:
    for tag in ("a", "b", "c"):
        channel.basic_consume(queue, tag, no_ack=True)
    channel.publish_all(queue, *[b"x"] * 9)
    assert [channel.delivery().consumer_tag for _ in range(9)] == ["a", "b", "c"] * 3


def test_consumers_of_several_channels_take_turns(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "a", no_ack=True)
    other.basic_consume(queue, "b", no_ack=True)
    bodies = [str(number).encode() for number in range(8)]
    channel.publish_all(queue, *bodies)
    assert channel.bodies(4) == bodies[::2]
    assert other.bodies(4) == bodies[1::2]


def test_a_consumer_that_is_full_misses_its_turn(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_qos(1)
    channel.basic_consume(queue, "a")
    other.basic_consume(queue, "b", no_ack=True)
    other.publish_all(queue, b"1", b"2", b"3", b"4")
    assert channel.bodies(1) == [b"1"]
    assert other.bodies(3) == [b"2", b"3", b"4"]


def test_higher_priority_comes_first(channel: Channel, queue: str) -> None:
    channel.basic_qos(2)
    for tag, priority in (("low", -1), ("none", None), ("high", 10)):
        channel.basic_consume(queue, tag, arguments=None if priority is None else {"x-priority": priority})
    channel.publish_all(queue, *[b"x"] * 5)
    tags = [channel.delivery().consumer_tag for _ in range(5)]
    assert tags == ["high", "high", "none", "none", "low"]


def test_consumers_of_one_priority_take_turns(channel: Channel, queue: str) -> None:
    for tag, priority in (("a", 0), ("b", 5), ("c", 5)):
        channel.basic_consume(queue, tag, no_ack=True, arguments={"x-priority": priority})
    channel.publish_all(queue, *[b"x"] * 4)
    assert [channel.delivery().consumer_tag for _ in range(4)] == ["b", "c", "b", "c"]


def test_priority_that_is_no_number(channel: Channel, queue: str) -> None:
    text = f"PRECONDITION_FAILED - invalid arg 'x-priority' for queue '{queue}' in vhost '/': "
    with channel_refused(406, text + '"expected integer, got longstr"'):
        channel.basic_consume(queue, "tag", arguments={"x-priority": "high"})


# Cancelling


def test_cancel(channel: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag")
    channel.basic_cancel("tag")
    assert channel.queue_declare(queue, passive=True).consumer_count == 0
    channel.publish_all(queue, b"x")
    assert channel.get_all(queue) == [b"x"]


def test_cancel_of_an_unknown_tag(wire: Wire) -> None:
    wire.send(spec.Basic.Cancel("nobody"))
    assert wire.expect(spec.Basic.CancelOk).consumer_tag == "nobody"


def test_cancel_without_an_answer(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "tag"))
    wire.expect(spec.Basic.ConsumeOk)
    wire.send(spec.Basic.Cancel("tag", nowait=True), spec.Queue.Declare(0, queue, passive=True))
    assert wire.expect(spec.Queue.DeclareOk).consumer_count == 0


def test_cancel_leaves_what_is_unacknowledged(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag")
    other.publish_all(queue, b"1", b"2")
    first, second = channel.delivery(), channel.delivery()
    channel.basic_cancel("tag")
    assert other.basic_get(queue) is None
    channel.basic_ack(first.delivery_tag)
    channel.basic_reject(second.delivery_tag)
    channel.synchronize()
    assert other.get_all(queue) == [b"2"]


def test_nothing_is_delivered_behind_cancel_ok(wire: Wire) -> None:
    wire.open_channel(2)
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "tag", no_ack=True))
    wire.expect(spec.Basic.ConsumeOk)
    for _ in range(100):
        wire.publish("", queue, b"x", channel=2)
    wire.send(spec.Basic.Cancel("tag"))
    delivered = 0
    while wire.next().name == "Basic.Deliver":
        delivered += 1
    wire.send(spec.Channel.Flow(True), channel=2)
    wire.expect(spec.Channel.FlowOk, 2)
    wire.send(spec.Queue.Delete(0, queue))
    assert wire.expect(spec.Queue.DeleteOk).message_count == 100 - delivered


def test_tag_is_free_again_after_cancel(channel: Channel, queue: str) -> None:
    for _ in range(3):
        assert channel.basic_consume(queue, "tag") == "tag"
        channel.basic_cancel("tag")


# When a channel or a connection ends


@pytest.mark.parametrize("end", ["channel", "connection"])
def test_what_was_not_acknowledged_comes_again(
    channel: Channel, connect: Connect, new_queue: Callable[[], str], end: str
) -> None:
    queue = new_queue()
    consumer = connect()
    consuming = consumer.channel()
    consuming.basic_consume(queue, "tag")
    channel.publish_all(queue, *[str(number).encode() for number in range(5)])
    tags = [consuming.delivery().delivery_tag for _ in range(5)]
    consuming.basic_ack(tags[1])
    consuming.synchronize()
    closing: Any = consuming if end == "channel" else consumer
    closing.close()
    again = []
    for _ in range(4):
        received = channel.basic_get(queue, no_ack=True)
        assert received is not None
        again.append((received.body, received.redelivered))
    assert again == [(b"0", True), (b"2", True), (b"3", True), (b"4", True)]
    assert channel.basic_get(queue) is None


def test_what_a_lost_connection_left_comes_again(
    channel: Channel, new_wire: Callable[[], Wire], new_queue: Callable[[], str]
) -> None:
    queue = new_queue()
    lost = new_wire().connect()
    lost.open_channel()
    lost.send(spec.Basic.Consume(0, queue, "tag"))
    lost.expect(spec.Basic.ConsumeOk)
    channel.publish_all(queue, b"1")
    lost.expect_content(spec.Basic.Deliver)
    channel.basic_consume(queue, "tag")
    lost.disconnect()
    received = channel.delivery()
    assert (received.body, received.redelivered) == (b"1", True)


def test_what_was_published_in_half_is_lost(wire: Wire, new_wire: Callable[[], Wire]) -> None:
    queue = wire.declare_queue()
    lost = new_wire().connect()
    lost.open_channel()
    lost.publish("", queue, b"whole")
    lost.send(spec.Basic.Publish(0, "", queue))
    lost.send_bytes(frame.encode_header(1, 10, spec.BasicProperties()))
    lost.send_frame(spec.FRAME_BODY, 1, b"half")
    lost.send_bytes(b"\x03\0\x01\0")
    lost.disconnect()
    wire.send(spec.Basic.Consume(0, queue, "tag", no_ack=True))
    wire.expect(spec.Basic.ConsumeOk)
    assert wire.expect_content(spec.Basic.Deliver)[1].body == b"whole"
    wire.publish("", queue, b"next")
    assert wire.expect_content(spec.Basic.Deliver)[1].body == b"next"


def test_consumers_go_with_their_channel(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag")
    channel.close()
    assert other.queue_declare(queue, passive=True).consumer_count == 0


def test_what_a_channel_error_left_unacknowledged_comes_again(channel: Channel, other: Channel, queue: str) -> None:
    channel.basic_consume(queue, "tag")
    other.publish_all(queue, b"1")
    channel.delivery()
    with channel_refused(404, no_queue("contract-missing")):
        channel.basic_get("contract-missing")
    other.basic_consume(queue, "tag")
    received = other.delivery()
    assert (received.body, received.redelivered, received.delivery_tag) == (b"1", True, 1)
