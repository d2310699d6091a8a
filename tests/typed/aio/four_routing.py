"""Four: messages by severity, through a direct exchange."""

from __future__ import annotations

import pika
from pika import aio


async def main(url: str) -> list[str]:
    async with aio.connect(pika.URLParameters(url)) as connection:
        channel: aio.Channel = await connection.channel()
        await channel.exchange_declare("severities", "direct", auto_delete=True)
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        for severity in ("warning", "error"):
            await channel.queue_bind(queue, "severities", severity)
        await channel.confirm_delivery()
        for severity in ("info", "warning", "error"):
            await channel.basic_publish("severities", severity, f"a message of severity {severity}".encode())
        seen: list[str] = []
        async for message in channel.consume(queue, timeout=0.5):
            async with message.process():
                seen.append(f"{message.routing_key}: {message.body.decode()}")
        return seen
