<<<<<<< HEAD
"""Consuming with pika.aio: loops over messages, handlers, and what becomes of messages."""
=======
"""Handlers of pika.aio: in order, or several at a time, and what becomes of what nobody has begun with."""
>>>>>>> wt-aiotest

from __future__ import annotations

import asyncio
<<<<<<< HEAD
import contextlib
import sys
from collections.abc import AsyncIterator
=======
import functools
import logging
import sys
>>>>>>> wt-aiotest
from typing import Any

import pytest

<<<<<<< HEAD
import pika
from pika import exceptions
from pika.aio import Channel, Message, connect
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


def test_a_loop_ends_after_a_time_without_a_message(broker: Broker) -> None:
    async def main() -> None:
        async with opened(broker) as (channel, queue):
            await fill(channel, queue, 100)
            bodies = []
            async for message in channel.consume(queue, timeout=0.2):
                method, _, body = message
                assert (method.routing_key, message.exchange, message.redelivered) == (queue, "", False)
                await message.ack()
                assert message.is_settled
                bodies.append(body)
            assert bodies == [b"%d" % number for number in range(100)]
            assert channel.consumer_tags == []
            with pytest.raises(exceptions.MessageSettledError):
                await message.ack()
            with pytest.raises(exceptions.MessageSettledError):
                await message.reject()

    run(main)


@pytest.mark.parametrize("how", ["break", "aclose", "block", "cancel"])
def test_leaving_a_loop_gives_back_what_was_prefetched(broker: Broker, how: str) -> None:
    async def leave(channel: Channel, queue: str) -> Message:
        if how == "block":
            async with channel.consume(queue) as messages:
                async for message in messages:
                    return message
        messages = channel.consume(queue)
        async for message in messages:
            if how == "break":
                break
            if how == "aclose":
                await messages.aclose()
                with pytest.raises(StopAsyncIteration):
                    await messages.__anext__()
                return message
            others = [await messages.__anext__() for _ in range(9)]
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(messages.__anext__(), 0.05)
            with pytest.raises(StopAsyncIteration):
                await messages.__anext__()
            for other in others:
                await other.reject()
            break
        return message

    async def main() -> None:
        async with opened(broker) as (channel, queue):
            await fill(channel, queue, 10)
            message = await leave(channel, queue)
            assert channel.consumer_tags == []
            await message.reject(requeue=True)
            await ready(channel, queue, 10)

    run(main)


def test_why_a_loop_ends(broker: Broker) -> None:
    async def main() -> None:
        async with opened(broker) as (channel, queue):
            waiting = asyncio.ensure_future(channel.consume(queue, consumer_tag="one").__anext__())
            await eventually(lambda: channel.consumer_tags == ["one"])
            await channel.queue_delete(queue)
            with pytest.raises(exceptions.ConsumerCancelled):
                await waiting
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            for end in (channel.basic_cancel("one"), channel.close()):
                messages = channel.consume(queue, consumer_tag="one")
                waiting = asyncio.ensure_future(messages.__anext__())
                await eventually(lambda: channel.consumer_tags == ["one"])
                await end
                with pytest.raises(StopAsyncIteration):
                    await waiting
                await messages.aclose()
            with pytest.raises(exceptions.ChannelWrongStateError):
                await channel.consume(queue).__anext__()
            async with channel.connection.channel() as other:
                messages = other.consume(queue)
                waiting = asyncio.ensure_future(messages.__anext__())
                await eventually(lambda: len(other.consumer_tags) == 1)
                with contextlib.suppress(exceptions.ChannelClosedByBroker):
                    await other.queue_declare("no such queue", passive=True)
                with pytest.raises(exceptions.ChannelClosedByBroker, match="404"):
                    await waiting

    run(main)


