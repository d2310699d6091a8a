"""Consuming with pika.aio: handlers in order, loops over messages, and what becomes of what nobody has begun with."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import sys
from collections.abc import Coroutine
from typing import Any, Callable

import pytest

from pika import aio, exceptions, spec
from pika.client.queues import MESSAGES
from tests.support.aio import becomes_ready, eventually, fill, ready, settle, use
from tests.support.bounded import PATIENCE
from tests.support.rabbitmq import Broker


class Seen:
    """A handler that keeps what it gets, and acknowledges it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.tasks: list[object] = []

    async def __call__(
        self, channel: aio.Channel, method: spec.Basic.Deliver, _properties: spec.BasicProperties, body: bytes
    ) -> None:
        self.bodies.append(body)
        task = asyncio.current_task()
        if task not in self.tasks:
            self.tasks.append(task)
        await channel.basic_ack(method.delivery_tag)


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# Handlers


def test_handlers_run_in_order(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 3000)
        seen = Seen()
        tag = await channel.basic_consume(queue, seen)
        assert channel.consumer_tags == [tag]
        await eventually(lambda: len(seen.bodies) == 3000)
        assert seen.bodies == numbers(3000)
        assert asyncio.current_task() not in seen.tasks
        await channel.basic_cancel(tag)
        assert channel.consumer_tags == []
        assert await ready(channel, queue) == 0

    use(broker.url, program)


