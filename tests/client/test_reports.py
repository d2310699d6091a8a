"""What handlers and callbacks raise, and what stands still, is seen, whether or not the program has set up logging."""

from __future__ import annotations

import pytest

from tests.support.bounded import PATIENCE
from tests.support.programs import run

THREADS = """
import logging, time
import pika
from pika.broker import Broker
%s
seen = []

def fails(*_):
    seen.append(None)
    raise KeyError("what is missing")

with Broker() as broker, pika.connect(broker.url) as connection:
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, fails, consumer_tag="tag")
    channel.publisher().publish(b"", routing_key=queue).add_done_callback(fails)
    while len(seen) < 2:
        time.sleep(0.01)
    connection.drain()
"""

AIO = """
import asyncio, logging
from pika import aio
from pika.broker import Broker
%s
seen = []

async def fails(*_):
    seen.append(None)
    raise KeyError("what is missing")

async def main():
    async with aio.connect(broker.url) as connection, connection.channel() as channel:
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        await channel.basic_consume(queue, fails, consumer_tag="tag")
        (await channel.publisher().send(b"", routing_key=queue)).add_done_callback(fails)
        while len(seen) < 2:
            await asyncio.sleep(0.01)

with Broker() as broker:
    asyncio.run(main())
"""

BOTH = pytest.mark.parametrize("program", [THREADS, AIO], ids=["threads", "aio"])
HANDLER = (
    "The handler of consumer 'tag' raised; the message with delivery tag 1 stays unacknowledged unless the handler "
    "settled it: acknowledge and reject in try and except, or consume in a loop with message.process()\n"
)


@BOTH
@pytest.mark.parametrize("setup", ["", "logging.basicConfig(format='%(message)s')"], ids=["nothing", "basicConfig"])
def test_seen_once(program: str, setup: str) -> None:
    code, _, err = run(program % setup)
    assert code == 0
    assert err.count(HANDLER) == 1
    assert err.count("The callback <function fails at") == 1
    assert err.count("Traceback (most recent call last):") == 2
    assert err.count("KeyError: 'what is missing'") == 2


@BOTH
@pytest.mark.parametrize(
    "setup", ["logging.getLogger('pika').setLevel(logging.CRITICAL)", "logging.getLogger('pika').propagate = False"]
)
def test_turned_off(program: str, setup: str) -> None:
    assert run(program % setup) == (0, "", "")


@BOTH
def test_routed_by_the_name_that_the_documentation_has(program: str) -> None:
    name = "pika.client.threaded_waiting" if program is THREADS else "pika.client.aio_tasks"
    setup = f"logging.getLogger({name!r}).addHandler(logging.StreamHandler(__import__('sys').stdout))"
    _, out, err = run(program % setup)
    assert (out.count(HANDLER), err) == (1, "")


TELLING = """
import asyncio, logging, sys, threading, time
import pika
from pika import aio
from pika.broker import Broker
from pika.client import aio_link, threaded_io
threaded_io.PAUSE_TO_TELL_OF = aio_link.PAUSE_TO_TELL_OF = 0.05
told = threading.Event()

class Errors:
    def write(self, text):
        sys.__stderr__.write(text)
        told.set()

    def flush(self):
        sys.__stderr__.flush()

sys.stderr = Errors()
"""

STALLED_THREADS = """
with Broker() as broker, pika.connect(broker.url) as connection, pika.connect(broker.url) as other:
    queue = other.channel().queue_declare("").method.queue
    with other.channel().publisher() as publisher:
        for _ in range(1500):
            publisher.publish(b"", routing_key=queue)
    for _ in connection.channel().consume(queue, auto_ack=True):
        told.wait(patience)
        break
"""

STALLED_AIO = """
async def main():
    async with aio.connect(broker.url) as connection, connection.channel() as channel:
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        async with channel.publisher() as publisher:
            for _ in range(1500):
                await publisher.send(b"", routing_key=queue)
        async for _ in channel.consume(queue, auto_ack=True):
            end = time.monotonic() + patience
            while not told.is_set() and time.monotonic() < end:
                await asyncio.sleep(0.01)
            break

with Broker() as broker:
    asyncio.run(main())
"""

STALLED = pytest.mark.parametrize("program", [STALLED_THREADS, STALLED_AIO], ids=["threads", "aio"])


@STALLED
@pytest.mark.parametrize("setup", ["", "logging.basicConfig(format='%(message)s')"], ids=["nothing", "basicConfig"])
def test_a_connection_that_is_not_read(program: str, setup: str) -> None:
    code, _, err = run(f"{TELLING}{setup}\npatience = {PATIENCE}\n{program}")
    assert code == 0
    assert err.count("is not read: for 0.05 seconds nobody has taken any of the ") == 1
    assert err.endswith(" Open its channel with a prefetch, such as connection.channel(prefetch=50)\n")
    assert err.count("\n") == 1


@STALLED
def test_a_connection_that_is_not_read_when_warnings_are_turned_off(program: str) -> None:
    setup = "logging.getLogger('pika').setLevel(logging.ERROR)"
    assert run(f"{TELLING}{setup}\npatience = 0.5\n{program}") == (0, "", "")


ENDING_THREADS = """
broker = Broker()
broker.start()
connection = pika.connect(broker.url)
channel = connection.channel()
queue = channel.queue_declare("").method.queue
{listener}
channel.basic_consume(queue, lambda channel, method, *_: channel.basic_ack(method.delivery_tag + 1))
other = pika.BlockingConnection(pika.URLParameters(broker.url)).channel()
{end}
told.wait(patience)
broker.stop()
"""

ENDING_AIO = """
async def main():
    connection = await aio.connect(broker.url)
    channel = await connection.channel()
    queue = (await channel.queue_declare("")).method.queue
    {listener}
    await channel.basic_consume(queue, lambda channel, method, *_: channel.basic_ack(method.delivery_tag + 1))
    other = pika.BlockingConnection(pika.URLParameters(broker.url)).channel()
    {end}
    end = time.monotonic() + patience
    while not told.is_set() and time.monotonic() < end:
        await asyncio.sleep(0.01)

broker = Broker()
broker.start()
asyncio.run(main())
broker.stop()
"""

ENDING = pytest.mark.parametrize("program", [ENDING_THREADS, ENDING_AIO], ids=["threads", "aio"])
UNHEARD = ", and nobody waits who could be told: "


@ENDING
@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("broker.stop()", f"The connection has ended{UNHEARD}(320, "),
        ("other.basic_publish('', queue, b'')", f"The broker has closed a channel{UNHEARD}(406, "),
        ("other.queue_delete(queue)", f"The broker has ended a consumer{UNHEARD}"),
    ],
    ids=["connection", "channel", "consumer"],
)
def test_what_ends_while_only_handlers_listen(program: str, end: str, words: str) -> None:
    code, _, err = run(f"{TELLING}\npatience = {PATIENCE}\n{program.format(listener='', end=end)}")
    assert code == 0
    assert err.count(words) == 1, err


@ENDING
def test_what_ends_is_told_once(program: str) -> None:
    """Where the program is told by a callback, nothing is written."""
    listener = "connection.add_on_close_callback(lambda *_: told.set())"
    ended = program.format(listener=listener, end="broker.stop()")
    assert run(f"{TELLING}\npatience = {PATIENCE}\n{ended}") == (0, "", "")
