"""How a connection over TLS ends: by us, by the peer, and by the network."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

import pika
from pika import exceptions, spec
from tests.support.bounded import Running, bounded
from tests.support.certificates import SEES_TRUNCATION, Authority
from tests.support.encoding import method
from tests.support.proxy import Proxy
from tests.support.scripted_broker import Session, scripted_broker
from tests.support.secure_rabbitmq import SecureRabbitMQ
from tests.tls import attempt as attempts
from tests.tls.attempt import Report
from tests.tls.conftest import Attempt, at
from tests.tls.oracle_process import Oracle
from tests.tls.refusals import TLS_1_2, TLS_1_3

VERSIONS = [TLS_1_2, TLS_1_3]


def waited_for(session: Session) -> None:
    """Let the client connect, and go on when it waits for the end."""
    session.open()
    session.open_channel()
    session.expect(spec.Basic.Publish)


# By the peer


def says_goodbye(session: Session) -> None:
    """TLS ends as it should, AMQP does not: that is no clean end either."""


def drops_tcp(session: Session) -> None:
    """The stream of TCP ends as it should, that of TLS does not: anybody on the way could have done that."""
    with socket.socket(fileno=session.peer.socket.detach()) as plain:
        plain.shutdown(socket.SHUT_WR)
        plain.settimeout(20)
        with suppress(OSError):
            while plain.recv(65536):
                pass


def resets(session: Session) -> None:
    session.peer.reset()


def sends_no_records(session: Session) -> None:
    os.write(session.peer.socket.fileno(), b"this is no record of TLS")
    session.hold()


class Death(NamedTuple):
    """How a peer ends a connection, and regular expressions for what the text says of it, and does not say."""

    script: Callable[[Session], object]
    cause: str
    never: str = "$^"


DEATHS = {
    "close-notify": Death(says_goodbye, "EOF", "cut off"),
    "truncation": Death(drops_tcp, "EOF .*TLS was cut off" if SEES_TRUNCATION else "EOF"),
    "reset": Death(resets, "reset by peer|EOF"),
    "no record": Death(sends_no_records, "wrong version number"),
}


def dying(authority: Authority, version: str, death: Death, attempt: Attempt) -> tuple[Report, str]:
    """Open a connection that dies, and return the error that a program gets to see, and the peer's address."""

    def script(session: Session) -> None:
        waited_for(session)
        death.script(session)

    context = authority.server_context(authority.issue("dying"))
    with scripted_broker(script, tls=context) as peer:
        report = attempt({**at(peer.port, authority, only=version), "wait": True})
    assert report["stage"] == "ended"
    return report["error"], f"{peer.host}:{peer.port}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", DEATHS)
def test_the_peer_ends_it(authority: Authority, attempt: Attempt, version: str, name: str) -> None:
    error, where = dying(authority, version, DEATHS[name], attempt)
    assert error["classes"][0] == "StreamLostError"
    text = error["text"]
    assert re.search(DEATHS[name].cause, text) and not re.search(DEATHS[name].never, text) and text.count(where) == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", DEATHS)
def test_pika_raises_the_same(authority: Authority, driver: str, pika_1: Oracle, version: str, name: str) -> None:
    error, _ = dying(authority, version, DEATHS[name], lambda ask: pika_1.attempt({**ask, "driver": driver}))
    assert error["classes"][0] == "StreamLostError"


def test_a_close_and_close_notify_in_one(authority: Authority, attempt: Attempt) -> None:
    """The broker's reason counts, and not that the stream has ended."""

    def closes(session: Session) -> None:
        waited_for(session)
        session.send(method(0, spec.Connection.Close(320, "come again!", 0, 0)))
        session.expect(spec.Connection.CloseOk)

    context = authority.server_context(authority.issue("closing"))
    with scripted_broker(closes, tls=context) as peer:
        report = attempt({**at(peer.port, authority), "wait": True})
    assert report["error"]["classes"][0] == "ConnectionClosedByBroker"
    assert report["error"]["args"] == "(320, 'come again!')"


