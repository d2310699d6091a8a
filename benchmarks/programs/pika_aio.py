"""The workloads on pika.aio. meter.py says what the arguments are and what is printed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

# Behind everything else, so that the pika that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika.aio
from benchmarks.programs.meter import IN_FLIGHT, PREFETCH, Meter, Task, run


async def publish(task: Task, meter: Meter) -> None:
    """Publish; it ends when the broker has answered something that was sent behind the last message."""
    async with pika.aio.connect(task.url) as connection, connection.channel() as channel:
        send, queue, body = channel.basic_publish, task.queue, task.body
        for _ in range(task.warm_up):
            await send("", queue, body)
        await channel.queue_declare(queue, passive=True)
        meter.start()
        for _ in range(task.messages):
            await send("", queue, body)
        await channel.queue_declare(queue, passive=True)
        meter.stop()


async def publish_confirmed(task: Task, meter: Meter) -> None:
    async with (
        pika.aio.connect(task.url) as connection,
        connection.channel() as channel,
        channel.publisher() as publisher,
    ):
        send, queue, body = publisher.publish, task.queue, task.body
        for _ in range(task.warm_up):
            await send(body, routing_key=queue)
        meter.start()
        for _ in range(task.messages):
            await send(body, routing_key=queue)
        meter.stop()


async def publish_window(task: Task, meter: Meter) -> None:
    async with (
        pika.aio.connect(task.url) as connection,
        connection.channel() as channel,
        channel.publisher(max_in_flight=IN_FLIGHT) as publisher,
    ):
        send, queue, body = publisher.send, task.queue, task.body
        for _ in range(task.warm_up):
            await send(body, routing_key=queue)
        await publisher.wait()
        meter.start()
        for _ in range(task.messages):
            await send(body, routing_key=queue)
        await publisher.wait()
        meter.stop()


async def consume(task: Task, meter: Meter, acknowledge: bool) -> None:
    async with (
        pika.aio.connect(task.url) as connection,
        connection.channel(prefetch=PREFETCH if acknowledge else 0) as channel,
    ):
        received, last = 0, None
        size, first, total = task.body_size, task.warm_up, task.total
        async for message in channel.consume(task.queue, auto_ack=not acknowledge):
            received += 1
            body = message.body
            if message.delivery_tag != received or len(body) != size:
                task.refuse(received, message.delivery_tag, body)
            if acknowledge:
                await message.ack()
            if received == first:
                meter.start()
            elif received == total:
                last = body
                break
            # What comes next is put together while this waits: two are not to be held.
            del message, body
        meter.stop()
    task.require(received, last)


async def get(task: Task, meter: Meter) -> None:
    async with pika.aio.connect(task.url) as connection, connection.channel() as channel:
        fetch, queue, size = channel.basic_get, task.queue, task.body_size
        for number in range(1, task.total + 1):
            # The one before is let go first: two are not to be held.
            message = None
            message = await fetch(queue, auto_ack=True)
            if message is None or message.delivery_tag != number or len(message.body) != size:
                task.refuse(number, message and message.delivery_tag, None if message is None else message.body)
            if number == task.warm_up:
                message = None
                meter.start()
        meter.stop()
    assert message is not None
    task.require(number, message.body)


async def open_close(task: Task, meter: Meter) -> None:
    """Open connections with a channel each; closing them is not measured."""
    parameters = pika.URLParameters(task.url)
    opened = []
    for number in range(task.total):
        if number == task.warm_up:
            meter.start()
        connection = await pika.aio.connect(parameters)
        await connection.channel()
        opened.append(connection)
    meter.stop()
    for connection in opened:
        await connection.close()


TASKS: dict[str, Callable[[Task, Meter], Coroutine[Any, Any, None]]] = {
    "publish": publish,
    "publish-confirmed": publish_confirmed,
    "publish-window": publish_window,
    "consume": partial(consume, acknowledge=False),
    "consume-ack": partial(consume, acknowledge=True),
    "get": get,
    "open": open_close,
}


def run_coroutine(begin: Callable[[Task, Meter], Coroutine[Any, Any, None]], task: Task, meter: Meter) -> None:
    asyncio.run(begin(task, meter))


if __name__ == "__main__":
    run({name: partial(run_coroutine, begin) for name, begin in TASKS.items()}, pika.__version__, sys.argv[1:])
