"""The workloads on aiormq and on aio-pika, which stands on it.

The first argument is "aiormq" or "aio-pika"; meter.py says what the others are and what is printed. Either is
wrapped to the few calls that the workloads need, each one call deep.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.programs.meter import IN_FLIGHT, PREFETCH, Meter, Task, run

LIBRARY = sys.argv[1]
# By name, since they are in their own environment only.
library: Any = importlib.import_module(LIBRARY.replace("-", "_"))


class Aiormq:
    """A connection of aiormq, with its channel."""

    async def open(self, task: Task, confirms: bool) -> Aiormq:
        self.queue = task.queue
        self.connection = await library.connect(task.url)
        self.channel = await self.connection.channel(publisher_confirms=confirms)
        return self

    def publish(self, body: bytes) -> Awaitable[object]:
        return self.channel.basic_publish(body, routing_key=self.queue)  # type: ignore[no-any-return]

    async def barrier(self) -> None:
        await self.channel.queue_declare(self.queue, passive=True)

    async def prefetch(self, count: int) -> None:
        await self.channel.basic_qos(prefetch_count=count)

    async def consume(self, callback: Callable[[Any], Coroutine[Any, Any, None]], no_ack: bool) -> None:
        await self.channel.basic_consume(self.queue, callback, no_ack=no_ack)

    async def acknowledge(self, message: Any) -> None:
        await self.channel.basic_ack(message.delivery.delivery_tag)

    async def get(self) -> Any:
        return await self.channel.basic_get(self.queue, no_ack=True)

    @staticmethod
    def tag(message: Any) -> int:
        return message.delivery.delivery_tag  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self.connection.close()


class AioPika:
    """A connection of aio-pika, with its channel and the queue."""

    async def open(self, task: Task, confirms: bool) -> AioPika:
        self.name = task.queue
        self.connection = await library.connect(task.url)
        self.channel = await self.connection.channel(publisher_confirms=confirms)
        self.exchange = self.channel.default_exchange
        # Where a connection is opened only, there is none; no call is made for it.
        self.queue: Any = await self.channel.get_queue(task.queue, ensure=False)
        return self

    def publish(self, body: bytes) -> Awaitable[object]:
        return self.exchange.publish(library.Message(body), self.name)  # type: ignore[no-any-return]

    async def barrier(self) -> None:
        await self.channel.declare_queue(self.name, passive=True)

    async def prefetch(self, count: int) -> None:
        await self.channel.set_qos(prefetch_count=count)

    async def consume(self, callback: Callable[[Any], Coroutine[Any, Any, None]], no_ack: bool) -> None:
        await self.queue.consume(callback, no_ack=no_ack)

    async def acknowledge(self, message: Any) -> None:
        await message.ack()

    async def get(self) -> Any:
        return await self.queue.get(no_ack=True)

    @staticmethod
    def tag(message: Any) -> int:
        return message.delivery_tag  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self.connection.close()


Client: type[Any] = AioPika if LIBRARY == "aio-pika" else Aiormq


async def publish(task: Task, meter: Meter, confirms: bool) -> None:
    client = await Client().open(task, confirms)
    send, body = client.publish, task.body
    for _ in range(task.warm_up):
        await send(body)
    await client.barrier()
    meter.start()
    for _ in range(task.messages):
        await send(body)
    await client.barrier()
    meter.stop()
    await client.close()


async def publish_window(task: Task, meter: Meter) -> None:
    """Publish in tasks, as many at a time as may wait for their confirms."""
    client = await Client().open(task, True)
    body, free = task.body, asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        await client.publish(body)
        free.release()

    async def many(count: int) -> None:
        pending = set()
        for _ in range(count):
            await free.acquire()
            started = asyncio.ensure_future(one())
            pending.add(started)
            started.add_done_callback(pending.discard)
        await asyncio.gather(*pending)

    await many(task.warm_up)
    meter.start()
    await many(task.messages)
    meter.stop()
    await client.close()


async def consume(task: Task, meter: Meter, acknowledge: bool) -> None:
    client = await Client().open(task, False)
    if acknowledge:
        await client.prefetch(PREFETCH)
    received, last = 0, None
    size, first, total = task.body_size, task.warm_up, task.total
    done, tag = asyncio.get_running_loop().create_future(), client.tag

    async def on_message(message: Any) -> None:
        nonlocal received, last
        received += 1
        if len(message.body) != size or not 0 < tag(message) <= total:
            task.refuse(received, tag(message), message.body)
        if acknowledge:
            await client.acknowledge(message)
        if received == first:
            meter.start()
        elif received == total:
            last = message.body
            done.set_result(None)

    await client.consume(on_message, not acknowledge)
    await done
    meter.stop()
    await client.close()
    task.require(received, last)


async def get(task: Task, meter: Meter) -> None:
    client = await Client().open(task, False)
    for number in range(1, task.total + 1):
        message = None
        message = await client.get()
        if client.tag(message) != number or len(message.body) != task.body_size:
            task.refuse(number, client.tag(message), message.body)
        if number == task.warm_up:
            message = None
            meter.start()
    meter.stop()
    await client.close()
    assert message is not None
    task.require(number, message.body)


async def open_close(task: Task, meter: Meter) -> None:
    opened = []
    for number in range(task.total):
        if number == task.warm_up:
            meter.start()
        opened.append(await Client().open(task, False))
    meter.stop()
    for client in opened:
        await client.close()


TASKS: dict[str, Callable[[Task, Meter], Coroutine[Any, Any, None]]] = {
    "publish": partial(publish, confirms=False),
    "publish-confirmed": partial(publish, confirms=True),
    "publish-window": publish_window,
    "consume": partial(consume, acknowledge=False),
    "consume-ack": partial(consume, acknowledge=True),
    "get": get,
    "open": open_close,
}


def run_coroutine(begin: Callable[[Task, Meter], Coroutine[Any, Any, None]], task: Task, meter: Meter) -> None:
    asyncio.run(begin(task, meter))


if __name__ == "__main__":
    run({name: partial(run_coroutine, begin) for name, begin in TASKS.items()}, version(LIBRARY), sys.argv[2:])
