"""The workloads on amqpstorm; meter.py says what the arguments are and what is printed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.programs.meter import PREFETCH, Meter, Task, run

# By name, since it is in its own environment only.
amqpstorm: Any = importlib.import_module("amqpstorm")


def publish(task: Task, meter: Meter) -> None:
    _publish(task, meter, confirmed=False)


def publish_confirmed(task: Task, meter: Meter) -> None:
    _publish(task, meter, confirmed=True)


def _publish(task: Task, meter: Meter, confirmed: bool) -> None:
    connection = amqpstorm.UriConnection(task.url)
    channel = connection.channel()
    if confirmed:
        channel.confirm_deliveries()
    send, queue, body = channel.basic.publish, task.queue, task.body
    for _ in range(task.warm_up):
        send(body, queue)
    channel.queue.declare(queue, passive=True)
    meter.start()
    for _ in range(task.messages):
        send(body, queue)
    channel.queue.declare(queue, passive=True)
    meter.stop()
    connection.close()


def consume(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=False)


def consume_ack(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=True)


def _consume(task: Task, meter: Meter, acknowledge: bool) -> None:
    connection = amqpstorm.UriConnection(task.url)
    channel = connection.channel()
    if acknowledge:
        channel.basic.qos(PREFETCH)
    received, last = 0, None
    size, first, total = task.body_size, task.warm_up, task.total

    def on_message(message: Any) -> None:
        nonlocal received, last
        received += 1
        if message.delivery_tag != received or len(message.body) != size:
            task.refuse(received, message.delivery_tag, message.body)
        if acknowledge:
            message.ack()
        if received == first:
            meter.start()
        elif received == total:
            last = message.body
            meter.stop()
            channel.stop_consuming()

    channel.basic.consume(on_message, task.queue, no_ack=not acknowledge)
    channel.start_consuming(auto_decode=False)
    connection.close()
    task.require(received, last)


def get(task: Task, meter: Meter) -> None:
    connection = amqpstorm.UriConnection(task.url)
    channel = connection.channel()
    for number in range(1, task.total + 1):
        message = None
        message = channel.basic.get(task.queue, no_ack=True, auto_decode=False)
        if message is None or message.delivery_tag != number or len(message.body) != task.body_size:
            task.refuse(number, message and message.delivery_tag, message and message.body)
        if number == task.warm_up:
            message = None
            meter.start()
    meter.stop()
    connection.close()
    task.require(number, message and message.body)


def open_close(task: Task, meter: Meter) -> None:
    opened = []
    for number in range(task.total):
        if number == task.warm_up:
            meter.start()
        connection = amqpstorm.UriConnection(task.url)
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
    run(TASKS, amqpstorm.__version__, sys.argv[1:])
