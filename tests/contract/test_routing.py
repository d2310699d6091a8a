"""Which queues a message gets into."""

from __future__ import annotations

import decimal
from datetime import datetime, timezone
from typing import Any, Callable

import pytest

from pika import BasicProperties
from pika.data import long
from tests.contract.drivers import Channel
from tests.contract.profiles import Profile
from tests.contract.refusals import channel_refused

NewExchange = Callable[..., str]


def reaches(channel: Channel, exchange: str, queue: str, key: str = "", headers: Any = None) -> bool:
    channel.basic_publish(exchange, key, b"", BasicProperties(headers=headers))
    channel.synchronize()
    return channel.get_all(queue) == [b""]


def test_default_exchange_routes_to_the_queue_of_that_name(channel: Channel, queue: str) -> None:
    channel.publish_all(queue, b"x")
    received = channel.basic_get(queue)
    assert received is not None
    assert (received.exchange, received.routing_key, received.body) == ("", queue, b"x")


@pytest.mark.parametrize(("key", "arrives"), [("key", True), ("Key", False), ("key ", False), ("", False)])
def test_direct(channel: Channel, new_exchange: NewExchange, queue: str, key: str, arrives: bool) -> None:
    exchange = new_exchange("direct")
    channel.queue_bind(queue, exchange, "key")
    assert reaches(channel, exchange, queue, key) is arrives


def test_direct_takes_wildcards_literally(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange("direct")
    channel.queue_bind(queue, exchange, "#")
    assert not reaches(channel, exchange, queue, "key")
    assert reaches(channel, exchange, queue, "#")


def test_fanout_has_no_eye_for_keys(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange("fanout")
    channel.queue_bind(queue, exchange, "key")
    assert reaches(channel, exchange, queue, "another")


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("", [""], ["a", "."]),
        ("a", ["a"], ["", "b", "a.", ".a", "a.b", "A"]),
        ("*", ["a", "#", "*"], ["", ".", "a.b", "a.", ".a"]),
        ("#", ["", ".", "a", "a.b.c", "..."], []),
        ("*.*", ["a.b", ".", "a.", ".b"], ["a", "", "a.b.c", ".."]),
        ("a.*", ["a.b", "a."], ["a", "a.b.c", "b.a"]),
        ("*.a", ["b.a", ".a"], ["a", "c.b.a"]),
        ("a.#", ["a", "a.b", "a.b.c", "a."], ["", "b.a", "ab"]),
        ("#.a", ["a", "b.a", "c.b.a", ".a"], ["a.b", ""]),
        ("#.#", ["", "a", "a.b"], []),
        ("#.*", ["a", "a.b", "a.b.c", "."], [""]),
        ("*.#", ["a", "a.b", "a.b.c", "."], [""]),
        ("#.*.#", ["a", "a.b"], [""]),
        ("*.#.*", ["a.b", "a.b.c", "."], ["a", ""]),
        ("a.#.b", ["a.b", "a.x.b", "a.x.y.b", "a.b.b", "a..b"], ["a", "b", "a.b.c"]),
        ("a.*.b", ["a.x.b", "a..b"], ["a.b", "a.x.y.b"]),
        ("a..b", ["a..b"], ["a.b", "a.x.b"]),
        (".", ["."], ["", "a", ".."]),
        ("#.a.#", ["a", "x.a", "a.x", "x.y.a.x.y"], ["", "b", "aa"]),
        ("a*", ["a*"], ["a", "ab", "a.b"]),
        ("a.b#", ["a.b#"], ["a.b", "a.b.c"]),
        ("*.a.#.b.*", ["x.a.b.y", "x.a.m.n.b.y"], ["a.b.y", "x.a.b"]),
        ("ä.*.日本", ["ä.x.日本"], ["a.x.日本"]),
    ],
)
def test_topic(
    channel: Channel, new_exchange: NewExchange, queue: str, pattern: str, matching: list[str], others: list[str]
) -> None:
    exchange = new_exchange("topic")
    channel.queue_bind(queue, exchange, pattern)
    for key in matching + others:
        channel.basic_publish(exchange, key, key.encode())
    channel.synchronize()
    assert [body.decode() for body in channel.get_all(queue)] == matching


