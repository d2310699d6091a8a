"""The workloads on SelectConnection and AsyncioConnection, in one text for this library and for pika 1.x.

It imports pika, whichever is there. The first argument is "select" or "asyncio"; meter.py says what the others are
and what is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Behind everything else, so that the pika that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika
from benchmarks.programs.meter import IN_FLIGHT, PREFETCH, Meter, Task, run

# Messages that are published in one turn of the loop, and octets after which the broker must have answered before
# there are more: a publisher that has no other way to hold back would fill the memory.
TURN = 200
MOST_AHEAD = 16 << 20
LOOP = sys.argv[1]


def connect(task: Task, on_open: Callable[[Any], object]) -> Any:
    """Begin a connection, and call back with its channel."""

    def fail(_connection: Any, error: object) -> None:
        raise SystemExit(f"no connection: {error!r}")

    def opened(connection: Any) -> None:
        connection.channel(on_open_callback=on_open)

    connection_class: Any = pika.SelectConnection
    if LOOP == "asyncio":
        from pika.adapters.asyncio_connection import AsyncioConnection

        connection_class = AsyncioConnection
    return connection_class(pika.URLParameters(task.url), on_open_callback=opened, on_open_error_callback=fail)


def converse(task: Task, begin: Callable[[Any], object]) -> None:
    """Run a connection until it is closed; it begins with an open channel."""

    def on_open(channel: Any) -> None:
        channel.add_on_close_callback(on_channel_closed)
        begin(channel)

    def on_channel_closed(channel: Any, reason: Any) -> None:
        # Where it was closed, and not lost, its connection is closing.
        if channel.connection.is_open:
            raise SystemExit(f"the channel was closed: {reason!r}")

    connection = connect(task, on_open)
    connection.add_on_close_callback(lambda *_: connection.ioloop.stop())
    connection.ioloop.run_forever() if LOOP == "asyncio" else connection.ioloop.start()


def publish(task: Task, meter: Meter) -> None:
    body = task.body
    turn = max(1, min(TURN, MOST_AHEAD // 16 // len(body)))

    def begin(channel: Any) -> None:
        def measure() -> None:
            meter.start()
            send(channel, task.messages, finish)

        def finish() -> None:
            meter.stop()
            channel.connection.close()

        send(channel, task.warm_up, measure)

    def send(channel: Any, left: int, then: Callable[[], object]) -> None:
        """Publish, and call back when the broker has answered something that was sent behind the last message."""
        call_later = channel.connection.ioloop.call_later
        ahead = max(1, MOST_AHEAD // len(body))

        def more() -> None:
            nonlocal left, ahead
            count = min(turn, left, ahead)
            for _ in range(count):
                channel.basic_publish("", task.queue, body)
            left -= count
            ahead -= count
            if left and ahead:
                call_later(0, more)
            else:
                channel.queue_declare(task.queue, passive=True, callback=answered)

        def answered(_frame: Any) -> None:
            if left:
                send(channel, left, then)
            else:
                then()

        more()

    converse(task, begin)


def publish_confirmed(task: Task, meter: Meter) -> None:
    _publish_confirmed(task, meter, 1)


def publish_window(task: Task, meter: Meter) -> None:
    _publish_confirmed(task, meter, IN_FLIGHT)


def _publish_confirmed(task: Task, meter: Meter, in_flight: int) -> None:
    """Publish with so many messages at most that wait for their confirms."""
    body, queue = task.body, task.queue
    sent, settled, goal = 0, 0, task.warm_up

    def begin(channel: Any) -> None:
        publish = channel.basic_publish

        def fill(_frame: Any = None) -> None:
            nonlocal sent
            while sent < goal and sent - settled < in_flight:
                publish("", queue, body)
                sent += 1

        def on_settled(frame: Any) -> None:
            nonlocal settled, goal
            ack = frame.method
            if not isinstance(ack, pika.spec.Basic.Ack) or not (ack.multiple or ack.delivery_tag == settled + 1):
                raise SystemExit(f"after {settled} confirms comes {ack!r}")
            settled = ack.delivery_tag
            if settled == task.total:
                meter.stop()
                channel.connection.close()
                return
            if settled == goal:
                meter.start()
                goal = task.total
            fill()

        channel.confirm_delivery(on_settled, callback=fill)

    converse(task, begin)


def consume(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=False)


def consume_ack(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=True)


def _consume(task: Task, meter: Meter, acknowledge: bool) -> None:
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
            meter.stop()
            last = body
            channel.connection.close()

    def begin(channel: Any) -> None:
        def start(_frame: Any = None) -> None:
            channel.basic_consume(task.queue, on_message, auto_ack=not acknowledge)

        if acknowledge:
            channel.basic_qos(prefetch_count=PREFETCH, callback=start)
        else:
            start()

    converse(task, begin)
    task.require(received, last)


def get(task: Task, meter: Meter) -> None:
    received, last = 0, None

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal received, last
        received += 1
        if method.delivery_tag != received or len(body) != task.body_size:
            task.refuse(received, method.delivery_tag, body)
        if received == task.total:
            meter.stop()
            last = body
            channel.connection.close()
            return
        if received == task.warm_up:
            # In another turn, when the message is let go, so that it does not count as what was there before.
            channel.connection.ioloop.call_later(0, lambda: measure(channel))
        else:
            channel.basic_get(task.queue, on_message, auto_ack=True)

    def measure(channel: Any) -> None:
        meter.start()
        channel.basic_get(task.queue, on_message, auto_ack=True)

    def begin(channel: Any) -> None:
        def on_empty(_frame: Any) -> None:
            raise SystemExit(f"messages were lost: there is none after {received}")

        channel.add_callback(on_empty, [pika.spec.Basic.GetEmpty], one_shot=False)
        channel.basic_get(task.queue, on_message, auto_ack=True)

    converse(task, begin)
    task.require(received, last)


TASKS = {
    "publish": publish,
    "publish-confirmed": publish_confirmed,
    "publish-window": publish_window,
    "consume": consume,
    "consume-ack": consume_ack,
    "get": get,
}

if __name__ == "__main__":
    run(TASKS, pika.__version__, sys.argv[2:])
