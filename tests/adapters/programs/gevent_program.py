"""Under gevent's monkey patching: connections in greenlets. Prints what it saw, for the test to compare.

Usage: gevent_program.py URL
"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

import pika  # noqa: E402

URL = sys.argv[1]
COUNT = 200


def parameters(**options: object) -> pika.URLParameters:
    made = pika.URLParameters(URL)
    for name, value in options.items():
        setattr(made, name, value)
    return made


def consumer(queue: str) -> int:
    got = []
    with pika.BlockingConnection(parameters()) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=10)

        def on_message(channel, method, properties, body):
            got.append(body)
            channel.basic_ack(method.delivery_tag)
            if len(got) == COUNT:
                channel.stop_consuming()

        channel.basic_consume(queue, on_message)
        channel.start_consuming()
    assert got == [b"%d" % number for number in range(COUNT)]
    return len(got)


def publisher(queue: str) -> int:
    with pika.BlockingConnection(parameters()) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(COUNT):
            channel.basic_publish("", queue, b"%d" % number, mandatory=True)
    return COUNT


def handed_over() -> list:
    """Work from other greenlets, done in the one that waits."""
    done = []
    with pika.BlockingConnection(parameters()) as connection:
        waiting = gevent.spawn(connection.sleep, 0.5)
        gevent.sleep(0.05)
        for number in range(3):
            connection.add_callback_threadsafe(lambda number=number: done.append(number))
        try:
            connection.channel()
        except pika.exceptions.WrongThreadError:
            done.append("refused")
        waiting.get()
    return sorted(done, key=str)


def busy() -> bool:
    """A greenlet that sleeps for five heartbeats keeps its connection."""
    with pika.BlockingConnection(parameters(heartbeat=1)) as connection:
        gevent.sleep(5)
        connection.process_data_events()
        return connection.is_open


def stubborn() -> bool:
    """So does one that keeps all of them from their turns, and the connection is idle."""
    with pika.BlockingConnection(parameters(heartbeat=1)) as connection:
        monkey.get_original("time", "sleep")(5)
        connection.process_data_events()
        return connection.is_open


setup = pika.BlockingConnection(parameters())
names = [setup.channel().queue_declare("", auto_delete=False).method.queue for _ in range(3)]
greenlets = [gevent.spawn(task, name) for name in names for task in (consumer, publisher)]
alive = gevent.spawn(busy)
began = time.monotonic()
print("messages", [greenlet.get(timeout=60) for greenlet in greenlets])
print("handed over", handed_over())
print("alive", alive.get(timeout=60), stubborn())
for name in names:
    setup.channel().queue_delete(name)
setup.close()
