"""A consumer on pika's own event loop that comes back when the connection is lost.

When to use it: for programs that do many things at a time in one thread, and whose callbacks are quick. Everything is
told by callbacks; none of them may wait for anything.

    python examples/select_consumer.py [amqp-url]

consumes the queue "tasks" until Ctrl-C.
"""

import signal
import sys

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

QUEUE = "tasks"
PREFETCH = 10
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


class Consumer:
    """Consumes a queue, through as many connections as it takes, one after the other, on one loop."""

    def __init__(self, parameters):
        self._parameters = parameters
        self.loop = IOLoop()
        self._connection = None
        self._delay = FIRST_DELAY
        self._stopping = False

    def run(self):
        """Consume until :meth:`stop`."""
        self._connect()
        self.loop.start()
        self.loop.close()
        print("stopped")

    def stop(self):
        """Have :meth:`run` end; called in the loop."""
        self._stopping = True
        if self._connection.is_closed:
            # It was waiting for the next try.
            self.loop.stop()
        elif not self._connection.is_closing:
            # The broker gives what is not acknowledged to others.
            self._connection.close()

    def _connect(self):
        self._connection = SelectConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_down,
            on_close_callback=self._on_down,
            custom_ioloop=self.loop,
        )

    def _on_down(self, connection, reason):
        if self._stopping:
            self.loop.stop()
            return
        print(f"no connection, trying again in {self._delay} seconds: {reason}", flush=True)
        self.loop.call_later(self._delay, self._connect)
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _on_open(self, connection):
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel):
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda frame: self._on_cancelled(channel))
        # These are done one after the other; should one of them fail, the broker closes the channel.
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.queue_declare(QUEUE, durable=True)
        channel.basic_consume(QUEUE, self._on_message, callback=self._on_consuming)

    def _on_consuming(self, frame):
        print("consuming", flush=True)
        self._delay = FIRST_DELAY

    def _on_message(self, channel, method, properties, body):
        print("got", body.decode(), flush=True)
        channel.basic_ack(method.delivery_tag)

    def _on_cancelled(self, channel):
        print("the broker cancelled the consumer: its queue is gone", flush=True)
        channel.close()

    def _on_channel_closed(self, channel, reason):
        # Beginning anew is the same for a channel as for a connection, so there is one way to do it.
        if channel.connection.is_open:
            print("the channel is closed:", reason, flush=True)
            channel.connection.close()


def main(url="amqp://guest:guest@localhost/%2F"):
    consumer = Consumer(pika.URLParameters(url))
    # A signal may come at any moment, in the middle of a callback too; this way its turn comes after that.
    signal.signal(signal.SIGINT, lambda *_: consumer.loop.add_callback_threadsafe(consumer.stop))
    consumer.run()


if __name__ == "__main__":
    main(*sys.argv[1:2])
