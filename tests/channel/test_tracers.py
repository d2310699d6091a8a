"""What tracers patch of a channel, and what they see there."""

from __future__ import annotations

from typing import Any

import pytest

import pika
from pika import frame, spec
from pika.channel import Channel
from tests.support.plain_connection import PlainConnection
from tests.support.rabbitmq import Broker


@pytest.mark.parametrize("where", ["class", "instance"])
def test_a_patched_on_deliver_sees_every_delivery(
    connection: PlainConnection, channel: Channel, queue: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = Channel._on_deliver

    def patched(self: Channel, method_frame: Any, header_frame: Any, body: bytes) -> None:
        seen.append((method_frame, header_frame, body))
        original(self, method_frame, header_frame, body)

    if where == "class":
        monkeypatch.setattr(Channel, "_on_deliver", patched)
    else:
        channel._on_deliver = patched.__get__(channel)  # type: ignore[method-assign]  # tracers do
    bodies: list[bytes] = []
    channel.basic_consume(queue, lambda _channel, _method, _properties, body: bodies.append(body), auto_ack=True)
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number, pika.BasicProperties(type="kind"))
    connection.run(lambda: len(bodies) == 3)
    assert bodies == [body for _, _, body in seen] == [b"0", b"1", b"2"]
    for method_frame, header_frame, body in seen:
        assert isinstance(method_frame, frame.Method) and isinstance(method_frame.method, spec.Basic.Deliver)
        assert isinstance(header_frame, frame.Header)
        assert (header_frame.properties.type, header_frame.body_size) == ("kind", len(body))
        assert method_frame.channel_number == header_frame.channel_number == channel.channel_number


def test_a_patched_basic_publish_is_what_a_blocking_channel_calls(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    original = Channel.basic_publish

    def patched(
        self: Channel, exchange: str, routing_key: str, body: bytes, properties: Any = None, mandatory: bool = False
    ) -> None:
        seen.append((exchange, routing_key, body, mandatory))
        properties.headers["trace"] = len(seen)
        original(self, exchange, routing_key, body, properties, mandatory)

    monkeypatch.setattr(Channel, "basic_publish", patched)
    with pika.BlockingConnection(broker.parameters()) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert queue
        properties = pika.BasicProperties(headers={})
        channel.confirm_delivery()
        for _ in range(2):
            channel.basic_publish("", queue, b"body", properties, mandatory=True)
        traces = [channel.basic_get(queue, auto_ack=True)[1].headers["trace"] for _ in range(2)]  # type: ignore[index]  # there are two
    assert traces == [1, 2]
    assert seen == [("", queue, b"body", True)] * 2


def noting(seen: list[str], name: str, original: Any) -> Any:
    def patched(self: Channel, *arguments: Any, **options: Any) -> Any:
        seen.append(name)
        return original(self, *arguments, **options)

    return patched


def test_patched_get_and_consume_are_what_a_blocking_channel_calls(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for name in ("basic_get", "basic_consume"):
        original = getattr(Channel, name)

        monkeypatch.setattr(Channel, name, noting(seen, name, original))
    with pika.BlockingConnection(broker.parameters()) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert channel.basic_get(queue) == (None, None, None)
        channel.basic_consume(queue, print)
    assert seen == ["basic_get", "basic_consume"]