# By us


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "how", ["close", pytest.param("a close that is not answered", marks=pytest.mark.slow), "a death"]
)
def test_we_say_goodbye(authority: Authority, driver: str, version: str, how: str) -> None:
    """A close-notify ends what we have sent, so that the peer can tell our end from a cut."""
    ends: list[object] = []

    def script(session: Session) -> None:
        sock = session.peer.socket
        # With this, Python would report both ends alike.
        sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        session.open()
        session.open_channel()
        if how == "a death":
            session.expect(spec.Basic.Publish)
            session.send(b"no frame at all.")
        elif how == "close":
            session.expect(spec.Connection.Close, spec.Connection.CloseOk())
        try:
            while sock.recv(65536):
                pass
            ends.append("close-notify")
        except OSError as error:
            ends.append(error)

    context = authority.server_context(authority.issue("left"))
    with scripted_broker(script, tls=context) as peer:
        one = attempts.DRIVERS[driver]()
        ask = at(peer.port, authority, only=version)
        if how == "a close that is not answered" and driver != "blocking":
            # They wait for the answer until the broker is taken for dead.
            ask["attributes"] = {"heartbeat": 1}
        bounded(lambda: one.open(attempts.parameters(ask)))
        if how == "a death":
            assert isinstance(bounded(one.wait_for_end), exceptions.StreamLostError)
            bounded(one.close)
        else:
            try:
                bounded(one.close, 60)
            except exceptions.AMQPError as error:
                # If the script has failed, that is the news.
                ends.append(error)
    assert ends == ["close-notify"]


# By the network


@pytest.mark.rabbitmq
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("failure", ["cut", "reset"])
def test_the_network_ends_it(node: SecureRabbitMQ, driver: str, version: str, failure: str) -> None:
    with Proxy(node.tls_port) as proxy:
        one = attempts.DRIVERS[driver]()
        bounded(lambda: one.open(attempts.parameters(at(proxy.port, node.authority, only=version))))
        waiting = Running(one.wait_for_end)
        getattr(proxy, failure)()
        assert isinstance(waiting.result(), exceptions.StreamLostError)
        bounded(one.close)


@pytest.mark.rabbitmq
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("direction", ["to_client", "to_server"])
@pytest.mark.parametrize("failure", ["cut", "reset"])
def test_the_network_ends_it_within_a_message(
    node: SecureRabbitMQ, driver: str, version: str, direction: Any, failure: Any
) -> None:
    with Proxy(node.tls_port) as proxy:
        one = attempts.DRIVERS[driver]()
        bounded(lambda: one.open(attempts.parameters(at(proxy.port, node.authority, only=version))))
        proxy.limit_after(300_001, direction, failure)
        with pytest.raises(exceptions.StreamLostError):
            bounded(lambda: one.echo([bytes(1 << 20)]))
        bounded(one.close)


@pytest.mark.rabbitmq
def test_a_frozen_network_is_noticed(node: SecureRabbitMQ, driver: str) -> None:
    with Proxy(node.tls_port) as proxy:
        one = attempts.DRIVERS[driver]()
        ask = {**at(proxy.port, node.authority), "attributes": {"heartbeat": 1}}
        bounded(lambda: one.open(attempts.parameters(ask)))
        proxy.freeze()
        assert isinstance(bounded(one.wait_for_end), exceptions.AMQPHeartbeatTimeout)
        bounded(one.close)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_connection_behind_a_lost_one(authority: Authority, version: str) -> None:
    """What was lost leaves nothing behind in the context."""
    context = authority.server_context(authority.issue("lost"))

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.peer.reset()

    with scripted_broker(script, tls=context) as peer:
        parameters = attempts.parameters(at(peer.port, authority, only=version))
        for _ in range(3):
            with pytest.raises(exceptions.StreamLostError):
                bounded(lambda: pika.BlockingConnection(parameters).channel().queue_declare("q"))
