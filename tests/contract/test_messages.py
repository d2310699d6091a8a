"""What travels: bodies of any size, properties and headers of every type, unchanged."""

from __future__ import annotations

import decimal
from datetime import datetime, timezone
from typing import Any

import pytest

from pika import BasicProperties
from pika.data import long
from tests.contract.drivers import Channel, Message
from tests.contract.profiles import Profile


def travelled(channel: Channel, queue: str, body: bytes = b"", properties: BasicProperties | None = None) -> Message:
    channel.basic_publish("", queue, body, properties)
    channel.synchronize()
    received = channel.basic_get(queue, no_ack=True)
    assert received is not None
    return received


def delivered(channel: Channel, queue: str, body: bytes = b"", properties: BasicProperties | None = None) -> Message:
    channel.basic_consume(queue, "tag", no_ack=True)
    channel.basic_publish("", queue, body, properties)
    return channel.delivery()


@pytest.mark.parametrize(
    "size",
    [0, 1, 4087, 4088, 4089, 131063, 131064, 131065, 2 * 131064, 1 << 20],
)
def test_body_of_any_size(channel: Channel, queue: str, size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert travelled(channel, queue, body).body == body
    assert delivered(channel, queue, body).body == body


def test_no_properties(channel: Channel, queue: str) -> None:
    assert travelled(channel, queue).properties == BasicProperties()


EVERY_PROPERTY: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "gzip",
    "headers": {"a": 1},
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "correlation",
    "reply_to": "somebody",
    "expiration": "60000",
    "message_id": "id",
    "timestamp": 1704110400,
    "type": "type",
    "user_id": "guest",
    "app_id": "app",
    "cluster_id": "cluster",
}


@pytest.mark.parametrize("field", EVERY_PROPERTY)
def test_each_property(channel: Channel, queue: str, field: str) -> None:
    properties = BasicProperties(**{field: EVERY_PROPERTY[field]})
    assert travelled(channel, queue, b"x", properties).properties == properties


def test_every_property(channel: Channel, queue: str) -> None:
    properties = BasicProperties(**EVERY_PROPERTY)
    assert travelled(channel, queue, b"x", properties).properties == properties
    assert delivered(channel, queue, b"x", properties).properties == properties


@pytest.mark.parametrize(
    "properties",
    [
        {"content_type": "", "message_id": ""},
        {"correlation_id": "x" * 255, "type": "ж" * 127},
        {"priority": 0, "timestamp": 0},
        {"priority": 255, "timestamp": 2**64 - 1},
        {"delivery_mode": 1, "expiration": "4294967295"},
        {"headers": {}},
    ],
    ids=["empty", "long", "zero", "largest", "transient", "no-headers"],
)
def test_properties_at_their_edges(channel: Channel, queue: str, properties: dict[str, Any]) -> None:
    sent = BasicProperties(**properties)
    assert travelled(channel, queue, b"x", sent).properties == sent


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        0,
        -1,
        2**31 - 1,
        -(2**31),
        long(2**63 - 1),
        long(-(2**63)),
        0.0,
        -1.5,
        1e300,
        decimal.Decimal("3.14"),
        decimal.Decimal("100"),
        "",
        "text",
        "日本 🐇",
        "x" * 10000,
        b"",
        b"\x00\xff\xfe",
        datetime(2024, 1, 1, 12, tzinfo=timezone.utc),
        datetime(1970, 1, 1, tzinfo=timezone.utc),
        None,
        [],
        [1, "a", None, [2.5, [b"x"]], {"b": [True]}],
        {},
        {"a": {"b": {"c": [1, {"d": None}]}}},
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:20]}",
)
def test_header_of_each_type(channel: Channel, queue: str, value: object) -> None:
    received = travelled(channel, queue, b"", BasicProperties(headers={"header": value})).properties.headers
    assert received == {"header": value}
    assert received is not None
    assert type(received["header"]) is type(value)


def test_order_of_headers(channel: Channel, queue: str, profile: Profile) -> None:
    headers = {f"header-{number * 7 % 20}": number for number in range(20)}
    received = travelled(channel, queue, b"", BasicProperties(headers=headers)).properties.headers
    assert received is not None
    assert list(received.items()) == (sorted(headers.items()) if profile.headers_are_sorted else list(headers.items()))


def test_header_names_at_their_edges(channel: Channel, queue: str) -> None:
    headers = {"": 1, "x" * 128: 2, "ключ": 3, "x-custom": 4}
    assert travelled(channel, queue, b"", BasicProperties(headers=headers)).properties.headers == headers


def test_large_headers(channel: Channel, queue: str) -> None:
    headers = {f"header-{number}": "x" * 1000 for number in range(100)}
    assert travelled(channel, queue, b"", BasicProperties(headers=headers)).properties.headers == headers


def test_copies_are_equal(channel: Channel) -> None:
    queues = [channel.queue_declare(exclusive=True).queue for _ in range(3)]
    properties = BasicProperties(headers={"CC": queues[1:]}, message_id="id")
    channel.basic_publish("", queues[0], b"x", properties)
    channel.synchronize()
    for queue in queues:
        received = channel.basic_get(queue, no_ack=True)
        assert received is not None
        assert (received.properties, received.body) == (properties, b"x")
