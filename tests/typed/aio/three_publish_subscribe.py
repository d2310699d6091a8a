"""Three: every subscriber gets every message, through a fanout exchange and a queue of its own."""

from __future__ import annotations

from pika import ExchangeType
from pika.aio import Channel, connect


async def subscribe(channel: Channel) -> str:
    await channel.exchange_declare("logs", ExchangeType.fanout, auto_delete=True)
    result = await channel.queue_declare("", exclusive=True)
    queue: str = result.method.queue
    await channel.queue_bind(queue, "logs")
    return queue


async def main(url: str) -> list[str]:
    async with connect(url) as connection, connection.channel() as channel:
        queues = [await subscribe(channel) for _ in range(2)]
        async with channel.publisher() as publisher:
            await publisher.publish(b"info: all is well", exchange="logs")
        texts: list[str] = []
        for queue in queues:
            message = await channel.basic_get(queue, auto_ack=True)
            if message is not None:
                texts.append(message.body.decode())
        return texts
