"""How a BlockingConnection dies: each way has its class, and a text that names host, phase and cause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.transport.errors import AMQPConnectorStackTimeout
from tests.support.bounded import until_it_raises
from tests.support.certificates import Authority
from tests.support.encoding import content, method, raw_frame
from tests.support.interrupt import Interruption
from tests.support.peer import Peer
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import START, TUNE, Session, delivery, scripted_broker
from tests.support.signals import alarm, needs_alarms

CLOSE = spec.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0)
Script = Callable[[Session], object]


def parameters(peer: Peer, **options: Any) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(peer.host, peer.port, **options)


def failure_to_connect(script: Script, **options: Any) -> tuple[exceptions.AMQPError, str]:
    """Connect to a script, and return what that raises, with the address that its text must name."""
    with scripted_broker(script) as peer:
        with pytest.raises(exceptions.AMQPError) as caught:
            pika.BlockingConnection(parameters(peer, **options))
        return caught.value, f"{peer.host}:{peer.port}"


# During the handshake


def until_start(session: Session) -> None:
    session.expect_header()
    session.send(method(0, START))
    session.expect(spec.Connection.StartOk)


def until_tune(session: Session) -> None:
    until_start(session)
    session.send(method(0, TUNE))
    session.expect(spec.Connection.Open)


def after(prefix: Script, *data: bytes) -> Script:
    """A script that goes on with `prefix`, sends data, and waits for the client to go."""

    def script(session: Session) -> None:
        prefix(session)
        session.send(*data)
        session.hold()

    return script


WAITING_FOR_START = "waiting for connection.start"
AUTHENTICATION = "authentication"
VIRTUAL_HOST = "virtual host"

HEADER: Script = Session.expect_header
UNKNOWN_METHOD = raw_frame(1, 0, b"\x00\x63\x00\x63")
OVERSIZED = b"\x01\x00\x00\xff\xff\xff\xff"
GARBAGE = b"no frame at all."


def reset_on_header(session: Session) -> None:
    session.expect_header()
    session.peer.reset()


def cut_off_tune(session: Session) -> None:
    until_start(session)
    session.send(method(0, TUNE)[:-3])


HANDSHAKE_DEATHS: dict[str, tuple[Script, type[exceptions.AMQPError], str, str]] = {
    "http": (after(HEADER, b"HTTP/1.1 400 Bad Request\r\n\r\n"), exceptions.IncompatibleProtocolError, "HTTP/1.1", ""),
    "hangs up": (lambda session: session.expect_header(), exceptions.IncompatibleProtocolError, "EOF", ""),
    "resets": (reset_on_header, exceptions.IncompatibleProtocolError, "[Rr]eset|EOF", ""),
    "amqp 1.0": (after(HEADER, b"AMQP\x00\x01\x00\x00"), exceptions.IncompatibleProtocolError, r"AMQP 1\.0\.0", ""),
    "a tls alert": (after(HEADER, b"\x15\x03\x01\x00\x02\x02\x46"), exceptions.IncompatibleProtocolError, "TLS", ""),
    "amqp 0-8": (
        after(HEADER, method(0, spec.Connection.Start(0, 8, {}, "PLAIN", "en_US"))),
        exceptions.ProtocolVersionMismatch,
        "version_minor=8",
        WAITING_FOR_START,
    ),
    "no mechanism": (
        after(HEADER, method(0, spec.Connection.Start(0, 9, {}, "EXTERNAL", "en_US"))),
        exceptions.AuthenticationError,
        "PLAIN",
        WAITING_FOR_START,
    ),
    "closes first": (
        after(HEADER, method(0, spec.Connection.Close(541, "INTERNAL_ERROR", 0, 0))),
        exceptions.IncompatibleProtocolError,
        "541.*INTERNAL_ERROR",
        WAITING_FOR_START,
    ),
    "tune first": (after(HEADER, method(0, TUNE)), exceptions.IncompatibleProtocolError, "Connection.Tune", ""),
    "hangs up on start-ok": (until_start, exceptions.ProbableAuthenticationError, "EOF", AUTHENTICATION),
    "refuses the user": (
        after(until_start, method(0, spec.Connection.Close(403, "ACCESS_REFUSED - no", 0, 0))),
        exceptions.ProbableAuthenticationError,
        "403.*ACCESS_REFUSED - no",
        AUTHENTICATION,
    ),
    "garbage for tune": (
        after(until_start, GARBAGE),
        exceptions.ProbableAuthenticationError,
        "frame type 110",
        AUTHENTICATION,
    ),
    "an oversized frame": (
        after(until_start, OVERSIZED),
        exceptions.ProbableAuthenticationError,
        "4,294,967,295",
        AUTHENTICATION,
    ),
    "an unknown method": (
        after(until_start, UNKNOWN_METHOD),
        exceptions.ProbableAuthenticationError,
        "class 99",
        AUTHENTICATION,
    ),
    "a frame without end": (
        after(until_start, raw_frame(1, 0, b"", end=7)),
        exceptions.ProbableAuthenticationError,
        "octet 7",
        AUTHENTICATION,
    ),
    "a cut off tune": (
        cut_off_tune,
        exceptions.ProbableAuthenticationError,
        "EOF",
        AUTHENTICATION,
    ),
    "a truncated tune": (
        after(until_start, raw_frame(1, 0, method(0, TUNE)[7:-3])),
        exceptions.ProbableAuthenticationError,
        "Tune",
        AUTHENTICATION,
    ),
    "tiny frames": (
        after(until_start, method(0, spec.Connection.Tune(0, 100, 0))),
        exceptions.ProbableAuthenticationError,
        "frame_max",
        AUTHENTICATION,
    ),
    "a channel": (
        after(until_start, method(1, spec.Channel.OpenOk())),
        exceptions.ProbableAuthenticationError,
        "channel 1",
        AUTHENTICATION,
    ),
    "hangs up on open": (until_tune, exceptions.ProbableAccessDeniedError, "EOF", VIRTUAL_HOST),
    "refuses the virtual host": (
        after(until_tune, method(0, spec.Connection.Close(530, "NOT_ALLOWED - no", 0, 0))),
        exceptions.ProbableAccessDeniedError,
        "530.*NOT_ALLOWED - no",
        VIRTUAL_HOST,
    ),
    "garbage for open-ok": (
        after(until_tune, GARBAGE),
        exceptions.ProbableAccessDeniedError,
        "frame type 110",
        VIRTUAL_HOST,
    ),
}


@pytest.mark.parametrize("name", HANDSHAKE_DEATHS)
def test_a_handshake_that_fails(name: str) -> None:
    script, kind, cause, phase = HANDSHAKE_DEATHS[name]
    error, address = failure_to_connect(script)
    assert type(error) is kind
    for words in (re.escape(address), cause, phase, "handshake"):
        assert re.search(words, str(error)), (words, str(error))


@pytest.mark.parametrize(
    ("script", "phase"),
    [
        (lambda session: session.hold(), WAITING_FOR_START),
        (after(until_start), AUTHENTICATION),
        (after(until_tune), VIRTUAL_HOST),
        (after(until_start, method(0, TUNE)[:-1]), AUTHENTICATION),
    ],
)
def test_a_handshake_that_stops(script: Script, phase: str) -> None:
    error, address = failure_to_connect(script, stack_timeout=1.5)
    assert isinstance(error, exceptions.AMQPConnectionError)
    assert isinstance(error, AMQPConnectorStackTimeout)
    for words in (address, phase, "stack_timeout of 1.5 seconds"):
        assert words in str(error)


def test_tls_on_a_plain_port_and_plain_on_a_tls_port(tmp_path: Path, broker: Broker) -> None:
    authority = Authority(tmp_path)
    options = pika.SSLOptions(authority.client_context(), "localhost")
    with pytest.raises(exceptions.AMQPConnectionError, match="TLS") as caught:
        pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, ssl_options=options))
    assert f"{broker.host}:{broker.port}" in str(caught.value)
    context = authority.server_context(authority.issue("server"))
    with scripted_broker(lambda session: session.open(), tls=context) as peer:
        # Whether its alert, which says that it speaks TLS, is there before the reset is the operating system's affair.
        with pytest.raises(exceptions.IncompatibleProtocolError) as plain:
            pika.BlockingConnection(parameters(peer, stack_timeout=60))
        assert f"{peer.host}:{peer.port}" in str(plain.value)


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.expect(spec.Queue.Declare, spec.Queue.DeclareOk("queue", 3, 0))
        session.expect(spec.Basic.Publish)
        properties, body = session.expect_content()
        asked = session.expect(spec.Basic.Get)
        session.send(content(asked.channel_number, spec.Basic.GetOk(1, False, "", "queue", 0), body, properties))
        session.close_politely()

    with scripted_broker(script, tls=authority.server_context(authority.issue("server"))) as peer:
        options = pika.SSLOptions(authority.client_context(), "localhost")
        with pika.BlockingConnection(parameters(peer, ssl_options=options)) as connection:
            channel = connection.channel()
            assert channel.queue_declare("queue").method.message_count == 3
            body = bytes(3 << 20)
            channel.basic_publish("", "queue", body, pika.BasicProperties(type="kind"))
            _, properties, received = channel.basic_get("queue")
            assert properties is not None and (properties.type, received) == ("kind", body)


def test_the_smallest_frames() -> None:
    """A broker that tunes to AMQP's minimum of 4,096 octets gets no larger frame."""
    largest = 0

    def script(session: Session) -> None:
        nonlocal largest
        session.open(spec.Connection.Tune(10, 4096, 0))
        number = session.open_channel()
        session.expect(spec.Basic.Publish)
        received = 0
        while received < 10_000:
            piece = session.receive()
            if isinstance(piece, frame.Body):
                received += len(piece.fragment)
                largest = max(largest, len(piece.marshal()))
        session.expect(spec.Basic.Get)
        session.send(content(number, spec.Basic.GetOk(1, False, "", "", 0), bytes(10_000), frame_max=4096))
        session.close_politely()

    with scripted_broker(script) as peer, pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        channel.basic_publish("", "queue", bytes(10_000))
        assert channel.basic_get("queue")[2] == bytes(10_000)
    assert largest == 4096


