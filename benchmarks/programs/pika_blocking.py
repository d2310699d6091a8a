"""The workloads on BlockingConnection, in one text for this library and for pika 1.x.

It imports pika, whichever is there.

Arguments: the workload, how many messages, octets of a body, the broker's AMQP URL. Prints one line of JSON.
A message that is lost, or another one than was sent, ends the program with an error.
"""

from __future__ import annotations

import platform
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Behind everything else, so that the pika that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika
import pika.frame
import pika.spec
from benchmarks.programs.meter import Meter, report

PREFETCH = 200
# Messages before the measured ones, so that every cache is warm and every buffer has its size.
WARM_UP = 200
SETTLE_SECONDS = 30.0


class Session:
    """One connection with one channel and one classic transient queue, which goes when the connection does.

    :param messages: how many to measure
    :param body: the body of each
    :param url: the broker
    """

    def __init__(self, messages: int, body: bytes, url: str) -> None:
        self.messages = messages
        self.body = body
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.queue = f"benchmark-{secrets.token_hex(4)}"
        self.channel.queue_declare(self.queue, exclusive=True)

    def publish(self, count: int) -> None:
        """Publish, and return when the broker has answered something that was sent behind the last message."""
        publish, queue, body = self.channel.basic_publish, self.queue, self.body
        for _ in range(count):
            publish("", queue, body)
        self.channel.queue_declare(self.queue, passive=True)

    def expect_queued(self, count: int) -> None:
        """Raise unless the queue has so many messages, or gets them in a while."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            queued = self.channel.queue_declare(self.queue, passive=True).method.message_count
            if queued == count:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"messages were lost: the queue has {queued} messages, not {count}")
            time.sleep(0.01)

    def refuse(self, number: int, delivery_tag: int, body: bytes) -> None:
        """Raise: a delivery is not the one that was due. The callers compare; a call for each would be measured too."""
        raise SystemExit(f"delivery {number} is another: it has tag {delivery_tag} and {len(body)} octets of body")


def publish(session: Session, meter: Meter) -> dict[str, Any]:
    session.publish(WARM_UP)
    meter.start()
    session.publish(session.messages)
    measured = meter.stop()
    session.expect_queued(WARM_UP + session.messages)
    return measured


def publish_confirmed(session: Session, meter: Meter) -> dict[str, Any]:
    session.channel.confirm_delivery()
    return publish(session, meter)


def consume(session: Session, meter: Meter) -> dict[str, Any]:
    return _consume(session, meter, acknowledge=False)


def consume_ack(session: Session, meter: Meter) -> dict[str, Any]:
    session.channel.basic_qos(prefetch_count=PREFETCH)
    measured = _consume(session, meter, acknowledge=True)
    # What was delivered and not acknowledged goes back into the queue when its channel closes.
    session.channel.close()
    session.channel = session.connection.channel()
    session.expect_queued(0)
    return measured


def _consume(session: Session, meter: Meter, acknowledge: bool) -> dict[str, Any]:
    total = WARM_UP + session.messages
    session.publish(total)
    session.expect_queued(total)
    received, expected = 0, session.body

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal received
        received += 1
        if method.delivery_tag != received or body != expected:
            session.refuse(received, method.delivery_tag, body)
        if acknowledge:
            channel.basic_ack(method.delivery_tag)
        if received == WARM_UP:
            meter.start()
        elif received == total:
            channel.stop_consuming()

    session.channel.basic_consume(session.queue, on_message, auto_ack=not acknowledge)
    session.channel.start_consuming()
    measured = meter.stop()
    if received != total:
        raise SystemExit(f"messages were lost: {received} of {total} arrived")
    return measured


def get(session: Session, meter: Meter) -> dict[str, Any]:
    session.publish(WARM_UP + session.messages)
    session.expect_queued(WARM_UP + session.messages)
    for number in range(1, WARM_UP + session.messages + 1):
        method, _properties, body = session.channel.basic_get(session.queue, auto_ack=True)
        if method is None or body is None:
            raise SystemExit(f"messages were lost: there is no message number {number}")
        if method.delivery_tag != number or body != session.body:
            session.refuse(number, method.delivery_tag, body)
        if number == WARM_UP:
            meter.start()
    return meter.stop()


def encode(messages: int, body: bytes, meter: Meter) -> dict[str, Any]:
    """Make the three frames of a publish, with the public classes of pika.spec and pika.frame."""
    meter.start()
    for _ in range(messages):
        method = pika.spec.Basic.Publish(exchange="", routing_key="benchmark-00000000")
        frames = pika.frame.Method(1, method).marshal()
        frames += pika.frame.Header(1, len(body), pika.spec.BasicProperties()).marshal()
        frames += pika.frame.Body(1, body).marshal()
    measured = meter.stop()
    # 8 octets around each of three frames, 12 and 2 of a header, 4 of a method and 23 of its arguments.
    if len(frames) != len(body) + 24 + 14 + 27:
        raise SystemExit(f"a publish of {len(body)} octets was encoded to {len(frames)}")
    return measured


def decode(messages: int, body: bytes, meter: Meter) -> dict[str, Any]:
    """Read the three frames of a delivery with pika.frame.decode_frame."""
    method = pika.spec.Basic.Deliver("ctag1.0123456789abcdef", 1, False, "", "benchmark-00000000")
    frames = [
        pika.frame.Method(1, method).marshal(),
        pika.frame.Header(1, len(body), pika.spec.BasicProperties()).marshal(),
        pika.frame.Body(1, body).marshal(),
    ]
    decode_frame = pika.frame.decode_frame
    meter.start()
    for _ in range(messages):
        decoded: list[Any] = [decode_frame(data)[1] for data in frames]
    measured = meter.stop()
    if decoded[0].method != method or decoded[1].body_size != len(body) or decoded[2].fragment != body:
        raise SystemExit(f"a delivery was decoded to {decoded!r:.200}")
    return measured


ON_BROKER: dict[str, Callable[[Session, Meter], dict[str, Any]]] = {
    "publish": publish,
    "consume": consume,
    "consume-ack": consume_ack,
    "publish-confirmed": publish_confirmed,
    "get": get,
}
ALONE: dict[str, Callable[[int, bytes, Meter], dict[str, Any]]] = {"encode": encode, "decode": decode}


def main() -> None:
    workload, messages, body_size, url = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    body = (b"0123456789abcdef" * (body_size // 16 + 1))[:body_size]
    if workload in ALONE:
        measured = ALONE[workload](messages, body, Meter())
    else:
        session = Session(messages, body, url)
        measured = ON_BROKER[workload](session, Meter())
        session.connection.close()
    report({"version": pika.__version__, "python": _python(), "messages": messages, **measured})


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


if __name__ == "__main__":
    main()
