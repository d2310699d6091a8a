"""A consumer on trio, on the connection of ``trio_connection.py``: each message is handled by a task of its own.

    pip install trio
    python examples/trio_consumer.py [amqp-url]

consumes the queue "tasks" until Ctrl-C, or until the connection is lost.
"""

import signal
import sys

import trio
from trio_connection import TrioConnection, TrioServices

import pika

QUEUE = "tasks"
PREFETCH = 10


async def handle(channel, method, body):
    """Do the work of a message; this is where a program waits for other things."""
    await trio.sleep(0.1)
    print("got", body.decode(), flush=True)
    # When the connection was lost meanwhile, the broker gives the message to the next consumer.
    if channel.is_open:
        channel.basic_ack(method.delivery_tag)


async def main(url="amqp://guest:guest@localhost/%2F"):
    """Consume until Ctrl-C closes the connection, or something else does."""
    async with trio.open_nursery() as nursery:

        def on_open(connection):
            connection.channel(on_open_callback=on_channel)

        def on_channel(channel):
            channel.add_on_close_callback(on_channel_closed)
            channel.basic_qos(prefetch_count=PREFETCH)
            channel.queue_declare(QUEUE, durable=True)
            channel.basic_consume(QUEUE, on_message, callback=lambda _: print("consuming", flush=True))

        def on_message(channel, method, properties, body):
            nursery.start_soon(handle, channel, method, body)

        def on_channel_closed(channel, reason):
            if channel.connection.is_open:
                print("the broker closed the channel:", reason, flush=True)
                channel.connection.close()

        def on_end(connection, reason):
            print("closed:", reason, flush=True)
            nursery.cancel_scope.cancel()

        connection = TrioConnection(pika.URLParameters(url), on_open, on_end, on_end, TrioServices(nursery))
        with trio.open_signal_receiver(signal.SIGINT) as interrupts:
            async for _ in interrupts:
                connection.close()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:2])
