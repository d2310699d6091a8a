"""Four: messages by severity, through a direct exchange."""

from __future__ import annotations

import pika


def main(url: str) -> list[str]:
    with pika.connect(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_declare("severities", "direct", auto_delete=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        for severity in ("warning", "error"):
            channel.queue_bind(queue, "severities", severity)
        channel.confirm_delivery()
        for severity in ("info", "warning", "error"):
            channel.basic_publish("severities", severity, f"a message of severity {severity}".encode())
        seen: list[str] = []
        for message in channel.consume(queue, timeout=0.5):
            with message.process():
                seen.append(f"{message.routing_key}: {message.body.decode()}")
        return seen
