"""The workloads on BlockingConnection, in one text for this library and for pika 1.x.

It imports pika, whichever is there. meter.py says what the arguments are and what is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Behind everything else, so that the pika that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika
import pika.frame
import pika.spec
from benchmarks.programs.meter import PREFETCH, Meter, Task, run


def publish(task: Task, meter: Meter) -> None:
    _publish(task, meter, confirmed=False)


def publish_confirmed(task: Task, meter: Meter) -> None:
    _publish(task, meter, confirmed=True)


def _publish(task: Task, meter: Meter, confirmed: bool) -> None:
    """Publish; it ends when the broker has answered something that was sent behind the last message."""
    connection = pika.BlockingConnection(pika.URLParameters(task.url))
    channel = connection.channel()
    if confirmed:
        channel.confirm_delivery()
    send, queue, body = channel.basic_publish, task.queue, task.body
    for _ in range(task.warm_up):
        send("", queue, body)
    channel.queue_declare(queue, passive=True)
    meter.start()
    for _ in range(task.messages):
        send("", queue, body)
    channel.queue_declare(queue, passive=True)
    meter.stop()
    connection.close()


def consume(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=False)


def consume_ack(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=True)


def _consume(task: Task, meter: Meter, acknowledge: bool) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(task.url))
    channel = connection.channel()
    if acknowledge:
        channel.basic_qos(prefetch_count=PREFETCH)
    received, last = 0, None
    size, first, total = task.body_size, task.warm_up, task.total

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal received, last
        received += 1
        if method.delivery_tag != received or len(body) != size:
            task.refuse(received, method.delivery_tag, body)
        if acknowledge:
            channel.basic_ack(method.delivery_tag)
        if received == first:
            meter.start()
        elif received == total:
            last = body
            channel.stop_consuming()

    channel.basic_consume(task.queue, on_message, auto_ack=not acknowledge)
    channel.start_consuming()
    meter.stop()
    connection.close()
    task.require(received, last)


def get(task: Task, meter: Meter) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(task.url))
    channel = connection.channel()
    fetch, queue, size = channel.basic_get, task.queue, task.body_size
    method: Any
    for number in range(1, task.total + 1):
        # The one before is let go first: two are not to be held.
        body = None
        method, _properties, body = fetch(queue, auto_ack=True)
        if body is None or method.delivery_tag != number or len(body) != size:
            task.refuse(number, method and method.delivery_tag, body)
        if number == task.warm_up:
            body = None
            meter.start()
    meter.stop()
    connection.close()
    task.require(number, body)


def open_close(task: Task, meter: Meter) -> None:
    """Open connections with a channel each; closing them is not measured."""
    parameters = pika.URLParameters(task.url)
    opened = []
    for number in range(task.total):
        if number == task.warm_up:
            meter.start()
        connection = pika.BlockingConnection(parameters)
        connection.channel()
        opened.append(connection)
    meter.stop()
    for connection in opened:
        connection.close()


def encode(task: Task, meter: Meter) -> None:
    """Make the three frames of a publish, with the public classes of pika.spec and pika.frame."""
    body = task.body
    meter.start()
    for _ in range(task.messages):
        method = pika.spec.Basic.Publish(exchange="", routing_key="benchmark-00000000")
        frames = pika.frame.Method(1, method).marshal()
        frames += pika.frame.Header(1, len(body), pika.spec.BasicProperties()).marshal()
        frames += pika.frame.Body(1, body).marshal()
    meter.stop()
    # 8 octets around each of three frames, 12 and 2 of a header, 4 of a method and 23 of its arguments.
    if len(frames) != len(body) + 24 + 14 + 27:
        raise SystemExit(f"a publish of {len(body)} octets was encoded to {len(frames)}")


def decode(task: Task, meter: Meter) -> None:
    """Read the three frames of a delivery with pika.frame.decode_frame."""
    body = task.body
    method = pika.spec.Basic.Deliver("ctag1.0123456789abcdef", 1, False, "", "benchmark-00000000")
    frames = [
        pika.frame.Method(1, method).marshal(),
        pika.frame.Header(1, len(body), pika.spec.BasicProperties()).marshal(),
        pika.frame.Body(1, body).marshal(),
    ]
    decode_frame = pika.frame.decode_frame
    meter.start()
    for _ in range(task.messages):
        decoded: list[Any] = [decode_frame(data)[1] for data in frames]
    meter.stop()
    if decoded[0].method != method or decoded[1].body_size != len(body) or decoded[2].fragment != body:
        raise SystemExit(f"a delivery was decoded to {decoded!r:.200}")


TASKS = {
    "publish": publish,
    "publish-confirmed": publish_confirmed,
    "consume": consume,
    "consume-ack": consume_ack,
    "get": get,
    "open": open_close,
    "encode": encode,
    "decode": decode,
}

if __name__ == "__main__":
    run(TASKS, pika.__version__, sys.argv[1:])
