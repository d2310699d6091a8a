"""Tasks, callbacks and the garbage collector that come in the middle of what pika.aio does."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from typing import Any, Callable

import pytest

import pika
from pika import aio, exceptions, spec
from pika.client.aio_link import Link
from pika.client.session import Session as ClientSession
from tests.support.aio import eventually, fill, new_loop, numbers, run, settle, use
from tests.support.encoding import method
from tests.support.interleaving import before_line
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, delivery, scripted_broker

EAGER = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")


class Outcome(BaseException):
    """No Exception, as what pytest.fail() raises."""


def be_eager(eager: bool = True) -> None:
    factory: Any = asyncio.eager_task_factory if eager else None  # type: ignore[attr-defined,unused-ignore]
    asyncio.get_running_loop().set_task_factory(factory)


@EAGER
def test_handlers_run_one_by_one_though_tasks_begin_at_once(broker: Broker) -> None:
    """The first one gives back what waits for it, in the first part of the task, and wakes who works off the rest."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        other = (await channel.queue_declare("", exclusive=True)).method.queue
        running: list[bytes] = []
        at_a_time: list[int] = []

        async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, body: bytes) -> None:
            running.append(body)
            at_a_time.append(len(running))
            await own.basic_ack(method.delivery_tag)
            if len(at_a_time) == 1:
                await own.basic_cancel(tag)
            await asyncio.sleep(0.05)
            running.remove(body)

        be_eager()
        tag = await channel.basic_consume(queue, on_message)
        await channel.basic_consume(other, on_message)
        # Published together, so that they come together.
        for number in range(5):
            for name in (queue, other):
                await channel.basic_publish("", name, b"%d" % number)
        await eventually(lambda: len(at_a_time) >= 6 and not running)
        be_eager(False)
        assert set(at_a_time) == {1}

    use(broker.url, program)


