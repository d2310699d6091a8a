"""A task of pika.aio is cancelled wherever it waits: the connection goes on, and no message is lost or left behind."""

from __future__ import annotations

import asyncio
import functools
import itertools
import uuid
from typing import Any, Callable

import pytest

import pika
from pika import aio, exceptions, spec
from tests.support.aio import eventually, run, settle, take_all
from tests.support.bounded import PATIENCE, bounded
from tests.support.encoding import content, method
from tests.support.ledger import LARGE, Ledger, Witness
from tests.support.memory import free_forgotten
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, delivery, scripted_broker
from tests.support.stepping import MOMENTS, Stepped

# What is cut short


async def on_a_channel(channel: aio.Channel, ledger: Ledger) -> None:
    """Everything that a channel does, one thing after the other."""
    await channel.queue_declare("", exclusive=True)
    async with channel.publisher(max_in_flight=2, mandatory=True) as publisher:
        for _ in range(2):
            await ledger.publish(publisher)
        for _ in range(3):
            await ledger.send(publisher)
        await (await ledger.send(publisher))
    count = 0
    async for message in channel.consume(ledger.queue, timeout=PATIENCE):
        await ledger.work(message)
        count += 1
        if count == 2:
            break
    async with channel.consume(ledger.queue) as messages:
        await ledger.work(await messages.__anext__())
    async for _ in channel.consume("nothing comes", timeout=0.01):
        raise AssertionError
    got = await channel.basic_get(ledger.queue)
    if got is not None:
        await ledger.work(got)
    await channel.basic_publish("", "nothing comes", LARGE)
    assert await channel.flow(True)
    await handle(channel, ledger)


async def handle(channel: aio.Channel, ledger: Ledger) -> None:
    publisher = channel.publisher()
    tag = ""
    try:
        tag = await channel.basic_consume(ledger.queue, ledger.on_message, consumer_tag="handler")
        await ledger.publish(publisher)
        await channel.start_consuming(timeout=0.01)
        await channel.stop_consuming(tag)
    finally:
        if tag:
            await channel.basic_cancel(tag)


async def of_its_own(connection: aio.Connection, ledger: Ledger) -> None:
    """Everything, on a channel that is opened for it and closed."""
    async with connection.channel(prefetch=3) as channel:
        await on_a_channel(channel, ledger)


async def confirmed_one_by_one(connection: aio.Connection, ledger: Ledger) -> None:
    """Publishing as pika's BlockingConnection does it, and a handler that is left to the end of the channel."""
    async with connection.channel() as channel:
        await channel.confirm_delivery()
        await channel.basic_consume(ledger.queue, ledger.on_message, concurrency=2)
        for number in range(3):
            body = b"by itself %d" % number
            ledger.tried.add(body)
            await channel.basic_publish("", ledger.queue, body, mandatory=True)
            ledger.confirmed.add(body)
        await asyncio.sleep(0)
        await connection.drain(timeout=PATIENCE)


Program = Callable[[aio.Connection, Ledger], Any]
PROGRAMS: list[Program] = [of_its_own, confirmed_one_by_one]


# What is seen afterwards


async def check(connection: aio.Connection, ledger: Ledger, witness: Witness) -> None:
    """The connection is as good as before, and each message is where it belongs while it is open."""
    assert connection.is_open
    await connection.drain(timeout=PATIENCE)
    await ledger.look_at_what_was_sent()
    # What was cut short in the middle of the end of a channel comes to its end by itself.
    while True:
        async with connection.channel(timeout=PATIENCE) as channel:
            await channel.flow(True)
            if channel.channel_number == 1:
                break
    ledger.reconcile(witness.take_all(ledger.queue))


async def cut_short(program: Program, step: int, moment: str, url: str, witness: Witness) -> bool:
    """Run a program up to a point, and see what has become of everything; returns whether there was such a point."""
    ledger = Ledger(witness.new_queue())
    async with aio.connect(url) as connection:
        stepped = Stepped(program(connection, ledger), step, moment)
        task = asyncio.ensure_future(_finish(stepped))
        (ended,), _ = await asyncio.wait([task], timeout=PATIENCE)
        assert ended.cancelled() or ended.result() is None
        await check(connection, ledger, witness)
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return stepped.came


async def _finish(stepped: Stepped[Any]) -> None:
    await stepped


