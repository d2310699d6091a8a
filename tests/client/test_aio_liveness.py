"""Heartbeats whatever the program does, silence judged by what has been read, and back-pressure both ways."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

import pika
from pika import aio, exceptions, frame, spec
from pika.broker import Broker as EmbeddedBroker
from pika.client.inbox import MOST_MESSAGES
from tests.support.aio import eventually, run
from tests.support.bounded import PATIENCE
from tests.support.brokers import Target
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, delivery, scripted_broker

HEARTBEAT = 1


def connect(target: Target) -> Any:
    return aio.connect(target.parameters(heartbeat=HEARTBEAT))


# Busy, and alive


async def slow_handler(target: Target) -> None:
    """A handler takes ten heartbeats; then it acknowledges."""
    async with connect(target) as connection, connection.channel(prefetch=1) as channel:
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        done = asyncio.Event()

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, _body: bytes) -> None:
            await asyncio.sleep(10 * HEARTBEAT)
            await own.basic_ack(method.delivery_tag)
            await own.flow(True)
            done.set()

        await channel.basic_consume(queue, on_message)
        await channel.basic_publish("", queue, b"")
        await asyncio.wait_for(done.wait(), PATIENCE)
        assert (await channel.queue_declare(queue, passive=True)).method.message_count == 0


async def full_inbox(target: Target) -> None:
    """For four heartbeats nothing is read, because the handler does not keep up: neither side thinks the other dead."""
    async with connect(target) as connection, connection.channel() as channel:
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        count = 8 * MOST_MESSAGES
        async with channel.publisher() as publisher:
            for _ in range(count):
                await publisher.send(bytes(4096), routing_key=queue)
        seen = 0

        async def on_message(*_: Any) -> None:
            nonlocal seen
            if not seen:
                await asyncio.sleep(5 * HEARTBEAT)
            seen += 1

        await channel.basic_consume(queue, on_message, auto_ack=True)
        await eventually(lambda: seen == count)
        assert connection.is_open
        await channel.queue_declare(queue, passive=True)


async def slow_loop(target: Target) -> None:
    """A loop over messages takes four heartbeats over one of them."""
    async with connect(target) as connection, connection.channel() as channel:
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        await channel.basic_publish("", queue, b"")
        async for message in channel.consume(queue):
            await asyncio.sleep(4 * HEARTBEAT)
            await message.ack()
            break
        assert await channel.flow(True)


async def idle(target: Target) -> None:
    """Nobody calls anything for four heartbeats."""
    async with connect(target) as connection:
        await asyncio.sleep(4 * HEARTBEAT)
        await (await connection.channel()).queue_declare("", exclusive=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_connection_that_is_busy_is_alive(target: Target, kind: str) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(program(target) for program in (slow_handler, full_inbox, slow_loop, idle)))

    run(all_of_them, kind=kind)


@pytest.mark.slow
def test_a_loop_that_was_held_up_does_not_take_the_broker_for_dead() -> None:
    over = threading.Event()

    def script(session: Session) -> None:
        session.open(spec.Connection.Tune(2047, 131072, HEARTBEAT))

        def beat() -> None:
            while not over.wait(0.3):
                session.send(frame.Heartbeat().marshal())

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            session.open_channel()
            session.expect(spec.Queue.Declare, spec.Queue.DeclareOk("queue", 0, 0))
        finally:
            over.set()
            beating.join()
        session.close_politely()

    async def program() -> None:
        async with aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port, heartbeat=HEARTBEAT)) as connection:
            channel = await connection.channel()
            time.sleep(3.5 * HEARTBEAT)
            await asyncio.sleep(0.1)
            assert (await channel.queue_declare("queue")).method.queue == "queue"

    with scripted_broker(script) as peer:
        run(program)


# A broker that is silent


def of_a_frozen_broker(channel: aio.Channel, publisher: aio.Publisher, queue: str) -> list[Coroutine[Any, Any, Any]]:
    """All that can be waited for when nothing comes any more."""

    async def over_messages() -> None:
        async for _ in channel.consume(queue, auto_ack=True):
            raise AssertionError

    async def confirmed() -> None:
        await (await publisher.send(b"", routing_key=queue))

    return [
        over_messages(),
        confirmed(),
        publisher.publish(b"", routing_key=queue),
        channel.queue_declare("", exclusive=True),
        channel.basic_get(queue),
        channel.start_consuming(),
        _open(channel.connection),
    ]


async def _open(connection: aio.Connection) -> None:
    await connection.channel()


def reason_of(error: BaseException | None) -> BaseException | None:
    return error.__cause__ if isinstance(error, exceptions.PublishOutcomeUnknown) else error


def test_a_frozen_broker(broker: Broker) -> None:
    async def program(proxy: Proxy) -> None:
        parameters = pika.URLParameters(proxy.url)
        parameters.heartbeat = HEARTBEAT
        connection = await aio.connect(parameters)
        channel, other = await connection.channel(), await connection.channel()
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        publisher = other.publisher()
        await publisher.publish(b"", routing_key=queue)
        assert await channel.basic_get(queue, auto_ack=True)
        await channel.basic_consume(queue, lambda *_: None, auto_ack=True)
        proxy.freeze()
        waiting = [asyncio.ensure_future(one) for one in of_a_frozen_broker(channel, publisher, queue)]
        ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE)
        assert [type(reason_of(end)) for end in ends] == [exceptions.AMQPHeartbeatTimeout] * len(ends), ends
        assert connection.is_closed
        await connection.close()

    with Proxy(broker.port, broker.host) as proxy:
        run(lambda: program(proxy))


def test_calls_have_timeouts() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
        session.hold()

    async def program() -> None:
        connection = await aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port))
        channel = await connection.channel()
        publisher = channel.publisher(max_in_flight=1)
        for call in (
            publisher.publish(b"", routing_key="queue", timeout=0.05),
            publisher.wait(timeout=0.05),
            publisher.send(b"", routing_key="queue", timeout=0.05),
            channel.queue_declare("queue", timeout=0.05),
            channel.basic_get("queue", timeout=0.05),
            connection.drain(timeout=0.05),
        ):
            with pytest.raises(exceptions.AMQPTimeoutError):
                await asyncio.wait_for(call, PATIENCE)
        assert connection.is_open
        await asyncio.wait_for(connection.close(timeout=0.05), PATIENCE)
        assert connection.is_closed

    with scripted_broker(script) as peer:
        run(program)


def test_a_broker_that_does_not_answer_the_close() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.hold()

    async def program() -> None:
        connection = await aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port))
        channel = await connection.channel()
        waiting = asyncio.ensure_future(channel.queue_declare("queue"))
        await asyncio.sleep(0)
        await asyncio.wait_for(connection.close(timeout=0.1), PATIENCE)
        assert connection.is_closed
        with pytest.raises(exceptions.ConnectionClosedByClient):
            await waiting

    with scripted_broker(script) as peer:
        run(program)


# Back-pressure


def test_publishing_waits_when_the_network_takes_no_more(broker: Broker) -> None:
    async def program(proxy: Proxy) -> None:
        async with aio.connect(proxy.url + "?heartbeat=0") as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            published = 0

            async def publish() -> None:
                nonlocal published
                for _ in range(400):
                    await channel.basic_publish("", queue, bytes(100_000))
                    published += 1

            proxy.freeze(["to_server"])
            publishing = asyncio.ensure_future(publish())
            await eventually(lambda: published)
            before = -1
            while before != published:
                before = published
                await asyncio.sleep(0.3)
            # What the kernel and the proxy hold, and little more.
            assert published < 200
            with pytest.raises(exceptions.AMQPTimeoutError):
                await channel.basic_publish("", queue, bytes(100_000), timeout=0.05)
            proxy.thaw(["to_server"])
            await asyncio.wait_for(publishing, PATIENCE)
            await channel.flow(True)
            assert (await channel.queue_purge(queue)).method.message_count >= 400

    with Proxy(broker.port, broker.host) as proxy:
        run(lambda: program(proxy))


@pytest.mark.parametrize("how", ["handler", "loop"])
def test_nothing_is_read_while_nobody_works_it_off(how: str) -> None:
    # More than a kernel holds, even where it is generous.
    size, count = 4096, 16 * MOST_MESSAGES

    async def fill(queue: str) -> None:
        connection = await aio.connect(embedded.url)
        async with connection, connection.channel() as channel, channel.publisher() as publisher:
            for _ in range(count):
                await publisher.send(bytes(size), routing_key=queue)

    async def program(proxy: Proxy) -> None:
        async with aio.connect(proxy.url + "?heartbeat=0") as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", auto_delete=True)).method.queue
            await fill(queue)
            ready, seen = asyncio.Event(), 0

            async def on_message(*_: Any) -> None:
                nonlocal seen
                await ready.wait()
                seen += 1

            async def over_messages() -> None:
                async for _ in channel.consume(queue, auto_ack=True):
                    await on_message()
                    if seen == count:
                        return

            working = asyncio.ensure_future(over_messages()) if how == "loop" else None
            if working is None:
                await channel.basic_consume(queue, on_message, auto_ack=True)
            before = -1
            while before != len(proxy.record("to_client")) or before < MOST_MESSAGES * size:
                before = len(proxy.record("to_client"))
                await asyncio.sleep(0.3)
            # What the inbox, the kernel and the proxy hold, and no more.
            assert before < count * size * 3 // 4
            assert not seen
            ready.set()
            await eventually(lambda: seen == count)
            if working is not None:
                await working

    with EmbeddedBroker() as embedded, Proxy(embedded.port, embedded.host) as proxy:
        run(lambda: program(proxy))


def test_a_blocked_connection() -> None:
    blocked: list[str] = []

    async def program() -> None:
        async with aio.connect(embedded.url) as connection, connection.channel() as channel:

            async def on_blocked(own: aio.Connection, method: spec.Connection.Blocked) -> None:
                await asyncio.sleep(0)
                assert own is connection
                blocked.append(method.reason)

            connection.add_on_connection_blocked_callback(on_blocked)
            connection.add_on_connection_unblocked_callback(lambda *_: blocked.append("unblocked"))
            await channel.confirm_delivery()
            embedded.block("low on memory")
            publishing = asyncio.ensure_future(channel.basic_publish("", "nobody", b"body"))
            await eventually(lambda: blocked)
            assert connection.is_blocked
            assert not publishing.done()
            embedded.unblock()
            await asyncio.wait_for(publishing, PATIENCE)
            await eventually(lambda: blocked == ["low on memory", "unblocked"])
            assert not connection.is_blocked

    with EmbeddedBroker() as embedded:
        run(program)


def test_a_message_in_small_pieces() -> None:
    """A message that arrives piece by piece is put together."""
    body = bytes(range(256)) * 40

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        _, tag = session.accept_consumer()
        data = delivery(number, tag, 1, body)
        for start in range(0, len(data), 97):
            session.send(data[start : start + 97])
        session.close_politely()

    async def program() -> None:
        async with aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
            channel = await connection.channel()
            async for message in channel.consume("queue", auto_ack=True):
                assert message.body == body
                break

    with scripted_broker(script) as peer:
        run(program)