@EAGER
def test_callbacks_run_one_by_one_though_tasks_begin_at_once(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        be_eager()
        running: list[str] = []
        log: list[int] = []

        async def outer(confirmation: aio.Confirmation) -> None:
            running.append("outer")
            confirmation.add_done_callback(inner)
            await asyncio.sleep(0.05)
            running.remove("outer")
            log.append(len(running))

        async def inner(_confirmation: aio.Confirmation) -> None:
            running.append("inner")
            log.append(len(running))
            running.remove("inner")

        async with channel.publisher() as publisher:
            (await publisher.send(b"", routing_key=queue)).add_done_callback(outer)
        await eventually(lambda: len(log) == 2)
        be_eager(False)
        assert log == [0, 1]

    use(broker.url, program)


def test_a_handler_that_raises_no_exception_of_a_program(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 3)
        bodies: list[bytes] = []

        async def on_message(_channel: aio.Channel, _method: Any, _properties: Any, body: bytes) -> None:
            bodies.append(body)
            if body == b"0":
                raise Outcome("failed")

        await channel.basic_consume(queue, on_message)
        await eventually(lambda: len(bodies) == 3)
        assert bodies == numbers(3)

    use(broker.url, program)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [Outcome]


def test_a_callback_that_raises_no_exception_of_a_program(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        called: list[aio.Confirmation] = []

        def fail(_confirmation: aio.Confirmation) -> None:
            raise Outcome("failed")

        async with channel.publisher() as publisher:
            confirmation = await publisher.send(b"", routing_key=queue)
            confirmation.add_done_callback(fail)
            confirmation.add_done_callback(called.append)
        await eventually(lambda: called)

    use(broker.url, program)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [Outcome]


def test_the_end_of_a_consumer_is_not_that_of_its_connection() -> None:
    """Whoever calls next when that has ended too is told why."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.send(method(number, spec.Basic.Cancel(tag, True)))
        session.expect(spec.Basic.Ack)
        session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)))
        session.expect(spec.Connection.CloseOk)

    async def main() -> None:
        async with aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
            channel = await connection.channel()
            with pytest.raises(exceptions.ConsumerCancelled):
                await channel.consume("queue").__anext__()
            await channel.basic_ack(1)
            await eventually(lambda: connection.is_closed)
            with pytest.raises(exceptions.ConnectionClosedByBroker):
                await channel.queue_declare("")

    with scripted_broker(script) as peer:
        run(main)


def test_what_leaving_a_loop_keeps_to_itself_is_told_by_the_next_call(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        await fill(connection, queue, 1)
        other = await connection.channel()
        async with other.consume(queue) as messages:
            async for _ in messages:
                await other.basic_ack(77)
                break
        assert other.is_closed
        with pytest.raises(exceptions.ChannelClosedByBroker, match="unknown delivery tag 77"):
            await other.queue_declare("")

    use(broker.url, program)


def test_leaving_a_loop_on_another_loop(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        async with channel.consume(queue) as messages:
            before = channel.consumer_tags
            with pytest.raises(exceptions.ConnectionWrongStateError, match="another thread"):
                await asyncio.get_running_loop().run_in_executor(None, asyncio.run, messages.aclose())
            assert channel.consumer_tags == before
            await fill(connection, queue, 1)
            await (await messages.__anext__()).ack()
        await asyncio.get_running_loop().shutdown_default_executor()

    use(broker.url, program)


def test_a_close_that_is_cancelled_while_nothing_is_read(broker: Broker) -> None:
    """What waited for the handler is dropped, so that others get theirs again."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        handling, many = await connection.channel(), await channel.queue_declare("", exclusive=True)
        for_ever = asyncio.Event()

        async def on_message(*_: object) -> None:
            await for_ever.wait()

        async with aio.connect(broker.url) as other, channel.consume(queue) as messages:
            await fill(connection, many.method.queue, 2500)
            # Nobody waits for an answer when the last of what fills the inbox comes.
            await handling.basic_consume(many.method.queue, on_message)
            await eventually(lambda: not connection._link.stream._transport.is_reading())  # type: ignore[union-attr]
            closing = asyncio.ensure_future(handling.close())
            await asyncio.sleep(0)
            closing.cancel()
            publishing = await other.channel()
            await publishing.basic_publish("", queue, b"body")
            message = await asyncio.wait_for(messages.__anext__(), 10)
            await message.ack()

    use(broker.url, program)


def test_draining_while_another_task_drains(broker: Broker) -> None:
    """What needs no acknowledgement may come until the broker has answered the cancel, whoever has asked for it."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        running: list[bytes] = []
        left: list[int] = []

        async def on_message(_channel: aio.Channel, _method: Any, _properties: Any, body: bytes) -> None:
            running.append(body)
            await asyncio.sleep(0.05)
            running.remove(body)

        async def drain() -> None:
            await connection.drain()
            left.append(len(running))

        await channel.basic_consume(queue, on_message, auto_ack=True)
        await channel.basic_publish("", queue, b"body")
        await asyncio.gather(drain(), drain())
        assert left == [0, 0]

    use(broker.url, program)


def test_a_handler_that_drains_twice_at_a_time(broker: Broker) -> None:
    """The one that gives up does not have the other wait for the handler that both are called by."""

    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        slow, given_up = (await channel.queue_declare("", exclusive=True)).method.queue, asyncio.Event()
        results: list[list[BaseException | None]] = []

        async def wait(*_: object) -> None:
            await given_up.wait()

        async def give_up() -> None:
            try:
                await connection.drain(timeout=0.05)
            finally:
                given_up.set()

        async def on_message(*_: object) -> None:
            drains = asyncio.gather(give_up(), connection.drain(timeout=20), return_exceptions=True)
            results.append(list(await drains))

        await channel.basic_consume(slow, wait, concurrency=2)
        await channel.basic_publish("", slow, b"")
        async with connection.channel() as other:
            await other.basic_consume(queue, on_message)
            await channel.basic_publish("", queue, b"")
            await eventually(lambda: results, 30)
        assert [type(one) for one in results[0]] == [exceptions.AMQPTimeoutError, type(None)]

    use(broker.url, program)


def test_a_failure_that_several_have_given_up_waiting_for() -> None:
    """It is told once, at the end of the block; and not at all when somebody was told of it."""

    def script(session: Session) -> None:
        number = session.open_for_confirms()
        for tag in (1, 2):
            session.expect(spec.Basic.Publish)
            session.expect_content()
            session.send(method(number, spec.Basic.Nack(tag, False, False)))
        session.close_politely()

    async def wait(confirmation: aio.Confirmation) -> None:
        await confirmation

    async def main() -> None:
        parameters = pika.ConnectionParameters("127.0.0.1", peer.port)
        async with aio.connect(parameters) as connection, connection.channel() as channel:
            publisher = channel.publisher()
            for cancelled in (2, 1):
                confirmation = await publisher.send(b"%d" % cancelled, routing_key="queue")
                tasks = [asyncio.ensure_future(wait(confirmation)) for _ in range(2)]
                await asyncio.sleep(0)
                # In the turn of the loop in which its end is known, so that they are woken and cancelled.
                end = confirmation.on_done
                assert end is not None

                def on_done(one: Any, end: Any = end, doomed: Any = tasks[:cancelled]) -> None:
                    end(one)
                    for task in doomed:
                        task.cancel()

                confirmation.on_done = on_done
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert [isinstance(one, asyncio.CancelledError) for one in results].count(True) == cancelled
            with pytest.raises(exceptions.NackError) as caught:
                await publisher.wait()
            assert [message.body for message in caught.value.messages] == [b"2"]

    with scripted_broker(script) as peer:
        run(main)


def test_an_end_behind_that_of_a_consumer_is_told_by_who_waits_for_consumers(caplog: pytest.LogCaptureFixture) -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.expect(spec.Basic.Ack)
        session.send(
            method(number, spec.Basic.Cancel(tag, True)),
            method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)),
        )
        session.expect(spec.Connection.CloseOk)

    async def main() -> None:
        async with aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
            channel = await connection.channel()
            await channel.basic_consume("queue", lambda *_: None)
            await channel.basic_ack(1)
            with pytest.raises(exceptions.ConnectionClosedByBroker):
                await channel.start_consuming()

    with scripted_broker(script) as peer:
        run(main)
    assert not [text for text in caplog.messages if "nobody waits" in text]


def test_loops_that_are_collected_while_their_connection_is_closed(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        async with aio.connect(broker.url) as other:
            looping = await other.channel()
            queue = (await looping.queue_declare("", exclusive=True)).method.queue
            loops = [looping.consume(queue) for _ in range(10)]
            for loop in loops:
                await loop.__aenter__()
            loop = loops[0]

            def collect() -> None:
                if loops:
                    loops.pop()

            with before_line(Link.silence.__code__, None, collect):
                await other.close()
            assert len(loops) < 10

    use(broker.url, program)


@pytest.mark.parametrize("number", range(1, 7))
def test_a_loop_that_is_collected_when_its_inbox_has_become_full(number: int) -> None:
    """Others still get their messages."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.open_channel()
        channel_number, tag = session.accept_consumer()
        other, other_tag = session.accept_consumer()
        session.expect(spec.Basic.Ack)
        session.send(b"".join(delivery(channel_number, tag, one, b"body") for one in range(1, 1101)))
        session.expect(spec.Basic.Cancel)
        session.send(delivery(other, other_tag, 1, b"other"))
        session.close_politely()

    async def main() -> None:
        async with aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
            channel, second = await connection.channel(), await connection.channel()
            loops = [channel.consume("queue", auto_ack=True)]
            await loops[0].__aenter__()
            others = second.consume("other")
            await others.__aenter__()
            inbox = loops[0]._consumer.inbox
            lines: list[None] = []

            def collect() -> None:
                # What has arrived is in the inbox by then, and it is looked at whether that is too much.
                if loops and inbox.holds() and sys._getframe(2).f_locals["event"] is None:
                    lines.append(None)
                    if len(lines) == number:
                        loops.clear()

            await second.basic_ack(1)
            with before_line(ClientSession.take_events.__code__, None, collect):
                await eventually(lambda: not loops)
            message = await asyncio.wait_for(others.__anext__(), 10)
            assert message.body == b"other"

    with scripted_broker(script) as peer:
        run(main)


@pytest.mark.parametrize("what", ["a loop", "a loop that two tasks share"])
def test_a_loop_whose_task_is_destroyed_with_the_event_loop(
    broker: Broker, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more can be sent or woken, and nothing complains but asyncio."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    logging.getLogger("asyncio").disabled = True
    tasks: list[asyncio.Future[Any]] = []

    async def consume(messages: aio.Messages) -> None:
        async for _ in messages:
            pass

    async def main() -> None:
        channel = await (await aio.connect(broker.url)).channel()
        messages = channel.consume((await channel.queue_declare("", exclusive=True)).method.queue)
        for _ in range(2 if "two" in what else 1):
            tasks.append(asyncio.ensure_future(consume(messages)))
        await eventually(lambda: channel.consumer_tags)
        await settle()

    loop = new_loop()
    try:
        loop.run_until_complete(main())
        loop.close()
        tasks.clear()
        with pytest.warns(ResourceWarning):
            del loop
            gc.collect()
    finally:
        logging.getLogger("asyncio").disabled = False
    assert [repr(one.exc_value) for one in unraisable] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_callbacks_of_a_parent_are_not_called_in_a_child(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        called: list[Callable[..., object] | object] = []
        channel.add_on_close_callback(lambda *reason: called.append(reason))
        async with channel.publisher() as publisher:
            confirmation = await publisher.send(b"", routing_key=queue)
            confirmation.add_done_callback(called.append)
            tasks = asyncio.all_tasks()
            child = os.fork()
            if not child:
                own = asyncio.all_tasks(channel._link.loop) - tasks
                os._exit(len(own))
            _, status = os.waitpid(child, 0)
            assert status == 0
        await eventually(lambda: called == [confirmation])

    use(broker.url, program)


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("end", ["broker", "program"])
def test_what_the_broker_has_ended_is_not_handed_out_on_a_dead_channel(
    broker: Broker, end: str, concurrency: int
) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, _queue: str) -> None:
        other = await connection.channel()
        queue = (await channel.queue_declare("")).method.queue
        await fill(connection, queue, 20)
        go_on = asyncio.Event()
        bodies: list[bytes] = []

        async def on_message(_channel: aio.Channel, _method: Any, _properties: Any, body: bytes) -> None:
            bodies.append(body)
            await go_on.wait()

        await other.basic_consume(queue, on_message, concurrency=concurrency)
        await eventually(lambda: len(bodies) == concurrency)
        await channel.queue_delete(queue)
        await eventually(lambda: not other.consumer_tags)
        if end == "broker":
            await other.basic_ack(99)
            await eventually(lambda: other.is_closed)
            go_on.set()
        else:
            closing = asyncio.ensure_future(other.close())
            await asyncio.sleep(0)
            go_on.set()
            await closing
        await settle()
        assert len(bodies) == concurrency

    use(broker.url, program)
