"""A connection of pika.aio: how it is made, what it tells, and what its calls raise."""

from __future__ import annotations

import asyncio
import copy
import re
import subprocess
import sys
from typing import Any

import pytest

import pika
from pika import aio, exceptions, frame, spec
from pika.credentials import PlainCredentials
from pika.transport.errors import DialError
from tests.support.aio import eventually, run, settle, use
from tests.support.bounded import PATIENCE
from tests.support.brokers import Target, at
from tests.support.encoding import content, method
from tests.support.peer import free_port
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import START, TUNE, Session, scripted_broker


async def connected(*arguments: Any, **options: Any) -> None:
    """Connect and close."""
    await (await aio.connect(*arguments, **options)).close()


# Making it


def test_used_before_it_is_open(broker: Broker) -> None:
    hint = r"not open yet: write `await aio\.connect\(\.\.\.\)` or `async with aio\.connect\(\.\.\.\)`"
    opening: Any = aio.connect("amqp://guest:secret@localhost:5671/%2F")
    assert repr(opening) == "<Opening of a connection to localhost:5671; await it, or enter it with async with>"
    with pytest.raises(AttributeError, match=r"channel.*" + hint):
        opening.channel()
    with pytest.raises(TypeError, match=hint), opening:
        raise AssertionError
    # As those who look for what something can do expect it.
    assert not hasattr(opening, "close")
    assert repr(copy.copy(opening)) == repr(opening)

    async def program(connection: aio.Connection, _channel: aio.Channel, _queue: str) -> None:
        opening: Any = connection.channel()
        assert (
            repr(opening) == f"<Opening of a channel of {connection._link.peer}; await it, or enter it with async with>"
        )
        with pytest.raises(AttributeError, match=r"basic_publish.*`await connection\.channel\(\.\.\.\)`"):
            await opening.basic_publish("", "queue", b"")

    use(broker.url, program)


def test_parameters_of_every_form(broker: Broker) -> None:
    async def program() -> None:
        parameters = pika.URLParameters(broker.url)
        nobody = f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F"
        for where in (broker.url, parameters, [nobody, broker.url], (at(free_port()), parameters)):
            async with aio.connect(where) as connection:
                assert connection.is_open
                assert isinstance(connection, aio.Connection)
            assert connection.is_closed
            assert not connection.is_open
        connection = await aio.connect(parameters)
        async with connection as same:
            assert same is connection
        assert connection.is_closed

    run(program)


