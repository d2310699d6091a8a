"""Closing and draining from anywhere; programs of pika.aio that end, fork or get signals with a connection open."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any, Callable

import pytest

from pika import aio, exceptions, spec
from tests.support.aio import eventually, run, settle
from tests.support.bounded import PATIENCE
from tests.support.programs import run as run_program
from tests.support.programs import running
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker

#: Seconds for what nothing should wait for.
AT_ONCE = 5.0

Program = Callable[[aio.Connection, aio.Channel, str], Coroutine[Any, Any, None]]


def with_a_queue(url: str, program: Program) -> None:
    """Run a program with a connection, a channel and a queue."""

    async def main() -> None:
        async with aio.connect(url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            await program(connection, channel, queue)

    run(main)


# From anywhere


@pytest.mark.parametrize("what", ["close", "channel", "drain and close"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_closing_in_a_handler(broker: Broker, what: str, concurrency: int) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        done = asyncio.Event()

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, _body: bytes) -> None:
            await own.basic_ack(method.delivery_tag)
            if what == "channel":
                await own.close()
                assert own.is_closed
            else:
                if what == "drain and close":
                    await connection.drain(timeout=PATIENCE)
                await connection.close()
                assert connection.is_closed
            done.set()

        await channel.basic_consume(queue, on_message, concurrency=concurrency)
        await channel.basic_publish("", queue, b"")
        await asyncio.wait_for(done.wait(), PATIENCE)
        if what == "channel":
            async with connection.channel() as other:
                assert (await other.queue_declare(queue, passive=True)).method.message_count == 0

    with_a_queue(broker.url, program)


def test_closing_in_callbacks(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        done = asyncio.Event()

        async def on_close(own: aio.Connection, reason: BaseException) -> None:
            assert isinstance(reason, exceptions.ConnectionClosedByClient)
            await own.close()
            done.set()

        async def on_done(confirmation: aio.Confirmation) -> None:
            await confirmation
            await connection.close()

        connection.add_on_close_callback(on_close)
        confirmation = await channel.publisher().send(b"", routing_key=queue)
        confirmation.add_done_callback(on_done)
        await asyncio.wait_for(done.wait(), PATIENCE)
        assert connection.is_closed

    with_a_queue(broker.url, program)


def test_closing_while_others_publish_and_wait(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher(max_in_flight=100)
        published = 0

        async def publish() -> None:
            nonlocal published
            while True:
                await publisher.send(b"body", routing_key=queue)
                published += 1

        async def loop() -> str:
            async for _ in (await connection.channel()).consume(queue, auto_ack=True):
                pass
            return "over"

        tasks = [asyncio.ensure_future(publish()) for _ in range(4)]
        looping = asyncio.ensure_future(loop())
        await eventually(lambda: published > 1000)
        await asyncio.gather(*(connection.close() for _ in range(3)))
        assert connection.is_closed
        for end in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE):
            assert isinstance(end, exceptions.AMQPError), end
        # The program has closed it by itself: that is no error to a loop.
        assert await asyncio.wait_for(looping, PATIENCE) == "over"
        # Whatever was not confirmed is known as that.
        assert publisher.in_flight == 0

    with_a_queue(broker.url, program)


def test_the_program_learns_once_what_nobody_waited_for(broker: Broker) -> None:
    """A channel that the broker has closed over an acknowledgement says so in the next call, and not in every one."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await channel.basic_ack(77)
        await eventually(lambda: channel.is_closed)
        with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag 77"):
            await channel.queue_declare(queue)
        with pytest.raises(exceptions.ChannelWrongStateError):
            await channel.queue_declare(queue)
        assert connection.is_open

    with_a_queue(broker.url, program)


