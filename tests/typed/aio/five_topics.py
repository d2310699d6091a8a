"""Five: messages by a pattern of words, through a topic exchange."""

from __future__ import annotations

from pika import aio
from pika.exceptions import UnroutableError


async def main(url: str) -> list[str]:
    async with aio.connect(url) as connection, connection.channel(prefetch=10) as channel:
        await channel.exchange_declare("topics", "topic", auto_delete=True)
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        await channel.queue_bind(queue, "topics", routing_key="kern.*")
        await channel.queue_bind(queue, "topics", routing_key="*.critical")
        unroutable: list[str] = []
        publisher = channel.publisher(mandatory=True)
        keys = ("kern.info", "cron.critical", "cron.info")
        for key, confirmation in [(key, await publisher.send(key, "topics", key)) for key in keys]:
            try:
                await confirmation
            except UnroutableError as error:
                unroutable.append(f"nobody wants {key}: {error.messages[0].body.decode()}")
        got = [message.routing_key async for message in channel.consume(queue, auto_ack=True, timeout=0.5)]
        return got + unroutable
