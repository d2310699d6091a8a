"""A consumer with async and await that comes back when the connection is lost, and works on ten messages at a time.

When to use it: in programs that stand on asyncio. Each message is handled by a coroutine; the connection's heartbeats
go on meanwhile. Ctrl-C lets those that run come to their end, and leaves the rest to the next consumer.

    python examples/aio_consumer.py [amqp-url]

consumes the queue "tasks" until Ctrl-C.
"""

import asyncio
import contextlib
import sys

import pika
from pika import aio

QUEUE = "tasks"
AT_A_TIME = 10
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


async def work(body):
    """Do the work of a message, which may take its time, and may fail."""
    await asyncio.sleep(0.1)
    print("got", body.decode(), flush=True)


async def on_message(channel, method, properties, body):
    """Work, and tell the broker how it went: what fails is tried once more."""
    try:
        await work(body)
    except Exception as error:
        print(f"failed: {body.decode()}: {error!r}", flush=True)
        await channel.basic_reject(method.delivery_tag, requeue=not method.redelivered)
    else:
        # On a channel that is gone there is nothing to tell: the broker gives the message to the next.
        if channel.is_open:
            await channel.basic_ack(method.delivery_tag)


async def consume(url):
    """Consume until the connection or the consumer is lost, or until this is cancelled."""
    async with aio.connect(url, name="aio_consumer") as connection, connection.channel(prefetch=AT_A_TIME) as channel:
        await channel.queue_declare(QUEUE, durable=True)
        await channel.basic_consume(QUEUE, on_message, concurrency=AT_A_TIME)
        print("consuming", flush=True)
        try:
            await channel.start_consuming()
        finally:
            if connection.is_open:
                # What is not done by then comes again; and what this leaves for is not hidden.
                with contextlib.suppress(pika.exceptions.AMQPTimeoutError):
                    await connection.drain(timeout=10)


async def main(url="amqp://guest:guest@localhost/%2F"):
    loop, delay = asyncio.get_running_loop(), FIRST_DELAY
    while True:
        began = loop.time()
        try:
            await consume(url)
            reason = "the consumer was cancelled"
        except pika.exceptions.AMQPError as error:
            reason = str(error)
        if loop.time() - began > LONGEST_DELAY:
            # It has worked for a while: this is a new failure.
            delay = FIRST_DELAY
        print(f"trying again in {delay} seconds: {reason}", flush=True)
        await asyncio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:2]))
