"""The workloads on pika.Connection, from one thread, as those on BlockingConnection are; meter.py has the rest."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika
import pika.spec
from benchmarks.programs.meter import IN_FLIGHT, PREFETCH, Meter, Task, run
from pika.client import Channel


def publish(task: Task, meter: Meter) -> None:
    _publish(task, meter, confirmed=False)


def publish_confirmed(task: Task, meter: Meter) -> None:
    _publish(task, meter, confirmed=True)


def _publish(task: Task, meter: Meter, confirmed: bool) -> None:
    """Publish; it ends when the broker has answered something that was sent behind the last message."""
    with pika.connect(task.url) as connection:
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


def publish_window(task: Task, meter: Meter) -> None:
    """Publish with so many messages at most that wait for their confirms."""
    with pika.connect(task.url) as connection:
        publisher = connection.channel().publisher(max_in_flight=IN_FLIGHT)
        send, queue, body = publisher.publish, task.queue, task.body
        for _ in range(task.warm_up):
            send(body, "", queue)
        publisher.wait()
        meter.start()
        for _ in range(task.messages):
            send(body, "", queue)
        publisher.wait()
        meter.stop()


def consume(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=False)


def consume_ack(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=True)


def _consume(task: Task, meter: Meter, acknowledge: bool) -> None:
    """Consume with a handler, which runs in the channel's thread."""
    received, last, unlike = 0, b"", ""
    size, first, total, over = task.body_size, task.warm_up, task.total, threading.Event()

    def on_message(
        channel: Channel, method: pika.spec.Basic.Deliver, _properties: pika.BasicProperties, body: bytes
    ) -> None:
        nonlocal received, last, unlike
        received += 1
        if (method.delivery_tag != received or len(body) != size) and not unlike:
            # What is raised here is logged, and no more.
            unlike = f"delivery {received} has tag {method.delivery_tag} and {len(body)} octets of body"
        if acknowledge:
            channel.basic_ack(method.delivery_tag)
        if received == first:
            meter.start()
        elif received == total:
            last = body
            over.set()

    with pika.connect(task.url) as connection:
        channel = connection.channel(prefetch=PREFETCH if acknowledge else 0)
        channel.basic_consume(task.queue, on_message, auto_ack=not acknowledge)
        over.wait()
        meter.stop()
        connection.drain()
    if unlike:
        raise SystemExit(f"{task.queue}: {unlike}")
    task.require(received, last)


def get(task: Task, meter: Meter) -> None:
    with pika.connect(task.url) as connection:
        fetch, queue, size = connection.channel().basic_get, task.queue, task.body_size
        message = None
        for number in range(1, task.total + 1):
            # The one before is let go first: two are not to be held.
            del message
            message = fetch(queue, auto_ack=True)
            if message is None or message.delivery_tag != number or len(message.body) != size:
                task.refuse(number, message and message.delivery_tag, None if message is None else message.body)
            if number == task.warm_up:
                del message
                message = None
                meter.start()
        meter.stop()
        task.require(number, None if message is None else message.body)


def open_close(task: Task, meter: Meter) -> None:
    """Open connections with a channel each; closing them is not measured."""
    opened = []
    for number in range(task.total):
        if number == task.warm_up:
            meter.start()
        connection = pika.connect(task.url)
        connection.channel()
        opened.append(connection)
    meter.stop()
    for connection in opened:
        connection.close()


TASKS = {
    "publish": publish,
    "publish-confirmed": publish_confirmed,
    "publish-window": publish_window,
    "consume": consume,
    "consume-ack": consume_ack,
    "get": get,
    "open": open_close,
}

if __name__ == "__main__":
    run(TASKS, pika.__version__, sys.argv[1:])
