"""Opening connections over TLS: what is verified, and what a program gets to see when that fails."""

from __future__ import annotations

import re
import ssl
from typing import Any, NamedTuple

import pytest

from tests.support.bounded import eventually
from tests.support.certificates import Authority
from tests.support.peer import Peer, PeerSocket
from tests.support.ports import LOOPBACK
from tests.support.proxy import Proxy
from tests.support.scripted_broker import Session, scripted_broker
from tests.support.secure_rabbitmq import CERTIFIED_USER, SecureRabbitMQ
from tests.tls.attempt import Report
from tests.tls.conftest import Attempt, at, kinds
from tests.tls.oracle_process import Oracle
from tests.tls.refusals import BY_OTHERS, BY_RABBITMQ, TLS_1_2, TLS_1_3, Place, Refusal, certificate

VERSIONS = [TLS_1_2, TLS_1_3]
FINE = {"stage": "open", "error": None}
REFUSALS = [
    *(pytest.param(refusal, id=name, marks=pytest.mark.rabbitmq) for name, refusal in BY_RABBITMQ.items()),
    *(pytest.param(refusal, id=name) for name, refusal in BY_OTHERS.items()),
]
# A peer that has gone is met at its end or at its reset, whichever the client's system sees first.
# Python 3.9 has another name for the end.
GONE = {"SSLEOFError", "SSLZeroReturnError", "ConnectionResetError"}


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    return Place(request)


# Refused


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_refused(refusal: Refusal, place: Place, attempt: Attempt, driver: str) -> None:
    with refusal.situation(place) as ask:
        report = attempt(ask)
    assert report["stage"] == "opening", report
    error = report["error"]
    kind = refusal.kind if driver == "blocking" else refusal.called_back or refusal.kind
    assert kind in kinds(error), error
    assert "AMQPConnectionError" in error["classes"], error
    assert refusal.phase in error["text"]
    assert LOOPBACK in error["text"]
    assert re.search(refusal.cause, error["text"]), error
    assert refusal.remedy is None or refusal.remedy in error["text"], error


@pytest.mark.parametrize("refusal", REFUSALS)
def test_pika_raises_the_same(refusal: Refusal, place: Place, attempt: Attempt, driver: str, pika_1: Oracle) -> None:
    with refusal.situation(place) as ask:
        theirs = pika_1.attempt({**ask, "driver": driver})
        ours = attempt(ask)
    assert theirs["stage"] == ours["stage"] == "opening"
    theirs, ours = theirs["error"], ours["error"]
    if driver == "blocking":
        # It raises what the workflow's errors wrap, and ours is both.
        ours = {**ours, "cause": None}
    assert (ours["cause"] is None) == (theirs["cause"] is None)
    if theirs["cause"] is not None:
        assert theirs["classes"][0] in ours["classes"]
        theirs, ours = theirs["cause"], ours["cause"]
    if theirs["classes"][0] in GONE:
        assert GONE & set(ours["classes"])
        return
    assert theirs["classes"][0] in ours["classes"]
    # What OpenSSL says is passed on as it is. CPython adds where in its source it was said; PyPy does not.
    if "SSLError" in theirs["classes"]:
        said, passed_on = (re.sub(r" \(_ssl\.c:\d+\)", "", error["args"]) for error in (theirs, ours))
        assert (passed_on, ours["reason"]) == (said, theirs["reason"])


# Accepted


@pytest.mark.rabbitmq
@pytest.mark.parametrize("version", [None, *VERSIONS])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_verified_server(node: SecureRabbitMQ, attempt: Attempt, host: str, version: str | None) -> None:
    tls = {} if version is None else {"only": version}
    assert attempt({**at(node.tls_port, node.authority, **tls), "host": host}) == FINE


@pytest.mark.rabbitmq
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_user_by_certificate(strict_node: SecureRabbitMQ, attempt: Attempt, version: str, encrypted: bool) -> None:
    mine = strict_node.authority.issue(CERTIFIED_USER)
    tls: dict[str, Any] = {"only": version}
    if encrypted:
        mine = strict_node.authority.encrypt(mine, "hunter2")
        tls["password"] = "hunter2"
    ask = {**at(strict_node.tls_port, strict_node.authority, **certificate(mine), **tls), "external": True}
    before = logins(strict_node)
    assert attempt(ask) == FINE
    eventually(lambda: logins(strict_node) == before + 1)


def logins(node: SecureRabbitMQ) -> int:
    """How many times the user with the certificate has logged in."""
    return node.log().count(f"user '{CERTIFIED_USER}' authenticated and granted access")


@pytest.mark.rabbitmq
def test_a_certificate_and_a_password(strict_node: SecureRabbitMQ, attempt: Attempt) -> None:
    mine = strict_node.authority.issue("anybody")
    assert attempt(at(strict_node.tls_port, strict_node.authority, **certificate(mine))) == FINE


