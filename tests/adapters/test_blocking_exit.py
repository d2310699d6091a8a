"""Programs that end with connections open: they end at once, say nothing, and have the status they should have."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from pika.broker import Broker
from tests.support.programs import run, running

#: Seconds from a program's last word to its end. Closing politely, or waiting for a thread, would take longer.
AT_ONCE = 5.0
#: How often a program is run at the most until it ends at once, as a busy machine may be late.
ATTEMPTS = 5

OPENED = """
import sys, threading, time, pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
inside = threading.Event()

def last_word():
    print(time.time())
"""

# What each does with the open connection, and its status.
PROGRAMS = {
    "idle": ("last_word()", 0),
    "deleted": (
        """
del channel, connection
last_word()
""",
        0,
    ),
    "in a generator": (
        """
for number in range(100):
    channel.basic_publish("", queue, b"body")
messages = channel.consume(queue)
for method, properties, body in messages:
    channel.basic_ack(method.delivery_tag)
    break
last_word()
""",
        0,
    ),
    "in a generator that timed out": (
        """
for method, properties, body in channel.consume(queue, inactivity_timeout=0.05):
    last_word()
    sys.exit(4)
""",
        4,
    ),
    "sys.exit in a callback": (
        """
def on_message(channel, method, properties, body):
    last_word()
    sys.exit(3)

channel.basic_publish("", queue, b"body")
channel.basic_consume(queue, on_message)
channel.start_consuming()
""",
        3,
    ),
    "sys.exit in a callback, in with blocks": (
        """
def on_message(channel, method, properties, body):
    last_word()
    sys.exit(3)

with connection, channel:
    channel.basic_publish("", queue, b"body")
    channel.basic_consume(queue, on_message)
    channel.start_consuming()
""",
        3,
    ),
    "sys.exit in a callback from another thread": (
        """
def leave():
    last_word()
    sys.exit(5)

threading.Timer(0.1, connection.add_callback_threadsafe, [leave]).start()
channel.basic_consume(queue, lambda *message: None)
channel.start_consuming()
""",
        5,
    ),
    "behind publishes": (
        """
for number in range(2000):
    channel.basic_publish("", queue, bytes(1000))
last_word()
""",
        0,
    ),
    "behind confirmed publishes": (
        """
channel.confirm_delivery()
for number in range(100):
    channel.basic_publish("", queue, bytes(1000))
last_word()
""",
        0,
    ),
    "a daemon thread consumes": (
        """
channel.basic_consume(queue, lambda *message: None)
connection.add_callback_threadsafe(inside.set)
threading.Thread(target=channel.start_consuming, daemon=True).start()
inside.wait()
# It consumes; now let it fall asleep.
time.sleep(0.2)
last_word()
""",
        0,
    ),
    "a daemon thread is busy in a callback": (
        """
def on_message(*message):
    inside.set()
    time.sleep(60)

channel.basic_publish("", queue, b"body")
channel.basic_consume(queue, on_message)
threading.Thread(target=channel.start_consuming, daemon=True).start()
inside.wait()
last_word()
""",
        0,
    ),
    "daemon threads publish": (
        """
all_publish = threading.Barrier(5)

def publish():
    own = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
    own.channel().basic_publish("", "", bytes(100))
    all_publish.wait()
    while True:
        own.channel().basic_publish("", "", bytes(100))

for number in range(4):
    threading.Thread(target=publish, daemon=True).start()
all_publish.wait()
time.sleep(0.1)
last_word()
""",
        0,
    ),
    "a thread has done all of it": (
        """
def work():
    own = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
    own.channel().basic_publish("", "", b"body")

thread = threading.Thread(target=work)
thread.start()
thread.join()
last_word()
""",
        0,
    ),
    "a thread ends after the main one": (
        """
def work():
    time.sleep(0.5)
    channel.queue_declare(queue, passive=True)
    last_word()

threading.Thread(target=work).start()
""",
        0,
    ),
    "many connections": (
        """
more = [pika.BlockingConnection(pika.URLParameters(sys.argv[1])) for _ in range(50)]
last_word()
""",
        0,
    ),
    "closed": (
        """
connection.close()
last_word()
""",
        0,
    ),
    "with timers and callbacks waiting": (
        """
connection.call_later(60, last_word)
connection.add_callback_threadsafe(lambda: None)
last_word()
""",
        0,
    ),
    "after errors of channels": (
        """
for _ in range(3):
    try:
        connection.channel().queue_declare("there is none", passive=True)
    except pika.exceptions.ChannelClosedByBroker:
        pass
last_word()
""",
        0,
    ),
    "in a reference cycle": (
        """
connection.myself = connection
channel.connections = [connection, channel]
del connection, channel
last_word()
""",
        0,
    ),
    "closed by atexit": (
        """
