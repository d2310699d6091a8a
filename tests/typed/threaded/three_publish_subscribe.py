"""Three: every subscriber gets every message, through a fanout exchange and a queue of its own."""

from __future__ import annotations

import pika
from pika import ExchangeType


def subscribe(channel: pika.client.Channel) -> str:
    channel.exchange_declare("logs", ExchangeType.fanout, auto_delete=True)
    result = channel.queue_declare("", exclusive=True)
    queue: str = result.method.queue
    channel.queue_bind(queue, "logs")
    return queue


def main(url: str) -> list[str]:
    with pika.connect(url) as connection, connection.channel() as channel:
        queues = [subscribe(channel) for _ in range(2)]
        with channel.publisher() as publisher:
            publisher.publish(b"info: all is well", exchange="logs")
        texts: list[str] = []
        for queue in queues:
            message = channel.basic_get(queue, auto_ack=True)
            if message is not None:
                texts.append(message.body.decode())
        return texts
