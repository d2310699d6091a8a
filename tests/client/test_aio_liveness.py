"""Heartbeats whatever the program does, silence judged by what has been read, and back-pressure both ways."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

import pika
from pika import aio, exceptions, frame, spec
from pika.broker import Broker as EmbeddedBroker
from pika.client import aio_link
from pika.client.inbox import MOST_MESSAGES
from tests.support.aio import eventually, run
from tests.support.bounded import PATIENCE
from tests.support.brokers import Target
from tests.support.encoding import method
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, delivery, fall_silent, scripted_broker

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


@pytest.mark.slow
def test_a_loop_that_was_blocked_too_long_is_named_as_the_cause(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    words = r"A heartbeat to \S+ is sent [0-9.]+ seconds late: the loop was blocked for so long\."

    async def program() -> None:
        async with connect(target) as connection:
            channel = await connection.channel()
            time.sleep(6 * HEARTBEAT)
            await eventually(lambda: not connection.is_open)
            with pytest.raises(exceptions.StreamLostError, match=words):
                await channel.queue_declare("", exclusive=True)

    run(program)
    assert any(re.match(words, record.getMessage()) for record in caplog.records)


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
        await channel.confirm_delivery()
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
    async def program() -> None:
        connection = await aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port))
        channel = await connection.channel()
        waiting = asyncio.ensure_future(channel.queue_declare("queue"))
        await asyncio.sleep(0)
        await asyncio.wait_for(connection.close(timeout=0.1), PATIENCE)
        assert connection.is_closed
        with pytest.raises(exceptions.ConnectionClosedByClient):
            await waiting

    with scripted_broker(fall_silent) as peer:
        run(program)


# A broker that is blocked


def blocked_parameters(port: int) -> pika.ConnectionParameters:
    return pika.ConnectionParameters("127.0.0.1", port, blocked_connection_timeout=1)


@pytest.mark.parametrize("what", ["full inbox", "busy loop"])
def test_the_end_of_an_alarm_that_lies_unread(what: str) -> None:
    """It came in time: behind deliveries that a slow handler keeps from being read, or that a loop had no time for."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.send(method(0, spec.Connection.Blocked("low on memory")))
        deliveries = [delivery(number, tag, at, bytes(200)) for at in range(1, 4 * MOST_MESSAGES + 1)]
        session.send(*deliveries, method(0, spec.Connection.Unblocked()))
        session.close_politely()

    async def program() -> None:
        async with aio.connect(blocked_parameters(peer.port)) as connection, connection.channel() as channel:
            alarms: list[str] = []
            connection.add_on_connection_blocked_callback(lambda *_: alarms.append("blocked"))
            connection.add_on_connection_unblocked_callback(lambda *_: alarms.append("unblocked"))

            async def on_message(*_: Any) -> None:
                await asyncio.sleep(0.005)

            await channel.basic_consume("queue", on_message, auto_ack=True)
            await eventually(lambda: alarms)
            if what == "busy loop":
                time.sleep(2)
            await eventually(lambda: alarms == ["blocked", "unblocked"] or connection.is_closed)
            assert connection.is_open

    with scripted_broker(script) as peer:
        run(program)


def test_an_alarm_that_lasts_while_deliveries_come() -> None:
    """The connection is given up, though there is always something to read."""
    over = threading.Event()

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.send(method(0, spec.Connection.Blocked("low on memory")))
        at = 0
        while not over.is_set():
            at += 1
            session.send(delivery(number, tag, at, bytes(1000)))

    async def program() -> None:
        try:
            connection = await aio.connect(blocked_parameters(peer.port))
            channel = await connection.channel()
            await channel.basic_consume("queue", lambda *_: None, auto_ack=True)
            with pytest.raises(exceptions.ConnectionBlockedTimeout):
                await channel.start_consuming(timeout=PATIENCE)
        finally:
            over.set()
        await connection.close()

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
            # There may be some room again meanwhile.
            with pytest.raises(exceptions.AMQPTimeoutError):
                for _ in range(200):
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


def test_a_handler_that_waits_for_what_is_not_read(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands still says so, once, and names the consumer that is in the way."""
    monkeypatch.setattr(aio_link, "PAUSE_TO_TELL_OF", 0.2)

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        # More than one read takes: what was read with consume-ok does not pause anything.
        session.send(*(delivery(number, tag, at, bytes(1000)) for at in range(1, 2 * MOST_MESSAGES)))
        session.close_politely()

    async def program() -> None:
        parameters = pika.ConnectionParameters("127.0.0.1", peer.port)
        async with aio.connect(parameters) as connection, connection.channel() as channel:

            async def on_message(*_: Any) -> None:
                await released.wait()

            released = asyncio.Event()
            await channel.basic_consume("queue", on_message, auto_ack=True, consumer_tag="in the way")
            await eventually(lambda: caplog.text)
            await asyncio.sleep(0.5)
            released.set()
        told = [record.getMessage() for record in caplog.records if record.name == "pika.client.aio_link"]
        assert len(told) == 1
        assert "'in the way'" in told[0]
        assert "prefetch" in told[0]

    with scripted_broker(script) as peer:
        run(program)
