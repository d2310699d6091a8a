"""What the connection parameters do to a BlockingConnection: seen from the broker's end where it is bytes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import pika
from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingConnection
from tests.support.encoding import method
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, scripted_broker

START = spec.Connection.Start(0, 9, {"product": "Script"}, "PLAIN EXTERNAL", "en_US")
TUNE = spec.Connection.Tune(100, 100_000, 60)
NAMES = ("mechanism", "response", "locale", "channel_max", "frame_max", "heartbeat", "virtual_host")


def handshake(make: Callable[[str, int], pika.connection.Parameters]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Connect with parameters made for a host and a port; return what the broker was told, and the client's properties.

    The broker offers 100 channels, frames of 100,000 octets, and heartbeats every 60 seconds.
    """
    told: dict[str, Any] = {}
    properties: dict[str, Any] = {}

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, START))
        start_ok = session.expect(spec.Connection.StartOk, TUNE).method
        tune_ok = session.expect(spec.Connection.TuneOk).method
        opening = session.expect(spec.Connection.Open).method
        properties.update(start_ok.client_properties or {})
        for part in (start_ok, tune_ok, opening):
            told.update({name: getattr(part, name) for name in NAMES if hasattr(part, name)})
        session.send(method(0, spec.Connection.OpenOk()))
        session.close_politely()

    with scripted_broker(script) as peer, pika.BlockingConnection(make(peer.host, peer.port)):
        return told, properties


@contextlib.contextmanager
def connected(script: Callable[[Session], object]) -> Iterator[BlockingConnection]:
    """Connect to a script."""
    parameters = pika.ConnectionParameters
    with scripted_broker(script) as peer, pika.BlockingConnection(parameters(peer.host, peer.port)) as connection:
        yield connection


def test_the_defaults() -> None:
    told, properties = handshake(pika.ConnectionParameters)
    assert told == {
        "mechanism": "PLAIN",
        "response": b"\x00guest\x00guest",
        "locale": "en_US",
        "channel_max": 100,
        "frame_max": 100_000,
        "heartbeat": 60,
        "virtual_host": "/",
    }
    assert {"product", "platform", "version", "information", "capabilities"} <= properties.keys()
    assert properties["capabilities"]["connection.blocked"] is True


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"credentials": pika.PlainCredentials("me", "secret")}, {"response": b"\x00me\x00secret"}),
        ({"credentials": pika.credentials.ExternalCredentials()}, {"mechanism": "EXTERNAL", "response": b""}),
        ({"locale": "cs_CZ"}, {"locale": "cs_CZ"}),
        ({"virtual_host": "vhost"}, {"virtual_host": "vhost"}),
        ({"channel_max": 3}, {"channel_max": 3}),
        ({"channel_max": 2000}, {"channel_max": 100}),
        ({"frame_max": 4096}, {"frame_max": 4096}),
        ({"frame_max": 131_072}, {"frame_max": 100_000}),
        ({"heartbeat": 0}, {"heartbeat": 0}),
        ({"heartbeat": 5}, {"heartbeat": 5}),
        ({"heartbeat": 600}, {"heartbeat": 600}),
        ({"heartbeat": lambda connection, offered: offered + 1}, {"heartbeat": 61}),
    ],
)
def test_what_the_broker_is_told(options: dict[str, Any], expected: dict[str, Any]) -> None:
    told, _ = handshake(lambda host, port: pika.ConnectionParameters(host, port, **options))
    assert {name: told[name] for name in expected} == expected


def test_a_url_tells_the_same() -> None:
    told, _ = handshake(
        lambda host, port: pika.URLParameters(
            f"amqp://me:sec%2Fret@{host}:{port}/v%2Fhost?channel_max=3&frame_max=8192&heartbeat=7&locale=cs_CZ"
        )
    )
    assert told == {
        "mechanism": "PLAIN",
        "response": b"\x00me\x00sec/ret",
        "locale": "cs_CZ",
        "channel_max": 3,
        "frame_max": 8192,
        "heartbeat": 7,
        "virtual_host": "v/host",
    }


