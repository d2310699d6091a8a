"""A publisher that notices a dead broker, and one that takes no messages: heartbeats and blocked_connection_timeout.

When to use it: wherever a program must not hang. A broker that is dead, or out of the network's reach, says nothing;
the heartbeat interval tells after what silence it is taken for dead: twice as long. A broker that is short of memory
or disk is alive, and stops reading from publishers; ``blocked_connection_timeout`` tells for how long that is put up
with.

    python examples/blocking_timeouts.py [amqp-url [heartbeat [blocked-timeout]]]

publishes a message a second to the queue "tasks" until Ctrl-C; both times are in seconds.
"""

import sys
import time

import pika

QUEUE = "tasks"
PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)


def publish(connection, numbers):
    """Publish numbered messages, each once the broker has the one before it."""
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True)
    channel.confirm_delivery()
    while True:
        channel.basic_publish("", QUEUE, f"task {numbers[0]}".encode(), PERSISTENT, mandatory=True)
        print("the broker has task", numbers[0], flush=True)
        numbers[0] += 1
        # Unlike that of the time module, this sleep goes on talking to the broker.
        connection.sleep(1)


def main(url="amqp://guest:guest@localhost/%2F", heartbeat=30, blocked_timeout=60):
    parameters = pika.URLParameters(url)
    parameters.heartbeat = int(heartbeat)
    parameters.blocked_connection_timeout = float(blocked_timeout)
    numbers = [1]
    while True:
        try:
            with pika.BlockingConnection(parameters) as connection:
                publish(connection, numbers)
        except pika.exceptions.AMQPHeartbeatTimeout as error:
            print("the broker is silent:", error, flush=True)
        except pika.exceptions.ConnectionBlockedTimeout as error:
            print("the broker takes no messages:", error, flush=True)
        except pika.exceptions.AMQPConnectionError as error:
            print("no connection:", error, flush=True)
        # Whether the broker has the message that was under way is not known, so it is published again.
        time.sleep(1)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except KeyboardInterrupt:
        print("stopped")
