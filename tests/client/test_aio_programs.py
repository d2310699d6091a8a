"""Programs of pika.aio that end, fork or get signals with a connection open."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.support.programs import run as run_program
from tests.support.programs import running
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker

#: Seconds for what nothing should wait for.
AT_ONCE = 5.0

OPENED = """
import asyncio, os, signal, sys, threading, time
from pika import aio, exceptions

async def opened():
    connection = await aio.connect(sys.argv[1])
    channel = await connection.channel()
    queue = (await channel.queue_declare("", exclusive=True)).method.queue
    for number in range(100):
        await channel.basic_publish("", queue, b"body")
    return connection, channel, queue

def last_word():
    print(time.time())
"""

PROGRAMS = {
    "idle": ("last_word()", 0),
    "deleted": ("del channel, connection\n    last_word()", 0),
    "in a handler": (
        """
    begun = asyncio.Event()
    async def on_message(*_):
        begun.set()
        await asyncio.sleep(30)
    await channel.basic_consume(queue, on_message, concurrency=2)
    await begun.wait()
    last_word()""",
        0,
    ),
    "in a loop": ("\n    async for message in channel.consume(queue):\n        last_word()\n        sys.exit(4)", 4),
    "a loop that nobody has left": (
        "messages = channel.consume(queue)\n    await messages.__anext__()\n    last_word()",
        0,
    ),
    "with confirms outstanding": (
        """
    publisher = channel.publisher(max_in_flight=100000)
    for number in range(10000):
        (await publisher.send(b"body", routing_key=queue)).add_done_callback(lambda confirmation: None)
    last_word()""",
        0,
    ),
    "while tasks wait": (
        """
    await channel.basic_consume(queue, lambda *_: None)
    idle = (await channel.queue_declare("", exclusive=True)).method.queue
    tasks = [asyncio.ensure_future(one) for one in (channel.start_consuming(), channel.consume(idle).__anext__())]
    while len(channel.consumer_tags) < 2:
        await asyncio.sleep(0.01)
    last_word()""",
        0,
    ),
    "an exception": ("last_word()\n    sys.exit(5)", 5),
    "in a with block that is left by an exception": (
        """
    async with connection, channel:
        last_word()
        sys.exit(6)""",
        6,
    ),
}


def main_of(text: str, frozen: bool = False) -> str:
    """Return the text of a program whose main function goes on like that."""
    hold = "\n    print(1)\n    input()" if frozen else ""
    body = f"connection, channel, queue = await opened(){hold}\n    {text}"
    return f"{OPENED}\nasync def main():\n    {body}\n\nasyncio.run(main())\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_end_with_a_connection_open(broker: Broker, name: str) -> None:
    text, status = PROGRAMS[name]
    code, out, err = run_program(main_of(text), broker.url)
    assert (code, err) == (status, "")
    assert time.time() - float(out) < AT_ONCE + 10


def test_a_broker_that_is_frozen_when_the_program_ends(broker: Broker) -> None:
    with Proxy(broker.port, broker.host) as proxy, running(main_of("pass", frozen=True), proxy.url) as program:
        program.read()
        proxy.freeze()
        program.say()
        assert program.finish() == (0, "", "")


FORKING = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    await channel.basic_consume(queue, lambda *_: None, auto_ack=True)
    publisher = channel.publisher()
    await publisher.publish(b"before", routing_key=queue)
    child = os.fork()
    if not child:
        status = 1
        try:
            assert connection.is_closed and channel.is_closed
            for call in (
                lambda: channel.queue_declare(""),
                lambda: channel.basic_publish("", queue, b""),
                lambda: publisher.publish(b"", routing_key=queue),
                lambda: channel.basic_ack(1),
                lambda: channel.consume(queue).__anext__(),
            ):
                try:
                    await call()
                    raise AssertionError("nothing was raised")
                except (exceptions.ChannelWrongStateError, exceptions.ConnectionWrongStateError) as error:
                    assert "belongs to process" in str(error), error
            await connection.close()
            await channel.close()
            sys.stdout.write("child\\n")
            sys.stdout.flush()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    await publisher.publish(b"after", routing_key=queue)
    await channel.queue_declare("", exclusive=True)
    await connection.close()
    print("parent")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_after_a_fork(broker: Broker) -> None:
    with Proxy(broker.port, broker.host) as proxy:
        assert run_program(main_of(FORKING), proxy.url) == (0, "child\nparent\n", "")


SERVING = """
async def main():
    connection, channel, queue = await opened()
    await channel.basic_qos(prefetch_count=10)
    stopped, handled = asyncio.Event(), []

    async def on_message(own, method, properties, body):
        await asyncio.sleep(0.05)
        await own.basic_ack(method.delivery_tag)
        if not handled:
            print("serving")
        handled.append(body)

    async def stop():
        await connection.drain(timeout=30)
        # Other than a declare it is answered behind what was given back.
        left = (await channel.queue_purge(queue)).method.message_count
        await connection.close()
        print(left + len(handled))
        stopped.set()

    tasks = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: tasks.append(asyncio.ensure_future(stop())))
    await channel.basic_consume(queue, on_message, concurrency=3)
    await stopped.wait()
    await asyncio.gather(*tasks)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="loops have no signal handlers there")
def test_draining_in_the_task_of_a_signal_handler(broker: Broker) -> None:
    with running(OPENED + SERVING, broker.url) as program:
        assert program.read() == "serving"
        os.kill(program.pid, signal.SIGTERM)
        assert program.finish() == (0, "100\n", "")


WAITS = {
    "messages": "async for _ in other.consume(idle): pass",
    "no consumers": "await other.basic_consume(idle, lambda *_: None)\n        await other.start_consuming()",
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process there")
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_program(broker: Broker, wait: str) -> None:
    text = f"""
    async def tell(consuming):
        while not consuming.consumer_tags:
            await asyncio.sleep(0.01)
        # Once nothing else is to be done: before Python 3.11, Ctrl-C may come in the middle of asyncio's own work.
        threading.Timer(0.5, print, ["waiting"]).start()

    idle = (await channel.queue_declare("", exclusive=True)).method.queue
    async with connection, connection.channel() as other:
        telling = asyncio.ensure_future(tell(other))
        {WAITS[wait]}"""
    with running(main_of(text), broker.url) as program:
        assert program.read() == "waiting"
        os.kill(program.pid, signal.SIGINT)
        code, out, err = program.finish()
        assert (code, out) == (-signal.SIGINT, "")
        # Python's own traceback, and nothing beside it.
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert "never retrieved" not in err and "destroyed" not in err
