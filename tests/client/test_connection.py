"""A connection: how it is made, what it tells, and what its calls raise."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.client.threaded_channel import Channel
from pika.credentials import PlainCredentials
from tests.support.bounded import PATIENCE, Running, eventually
from tests.support.brokers import Target, at
from tests.support.encoding import content, method
from tests.support.peer import free_port
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import START, TUNE, Session, scripted_broker
from tests.support.threaded import ready, waits


def test_parameters_of_every_form(broker: Broker) -> None:
    parameters = pika.URLParameters(broker.url)
    nobody = f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F"
    for where in (broker.url, parameters, [nobody, broker.url], (at(free_port()), parameters)):
        with pika.connect(where) as connection:
            assert connection.is_open
            assert isinstance(connection, pika.Connection)
        assert connection.is_closed
        assert not connection.is_open


def test_what_is_no_place() -> None:
    with pytest.raises(TypeError, match=r"takes an AMQP URL, .* but got int"):
        pika.connect(5672)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="but got NoneType"):
        pika.connect(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="but got bytes"):
        pika.connect([b"amqp://"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"takes an AMQP URL, .* but got dict"):
        pika.connect({"host": "localhost"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="non-empty"):
        pika.connect([])


@pytest.mark.parametrize("given", [("guest", "secret"), "secret", lambda: ("guest", "secret")])
def test_what_is_no_credentials(broker: Broker, given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"takes as credentials pika\.PlainCredentials .* but got (tuple|str)"
    ) as caught:
        pika.connect(broker.url, credentials=given)
    assert "secret" not in str(caught.value)


def test_nobody_there() -> None:
    with pytest.raises(exceptions.AMQPConnectionError, match="TCP connection: Connection refused"):
        pika.connect(at(free_port()))


def test_a_wrong_password(broker: Broker) -> None:
    with pytest.raises(exceptions.ProbableAuthenticationError):
        pika.connect(broker.url, credentials=PlainCredentials("guest", "wrong"))


def test_a_broker_that_does_not_answer() -> None:
    with scripted_broker(Session.hold) as peer, pytest.raises(exceptions.AMQPConnectionError, match="stack_timeout"):
        pika.connect(at(peer.port, stack_timeout=0.3))


def test_the_name(broker: Broker) -> None:
    properties: list[Any] = []

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, START))
        properties.append(session.expect(spec.Connection.StartOk, TUNE).method.client_properties)
        session.expect(spec.Connection.TuneOk)
        session.expect(spec.Connection.Open, spec.Connection.OpenOk())
        session.close_politely()

    with (
        scripted_broker(script) as peer,
        pika.connect(at(peer.port, client_properties={"mine": 1}), name="billing") as connection,
    ):
        assert connection.name == "billing"
        assert "'billing' to 127.0.0.1" in repr(connection)
        assert connection.server_properties["product"] == "Script"
    assert properties[0]["connection_name"] == "billing"
    assert properties[0]["mine"] == 1


def test_credentials_are_asked_for_at_each_attempt(broker: Broker) -> None:
    asked: list[PlainCredentials] = []

    def provide() -> PlainCredentials:
        asked.append(PlainCredentials("guest", "guest" if len(asked) else "expired"))
        return asked[-1]

    parameters = pika.URLParameters(broker.url)
    parameters.connection_attempts, parameters.retry_delay = 2, 0
    with pika.connect(parameters, credentials=provide):
        assert len(asked) == 2


def test_a_provider_that_raises(broker: Broker) -> None:
    def provide() -> PlainCredentials:
        raise LookupError("no token")

    with pytest.raises(LookupError, match="no token"):
        pika.connect(broker.url, credentials=provide)


def test_a_new_secret(connection: pika.Connection) -> None:
    connection.update_secret("guest", "renewed", timeout=PATIENCE)
    assert connection.is_open


def test_channels(connection: pika.Connection) -> None:
    with connection.channel() as first, connection.channel(7) as seventh:
        assert (first.channel_number, seventh.channel_number) == (1, 7)
        assert first.connection is connection
        assert first.is_open
        with pytest.raises(exceptions.InvalidChannelNumber):
            connection.channel(7)
        assert "Channel 7 OPEN of <Connection" in repr(seventh)
    assert first.is_closed
    first.close()
    with connection.channel() as again:
        assert again.channel_number == 1
    with pytest.raises(exceptions.ChannelWrongStateError, match="closed"):
        first.queue_declare("")


def test_what_is_refused_while_it_is_open_tells_no_end() -> None:
    """The first call after the end still says why it ended."""

    def script(session: Session) -> None:
        session.open(spec.Connection.Tune(1, 131072, 0))
        session.open_channel()
        session.expect(spec.Queue.Declare, spec.Queue.DeclareOk("queue", 0, 0))
        session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)))
        session.expect(spec.Connection.CloseOk)

    with scripted_broker(script) as peer:
        connection = pika.connect(at(peer.port))
        channel = connection.channel()
        with pytest.raises(exceptions.NoFreeChannels):
            connection.channel()
        channel.queue_declare("queue")
        eventually(lambda: not connection.is_open)
        with pytest.raises(exceptions.ConnectionClosedByBroker):
            connection.channel()


def test_the_end_is_told(connection: pika.Connection) -> None:
    told: list[Any] = []
    channel = connection.channel()
    connection.add_on_close_callback(lambda *arguments: told.append(arguments))
    channel.add_on_close_callback(lambda *arguments: told.append(arguments))
    connection.close(320, "enough")
    connection.close()
    # They have been called when close() returns.
    assert [whom for whom, _ in told] == [channel, connection]
    for _, reason in told:
        assert isinstance(reason, (exceptions.ConnectionClosedByClient, exceptions.ChannelClosedByClient))
        assert (reason.reply_code, reason.reply_text) == (320, "enough")
    for call in (connection.channel, lambda: connection.update_secret("", ""), lambda: connection.drain()):
        with pytest.raises(exceptions.ConnectionWrongStateError):
            call()


def test_a_channel_that_the_broker_closes(channel: Channel) -> None:
    told: list[Any] = []
    channel.add_on_close_callback(lambda *arguments: told.append(arguments))
    with pytest.raises(exceptions.ChannelClosedByBroker, match="404"):
        channel.queue_declare("no such queue", passive=True)
    eventually(lambda: told)
    ((whom, reason),) = told
    assert whom is channel
    assert isinstance(reason, exceptions.ChannelClosedByBroker)


def test_what_comes_back(channel: Channel) -> None:
    returned: list[Any] = []
    channel.add_on_return_callback(lambda *arguments: returned.append(arguments))
    channel.basic_publish("", "no such queue", b"body", mandatory=True)
    eventually(lambda: returned)
    ((whom, basic_return, _properties, body),) = returned
    assert (whom, basic_return.reply_code, body) == (channel, 312, b"body")


def test_callbacks_are_checked(connection: pika.Connection, channel: Channel) -> None:
    for add in (
        connection.add_on_close_callback,
        connection.add_on_connection_blocked_callback,
        connection.add_on_connection_unblocked_callback,
        channel.add_on_close_callback,
        channel.add_on_cancel_callback,
        channel.add_on_return_callback,
    ):
        with pytest.raises(TypeError, match="callable"):
            add(None)  # type: ignore[arg-type]


def test_a_coroutine_function_is_no_handler(channel: Channel) -> None:
    async def on_message(*_: object) -> None:
        """Do nothing: nobody would await it."""

    with pytest.raises(TypeError, match=r"plain functions; pika[.]aio takes coroutine functions"):
        channel.basic_consume("queue", on_message)
    assert channel.is_open
    assert not channel.consumer_tags


def test_an_alarm(target: Target) -> None:
    told: list[str] = []
    with pika.connect(target.url) as connection:
        connection.add_on_connection_blocked_callback(
            lambda who, blocked: told.append(f"{who is connection} {blocked.reason}")
        )
        connection.add_on_connection_unblocked_callback(lambda who, _unblocked: told.append(f"{who is connection}"))
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        publisher = channel.publisher()
        publisher.publish(b"", routing_key=queue).result()
        target.raise_alarm()
        # The first one is still read.
        publisher.publish(b"", routing_key=queue)
        eventually(lambda: connection.is_blocked)
        held = publisher.publish(b"", routing_key=queue)
        with pytest.raises(exceptions.AMQPTimeoutError, match="the broker has blocked it: low on memory"):
            held.result(timeout=0.1)
        target.clear_alarm()
        held.result(timeout=PATIENCE)
        assert not connection.is_blocked
        eventually(lambda: len(told) == 2)
        assert told == ["True low on memory", "True"]


def test_an_alarm_that_lasts(target: Target) -> None:
    with pika.connect(target.parameters(blocked_connection_timeout=3)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        publisher = channel.publisher()
        target.raise_alarm()
        publisher.publish(b"", routing_key=queue)
        eventually(lambda: connection.is_blocked or connection.is_closed)
        confirmation = publisher.publish(b"", routing_key=queue)
        with pytest.raises(exceptions.PublishOutcomeUnknown, match="Blocked connection timeout expired") as caught:
            confirmation.result()
        reason = caught.value.__cause__
        assert isinstance(reason, exceptions.ConnectionBlockedTimeout)
        assert re.search(r"\[\S+:\d+; .*blocked for [0-9.]+ seconds: low on memory; see the broker's", str(reason))


def test_publishing_more_than_the_network_takes(target: Target) -> None:
    """Who publishes waits; heartbeats, reading and other calls go on."""
    with pika.connect(target.url) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        body, before = b"x" * 1_000_000, 0
        target.raise_alarm()
        with pytest.raises(exceptions.AMQPTimeoutError, match=r"sending was not over within 0.2 seconds"):
            while before < 100:
                channel.basic_publish("", queue, body, timeout=0.2)
                before += 1

        def publish() -> None:
            for _ in range(3):
                channel.basic_publish("", queue, body)

        publishing = Running(publish)
        eventually(lambda: waits(publishing.thread))
        target.clear_alarm()
        publishing.result()
        # What found no room is not among them. RabbitMQ may answer before it has put everything into the queue.
        eventually(lambda: ready(channel, queue) == before + 3)


def test_time_is_bounded() -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Queue.Declare)
        session.expect(spec.Exchange.Declare)
        # Late, but it is the answer to the second one that somebody waits for.
        session.send(method(number, spec.Queue.DeclareOk("late", 0, 0), spec.Exchange.DeclareOk()))
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(at(peer.port)) as connection:
        channel = connection.channel()
        with pytest.raises(exceptions.AMQPTimeoutError, match=r"queue.declare on channel 1 .* within 0.05 seconds"):
            channel.queue_declare("late", timeout=0.05)
        channel.exchange_declare("exchange", timeout=PATIENCE)
        assert channel.is_open


def test_a_message_that_comes_too_late_goes_back() -> None:
    rejected, late = threading.Event(), threading.Event()

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Basic.Get)
        assert late.wait(PATIENCE)
        session.send(content(number, spec.Basic.GetOk(5, False, "", "queue", 0), b"body"))
        found = session.expect(spec.Basic.Reject)
        assert (found.method.delivery_tag, found.method.requeue) == (5, True)
        rejected.set()
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(at(peer.port)) as connection:
        channel = connection.channel()
        with pytest.raises(exceptions.AMQPTimeoutError, match=r"basic\.get"):
            channel.basic_get("queue", timeout=0.05)
        late.set()
        assert rejected.wait(PATIENCE)


def test_a_channel_that_is_opened_too_late_is_closed() -> None:
    late = threading.Event()

    def script(session: Session) -> None:
        session.open()
        asked = session.expect(spec.Channel.Open)
        assert late.wait(PATIENCE)
        session.send(method(asked.channel_number, spec.Channel.OpenOk()))
        session.expect(spec.Channel.Close, spec.Channel.CloseOk())
        assert session.open_channel() == 1
        session.close_politely()

    with scripted_broker(script) as peer, pika.connect(at(peer.port)) as connection:
        with pytest.raises(exceptions.AMQPTimeoutError, match=r"channel\.open"):
            connection.channel(timeout=0.05)
        late.set()
        eventually(lambda: not connection._link.channels)
        connection.channel(1)


def test_the_broker_closes_while_many_wait() -> None:
    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        for _ in range(5):
            session.expect(spec.Queue.Declare)
        session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0)))
        session.expect(spec.Connection.CloseOk)

    with scripted_broker(script) as peer:
        connection = pika.connect(at(peer.port))
        channel = connection.channel()
        waiting = [Running(lambda: channel.queue_declare("q")) for _ in range(5)]
        raised = []
        for one in waiting:
            with pytest.raises(exceptions.ConnectionClosedByBroker, match="CONNECTION_FORCED") as caught:
                one.result()
            raised.append(caught.value)
        # Each has one of its own, with its own traceback.
        assert len({id(error) for error in raised}) == 5
        connection.close()


def test_a_function_that_chooses_the_heartbeat_can_look_at_the_connection(broker: Broker) -> None:
    seen: list[object] = []

    def choose(connection: pika.Connection, proposed: int) -> int:
        seen.extend((repr(connection), connection.is_open, connection.is_closed, connection.is_blocked))
        return 17

    parameters = pika.URLParameters(broker.url)
    parameters.heartbeat = choose
    with pika.connect(parameters, name="curious") as connection:
        assert seen == ["<Connection 'curious' CONNECTING>", False, False, False]
        assert connection.is_open
        assert re.fullmatch(r"<Connection 'curious' to \S+ OPEN>", repr(connection))


def test_what_can_be_no_credentials_is_refused_before_anything_else() -> None:
    # Nobody listens there: it does not come to that.
    for refused in (5, "guest:guest"):
        with pytest.raises(TypeError, match=f"takes as credentials .* but got {type(refused).__name__}"):
            pika.connect(at(free_port()), credentials=refused)  # type: ignore[arg-type]


def test_what_cannot_be_called_back_is_refused(connection: pika.Connection) -> None:
    with pytest.raises(TypeError, match=r"^callback must be callable, but got 5$"):
        connection.add_on_close_callback(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^on_message_callback must be callable, but got None$"):
        connection.channel().basic_consume("q", None)  # type: ignore[arg-type]
