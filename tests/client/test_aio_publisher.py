"""Publishing with confirms on pika.aio: each message ends in exactly one way, and it is its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pika import exceptions, spec
from pika.aio import Confirmation, connect
from tests.support.aio import eventually, run
from tests.support.encoding import method
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, scripted_broker

NOBODY = "no such queue"


def test_outcomes(broker: Broker) -> None:
    async def main() -> None:
        async with connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            async with channel.publisher(max_in_flight=10, mandatory=True) as publisher:
                await publisher.publish("text", routing_key=queue)
                with pytest.raises(exceptions.UnroutableError, match=f"routing key {NOBODY!r}: 312 NO_ROUTE") as caught:
                    await publisher.publish(b"lost", routing_key=NOBODY)
                assert [message.body for message in caught.value.messages] == [b"lost"]
                taken = await publisher.send(b"taken", routing_key=queue)
                lost = await publisher.send(b"lost", routing_key=NOBODY)
                with pytest.raises(asyncio.InvalidStateError):
                    lost.exception()
                await taken
                await taken
                assert taken.done() and taken.exception() is None
                for _ in range(2):
                    with pytest.raises(exceptions.UnroutableError):
                        await lost
                assert isinstance(lost.exception(), exceptions.UnroutableError)
            with pytest.raises(TypeError):
                await publisher.publish(5, routing_key=queue)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="max_in_flight"):
                channel.publisher(max_in_flight=0)
            assert (await channel.queue_declare(queue, passive=True)).method.message_count == 2

    run(main)


def test_what_nobody_has_looked_at_is_raised_once(broker: Broker) -> None:
    async def main() -> None:
        async with connect(broker.url) as connection, connection.channel() as channel:
            with pytest.raises(exceptions.UnroutableError) as caught:
                async with channel.publisher(mandatory=True) as publisher:
                    for number in range(3):
                        await publisher.send(b"%d" % number, routing_key=NOBODY)
                    looked_at = await publisher.send(b"3", routing_key=NOBODY)
                    with pytest.raises(exceptions.UnroutableError):
                        await looked_at
            assert [message.body for message in caught.value.messages] == [b"0", b"1", b"2"]
            await publisher.wait()
            with pytest.raises(KeyError):
                async with publisher:
                    await publisher.send(b"", routing_key=NOBODY)
                    raise KeyError

    run(main)


def test_callbacks(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ended: list[Confirmation] = []
        async with connect(broker.url) as connection, connection.channel() as channel:
            publisher = channel.publisher(mandatory=True)

            async def on_done(confirmation: Confirmation) -> None:
                async with connection.channel():
                    ended.append(confirmation)

            lost = await publisher.send(b"", routing_key=NOBODY)
            lost.add_done_callback(on_done)
            lost.add_done_callback(lambda _: 1 / 0)
            lost.add_done_callback(ended.append)
            await publisher.wait()
            await eventually(lambda: len(ended) == 2)
            lost.add_done_callback(ended.append)
            await eventually(lambda: len(ended) == 3)
            assert ended == [lost] * 3
            with pytest.raises(TypeError):
                lost.add_done_callback(None)  # type: ignore[arg-type]
        assert caplog.text.count("ZeroDivisionError") == 1

    run(main)


def test_shared_by_tasks(broker: Broker) -> None:
    async def main() -> None:
        async with connect(broker.url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            async with channel.publisher(max_in_flight=7) as publisher:

                async def publish(number: int) -> None:
                    for _ in range(30):
                        if number % 2:
                            await publisher.publish(b"", routing_key=queue)
                        else:
                            await publisher.send(b"", routing_key=queue)
                        assert publisher.in_flight <= 7

                await asyncio.gather(*map(publish, range(10)))
            assert (await channel.queue_purge(queue)).method.message_count == 300

    run(main)


def test_confirms_one_by_one(broker: Broker) -> None:
    returned: list[Any] = []

    async def main() -> None:
        async with connect(broker.url) as connection, connection.channel() as channel:
            channel.add_on_return_callback(lambda *content: returned.append(content))
            await channel.confirm_delivery()
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            await channel.basic_publish("", queue, "c", mandatory=True)
            with pytest.raises(exceptions.UnroutableError):
                await channel.basic_publish("", NOBODY, b"d", mandatory=True)
            await eventually(lambda: returned)
            assert returned[0][0] is channel and returned[0][3] == b"d"
            with pytest.raises(exceptions.ChannelClosedByBroker):
                await channel.queue_declare(NOBODY, passive=True)
            with pytest.raises(exceptions.ChannelWrongStateError):
                await channel.basic_publish("", queue, b"")
            with pytest.raises(exceptions.ChannelWrongStateError):
                await channel.publisher().send(b"", routing_key=queue)

    run(main)


def silent(session: Session) -> None:
    """Refuse the first of two messages, say nothing of the other, and close the channel over the third one."""
    session.open()
    session.open_channel()
    session.expect(spec.Confirm.Select)
    session.send(method(1, spec.Confirm.SelectOk()))
    for _ in range(2):
        session.expect(spec.Basic.Publish)
    session.send(method(1, spec.Basic.Nack(1)))
    session.expect(spec.Basic.Publish)
    session.send(method(1, spec.Channel.Close(541, "INTERNAL_ERROR", 0, 0)))
    session.expect(spec.Channel.CloseOk)
    session.close_politely()


def test_nacked_and_unknown() -> None:
    async def main(url: str) -> None:
        async with connect(url) as connection, connection.channel() as channel:
            publisher = channel.publisher(max_in_flight=2)
            first = await publisher.send(b"0")
            with pytest.raises(exceptions.AMQPTimeoutError, match="publisher confirm"):
                await publisher.publish(b"1", timeout=0.01)
            with pytest.raises(exceptions.NackError):
                await first
            third = await publisher.send(b"2")
            with pytest.raises(exceptions.PublishOutcomeUnknown) as caught:
                await third
            assert isinstance(caught.value.__cause__, exceptions.ChannelClosedByBroker)
            # The one that took too long was looked at in its time.
            await publisher.wait()

    with scripted_broker(silent) as peer:
        run(lambda: main(f"amqp://127.0.0.1:{peer.port}"))
