"""Which bindings match: against matchers so simple that they are seen to be right."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika.broker import routing
from pika.broker.errors import Refusal
from pika.broker.queues import Queue

WORDS = st.sampled_from(["", "a", "b", "*", "#"])
PATTERNS = st.lists(WORDS, max_size=5).map(".".join)
QUEUES = [Queue(f"q{index}") for index in range(12)]
VALUES = st.sampled_from(["1", "2", 1, 2, 1.0, True, None, b"1"])
TABLES = st.dictionaries(st.sampled_from(["a", "b", "x-c"]), VALUES, max_size=3)


def names(found: Any) -> set[str]:
    return {queue.name for queue in found}


def naive_topic(pattern: list[str], key: list[str]) -> bool:
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(naive_topic(pattern[1:], key[taken:]) for taken in range(len(key) + 1))
    return bool(key) and pattern[0] in {"*", key[0]} and naive_topic(pattern[1:], key[1:])


@given(st.lists(PATTERNS, max_size=12), st.lists(st.integers(0, 11)), PATTERNS)
def test_topics_match_as_their_words_do(patterns: list[str], removed: list[int], key: str) -> None:
    router = routing.Topic()
    bindings = [routing.binding(QUEUES[index], pattern, {}) for index, pattern in enumerate(patterns)]
    for bound in bindings:
        router.add(bound)
    for index in removed:
        if index < len(bindings):
            router.remove(bindings[index])
    expected = {
        QUEUES[index].name
        for index, pattern in enumerate(patterns)
        if index not in removed and naive_topic(routing.words(pattern), routing.words(key))
    }
    assert names(router.match(key, {})) == expected


# What RabbitMQ 3.10 answered when it was asked: the patterns that match a key, by their place in the list.
ASKED_PATTERNS = ["", "#", "*", "#.#", "*.#", "#.*", "a.#.b", "a..b", ".", "*.*", "a.*.#.b"]


@pytest.mark.parametrize(
    ("key", "matching"),
    [
        ("", [0, 1, 3]),
        (".", [1, 3, 4, 5, 8, 9]),
        ("a", [1, 2, 3, 4, 5]),
        ("a.b", [1, 3, 4, 5, 6, 9]),
        ("a..b", [1, 3, 4, 5, 6, 7, 10]),
        ("a.x.y.b", [1, 3, 4, 5, 6, 10]),
        ("#", [1, 2, 3, 4, 5]),
        ("*", [1, 2, 3, 4, 5]),
        ("..", [1, 3, 4, 5]),
        (".a", [1, 3, 4, 5, 9]),
    ],
)
def test_topics_match_as_in_rabbitmq(key: str, matching: list[int]) -> None:
    router = routing.Topic()
    for index, pattern in enumerate(ASKED_PATTERNS):
        router.add(routing.binding(QUEUES[index], pattern, {}))
    assert names(router.match(key, {})) == {f"q{index}" for index in matching}


def test_many_hashes_take_no_exponential_time() -> None:
    router = routing.Topic()
    router.add(routing.binding(QUEUES[0], ".".join(["#"] * 60 + ["b"]), {}))
    assert names(router.match(".".join(["a"] * 127), {})) == set()


def same(asked: Any, given: Any) -> bool:
    if asked is None:
        return True
    if isinstance(asked, bool) or isinstance(given, bool):
        return asked is given
    if isinstance(asked, (str, bytes)) and isinstance(given, (str, bytes)):
        return re.sub(r"[b']", "", repr(asked)) == re.sub(r"[b']", "", repr(given))
    return asked == given and not isinstance(given, (str, bytes))


@given(TABLES, st.sampled_from([None, "all", "any", "all-with-x", "any-with-x"]), TABLES)
def test_headers_match_as_x_match_asks(asked: dict[str, Any], kind: str | None, headers: dict[str, Any]) -> None:
    router = routing.HeadersMatch()
    table = dict(asked) if kind is None else {**asked, "x-match": kind}
    router.check(table)
    router.add(routing.binding(QUEUES[0], "ignored", table))
    with_x = kind is not None and kind.endswith("-with-x")
    looked_at = {name: value for name, value in asked.items() if with_x or not name.startswith("x-")}
    results = [name in headers and same(value, headers[name]) for name, value in looked_at.items()]
    expected = any(results) if kind is not None and kind.startswith("any") else all(results)
    assert bool(list(router.match("", headers))) is expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("foo", 'Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or any-with-x'),
        (5, "Invalid x-match field type signedint (value 5); expected longstr"),
    ],
)
def test_headers_refuse_another_x_match(kind: Any, text: str) -> None:
    with pytest.raises(Refusal) as caught:
        routing.HeadersMatch().check({"x-match": kind})
    assert caught.value.text == f"PRECONDITION_FAILED - {text}"


def test_a_binding_is_the_same_whatever_the_order_of_its_arguments() -> None:
    router = routing.Direct()
    router.add(routing.binding(QUEUES[0], "k", {"a": 1, "b": 2}))
    router.add(routing.binding(QUEUES[0], "k", {"b": 2, "a": 1}))
    assert len(router.bindings) == 1
    assert router.remove(routing.binding(QUEUES[0], "k", {"b": 2, "a": 1}))
    assert not router.remove(routing.binding(QUEUES[0], "k", {"b": 2, "a": 1}))
    assert not list(router.match("k", {}))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"))), st.sampled_from("ab"))
def test_direct_and_fanout(bindings: list[tuple[int, str]], key: str) -> None:
    direct = routing.Direct()
    fanout = routing.Router()
    for index, bound_key in bindings:
        direct.add(routing.binding(QUEUES[index], bound_key, {}))
        fanout.add(routing.binding(QUEUES[index], bound_key, {}))
    assert names(direct.match(key, {})) == {f"q{index}" for index, bound_key in bindings if bound_key == key}
    assert names(fanout.match(key, {})) == {f"q{index}" for index, _ in bindings}
