"""Five: messages by a pattern of words, through a topic exchange."""

from __future__ import annotations

import pika
from pika.exceptions import UnroutableError


def main(url: str) -> list[str]:
    with pika.connect(url) as connection:
        channel = connection.channel(prefetch=10)
        channel.exchange_declare("topics", "topic", auto_delete=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "topics", routing_key="kern.*")
        channel.queue_bind(queue, "topics", routing_key="*.critical")
        unroutable: list[str] = []
        publisher = channel.publisher(mandatory=True)
        keys = ("kern.info", "cron.critical", "cron.info")
        for key, confirmation in [(key, publisher.publish(key, "topics", key)) for key in keys]:
            try:
                confirmation.result(timeout=30)
            except UnroutableError as error:
                unroutable.append(f"nobody wants {key}: {error.messages[0].body.decode()}")
        got = [message.routing_key for message in channel.consume(queue, auto_ack=True, timeout=0.5)]
        return got + unroutable