@pytest.mark.parametrize(
    ("where", "error", "text"),
    [
        (5672, TypeError, r"takes an AMQP URL, .* but got int"),
        (None, TypeError, r"takes an AMQP URL, .* but got NoneType"),
        ([b"amqp://"], TypeError, "but got bytes"),
        ({"host": "localhost"}, TypeError, r"takes an AMQP URL, .* but got dict"),
        ([], ValueError, "non-empty"),
    ],
)
def test_what_is_no_place(where: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        run(lambda: connected(where))


def test_nobody_there() -> None:
    with pytest.raises(exceptions.AMQPConnectionError, match=r"TCP connection: .*"):
        run(lambda: connected(at(free_port())))
    ports = [free_port(), free_port()]
    with pytest.raises(DialError) as caught:
        run(lambda: connected([at(port) for port in ports]))
    for port in ports:
        assert f"127.0.0.1:{port}" in str(caught.value)


def test_a_wrong_password(broker: Broker) -> None:
    with pytest.raises(exceptions.ProbableAuthenticationError):
        run(lambda: connected(broker.url, credentials=PlainCredentials("guest", "wrong")))


@pytest.mark.parametrize("given", [("guest", "secret"), "secret", lambda: ("guest", "secret")])
def test_what_is_no_credentials(broker: Broker, given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"takes as credentials pika\.PlainCredentials .* but got (tuple|str)"
    ) as caught:
        run(lambda: connected(broker.url, credentials=given))
    assert "secret" not in str(caught.value)


def test_a_broker_that_does_not_answer() -> None:
    with scripted_broker(Session.hold) as peer:
        with pytest.raises(exceptions.AMQPConnectionError, match="stack_timeout"):
            run(lambda: connected(at(peer.port, stack_timeout=0.3)))
        with pytest.raises(asyncio.TimeoutError):
            run(lambda: asyncio.wait_for(connected(at(peer.port)), 0.1))


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_credentials_are_asked_for_at_each_attempt(broker: Broker, kind: str) -> None:
    asked: list[PlainCredentials] = []

    def provide() -> PlainCredentials:
        asked.append(PlainCredentials("guest", "guest" if len(asked) else "expired"))
        return asked[-1]

    async def provide_later() -> PlainCredentials:
        await asyncio.sleep(0.01)
        return provide()

    parameters = pika.URLParameters(broker.url)
    parameters.connection_attempts, parameters.retry_delay = 2, 0
    run(lambda: connected(parameters, credentials=provide if kind == "function" else provide_later))
    assert len(asked) == 2


def test_a_provider_that_raises(broker: Broker) -> None:
    async def provide() -> PlainCredentials:
        raise LookupError("no token")

    with pytest.raises(LookupError, match="no token"):
        run(lambda: connected(broker.url, credentials=provide))


def test_many_at_once(broker: Broker) -> None:
    async def program() -> None:
        connections = await asyncio.gather(*(open_one(number) for number in range(30)))
        assert all(connection.is_open for connection in connections)
        await asyncio.gather(*(connection.close() for connection in connections))

    async def open_one(number: int) -> aio.Connection:
        return await aio.connect(broker.url, name=f"number {number}")

    run(program)


def test_loading_pika_loads_no_asyncio() -> None:
    program = """
import sys, pika
pika.connect, pika.BlockingConnection
assert "asyncio" not in sys.modules
assert callable(pika.aio.connect)
assert "asyncio" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# What it tells


def test_the_name() -> None:
    properties: list[Any] = []

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, START))
        properties.append(session.expect(spec.Connection.StartOk, TUNE).method.client_properties)
        session.expect(spec.Connection.TuneOk)
        session.expect(spec.Connection.Open, spec.Connection.OpenOk())
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port, client_properties={"mine": 1}), name="billing") as connection:
            assert connection.name == "billing"
            assert "'billing' to 127.0.0.1" in repr(connection)
            assert connection.server_properties["product"] == "Script"

    with scripted_broker(script) as peer:
        run(program)
    assert properties[0]["connection_name"] == "billing"
    assert properties[0]["mine"] == 1


def test_channels(broker: Broker) -> None:
    async def program(connection: aio.Connection, own: aio.Channel, _queue: str) -> None:
        async with connection.channel() as second, connection.channel(7) as seventh:
            assert (own.channel_number, second.channel_number, seventh.channel_number) == (1, 2, 7)
            assert second.connection is connection
            assert second.is_open
            with pytest.raises(exceptions.InvalidChannelNumber):
                await connection.channel(7)
            assert "Channel 7 OPEN of <Connection" in repr(seventh)
        assert second.is_closed
        await second.close()
        async with connection.channel() as again:
            assert again.channel_number == 2
        with pytest.raises(exceptions.ChannelWrongStateError, match="closed"):
            await second.queue_declare("")
        with pytest.raises(exceptions.ChannelWrongStateError):
            await second.basic_publish("", "queue", b"")
        with pytest.raises(exceptions.ChannelWrongStateError):
            await second.basic_ack(1)

    use(broker.url, program)


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_the_end_is_told(broker: Broker, kind: str) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, _queue: str) -> None:
        told: list[Any] = []

        async def tell_later(*arguments: Any) -> None:
            await asyncio.sleep(0.01)
            told.append(arguments)

        for whom in (connection, channel):
            add: Any = whom.add_on_close_callback
            add(tell_later if kind == "coroutine function" else lambda *arguments: told.append(arguments))
        await connection.close(320, "enough")
        await connection.close()
        # They have been called when close() returns.
        assert [whom for whom, _ in told] == [channel, connection]
        for _, reason in told:
            assert isinstance(reason, (exceptions.ConnectionClosedByClient, exceptions.ChannelClosedByClient))
            assert (reason.reply_code, reason.reply_text) == (320, "enough")
        for call in (_open(connection), connection.update_secret("", ""), connection.drain()):
            with pytest.raises(exceptions.ConnectionWrongStateError):
                await call

    use(broker.url, program)


async def _open(connection: aio.Connection) -> None:
    await connection.channel()


def test_what_the_broker_tells(broker: Broker) -> None:
    async def program(_connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        returned: list[Any] = []
        closed: list[Any] = []
        channel.add_on_return_callback(lambda *arguments: returned.append(arguments))
        channel.add_on_close_callback(lambda *arguments: closed.append(arguments))
        await channel.basic_publish("", "no such queue", b"body", mandatory=True)
        await eventually(lambda: returned)
        ((whom, basic_return, _properties, body),) = returned
        assert (whom, basic_return.reply_code, body) == (channel, 312, b"body")
        with pytest.raises(exceptions.ChannelClosedByBroker, match="404"):
            await channel.queue_declare("no such queue", passive=True)
        await eventually(lambda: closed)
        ((whom, reason),) = closed
        assert whom is channel
        assert isinstance(reason, exceptions.ChannelClosedByBroker)

    use(broker.url, program)


def test_callbacks_are_checked(broker: Broker) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        confirmation = await channel.publisher().send(b"", routing_key=queue)
        for add in (
            connection.add_on_close_callback,
            connection.add_on_connection_blocked_callback,
            connection.add_on_connection_unblocked_callback,
            channel.add_on_close_callback,
            channel.add_on_cancel_callback,
            channel.add_on_return_callback,
            confirmation.add_done_callback,
        ):
            with pytest.raises(TypeError, match="callable"):
                add(None)  # type: ignore[arg-type]

    use(broker.url, program)


# An alarm


def test_an_alarm(target: Target) -> None:
    async def program(connection: aio.Connection, channel: aio.Channel, queue: str) -> None:
        publisher = channel.publisher()
        await publisher.publish(b"", routing_key=queue)
        target.raise_alarm()
        # The first one is still read.
        await publisher.send(b"", routing_key=queue)
        await eventually(lambda: connection.is_blocked)
        held = await publisher.send(b"", routing_key=queue)
        with pytest.raises(exceptions.AMQPTimeoutError, match="the broker has blocked it: low on memory"):
            await publisher.publish(b"", routing_key=queue, timeout=0.1)
        target.clear_alarm()
        await held
        assert not connection.is_blocked

    use(target.url, program)


def test_an_alarm_that_lasts(target: Target) -> None:
    async def program() -> None:
        async with aio.connect(target.parameters(blocked_connection_timeout=0.2)) as connection:
            channel = await connection.channel()
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            publisher = channel.publisher()
            await publisher.publish(b"", routing_key=queue)
            target.raise_alarm()
            await publisher.send(b"", routing_key=queue)
            confirmation = await publisher.send(b"body", routing_key=queue)
            with pytest.raises(exceptions.PublishOutcomeUnknown, match="Blocked connection timeout expired") as caught:
                await confirmation
            reason = caught.value.__cause__
            assert isinstance(reason, exceptions.ConnectionBlockedTimeout)
            assert re.search(r"\[\S+:\d+; .*blocked for [0-9.]+ seconds: low on memory; see the broker's", str(reason))

    run(program)


# Against a script


def test_time_is_bounded() -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Queue.Declare)
        session.expect(spec.Exchange.Declare)
        # Late, but it is the answer to the second one that somebody waits for.
        session.send(method(number, spec.Queue.DeclareOk("late", 0, 0), spec.Exchange.DeclareOk()))
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            channel = await connection.channel()
            with pytest.raises(exceptions.AMQPTimeoutError, match=r"queue.declare on channel 1 .* within 0.05 seconds"):
                await channel.queue_declare("late", timeout=0.05)
            await channel.exchange_declare("exchange", timeout=PATIENCE)
            assert channel.is_open

    with scripted_broker(script) as peer:
        run(program)


def test_a_message_that_comes_too_late_goes_back() -> None:
    rejected: list[tuple[int, bool]] = []

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Basic.Get)
        # The client says that its time is over.
        session.open_channel()
        session.send(content(number, spec.Basic.GetOk(5, False, "", "queue", 0), b"body"))
        found = session.expect(spec.Basic.Reject)
        rejected.append((found.method.delivery_tag, found.method.requeue))
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            channel = await connection.channel()
            with pytest.raises(exceptions.AMQPTimeoutError, match=r"basic\.get"):
                await channel.basic_get("queue", timeout=0.05)
            await connection.channel()
            await eventually(lambda: rejected)

    with scripted_broker(script) as peer:
        run(program)
    assert rejected == [(5, True)]


def test_a_channel_that_is_opened_too_late_is_closed() -> None:
    def script(session: Session) -> None:
        session.open()
        late = session.expect(spec.Channel.Open).channel_number
        assert session.open_channel() == 2
        session.send(method(late, spec.Channel.OpenOk()))
        session.expect(spec.Channel.Close, spec.Channel.CloseOk())
        assert session.open_channel() == 1
        session.close_politely()

    async def program() -> None:
        async with aio.connect(at(peer.port)) as connection:
            with pytest.raises(exceptions.AMQPTimeoutError, match=r"channel\.open"):
                await connection.channel(timeout=0.05)
            await connection.channel(timeout=PATIENCE)
            while True:
                try:
                    channel = await connection.channel(1, timeout=PATIENCE)
                    break
                except exceptions.InvalidChannelNumber:
                    await asyncio.sleep(0.01)
            assert channel.is_open

    with scripted_broker(script) as peer:
        run(program)


def test_the_broker_closes_while_many_wait() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        for _ in range(5):
            session.expect(spec.Queue.Declare)
        session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0)))
        session.expect(spec.Connection.CloseOk)

    async def program() -> None:
        connection = await aio.connect(at(peer.port))
        channel = await connection.channel()
        raised = await asyncio.gather(*(channel.queue_declare("q") for _ in range(5)), return_exceptions=True)
        for error in raised:
            assert isinstance(error, exceptions.ConnectionClosedByBroker), error
            assert "CONNECTION_FORCED" in str(error)
        # Each has one of its own, with its own traceback.
        assert len({id(error) for error in raised}) == 5
        await connection.close()

    with scripted_broker(script) as peer:
        run(program)


def test_an_end_that_nobody_waited_for_is_told_by_the_first_call() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0)))
        session.expect(spec.Connection.CloseOk)

    async def program() -> None:
        connection = await aio.connect(at(peer.port))
        channel = await connection.channel()
        await eventually(lambda: connection.is_closed)
        with pytest.raises(exceptions.ConnectionClosedByBroker, match="CONNECTION_FORCED"):
            await channel.queue_declare("q")
        with pytest.raises(exceptions.ChannelWrongStateError):
            await channel.queue_declare("q")
        await settle()
        await connection.close()

    with scripted_broker(script) as peer:
        run(program)


def test_heartbeats_before_the_connection_is_open() -> None:
    """A broker that takes long to open the virtual host wants to hear that the client lives."""
    beats: list[frame.Heartbeat] = []

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, START))
        session.expect(spec.Connection.StartOk, spec.Connection.Tune(2047, 131072, 2))
        session.expect(spec.Connection.TuneOk)
        session.expect(spec.Connection.Open)
        beats.append(session.receive())
        session.send(method(0, spec.Connection.OpenOk()))
        session.close_politely()

    async def program() -> None:
        parameters = pika.ConnectionParameters("127.0.0.1", peer.port, heartbeat=2)
        async with aio.connect(parameters) as connection:
            assert connection.is_open

    with scripted_broker(script) as peer:
        run(program)
    assert isinstance(beats[0], frame.Heartbeat)


def test_a_function_that_chooses_the_heartbeat_can_look_at_the_connection(broker: Broker) -> None:
    seen: list[object] = []

    def choose(connection: aio.Connection, proposed: int) -> int:
        seen.extend((repr(connection), connection.is_open, connection.is_closed, connection.is_blocked))
        return 17

    async def program() -> None:
        parameters = pika.URLParameters(broker.url)
        parameters.heartbeat = choose
        async with aio.connect(parameters, name="curious") as connection:
            assert seen == ["<Connection 'curious' CONNECTING>", False, False, False]
            assert connection.is_open
            assert re.fullmatch(r"<Connection 'curious' to \S+ OPEN>", repr(connection))

    run(program)


def test_what_can_be_no_credentials_is_refused_before_anything_else() -> None:
    for refused in (5, "guest:guest"):
        with pytest.raises(TypeError, match=f"takes as credentials .* but got {type(refused).__name__}"):
            aio.connect(at(free_port()), credentials=refused)  # type: ignore[arg-type]
