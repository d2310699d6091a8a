"""TLS as an AMQP URL asks for it: ``amqps://``, and each key of ``ssl_options``."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

import pika
from tests.support.certificates import Authority
from tests.support.ports import LOOPBACK
from tests.support.scripted_broker import Session, scripted_broker
from tests.support.secure_rabbitmq import CERTIFIED_USER, SecureRabbitMQ
from tests.tls.attempt import Ask
from tests.tls.conftest import Attempt, kinds
from tests.tls.oracle_process import Oracle

FINE = {"stage": "open", "error": None}
Options = dict[str, Any]


def url(port: int, options: Options, scheme: str = "amqps", host: str = LOOPBACK) -> str:
    return f"{scheme}://guest:guest@{host}:{port}/%2F?ssl_options={quote(str(options))}"


# Whom to trust

TRUSTING: dict[str, Callable[[Authority], Options]] = {
    "cafile": lambda authority: {"cafile": str(authority.cert)},
    "ca_certs": lambda authority: {"ca_certs": str(authority.cert)},
    "capath": lambda authority: {"capath": str(authority.hashed())},
    "ca_path": lambda authority: {"ca_path": str(authority.hashed())},
    "cadata": lambda authority: {"cadata": authority.cert.read_text()},
    "ca_data": lambda authority: {"ca_data": authority.cert.read_text()},
    "cadata, binary": lambda authority: {"cadata": ssl.PEM_cert_to_DER_cert(authority.cert.read_text())},
    "no more than it means": lambda authority: {"cafile": str(authority.cert), "do_handshake_on_connect": False},
}


@pytest.mark.rabbitmq
@pytest.mark.parametrize("name", TRUSTING)
@pytest.mark.parametrize("scheme", ["amqps", "amqp"])
def test_whom_to_trust(node: SecureRabbitMQ, strangers: Authority, attempt: Attempt, name: str, scheme: str) -> None:
    options = TRUSTING[name]
    assert attempt({"url": url(node.tls_port, options(node.authority), scheme)}) == FINE
    report = attempt({"url": url(node.tls_port, options(strangers), scheme)})
    assert "SSLCertVerificationError" in kinds(report["error"])


@pytest.mark.rabbitmq
@pytest.mark.parametrize("name", TRUSTING)
def test_pika_trusts_the_same(node: SecureRabbitMQ, strangers: Authority, pika_1: Oracle, name: str) -> None:
    options = TRUSTING[name]
    assert pika_1.attempt({"url": url(node.tls_port, options(node.authority))}) == FINE
    report = pika_1.attempt({"url": url(node.tls_port, options(strangers))})
    assert report["error"]["classes"][0] == "SSLCertVerificationError"


@pytest.mark.rabbitmq
def test_a_url_as_programs_write_it(node: SecureRabbitMQ, attempt: Attempt) -> None:
    """Braces and quotes need no escapes."""
    text = f"amqps://guest:guest@localhost:{node.tls_port}/%2f?ssl_options={{'cafile':'{node.authority.cert}'}}"
    assert attempt({"url": text}) == FINE
    assert attempt({"url": text + "&heartbeat=30&connection_attempts=2"}) == FINE


@pytest.mark.rabbitmq
@pytest.mark.parametrize("options", [{"verify_mode": 0}, {"cert_reqs": 0}, {"verify_mode": "CERT_NONE"}])
def test_verifying_nothing_has_to_be_asked_for(node: SecureRabbitMQ, attempt: Attempt, options: Options) -> None:
    assert attempt({"url": url(node.tls_port, options)}) == FINE


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    "options", [{}, {"protocol": 2}, {"ssl_version": 2}, {"protocol": 5}, {"verify_mode": 1}, {"check_hostname": False}]
)
def test_anything_else_verifies(node: SecureRabbitMQ, attempt: Attempt, options: Options) -> None:
    report = attempt({"url": url(node.tls_port, options)})
    assert "SSLCertVerificationError" in kinds(report["error"])


# What the server sees


class Seen(NamedTuple):
    """A TLS session, as its server sees it."""

    name: str | None
    version: str
    cipher: str


@pytest.fixture
def seen_with(authority: Authority, attempt: Attempt) -> Iterator[Callable[..., Seen]]:
    """Open a connection with options of a URL to a server with a certificate, and return what it sees."""

    def open_one(options: Options, hosts: tuple[str, ...] = (LOOPBACK,)) -> Seen:
        names: list[str | None] = []
        sessions: list[Seen] = []
        context = authority.server_context(authority.issue("seeing", hosts=hosts))
        context.sni_callback = lambda _session, name, _context: names.append(name)

        def script(session: Session) -> None:
            sock = session.peer.socket
            assert isinstance(sock, ssl.SSLSocket)
            version, cipher = sock.version(), sock.cipher()
            assert version and cipher
            sessions.append(Seen(names[0], version, cipher[0]))
            session.open()
            session.open_channel()
            session.close_politely()

        with scripted_broker(script, tls=context) as peer:
            ask: Ask = {"url": url(peer.port, {"cafile": str(authority.cert), **options}), "open_only": True}
            assert attempt(ask) == FINE
        return sessions[0]

    yield open_one


def test_server_hostname(seen_with: Callable[..., Seen]) -> None:
    assert seen_with({"server_hostname": "rabbit.example"}, ("rabbit.example",)).name == "rabbit.example"


def test_check_hostname(seen_with: Callable[..., Seen]) -> None:
    assert seen_with({"check_hostname": False}, ("rabbit.example",)).name is None


@pytest.mark.parametrize("key", ["protocol", "ssl_version"])
def test_a_version(seen_with: Callable[..., Seen], key: str) -> None:
    assert seen_with({key: int(ssl.PROTOCOL_TLSv1_2)}).version == "TLSv1.2"
    for negotiated in (int(ssl.PROTOCOL_TLS), int(ssl.PROTOCOL_TLS_CLIENT)):
        assert seen_with({key: negotiated}).version == "TLSv1.3"


def test_ciphers(seen_with: Callable[..., Seen]) -> None:
    """They are those of TLS 1.2; Python leaves the suites of TLS 1.3 alone."""
    for name in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"):
        assert seen_with({"ciphers": name, "protocol": int(ssl.PROTOCOL_TLSv1_2)}).cipher == name


# Who the client is


@pytest.mark.rabbitmq
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_a_client_certificate(
    strict_node: SecureRabbitMQ, attempt: Attempt, tmp_path: Path, encrypted: bool, apart: bool
) -> None:
    mine = strict_node.authority.issue(CERTIFIED_USER)
    options: Options = {"cafile": str(strict_node.authority.cert)}
    if encrypted:
        mine = strict_node.authority.encrypt(mine, "hunter2")
        options["password"] = "hunter2"
    if apart:
        options.update(certfile=str(mine.cert), keyfile=str(mine.key))
    else:
        both = tmp_path / "both.pem"
        both.write_bytes(mine.key.read_bytes() + mine.cert.read_bytes())
        options["certfile"] = str(both)
    asked = {"url": url(strict_node.tls_port, options, host="localhost")}
    assert attempt({**asked, "external": True}) == FINE
    assert attempt(asked) == FINE


# What cannot be used


class Files(NamedTuple):
    """Files for options."""

    ca: str
    cert: str
    key: str
    other_key: str
    encrypted_key: str


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    mine, other = authority.issue("mine"), authority.issue("other")
    made = (authority.cert, mine.cert, mine.key, other.key, authority.encrypt(mine, "hunter2").key)
    return Files(*map(str, made))


# Options that cannot be used, by what is wrong with them; they have a CA if they do not say otherwise.
BAD: dict[str, Callable[[Files], Options]] = {
    "no such CA": lambda _: {"cafile": "/no/such/file"},
    "a CA that is none": lambda files: {"cafile": files.key},
    "data that is none": lambda _: {"cadata": "hunter2"},
    "no such certificate": lambda _: {"certfile": "/no/such/file"},
    "no key": lambda files: {"certfile": files.cert},
    "another's key": lambda files: {"certfile": files.cert, "keyfile": files.other_key},
    "a wrong password": lambda files: {"certfile": files.cert, "keyfile": files.encrypted_key, "password": "hunter3"},
    "no such ciphers": lambda _: {"ciphers": "hunter2"},
    "a path that is none": lambda _: {"cafile": 5},
    "no such protocol": lambda _: {"protocol": 99},
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used(files: Files, attempt: Attempt, pika_1: Oracle, name: str) -> None:
    """It is refused before anything is sent, as pika does, in words that name the option and no value."""
    asked = {"url": url(5671, {"cafile": files.ca, **BAD[name](files)})}
    ours, theirs = attempt(asked), pika_1.attempt(asked)
    assert ours["stage"] == theirs["stage"] == "parameters"
    ours, theirs = ours["error"], theirs["error"]
    assert theirs["classes"][0] in ours["classes"]
    assert "ssl_options: " in ours["text"]
    assert "hunter" not in ours["text"]
    assert "('" not in ours["text"], "the words of OpenSSL, and not how Python shows them"


def test_an_encrypted_key_without_its_password(files: Files) -> None:
    """OpenSSL would ask the terminal for it."""
    options = {"cafile": files.ca, "certfile": files.cert, "keyfile": files.encrypted_key}
    with pytest.raises(ValueError, match=r"ssl_options: .* the key is encrypted; give its password"):
        pika.URLParameters(url(5671, options))
