"""Queues and consumers, as a client sees them: order, redelivery, prefetch, whose turn it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import spec
from tests.broker.peer import Content, Peer, bodies, connected, make_node, refusal

B, Q = spec.Basic, spec.Queue


def deliveries(found: list[Any]) -> list[tuple[str, int, bytes]]:
    """Consumer, delivery tag and body of what was delivered."""
    contents = [item for _, item in found if isinstance(item, Content)]
    return [(item.method.consumer_tag, item.method.delivery_tag, item.body) for item in contents]  # type: ignore[attr-defined]


def filled(count: int) -> Peer:
    peer = connected()
    peer.call(Q.Declare(queue="q"))
    for index in range(count):
        peer.publish("", "q", b"%d" % index)
    return peer


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "get", "ack", "ack all to", "nack", "nack all to", "recover"]), st.integers(0, 9)
    ),
    max_size=60,
)


class Model:
    """A queue q and a client that gets from it, side by side with what they should be."""

    def __init__(self) -> None:
        self.peer = filled(0)
        self.ready: list[int] = []
        self.unsettled: dict[int, int] = {}
        self.delivered: set[int] = set()
        self.published = self.tags = 0

    def publish(self) -> None:
        self.peer.publish("", "q", b"%d" % self.published)
        self.ready.append(self.published)
        self.published += 1

    def get(self) -> None:
        got = self.peer.call(B.Get(queue="q"))
        if not self.ready:
            assert isinstance(got, B.GetEmpty)
            return
        self.tags += 1
        expected = self.ready.pop(0)
        redelivered = expected in self.delivered
        assert got.body == b"%d" % expected
        assert got.method == B.GetOk(self.tags, redelivered, "", "q", len(self.ready))
        self.unsettled[self.tags] = expected
        self.delivered.add(expected)

    def recover(self) -> None:
        self.peer.send(1, B.Recover(True))
        self.ready = sorted(self.ready + list(self.unsettled.values()))
        self.unsettled.clear()

    def settle(self, name: str, pick: int) -> None:
        if not self.unsettled:
            return
        tag = sorted(self.unsettled)[pick % len(self.unsettled)]
        multiple = name.endswith("all to")
        method = B.Ack(tag, multiple) if name.startswith("ack") else B.Nack(tag, multiple, True)
        assert self.peer.send(1, method) == []
        settled = [older for older in self.unsettled if older == tag or (multiple and older < tag)]
        messages = [self.unsettled.pop(older) for older in settled]
        if not name.startswith("ack"):
            self.ready = sorted(self.ready + messages)


@given(OPERATIONS)
def test_a_queue_keeps_its_order_whatever_is_taken_and_given_back(operations: list[tuple[str, int]]) -> None:
    model = Model()
    for name, pick in operations:
        if name in {"publish", "get", "recover"}:
            getattr(model, name)()
        else:
            model.settle(name, pick)
    assert model.peer.call(Q.Declare(queue="q", passive=True)).message_count == len(model.ready)


def test_consumers_of_one_priority_take_turns() -> None:
    peer = filled(0)
    for tag in "abc":
        peer.call(B.Consume(queue="q", consumer_tag=tag, no_ack=True))
    found = [deliveries(peer.publish("", "q", b"%d" % index))[0] for index in range(5)]
    assert found == [("a", 1, b"0"), ("b", 2, b"1"), ("c", 3, b"2"), ("a", 4, b"3"), ("b", 5, b"4")]


def test_higher_priority_is_served_first_as_long_as_it_can_take_more() -> None:
    peer = filled(0)
    peer.call(B.Qos(prefetch_count=1))
    peer.call(B.Consume(queue="q", consumer_tag="low"))
    peer.call(B.Consume(queue="q", consumer_tag="high", arguments={"x-priority": 5}))
    assert deliveries(peer.publish("", "q", b"1")) == [("high", 1, b"1")]
    assert deliveries(peer.publish("", "q", b"2")) == [("low", 2, b"2")]
    assert peer.publish("", "q", b"3") == []
    assert deliveries(peer.send(1, B.Ack(1))) == [("high", 3, b"3")]
    assert deliveries(peer.send(1, B.Reject(3, True))) == [("high", 4, b"3")]


def test_prefetch_of_a_consumer_holds_for_those_that_come_after_it_was_set() -> None:
    peer = filled(9)
    peer.call(B.Qos(prefetch_count=2))
    found = peer.send(1, B.Consume(queue="q", consumer_tag="a"))
    assert isinstance(found[0][1], B.ConsumeOk)
    assert deliveries(found) == [("a", 1, b"0"), ("a", 2, b"1")]
    peer.call(B.Qos(prefetch_count=1))
    assert deliveries(peer.send(1, B.Consume(queue="q", consumer_tag="b"))) == [("b", 3, b"2")]
    assert deliveries(peer.send(1, B.Ack(2, True))) == [("a", 4, b"3"), ("a", 5, b"4")]


def test_prefetch_of_a_channel_counts_all_its_consumers_and_no_get() -> None:
    peer = filled(9)
    peer.call(B.Qos(prefetch_count=2, global_qos=True))
    assert len(deliveries(peer.send(1, B.Consume(queue="q", consumer_tag="a")))) == 2
    assert deliveries(peer.send(1, B.Consume(queue="q", consumer_tag="b"))) == []
    assert peer.call(B.Get(queue="q")).method.delivery_tag == 3
    assert deliveries(peer.send(1, B.Ack(1))) == [("a", 4, b"3")]
    found = peer.send(1, B.Qos(prefetch_count=4, global_qos=True))
    assert isinstance(found[0][1], B.QosOk)
    assert deliveries(found) == [("b", 5, b"4"), ("a", 6, b"5")]
    # Setting the limit of consumers takes the channel's away.
    assert len(deliveries(peer.send(1, B.Qos(prefetch_count=1)))) == 3


def test_a_consumer_without_acks_knows_no_prefetch() -> None:
    peer = filled(5)
    peer.call(B.Qos(prefetch_count=1))
    assert len(deliveries(peer.send(1, B.Consume(queue="q", no_ack=True)))) == 5


def test_a_single_active_consumer_gets_all_until_it_leaves() -> None:
    peer = connected()
    peer.call(Q.Declare(queue="q", arguments={"x-single-active-consumer": True}))
    peer.call(B.Consume(queue="q", consumer_tag="a"))
    peer.call(B.Consume(queue="q", consumer_tag="b", arguments={"x-priority": 5}))
    assert deliveries(peer.publish("", "q")) == [("a", 1, b"")]
    assert deliveries(peer.publish("", "q")) == [("a", 2, b"")]
    peer.call(B.Cancel("a"))
    assert deliveries(peer.publish("", "q")) == [("b", 3, b"")]


def test_what_a_lost_client_had_not_settled_goes_to_another_in_order() -> None:
    peer = filled(3)
    other = connected(peer.node)
    assert len(deliveries(other.send(1, B.Consume(queue="q")))) == 3
    other.connection.lost()
    got = [peer.call(B.Get(queue="q", no_ack=True)) for _ in range(3)]
    assert [(item.body, item.method.redelivered) for item in got] == [(b"%d" % index, True) for index in range(3)]


def test_a_client_that_does_not_read_is_sent_no_more_until_it_does() -> None:
    node = make_node(congested=10_000)
    peer = connected(node)
    peer.call(Q.Declare(queue="q"))
    reader = connected(node)
    reader.call(B.Consume(queue="q", consumer_tag="slow", no_ack=True))
    for _ in range(100):
        peer.publish("", "q", bytes(1000))
    assert reader.connection.output.size < 12_000
    assert peer.call(Q.Declare(queue="q", passive=True)).message_count > 80
    total = 0
    while found := bodies(reader.received()):
        total += len(found)
    assert total == 100


def test_a_deleted_queue_ends_its_consumers_behind_the_reply() -> None:
    peer = connected(None, 1, 2)
    peer.call(Q.Declare(queue="q"))
    peer.call(B.Consume(queue="q", consumer_tag="a"))
    peer.call(B.Consume(queue="q", consumer_tag="b"), 2)
    peer.publish("", "q", b"unsettled")
    found = peer.send(1, Q.Delete(queue="q"))
    assert found[0] == (1, Q.DeleteOk(0))
    assert sorted(found[1:], key=lambda item: item[0]) == [(1, B.Cancel("a", True)), (2, B.Cancel("b", True))]
    # What was delivered before can still be settled.
    assert peer.send(1, B.Nack(1, False, True)) == []


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (B.Ack(1), "unknown delivery tag 1"),
        (B.Ack(0), "unknown delivery tag 0"),
        (B.Nack(7, True), "unknown delivery tag 7"),
        (B.Reject(0), "unknown delivery tag 0"),
    ],
)
def test_an_unknown_delivery_tag_closes_the_channel(method: Any, text: str) -> None:
    assert refusal(filled(1).call(method)) == (406, f"PRECONDITION_FAILED - {text}")


def test_a_multiple_ack_must_name_a_tag_that_is_unsettled() -> None:
    peer = filled(3)
    for _ in range(3):
        peer.call(B.Get(queue="q"))
    assert peer.send(1, B.Ack(2)) == []
    assert refusal(peer.call(B.Ack(2, True))) == (406, "PRECONDITION_FAILED - unknown delivery tag 2")


def test_nothing_to_settle_is_fine_for_all() -> None:
    peer = filled(0)
    assert peer.send(1, B.Ack(0, True), B.Nack(0, True)) == []


def test_an_auto_delete_queue_stays_when_a_channel_goes_that_only_got_from_it() -> None:
    peer = connected(None, 1, 2)
    peer.call(Q.Declare(queue="q", auto_delete=True))
    peer.publish("", "q", b"kept")
    peer.call(B.Get(queue="q"), 2)
    peer.call(spec.Channel.Close(200, "", 0, 0), 2)
    assert peer.call(B.Get(queue="q")).body == b"kept"


def test_little_is_prepared_for_a_consumer_that_never_reads() -> None:
    node = make_node()
    consumer, publisher = connected(node), connected(node)
    consumer.send(1, Q.Declare(queue="q"), B.Consume(queue="q", no_ack=True))
    body = bytes(1 << 20)
    for _ in range(200):
        publisher.publish("", "q", body)
    assert consumer.connection.output.size <= node.limits.congested + 2 * len(body)
    assert publisher.call(Q.Declare(queue="q", passive=True)).message_count > 150
