"""A consumer on gevent that comes back when the connection is lost; each message is handled by a greenlet of its own.

When to use it: in programs that stand on gevent, patched or not. The callbacks run in the hub and may not wait, so what
takes time is done in greenlets; ``prefetch_count`` bounds how many there are at a time.

    python examples/gevent_consumer.py [amqp-url]

consumes the queue "tasks" until Ctrl-C.
"""

import signal
import sys
import time

import gevent
import gevent.event

import pika
from pika.adapters.gevent_connection import GeventConnection

QUEUE = "tasks"
PREFETCH = 10
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


def work(body):
    """Do the work of a message, which may take its time, and may fail."""
    gevent.sleep(0.1)
    print("got", body.decode(), flush=True)


def handle(channel, method, body):
    """Work, and tell the broker how it went: what fails is tried once more."""
    try:
        work(body)
        settle, arguments = channel.basic_ack, {}
    except Exception as error:
        print(f"failed: {body.decode()}: {error!r}", flush=True)
        settle, arguments = channel.basic_reject, {"requeue": not method.redelivered}
    # On a channel that is gone there is nothing to tell: the broker gives the message to the next.
    if channel.is_open:
        settle(method.delivery_tag, **arguments)


class Consumer:
    """Consumes a queue, through as many connections as it takes, one after the other."""

    def __init__(self, parameters):
        self._parameters = parameters
        self._stopped = gevent.event.Event()
        self._connection = None

    def run(self):
        """Consume until :meth:`stop`."""
        delay = FIRST_DELAY
        while not self._stopped.is_set():
            began = time.monotonic()
            reason = self._consume()
            if self._stopped.is_set():
                break
            if time.monotonic() - began > LONGEST_DELAY:
                # It has worked for a while: this is a new failure.
                delay = FIRST_DELAY
            print(f"no connection, trying again in {delay} seconds: {reason}", flush=True)
            self._stopped.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY)
        print("stopped")

    def stop(self):
        """Have :meth:`run` end."""
        self._stopped.set()
        if not self._connection.is_closing and not self._connection.is_closed:
            # The broker gives what is not acknowledged to others.
            self._connection.close()

    def _consume(self):
        """Consume until the connection is closed, and return the reason."""
        ended = gevent.event.AsyncResult()
        self._connection = GeventConnection(
            self._parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
            on_open_error_callback=lambda connection, reason: ended.set(reason),
            on_close_callback=lambda connection, reason: ended.set(reason),
        )
        # While this greenlet waits the hub runs, and with it the connection.
        return ended.get()

    def _on_channel(self, channel):
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda frame: channel.close(reply_text="the consumer was cancelled"))
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.queue_declare(QUEUE, durable=True)
        channel.basic_consume(QUEUE, self._on_message, callback=lambda frame: print("consuming", flush=True))

    def _on_message(self, channel, method, properties, body):
        gevent.spawn(handle, channel, method, body)

    def _on_channel_closed(self, channel, reason):
        if channel.connection.is_open:
            channel.connection.close(reply_text=f"channel closed: {reason}"[:200])


def main(url="amqp://guest:guest@localhost/%2F"):
    consumer = Consumer(pika.URLParameters(url))
    # gevent calls this in a greenlet, not in the middle of something.
    gevent.signal_handler(signal.SIGINT, consumer.stop)
    consumer.run()


if __name__ == "__main__":
    main(*sys.argv[1:2])
