"""A publisher that knows of each message whether the broker has it: confirms, and ``mandatory``.

When to use it: wherever a message must not get lost. With confirms ``basic_publish`` returns when the broker has taken
the message: when it is on disk, for a persistent message in a durable queue. ``mandatory`` is for those that no queue
takes: without it, the broker confirms them and drops them.

    python examples/confirmed_publishing.py [amqp-url]

publishes to the queue "tasks", to a queue that is full, and to one that does not exist.
"""

import sys

import pika

QUEUE = "tasks"
PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent, content_type="text/plain")


def publish(channel, queue, body):
    """Publish a message, and say whether the broker has it."""
    try:
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)
    except pika.exceptions.UnroutableError as error:
        print(f"no queue took {error.messages[0].body.decode()}")
        return False
    except pika.exceptions.NackError:
        # It could not take the message, because the queue is full for example. Later it may.
        print(f"the broker refused {body.decode()}")
        return False
    print(f"the broker has {body.decode()}")
    return True


def main(url="amqp://guest:guest@localhost/%2F"):
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(QUEUE, durable=True)
        # This one holds a single message, and refuses more instead of dropping the oldest.
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        small_queue = channel.queue_declare("", exclusive=True, arguments=full).method.queue
        publish(channel, QUEUE, b"a task")
        publish(channel, small_queue, b"the first of two")
        publish(channel, small_queue, b"the second of two")
        publish(channel, "no such queue", b"a stray")


if __name__ == "__main__":
    main(*sys.argv[1:2])