def test_handlers_of_two_consumers_share_a_task(broker: Broker) -> None:
    """One runs at a time, in the order in which their messages came."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        other = (await channel.queue_declare("", exclusive=True)).method.queue
        running: list[str] = []
        done: list[str] = []

        async def on_message(_channel: aio.Channel, method: spec.Basic.Deliver, *_: Any) -> None:
            running.append(method.routing_key)
            await asyncio.sleep(0.001)
            assert len(running) == 1
            running.clear()
            done.append(method.routing_key)

        for name in (queue, other):
            await channel.basic_consume(name, on_message, auto_ack=True)
        for _ in range(20):
            for name in (queue, other):
                await channel.basic_publish("", name, b"")
        await eventually(lambda: len(done) == 40)

    use(broker.url, program)


def test_a_slow_handler_holds_up_nobody_else(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        go_on = asyncio.Event()

        async def on_message(*_: Any) -> None:
            await go_on.wait()

        await channel.basic_consume(queue, on_message, auto_ack=True)
        await channel.basic_publish("", queue, b"")
        async with connection.channel() as other:
            seen = Seen()
            mine = (await other.queue_declare("", exclusive=True)).method.queue
            await other.basic_consume(mine, seen)
            await fill(connection, mine, 3)
            await eventually(lambda: len(seen.bodies) == 3)
        assert await channel.flow(True)
        go_on.set()

    use(broker.url, program)


def test_handlers_may_call_anything(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 3)
        done = asyncio.Event()

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, body: bytes) -> None:
            assert own is channel
            mine = (await own.queue_declare("", exclusive=True)).method.queue
            async with connection.channel() as other, other.publisher() as publisher:
                await publisher.publish(body, routing_key=mine)
            async for message in own.consume(mine, auto_ack=True):
                assert message.body == body
                break
            await own.basic_ack(method.delivery_tag)
            if body == b"2":
                await own.stop_consuming()
                done.set()

        await channel.basic_consume(queue, on_message)
        await asyncio.wait_for(done.wait(), PATIENCE)
        assert channel.consumer_tags == []

    use(broker.url, program)


@pytest.mark.parametrize("concurrency", [2, 4])
def test_handlers_at_the_same_time(broker: Broker, concurrency: int) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 200)
        running, most = 0, 0
        seen: list[bytes] = []

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, body: bytes) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            seen.append(body)
            await own.basic_ack(method.delivery_tag)

        await channel.basic_consume(queue, on_message, concurrency=concurrency)
        await eventually(lambda: len(seen) == 200)
        assert sorted(seen, key=int) == numbers(200)
        assert most == concurrency

    use(broker.url, program)


@pytest.mark.parametrize("error", [ValueError("of the handler"), asyncio.CancelledError("of the handler")])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_handler_that_raises(
    broker: Broker, caplog: pytest.LogCaptureFixture, error: BaseException, kind: str
) -> None:
    """It is told once, and the next message is handled all the same."""
    if isinstance(error, asyncio.CancelledError) and sys.version_info < (3, 11):
        pytest.skip("Python cannot tell there whether it is the task that was cancelled")

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 2)
        seen: list[bytes] = []

        def plain(_channel: aio.Channel, _method: spec.Basic.Deliver, _properties: Any, body: bytes) -> None:
            seen.append(body)
            if body == b"0":
                raise error

        async def later(*arguments: Any) -> None:
            await asyncio.sleep(0)
            plain(*arguments)

        await channel.basic_consume(queue, plain if kind == "plain" else later)
        await eventually(lambda: len(seen) == 2)
        await channel.close()
        # Neither was acknowledged.
        async with connection.channel() as other:
            await becomes_ready(other, queue, 2)

    with caplog.at_level(logging.ERROR):
        use(broker.url, program)
    assert caplog.text.count("The handler of consumer") == 1
    assert "of the handler" in caplog.text and "Traceback" in caplog.text


@pytest.mark.parametrize("shape", ["partial", "method", "awaitable"])
def test_handlers_of_every_shape(broker: Broker, shape: str) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        seen = Seen()

        def returning(*arguments: Any) -> asyncio.Future[None]:
            return asyncio.ensure_future(seen(*arguments))

        shapes: dict[str, Any] = {"partial": functools.partial(seen), "method": seen.__call__, "awaitable": returning}
        await channel.basic_consume(queue, shapes[shape])
        await fill(connection, queue, 5)
        await eventually(lambda: seen.bodies == numbers(5))

    use(broker.url, program)


def test_what_is_no_handler(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        with pytest.raises(ValueError, match="concurrency"):
            await channel.basic_consume(queue, Seen(), concurrency=0)
        with pytest.raises(TypeError, match="on_message_callback"):
            await channel.basic_consume(queue, "no function")  # type: ignore[arg-type]
        with pytest.raises(exceptions.ChannelClosedByBroker, match="no queue 'no such queue'"):
            await channel.basic_consume("no such queue", Seen())

    use(broker.url, program)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_tasks_that_begin_at_once(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        factory: Any = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]  # of newer versions
        asyncio.get_running_loop().set_task_factory(factory)
        seen, many = Seen(), Seen()
        await channel.basic_consume(queue, seen)
        other = (await channel.queue_declare("", exclusive=True)).method.queue
        await channel.basic_consume(other, many, concurrency=5)
        for name in (queue, other):
            await fill(connection, name, 100)
        await eventually(lambda: len(seen.bodies) == len(many.bodies) == 100)
        assert seen.bodies == numbers(100)
        asyncio.get_running_loop().set_task_factory(None)

    use(broker.url, program)


# Ends of handlers


def test_cancelling_gives_back_what_no_handler_has_begun_with(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 100)
        begun, go_on = asyncio.Event(), asyncio.Event()
        seen: list[bytes] = []

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, body: bytes) -> None:
            seen.append(body)
            begun.set()
            await go_on.wait()
            await own.basic_ack(method.delivery_tag)

        tag = await channel.basic_consume(queue, on_message)
        await begun.wait()
        await channel.basic_cancel(tag)
        # While the handler still runs.
        await becomes_ready(channel, queue, 99)
        go_on.set()
        await connection.drain(timeout=PATIENCE)
        assert (seen, await ready(channel, queue)) == ([b"0"], 99)

    use(broker.url, program)


def test_cancelling_hands_out_what_is_nowhere_else(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 100)
        go_on = asyncio.Event()
        seen: list[bytes] = []

        async def on_message(_channel: aio.Channel, _method: object, _properties: object, body: bytes) -> None:
            await go_on.wait()
            seen.append(body)

        tag = await channel.basic_consume(queue, on_message, auto_ack=True)
        await becomes_ready(channel, queue, 0)
        await channel.basic_cancel(tag)
        go_on.set()
        await eventually(lambda: len(seen) == 100)
        assert seen == numbers(100)

    use(broker.url, program)


def test_start_consuming(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await channel.start_consuming()
        await channel.basic_consume(queue, Seen())
        await channel.start_consuming(timeout=0.05)
        consuming = asyncio.ensure_future(channel.start_consuming())
        await settle()
        await channel.stop_consuming()
        await consuming
        # The broker cancels.
        cancelled: list[Any] = []
        channel.add_on_cancel_callback(cancelled.append)
        tag = await channel.basic_consume(queue, Seen())
        consuming = asyncio.ensure_future(channel.start_consuming())
        async with connection.channel() as other:
            await other.queue_delete(queue)
        await asyncio.wait_for(consuming, PATIENCE)
        await eventually(lambda: [method.consumer_tag for method in cancelled] == [tag])

    use(broker.url, program)


def test_start_consuming_raises_what_the_channel_ends_with(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await channel.basic_consume(queue, Seen())
        consuming = asyncio.ensure_future(channel.start_consuming())
        await settle()
        await channel.basic_ack(delivery_tag=4711)
        with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag 4711"):
            await consuming
        # Once: after that it is known.
        with pytest.raises(exceptions.ChannelWrongStateError, match="unknown delivery tag 4711"):
            await channel.queue_declare("", exclusive=True)

    use(broker.url, program)


def test_a_tag_that_is_taken(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await channel.basic_consume(queue, Seen(), consumer_tag="mine")
        with pytest.raises(exceptions.DuplicateConsumerTag):
            await channel.basic_consume(queue, Seen(), consumer_tag="mine")
        with pytest.raises(exceptions.DuplicateConsumerTag):
            await channel.consume(queue, consumer_tag="mine").__anext__()
        seen = Seen()
        await channel.basic_cancel("mine")
        await channel.basic_cancel("mine")
        await channel.basic_consume(queue, seen, consumer_tag="mine")
        await fill(connection, queue, 1)
        await eventually(lambda: seen.bodies == [b"0"])

    use(broker.url, program)


# Loops


def test_a_loop(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 2000)
        bodies = []
        async for message in channel.consume(queue, timeout=0.2):
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
    gc.collect()


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
        messages = channel.consume(queue, auto_ack=True, timeout=0.2)

        async def work(share: list[bytes]) -> None:
            async for message in messages:
                share.append(message.body)

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
            await becomes_ready(channel, queue, 9)

    use(broker.url, program)


def test_a_full_inbox_pauses_reading_and_answers_still_come(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        count = 4 * MESSAGES
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
