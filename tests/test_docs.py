"""What the page about asyncio shows runs as it stands there, with the tests' broker for the one on localhost."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any, Callable, ClassVar

import pytest

import pika
from pika import aio
from tests.support.aio import run
from tests.support.bounded import PATIENCE
from tests.support.programs import run as run_program
from tests.support.rabbitmq import Broker

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "asyncio.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
#: What the programs print; the others are what a program does somewhere in the middle.
PROGRAMS = {
    "start": ["b'Hello, world!'"],
    "new_task": ["sent 3"],
    "worker": ["done one", "done two", "done three"],
    "subscribe": ["reader 0 all is well", "reader 1 all is well"],
    "rpc": ["[0, 1, 4, 9, 16]"],
}
QUEUES = ("hello", "jobs", "task_queue")
BODIES = [b"one", b"two", b"three"]


def delete_queues(broker: Broker) -> None:
    with pika.BlockingConnection(broker.parameters()) as connection:
        for queue in QUEUES:
            connection.channel().queue_delete(queue)


def test_every_snippet_is_run() -> None:
    assert PAGE.count("```python") == len(SNIPPETS)
    assert set(SNIPPETS) == {*PROGRAMS, *FRAGMENTS}


def test_the_programs(broker: Broker) -> None:
    """In their order: a worker needs its tasks."""
    delete_queues(broker)
    for name, expected in PROGRAMS.items():
        text = SNIPPETS[name].replace("amqp://guest:guest@localhost/%2F", broker.url)
        code, out, err = run_program(text)
        assert (code, err) == (0, ""), name
        assert sorted(out.splitlines()) == sorted(expected), name
    delete_queues(broker)


class Stage:
    """Where a fragment runs: the names that it uses, and what it leaves.

    :param connection: open
    :param channel: with the queue "jobs", which is empty
    """

    def __init__(self, connection: aio.Connection, channel: aio.Channel) -> None:
        self.connection = connection
        self.channel = channel
        self.worked: list[bytes] = []
        self.names: dict[str, Any] = {
            "aio": aio, "asyncio": asyncio, "pika": pika, "signal": signal, "connection": connection,
            "channel": channel, "publisher": channel.publisher(mandatory=True), "body": BODIES[0], "bodies": BODIES,
            "work": self.work, "on_message": self.on_message,
        }  # fmt: skip

    async def work(self, body: bytes) -> None:
        self.worked.append(body)

    async def on_message(self, channel: aio.Channel, method: Any, _properties: Any, body: bytes) -> None:
        self.worked.append(body)
        await channel.basic_ack(method.delivery_tag)

    async def play(self, name: str) -> None:
        """Run a fragment as the body of a coroutine function, and return when it ends."""
        returning = "\nreturn locals()"
        program = f"async def fragment():\n{textwrap.indent(SNIPPETS[name].strip() + returning, '    ')}\n"
        # What the fragment assigns is a name of its own there, so those that it finds are arguments.
        scope = dict(self.names)
        exec(program, scope)
        self.names.update(await scope["fragment"]())

    async def fill(self) -> None:
        async with self.channel.publisher() as publisher:
            for body in BODIES:
                await publisher.send(body, routing_key="jobs")

    async def count(self) -> int:
        await self.channel.flow(True)
        return (await self.channel.queue_declare("jobs", passive=True, durable=True)).method.message_count


async def publish(stage: Stage) -> None:
    await stage.play("publish")
    assert await stage.count() == 1


async def send(stage: Stage) -> None:
    await stage.play("send")
    assert await stage.count() == 3


async def outcomes(stage: Stage) -> None:
    await stage.play("outcomes")
    assert await stage.count() == 1
    await stage.channel.queue_delete("jobs")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        await stage.play("outcomes")
    assert out.getvalue() == "nobody wants [b'one']\n"
    await stage.channel.queue_declare("jobs", durable=True)


async def consume(stage: Stage) -> None:
    await stage.fill()
    playing = asyncio.ensure_future(stage.play("consume"))
    await worked_off(stage)
    await stage.channel.stop_consuming()
    await playing


async def handler(stage: Stage) -> None:
    await stage.fill()
    playing = asyncio.ensure_future(stage.play("handler"))
    await worked_off(stage)
    await cancel(playing)


async def types(stage: Stage) -> None:
    await stage.play("types")
    await stage.fill()

    async def on_message(*message: Any) -> None:
        await stage.names["on_message"](*message)
        await stage.work(message[-1])

    await stage.channel.basic_consume("jobs", on_message)
    await worked_off(stage)
    await stage.connection.drain()
    async with aio.connect(stage.names["url"]) as connection, connection.channel() as channel:
        assert await channel.basic_get("jobs") is None


async def stop(stage: Stage) -> None:
    await stage.fill()
    # No signal: it would reach the whole run of tests.
    asyncio_there = {"ensure_future": asyncio.ensure_future, "get_running_loop": lambda: Handlers}
    stage.names["asyncio"] = type("asyncio", (), asyncio_there)
    playing = asyncio.ensure_future(stage.play("stop"))
    await worked_off(stage)
    Handlers.added[signal.SIGTERM]()
    await asyncio.wait_for(playing, PATIENCE)
    assert stage.connection.is_closed


class Handlers:
    """A loop that has signal handlers, wherever it runs."""

    added: ClassVar[dict[int, Callable[[], object]]] = {}

    @classmethod
    def add_signal_handler(cls, number: int, handler: Callable[[], object]) -> None:
        cls.added[number] = handler


async def again(stage: Stage) -> None:
    await stage.play("again")
    await stage.fill()
    consuming = asyncio.ensure_future(stage.names["consume_for_ever"](stage.names["url"]))
    await worked_off(stage)
    await cancel(consuming)


async def worked_off(stage: Stage) -> None:
    async def wait() -> None:
        while stage.worked != BODIES:
            await asyncio.sleep(0.01)
        await stage.channel.flow(True)

    await asyncio.wait_for(wait(), PATIENCE)


async def cancel(future: asyncio.Future[Any]) -> None:
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future


FRAGMENTS = {
    "publish": publish,
    "send": send,
    "outcomes": outcomes,
    "consume": consume,
    "handler": handler,
    "types": types,
    "stop": stop,
    "again": again,
}


@pytest.mark.skipif(sys.platform == "win32", reason="loops have no signal handlers there")
@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fragment(name: str, broker: Broker) -> None:
    delete_queues(broker)

    async def main() -> None:
        async with aio.connect(broker.url) as connection, connection.channel() as channel:
            await channel.queue_declare("jobs", durable=True)
            stage = Stage(connection, channel)
            stage.names["url"] = broker.url
            await FRAGMENTS[name](stage)

    run(main)
    delete_queues(broker)
