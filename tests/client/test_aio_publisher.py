"""Publishing with pika.aio: each message ends in exactly one way, and it is its own; and messages that are received."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import pika
from pika import aio, exceptions, spec
from tests.support.aio import becomes_ready, eventually, ready, run, settle, take_all, use
from tests.support.bounded import PATIENCE
from tests.support.brokers import at
from tests.support.encoding import Headers, content, method
from tests.support.fates import Fates
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, scripted_broker

NOBODY = "no such queue"


# Publishing


def test_confirmed(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        async with channel.publisher(max_in_flight=10, mandatory=True) as publisher:
            confirmations = [await publisher.send(b"%d" % number, routing_key=queue) for number in range(100)]
            assert publisher.in_flight <= 10
            await confirmations[-1]
            # Published and confirmed, there is nothing to return.
            assert await publisher.publish("text", routing_key=queue) is None  # type: ignore[func-returns-value]
        assert all(confirmation.done() for confirmation in confirmations)
        assert [confirmation.exception() for confirmation in confirmations] == [None] * 100
        assert await ready(channel, queue) == 101

    use(broker.url, program)


def test_returned(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher(mandatory=True)
        properties = pika.BasicProperties(message_id="m")
        lost = await publisher.send("lost", routing_key=NOBODY, properties=properties)
        with pytest.raises(asyncio.InvalidStateError):
            lost.exception()
        await publisher.publish("taken", routing_key=queue)
        with pytest.raises(exceptions.UnroutableError, match=f"routing key {NOBODY!r}: 312 NO_ROUTE") as caught:
            await lost
        (message,) = caught.value.messages
        assert (message.body, message.properties.message_id) == (b"lost", "m")
        assert isinstance(message.method, spec.Basic.Return) and message.method.reply_code == 312
        assert isinstance(lost.exception(), exceptions.UnroutableError)
        with pytest.raises(exceptions.UnroutableError):
            await publisher.publish("lost", routing_key=NOBODY)
        # All were looked at.
        await publisher.wait()

    use(broker.url, program)


def test_what_nobody_has_looked_at_is_raised_once(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, _queue: str) -> None:
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
            async with channel.publisher(mandatory=True) as publisher:
                await publisher.send(b"", routing_key=NOBODY)
                # An error leaves the block as it is.
                raise KeyError

    use(broker.url, program)


def test_callbacks(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        ended: list[aio.Confirmation] = []
        publisher = channel.publisher(mandatory=True)

        async def on_done(confirmation: aio.Confirmation) -> None:
            # It may do anything.
            await channel.queue_declare(queue, passive=True)
            ended.append(confirmation)

        first = await publisher.send(b"", routing_key=queue)
        first.add_done_callback(on_done)
        first.add_done_callback(lambda _: 1 / 0)
        lost = await publisher.send(b"", routing_key=NOBODY)
        lost.add_done_callback(on_done)
        await publisher.wait()
        await eventually(lambda: len(ended) == 2)
        first.add_done_callback(ended.append)
        await eventually(lambda: len(ended) == 3)
        # The broker may confirm the second one before the first.
        assert set(ended[:2]) == {first, lost}
        assert ended[2] is first

    use(broker.url, program)
    assert caplog.text.count("ZeroDivisionError: ") == 1


def test_two_publishers_on_a_channel_and_one_message_by_hand(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        first, second = channel.publisher(), channel.publisher(mandatory=True)
        await channel.confirm_delivery()
        a, b = await first.send(b"a", routing_key=NOBODY), await second.send(b"b", routing_key=NOBODY)
        await channel.basic_publish("", queue, "c")
        with pytest.raises(exceptions.UnroutableError):
            await channel.basic_publish("", NOBODY, "d", mandatory=True)
        await a
        with pytest.raises(exceptions.UnroutableError):
            await b
        await first.wait()
        await second.wait()
        assert await ready(channel, queue) == 1

    use(broker.url, program)


def test_shared_by_tasks(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher(max_in_flight=50)
        seen: list[int] = []

        async def publish(number: int) -> None:
            for _ in range(100):
                if number % 2:
                    await publisher.publish(b"", routing_key=queue)
                else:
                    await publisher.send(b"", routing_key=queue)
                seen.append(publisher.in_flight)

        await asyncio.gather(*(publish(number) for number in range(8)))
        await publisher.wait()
        assert max(seen) <= 50
        assert await ready(channel, queue) == 800

    use(broker.url, program)


def test_the_limit_holds_with_more_tasks_than_it_allows(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher(max_in_flight=5)
        most = 0

        async def publish() -> None:
            nonlocal most
            await publisher.send(b"", routing_key=queue)
            most = max(most, publisher.in_flight)

        await asyncio.gather(*(publish() for _ in range(200)))
        await publisher.wait()
        assert most <= 5
        assert await ready(channel, queue) == 200

    use(broker.url, program)


def test_the_order_is_that_of_the_calls(broker: Broker) -> None:
    """Large and small, confirmed and not: what a task publishes arrives in its order."""

    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher(max_in_flight=7)
        expected = []
        for number in range(300):
            body = b"%d" % number + bytes(200_000 if number % 29 == 0 else 10)
            expected.append(body)
            if number % 3:
                await publisher.send(body, routing_key=queue)
            else:
                await channel.basic_publish("", queue, body)
        await publisher.wait()
        assert await take_all(channel, queue) == expected

    use(broker.url, program)


def test_what_cannot_be_published(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher(max_in_flight=1)
        body: Any = 12
        for publish in (publisher.publish, publisher.send):
            for _ in range(3):
                with pytest.raises(TypeError):
                    await publish(body, routing_key=queue)
                with pytest.raises(exceptions.ShortStringTooLong):
                    await publish(b"", routing_key="x" * 256)
        await publisher.publish(bytearray(b"array"), routing_key=queue)
        await publisher.publish(memoryview(b"view"), routing_key=queue)
        with pytest.raises(ValueError, match="max_in_flight"):
            channel.publisher(max_in_flight=0)

    use(broker.url, program)


def test_arguments_in_the_order_of_basic_publish(broker: Broker) -> None:
    swapped: Any = ("", "jobs", b"body")

    async def program(_connection: aio.Connection, channel: aio.Channel, _queue: str) -> None:
        async with channel.publisher() as publisher:
            for publish in (publisher.publish, publisher.send):
                with pytest.raises(TypeError, match="routing_key must be a str, but got b'body'"):
                    await publish(*swapped)
                with pytest.raises(TypeError, match="exchange must be a str, but got b'body'"):
                    await publish(*swapped[1:])
        assert channel.is_open

    use(broker.url, program)


def test_unknown_when_the_channel_dies(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, _queue: str) -> None:
        publisher = channel.publisher()
        confirmation = await publisher.send(b"body", exchange="no such exchange", routing_key="key")
        with pytest.raises(exceptions.PublishOutcomeUnknown, match="no exchange 'no such exchange'") as caught:
            await confirmation
        assert isinstance(caught.value.__cause__, exceptions.ChannelClosedByBroker)
        assert [message.body for message in caught.value.messages] == [b"body"]
        for publish in (publisher.publish, publisher.send):
            with pytest.raises(exceptions.ChannelWrongStateError):
                await publish(b"")
        # Those did not go out, and are nobody's.
        await publisher.wait()
        assert publisher.in_flight == 0

    use(broker.url, program)


# Against a script


def test_the_end_of_the_channel_within_a_publish_that_is_refused() -> None:
    """Whoever waits for the messages before it is told, and not left to wait for it."""

    def script(session: Session) -> None:
        # The first is never confirmed.
        session.open_for_confirms()
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            channel = await connection.channel()
            publisher = channel.publisher()
            first = await publisher.send(b"first", routing_key="queue")
            waiting = asyncio.ensure_future(publisher.wait())
            await asyncio.sleep(0)
            lost = exceptions.StreamLostError("gone")
            properties = pika.BasicProperties(headers=Headers(lambda: channel._rules.end(lost)))
            with pytest.raises(exceptions.ChannelWrongStateError):
                await publisher.send(b"second", routing_key="queue", properties=properties)
            with pytest.raises(exceptions.PublishOutcomeUnknown, match="gone"):
                await asyncio.wait_for(waiting, PATIENCE)
            assert first.done()
            assert publisher.in_flight == 0

    with scripted_broker(script) as peer:
        run(program)


def test_the_limit_is_kept_and_time_is_bounded() -> None:
    def script(session: Session) -> None:
        number = session.open_for_confirms()
        for _ in range(3):
            session.expect(spec.Basic.Publish)
        # The client says when.
        session.expect(spec.Queue.Declare, spec.Queue.DeclareOk("go on", 0, 0))
        session.send(method(number, spec.Basic.Ack(2, True)))
        session.expect(spec.Basic.Publish)
        session.send(method(number, spec.Basic.Ack(4, True)))
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            channel = await connection.channel()
            publisher = channel.publisher(max_in_flight=3)
            confirmations = [await publisher.send(b"%d" % number) for number in range(3)]
            with pytest.raises(exceptions.AMQPTimeoutError, match="room for a message"):
                await publisher.send(b"too many", timeout=0.05)
            with pytest.raises(exceptions.AMQPTimeoutError, match="room for a message"):
                await publisher.publish(b"too many", timeout=0.05)
            with pytest.raises(exceptions.AMQPTimeoutError, match="confirming all messages"):
                await publisher.wait(timeout=0.05)
            publishing = asyncio.ensure_future(publisher.publish(b"fourth"))
            await settle()
            assert not publishing.done()
            assert not any(confirmation.done() for confirmation in confirmations)
            await channel.queue_declare("go on")
            await publishing
            await publisher.wait()

    with scripted_broker(script) as peer:
        run(program)


def test_ten_thousand_outcomes_each_of_its_own_message() -> None:
    count = 10_000
    fates = Fates(count)

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            publisher = (await connection.channel()).publisher(max_in_flight=1000, mandatory=True)
            confirmations = [await publisher.send(b"%d" % number, routing_key="key") for number in range(count)]
            for number, confirmation in enumerate(confirmations):
                fate = fates.letters[number]
                try:
                    await confirmation
                except (exceptions.NackError, exceptions.UnroutableError) as error:
                    assert type(error) is (exceptions.NackError if fate == "n" else exceptions.UnroutableError)
                    assert [message.body for message in error.messages] == [b"%d" % number]
                else:
                    assert fate == "a"
            await publisher.wait()

    with scripted_broker(fates.script) as peer:
        run(program)


def test_failures_of_all_kinds_at_once() -> None:
    def script(session: Session) -> None:
        number = session.open_for_confirms()
        for _ in range(3):
            session.expect(spec.Basic.Publish)
        returned = spec.Basic.Return(312, "NO_ROUTE", "", "key")
        session.send(
            method(number, spec.Basic.Nack(1)),
            content(number, returned, b"1"),
            method(number, spec.Basic.Ack(2), spec.Channel.Close(406, "PRECONDITION_FAILED - so", 60, 40)),
        )
        session.expect(spec.Channel.CloseOk)
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            publisher = (await connection.channel()).publisher(mandatory=True)
            for number in range(3):
                await publisher.send(b"%d" % number, routing_key="key")
            with pytest.raises(exceptions.PublishOutcomeUnknown) as caught:
                await publisher.wait()
            text = str(caught.value)
            assert [message.body for message in caught.value.messages] == [b"2"]
            for part in ("406", "1 message(s) NACKed", "1 unroutable message(s)"):
                assert part in text

    with scripted_broker(script) as peer:
        run(program)


# Messages


async def received(channel: aio.Channel, queue: str, auto_ack: bool = False) -> aio.Message:
    """Publish a message and get it."""
    properties = pika.BasicProperties(headers={"one": 1}, message_id="m")
    await channel.publisher().publish(b"body", routing_key=queue, properties=properties)
    message = await channel.basic_get(queue, auto_ack)
    assert message is not None
    return message


def test_what_a_message_tells(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        message = await received(channel, queue)
        assert (message.exchange, message.routing_key, message.redelivered) == ("", queue, False)
        assert (message.delivery_tag, message.headers, message.body) == (1, {"one": 1}, b"body")
        basic_get, properties, body = message
        assert isinstance(basic_get, spec.Basic.GetOk)
        assert (properties.message_id, body) == ("m", b"body")
        assert f"routing key {queue!r}, 4 bytes" in repr(message)
        assert await channel.basic_get(queue) is None

    use(broker.url, program)


def test_a_message_is_settled_once(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        message = await received(channel, queue)
        states = [message.is_settled]
        await message.ack()
        assert [*states, message.is_settled] == [False, True]
        for settle_again in (message.ack, message.nack, message.reject):
            with pytest.raises(
                exceptions.MessageSettledError,
                match=r"delivery tag 1 was acknowledged before.* \[\S+:\d+; channel \d+\]$",
            ):
                await settle_again()
        message = await received(channel, queue, auto_ack=True)
        with pytest.raises(exceptions.MessageSettledError, match="auto_ack"):
            await message.ack()
        # Nothing was sent that the broker would close the channel over.
        assert await channel.flow(True)
        for refuse in ("nack", "reject"):
            for requeue, left in ((False, 0), (True, 1)):
                message = await received(channel, queue)
                await getattr(message, refuse)(requeue=requeue)
                await channel.flow(True)
                await becomes_ready(channel, queue, left)
                await channel.queue_purge(queue)
        messages = [await received(channel, queue) for _ in range(3)]
        await messages[1].ack(multiple=True)
        await messages[2].reject(requeue=True)
        await channel.flow(True)
        await becomes_ready(channel, queue, 1)

    use(broker.url, program)


@pytest.mark.parametrize(
    ("error", "requeue", "left"),
    [
        (None, False, 0),
        (ValueError(), False, 0),
        (ValueError(), True, 1),
        (asyncio.CancelledError(), False, 1),
        (KeyboardInterrupt(), False, 1),
    ],
)
def test_processing(broker: Broker, error: BaseException | None, requeue: bool, left: int) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        message = await received(channel, queue)
        try:
            async with message.process(requeue=requeue) as same:
                assert same is message
                if error is not None:
                    raise error
        except BaseException as raised:
            assert raised is error
        assert message.is_settled
        await channel.flow(True)
        await becomes_ready(channel, queue, left)

    use(broker.url, program)


def test_settled_while_it_is_processed(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        message = await received(channel, queue)
        async with message.process(ignore_processed=True):
            await message.reject(requeue=False)
        message = await received(channel, queue)
        with pytest.raises(exceptions.MessageSettledError, match=r"let the block raise, or .*ignore_processed=True"):
            async with message.process():
                await message.ack()
        message = await received(channel, queue)
        with pytest.raises(ValueError):
            async with message.process():
                await message.ack()
                raise ValueError
        assert await channel.flow(True)

    use(broker.url, program)


def test_a_message_of_a_dead_channel(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        other = await connection.channel()
        message = await received(other, queue)
        # What the block raises is what is raised.
        with pytest.raises(ValueError):
            async with message.process():
                await other.close()
                raise ValueError
        with pytest.raises(exceptions.ChannelWrongStateError, match="closed"):
            await message.ack()
        # It was not settled: the broker has it back.
        assert not message.is_settled
        await becomes_ready(channel, queue, 1)

    use(broker.url, program)
    assert "could not be rejected" in caplog.text


def test_a_message_that_is_too_large_for_the_broker_ends_its_channel_alone() -> None:
    """The program learns it, and the connection goes on."""

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Basic.Publish)
        session.send(method(number, spec.Channel.Close(406, "PRECONDITION_FAILED - message size", 60, 40)))
        session.expect(spec.Channel.CloseOk)
        assert session.open_channel() == number
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            channel = await connection.channel()
            await channel.basic_publish("", "queue", bytes(1_000_000))
            await eventually(lambda: channel.is_closed)
            with pytest.raises(exceptions.ChannelClosedByBroker, match="message size"):
                await channel.queue_declare("queue", timeout=PATIENCE)
            await connection.channel(timeout=PATIENCE)

    with scripted_broker(script) as peer:
        run(program)
