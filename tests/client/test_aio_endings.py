"""Closing and draining from anywhere, and what is left behind: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from pika import aio, exceptions, spec
from tests.support.aio import becomes_ready, eventually, fill, run, settle, use
from tests.support.bounded import PATIENCE, bounded
from tests.support.bounded import eventually as eventually_elsewhere
from tests.support.rabbitmq import Broker

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

    use(broker.url, program)


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

    use(broker.url, program)


def test_closing_while_others_publish_and_wait(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher(max_in_flight=100)
        published, received = 0, 0

        async def publish() -> None:
            nonlocal published
            while True:
                await publisher.send(b"body", routing_key=queue)
                published += 1

        async def loop() -> str:
            nonlocal received
            async for _ in (await connection.channel()).consume(queue, auto_ack=True):
                received += 1
            return "over"

        tasks = [asyncio.ensure_future(publish()) for _ in range(4)]
        looping = asyncio.ensure_future(loop())
        await eventually(lambda: published > 1000 and received)
        await asyncio.gather(*(connection.close() for _ in range(3)))
        assert connection.is_closed
        for end in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE):
            assert isinstance(end, exceptions.AMQPError), end
        # The program has closed it by itself: that is no error to a loop.
        assert await asyncio.wait_for(looping, PATIENCE) == "over"
        # Whatever was not confirmed is known as that.
        assert publisher.in_flight == 0

    use(broker.url, program)


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

    use(broker.url, program)


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
            await becomes_ready(other, queue, 2)

    use(broker.url, program)
    for text in ("this is no task", "in a callback"):
        assert [text in str(record.exc_info) for record in caplog.records].count(True) == 1


@pytest.mark.parametrize("what", ["close", "channel", "block"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_handlers_that_run_when_it_is_closed_are_cancelled(broker: Broker, what: str, concurrency: int) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        started: list[None] = []
        ends: list[str] = []

        async def on_message(*_: Any) -> None:
            started.append(None)
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                # A last word, which may take its time.
                await asyncio.sleep(0.01)
                ends.append("cancelled")
                raise

        await fill(connection, queue, 5)
        other = await connection.channel()
        tag = await other.basic_consume(queue, on_message, concurrency=concurrency)
        begun = asyncio.all_tasks()
        await becomes_ready(channel, queue, 0)
        # What the broker has sent on one channel may be behind its answer on another.
        await eventually(lambda: len(started) == concurrency)
        if what == "close":
            await connection.close()
        elif what == "channel":
            await other.close()
        else:
            async with other:
                assert other.consumer_tags == [tag]
        # They have ended when it returns.
        assert ends == ["cancelled"] * concurrency
        assert len(asyncio.all_tasks()) <= len(begun)
        if what != "close":
            await becomes_ready(channel, queue, 5)

    use(broker.url, program)


def test_a_handler_that_does_not_end(broker: Broker) -> None:
    """Closing does not wait for ever for one that takes no cancellation."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def on_message(*_: Any) -> None:
            begun.set()
            while not go_on.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await go_on.wait()
            ended.set()

        await fill(connection, queue, 1)
        await channel.basic_consume(queue, on_message)
        await begun.wait()
        await asyncio.wait_for(connection.close(), PATIENCE)
        assert connection.is_closed
        go_on.set()
        await ended.wait()

    use(broker.url, program)


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

    use(broker.url, program)


def test_draining_in_handlers(broker: Broker) -> None:
    """Two handlers drain at the same time: neither waits for the other for ever."""

    async def program(connection: aio.Connection, channel: aio.Channel, _queue: str) -> None:
        drained: list[bool] = []
        both: list[aio.Channel] = []

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, _body: bytes) -> None:
            both.append(own)
            await eventually(lambda: len(both) == 2)
            await own.basic_ack(method.delivery_tag)
            await connection.drain(timeout=PATIENCE)
            drained.append(True)

        for _ in range(2):
            other = await connection.channel()
            queue = (await other.queue_declare("", exclusive=True)).method.queue
            await other.basic_consume(queue, on_message)
            await other.basic_publish("", queue, b"")
        await eventually(lambda: len(drained) == 2)

    use(broker.url, program)


def test_draining_while_the_connection_ends(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        begun = asyncio.Event()

        async def on_message(*_: Any) -> None:
            begun.set()
            await asyncio.sleep(PATIENCE)

        await channel.basic_consume(queue, on_message)
        await channel.basic_publish("", queue, b"")
        await begun.wait()
        draining = asyncio.ensure_future(connection.drain())
        await eventually(lambda: not channel.consumer_tags)
        await connection.close()
        with pytest.raises(exceptions.AMQPError):
            await draining

    use(broker.url, program)


def test_draining_after_an_end_that_was_not_told(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes when a loop is about to tell of a handler's end, as it may before Python 3.11."""

    async def main() -> None:
        async with aio.connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            await channel.basic_consume(queue, lambda *_: None, auto_ack=True)
            await channel.basic_publish("", queue, b"")
            try:
                await asyncio.Event().wait()
            finally:
                # It does not wait for the handler, which is over.
                await connection.drain(timeout=10)

    def call_soon(*args: Any, **options: Any) -> asyncio.Handle:
        ended = args[-1]
        if isinstance(ended, asyncio.Task) and ended.get_name().startswith("pika-handlers"):
            monkeypatch.undo()
            raise KeyboardInterrupt
        return undisturbed(*args, **options)

    def run_as_asyncio_does() -> None:
        task = loop.create_task(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        undisturbed = loop.call_soon
        monkeypatch.setattr(loop, "call_soon", call_soon)
        bounded(run_as_asyncio_does)


def test_draining_on_a_connection_that_is_closed(broker: Broker) -> None:
    async def program(connection: aio.Connection, _channel: aio.Channel, _queue: str) -> None:
        await connection.close()
        with pytest.raises(exceptions.ConnectionWrongStateError):
            await connection.drain()

    use(broker.url, program)


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

    use(broker.url, program)


def test_it_needs_a_loop_that_runs(broker: Broker) -> None:
    connecting = aio.connect(broker.url)
    with pytest.raises(RuntimeError, match="no running event loop"):
        connecting.__await__().send(None)


def test_no_thread_is_needed(broker: Broker) -> None:
    before = set(threading.enumerate())

    def threads() -> set[threading.Thread]:
        # Those of tests before may still be about to end.
        return set(threading.enumerate()) - before

    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await channel.basic_publish("", queue, b"")
        assert await channel.basic_get(queue, auto_ack=True)
        # Names are looked up in threads of the loop's own.
        assert not [one for one in threads() if one.name.startswith("pika-io")]

    use(broker.url, program)
    eventually_elsewhere(lambda: len(threads()) <= 2)
