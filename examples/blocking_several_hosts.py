"""A consumer that knows several brokers: it takes one that answers, and another one when that goes away.

When to use it: with a cluster, or with a broker and its stand-in. The order is left to chance, so that many such
programs spread over all brokers.

    python examples/blocking_several_hosts.py [amqp-url ...]

consumes the queue "tasks" until Ctrl-C. Several consumers may run at once; each message goes to one of them.
"""

import random
import sys
import time

import pika

URLS = ["amqp://guest:guest@localhost:5672/%2F", "amqp://guest:guest@localhost:5673/%2F"]
QUEUE = "tasks"


def on_message(channel, method, properties, body):
    print("got", body.decode(), flush=True)
    # Not before the work is done: what is unacknowledged when the connection breaks comes again.
    channel.basic_ack(method.delivery_tag)


def consume(connection):
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True)
    # So many messages are sent ahead; without a limit, the first consumer to come gets all there are.
    channel.basic_qos(prefetch_count=10)
    channel.basic_consume(QUEUE, on_message)
    print("consuming", flush=True)
    channel.start_consuming()


def main(urls):
    brokers = [pika.URLParameters(url) for url in urls]
    for broker in brokers:
        # The last of the list tells how often to try all of them, and how many seconds to wait before doing so again.
        broker.connection_attempts = 3
        broker.retry_delay = 1
    while True:
        random.shuffle(brokers)
        try:
            with pika.BlockingConnection(brokers) as connection:
                consume(connection)
            print("the broker cancelled the consumer: its queue is gone", flush=True)
        except pika.exceptions.AMQPConnectionError as error:
            print("no connection:", error, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    try:
        main(sys.argv[1:] or URLS)
    except KeyboardInterrupt:
        print("stopped")
