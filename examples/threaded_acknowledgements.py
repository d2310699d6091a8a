"""A consumer whose work is done by threads, while the connection's own thread acknowledges, or requeues.

When to use it: when messages take long, or wait for other machines. A connection is used by one thread at a time;
what another one wants of it is handed over with ``add_callback_threadsafe``.

    python examples/threaded_acknowledgements.py [amqp-url]

consumes the queue "tasks". Work that fails is tried once more. Ctrl-C ends it after the work it has in hand.
"""

import concurrent.futures
import functools
import signal
import sys
import threading
import time

import pika

QUEUE = "tasks"
THREADS = 4


def do(body):
    """The work of a message: it may take its time, and it may fail."""
    time.sleep(0.2)
    if body.startswith(b"bad"):
        raise ValueError("this is no task")


def consume(parameters, pool, stopping):
    """Consume until Ctrl-C, or until the queue is gone; when the connection is lost, this raises."""
    in_hand = set()

    def on_message(channel, method, properties, body):
        in_hand.add(method.delivery_tag)
        pool.submit(do, body).add_done_callback(functools.partial(hand_over, method, body))

    def hand_over(method, body, work):
        """Called by the thread that did the work, which must not touch the channel."""
        try:
            connection.add_callback_threadsafe(functools.partial(settle, method, body, work))
        except pika.exceptions.ConnectionWrongStateError:
            print(f"done too late: {body.decode()}", flush=True)

    def settle(method, body, work):
        """Called by the connection's thread. The broker gives a message whose channel is gone to the next consumer."""
        in_hand.remove(method.delivery_tag)
        error = work.exception()
        if not channel.is_open:
            print(f"done too late: {body.decode()}", flush=True)
        elif error is None:
            print(f"done: {body.decode()}", flush=True)
            channel.basic_ack(method.delivery_tag)
        else:
            again = not method.redelivered
            print(f"failed: {body.decode()}: {error}; {'trying again' if again else 'dropped'}", flush=True)
            channel.basic_reject(method.delivery_tag, requeue=again)

    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        # What the threads have in hand, and as much again, so that they need not wait for the next.
        channel.basic_qos(prefetch_count=2 * THREADS)
        channel.basic_consume(QUEUE, on_message)
        print("consuming", flush=True)
        while channel.consumer_tags and not stopping.is_set():
            connection.process_data_events(time_limit=1)
        channel.stop_consuming()
        while in_hand:
            connection.process_data_events(time_limit=1)


def main(url="amqp://guest:guest@localhost/%2F"):
    stopping = threading.Event()
    # KeyboardInterrupt could come in the middle of sending, and cost the connection; this way nothing is done twice.
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        while not stopping.is_set():
            try:
                consume(pika.URLParameters(url), pool, stopping)
            except pika.exceptions.AMQPConnectionError as error:
                print("no connection:", error, flush=True)
                stopping.wait(1)
    print("stopped")


if __name__ == "__main__":
    main(*sys.argv[1:2])