@pytest.mark.parametrize("kind", ["asyncio", pytest.param("uvloop", marks=pytest.mark.slow)])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_cancelled_wherever_it_waits(program: Program, moment: str, kind: str, url: str) -> None:
    with Witness(url) as witness:
        for step in itertools.count():
            try:
                attempt = functools.partial(cut_short, program, step, moment, url, witness)
                if not run(attempt, kind=kind):
                    break
            except BaseException as error:
                raise AssertionError(f"cancelled {moment} at the wait number {step}: {error!r}") from error
    # It is cut short in between, and not only at its ends.
    assert step > 8


# On a channel that goes on


async def the_loop(channel: aio.Channel, ledger: Ledger) -> None:
    async for message in channel.consume(ledger.queue, timeout=0.05):
        await ledger.work(message)


async def the_object(channel: aio.Channel, ledger: Ledger) -> None:
    async with channel.consume(ledger.queue) as messages:
        for _ in range(3):
            await ledger.work(await messages.__anext__())


async def one(channel: aio.Channel, ledger: Ledger) -> None:
    message = await channel.basic_get(ledger.queue)
    assert message is not None
    await ledger.work(message)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("part", [the_loop, the_object, one, handle])
def test_what_is_cut_short_goes_back_while_the_channel_goes_on(
    part: Callable[[aio.Channel, Ledger], Any], moment: str, url: str
) -> None:
    async def program(step: int) -> bool:
        ledger = Ledger(witness.new_queue())
        async with aio.connect(url) as connection, connection.channel() as channel:
            async with channel.publisher() as publisher:
                for _ in range(5):
                    await ledger.publish(publisher)
            stepped = Stepped(part(channel, ledger), step, moment)
            task = asyncio.ensure_future(_finish(stepped))
            await asyncio.wait([task], timeout=PATIENCE)
            assert task.cancelled() or task.result() is None
            # It keeps the error, and on PyPy the frames of that keep what they looped over.
            del task
            free_forgotten()
            # Nothing is consumed any more; what the channel still does comes before the answer.
            answer = await channel.queue_declare(ledger.queue, passive=True, timeout=PATIENCE)
            await eventually(lambda: not channel.consumer_tags)
            await channel.flow(True, timeout=PATIENCE)
            answer = await channel.queue_declare(ledger.queue, passive=True, timeout=PATIENCE)
            assert answer.method.consumer_count == 0
            await channel.flow(True, timeout=PATIENCE)
            ledger.reconcile(witness.take_all(ledger.queue))
        return stepped.came

    with Witness(url) as witness:
        for step in itertools.count():
            try:
                if not run(lambda step=step: program(step)):  # type: ignore[misc]
                    break
            except BaseException as error:
                raise AssertionError(f"cancelled {moment} at the wait number {step}: {error!r}") from error
    assert step > 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_connecting_is_cut_short(url: str, moment: str) -> None:
    """Nothing stays of a connection that nobody has got."""
    queue = f"aio-{uuid.uuid4().hex}"

    async def connect() -> None:
        async with aio.connect(url, name="cut short") as connection, connection.channel() as channel:
            await channel.queue_declare(queue, exclusive=True)

    async def program(step: int) -> bool:
        stepped = Stepped(connect(), step, moment)
        task = asyncio.ensure_future(_finish(stepped))
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.cancelled() or task.result() is None
        await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        # An exclusive queue goes with its connection.
        while True:
            async with aio.connect(url) as other, other.channel() as channel:
                try:
                    await channel.queue_declare(queue, exclusive=True)
                    return stepped.came
                except exceptions.ChannelClosedByBroker as error:
                    assert error.reply_code == 405

    for step in itertools.count():
        try:
            if not run(lambda step=step: program(step)):  # type: ignore[misc]
                break
        except BaseException as error:
            raise AssertionError(f"cancelled {moment} at the wait number {step}: {error!r}") from error
    assert step > 2


