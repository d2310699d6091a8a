"""OpenTelemetry's instrumentor: a trace goes from the publisher to the consumer, by callback and by generator."""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.pika import PikaInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import pika

QUEUE = "traced"
EXPORTER = InMemorySpanExporter()


def check(url: str) -> str:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(provider)
    instrumentor = PikaInstrumentor()
    instrumentor.instrument()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        channel.confirm_delivery()
        from_callback(channel)
        from_generator(channel)
        from_one_message_to_the_next(channel)
    instrumentor.uninstrument()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        connection.channel().basic_publish("", QUEUE, b"not traced")
    assert taken() == []
    return "callback, generator, a chain of messages, confirms, uninstrumented"


def taken() -> list[ReadableSpan]:
    """Return the spans that have ended since the last time, in the order of their starts."""
    spans = sorted(EXPORTER.get_finished_spans(), key=lambda span: span.start_time or 0)
    EXPORTER.clear()
    return spans


def trace_of(span: Any) -> int:
    return int(span.get_span_context().trace_id)


def assert_traced(spans: list[ReadableSpan], trace_id: int) -> None:
    """See that they are one publish and its delivery, in one trace."""
    *producers, consumer = spans
    assert {trace_of(span) for span in spans} == {trace_id}
    assert {span.kind for span in producers} == {SpanKind.PRODUCER}, spans
    assert {span.name for span in producers} == {f"{QUEUE} send"}
    assert (consumer.kind, consumer.name) == (SpanKind.CONSUMER, f"{QUEUE} receive")
    for span in producers:
        assert span.attributes is not None and span.attributes["net.peer.name"] == "127.0.0.1"
    assert consumer.parent is not None
    assert consumer.parent.span_id in {span.get_span_context().span_id for span in producers}


def from_callback(channel: Any) -> None:
    inside: list[int] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        assert (body, properties.headers["mine"]) == (b"1", "kept") and "traceparent" in properties.headers
        inside.append(trace_of(trace.get_current_span()))
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_consume(QUEUE, on_message)
    with trace.get_tracer("check").start_as_current_span("outer") as outer:
        channel.basic_publish("", QUEUE, b"1", pika.BasicProperties(headers={"mine": "kept"}))
    channel.start_consuming()
    spans = [span for span in taken() if span.name != "outer"]
    assert_traced(spans, trace_of(outer))
    assert inside == [trace_of(outer)]


def from_generator(channel: Any) -> None:
    for body in (b"1", b"2"):
        channel.basic_publish("", QUEUE, body)
    published = taken()
    traces = list(dict.fromkeys(trace_of(span) for span in published))
    assert len(traces) == 2
    for number, (method, properties, _body) in enumerate(channel.consume(QUEUE, inactivity_timeout=30)):
        assert method is not None and "traceparent" in properties.headers
        # What the program does with a message is part of the message's trace.
        assert trace_of(trace.get_current_span()) == traces[number]
        channel.basic_ack(method.delivery_tag)
        of_this = [span for span in [*published, *taken()] if trace_of(span) == traces[number]]
        assert_traced(of_this, traces[number])
        if number == 1:
            break
    channel.cancel()


def from_one_message_to_the_next(channel: Any) -> None:
    """A consumer that publishes passes its trace on."""
    bodies: list[bytes] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        bodies.append(body)
        if len(bodies) < 3:
            channel.basic_publish("", QUEUE, body + b"+", mandatory=True)
        else:
            channel.stop_consuming()

    channel.basic_consume(queue=QUEUE, on_message_callback=on_message, auto_ack=True)
    channel.basic_publish(exchange="", routing_key=QUEUE, body=b"0")
    channel.start_consuming()
    assert bodies == [b"0", b"0+", b"0++"]
    spans = taken()
    assert len({trace_of(span) for span in spans}) == 1
    assert [span.kind for span in spans].count(SpanKind.CONSUMER) == 3


if __name__ == "__main__":
    print(check(sys.argv[1]))
