"""Instana's tracer, without its agent: a span per message, in one trace from publisher to consumer."""

from __future__ import annotations

import sys
from typing import Any

import instana  # noqa: F401  it instruments what is imported behind it
from instana.singletons import get_agent, get_tracer

import pika

QUEUE = "instana"


def check(url: str) -> str:
    get_agent().can_send = lambda: True
    get_agent().get_from_structure = lambda: {"e": "1", "h": "check"}
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        taken()
        from_callback(channel)
        from_generator(channel)
        from_get(channel)
    return "publish, get, callback, generator"


def taken() -> list[Any]:
    """Return the spans recorded since the last time."""
    spans = []
    waiting = get_agent().collector.span_queue
    while not waiting.empty():
        spans.append(waiting.get())
    return spans


def publish(channel: Any, *bodies: bytes) -> None:
    """Publish within a span; messages outside of any are not traced."""
    with get_tracer().start_as_current_span("publisher"):
        for body in bodies:
            channel.basic_publish("", QUEUE, body, pika.BasicProperties(headers={"mine": 1}))


def assert_traced(number: int) -> None:
    """See that so many messages were published, and taken, in one trace."""
    spans = [span for span in taken() if span.n == "rabbitmq"]
    published = [span for span in spans if span.data["rabbitmq"]["sort"] == "publish"]
    consumed = [span for span in spans if span.data["rabbitmq"]["sort"] == "consume"]
    assert len(published) == len(consumed) == number, spans
    assert len({span.t for span in spans}) == 1
    assert [span.p for span in consumed] == [span.s for span in published]
    assert {(span.data["rabbitmq"]["exchange"], span.data["rabbitmq"]["key"]) for span in published} == {("", QUEUE)}
    assert {span.data["rabbitmq"]["queue"] for span in consumed} == {QUEUE}
    assert {span.data["rabbitmq"]["address"].partition(":")[0] for span in spans} == {"127.0.0.1"}


def from_callback(channel: Any) -> None:
    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        assert properties.headers["mine"] == 1
        channel.basic_ack(method.delivery_tag)
        if body == b"2":
            channel.stop_consuming()

    channel.basic_consume(QUEUE, on_message)
    publish(channel, b"1", b"2")
    channel.start_consuming()
    assert_traced(2)


def from_generator(channel: Any) -> None:
    publish(channel, b"1", b"2")
    for method, _properties, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=30):
        assert method is not None
        if body == b"2":
            break
    channel.cancel()
    assert_traced(2)


def from_get(channel: Any) -> None:
    publish(channel, b"1")
    assert channel.basic_get(QUEUE, auto_ack=True)[2] == b"1"
    assert_traced(1)


if __name__ == "__main__":
    print(check(sys.argv[1]))