import atexit
atexit.register(lambda: (connection.close(), last_word()))
""",
        0,
    ),
}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


def ends_at_once(source: str, url: str, status: int) -> str:
    """Run a program, and return what it wrote to its standard error."""
    for _ in range(ATTEMPTS):
        returned, out, err = run(source, url)
        ended = time.time()
        assert returned == status, (returned, out, err)
        if ended - float(out.split()[-1]) < AT_ONCE:
            return err
    raise AssertionError(f"it has not ended at once: {out}")


@pytest.mark.parametrize("heartbeat", [0, 1])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_ends(broker: Broker, name: str, heartbeat: int) -> None:
    body, status = PROGRAMS[name]
    assert ends_at_once(OPENED + body, f"{broker.url}?heartbeat={heartbeat}", status) == ""


BUSY = """
def on_message(channel, method, properties, body):
    time.sleep(2.5)
    last_word()
    {end}

channel.basic_publish("", queue, b"body")
channel.basic_consume(queue, on_message)
channel.start_consuming()
"""


@pytest.mark.parametrize(("end", "status"), [("sys.exit()", 0), ("sys.exit(7)", 7)])
def test_a_program_whose_heartbeats_were_sent_for_it(broker: Broker, end: str, status: int) -> None:
    assert ends_at_once(OPENED + BUSY.format(end=end), f"{broker.url}?heartbeat=1", status) == ""


def only_a_traceback(err: str, last_line: str) -> None:
    """There is one traceback, and nothing before or after it but the reason that a late call was refused for."""
    cause, _, rest = err.rpartition("\n\nThe above exception was the direct cause of the following exception:\n\n")
    assert not cause or re.match(r"pika\.exceptions\.\w+: ", cause), err
    assert rest.startswith("Traceback (most recent call last):\n"), err
    assert err.count("Traceback") == 1, err
    assert re.fullmatch(last_line, err.rstrip("\n").splitlines()[-1]), err
    assert "ignored" not in err, err


@pytest.mark.parametrize("block", ["if True", "with connection", "with channel", "with connection, channel"])
def test_a_callback_s_exception_is_all_that_is_printed(broker: Broker, block: str) -> None:
    program = f"""
def on_message(channel, method, properties, body):
    last_word()
    raise RuntimeError("the callback's own")

{block}:
    channel.basic_publish("", queue, b"body")
    channel.basic_consume(queue, on_message)
    channel.start_consuming()
"""
    err = ends_at_once(OPENED + program, f"{broker.url}?heartbeat=1", 1)
    only_a_traceback(err, "RuntimeError: the callback's own")
    assert "in on_message" in err


def test_a_lost_connection_is_all_that_is_printed() -> None:
    broker = Broker()
    broker.start()
    program = """
channel.basic_consume(queue, lambda *message: None)
connection.add_callback_threadsafe(lambda: print("consuming"))
try:
    channel.start_consuming()
finally:
    last_word()
"""
    with running(OPENED + program, broker.url) as consumer:
        assert consumer.read() == "consuming"
        broker.stop()
        status, _, err = consumer.finish()
    assert status == 1
    only_a_traceback(err, r"pika\.exceptions\.ConnectionClosedByBroker: .*CONNECTION_FORCED.*")


@pytest.mark.skipif(os.name != "posix", reason="no signals to other processes on this platform")
@pytest.mark.parametrize(
    "state",
    [
        "channel.basic_consume(queue, lambda *message: None); channel.start_consuming()",
        "connection.process_data_events(None)",
        "connection.sleep(60)",
        "next(channel.consume(queue))",
        "channel.basic_publish('', queue, b'body'); channel.basic_consume(queue, lambda *message: time.sleep(60)); "
        "channel.start_consuming()",
        "time.sleep(60)",
        "[channel.queue_declare(queue, passive=True) for _ in iter(int, 1)]",
        "[channel.basic_publish('', '', bytes(100)) for _ in iter(int, 1)]",
    ],
)
@pytest.mark.parametrize("block", ["if True", "with connection"])
def test_ctrl_c_ends_a_program(broker: Broker, state: str, block: str) -> None:
    for _ in range(ATTEMPTS):
        with running(f"{OPENED}\n{block}:\n    last_word()\n    {state}", f"{broker.url}?heartbeat=1") as program:
            program.read()
            time.sleep(0.3)
            os.kill(program.pid, signal.SIGINT)
            sent = time.time()
            status, _, err = program.finish()
            late = time.time() - sent >= AT_ONCE
        if not late:
            break
    assert not late
    assert status in (-signal.SIGINT, 128 + signal.SIGINT), err
    only_a_traceback(err, "KeyboardInterrupt")
