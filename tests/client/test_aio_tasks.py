"""Tasks of pika.aio that run handlers: how they end, and what they may not do to others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pika.aio import Channel, connect
from tests.support.aio import eventually, run
from tests.support.rabbitmq import Broker


@contextlib.asynccontextmanager
async def opened(broker: Broker, prefetch: int = 0) -> AsyncIterator[tuple[Channel, str]]:
    """A channel with a queue of its own."""
    async with connect(broker.url) as connection, connection.channel(prefetch=prefetch) as channel:
        yield channel, (await channel.queue_declare("", exclusive=True)).method.queue


async def fill(channel: Channel, queue: str, count: int) -> None:
    for number in range(count):
        await channel.basic_publish("", queue, b"%d" % number)


async def ready(channel: Channel, queue: str, count: int) -> None:
    """Wait until so many messages are in a queue: what is given back takes its time."""
    async with channel.connection.channel() as other:
        while (await other.queue_declare(queue, passive=True)).method.message_count != count:
            await asyncio.sleep(0.005)


def test_what_a_handler_may_not_do_to_others(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """It raises, or something that it waits for is cancelled: the next message is handled all the same."""

    async def main() -> None:
        bodies: list[bytes] = []

        async def on_message(_channel: Channel, _method: Any, _properties: Any, body: bytes) -> None:
            bodies.append(body)
            if body == b"0":
                raise KeyError
            if body == b"1":
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future

        async with opened(broker) as (channel, queue):
            await channel.basic_consume(queue, on_message)
            await fill(channel, queue, 3)
            await eventually(lambda: len(bodies) == 3)
        assert caplog.text.count("The handler of consumer") == 2

    run(main)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_messages_behind_a_handler_whose_task_is_cancelled(
    broker: Broker, caplog: pytest.LogCaptureFixture, concurrency: int
) -> None:
    """They are handled, though no other message comes that would wake anybody."""

    async def main() -> None:
        bodies: list[bytes] = []

        async def on_message(own: Channel, method: Any, _properties: Any, body: bytes) -> None:
            bodies.append(body)
            if len(bodies) == 1:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            await asyncio.sleep(0.01)
            await own.basic_ack(method.delivery_tag)

        async with opened(broker, prefetch=5) as (channel, queue):
            await fill(channel, queue, 20)
            await channel.basic_consume(queue, on_message, concurrency=concurrency, consumer_tag="cut")
            await eventually(lambda: len(bodies) == 20)
            await channel.connection.drain()
        assert "The handler of consumer 'cut' was cancelled; the message with delivery tag 1 stays" in caplog.text

    run(main)


def test_callbacks_behind_one_whose_task_is_cancelled(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        called: list[str] = []

        async def cut(*_: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        async with opened(broker) as (channel, _):
            other = await channel.connection.channel()
            other.add_on_close_callback(cut)
            other.add_on_close_callback(lambda *_: called.append("closed"))
            await other.close()
            await eventually(lambda: called)
        assert "was cancelled in a callback" in caplog.text

    run(main)


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_closing_cancels_handlers_and_gives_back_their_messages(broker: Broker, what: str) -> None:
    async def main() -> None:
        ends: list[str] = []

        async def on_message(_channel: Channel, _method: Any, _properties: Any, body: bytes) -> None:
            ends.append("begun")
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        async with connect(broker.url) as other, other.channel() as witness:
            async with connect(broker.url) as connection:
                channel = await connection.channel()
                queue = (await channel.queue_declare("", auto_delete=False)).method.queue
                await channel.basic_consume(queue, on_message, concurrency=2)
                await fill(channel, queue, 3)
                await eventually(lambda: ends == ["begun"] * 2)
                await (channel if what == "channel" else connection).close()
                assert ends == ["begun", "begun", "cancelled", "cancelled"]
                await ready(witness, queue, 3)
            await witness.queue_delete(queue)

    run(main)


def test_a_message_that_comes_later_is_handled_at_the_same_time(broker: Broker) -> None:
    async def main() -> None:
        released = asyncio.Event()
        begun: list[bytes] = []

        async def on_message(_channel: Channel, _method: Any, _properties: Any, body: bytes) -> None:
            begun.append(body)
            await released.wait()

        async with opened(broker) as (channel, queue):
            await channel.basic_consume(queue, on_message, auto_ack=True, concurrency=3)
            for count in range(1, 4):
                await channel.basic_publish("", queue, b"%d" % count)
                await eventually(lambda: len(begun) >= count)  # noqa: B023  # it is called in this round
            await channel.basic_publish("", queue, b"4")
            await ready(channel, queue, 0)
            assert len(begun) == 3
            released.set()
            await eventually(lambda: len(begun) == 4)

    run(main)


def test_others_have_their_turn_while_messages_are_worked_off(broker: Broker) -> None:
    """Also when whoever works them off waits for nothing."""

    async def main() -> None:
        async with opened(broker) as (channel, queue):
            await fill(channel, queue, 300)
            await ready(channel, queue, 300)
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            def busy(*_: Any) -> None:
                end = asyncio.get_running_loop().time() + 0.001
                while asyncio.get_running_loop().time() < end:
                    pass
                received.append(None)

            received: list[None] = []
            counting = asyncio.ensure_future(count())
            await channel.basic_consume(queue, busy, auto_ack=True, consumer_tag="busy")
            await eventually(lambda: len(received) == 300)
            await channel.basic_cancel("busy")
            assert turns > 30
            counting.cancel()

    run(main)


def test_a_message_that_comes_when_nobody_waits_for_it_any_more(broker: Broker) -> None:
    async def main() -> None:
        async with opened(broker) as (channel, queue):
            await fill(channel, queue, 3)
            await ready(channel, queue, 3)
            for turns in range(4):
                getting = asyncio.ensure_future(channel.basic_get(queue))
                for _ in range(turns):
                    await asyncio.sleep(0)
                getting.cancel()
                await asyncio.wait([getting])
                if not getting.cancelled():
                    message = getting.result()
                    assert message is not None
                    await message.reject(requeue=True)
            await ready(channel, queue, 3)

    run(main)


@pytest.mark.parametrize("what", ["close", "drain"])
def test_handlers_that_close_and_drain_within_a_time(broker: Broker, what: str) -> None:
    """It may be another task that does it for them."""

    async def main() -> None:
        ended = asyncio.Event()
        async with connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue

            async def on_message(_channel: Channel, method: Any, _properties: Any, _body: bytes) -> None:
                await channel.basic_ack(method.delivery_tag)
                await asyncio.gather(
                    asyncio.wait_for(connection.drain() if what == "drain" else connection.close(), 20)
                )
                ended.set()

            await channel.basic_consume(queue, on_message)
            await channel.basic_publish("", queue, b"")
            await asyncio.wait_for(ended.wait(), 30)

    run(main)


def test_a_task_that_outlives_the_handler_which_started_it(broker: Broker) -> None:
    """What it drains and closes is not that handler's, but the handler's that runs then: it waits for that one."""

    async def main() -> None:
        log: list[str] = []
        tasks: list[asyncio.Task[None]] = []
        begun = asyncio.Event()
        connection = await connect(broker.url)
        channel = await connection.channel(prefetch=10)
        queue = (await channel.queue_declare("", exclusive=True)).method.queue

        async def shut_down() -> None:
            await begun.wait()
            await connection.drain()
            log.append("drained")
            await connection.close()

        async def on_message(own: Channel, method: Any, _properties: Any, body: bytes) -> None:
            if body == b"start":
                tasks.append(asyncio.create_task(shut_down()))
            else:
                begun.set()
                await asyncio.sleep(0.2)
                log.append("worked")
            await own.basic_ack(method.delivery_tag)

        await channel.basic_consume(queue, on_message)
        await channel.basic_publish("", queue, b"start")
        await channel.basic_publish("", queue, b"work")
        await eventually(lambda: tasks)
        await asyncio.wait_for(tasks[0], 30)
        assert log == ["worked", "drained"]

    run(main)


def test_what_needs_no_acknowledgement_is_not_handed_out_after_a_close(broker: Broker) -> None:
    async def main() -> None:
        begun: list[bytes] = []

        async def on_message(_channel: Channel, _method: Any, _properties: Any, body: bytes) -> None:
            begun.append(body)
            await asyncio.sleep(3600)

        async with connect(broker.url) as connection:
            for whole in (False, True):
                begun.clear()
                channel = await connection.channel()
                queue = (await channel.queue_declare("", exclusive=True)).method.queue
                await channel.basic_consume(queue, on_message, auto_ack=True)
                await fill(channel, queue, 3)
                await ready(channel, queue, 0)
                await eventually(lambda: begun)
                await (connection if whole else channel).close()
                assert begun == [b"0"]

    run(main)
