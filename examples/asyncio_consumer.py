"""A consumer on asyncio that comes back when the connection is lost; each message is handled by a task of its own.

When to use it: in programs that stand on asyncio. The callbacks run in its loop, and what takes time is awaited in
tasks; ``prefetch_count`` bounds how many there are at a time.

    python examples/asyncio_consumer.py [amqp-url]

consumes the queue "tasks" until Ctrl-C.
"""

import asyncio
import contextlib
import sys

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

QUEUE = "tasks"
PREFETCH = 10
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


async def work(body):
    """Do the work of a message, which may take its time, and may fail."""
    await asyncio.sleep(0.1)
    print("got", body.decode(), flush=True)


async def handle(channel, method, body):
    """Work, and tell the broker how it went: what fails is tried once more."""
    try:
        await work(body)
        settle, arguments = channel.basic_ack, {}
    except Exception as error:
        print(f"failed: {body.decode()}: {error!r}", flush=True)
        settle, arguments = channel.basic_reject, {"requeue": not method.redelivered}
    # On a channel that is gone there is nothing to tell: the broker gives the message to the next.
    if channel.is_open:
        settle(method.delivery_tag, **arguments)


async def consume(parameters):
    """Consume until the connection is closed, and return the reason."""
    reasons = []
    closed = asyncio.Event()
    tasks = set()

    def on_channel(channel):
        channel.add_on_close_callback(on_channel_closed)
        channel.add_on_cancel_callback(lambda frame: channel.close(reply_text="the consumer was cancelled"))
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.queue_declare(QUEUE, durable=True)
        channel.basic_consume(QUEUE, on_message, callback=lambda frame: print("consuming", flush=True))

    def on_message(channel, method, properties, body):
        task = asyncio.ensure_future(handle(channel, method, body))
        # asyncio itself keeps no hold on a task.
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def on_channel_closed(channel, reason):
        if channel.connection.is_open:
            channel.connection.close(reply_text=f"channel closed: {reason}"[:200])

    def on_end(connection, reason):
        reasons.append(reason)
        closed.set()

    connection = AsyncioConnection(
        parameters,
        on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
        on_open_error_callback=on_end,
        on_close_callback=on_end,
    )
    try:
        await closed.wait()
    finally:
        # After Ctrl-C it is still open.
        if not connection.is_closing and not connection.is_closed:
            connection.close()
        await closed.wait()
    return reasons[0]


async def main(url="amqp://guest:guest@localhost/%2F"):
    delay = FIRST_DELAY
    while True:
        began = asyncio.get_running_loop().time()
        reason = await consume(pika.URLParameters(url))
        if asyncio.get_running_loop().time() - began > LONGEST_DELAY:
            # It has worked for a while: this is a new failure.
            delay = FIRST_DELAY
        print(f"no connection, trying again in {delay} seconds: {reason}", flush=True)
        await asyncio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:2]))