# Later


def opened(then: Script) -> Script:
    """A script that lets the client connect and open a channel, and goes on."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        then(session)

    return script


WAITING_CALLS: dict[str, Any] = {
    "declare": lambda connection, channel: channel.queue_declare("queue"),
    "get": lambda connection, channel: channel.basic_get("queue"),
    "consume": lambda connection, channel: channel.basic_consume("queue", print),
    "generator": lambda connection, channel: next(channel.consume("queue")),
    "confirm": lambda connection, channel: channel.confirm_delivery(),
    "channel": lambda connection, channel: connection.channel(),
    "close the channel": lambda connection, channel: channel.close(),
    "process_data_events": lambda connection, channel: connection.process_data_events(None),
    "sleep": lambda connection, channel: connection.sleep(60),
    "update_secret": lambda connection, channel: connection.update_secret("new", "why"),
    "publish": lambda connection, channel: until_it_raises(lambda: channel.basic_publish("", "queue", b"body")),
    "acknowledge": lambda connection, channel: until_it_raises(lambda: channel.basic_ack(1)),
}


def closes(session: Session) -> None:
    session.send(method(0, CLOSE))
    session.expect(spec.Connection.CloseOk)


def reset(session: Session) -> None:
    session.send(method(1, spec.Queue.DeclareOk("queue", 0, 0))[:9])
    session.peer.reset()


DEATHS: dict[str, tuple[Script, type[exceptions.AMQPError], str]] = {
    "connection.close": (closes, exceptions.ConnectionClosedByBroker, "320.*CONNECTION_FORCED - bye"),
    "end of file": (lambda session: None, exceptions.StreamLostError, "EOF|[Rr]eset|Broken pipe"),
    "reset inside a frame": (reset, exceptions.StreamLostError, "[Rr]eset|Broken pipe"),
    "garbage": (lambda session: session.send(GARBAGE * 2), exceptions.StreamLostError, "frame type 110|[Rr]eset"),
    "an unknown method": (
        lambda session: session.send(raw_frame(1, 1, b"\x00\x63\x00\x63")),
        exceptions.StreamLostError,
        "class 99|[Rr]eset",
    ),
}


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("call", WAITING_CALLS)
def test_a_call_that_waits_ends_with_the_reason(call: str, death: str) -> None:
    dies, kind, cause = DEATHS[death]

    def script(session: Session) -> None:
        if call not in ("process_data_events", "sleep"):
            session.receive()
        dies(session)

    with scripted_broker(opened(script)) as peer:
        connection = pika.BlockingConnection(parameters(peer))
        channel = connection.channel()
        with pytest.raises(exceptions.AMQPError) as caught:
            WAITING_CALLS[call](connection, channel)
        assert type(caught.value) is kind
        for words in (f"{peer.host}:{peer.port}", cause, "open connection"):
            assert re.search(words, str(caught.value)), (words, str(caught.value))
        assert connection.is_closed and channel.is_closed and not connection.is_open
        with pytest.raises(exceptions.ChannelWrongStateError, match=cause):
            channel.queue_declare("queue")
        with pytest.raises(ValueError, match=cause) as later:
            connection.process_data_events()
        assert isinstance(later.value, exceptions.ConnectionWrongStateError)


def test_a_published_message_without_a_confirm() -> None:
    """The connection dies behind the publish: the reason is raised, not success."""

    def script(session: Session) -> None:
        session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
        session.expect(spec.Basic.Publish)
        session.expect_content()

    with scripted_broker(opened(script)) as peer:
        channel = pika.BlockingConnection(parameters(peer)).channel()
        channel.confirm_delivery()
        with pytest.raises(exceptions.StreamLostError):
            channel.basic_publish("", "queue", b"body")


def test_a_channel_that_the_broker_closes_inside_a_body() -> None:
    def script(session: Session) -> None:
        number, tag = session.accept_consumer()
        session.send(
            method(number, spec.Basic.Deliver(tag, 1, False, "", "queue")),
            frame.encode_header(number, 100, spec.BasicProperties()),
            raw_frame(spec.FRAME_BODY, number, bytes(40)),
            method(number, spec.Channel.Close(406, "stop", 0, 0)),
        )
        session.expect(spec.Channel.CloseOk)
        session.open_channel()
        session.expect(spec.Queue.Declare, spec.Queue.DeclareOk("queue", 0, 0))
        session.close_politely()

    with scripted_broker(opened(script)) as peer, pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        channel.basic_consume("queue", lambda *message: pytest.fail("half a message"))
        # Either while it waits, or, when consume-ok came along with it, as a refusal that names it.
        with pytest.raises(exceptions.AMQPChannelError, match="stop"):
            channel.start_consuming()
        assert connection.channel().queue_declare("queue").method.queue == "queue"


def ends_behind_deliveries(session: Session, end: str) -> None:
    """Send three deliveries and an end in one piece."""
    number, tag = session.accept_consumer()
    # A round trip, so that the consumer is known: all that follows is one read.
    session.expect(spec.Queue.Declare)
    deliveries = [delivery(number, tag, index, b"%d" % index) for index in (1, 2, 3)]
    ends = {
        "connection.close": method(0, CLOSE),
        "channel.close": method(number, spec.Channel.Close(404, "gone", 0, 0)),
        "end of file": b"",
    }
    session.send(method(number, spec.Queue.DeclareOk("queue", 0, 0)), *deliveries, ends[end])
    if end != "end of file":
        session.close_politely()


def consume_to_the_end(channel: BlockingChannel, auto_ack: bool, how: str, seen: list[bytes]) -> None:
    """Consume until the end is raised."""
    connection = channel.connection
    if how == "generator":
        generator = channel.consume("queue", auto_ack=auto_ack, inactivity_timeout=0)
        assert next(generator) == (None, None, None)
        channel.queue_declare("queue", passive=True)
        seen.extend(body for _, _, body in channel.consume("queue", auto_ack=auto_ack))
    else:
        channel.basic_consume("queue", lambda *message: seen.append(message[-1]), auto_ack=auto_ack)
        channel.queue_declare("queue", passive=True)
        if how == "start_consuming":
            channel.start_consuming()
        while channel.is_open:
            connection.process_data_events(1)
        connection.process_data_events(1)
        channel.queue_declare("queue", passive=True)


@pytest.mark.parametrize("end", ["connection.close", "channel.close", "end of file"])
@pytest.mark.parametrize("auto_ack", [True, False])
@pytest.mark.parametrize("how", ["start_consuming", "process_data_events", "generator"])
def test_an_end_behind_deliveries_in_the_same_read(end: str, auto_ack: bool, how: str) -> None:
    """What needs no acknowledgement is handed out before the reason is raised; the rest the broker delivers again."""
    kinds = {
        "connection.close": exceptions.ConnectionClosedByBroker,
        "channel.close": exceptions.ChannelClosedByBroker,
        "end of file": exceptions.StreamLostError,
    }
    seen: list[bytes] = []
    with scripted_broker(opened(lambda session: ends_behind_deliveries(session, end))) as peer:
        connection = pika.BlockingConnection(parameters(peer))
        channel = connection.channel()
        with pytest.raises(exceptions.AMQPError) as caught:
            consume_to_the_end(channel, auto_ack, how, seen)
        # A call that waits raises the reason; one that comes too late is refused for that reason.
        late = isinstance(caught.value, exceptions.ChannelWrongStateError)
        assert isinstance(caught.value.__cause__ if late else caught.value, kinds[end])
        everything = [b"1", b"2", b"3"]
        # With an acknowledging consumer, an end that is in the same read comes first. The end of the file is a read of
        # its own: all or nothing was handed out before it.
        assert seen in ([everything] if auto_ack else [[], everything] if end == "end of file" else [[]])
        assert channel.consumer_tags == []
        if connection.is_open:
            connection.close()


def test_a_callback_that_acknowledges_on_a_dead_connection_raises_its_reason() -> None:
    """What a program catches to decide whether to connect again is the reason, not a closed channel."""

    def script(session: Session) -> None:
        number, tag = session.accept_consumer()
        session.send(*(delivery(number, tag, index, b"%d" % index) for index in (1, 2, 3)))
        session.expect(spec.Basic.Ack)
        session.send(method(0, CLOSE))
        session.close_politely()

    with scripted_broker(opened(script)) as peer:
        channel = pika.BlockingConnection(parameters(peer)).channel()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            channel.basic_ack(method.delivery_tag)
            time.sleep(0.05)

        channel.basic_consume("queue", on_message)
        with pytest.raises(exceptions.ConnectionClosedByBroker):
            channel.start_consuming()


@pytest.mark.parametrize("answer", ["nothing", "connection.close", "end of file"])
def test_closing_a_connection_that_answers_otherwise(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(session: Session) -> None:
        session.expect(spec.Connection.Close)
        if answer == "connection.close":
            session.send(method(0, CLOSE))
        if answer != "end of file":
            session.hold()

    with scripted_broker(opened(script)) as peer:
        connection = pika.BlockingConnection(parameters(peer))
        channel = connection.channel()
        if answer == "nothing":
            monkeypatch.setattr(BlockingConnection, "CLOSE_TIMEOUT", 0.2)
            connection.close()
        else:
            kinds = {"connection.close": exceptions.ConnectionClosedByBroker, "end of file": exceptions.StreamLostError}
            with pytest.raises(kinds[answer]):
                connection.close()
        assert connection.is_closed and channel.is_closed


@needs_alarms
def test_closing_ends_though_the_broker_takes_nothing_and_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish that an alarm holds up was left with an exception; closing must not wait behind its bytes."""

    def script(session: Session) -> None:
        session.send(method(0, spec.Connection.Blocked("low on memory")))
        while True:
            session.send(frame.HEARTBEAT_FRAME)
            time.sleep(0.02)

    def interrupt() -> None:
        raise Interruption

    monkeypatch.setattr(BlockingConnection, "CLOSE_TIMEOUT", 0.2)
    with scripted_broker(opened(script)) as peer:
        connection = pika.BlockingConnection(parameters(peer))
        channel = connection.channel()
        with alarm(0.5, interrupt), pytest.raises(Interruption):
            channel.basic_publish("", "queue", bytes(50_000_000))
        if connection.is_open:
            connection.close()
        assert connection.is_closed and channel.is_closed


