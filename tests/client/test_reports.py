"""What handlers and callbacks raise is seen, whether or not the program has set up logging."""

from __future__ import annotations

import pytest

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
