"""A publisher with async and await that loses nothing when the connection is lost.

When to use it: in programs that stand on asyncio, and publish much. Up to a thousand messages are under way at a time,
and each is kept until the broker has confirmed it. What is unconfirmed when a connection ends is published again on the
next one, so a consumer may get such a message twice.

    python examples/aio_publisher.py [amqp-url [count [interval]]]

publishes a count of messages (10), one in so many seconds (1), to the queue "tasks".
"""

import asyncio
import contextlib
import functools
import sys

import pika
from pika import aio

QUEUE = "tasks"
PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


def on_outcome(unconfirmed, number, confirmation):
    """Called when it is known what has become of a message."""
    error = confirmation.exception()
    if error is None:
        print(f"confirmed: {unconfirmed.pop(number)}", flush=True)
    else:
        print(f"not confirmed: {unconfirmed[number]}: {error}", flush=True)


async def publish(url, unconfirmed, interval):
    """Publish what is unconfirmed, each message once."""
    async with aio.connect(url, name="aio_publisher") as connection, connection.channel() as channel:
        await channel.queue_declare(QUEUE, durable=True)
        print("publishing", flush=True)
        async with channel.publisher(max_in_flight=1000, mandatory=True) as publisher:
            for number, body in list(unconfirmed.items()):
                confirmation = await publisher.send(body, routing_key=QUEUE, properties=PERSISTENT)
                confirmation.add_done_callback(functools.partial(on_outcome, unconfirmed, number))
                await asyncio.sleep(interval)


async def main(url="amqp://guest:guest@localhost/%2F", count=10, interval=1):
    unconfirmed = {number: f"task {number}" for number in range(1, int(count) + 1)}
    delay = FIRST_DELAY
    try:
        while unconfirmed:
            before = len(unconfirmed)
            try:
                await publish(url, unconfirmed, float(interval))
            except pika.exceptions.AMQPError as error:
                print(f"no connection: {error}", flush=True)
            if unconfirmed:
                delay = FIRST_DELAY if len(unconfirmed) < before else min(2 * delay, LONGEST_DELAY)
                print(f"trying again in {delay} seconds", flush=True)
                await asyncio.sleep(delay)
    finally:
        print("stopped, unconfirmed:", len(unconfirmed), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:4]))