def test_process(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with opened(broker) as (channel, queue):
            await fill(channel, queue, 5)
            ends: list[Any] = [None, KeyError(), asyncio.CancelledError(), "ack", "close"]
            async for message in channel.consume(queue):
                end = ends.pop(0)
                with contextlib.suppress(KeyError, asyncio.CancelledError):
                    async with message.process(ignore_processed=end == "ack") as same:
                        assert same is message
                        if isinstance(end, BaseException):
                            raise end
                        if end == "ack":
                            await message.ack()
                            await ready(channel, queue, 0)
                        if end == "close":
                            await channel.close()
                            raise KeyError
                if end == "close":
                    break
            async with channel.connection.channel() as other:
                # The one that was cancelled, and the last one.
                assert [(await other.basic_get(queue, True)) is not None for _ in range(3)] == [True, True, False]
        assert "could not be rejected" in caplog.text

    run(main)


def test_get(broker: Broker) -> None:
    async def main() -> None:
        async with opened(broker) as (channel, queue):
            assert await channel.basic_get(queue) is None
            await fill(channel, queue, 2)
            message = await channel.basic_get(queue)
            assert message is not None
            assert (message.body, message.headers, message.is_settled) == (b"0", {}, False)
            assert "1 bytes" in repr(message)
            await message.nack(requeue=True)
            message = await channel.basic_get(queue, auto_ack=True)
            assert message is not None and message.redelivered and message.is_settled

    run(main)


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_handlers(broker: Broker, plain: bool, concurrency: int) -> None:
    async def main() -> None:
        running: set[bytes] = set()
        most, bodies = 0, []

        def count(body: bytes) -> None:
            nonlocal most
            running.add(body)
            most = max(most, len(running))

        async def on_message(own: Channel, method: Any, _properties: Any, body: bytes) -> None:
            assert own is channel
            count(body)
            await asyncio.sleep(0.001)
            await own.basic_ack(method.delivery_tag)
            running.discard(body)
            bodies.append(body)

        def on_message_plainly(own: Channel, method: Any, _properties: Any, body: bytes) -> str:
            count(body)
            running.discard(body)
            bodies.append(body)
            return "not awaited"

        async with opened(broker) as (channel, queue):
            handler: Any = on_message_plainly if plain else on_message
            tag = await channel.basic_consume(queue, handler, plain, concurrency=concurrency)
            await fill(channel, queue, 100)
            await eventually(lambda: len(bodies) == 100)
            if concurrency == 1 or plain:
                assert (most, bodies) == (1, [b"%d" % number for number in range(100)])
            else:
                assert 1 < most <= 3
            assert channel.consumer_tags == [tag]
            waiting = asyncio.ensure_future(channel.start_consuming())
            await asyncio.sleep(0)
            await channel.stop_consuming()
            await waiting
            await channel.start_consuming()

    run(main)


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
            # Where the second one's cannot be told from a cancellation of the task, it costs that: what comes next has
            # another.
            await eventually(lambda: len(bodies) >= 2)
            await channel.basic_publish("", queue, b"last")
            await eventually(lambda: len(bodies) == 4)
        assert caplog.text.count("The handler of consumer") == (2 if sys.version_info >= (3, 11) else 1)

    run(main)


def test_what_is_wrong_with_handlers(broker: Broker) -> None:
    async def main() -> None:
        async with opened(broker) as (channel, queue):
            with pytest.raises(TypeError, match="on_message_callback"):
                await channel.basic_consume(queue, None)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="concurrency"):
                await channel.basic_consume(queue, print, concurrency=0)
            await channel.basic_consume(queue, print, consumer_tag="a")
            with pytest.raises(exceptions.DuplicateConsumerTag):
                await channel.basic_consume(queue, print, consumer_tag="a")
            await channel.start_consuming(timeout=0.01)
            assert channel.consumer_tags == ["a"]
            with pytest.raises(exceptions.ChannelClosedByBroker):
                await channel.basic_consume("no such queue", print)
            with pytest.raises(exceptions.ChannelClosedByBroker):
                await channel.start_consuming()

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


def test_properties_and_bodies_of_any_size(broker: Broker) -> None:
    async def main() -> None:
        async with opened(broker) as (channel, queue):
            properties = pika.BasicProperties(message_id="m", headers={"a": 1})
            bodies = [b"", b"x", b"y" * 5_000_000]
            for body in bodies:
                await channel.basic_publish("", queue, body, properties)
            async for message in channel.consume(queue, auto_ack=True):
                assert (message.body, message.properties.message_id, message.headers) == (bodies.pop(0), "m", {"a": 1})
                if not bodies:
                    break

    run(main)
=======
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
>>>>>>> wt-aiotest