def test_attributes_that_are_set_later_tell_the_same() -> None:
    def make(host: str, port: int) -> pika.URLParameters:
        parameters = pika.URLParameters("amqp://nobody:nothing@example.invalid:1/nowhere")
        parameters.host, parameters.port, parameters.virtual_host = host, port, "vhost"
        parameters.credentials = pika.PlainCredentials("me", "secret")
        return parameters

    told, _ = handshake(make)
    assert (told["response"], told["virtual_host"]) == (b"\x00me\x00secret", "vhost")


def test_client_properties_are_added_to_the_librarys() -> None:
    own = {"product": "mine", "connection_name": "the name in the management UI", "capabilities": {"mine": True}}
    _, properties = handshake(lambda host, port: pika.ConnectionParameters(host, port, client_properties=own))
    assert {name: properties[name] for name in own} == own
    assert "version" in properties


def test_the_function_for_the_heartbeat_is_given_the_connection_and_the_offer() -> None:
    seen: list[tuple[Any, int]] = []

    def decide(connection: Any, offered: int) -> int:
        seen.append((connection, offered))
        return 0

    told, _ = handshake(lambda host, port: pika.ConnectionParameters(host, port, heartbeat=decide))
    assert told["heartbeat"] == 0
    ((connection, offered),) = seen
    assert isinstance(connection, pika.connection.Connection) and offered == 60


def test_erase_on_connect(broker: Broker) -> None:
    """Credentials that go when the connection is open."""
    credentials = pika.PlainCredentials("guest", "guest", erase_on_connect=True)
    with pika.BlockingConnection(broker.parameters(credentials=credentials)) as connection:
        assert connection.is_open
        erased = connection._impl.params.credentials
        assert isinstance(erased, pika.PlainCredentials) and (erased.username, erased.password) == (None, None)


def test_tcp_options(broker: Broker) -> None:
    options = {"TCP_KEEPIDLE": 61, "TCP_KEEPCNT": 3}
    if not all(hasattr(socket, name) for name in options):
        pytest.skip("this platform has other options")
    with pika.BlockingConnection(broker.parameters(tcp_options=options)) as connection:
        raw = connection._impl.stream.socket
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 61
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("attempts", [1, 3])
def test_connection_attempts_and_their_delay(attempts: int) -> None:
    """A broker that hangs up is called so often, with the delay in between."""
    calls: list[float] = []

    def script(session: Session) -> None:
        calls.append(time.monotonic())
        session.expect_header()

    with scripted_broker(script) as peer:
        parameters = pika.ConnectionParameters(peer.host, peer.port, connection_attempts=attempts, retry_delay=0.1)
        with pytest.raises(exceptions.IncompatibleProtocolError):
            pika.BlockingConnection(parameters)
    assert len(calls) == attempts
    assert calls[-1] - calls[0] >= 0.09 * (attempts - 1)


def test_the_first_that_answers_is_taken(broker: Broker) -> None:
    """Of several parameters, in their order; the connection shows which."""
    wrong = broker.parameters(virtual_host="pika-missing")
    right, unused = broker.parameters(heartbeat=30), broker.parameters()
    with pika.BlockingConnection([wrong, right, unused]) as connection:
        assert connection._impl.params == right


# Alarms


def under_alarm(then: Callable[[Session], object]) -> Callable[[Session], None]:
    """A script that lets the client connect and tells it that the broker is blocked."""

    def script(session: Session) -> None:
        session.open()
        session.send(method(0, spec.Connection.Blocked("low on memory")))
        then(session)

    return script