def test_an_answer_has_the_whole_time_again_after_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(session: Session) -> None:
        session.send(method(0, spec.Connection.Blocked("low on memory")))
        asked = session.expect(spec.Queue.Declare)
        time.sleep(3.8)
        session.send(method(0, spec.Connection.Unblocked()))
        time.sleep(0.4)
        session.send(method(asked.channel_number, spec.Queue.DeclareOk("queue", 0, 0)))
        session.close_politely()

    monkeypatch.setattr(BlockingConnection, "REPLY_TIMEOUT", 4)
    with scripted_broker(opened(script)) as peer, pika.BlockingConnection(parameters(peer)) as connection:
        assert connection.channel().queue_declare("queue").method.queue == "queue"


def test_an_end_that_no_call_has_raised_is_the_cause_of_the_next_refusal() -> None:
    """The channel ended while another one waited."""

    def script(session: Session) -> None:
        other = session.open_channel()
        session.expect(spec.Queue.Declare)
        session.send(
            method(1, spec.Channel.Close(404, "gone", 0, 0)), method(other, spec.Queue.DeclareOk("queue", 0, 0))
        )
        session.close_politely()

    with scripted_broker(opened(script)) as peer, pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        connection.channel().queue_declare("queue")
        assert channel.is_closed
        for _ in range(2):
            with pytest.raises(exceptions.ChannelWrongStateError, match="gone") as refused:
                channel.basic_publish("", "queue", b"body")
            assert isinstance(refused.value.__cause__, exceptions.ChannelClosedByBroker)


