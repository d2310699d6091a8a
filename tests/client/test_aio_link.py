"""What is particular to connections on a loop: turns, tasks, what is sent together."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.aio import Channel, Connection, connect
from pika.broker import Broker as EmbeddedBroker
from pika.client import threaded_channel
from tests.support.aio import becomes_ready, eventually, run
from tests.support.bounded import PATIENCE
from tests.support.encoding import method
from tests.support.memory import free_forgotten
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, scripted_broker


def test_awaited_or_entered(broker: Broker) -> None:
    async def main() -> None:
        connection = await connect(broker.url, name="billing")
        assert (connection.is_open, connection.is_closed, connection.is_blocked) == (True, False, False)
        assert connection.name == "billing"
        assert "billing" in repr(connection) and "OPEN" in repr(connection)
        assert "product" in connection.server_properties
        channel = await connection.channel(7, prefetch=3)
        assert (channel.channel_number, channel.connection, channel.is_open) == (7, connection, True)
        async with connection.channel() as other:
            assert other.channel_number == 1
        assert other.is_closed
        async with channel:
            assert "OPEN" in repr(channel)
        assert channel.is_closed
        async with connection:
            assert connection.is_open
        assert connection.is_closed
        async with connect(broker.parameters()) as connection:
            assert connection.name is None
        assert connection.is_closed

    run(main)


def test_the_words_are_those_of_the_client_for_threads() -> None:
    """What is new has a reason: an iteration is no generator, and a publisher is not awaited."""
    for ours, theirs in ((Connection, pika.Connection), (Channel, threaded_channel.Channel)):
        names = {name for name in dir(theirs) if not name.startswith("_")}
        assert names <= set(dir(ours))
        for name in names - {"basic_consume", "publisher", "channel"}:
            parameters: Any = getattr(theirs, name)
            if callable(parameters):
                expected = list(inspect.signature(parameters).parameters)
                assert list(inspect.signature(getattr(ours, name)).parameters) == expected, name


def test_callbacks_are_functions_or_coroutine_functions(caplog: pytest.LogCaptureFixture) -> None:
    called: list[tuple[str, Any]] = []

    async def on_blocked(connection: Connection, method: Any) -> None:
        # It may do anything, and the others wait for it.
        async with connection.channel() as channel:
            await channel.queue_declare("")
        called.append(("blocked", method.reason))

    async def main() -> None:
        with EmbeddedBroker() as broker:
            connection = await connect(broker.url)
            connection.add_on_connection_blocked_callback(on_blocked)
            connection.add_on_connection_unblocked_callback(lambda *_: 1 / 0)
            connection.add_on_connection_unblocked_callback(lambda *_: called.append(("unblocked", None)))
            connection.add_on_close_callback(lambda _, reason: called.append(("closed", type(reason))))
            channel = await connection.channel()
            channel.add_on_close_callback(lambda one, _: called.append(("channel", one)))
            broker.block()
            await channel.basic_publish("", "nobody", b"")
            await eventually(lambda: connection.is_blocked)
            broker.unblock()
            await eventually(lambda: len(called) == 2)
            assert not connection.is_blocked
            await connection.close(timeout=PATIENCE)
        assert [what for what, _ in called] == ["blocked", "unblocked", "channel", "closed"]
        assert called[3] == ("closed", exceptions.ConnectionClosedByClient)
        assert caplog.text.count("ZeroDivisionError") == 1

    run(main)


class Writes:
    """Counts what asyncio is given to write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from asyncio import selector_events

        self.sizes: list[int] = []
        kind: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]  # the one that loops have
        write = kind.write

        def counted(transport: Any, data: bytes) -> None:
            self.sizes.append(len(data))
            write(transport, data)

        monkeypatch.setattr(kind, "write", counted)


def test_what_tasks_send_in_one_turn_goes_out_together(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            publisher = channel.publisher()
            await publisher.publish(b"first", routing_key=queue)
            writes = Writes(monkeypatch)
            await asyncio.gather(*(publisher.publish(b"%d" % number, routing_key=queue) for number in range(50)))
            # The first one finds nobody else waiting, and is sent at once.
            assert len(writes.sizes) <= 2
            writes.sizes.clear()
            for _ in range(10):
                await channel.basic_publish("", queue, b"")
            assert writes.sizes == []
            await asyncio.sleep(0)
            assert len(writes.sizes) == 1
            writes.sizes.clear()
            count = 0
            async with channel.consume(queue) as messages:
                async for message in messages:
                    if not count:
                        # What comes one by one is acknowledged one by one: all have come behind the second answer.
                        await becomes_ready(channel, queue, 0)
                        await channel.flow(True)
                        writes.sizes.clear()
                    await message.ack()
                    count += 1
                    if count == 61:
                        break
            assert len(writes.sizes) < 20
            monkeypatch.undo()

    run(main)


def test_others_have_their_turn_while_somebody_publishes(broker: Broker) -> None:
    async def main() -> None:
        async with connect(broker.url) as connection, connection.channel() as channel:
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.ensure_future(count())
            for _ in range(1000):
                await channel.basic_publish("", "nobody", b"")
            assert turns >= 10
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(publish_for_ever(channel), 0.05)
            counting.cancel()

    async def publish_for_ever(channel: Channel) -> None:
        while True:
            await channel.basic_publish("", "nobody", b"")

    run(main)


def test_a_task_factory_that_begins_at_once(broker: Broker) -> None:
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
            return asyncio.Task(coro, loop=loop, **options)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        async with connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            bodies: list[bytes] = []

            async def on_message(channel: Channel, method: Any, _properties: Any, body: bytes) -> None:
                await channel.basic_ack(method.delivery_tag)
                bodies.append(body)

            await channel.basic_consume(queue, on_message, concurrency=5)
            for number in range(100):
                await channel.basic_publish("", queue, b"%d" % number)
            await eventually(lambda: len(bodies) == 100)
            await connection.drain()

    run(main)


def forced(session: Session) -> None:
    """Close the connection, and hang up over what the client goes on sending."""
    session.open()
    session.open_channel()
    session.expect(spec.Basic.Publish)
    session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)))


def test_the_reason_of_the_broker_is_told_though_sending_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        connection = await connect(pika.ConnectionParameters("127.0.0.1", peer.port))
        channel = await connection.channel()
        with pytest.raises(exceptions.ChannelWrongStateError) as caught:
            while True:
                await channel.basic_publish("", "queue", bytes(30_000))
        assert isinstance(caught.value.__cause__, exceptions.ConnectionClosedByBroker)
        await connection.close()

    with scripted_broker(forced) as peer:
        run(main)
    # Once, and nothing of the writes that have failed.
    (record,) = caplog.records
    assert "The connection has ended, and nobody waits who could be told: (320, " in record.getMessage()


def forget(things: list[Any]) -> None:
    things.clear()
    free_forgotten()


def test_from_the_garbage_of_another_thread(broker: Broker) -> None:
    """An iteration that is dropped elsewhere is left on its loop."""

    async def main() -> None:
        async with connect(broker.url) as connection, connection.channel(prefetch=10) as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            for _ in range(10):
                await channel.basic_publish("", queue, b"")
            messages = [channel.consume(queue)]
            message = await messages[0].__anext__()
            thread = threading.Thread(target=forget, args=(messages,))
            thread.start()
            thread.join()
            await eventually(lambda: not channel.consumer_tags)
            await message.ack()
            count = 0
            while count < 9:
                # A pause may be longer than that when the machine is busy.
                async for _ in channel.consume(queue, auto_ack=True, timeout=0.5):
                    count += 1
            assert count == 9

    run(main)
