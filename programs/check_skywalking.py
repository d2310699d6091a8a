"""Apache SkyWalking's agent, without its service: a segment per message, in one trace from publisher to consumer."""

from __future__ import annotations

import sys
from typing import Any

import skywalking.agent
from skywalking import config
from skywalking.plugins import sw_rabbitmq
from skywalking.trace.context import get_context
from skywalking.trace.span import Kind

import pika

QUEUE = "skywalking"
segments: list[Any] = []


def check(url: str) -> str:
    config.init(agent_name="check", agent_instance_name="check", agent_profile_active=False)
    config.finalize()
    skywalking.agent.agent.is_segment_queue_full = lambda: False
    skywalking.agent.agent.archive_segment = segments.append
    sw_rabbitmq.install()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        from_callback(channel)
        from_generator(channel)
        from_get(channel)
    from_select_connection(url)
    return "publish, get, callback, generator, select connection"


def spans_taken() -> list[tuple[str, Any]]:
    """Return the spans archived since the last time, each with its trace's id."""
    spans = [(str(segment.related_traces[0]), span) for segment in segments for span in segment.spans]
    segments.clear()
    return spans


def assert_traced(url_peer: str, number: int) -> None:
    """See that there were so many messages, each published and then taken, in one trace."""
    spans = spans_taken()
    produced = [(trace, span) for trace, span in spans if span.kind == Kind.Exit]
    consumed = [(trace, span) for trace, span in spans if span.kind == Kind.Entry]
    assert len(produced) == len(consumed) == number, spans
    assert [trace for trace, _ in consumed] == [trace for trace, _ in produced]
    assert {span.op for _, span in produced} == {f"RabbitMQ/Topic//Queue/{QUEUE}/Producer"}
    assert {span.op for _, span in consumed} == {f"RabbitMQ/Topic//Queue/{QUEUE}/Consumer"}
    for _, span in spans:
        assert [tag.val for tag in span.iter_tags()] == [url_peer, "", QUEUE]


def peer_of(channel: Any) -> str:
    parameters = getattr(channel.connection, "_impl", channel.connection).params
    return f"{parameters.host}:{parameters.port}"


def from_callback(channel: Any) -> None:
    operations = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        operations.append(get_context().active_span.op)
        assert properties.headers["mine"] == 1
        if body == b"2":
            channel.stop_consuming()

    channel.basic_consume(QUEUE, on_message, auto_ack=True)
    for body in (b"1", b"2"):
        channel.basic_publish("", QUEUE, body, pika.BasicProperties(headers={"mine": 1}))
    channel.start_consuming()
    assert operations == [f"RabbitMQ/Topic//Queue/{QUEUE}/Consumer"] * 2
    assert_traced(peer_of(channel), 2)


def from_generator(channel: Any) -> None:
    for body in (b"1", b"2"):
        channel.basic_publish("", QUEUE, body)
    for method, _properties, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=30):
        assert method is not None
        if body == b"2":
            break
    channel.cancel()
    assert_traced(peer_of(channel), 2)


def from_get(channel: Any) -> None:
    channel.confirm_delivery()
    channel.basic_publish("", QUEUE, b"1", mandatory=True)
    assert channel.basic_get(QUEUE, auto_ack=True)[2] == b"1"
    assert_traced(peer_of(channel), 1)


def from_select_connection(url: str) -> None:
    """Its deliveries are seen where they arrive."""
    bodies: list[bytes] = []

    class Consumer:
        def on_channel_open(self, channel: Any) -> None:
            channel.basic_consume(QUEUE, self.on_message, auto_ack=True)
            channel.basic_publish("", QUEUE, b"1")

        def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
            bodies.append(body)
            channel.connection.close()

    consumer = Consumer()
    connection = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=consumer.on_channel_open),
        on_close_callback=lambda connection, error: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    assert bodies == [b"1"]
    assert_traced(f"{connection.params.host}:{connection.params.port}", 1)


if __name__ == "__main__":
    print(check(sys.argv[1]))