@pytest.mark.rabbitmq
def test_one_after_the_other_with_one_context(node: SecureRabbitMQ) -> None:
    """Sessions are per connection, and parameters can be used again."""
    import pika

    parameters = node.tls_parameters()
    for _ in range(3):
        with pika.BlockingConnection(parameters) as one, pika.BlockingConnection(parameters) as other:
            assert one.channel().is_open and other.channel().is_open


# The name


class Named(NamedTuple):
    """A server with a certificate for some hosts, and what a client has to ask for to be content with it."""

    host: str
    server_hostname: str | None
    certified: str
    #: The name that the server gets to see; an address is none, and yet the certificate has to be for it.
    asked: str | None


NAMES = {
    "the host": Named("localhost", None, "localhost", "localhost"),
    "another name": Named("127.0.0.1", "rabbit.example", "rabbit.example", "rabbit.example"),
    "a wildcard": Named("127.0.0.1", "rabbit.nodes.example", "*.nodes.example", "rabbit.nodes.example"),
    "an address": Named("127.0.0.1", None, "127.0.0.1", None),
    "another address": Named("localhost", "127.0.0.2", "127.0.0.2", None),
}


def open_named(authority: Authority, named: Named, attempt: Attempt) -> tuple[Report, list[str | None]]:
    """Open a connection, and return the report, and the names that the server was asked for."""
    names: list[str | None] = []
    context = authority.server_context(authority.issue("named", hosts=[named.certified]))
    context.sni_callback = lambda _session, name, _context: names.append(name)
    with scripted_broker(opened_and_closed, tls=context) as peer:
        ask = at(peer.port, authority, server_hostname=named.server_hostname)
        return attempt({**ask, "host": named.host, "open_only": True}), names


@pytest.mark.parametrize("named", NAMES.values(), ids=NAMES)
def test_the_name_that_is_asked_for_and_verified(authority: Authority, attempt: Attempt, named: Named) -> None:
    assert open_named(authority, named, attempt) == (FINE, [named.asked])


@pytest.mark.parametrize("named", NAMES.values(), ids=NAMES)
def test_pika_asks_for_the_same_name(authority: Authority, driver: str, pika_1: Oracle, named: Named) -> None:
    theirs = open_named(authority, named, lambda ask: pika_1.attempt({**ask, "driver": driver}))
    assert theirs == (FINE, [named.asked])


def opened_and_closed(session: Session) -> None:
    session.open()
    session.open_channel()
    session.close_politely()


# No way down


@pytest.mark.rabbitmq
def test_amqps_never_becomes_plain_at_a_plain_rabbitmq(node: SecureRabbitMQ, attempt: Attempt) -> None:
    with Proxy(node.port) as proxy:
        url = proxy.url.replace("amqp:", "amqps:") + "?connection_attempts=3&retry_delay=0"
        report = attempt({"url": url})
        sent = proxy.record("to_server")
    assert "SSLError" in kinds(report["error"])
    assert_all_tls(sent)


@pytest.mark.parametrize("name", ["plain AMQP", "HTTP", "hangs up at once", "hangs up", "resets"])
def test_amqps_never_becomes_plain(authority: Authority, attempt: Attempt, name: str) -> None:
    replies = {"plain AMQP": b"AMQP\0\0\x09\x01", "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n"}
    received: list[bytes] = []

    def script(peer: PeerSocket) -> None:
        if name != "hangs up at once":
            received.append(peer.recv_some())
        if name in replies:
            peer.send(replies[name])
            received.append(peer.recv_until_end())
        elif name == "resets":
            peer.reset()

    with Peer(script) as peer:
        url = f"amqps://guest:hunter2@{LOOPBACK}:{peer.port}/?connection_attempts=2&retry_delay=0"
        report = attempt({"url": url})
        eventually(lambda: peer.accepted == 2)
    assert report["stage"] == "opening"
    for sent in received:
        assert_all_tls(sent)


def assert_all_tls(sent: bytes) -> None:
    """See that bytes are TLS records of a handshake, or alerts, and nothing else."""
    while sent:
        assert sent[0] in (0x15, 0x16) and sent[1] == 3, sent
        sent = sent[5 + int.from_bytes(sent[3:5], "big") :]


@pytest.mark.rabbitmq
@pytest.mark.parametrize("url", ["amqps://guest:guest@localhost:{}/%2F", "https://guest:guest@localhost:{}/"])
def test_amqps_trusts_the_system(
    node: SecureRabbitMQ, attempt: Attempt, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """OpenSSL takes the system's authorities from elsewhere if it is told to."""
    monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(node.authority.cert))
    assert attempt({"url": url.format(node.tls_port)}) == FINE
