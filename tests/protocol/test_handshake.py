"""The handshake: authentication, versions, tuning, and every way in which it ends early."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from pika import exceptions, frame, protocol, spec
from pika.credentials import ExternalCredentials, PlainCredentials
from pika.protocol import ConnectionState
from tests.protocol.broker import PEER, START, TUNE, Broker, connected, method, settings

STATES = [ConnectionState.PROTOCOL, ConnectionState.START, ConnectionState.TUNE]
#: What a death means in each state, as pika 1.x says it.
DEATHS = {
    ConnectionState.PROTOCOL: exceptions.IncompatibleProtocolError,
    ConnectionState.START: exceptions.ProbableAuthenticationError,
    ConnectionState.TUNE: exceptions.ProbableAccessDeniedError,
}


def opening(state: ConnectionState = ConnectionState.PROTOCOL, **changes: Any) -> Broker:
    """Return the broker of a connection that got as far as a state."""
    broker = Broker(protocol.Connection(settings(**changes)))
    broker.connection.start(0.0)
    if state > ConnectionState.PROTOCOL:
        broker.send(method(0, START))
    if state > ConnectionState.START:
        broker.send(method(0, TUNE))
    assert broker.connection.state is state
    broker.frames()
    return broker


def closed(events: list[protocol.Event]) -> BaseException:
    """Return the reason of the only event, Closed."""
    (event,) = events
    assert isinstance(event, protocol.Closed)
    return event.error


def assert_over(broker: Broker, error: BaseException) -> None:
    """Check that a connection has ended with an error, for good."""
    connection = broker.connection
    assert connection.state is ConnectionState.CLOSED
    assert connection.error is error
    assert str(error)
    assert connection.next_deadline() is None
    assert broker.send(method(0, spec.Connection.OpenOk())) == []
    with pytest.raises(exceptions.ConnectionWrongStateError, match="CLOSED"):
        connection.close()


# The way to an open connection


def test_nothing_is_sent_before_the_stream_is_connected() -> None:
    connection = protocol.Connection(settings())
    assert connection.state is ConnectionState.INIT
    assert connection.data_to_send() == []
    assert list(connection.events()) == []


def test_the_protocol_header_comes_first() -> None:
    connection = protocol.Connection(settings())
    connection.start(0.0)
    assert connection.data_to_send() == [b"AMQP\x00\x00\x09\x01"]
    assert connection.state is ConnectionState.PROTOCOL


def test_a_connection_starts_once() -> None:
    broker = opening()
    with pytest.raises(exceptions.ConnectionWrongStateError):
        broker.connection.start(1.0)


def test_start_is_answered_with_the_user_and_what_the_client_is() -> None:
    broker = Broker(protocol.Connection(settings(client_properties={"connection_name": "mine"}, version="9.8.7")))
    broker.connection.start(0.0)
    broker.frames()
    assert broker.send(method(0, START)) == []
    (answer,) = broker.methods()
    assert isinstance(answer, spec.Connection.StartOk)
    assert (answer.mechanism, answer.response, answer.locale) == ("PLAIN", b"\0guest\0guest", "en_US")
    properties = answer.client_properties
    assert properties is not None
    assert properties["connection_name"] == "mine"
    assert properties["version"] == "9.8.7"
    assert properties["product"] == "Pika Python Client Library"
    assert properties["capabilities"] == {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "exchange_exchange_bindings": True,
        "publisher_confirms": True,
    }
    assert broker.connection.server_properties == {"product": "RabbitMQ"}


def test_external_credentials() -> None:
    broker = opening(credentials=ExternalCredentials())
    broker.send(method(0, spec.Connection.Start(0, 9, {}, b"PLAIN EXTERNAL", b"en_US")))
    (answer,) = broker.methods()
    assert (answer.mechanism, answer.response) == ("EXTERNAL", b"")


def test_credentials_are_erased_when_the_broker_took_them() -> None:
    credentials = PlainCredentials("user", "secret", erase_on_connect=True)
    broker = opening(ConnectionState.START, credentials=credentials)
    assert credentials.password == "secret"
    broker.send(method(0, TUNE))
    assert credentials.password is None


def test_server_properties_of_an_unknown_type_are_none() -> None:
    broker = opening()
    table = b"\x00\x00\x00\x04\x01a\xff\x00"
    broker.send(frame_of_start(table))
    assert broker.connection.state is ConnectionState.START
    assert broker.connection.server_properties == {}


def frame_of_start(table: bytes) -> bytes:
    arguments = b"\x00\x0a\x00\x0a\x00\x09" + table + b"\x00\x00\x00\x05PLAIN" + b"\x00\x00\x00\x05en_US"
    return b"\x01\x00\x00" + len(arguments).to_bytes(4, "big") + arguments + b"\xce"


def tuned(tune: spec.Connection.Tune, **changes: Any) -> spec.Connection.TuneOk:
    """Return how a client answers connection.tune."""
    broker = opening(ConnectionState.START, **changes)
    broker.send(method(0, tune))
    answer, opened = broker.methods()
    assert isinstance(answer, spec.Connection.TuneOk)
    assert isinstance(opened, spec.Connection.Open)
    assert opened.virtual_host == "/"
    connection = broker.connection
    assert (connection.channel_max, connection.frame_max) == (answer.channel_max or 65535, answer.frame_max)
    assert connection.heartbeat_interval == answer.heartbeat
    return answer


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ((100, 8192), (2047, 131072), (100, 8192)),
        ((65535, 131072), (10, 4096), (10, 4096)),
        ((65535, 131072), (0, 0), (65535, 131072)),
        ((0, 0), (10, 4096), (10, 4096)),
        ((0, 131072), (0, 0), (0, 131072)),
    ],
)
def test_the_smaller_limit_counts_and_zero_is_none(
    ours: tuple[int, int], theirs: tuple[int, int], agreed: tuple[int, int]
) -> None:
    answer = tuned(spec.Connection.Tune(*theirs, 60), channel_max=ours[0], frame_max=ours[1])
    assert (answer.channel_max, answer.frame_max) == agreed


def test_channels_can_be_opened_when_nobody_limits_them() -> None:
    broker = connected(spec.Connection.Tune(0, 0, 0), channel_max=0)
    assert broker.connection.open_channel(65535).number == 65535


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (None, 60, 60),
        (None, 0, 0),
        (0, 60, 0),
        (5, 60, 5),
        (600, 60, 600),
        (lambda proposed: proposed // 2, 60, 30),
    ],
)
def test_the_heartbeat_is_ours_if_we_have_one(
    ours: int | Callable[[int], int] | None, theirs: int, agreed: int
) -> None:
    assert tuned(spec.Connection.Tune(0, 0, theirs), heartbeat=ours).heartbeat == agreed


def test_without_a_heartbeat_there_is_no_deadline() -> None:
    assert connected(heartbeat=0).connection.next_deadline() is None


def test_open_names_the_virtual_host() -> None:
    broker = opening(ConnectionState.START, virtual_host="/orders")
    broker.send(method(0, TUNE))
    assert broker.methods()[1].virtual_host == "/orders"


@pytest.mark.parametrize("step", [1, 3, 50])
def test_any_split_of_the_handshake(step: int) -> None:
    broker = Broker(protocol.Connection(settings()))
    broker.connection.start(0.0)
    stream = method(0, START, TUNE, spec.Connection.OpenOk())
    events = []
    for start in range(0, len(stream), step):
        events += broker.send(stream[start : start + step])
    assert events == [protocol.Opened()]
    assert broker.wire() == ["ProtocolHeader", "Connection.StartOk", "Connection.TuneOk", "Connection.Open"]


def test_the_words_of_each_phase() -> None:
    phases = [opening(state).connection.phase for state in STATES]
    phases += [connected().connection.phase, protocol.Connection(settings()).phase]
    assert len(set(phases)) == 5
    assert repr(opening().connection) == f"<Connection to {PEER} PROTOCOL>"


# What goes wrong on our side


def test_no_mechanism_in_common() -> None:
    broker = opening(credentials=ExternalCredentials())
    error = closed(broker.send(method(0, START)))
    assert isinstance(error, exceptions.AuthenticationError)
    assert error.args == ("EXTERNAL",)
    assert_over(broker, error)


@pytest.mark.parametrize("version", [(0, 8), (1, 0), (8, 0)])
def test_another_version(version: tuple[int, int]) -> None:
    broker = opening()
    start = spec.Connection.Start(*version, {}, b"PLAIN", b"en_US")
    error = closed(broker.send(method(0, start)))
    assert isinstance(error, exceptions.ProtocolVersionMismatch)
    assert error.args == (frame.ProtocolHeader(), frame.Method(0, start))
    assert_over(broker, error)


@pytest.mark.parametrize(
    "changes",
    [{"virtual_host": "v" * 256}, {"locale": "l" * 256}, {"client_properties": {"n" * 256: 1}}],
)
def test_a_setting_that_cannot_be_sent_is_no_fault_of_the_broker(changes: dict[str, Any]) -> None:
    broker = opening(**changes)
    error = closed(broker.send(method(0, START), method(0, TUNE)))
    assert isinstance(error, exceptions.ShortStringTooLong)
    assert "broke the protocol" not in str(error)
    assert "Connection.Close" not in broker.wire()
    assert_over(broker, error)


def test_an_unsupported_client_property_is_no_fault_of_the_broker() -> None:
    broker = opening(client_properties={"a": object()})
    error = closed(broker.send(method(0, START)))
    assert isinstance(error, exceptions.UnsupportedAMQPFieldException)
    assert_over(broker, error)


class FailingCredentials:
    """Credentials whose provider is out of order."""

    TYPE = "TOKEN"

    def response_for(self, start: Any) -> tuple[str, bytes]:
        raise LookupError("no token today")

    def erase_credentials(self) -> None:
        raise AssertionError("nothing was sent")


def fail(proposed: int) -> int:
    raise LookupError("no heartbeat today")


@pytest.mark.parametrize("changes", [{"credentials": FailingCredentials()}, {"heartbeat": fail}])
def test_what_the_users_code_raises_ends_the_connection_as_it_is(changes: dict[str, Any]) -> None:
    broker = opening(**changes)
    error = closed(broker.send(method(0, START), method(0, TUNE)))
    assert isinstance(error, LookupError)
    assert error.__traceback__ is not None
    assert_over(broker, error)


@pytest.mark.parametrize("heartbeat", [-1, 65536, "60"])
def test_a_heartbeat_that_cannot_be_sent(heartbeat: Any) -> None:
    broker = opening(heartbeat=lambda proposed: heartbeat)
    error = closed(broker.send(method(0, START), method(0, TUNE)))
    assert isinstance(error, ValueError)
    assert_over(broker, error)


# What goes wrong on the broker's side


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"AMQP\x00\x00\x09\x00", "speaks AMQP 0.9.0, not 0.9.1"),
        (b"AMQP\x03\x01\x00\x00", "speaks AMQP 1.0.0, not 0.9.1"),
        (b"AMQP\x00\x00\x09\x01", r"it answers b'AMQP\x00\x00\t\x01'"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no AMQP 0-9-1 server: it answers b'HTTP/1.1 400"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS: connect with amqps://"),
        (b"\x16\x03\x01\x00\x02\x02\x46", "speaks TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0"),
        (b"\x01\x00\x00\xff\xff\xff\xff", "4,294,967,295"),
        (b"\x01\x00\x00\x00\x02\x00\x01", "131,073 octets"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00", "octet 0"),
        (method(0, spec.Connection.Tune()), "Connection.Tune"),
        (method(0, spec.Connection.Blocked("x")), "Connection.Blocked"),
        (method(1, spec.Channel.OpenOk()), "channel 1"),
        (method(0, spec.Channel.OpenOk()), "Channel.OpenOk"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x63\x00\x07\xce", "unknown method: class 99, method 7"),
    ],
)
def test_a_peer_that_is_no_broker(answer: bytes, text: str) -> None:
    broker = opening()
    error = closed(broker.send(answer))
    assert isinstance(error, exceptions.IncompatibleProtocolError)
    assert text in str(error)
    assert PEER in str(error)
    assert "AMQP 0.9.1, not 0.9.1" not in str(error)
    assert isinstance(error.__cause__, exceptions.ProtocolSyntaxError)
    assert_over(broker, error)
    assert broker.wire() == []


ALLOWED = {
    ConnectionState.PROTOCOL: {spec.Connection.Start, spec.Connection.Close},
    ConnectionState.START: {spec.Connection.Tune, spec.Connection.Close},
    ConnectionState.TUNE: {spec.Connection.OpenOk, spec.Connection.Close},
    ConnectionState.OPEN: {spec.Connection.Blocked, spec.Connection.Unblocked, spec.Connection.Close},
    ConnectionState.CLOSING: {
        spec.Connection.Blocked,
        spec.Connection.Unblocked,
        spec.Connection.Close,
        spec.Connection.CloseOk,
    },
}
#: Every method, with arguments that can be encoded.
SAMPLES = {
    spec.Connection.StartOk: spec.Connection.StartOk({}, "PLAIN", b"", "en_US"),
    spec.Connection.Secure: spec.Connection.Secure("challenge"),
    spec.Connection.SecureOk: spec.Connection.SecureOk("response"),
    spec.Connection.Close: spec.Connection.Close(200, "", 0, 0),
    spec.Connection.UpdateSecret: spec.Connection.UpdateSecret("secret", "reason"),
    spec.Connection.Blocked: spec.Connection.Blocked("low on memory"),
}


def reached(state: ConnectionState) -> Broker:
    """Return the broker of a connection in any state of its life."""
    if state in STATES:
        return opening(state)
    broker = connected()
    if state is ConnectionState.CLOSING:
        broker.connection.close()
    broker.frames()
    return broker


@pytest.mark.parametrize("state", ALLOWED)
@pytest.mark.parametrize("index", sorted(index for index in spec.methods if index >> 16 == spec.Connection.INDEX))
def test_every_method_that_a_state_does_not_know_ends_the_connection(state: ConnectionState, index: int) -> None:
    kind = spec.methods[index]
    broker = reached(state)
    events = broker.send(method(0, SAMPLES.get(kind) or kind()))
    if kind in ALLOWED[state]:
        assert broker.connection.state is not state or kind in (spec.Connection.Blocked, spec.Connection.Unblocked)
        return
    error = closed(events)
    assert isinstance(error, exceptions.AMQPConnectionError)
    assert kind.NAME in str(error)
    assert isinstance(error.__cause__, exceptions.UnexpectedFrameError)
    if state is not ConnectionState.PROTOCOL:
        (told,) = broker.methods()
        assert isinstance(told, spec.Connection.Close)
        assert told.reply_code == spec.UNEXPECTED_FRAME
        assert kind.NAME in told.reply_text
    assert_over(broker, error)


@pytest.mark.parametrize("frame_max", [1, 4095])
def test_frames_smaller_than_every_peer_must_take(frame_max: int) -> None:
    broker = opening(ConnectionState.START)
    error = closed(broker.send(method(0, spec.Connection.Tune(0, frame_max, 0))))
    assert f"frame_max to {frame_max}, below the minimum of 4096" in str(error)
    assert_over(broker, error)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("code", [403, 530, 320, 501])
def test_the_broker_closes_in_each_phase(state: ConnectionState, code: int) -> None:
    broker = opening(state)
    error = closed(broker.send(method(0, spec.Connection.Close(code, "REASON - why", 0, 0))))
    cause = exceptions.ConnectionClosedByBroker(code, "REASON - why")
    assert type(error) is DEATHS[state]
    assert error.args == (repr(cause),)
    assert repr(error.__cause__) == repr(cause)
    assert broker.wire() == ["Connection.CloseOk"]
    assert_over(broker, error)


@pytest.mark.parametrize("state", STATES)
def test_the_stream_is_lost_in_each_phase(state: ConnectionState) -> None:
    broker = opening(state)
    lost = exceptions.StreamLostError("gone")
    broker.connection.stream_lost(lost)
    broker.connection.stream_lost(exceptions.StreamLostError("later"))
    error = closed(list(broker.connection.events()))
    assert type(error) is DEATHS[state]
    assert error.args == (repr(lost),)
    assert error.__cause__ is lost
    assert_over(broker, error)


@pytest.mark.parametrize("state", [ConnectionState.INIT, *STATES])
def test_giving_up_in_each_phase(state: ConnectionState) -> None:
    broker = Broker(protocol.Connection(settings())) if state is ConnectionState.INIT else opening(state)
    phase = broker.connection.phase
    broker.connection.close()
    error = closed(list(broker.connection.events()))
    assert isinstance(error, exceptions.ConnectionOpenAborted)
    assert phase in str(error)
    assert broker.wire() == []
    assert_over(broker, error)


def test_the_stream_is_lost_before_it_was_connected() -> None:
    broker = Broker(protocol.Connection(settings()))
    lost = exceptions.StreamLostError("refused")
    broker.connection.stream_lost(lost)
    assert closed(list(broker.connection.events())) is lost
    assert_over(broker, lost)


def test_bytes_before_the_stream_was_connected_are_a_violation() -> None:
    broker = Broker(protocol.Connection(settings()))
    assert isinstance(closed(broker.send(method(0, START))), exceptions.AMQPConnectionError)


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        (
            ConnectionState.START,
            {},
            "authentication; user 'guest': check the password; RabbitMQ lets guest in from its own machine only",
        ),
        (
            ConnectionState.START,
            {"credentials": PlainCredentials("alice", "sesame")},
            "authentication; user 'alice': check name and password",
        ),
        (
            ConnectionState.TUNE,
            {"credentials": PlainCredentials("alice", "sesame"), "virtual_host": ""},
            "opening the virtual host; virtual host '': check its name, where a URL has %2F for /, "
            "and the permissions of user 'alice'",
        ),
        (
            ConnectionState.TUNE,
            {"credentials": PlainCredentials("alice", "sesame", erase_on_connect=True)},
            "opening the virtual host; virtual host '/': check its name, where a URL has %2F for /, "
            "and the permissions of the user",
        ),
    ],
)
def test_a_refusal_says_where_it_happened_and_what_to_look_at(
    state: ConnectionState, changes: dict[str, Any], words: str
) -> None:
    broker = opening(state, **changes)
    error = closed(broker.send(method(0, spec.Connection.Close(403, "ACCESS_REFUSED", 0, 0))))
    assert isinstance(error, exceptions.AMQPError)
    assert error.context == f"{PEER}; AMQP handshake, {words}"
    assert "sesame" not in str(error)


def test_an_error_that_is_no_refusal_says_where_it_happened() -> None:
    broker = opening(ConnectionState.START)
    error = closed(broker.send(method(0, spec.Connection.Tune(0, 1, 0))))
    assert isinstance(error, exceptions.ProbableAuthenticationError)
    assert error.context == f"{PEER}; AMQP handshake, authentication"
