"""Ctrl-C at any line of pika.aio, as it comes before Python 3.11: all the same what runs comes to its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from pika import aio
from tests.support.aio import settle
from tests.support.bounded import EVERY_LINE, bounded
from tests.support.interrupt import CtrlC, interrupted_after

# An iteration is left when it is collected; what is raised there, Python tells as a warning.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# Every line in `make torture`; otherwise one in so many, which is no divisor of any loop's length.
STEP = 1 if EVERY_LINE else 7


async def program(connection: aio.Connection) -> None:
    async with connection.channel(prefetch=5) as channel:
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        await channel.basic_publish("", queue, b"message")
        async with channel.publisher() as publisher:
            await publisher.publish(b"message", routing_key=queue)
        async with channel.consume(queue) as messages:
            await (await messages.__anext__()).ack()


async def end(connection: aio.Connection, task: asyncio.Task[None]) -> None:
    """Do what asyncio.run() does behind a KeyboardInterrupt, and close the connection."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
    await connection.close()
    assert connection.is_closed
    await settle()


def interrupt(url: str, lines: int) -> bool:
    """Run the program up to a line, and see to its end; returns whether there was such a line."""

    async def connect() -> aio.Connection:
        return await aio.connect(url)

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        connection = loop.run_until_complete(connect())
        task = loop.create_task(program(connection))
        with interrupted_after(lines, error=CtrlC) as countdown:
            loop.run_until_complete(task)
        loop.run_until_complete(end(connection, task))
        assert not asyncio.all_tasks(loop)
    return countdown.came


def test_interrupted_at_any_line(url: str) -> None:
    """Nobody waits for an answer that was lost."""
    for lines in itertools.count(0, STEP):
        if not bounded(lambda: interrupt(url, lines)):  # noqa: B023  called before it goes on
            break
    assert lines > 100
