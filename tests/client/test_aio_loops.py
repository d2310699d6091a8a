"""Loops over messages with pika.aio: how they are left, how they end, and back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Callable

import pytest

from pika import aio, exceptions
from pika.client.inbox import MOST_MESSAGES
from tests.support.aio import becomes_ready, eventually, fill, numbers, ready, settle, use
from tests.support.bounded import PATIENCE
from tests.support.memory import free_forgotten
from tests.support.rabbitmq import Broker


def test_a_loop(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 2000)
        bodies: list[bytes] = []
        while len(bodies) < 2000:
            # A pause may be longer than that when the machine is busy.
            async for message in channel.consume(queue, timeout=0.5):
                await message.ack()
                bodies.append(message.body)
        assert bodies == numbers(2000)
        assert channel.consumer_tags == []
        assert await ready(channel, queue) == 0

    use(broker.url, program)


async def by_break(channel: aio.Channel, queue: str) -> None:
    async for message in channel.consume(queue):
        async with message.process():
            if message.body == b"9":
                break


async def by_an_error(channel: aio.Channel, queue: str) -> None:
    with pytest.raises(ValueError):
        async for message in channel.consume(queue):
            await message.ack()
            if message.body == b"9":
                raise ValueError


async def by_aclose(channel: aio.Channel, queue: str) -> None:
    messages = channel.consume(queue)
    for _ in range(10):
        await (await messages.__anext__()).ack()
    await messages.aclose()
    await messages.aclose()
    with pytest.raises(StopAsyncIteration):
        await messages.__anext__()


async def by_the_block(channel: aio.Channel, queue: str) -> None:
    async with channel.consume(queue) as messages:
        async for message in messages:
            await message.ack()
            if message.body == b"9":
                break
        assert channel.consumer_tags
    assert not channel.consumer_tags


async def by_dropping_it(channel: aio.Channel, queue: str) -> None:
    messages = channel.consume(queue)
    for _ in range(10):
        await (await messages.__anext__()).ack()
    del messages


async def by_cancelling_it(channel: aio.Channel, queue: str) -> None:
    count = 0
    async for message in channel.consume(queue, consumer_tag="mine"):
        await message.ack()
        count += 1
        if count == 10:
            await channel.basic_cancel("mine")
    assert count == 10


@pytest.mark.parametrize("leave", [by_break, by_an_error, by_aclose, by_the_block, by_dropping_it, by_cancelling_it])
def test_leaving_a_loop_gives_back_what_was_prefetched(
    broker: Broker, leave: Callable[[aio.Channel, str], Coroutine[Any, Any, None]]
) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 100)
        await leave(channel, queue)
        free_forgotten()
        await becomes_ready(channel, queue, 90)
        assert channel.consumer_tags == []
        assert (await channel.queue_declare(queue, passive=True)).method.consumer_count == 0

    use(broker.url, program)


@pytest.mark.parametrize("end", ["channel", "connection", "cancel"])
def test_a_loop_ends_when_the_program_says_so(broker: Broker, end: str) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        async def loop() -> list[bytes]:
            return [message.body async for message in channel.consume(queue, consumer_tag="mine")]

        looping = asyncio.ensure_future(loop())
        await eventually(lambda: channel.consumer_tags)
        await settle()
        if end == "channel":
            await channel.close()
        elif end == "connection":
            await connection.close()
        else:
            await channel.basic_cancel("mine")
        assert await asyncio.wait_for(looping, PATIENCE) == []

    use(broker.url, program)


@pytest.mark.parametrize("end", ["channel", "queue"])
def test_a_loop_raises_what_it_ends_with(broker: Broker, end: str) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        looping = asyncio.ensure_future(channel.consume(queue).__anext__())
        await eventually(lambda: channel.consumer_tags)
        await settle()
        if end == "channel":
            await channel.basic_ack(delivery_tag=4711)
            with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag"):
                await asyncio.wait_for(looping, PATIENCE)
        else:
            async with connection.channel() as other:
                await other.queue_delete(queue)
            with pytest.raises(exceptions.ConsumerCancelled):
                await asyncio.wait_for(looping, PATIENCE)
            assert channel.is_open

    use(broker.url, program)


def test_what_a_loop_has_got_is_handed_out_before_its_end(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 10)
        bodies: list[bytes] = []
        with pytest.raises(exceptions.ConsumerCancelled):
            async for message in channel.consume(queue):
                if not bodies:
                    await becomes_ready(channel, queue, 0)
                    async with connection.channel() as other:
                        await other.queue_delete(queue)
                    await asyncio.sleep(0.05)
                bodies.append(message.body)
                await message.ack()
        assert bodies == numbers(10)

    use(broker.url, program)


def test_two_loops_on_a_channel(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        other = (await channel.queue_declare("", exclusive=True)).method.queue
        for name in (queue, other):
            await fill(connection, name, 10)
        async with channel.consume(queue, auto_ack=True) as mine, channel.consume(other, auto_ack=True) as theirs:
            for number in range(10):
                assert (await mine.__anext__()).body == (await theirs.__anext__()).body == b"%d" % number

    use(broker.url, program)


def test_tasks_share_a_loop(broker: Broker) -> None:
    """Each message goes to one of them; a loop that never waits leaves the others their turn."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 3000)
        shares: list[list[bytes]] = [[] for _ in range(3)]
        messages = channel.consume(queue, auto_ack=True)

        async def work(share: list[bytes]) -> None:
            async for message in messages:
                share.append(message.body)
                if sum(map(len, shares)) == 3000:
                    await messages.aclose()

        await asyncio.gather(*(work(share) for share in shares))
        assert sorted((body for share in shares for body in share), key=int) == numbers(3000)

    use(broker.url, program)


def test_prefetch(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 10)
        async with connection.channel(prefetch=3) as narrow:
            async for message in narrow.consume(queue):
                await becomes_ready(channel, queue, 7)
                await message.ack()
                break
            free_forgotten()
            await becomes_ready(channel, queue, 9)

    use(broker.url, program)


def test_a_full_inbox_pauses_reading_and_answers_still_come(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        count = 4 * MOST_MESSAGES
        await fill(connection, queue, count, size=4096)
        seen: list[bytes] = []

        async def on_message(own: aio.Channel, _method: object, _properties: object, body: bytes) -> None:
            if len(seen) % 1000 == 0:
                await asyncio.sleep(0.1)
                # What a handler waits for has to be read, behind all that has come before.
                await own.queue_declare("", exclusive=True, timeout=PATIENCE)
            seen.append(body)

        await channel.basic_consume(queue, on_message, auto_ack=True)
        await eventually(lambda: len(seen) == count)
        assert seen == [body + b" " * 4096 for body in numbers(count)]

    use(broker.url, program)


def test_a_loop_leaves_others_their_turn(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 5000)
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.ensure_future(turn())
        count = 0
        async for _ in channel.consume(queue, auto_ack=True, timeout=PATIENCE):
            count += 1
            if count == 5000:
                break
        turning.cancel()
        assert turns > 3

    use(broker.url, program)
