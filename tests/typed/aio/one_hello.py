"""One: a message into a queue, and out of it."""

from __future__ import annotations

from pika import aio


async def send(url: str) -> None:
    async with aio.connect(url) as connection:
        channel = await connection.channel()
        await channel.queue_declare("hello", auto_delete=True)
        await channel.basic_publish("", "hello", "Hello World!")


async def receive(url: str) -> list[str]:
    texts: list[str] = []
    async with aio.connect(url) as connection, connection.channel() as channel:
        await channel.queue_declare("hello", auto_delete=True)
        async for message in channel.consume("hello", auto_ack=True, timeout=0.5):
            texts.append(message.body.decode())
    return texts


async def main(url: str) -> list[str]:
    await send(url)
    return await receive(url)
