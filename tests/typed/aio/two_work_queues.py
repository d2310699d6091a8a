"""Two: work shared by workers, acknowledged when it is done, one at a time."""

from __future__ import annotations

import asyncio

import pika
import pika.aio


class Worker:
    def __init__(self, connection: pika.aio.Connection) -> None:
        self.done: list[bytes] = []
        self.connection = connection

    async def start(self) -> None:
        channel = await self.connection.channel(prefetch=1)
        await channel.queue_declare("tasks", durable=True)
        tag: str = await channel.basic_consume("tasks", self.on_message)
        assert tag in channel.consumer_tags

    async def on_message(
        self,
        channel: pika.aio.Channel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self.done.append(body)
        await channel.basic_ack(method.delivery_tag)

    async def stop(self) -> None:
        await self.connection.drain(timeout=30)
        await self.connection.close()


async def new_tasks(url: str, count: int) -> None:
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    async with pika.aio.connect(url) as connection, connection.channel() as channel:
        await channel.queue_declare("tasks", durable=True)
        async with channel.publisher(mandatory=True) as publisher:
            await publisher.publish("task 0", routing_key="tasks", properties=persistent, timeout=30)
            for number in range(1, count):
                confirmation = await publisher.send(f"task {number}", routing_key="tasks", properties=persistent)
                confirmation.add_done_callback(on_confirmed)


def on_confirmed(confirmation: pika.aio.Confirmation) -> None:
    assert confirmation.done()


async def main(url: str) -> list[str]:
    workers = [Worker(await pika.aio.connect(url, name="worker")) for _ in range(2)]
    await asyncio.gather(*(worker.start() for worker in workers))
    await new_tasks(url, 10)
    while sum(len(worker.done) for worker in workers) < 10:
        await asyncio.sleep(0.01)
    await asyncio.gather(*(worker.stop() for worker in workers))
    async with pika.aio.connect(url) as connection, connection.channel() as channel:
        left: int = (await channel.queue_delete("tasks")).method.message_count
    return [*sorted(body.decode() for worker in workers for body in worker.done), f"{left} left"]