def test_a_broker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_broker(opened(Session.hold)) as peer:
        connection = pika.BlockingConnection(parameters(peer))
        channel = connection.channel()
        monkeypatch.setattr(BlockingConnection, "REPLY_TIMEOUT", 0.2)
        with pytest.raises(exceptions.StreamLostError, match=r"queue\.declare on channel 1"):
            channel.queue_declare("queue")
        assert connection.is_closed


def test_with_lets_the_reason_out() -> None:
    with scripted_broker(opened(lambda session: None)) as peer:
        with pytest.raises(exceptions.StreamLostError), pika.BlockingConnection(parameters(peer)) as connection:
            channel = connection.channel()
            with channel:
                connection.sleep(60)
        assert connection.is_closed and channel.is_closed


# A cut at every byte


def session_of(url: str) -> list[str]:
    """A short session with everything in it; returns how far it got. Only an AMQPError may come out of it."""
    steps: list[str] = []
    try:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        steps.append("connect")
        with connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            steps.append("declare")
            channel.confirm_delivery()
            channel.basic_publish("", queue, b"body", pika.BasicProperties(headers={"key": "value"}), mandatory=True)
            steps.append("publish")
            for delivered, _, body in channel.consume(queue):
                assert body == b"body"
                channel.basic_ack(delivered.delivery_tag)
                break
            assert channel.cancel() == 0
            steps.append("consume")
            channel.close()
        steps.append("close")
    except exceptions.AMQPError as error:
        assert str(error)
        steps.append(type(error).__name__)
    return steps


def cut_everywhere(broker: Broker, every: int) -> None:
    with Proxy(broker.port, broker.host) as proxy:
        assert session_of(proxy.url) == ["connect", "declare", "publish", "consume", "close"]
        sizes = {direction: len(proxy.record(direction)) for direction in ("to_server", "to_client")}
    for direction, size in sizes.items():
        for offset in range(1, size + 20, every):
            for failure in ("cut", "reset"):
                with Proxy(broker.port, broker.host) as proxy:
                    proxy.limit_after(offset, direction, failure)  # type: ignore[arg-type]  # literals in a loop
                    steps = session_of(proxy.url)
                    assert steps[-1] == "close" or steps[-1].endswith("Error"), (direction, offset, failure, steps)


def test_the_network_ends_at_sampled_bytes(broker: Broker) -> None:
    cut_everywhere(broker, every=53)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_network_ends_at_every_byte(broker: Broker) -> None:
    cut_everywhere(broker, every=1)
