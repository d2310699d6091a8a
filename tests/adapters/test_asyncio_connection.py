"""What is AsyncioConnection's own: which loop it takes, coroutines, uvloop, and what it does to the process."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import uuid
from typing import Any

import pytest

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from tests.support import programs
from tests.support.bounded import bounded
from tests.support.oracle import environment
from tests.support.rabbitmq import Broker

# `sys.argv` is the URL and how the loop is had.
PROGRAM = """
import asyncio, sys, warnings
warnings.simplefilter("error")
import pika
from pika.adapters.asyncio_connection import AsyncioConnection

how = sys.argv[2]
said = []

def on_open(connection):
    connection.channel(on_open_callback=on_channel)

def on_channel(channel):
    channel.queue_declare("", exclusive=True, callback=lambda answer: on_queue(channel, answer.method.queue))

def on_queue(channel, queue):
    channel.basic_consume(queue, on_message)
    channel.basic_publish("", queue, b"hello")

def on_message(channel, method, properties, body):
    channel.basic_ack(method.delivery_tag)
    said.append(body)
    channel.connection.close()

def connect(**options):
    return AsyncioConnection(
        pika.URLParameters(sys.argv[1]),
        on_open_callback=on_open,
        on_close_callback=lambda connection, error: connection.ioloop.stop(),
        **options,
    )

if how == "none":
    connection = connect()
elif how == "set":
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    connection = connect()
    assert connection.ioloop is loop
else:
    import importlib
    loop = importlib.import_module(how).new_event_loop()
    connection = connect(custom_ioloop=loop)
    assert connection.ioloop is loop
connection.ioloop.run_forever()
connection.ioloop.close()
print(said)
"""


@pytest.mark.parametrize("how", ["none", "set", "asyncio"])
def test_a_program_that_runs_the_loop_of_its_connection(broker: Broker, how: str) -> None:
    assert programs.run(PROGRAM, broker.url, how) == (0, "[b'hello']\n", "")


def test_uvloop(broker: Broker) -> None:
    python = environment("uvloop", "uvloop==0.23.0")
    if python is None:
        pytest.skip("no uvloop: pip could not install it; set PIKA_UVLOOP_PYTHON to a Python that has it")
    done = subprocess.run(
        [str(python), "-c", PROGRAM, broker.url, "uvloop"],
        env={**os.environ, "PYTHONPATH": str(programs.ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[b'hello']\n", "")


def test_in_a_coroutine(broker: Broker) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        closed: asyncio.Future[Any] = loop.create_future()
        got: asyncio.Future[bytes] = loop.create_future()
        connection = AsyncioConnection(
            broker.parameters(),
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda connection, error: opened.set_exception(error),
            on_close_callback=lambda connection, error: closed.set_result(error),
        )
        assert connection.ioloop is loop
        await opened
        ready: asyncio.Future[Any] = loop.create_future()
        connection.channel(on_open_callback=ready.set_result)
        channel = await ready
        declared: asyncio.Future[Any] = loop.create_future()
        channel.queue_declare("", exclusive=True, callback=declared.set_result)
        queue = (await declared).method.queue
        channel.basic_consume(queue, lambda channel, method, properties, body: got.set_result(body), auto_ack=True)
        channel.basic_publish("", queue, b"body")
        body = await got
        connection.close()
        await closed
        return body

    assert asyncio.run(main()) == b"body"


def test_a_thread_without_a_loop_gets_one() -> None:
    def use() -> None:
        connection = AsyncioConnection(internal_connection_workflow=False)
        assert not connection.ioloop.is_running()
        connection.ioloop.close()

    bounded(use)


def test_importing_changes_nothing() -> None:
    source = """
import asyncio, sys
policy = asyncio.get_event_loop_policy()
import pika, pika.adapters
assert "pika.adapters.asyncio_connection" not in sys.modules
import pika.adapters.asyncio_connection
assert asyncio.get_event_loop_policy() is policy
assert getattr(policy._local, "_loop", None) is None
"""
    status, _, err = programs.run(source)
    assert status == 0, err


def test_asyncio_is_not_loaded_unless_it_is_used() -> None:
    source = """
import sys
import pika
pika.SelectConnection, pika.BaseConnection, pika.AMQPConnectionWorkflow, pika.adapters.IOLoop
assert not {"asyncio", "ssl"} & set(sys.modules), set(sys.modules)
assert pika.adapters.AsyncioConnection.__name__ == "AsyncioConnection"
assert "asyncio" in sys.modules
"""
    assert programs.run(source) == (0, "", "")


def test_what_is_published_right_before_the_loop_stops_arrives(broker: Broker) -> None:
    """And what is published while it does not run, as far as it can be told: all of it goes out at once."""
    loop = asyncio.new_event_loop()
    opened: asyncio.Future[Any] = loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(broker.url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened.set_result),
        custom_ioloop=loop,
    )
    channel = loop.run_until_complete(opened)
    queue = f"pika-{uuid.uuid4().hex}"
    declared: asyncio.Future[Any] = loop.create_future()
    channel.queue_declare(queue, callback=declared.set_result)
    loop.run_until_complete(declared)

    async def publish() -> None:
        for number in range(5):
            channel.basic_publish("", queue, b"%d" % number)

    loop.run_until_complete(publish())
    for number in range(5, 8):
        channel.basic_publish("", queue, b"%d" % number)
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as other, other.channel() as reader:
        bodies = [body for _, _, body in itertools.islice(reader.consume(queue, auto_ack=True), 8)]
        reader.queue_delete(queue)
    assert bodies == [b"%d" % number for number in range(8)]
    connection.add_on_close_callback(lambda *_: loop.stop())
    connection.close()
    loop.run_forever()
    loop.close()
