"""A consumer on Tornado that comes back when the connection is lost; each message is handled by a coroutine of its own.

When to use it: in programs that stand on Tornado, such as web servers. The callbacks run in its loop, and what takes
time is awaited in coroutines; ``prefetch_count`` bounds how many there are at a time.

    python examples/tornado_consumer.py [amqp-url]

consumes the queue "tasks" until Ctrl-C.
"""

import asyncio
import contextlib
import sys
import time

from tornado import gen
from tornado.ioloop import IOLoop
from tornado.locks import Event

import pika
from pika.adapters.tornado_connection import TornadoConnection

QUEUE = "tasks"
PREFETCH = 10
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


async def work(body):
    """Do the work of a message, which may take its time, and may fail."""
    await gen.sleep(0.1)
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


class Consumer:
    """Consumes a queue, through one connection."""

    def __init__(self, parameters):
        self._closed = Event()
        self.reason = None
        self._connection = TornadoConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
        )

    async def run(self):
        """Consume until the connection is closed."""
        try:
            await self._closed.wait()
        finally:
            # After Ctrl-C it is still open.
            if not self._connection.is_closing and not self._connection.is_closed:
                self._connection.close()
            await self._closed.wait()

    def _on_channel(self, channel):
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda frame: channel.close(reply_text="the consumer was cancelled"))
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.queue_declare(QUEUE, durable=True)
        channel.basic_consume(QUEUE, self._on_message, callback=lambda frame: print("consuming", flush=True))

    def _on_message(self, channel, method, properties, body):
        IOLoop.current().spawn_callback(handle, channel, method, body)

    def _on_channel_closed(self, channel, reason):
        if channel.connection.is_open:
            channel.connection.close(reply_text=f"channel closed: {reason}"[:200])

    def _on_end(self, connection, reason):
        self.reason = reason
        self._closed.set()


async def main(url="amqp://guest:guest@localhost/%2F"):
    delay = FIRST_DELAY
    while True:
        began = time.monotonic()
        consumer = Consumer(pika.URLParameters(url))
        await consumer.run()
        if time.monotonic() - began > LONGEST_DELAY:
            # It has worked for a while: this is a new failure.
            delay = FIRST_DELAY
        print(f"no connection, trying again in {delay} seconds: {consumer.reason}", flush=True)
        await gen.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:2]))
