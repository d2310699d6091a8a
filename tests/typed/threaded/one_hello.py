"""One: a message into a queue, and out of it."""

from __future__ import annotations

import pika


def send(url: str) -> None:
    with pika.connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare("hello", auto_delete=True)
        channel.basic_publish("", "hello", "Hello World!")


def receive(url: str) -> list[str]:
    texts: list[str] = []
    with pika.connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare("hello", auto_delete=True)
        for message in channel.consume("hello", auto_ack=True, timeout=0.5):
            texts.append(message.body.decode())
    return texts


def main(url: str) -> list[str]:
    send(url)
    return receive(url)
