"""The workloads on py-amqp; meter.py says what the arguments are and what is printed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.programs.meter import PREFETCH, Address, Meter, Task, run

# By name, since it is in its own environment only.
amqp: Any = importlib.import_module("amqp")


def connect(task: Task) -> Any:
    address = Address.of(task.url)
    connection = amqp.Connection(
        f"{address.host}:{address.port}",
        userid=address.user,
        password=address.password,
        virtual_host=address.vhost,
    )
    connection.connect()
    return connection


def publish(task: Task, meter: Meter) -> None:
    _publish(task, meter, "basic_publish")


def publish_confirmed(task: Task, meter: Meter) -> None:
    _publish(task, meter, "basic_publish_confirm")


def _publish(task: Task, meter: Meter, method: str) -> None:
    connection = connect(task)
    channel = connection.channel()
    send, queue, body, message = getattr(channel, method), task.queue, task.body, amqp.Message
    for _ in range(task.warm_up):
        send(message(body), "", queue)
    channel.queue_declare(queue, passive=True)
    meter.start()
    for _ in range(task.messages):
        send(message(body), "", queue)
    channel.queue_declare(queue, passive=True)
    meter.stop()
    connection.close()


def consume(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=False)


def consume_ack(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=True)


def _consume(task: Task, meter: Meter, acknowledge: bool) -> None:
    connection = connect(task)
    channel = connection.channel()
    if acknowledge:
        channel.basic_qos(0, PREFETCH, False)
    received, last = 0, None
    size, first, total = task.body_size, task.warm_up, task.total

    def on_message(message: Any) -> None:
        nonlocal received, last
        received += 1
        if message.delivery_tag != received or len(message.body) != size:
            task.refuse(received, message.delivery_tag, message.body)
        if acknowledge:
            channel.basic_ack(message.delivery_tag)
        if received == first:
            meter.start()
        elif received == total:
            last = message.body

    channel.basic_consume(task.queue, no_ack=not acknowledge, callback=on_message)
    while received < total:
        connection.drain_events()
    meter.stop()
    connection.close()
    task.require(received, as_bytes(last))


def get(task: Task, meter: Meter) -> None:
    connection = connect(task)
    channel = connection.channel()
    for number in range(1, task.total + 1):
        message = None
        message = channel.basic_get(task.queue, no_ack=True)
        if message is None or message.delivery_tag != number or len(message.body) != task.body_size:
            task.refuse(number, message and message.delivery_tag, message and message.body)
        if number == task.warm_up:
            message = None
            meter.start()
    meter.stop()
    connection.close()
    task.require(number, message and as_bytes(message.body))


def as_bytes(body: Any) -> bytes | None:
    return body.encode() if isinstance(body, str) else body


def open_close(task: Task, meter: Meter) -> None:
    opened = []
    for number in range(task.total):
        if number == task.warm_up:
            meter.start()
        connection = connect(task)
        connection.channel()
        opened.append(connection)
    meter.stop()
    for connection in opened:
        connection.close()


TASKS = {
    "publish": publish,
    "publish-confirmed": publish_confirmed,
    "consume": consume,
    "consume-ack": consume_ack,
    "get": get,
    "open": open_close,
}

if __name__ == "__main__":
    run(TASKS, amqp.__version__, sys.argv[1:])
