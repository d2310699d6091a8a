"""Tasks of pika.aio that do everything at once and are cancelled at random: no message is lost, or left behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any, Callable
from urllib.parse import urlsplit

import pytest

from pika import aio, exceptions
from tests.support.aio import run, settle
from tests.support.bounded import EVERY_LINE, PATIENCE
from tests.support.ledger import LARGE, Ledger, Witness
from tests.support.proxy import Proxy

SEEDS = 1000 if EVERY_LINE else 25
TASKS = 8
CANCELLATIONS = 60


class Storm:
    """Tasks that work on one connection.

    :param connection: the connection
    :param channels: channels that all of them share
    :param ledger: what they know of their messages
    :param chance: random numbers
    """

    def __init__(
        self, connection: aio.Connection, channels: list[aio.Channel], ledger: Ledger, chance: random.Random
    ) -> None:
        self.connection = connection
        self.channels = channels
        self.publishers = [channel.publisher(max_in_flight=3, mandatory=True) for channel in channels]
        self.ledger = ledger
        self.chance = chance
        self.done = 0
        self.works: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self.publish, self.publish, self.send, self.get, self.loop, self.handle, self.declare, self.large,
            self.on_a_channel_of_its_own,
        ]  # fmt: skip

    async def work(self) -> None:
        while True:
            await self.chance.choice(self.works)()
            self.done += 1
            if self.chance.random() < 0.1:
                await asyncio.sleep(0)

    async def publish(self) -> None:
        await self.ledger.publish(self.chance.choice(self.publishers))

    async def send(self) -> None:
        confirmation = await self.ledger.send(self.chance.choice(self.publishers))
        if self.chance.random() < 0.5:
            await confirmation

    async def get(self) -> None:
        message = await self.chance.choice(self.channels).basic_get(self.ledger.queue)
        if message is not None:
            await self.ledger.work(message)

    async def loop(self) -> None:
        left = self.chance.randrange(4)
        async for message in self.chance.choice(self.channels).consume(self.ledger.queue, timeout=0.005):
            await self.ledger.work(message)
            left -= 1
            if left < 0:
                break

    async def handle(self) -> None:
        channel = self.chance.choice(self.channels)
        tag = await channel.basic_consume(
            self.ledger.queue, self.ledger.on_message, concurrency=self.chance.choice((1, 3))
        )
        try:
            await asyncio.sleep(0.001)
        finally:
            await channel.basic_cancel(tag)

    async def declare(self) -> None:
        answer = await self.chance.choice(self.channels).queue_declare(self.ledger.queue, passive=True)
        assert answer.method.queue == self.ledger.queue

    async def large(self) -> None:
        await self.chance.choice(self.channels).basic_publish("", "nothing comes", LARGE)

    async def on_a_channel_of_its_own(self) -> None:
        async with self.connection.channel(prefetch=2) as channel:
            got = await channel.basic_get(self.ledger.queue)
            if got is not None:
                await self.ledger.work(got)


async def rage(url: str, witness: Witness, seed: int) -> int:
    chance = random.Random(seed)
    ledger = Ledger(witness.new_queue())
    async with aio.connect(url) as connection:
        channels = [await connection.channel(prefetch=chance.choice((0, 1, 5))) for _ in range(2)]
        storm = Storm(connection, channels, ledger, chance)
        tasks = [asyncio.ensure_future(storm.work()) for _ in range(TASKS)]
        for _ in range(CANCELLATIONS):
            await (settle(chance.randrange(15)) if chance.random() < 0.8 else asyncio.sleep(0.002))
            victim = chance.randrange(TASKS)
            tasks[victim].cancel()
            if chance.random() < 0.3:
                # Once more, while it clears up.
                await settle(chance.randrange(3))
                tasks[victim].cancel()
            await asyncio.wait([tasks[victim]], timeout=PATIENCE)
            assert tasks[victim].cancelled(), tasks[victim]
            tasks[victim] = asyncio.ensure_future(storm.work())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=PATIENCE)
        assert all(task.cancelled() for task in tasks), tasks
        await connection.drain(timeout=PATIENCE)
        for channel in channels:
            assert channel.is_open and channel.consumer_tags == []
            await channel.flow(True, timeout=PATIENCE)
        await ledger.look_at_what_was_sent()
        assert all(publisher.in_flight == 0 for publisher in storm.publishers)
        # Those that were opened for a moment are closed.
        while True:
            async with connection.channel(timeout=PATIENCE) as channel:
                await channel.flow(True)
                if channel.channel_number == 3:
                    break
        ledger.reconcile(witness.take_all(ledger.queue))
    return storm.done


def test_a_storm(url: str) -> None:
    done = 0
    with Witness(url) as witness:
        for seed in range(SEEDS):
            try:
                done += run(lambda seed=seed: rage(url, witness, seed))  # type: ignore[misc]
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
    assert done > SEEDS


def test_a_storm_whose_channel_dies(url: str) -> None:
    """All who wait learn it, and whoever comes later; the connection goes on."""

    async def program(seed: int) -> None:
        chance = random.Random(seed)
        ledger = Ledger(witness.new_queue())
        async with aio.connect(url) as connection:
            channel = await connection.channel()
            storm = Storm(connection, [channel], ledger, chance)
            tasks = [asyncio.ensure_future(storm.work()) for _ in range(TASKS)]
            await settle(chance.randrange(100))
            await channel.basic_ack(delivery_tag=4_000_000)
            ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
            for end in ends:
                assert isinstance(end, exceptions.AMQPError), end
            assert channel.is_closed and connection.is_open
            await connection.drain(timeout=PATIENCE)
            async with connection.channel(timeout=PATIENCE) as other:
                await other.flow(True)
            assert storm.publishers[0].in_flight == 0
            left = witness.take_all(ledger.queue)
            # What was acknowledged last may not have been heard any more.
            assert ledger.confirmed - ledger.settling <= set(left) and len(set(left)) == len(left)

    with Witness(url) as witness:
        for seed in range(SEEDS):
            try:
                run(lambda seed=seed: program(seed))  # type: ignore[misc]
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_storm_whose_connection_is_lost(url: str, how: str) -> None:
    """All who wait learn it, and whoever comes later; what was confirmed is there."""

    async def program(proxy: Proxy, seed: int) -> None:
        chance = random.Random(seed)
        ledger = Ledger(witness.new_queue())
        ended: list[BaseException] = []
        async with aio.connect(proxy.url) as connection:
            connection.add_on_close_callback(lambda _connection, reason: ended.append(reason))
            channels = [await connection.channel() for _ in range(2)]
            storm = Storm(connection, channels, ledger, chance)
            tasks = [asyncio.ensure_future(storm.work()) for _ in range(TASKS)]
            await settle(chance.randrange(100))
            getattr(proxy, how)()
            ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
            for end in ends:
                assert isinstance(end, exceptions.AMQPError), end
            assert connection.is_closed
            assert all(publisher.in_flight == 0 for publisher in storm.publishers)
            # Whoever has published without looking may look now.
            for publisher in storm.publishers:
                with contextlib.suppress(exceptions.PublishOutcomeUnknown):
                    await publisher.wait(timeout=PATIENCE)
        assert len(ended) == 1
        await ledger.look_at_what_was_sent()
        left = witness.take_all_eventually(ledger)
        assert len(set(left)) == len(left)

    with Proxy(urlsplit(url).port or 5672) as proxy, Witness(url) as witness:
        for seed in range(SEEDS):
            try:
                run(lambda seed=seed: program(proxy, seed))  # type: ignore[misc]
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