@pytest.mark.parametrize("how", ["sleep", "process_data_events", "channel", "start_consuming"])
def test_blocked_connection_timeout_ends_each_wait(how: str) -> None:
    with scripted_broker(under_alarm(Session.beat)) as peer:
        parameters = pika.ConnectionParameters(peer.host, peer.port, blocked_connection_timeout=0.3)
        began = time.monotonic()
        connection = pika.BlockingConnection(parameters)
        waits: dict[str, Callable[[], object]] = {
            "sleep": lambda: connection.sleep(60),
            "process_data_events": lambda: connection.process_data_events(None),
            "channel": connection.channel,
            "start_consuming": lambda: connection.channel().start_consuming(),
        }
        with pytest.raises(exceptions.ConnectionBlockedTimeout, match=f"{peer.host}:{peer.port}"):
            waits[how]()
        assert time.monotonic() - began >= 0.2
        assert connection.is_closed


def test_an_alarm_that_ends_in_time_is_no_reason() -> None:
    def unblock(session: Session) -> None:
        time.sleep(0.1)
        session.send(method(0, spec.Connection.Unblocked()))
        session.close_politely()

    with scripted_broker(under_alarm(unblock)) as peer:
        parameters = pika.ConnectionParameters(peer.host, peer.port, blocked_connection_timeout=3)
        with pika.BlockingConnection(parameters) as connection:
            connection.sleep(3.5)
            assert connection.is_open


def test_blocked_callbacks_are_called_in_their_turn() -> None:
    """Each of them, with the connection, and from no other call than those that call back."""
    seen: list[tuple[Any, ...]] = []

    def script(session: Session) -> None:
        session.open()
        session.expect(spec.Channel.Open)
        for _ in range(2):
            session.send(method(0, spec.Connection.Blocked("low on memory")), method(0, spec.Connection.Unblocked()))
        session.send(method(1, spec.Channel.OpenOk()))
        session.close_politely()

    def note(name: str) -> Callable[[BlockingConnection, Any], None]:
        return lambda connection, method_frame: seen.append((name, connection, method_frame.method))

    with connected(script) as connection:
        connection.add_on_connection_blocked_callback(note("blocked"))
        connection.add_on_connection_blocked_callback(note("blocked too"))
        connection.add_on_connection_unblocked_callback(note("unblocked"))
        connection.channel()
        assert seen == []
        connection.process_data_events(0)
        assert [name for name, _, _ in seen] == ["blocked", "blocked too", "unblocked"] * 2
        assert all(of is connection for _, of, _ in seen)
        assert isinstance(seen[0][2], spec.Connection.Blocked) and seen[0][2].reason == "low on memory"
        assert isinstance(seen[2][2], spec.Connection.Unblocked)


# What the broker can do


@pytest.mark.parametrize("able", [True, False])
def test_the_brokers_capabilities(able: bool) -> None:
    names = {
        "basic.nack": ("basic_nack", "basic_nack_supported"),
        "consumer_cancel_notify": ("consumer_cancel_notify", "consumer_cancel_notify_supported"),
        "exchange_exchange_bindings": ("exchange_exchange_bindings", "exchange_exchange_bindings_supported"),
        "publisher_confirms": ("publisher_confirms", "publisher_confirms_supported"),
    }
    start = spec.Connection.Start(0, 9, {"capabilities": dict.fromkeys(names, able)}, "PLAIN", "en_US")

    def script(session: Session) -> None:
        session.expect_header()
        session.send(method(0, start))
        session.expect(spec.Connection.StartOk, TUNE)
        session.expect(spec.Connection.Open, spec.Connection.OpenOk())
        session.close_politely()

    with connected(script) as connection:
        for attributes in names.values():
            assert [getattr(connection, attribute) for attribute in attributes] == [able, able]


def test_update_secret_tells_the_broker() -> None:
    told: list[tuple[Any, Any]] = []

    def script(session: Session) -> None:
        session.open()
        asked = session.expect(spec.Connection.UpdateSecret, spec.Connection.UpdateSecretOk()).method
        told.append((asked.new_secret, asked.reason))
        session.close_politely()

    with connected(script) as connection:
        connection.update_secret("new", "the old one expires")
    assert [(bytes(secret) if isinstance(secret, bytes) else secret.encode(), why) for secret, why in told] == [
        (b"new", "the old one expires")
    ]
