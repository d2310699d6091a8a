"""Two: work shared by workers, acknowledged when it is done, one at a time."""

from __future__ import annotations

import threading

import pika
from pika.client import Channel


class Worker:
    def __init__(self, url: str) -> None:
        self.done: list[bytes] = []
        self.connection = pika.connect(url, name="worker")
        self.channel = self.connection.channel(prefetch=1)
        self.channel.queue_declare("tasks", durable=True)
        self.channel.basic_consume("tasks", self.on_message)

    def on_message(
        self,
        channel: Channel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self.done.append(body)
        channel.basic_ack(method.delivery_tag)

    def stop(self) -> None:
        self.connection.drain(timeout=30)
        self.connection.close()


def new_tasks(url: str, count: int) -> None:
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    with pika.connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare("tasks", durable=True)
        with channel.publisher(mandatory=True) as publisher:
            for number in range(count):
                confirmation = publisher.publish(f"task {number}", routing_key="tasks", properties=persistent)
                if number == 0:
                    confirmation.result(timeout=30)


def main(url: str) -> list[str]:
    workers = [Worker(url), Worker(url)]
    new_tasks(url, 10)
    enough = threading.Event()
    while not enough.wait(0.01) and sum(len(worker.done) for worker in workers) < 10:
        pass
    for worker in workers:
        worker.stop()
    with pika.connect(url) as connection:
        left: int = connection.channel().queue_delete("tasks").method.message_count
    return [*sorted(body.decode() for worker in workers for body in worker.done), f"{left} left"]
