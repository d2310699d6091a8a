"""A consumer that comes back when the connection is lost, thanks to a decorator that tries a function again.

When to use it: in any program that is to run for long. It waits longer after each failure, and never as long as the
program beside it, so that a broker that has just come back is not run over. What trying again cannot mend, such as
a wrong password, is not tried again.

    python examples/blocking_retry.py [amqp-url]

consumes the queue "tasks" until Ctrl-C.
"""

import functools
import random
import sys
import time

import pika
from pika.exceptions import AMQPConnectionError, AMQPError, ProbableAccessDeniedError, ProbableAuthenticationError

QUEUE = "tasks"
FIRST_DELAY = 0.5
LONGEST_DELAY = 30


def retry(function):
    """Call the function again when its connection is lost, until it returns or fails for another reason."""

    @functools.wraps(function)
    def persistent(*args, **kwargs):
        delay = FIRST_DELAY
        while True:
            began = time.monotonic()
            try:
                return function(*args, **kwargs)
            except (ProbableAuthenticationError, ProbableAccessDeniedError):
                raise
            except AMQPConnectionError as error:
                if time.monotonic() - began > LONGEST_DELAY:
                    # It has worked for a while: this is a new failure.
                    delay = FIRST_DELAY
                pause = delay * random.uniform(0.5, 1)
                print(f"trying again in {pause:.1f} seconds: {error}", flush=True)
                time.sleep(pause)
                delay = min(2 * delay, LONGEST_DELAY)

    return persistent


def on_message(channel, method, properties, body):
    print("got", body.decode(), flush=True)
    channel.basic_ack(method.delivery_tag)


@retry
def consume(parameters):
    # Everything is made anew each time: nothing of the old connection is of use any more.
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        channel.basic_qos(prefetch_count=10)
        channel.basic_consume(QUEUE, on_message)
        print("consuming", flush=True)
        channel.start_consuming()


def main(url="amqp://guest:guest@localhost/%2F"):
    try:
        while True:
            consume(pika.URLParameters(url))
            print("the broker cancelled the consumer: its queue is gone", flush=True)
    except AMQPError as error:
        sys.exit(f"giving up: {error}")
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main(*sys.argv[1:2])
