"""A publisher on pika's own event loop that loses nothing when the connection is lost.

When to use it: for programs that publish much, and cannot wait for each message. Many are under way at a time, and
each is kept until the broker has confirmed it. What is unconfirmed when a connection ends is published again on the
next one, so a consumer may get such a message twice.

    python examples/select_publisher.py [amqp-url [count [interval]]]

publishes a count of messages (10), one in so many seconds (1), to the queue "tasks".
"""

import collections
import functools
import signal
import sys

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

QUEUE = "tasks"
PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
MOST_UNDER_WAY = 100
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


class Publisher:
    """Publishes tasks, through as many connections as it takes, one after the other, on one loop."""

    def __init__(self, parameters, count, interval):
        self._parameters = parameters
        self._bodies = [f"task {number}".encode() for number in range(count, 0, -1)]
        self._interval = interval
        self._unconfirmed = count
        self.loop = IOLoop()
        self._connection = self._channel = None
        self._delay = FIRST_DELAY
        self._stopping = False
        self._waiting = collections.deque()
        # Delivery tag to message, of what the broker has not confirmed yet. Each channel counts its tags from 1.
        self._under_way = {}
        self._last_tag = 0

    def run(self):
        """Publish until everything is confirmed, or until :meth:`stop`."""
        self._connect()
        self.loop.call_later(0, self._produce)
        self.loop.start()
        self.loop.close()
        print("stopped, unconfirmed:", self._unconfirmed, flush=True)

    def stop(self):
        """Have :meth:`run` end; called in the loop."""
        self._stopping = True
        if self._connection.is_closed:
            # It was waiting for the next try.
            self.loop.stop()
        elif not self._connection.is_closing:
            self._connection.close()

    def _produce(self):
        if self._bodies:
            self._publish(self._bodies.pop())
            self.loop.call_later(self._interval, self._produce)

    def _publish(self, *bodies):
        self._waiting.extend(bodies)
        while self._channel and self._waiting and len(self._under_way) < MOST_UNDER_WAY:
            body = self._waiting.popleft()
            self._last_tag += 1
            self._under_way[self._last_tag] = body
            self._channel.basic_publish("", QUEUE, body, PERSISTENT, mandatory=True)

    def _on_confirmed(self, frame):
        if self._channel is None:
            # It is being closed, and what it had under way will be published on the next one.
            return
        last = frame.method.delivery_tag
        for tag in [tag for tag in self._under_way if tag <= last] if frame.method.multiple else [last]:
            body = self._under_way.pop(tag)
            if isinstance(frame.method, pika.spec.Basic.Ack):
                print("confirmed:", body.decode(), flush=True)
                self._unconfirmed -= 1
            else:
                print("refused, trying again in a second:", body.decode(), flush=True)
                self.loop.call_later(1, functools.partial(self._publish, body))
        if self._unconfirmed == 0:
            self.stop()
        self._publish()

    def _on_returned(self, channel, method, properties, body):
        # The broker will confirm it all the same. Somebody has deleted the queue; a new channel makes it again.
        print("no queue took:", body.decode(), flush=True)
        self._channel = None
        channel.close()

    def _connect(self):
        self._connection = SelectConnection(
            self._parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
            on_open_error_callback=self._on_down,
            on_close_callback=self._on_down,
            custom_ioloop=self.loop,
        )

    def _on_down(self, connection, reason):
        self._channel = None
        self._waiting.extendleft(reversed(self._under_way.values()))
        self._under_way.clear()
        if self._stopping:
            self.loop.stop()
            return
        print(f"no connection, trying again in {self._delay} seconds: {reason}", flush=True)
        self.loop.call_later(self._delay, self._connect)
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _on_channel(self, channel):
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_returned)
        channel.queue_declare(QUEUE, durable=True)
        channel.confirm_delivery(self._on_confirmed, callback=lambda frame: self._on_ready(channel))

    def _on_ready(self, channel):
        print("publishing", flush=True)
        self._channel, self._last_tag, self._delay = channel, 0, FIRST_DELAY
        self._publish()

    def _on_channel_closed(self, channel, reason):
        self._channel = None
        if channel.connection.is_open:
            print("the channel is closed:", reason, flush=True)
            channel.connection.close()


def main(url="amqp://guest:guest@localhost/%2F", count=10, interval=1):
    publisher = Publisher(pika.URLParameters(url), int(count), float(interval))
    # A signal may come at any moment, in the middle of a callback too; this way its turn comes after that.
    signal.signal(signal.SIGINT, lambda *_: publisher.loop.add_callback_threadsafe(publisher.stop))
    publisher.run()


if __name__ == "__main__":
    main(*sys.argv[1:4])