@pytest.mark.parametrize("how", ["loop", "handler", "get"])
def test_what_came_together_with_the_answer_goes_back(how: str) -> None:
    """The task is cancelled when answer and messages are there, and it has seen neither."""
    rejected: list[tuple[int, bool]] = []

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        if how == "get":
            session.expect(spec.Basic.Get)
            session.send(content(number, spec.Basic.GetOk(1, False, "", "queue", 0), b"body"))
        else:
            asked = session.expect(spec.Basic.Consume)
            messages = [delivery(number, "tag", tag, b"body") for tag in (1, 2)]
            session.send(method(number, spec.Basic.ConsumeOk("tag")), *messages)
            assert asked.method.consumer_tag == "tag"
        for _ in range(1 if how == "get" else 2):
            back = session.expect(spec.Basic.Reject).method
            rejected.append((back.delivery_tag, back.requeue))
        session.close_politely()

    async def program() -> None:
        async with aio.connect(pika.ConnectionParameters("127.0.0.1", peer.port)) as connection:
            channel = await connection.channel()
            handled: list[object] = []
            calls: dict[str, Callable[[], Any]] = {
                "loop": lambda: channel.consume("queue", consumer_tag="tag").__anext__(),
                "handler": lambda: channel.basic_consume("queue", lambda *_: handled.append(1), consumer_tag="tag"),
                "get": lambda: channel.basic_get("queue"),
            }
            task = asyncio.ensure_future(_finish(Stepped(calls[how](), 0, "answered")))
            await asyncio.wait([task], timeout=PATIENCE)
            assert task.cancelled()
            await eventually(lambda: len(rejected) == (1 if how == "get" else 2))
            assert handled == []

    with scripted_broker(script) as peer:
        run(program)
    assert rejected == [(1, True), (2, True)][: len(rejected)]


# Others


def test_those_who_wait_beside_it_get_their_own_answers(broker: Broker) -> None:
    async def program() -> None:
        async with aio.connect(broker.url) as connection, connection.channel() as channel:

            async def declare(number: int) -> None:
                name = f"aio-{number}-{uuid.uuid4().hex}"
                answer = await channel.queue_declare(name, exclusive=True)
                assert answer.method.queue == name

            for turns in range(5):
                tasks = [asyncio.ensure_future(declare(number)) for number in range(12)]
                await settle(turns)
                for task in tasks[::3]:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                assert [end for number, end in enumerate(ends) if number % 3] == [None] * 8

    run(program)


def test_those_who_publish_beside_it_are_confirmed(broker: Broker) -> None:
    async def program() -> None:
        async with aio.connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            publisher = channel.publisher(max_in_flight=3, mandatory=True)

            async def publish(number: int) -> int:
                await publisher.publish(b"%d" % number, routing_key=queue)
                return number

            for turns in range(5):
                tasks = [asyncio.ensure_future(publish(number)) for number in range(20)]
                await settle(turns)
                for task in tasks[::4]:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                assert [end for number, end in enumerate(ends) if number % 4] == [n for n in range(20) if n % 4]
                await publisher.wait(timeout=PATIENCE)
                got = await take_all(channel, queue)
                # What was cancelled before there was room for it was never published.
                assert {b"%d" % n for n in range(20) if n % 4} <= set(got) and len(set(got)) == len(got)

    run(program)


def test_timeouts_of_asyncio(broker: Broker) -> None:
    async def program() -> None:
        async with aio.connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            messages = channel.consume(queue)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(messages.__anext__(), 0.05)
            await channel.flow(True)
            assert (await channel.queue_declare(queue, passive=True)).method.consumer_count == 0
            await channel.basic_publish("", queue, b"after")
            message = await asyncio.wait_for(channel.consume(queue).__anext__(), PATIENCE)
            assert message.body == b"after"
            await message.ack()

    run(program)


def test_a_call_that_is_cut_short_may_be_made_again(broker: Broker) -> None:
    """The late answer of the first is not taken for that of the second."""

    async def program() -> None:
        async with aio.connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            for number in range(50):
                await channel.basic_publish("", queue, b"%d" % number)
                get = asyncio.ensure_future(channel.basic_get(queue))
                await settle(number % 5)
                get.cancel()
                try:
                    first = await get
                except asyncio.CancelledError:
                    first = None
                again = first
                while again is None:
                    again = await channel.basic_get(queue)
                assert again.body == b"%d" % number
                await again.ack()
            assert (await channel.queue_declare(queue, passive=True)).method.message_count == 0

    run(program)


def test_cancelling_a_program_that_is_run_by_asyncio(broker: Broker) -> None:
    """As by Ctrl-C: everything is cancelled at once, and nothing complains."""

    async def serve(url: str, ready: asyncio.Event) -> None:
        async with aio.connect(url) as connection, connection.channel(prefetch=10) as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue

            async def on_message(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, _body: bytes) -> None:
                await own.basic_ack(method.delivery_tag)
                ready.set()

            async def produce() -> None:
                async with channel.publisher() as publisher:
                    while True:
                        await publisher.send(b"body", routing_key=queue)

            await channel.basic_consume(queue, on_message, concurrency=3)
            await asyncio.gather(produce(), produce(), channel.start_consuming())

    async def program() -> None:
        ready = asyncio.Event()
        task = asyncio.ensure_future(serve(broker.url, ready))
        await asyncio.wait_for(ready.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    bounded(lambda: run(program))