def test_what_a_handler_raises_is_logged_once(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        seen: list[bytes] = []

        async def on_message(_channel: aio.Channel, _method: Any, _properties: Any, body: bytes) -> None:
            seen.append(body)
            if body == b"bad":
                raise ValueError("this is no task")

        def on_close(*_: Any) -> None:
            raise KeyError("in a callback")

        channel.add_on_close_callback(on_close)
        await channel.basic_consume(queue, on_message)
        for body in (b"bad", b"good"):
            await channel.basic_publish("", queue, body)
        await eventually(lambda: seen == [b"bad", b"good"])
        await channel.close()
        await settle()
        async with connection.channel() as other:
            # Neither was acknowledged.
            assert (await other.queue_declare(queue, passive=True)).method.message_count == 2

    with_a_queue(broker.url, program)
    for text in ("this is no task", "in a callback"):
        assert [text in str(record.exc_info) for record in caplog.records].count(True) == 1


# Draining


@pytest.mark.parametrize("concurrency", [1, 4])
def test_draining_lets_handlers_finish(broker: Broker, concurrency: int) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        begun, finished = 0, 0
        go_on = asyncio.Event()

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, _body: bytes) -> None:
            nonlocal begun, finished
            begun += 1
            await go_on.wait()
            await own.basic_ack(method.delivery_tag)
            finished += 1

        async with channel.publisher() as publisher:
            for number in range(10):
                await publisher.send(b"%d" % number, routing_key=queue)
        await channel.basic_consume(queue, on_message, concurrency=concurrency)
        await eventually(lambda: begun == concurrency)
        with pytest.raises(exceptions.AMQPTimeoutError):
            await connection.drain(timeout=0.05)
        sent = await publisher.send(b"last", routing_key=queue)
        draining = asyncio.ensure_future(connection.drain(timeout=PATIENCE))
        await asyncio.sleep(0.02)
        assert not draining.done()
        go_on.set()
        await draining
        assert begun == finished == concurrency
        assert sent.done()
        assert connection.is_open
        assert not channel.consumer_tags
        assert (await channel.queue_declare(queue, passive=True)).method.message_count == 11 - concurrency

    with_a_queue(broker.url, program)


def test_draining_on_a_connection_that_is_closed(broker: Broker) -> None:
    async def program(connection: aio.Connection, _channel: aio.Channel, _queue: str) -> None:
        await connection.close()
        with pytest.raises(exceptions.ConnectionWrongStateError):
            await connection.drain()

    with_a_queue(broker.url, program)


# Loops and threads


def test_another_thread_is_told_what_to_use(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher()
        await publisher.publish(b"", routing_key=queue)
        message = await channel.basic_get(queue)
        assert message is not None

        async def elsewhere() -> None:
            for call in (
                lambda: channel.basic_publish("", queue, b""),
                lambda: channel.queue_declare(""),
                lambda: channel.basic_ack(1),
                lambda: publisher.publish(b"", routing_key=queue),
                lambda: message.ack(),
                lambda: channel.consume(queue).__anext__(),
                lambda: connection.drain(),
                lambda: connection.close(),
            ):
                with pytest.raises(exceptions.ConnectionWrongStateError, match="call_soon_threadsafe"):
                    await call()

        await asyncio.get_running_loop().run_in_executor(None, run, elsewhere)
        assert connection.is_open
        await message.ack()
        # Nothing was sent.
        assert (await channel.queue_declare(queue, passive=True)).method.message_count == 0

    with_a_queue(broker.url, program)


def test_it_needs_a_loop_that_runs(broker: Broker) -> None:
    connecting = aio.connect(broker.url)
    with pytest.raises(RuntimeError, match="no running event loop"):
        connecting.__await__().send(None)


# Programs

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
    tasks = [asyncio.ensure_future(one) for one in (channel.start_consuming(), channel.consume("").__anext__())]
    await channel.basic_consume(queue, lambda *_: None)
    await asyncio.sleep(0.05)
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
        left = (await channel.queue_declare(queue, passive=True)).method.message_count
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
    idle = (await channel.queue_declare("", exclusive=True)).method.queue
    print("waiting")
    async with connection, connection.channel() as other:
        {WAITS[wait]}"""
    with running(main_of(text), broker.url) as program:
        assert program.read() == "waiting"
        time.sleep(0.3)
        os.kill(program.pid, signal.SIGINT)
        code, out, err = program.finish()
        assert (code, out) == (-signal.SIGINT, "")
        # Python's own traceback, and nothing beside it.
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert "never retrieved" not in err and "destroyed" not in err


def test_no_thread_is_needed(broker: Broker) -> None:
    before = threading.active_count()

    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await channel.basic_publish("", queue, b"")
        assert await channel.basic_get(queue, auto_ack=True)
        # Names are looked up in threads of the loop's own.
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith("pika-io")]

    with_a_queue(broker.url, program)
    assert threading.active_count() <= before + 2
