"""Handlers of pika.aio: in order, or several at a time, and what becomes of what nobody has begun with."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from typing import Any

import pytest

from pika import aio, exceptions, spec
from tests.support.aio import becomes_ready, eventually, fill, numbers, ready, settle, use
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
        full = asyncio.Event()
        seen: list[bytes] = []

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, body: bytes) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if most == concurrency:
                full.set()
            await asyncio.wait_for(full.wait(), PATIENCE)
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
