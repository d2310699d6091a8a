"""Declaring, purging and deleting queues."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest

from pika import exceptions, spec
from tests.contract.drivers import Cancelled, Channel, Connection
from tests.contract.refusals import channel_refused, locked, no_queue
from tests.contract.wire import Wire
from tests.support.bounded import PATIENCE

Name = Callable[..., str]
NewQueue = Callable[..., str]
Connect = Callable[[], Connection]


def test_declare(channel: Channel, name: Name) -> None:
    queue = name()
    for _ in range(2):
        declared = channel.queue_declare(queue, exclusive=True)
        assert (declared.queue, declared.message_count, declared.consumer_count) == (queue, 0, 0)


def test_declare_counts(channel: Channel, other: Channel, queue: str) -> None:
    channel.confirm_select()
    channel.publish_all(queue, b"1", b"2", b"3")
    declared = channel.queue_declare(queue, passive=True)
    assert (declared.message_count, declared.consumer_count) == (3, 0)
    other.basic_qos(1)
    for tag in ("a", "b"):
        other.basic_consume(queue, tag)
        other.delivery()
    # Those that were delivered, one to each consumer, do not count.
    declared = channel.queue_declare(queue, exclusive=True)
    assert (declared.message_count, declared.consumer_count) == (1, 2)


def test_server_named(channel: Channel) -> None:
    names = {channel.queue_declare(exclusive=True).queue for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("amq.gen-") and len(name) == len("amq.gen-") + 22 for name in names)


def test_last_declared_queue_is_meant_by_an_empty_name(wire: Wire) -> None:
    wire.declare_queue()
    last = wire.declare_queue()
    wire.send(spec.Queue.Bind(0, "", "amq.direct", last), spec.Basic.Consume(0, "", "tag", no_ack=True))
    assert wire.names(2) == ["Queue.BindOk", "Basic.ConsumeOk"]
    wire.publish("amq.direct", last, b"x")
    method, content = wire.expect_content(spec.Basic.Deliver)
    assert (method.consumer_tag, content.body) == ("tag", b"x")
    wire.send(spec.Queue.Purge(0, ""))
    assert wire.expect(spec.Queue.PurgeOk).message_count == 0
    wire.send(spec.Queue.Delete(0, ""))
    wire.expect(spec.Queue.DeleteOk)
    assert wire.next().name == "Basic.Cancel"


def test_empty_key_and_name_mean_the_last_declared_queue(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Queue.Bind(0, "", "amq.direct", ""))
    wire.expect(spec.Queue.BindOk)
    wire.publish("amq.direct", queue, b"x", mandatory=True)
    wire.send(spec.Basic.Get(0, queue, no_ack=True))
    assert wire.expect_content(spec.Basic.GetOk)[1].body == b"x"


@pytest.mark.parametrize(
    "method",
    [
        spec.Queue.Bind(0, "", "amq.direct", "x"),
        spec.Basic.Consume(0, "", "tag"),
        spec.Basic.Get(0, ""),
        spec.Queue.Purge(0, ""),
        spec.Queue.Delete(0, ""),
    ],
    ids=lambda method: method.NAME,
)
def test_empty_name_before_any_declare(wire: Wire, method: Any) -> None:
    wire.send(method)
    wire.expect_channel_closed(404, "NOT_FOUND - no previously declared queue", type(method))


def test_passive_declare_with_an_empty_name(channel: Channel) -> None:
    with channel_refused(404, no_queue("")):
        channel.queue_declare(passive=True)


@pytest.mark.parametrize(
    "operation",
    [
        lambda channel, queue: channel.queue_declare(queue, passive=True),
        lambda channel, queue: channel.queue_purge(queue),
        lambda channel, queue: channel.basic_get(queue),
        lambda channel, queue: channel.basic_consume(queue, "tag"),
        lambda channel, queue: channel.queue_bind(queue, "amq.fanout"),
    ],
    ids=["passive", "purge", "get", "consume", "bind"],
)
def test_missing_queue(channel: Channel, name: Name, operation: Callable[[Channel, str], object]) -> None:
    missing = name()
    with channel_refused(404, no_queue(missing)):
        operation(channel, missing)


def test_delete_of_a_missing_one(channel: Channel, name: Name) -> None:
    assert channel.queue_delete(name()) == 0
    assert channel.queue_delete(name(), if_unused=True, if_empty=True) == 0


def test_passive_declare_looks_at_nothing_else(channel: Channel, new_queue: NewQueue) -> None:
    queue = new_queue()
    channel.queue_declare(queue, passive=True, auto_delete=True, arguments={"x-max-priority": 3})


@pytest.mark.parametrize(
    ("declared", "again", "difference"),
    [
        ({}, {"durable": False}, "'durable' for queue {}: received 'false' but current is 'true'"),
        ({}, {"auto_delete": True}, "'auto_delete' for queue {}: received 'true' but current is 'false'"),
        (
            {},
            {"arguments": {"x-max-priority": 3}},
            "'x-max-priority' for queue {}: received the value '3' of type 'signedint' but current is none",
        ),
        (
            {"arguments": {"x-max-priority": 3}},
            {},
            "'x-max-priority' for queue {}: received none but current is the value '3' of type 'signedint'",
        ),
        (
            {"arguments": {"x-max-priority": 3}},
            {"arguments": {"x-max-priority": 4}},
            "'x-max-priority' for queue {}: received '4' but current is '3'",
        ),
    ],
    ids=["durable", "auto-delete", "argument", "no-argument", "other-argument"],
)
def test_declare_again_otherwise(
    channel: Channel, new_queue: NewQueue, declared: dict[str, Any], again: dict[str, Any], difference: str
) -> None:
    queue = new_queue(**declared)
    text = "PRECONDITION_FAILED - inequivalent arg " + difference.format(f"'{queue}' in vhost '/'")
    with channel_refused(406, text):
        channel.queue_declare(queue, **{"durable": True, **again})


def test_declare_again_as_exclusive(channel: Channel, new_queue: NewQueue) -> None:
    queue = new_queue()
    with channel_refused(405, locked(queue)):
        channel.queue_declare(queue, durable=True, exclusive=True)


def test_declare_again_as_not_exclusive(channel: Channel, queue: str) -> None:
    with channel_refused(405, locked(queue)):
        channel.queue_declare(queue)


def test_declare_again_with_an_argument_that_means_nothing(channel: Channel, queue: str) -> None:
    channel.queue_declare(queue, exclusive=True, arguments={"contract": 1})


def test_reserved_name(channel: Channel) -> None:
    text = "ACCESS_REFUSED - queue name 'amq.contract' contains reserved prefix 'amq.*'"
    with channel_refused(403, text):
        channel.queue_declare("amq.contract", exclusive=True)


def test_declare_again_of_a_server_named_one(channel: Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    channel.queue_declare(queue, passive=True)
    with channel_refused(403, f"ACCESS_REFUSED - queue name '{queue}' contains reserved prefix 'amq.*'"):
        channel.queue_declare(queue, exclusive=True)


def test_line_breaks_in_a_name_are_left_out(channel: Channel, name: Name) -> None:
    queue = name()
    assert channel.queue_declare(f"{queue}\r\n-end\n", exclusive=True).queue == f"{queue}-end"


def test_longest_name(channel: Channel, name: Name) -> None:
    queue = name("").ljust(255, "q")
    exchange = name("").ljust(255, "x")
    tag = "t" * 255
    key = "k" * 255
    assert channel.queue_declare(queue, exclusive=True).queue == queue
    channel.exchange_declare(exchange, auto_delete=True)
    channel.queue_bind(queue, exchange, key)
    assert channel.basic_consume(queue, tag, no_ack=True) == tag
    channel.basic_publish(exchange, key, b"x")
    received = channel.delivery()
    assert (received.consumer_tag, received.exchange, received.routing_key) == (tag, exchange, key)


def test_names_of_any_letters(channel: Channel, name: Name) -> None:
    queue = name("zażółć 日本 🐇 '\"\\ \x01")
    exchange = name("ëxchange ✓")
    channel.queue_declare(queue, exclusive=True)
    channel.exchange_declare(exchange, auto_delete=True)
    channel.queue_bind(queue, exchange, "ключ")
    assert channel.basic_consume(queue, "тег", no_ack=True) == "тег"
    channel.basic_publish(exchange, "ключ", b"x")
    received = channel.delivery()
    assert (received.consumer_tag, received.exchange, received.routing_key) == ("тег", exchange, "ключ")


def test_missing_name_of_any_letters_in_a_text(channel: Channel, name: Name) -> None:
    queue = name("日本 🐇")
    with channel_refused(404, no_queue(queue)):
        channel.queue_declare(queue, passive=True)


# Purging and deleting


def test_purge(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1", b"2", b"3")
    assert channel.queue_purge(queue) == 3
    assert channel.queue_purge(queue) == 0
    assert channel.basic_get(queue) is None


def test_purge_leaves_what_is_unacknowledged(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1", b"2", b"3")
    received = channel.basic_get(queue)
    assert received is not None
    assert channel.queue_purge(queue) == 2
    channel.basic_reject(received.delivery_tag)
    channel.synchronize()
    assert channel.get_all(queue) == [b"1"]


def test_delete(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1", b"2")
    assert channel.queue_delete(queue) == 2
    with channel_refused(404, no_queue(queue)):
        channel.queue_declare(queue, passive=True)


def test_delete_if_empty(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1")
    assert channel.get_all(queue) == [b"1"]
    assert channel.queue_delete(queue, if_empty=True) == 0


def test_delete_if_empty_that_is_not(channel: Channel, other: Channel, queue: str) -> None:
    channel.publish_all(queue, b"1")
    with channel_refused(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"):
        channel.queue_delete(queue, if_empty=True)
    assert other.get_all(queue) == [b"1"]


def test_delete_if_unused_that_is_used(channel: Channel, other: Channel, queue: str) -> None:
    other.basic_consume(queue, "tag")
    with channel_refused(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"):
        channel.queue_delete(queue, if_unused=True)
    other.basic_cancel("tag")
    assert other.queue_delete(queue, if_unused=True) == 0


def test_delete_if_unused_and_empty_that_is_neither(channel: Channel, other: Channel, queue: str) -> None:
    other.basic_qos(1)
    other.basic_consume(queue, "tag")
    channel.publish_all(queue, b"1", b"2")
    other.delivery()
    with channel_refused(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"):
        channel.queue_delete(queue, if_unused=True, if_empty=True)


def test_deleting_takes_the_bindings_along(channel: Channel, name: Name) -> None:
    queue = name()
    channel.queue_declare(queue, exclusive=True)
    channel.queue_bind(queue, "amq.direct", queue)
    channel.queue_delete(queue)
    channel.queue_declare(queue, exclusive=True)
    channel.publish_all(queue, b"lost", exchange="amq.direct")
    assert channel.basic_get(queue) is None


# Exclusive


@pytest.mark.parametrize(
    "operation",
    [
        lambda channel, queue: channel.queue_declare(queue, exclusive=True),
        lambda channel, queue: channel.queue_declare(queue, passive=True),
        lambda channel, queue: channel.queue_declare(queue),
        lambda channel, queue: channel.queue_delete(queue),
        lambda channel, queue: channel.queue_purge(queue),
        lambda channel, queue: channel.queue_bind(queue, "amq.fanout"),
        lambda channel, queue: channel.queue_unbind(queue, "amq.direct", queue),
        lambda channel, queue: channel.basic_get(queue),
        lambda channel, queue: channel.basic_consume(queue, "tag"),
    ],
    ids=["exclusive", "passive", "declare", "delete", "purge", "bind", "unbind", "get", "consume"],
)
def test_exclusive_is_locked_to_others(
    channel: Channel, connect: Connect, queue: str, operation: Callable[[Channel, str], object]
) -> None:
    channel.queue_bind(queue, "amq.direct", queue)
    with channel_refused(405, locked(queue)):
        operation(connect().channel(), queue)
    channel.queue_declare(queue, exclusive=True)


def test_exclusive_takes_messages_of_others(channel: Channel, connect: Connect, queue: str) -> None:
    connect().channel().publish_all(queue, b"x")
    assert channel.get_all(queue) == [b"x"]


def test_exclusive_goes_with_its_connection(channel: Channel, connect: Connect, name: Name) -> None:
    queue = name()
    owner = connect()
    owner.channel().queue_declare(queue, exclusive=True)
    owner.close()
    with channel_refused(404, no_queue(queue)):
        channel.queue_declare(queue, passive=True)


def test_exclusive_outlives_its_channel(channel: Channel, other: Channel, queue: str) -> None:
    channel.close()
    other.queue_declare(queue, exclusive=True)


def test_exclusive_goes_with_a_lost_connection(
    connect: Connect, new_wire: Callable[[], Wire], channel: Channel, name: Name
) -> None:
    queue = name()
    lost = new_wire().connect()
    lost.open_channel()
    lost.declare_queue(queue)
    lost.disconnect()
    # The broker sees the end of the connection when it comes to it; until then the queue is locked.
    deadline = time.monotonic() + PATIENCE
    code = 405
    while code == 405:
        assert time.monotonic() < deadline
        with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
            channel.queue_declare(queue, passive=True)
        code = caught.value.reply_code
        channel = connect().channel()
    assert caught.value.args == (404, no_queue(queue))


# Auto-delete


def test_auto_delete_goes_with_its_last_consumer(channel: Channel) -> None:
    queue = channel.queue_declare(exclusive=True, auto_delete=True).queue
    for tag in ("a", "b"):
        channel.basic_consume(queue, tag)
    channel.basic_cancel("a")
    channel.queue_declare(queue, passive=True)
    channel.basic_cancel("b")
    with channel_refused(404, no_queue(queue)):
        channel.queue_declare(queue, passive=True)


def test_auto_delete_goes_with_its_last_channel(channel: Channel, other: Channel) -> None:
    queue = channel.queue_declare(exclusive=True, auto_delete=True).queue
    channel.basic_consume(queue, "tag")
    channel.close()
    with channel_refused(404, no_queue(queue)):
        other.queue_declare(queue, passive=True)


def test_auto_delete_stays_until_it_was_consumed(channel: Channel) -> None:
    queue = channel.queue_declare(exclusive=True, auto_delete=True).queue
    channel.publish_all(queue, b"1")
    assert channel.get_all(queue) == [b"1"]
    channel.queue_declare(queue, passive=True)


# Cancellation by the broker


def test_deleting_cancels_the_consumers(channel: Channel, other: Channel, queue: str) -> None:
    for tag in ("a", "b"):
        other.basic_consume(queue, tag)
    channel.queue_delete(queue)
    assert {other.next(), other.next()} == {Cancelled("a"), Cancelled("b")}
    assert other.flow(True)


def test_deleting_tells_no_client_that_does_not_want_to_know(new_wire: Callable[[], Wire]) -> None:
    wire = new_wire().connect(capabilities={})
    wire.open_channel()
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "tag"))
    wire.expect(spec.Basic.ConsumeOk)
    wire.send(spec.Queue.Delete(0, queue))
    wire.expect(spec.Queue.DeleteOk)
    for _ in range(2):
        wire.send(spec.Queue.Declare(0, "", exclusive=True))
        wire.expect(spec.Queue.DeclareOk)


def test_tag_is_free_again_after_the_broker_cancelled_it(channel: Channel, other: Channel, queue: str) -> None:
    other.basic_consume(queue, "tag")
    channel.queue_delete(queue)
    assert other.next() == Cancelled("tag")
    again = channel.queue_declare(exclusive=True).queue
    assert other.basic_consume(again, "tag") == "tag"
