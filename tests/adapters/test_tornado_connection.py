"""What is TornadoConnection's own: which loop it takes, coroutines, and what it does to the process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import pika
from tests.support import programs
from tests.support.adapter_loops import Loop
from tests.support.bounded import bounded
from tests.support.rabbitmq import Broker

pytest.importorskip("tornado", reason="no Tornado for this interpreter")

from tornado.ioloop import IOLoop

from pika.adapters.tornado_connection import TornadoConnection

# `sys.argv` is the URL and how the loop is had.
PROGRAM = """
import sys, warnings
warnings.simplefilter("error")
import pika
from tornado.ioloop import IOLoop
from pika.adapters.tornado_connection import TornadoConnection

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

loop = IOLoop(make_current=False) if sys.argv[2] == "given" else None
connection = TornadoConnection(
    pika.URLParameters(sys.argv[1]),
    on_open_callback=on_open,
    on_close_callback=lambda connection, error: connection.ioloop.stop(),
    custom_ioloop=loop,
)
assert connection.ioloop is (loop or IOLoop.current())
connection.ioloop.start()
connection.ioloop.close()
print(said)
"""


@pytest.mark.parametrize("how", ["current", "given"])
def test_a_program_that_runs_the_loop_of_its_connection(broker: Broker, how: str) -> None:
    assert programs.run(PROGRAM, broker.url, how) == (0, "[b'hello']\n", "")


def test_in_a_coroutine(broker: Broker) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        opened, closed, got, ready, declared = (loop.create_future() for _ in range(5))
        connection = TornadoConnection(
            broker.parameters(),
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda connection, error: opened.set_exception(error),
            on_close_callback=lambda connection, error: closed.set_result(error),
        )
        assert connection.ioloop is IOLoop.current() and connection.ioloop.asyncio_loop is loop
        await opened
        connection.channel(on_open_callback=ready.set_result)
        channel = await ready
        channel.queue_declare("", exclusive=True, callback=declared.set_result)
        queue = (await declared).method.queue
        channel.basic_consume(queue, lambda channel, method, properties, body: got.set_result(body), auto_ack=True)
        channel.basic_publish("", queue, b"body")
        body: bytes = await got
        connection.close()
        await closed
        return body

    assert asyncio.run(main()) == b"body"


def test_a_thread_without_a_loop_gets_one() -> None:
    def use() -> None:
        connection = TornadoConnection(internal_connection_workflow=False)
        assert connection.ioloop is IOLoop.current()
        assert TornadoConnection(internal_connection_workflow=False).ioloop is connection.ioloop
        connection.ioloop.close(all_fds=True)

    bounded(use)


def test_what_is_no_loop_is_refused() -> None:
    for loop in (object(), 5):
        with pytest.raises(AttributeError):
            TornadoConnection(custom_ioloop=loop, internal_connection_workflow=False)


def test_what_tracers_and_subclasses_do(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer wraps the method on the class; a subclass overrides a name that nobody calls."""
    calls: list[str] = []
    original = TornadoConnection.channel

    def channel(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append("channel")
        return original(self, *arguments, **options)

    class Mine(TornadoConnection):
        def _adapter_disconnect(self) -> None:
            calls.append("disconnect")

    monkeypatch.setattr(TornadoConnection, "channel", channel)
    loop = Loop("tornado")
    connection: Any = Mine(broker.parameters(), custom_ioloop=loop.native)
    loop.run(lambda: connection.is_open)
    opened = connection.channel()
    loop.run(lambda: opened.is_open)
    connection.close()
    loop.run(lambda: connection.is_closed)
    loop.close()
    assert calls == ["channel"]


def test_importing_changes_nothing() -> None:
    source = """
import asyncio, sys
policy = asyncio.get_event_loop_policy()
import pika, pika.adapters
assert not [name for name in sys.modules if name.split(".")[0] == "tornado"]
import pika.adapters.tornado_connection
assert asyncio.get_event_loop_policy() is policy
assert getattr(policy._local, "_loop", None) is None
assert not pika.adapters.tornado_connection.IOLoop._ioloop_for_asyncio
"""
    status, _, err = programs.run(source)
    assert status == 0, err


@pytest.mark.parametrize(("library", "adapter"), [("tornado", "Tornado"), ("gevent", "Gevent")])
def test_a_library_that_is_missing_is_named_with_what_installs_it(library: str, adapter: str) -> None:
    source = f"""
import sys
sys.modules["{library}"] = None
import pika, pika.adapters
dir(pika), dir(pika.adapters), vars(pika), vars(pika.adapters)
try:
    from pika.adapters.{library}_connection import {adapter}Connection
except ModuleNotFoundError as error:
    print(error.name, error)
"""
    expected = f"{library} {adapter}Connection needs {adapter if library == 'tornado' else library}: "
    assert programs.run(source) == (0, f"{expected}pip install pika[{library}]\n", "")


def test_one_that_is_forgotten_open_does_not_keep_the_program(broker: Broker) -> None:
    source = """
import sys, pika
from pika.adapters.tornado_connection import TornadoConnection
connection = TornadoConnection(
    pika.URLParameters(sys.argv[1]), on_open_callback=lambda connection: connection.ioloop.stop()
)
connection.ioloop.start()
print(connection.is_open)
"""
    assert programs.run(source, broker.url) == (0, "True\n", "")


def test_pikas_own_loop_will_do() -> None:
    loop = pika.adapters.IOLoop()
    assert TornadoConnection(custom_ioloop=loop, internal_connection_workflow=False).ioloop is loop
    loop.close()