def test_topic_unbind_leaves_the_other_patterns(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange("topic")
    for pattern in ("a.#", "a.*", "a.b"):
        channel.queue_bind(queue, exchange, pattern)
    channel.queue_unbind(queue, exchange, "a.#")
    assert not reaches(channel, exchange, queue, "a.b.c")
    assert reaches(channel, exchange, queue, "a.c")
    channel.queue_unbind(queue, exchange, "a.*")
    assert not reaches(channel, exchange, queue, "a.c")
    assert reaches(channel, exchange, queue, "a.b")


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.fanout", "amq.topic"])
def test_a_queue_gets_one_copy_however_many_bindings_match(channel: Channel, queue: str, exchange: str) -> None:
    key = f"{queue}.key"
    for pattern in (key, f"{queue}.*", f"{queue}.#"):
        channel.queue_bind(queue, exchange, pattern)
    assert reaches(channel, exchange, queue, key)


def test_every_matching_queue_gets_a_copy(channel: Channel, new_exchange: NewExchange) -> None:
    exchange = new_exchange("topic")
    queues = [channel.queue_declare(exclusive=True).queue for _ in range(4)]
    for queue, pattern in zip(queues, ("a.b", "a.*", "#", "b.#")):
        channel.queue_bind(queue, exchange, pattern)
    channel.publish_all("a.b", b"x", exchange=exchange)
    assert [channel.get_all(queue) for queue in queues] == [[b"x"], [b"x"], [b"x"], []]


# Headers

NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
ALL, ANY = {"x-match": "all"}, {"x-match": "any"}


@pytest.mark.parametrize(
    ("arguments", "headers", "arrives"),
    [
        ({"a": "1"}, {"a": "1"}, True),
        ({"a": "1"}, {"a": "1", "b": "2"}, True),
        ({"a": "1"}, {"a": "2"}, False),
        ({"a": "1"}, {}, False),
        ({"a": "1"}, None, False),
        ({**ALL, "a": "1", "b": "2"}, {"a": "1", "b": "2"}, True),
        ({**ALL, "a": "1", "b": "2"}, {"a": "1"}, False),
        ({**ALL, "a": "1", "b": "2"}, {"a": "1", "b": "3"}, False),
        ({**ANY, "a": "1", "b": "2"}, {"b": "2"}, True),
        ({**ANY, "a": "1", "b": "2"}, {"a": "9", "b": "2"}, True),
        ({**ANY, "a": "1", "b": "2"}, {"a": "2", "b": "1"}, False),
        ({**ANY, "a": "1", "b": "2"}, {}, False),
        ({}, {}, True),
        ({}, {"a": "1"}, True),
        (ALL, {"a": "1"}, True),
        (ANY, {"a": "1"}, False),
        ({**ALL, "a": None}, {"a": "whatever"}, True),
        ({**ALL, "a": None}, {"a": None}, True),
        ({**ALL, "a": None}, {"b": "1"}, False),
        ({**ANY, "a": None}, {"a": 5}, True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": long(1)}, True),
        ({"a": True}, {"a": True}, True),
        ({"a": True}, {"a": False}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": 1.5}, {"a": 1.5}, True),
        ({"a": b"x"}, {"a": b"x"}, True),
        ({"a": "x"}, {"a": b"x"}, True),
        ({"a": decimal.Decimal("1.5")}, {"a": decimal.Decimal("1.5")}, True),
        ({"a": [1, "x"]}, {"a": [1, "x"]}, True),
        ({"a": [1, "x"]}, {"a": [1, "y"]}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
        ({"x-a": "1"}, {"x-a": "2"}, True),
        ({"x-a": "1", "b": "1"}, {"b": "1"}, True),
        ({**ANY, "x-a": "1"}, {"x-a": "1"}, False),
        ({"x-match": "all-with-x", "x-a": "1"}, {"x-a": "2"}, False),
        ({"x-match": "all-with-x", "x-a": "1"}, {"x-a": "1"}, True),
        ({"x-match": "any-with-x", "x-a": "1", "b": "1"}, {"x-a": "1"}, True),
        ({"x-match": "any-with-x", "x-a": "1", "b": "1"}, {"x-a": "2"}, False),
        ({"A": "1"}, {"a": "1"}, False),
        ({"ä": "日本"}, {"ä": "日本"}, True),
    ],
)
def test_headers(
    channel: Channel,
    new_exchange: NewExchange,
    queue: str,
    arguments: dict[str, Any],
    headers: dict[str, Any] | None,
    arrives: bool,
) -> None:
    exchange = new_exchange("headers")
    channel.queue_bind(queue, exchange, "no-matter", arguments)
    assert reaches(channel, exchange, queue, "which", headers) is arrives


def test_headers_with_an_integer_and_a_float(
    channel: Channel, new_exchange: NewExchange, queue: str, profile: Profile
) -> None:
    exchange = new_exchange("headers")
    channel.queue_bind(queue, exchange, "", {"a": 1})
    assert reaches(channel, exchange, queue, "", {"a": 1.0}) is profile.integers_match_floats


def test_headers_with_a_timestamp(channel: Channel, new_exchange: NewExchange, queue: str, profile: Profile) -> None:
    exchange = new_exchange("headers")
    channel.queue_bind(queue, exchange, "", {"a": NOON})
    assert reaches(channel, exchange, queue, "", {"a": NOON}) is profile.timestamps_match


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        ("some", 'value <<"some">>; expected all, any, all-with-x, or any-with-x'),
        (1, "type signedint (value 1); expected longstr"),
    ],
)
def test_headers_with_an_unknown_match(channel: Channel, queue: str, match: object, reason: str) -> None:
    with channel_refused(406, f"PRECONDITION_FAILED - Invalid x-match field {reason}"):
        channel.queue_bind(queue, "amq.headers", "", {"x-match": match})


# From exchange to exchange


def test_from_exchange_to_exchange(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    source, destination = new_exchange("topic"), new_exchange("direct")
    channel.exchange_bind(destination, source, "a.*")
    channel.queue_bind(queue, destination, "a.b")
    assert reaches(channel, source, queue, "a.b")
    assert not reaches(channel, source, queue, "a.c")
    channel.exchange_bind(destination, source, "a.*")
    assert reaches(channel, source, queue, "a.b")
    channel.exchange_unbind(destination, source, "a.*")
    assert not reaches(channel, source, queue, "a.b")


def test_message_keeps_the_exchange_it_was_published_to(
    channel: Channel, new_exchange: NewExchange, queue: str
) -> None:
    source, destination = new_exchange("fanout"), new_exchange("fanout")
    channel.exchange_bind(destination, source)
    channel.queue_bind(queue, destination)
    channel.publish_all("key", b"", exchange=source)
    received = channel.basic_get(queue)
    assert received is not None
    assert (received.exchange, received.routing_key) == (source, "key")


def test_cycles_end(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    first, second, third = (new_exchange("fanout") for _ in range(3))
    for source, destination in ((first, second), (second, third), (third, first), (first, first)):
        channel.exchange_bind(destination, source)
    channel.queue_bind(queue, second)
    for exchange in (first, second, third):
        assert reaches(channel, exchange, queue)


def test_diamond_gives_one_copy(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    top, left, right = (new_exchange("fanout") for _ in range(3))
    for side in (left, right):
        channel.exchange_bind(side, top)
        channel.queue_bind(queue, side)
    assert reaches(channel, top, queue)


def test_internal_takes_what_comes_from_exchanges(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    source, inner = new_exchange("fanout"), new_exchange("fanout", internal=True)
    channel.exchange_bind(inner, source)
    channel.queue_bind(queue, inner)
    assert reaches(channel, source, queue)


# Alternate exchanges


def test_alternate_exchange_takes_what_matches_nothing(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    alternate = new_exchange("fanout")
    exchange = new_exchange("direct", arguments={"alternate-exchange": alternate})
    matching = channel.queue_declare(exclusive=True).queue
    channel.queue_bind(matching, exchange, "key")
    channel.queue_bind(queue, alternate)
    channel.publish_all("key", b"matches", exchange=exchange)
    channel.publish_all("another", b"does not", exchange=exchange)
    assert channel.get_all(matching) == [b"matches"]
    received = channel.basic_get(queue)
    assert received is not None
    assert (received.exchange, received.routing_key, received.body) == (exchange, "another", b"does not")
    assert channel.basic_get(queue) is None


def test_alternate_exchange_in_a_chain(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    last = new_exchange("fanout")
    middle = new_exchange("direct", arguments={"alternate-exchange": last})
    exchange = new_exchange("direct", arguments={"alternate-exchange": middle})
    channel.queue_bind(queue, last)
    assert reaches(channel, exchange, queue, "key")


def test_alternate_exchange_that_is_missing(channel: Channel, new_exchange: NewExchange) -> None:
    exchange = new_exchange("direct", arguments={"alternate-exchange": "contract-missing"})
    channel.confirm_select()
    channel.basic_publish(exchange, "key")


def test_alternate_exchange_satisfies_mandatory(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    alternate = new_exchange("fanout")
    exchange = new_exchange("direct", arguments={"alternate-exchange": alternate})
    channel.queue_bind(queue, alternate)
    channel.confirm_select()
    channel.basic_publish(exchange, "key", b"x", mandatory=True)
    assert channel.get_all(queue) == [b"x"]


# CC and BCC


def test_cc_and_bcc(channel: Channel) -> None:
    queues = [channel.queue_declare(exclusive=True).queue for _ in range(4)]
    headers = {"CC": [queues[1]], "BCC": [queues[2], queues[0]], "other": 1}
    channel.basic_publish("", queues[0], b"x", BasicProperties(headers=headers))
    channel.synchronize()
    for queue, count in zip(queues, (1, 1, 1, 0)):
        received = channel.basic_get(queue)
        assert (received is not None) == bool(count)
        if received is not None:
            assert received.routing_key == queues[0]
            assert received.properties.headers == {"CC": [queues[1]], "other": 1}
            assert channel.basic_get(queue) is None


def test_cc_goes_through_the_same_exchange(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange("topic")
    channel.queue_bind(queue, exchange, "a.*")
    assert reaches(channel, exchange, queue, "key", {"CC": ["a.b"]})
    assert reaches(channel, exchange, queue, "a.c", {"BCC": ["a.b"]})
    assert not reaches(channel, exchange, queue, "key", {"cc": ["a.b"]})


@pytest.mark.parametrize(
    ("header", "value", "kind"), [("CC", "key", "longstr"), ("BCC", 1, "signedint"), ("CC", {"a": 1}, "table")]
)
def test_cc_that_is_no_list(channel: Channel, header: str, value: object, kind: str) -> None:
    text = f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{header}",{kind}}}'
    with channel_refused(406, text):
        channel.basic_publish("amq.direct", "key", b"", BasicProperties(headers={header: value}))
        channel.synchronize()
