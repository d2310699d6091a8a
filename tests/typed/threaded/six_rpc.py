"""Six: a call over queues: a request says where the answer goes, and which one it is."""

from __future__ import annotations

import uuid

import pika
from pika.client import Channel, Message


def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


def on_request(
    channel: Channel, method: pika.spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
) -> None:
    if properties.reply_to is not None:
        answer = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, str(fibonacci(int(body))), answer)
    channel.basic_ack(method.delivery_tag)


class FibonacciClient:
    def __init__(self, connection: pika.Connection) -> None:
        self._channel = connection.channel()
        self._answers: str = self._channel.queue_declare("", exclusive=True).method.queue

    def call(self, number: int) -> int | None:
        correlation_id = str(uuid.uuid4())
        properties = pika.BasicProperties(reply_to=self._answers, correlation_id=correlation_id)
        self._channel.basic_publish("", "rpc", str(number), properties)
        message: Message
        for message in self._channel.consume(self._answers, auto_ack=True, timeout=30):
            if message.properties.correlation_id == correlation_id:
                return int(message.body)
        return None


def main(url: str) -> list[str]:
    with pika.connect(url, name="server") as server, pika.connect(url, name="client") as connection:
        channel = server.channel(prefetch=1)
        channel.queue_declare("rpc", exclusive=False, auto_delete=True)
        channel.basic_consume("rpc", on_request)
        client = FibonacciClient(connection)
        return [f"fibonacci({number}) = {client.call(number)}" for number in (1, 10, 15)]
