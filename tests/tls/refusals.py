"""Connections over TLS that cannot be made: the situations, and what a program gets to see in each."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Callable, NamedTuple

import pytest

from tests.support.certificates import Authority, Certificate
from tests.support.peer import Peer, PeerSocket
from tests.support.ports import LOOPBACK
from tests.support.secure_rabbitmq import CERTIFIED_USER, SecureRabbitMQ
from tests.tls.attempt import Ask
from tests.tls.conftest import at

TLS_1_2, TLS_1_3 = "TLSv1_2", "TLSv1_3"


class Place:
    """Where the brokers and authorities are. Nodes are started when the first test asks for them."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def node(self, name: str) -> SecureRabbitMQ:
        found: SecureRabbitMQ = self._request.getfixturevalue(name)
        return found

    @property
    def authority(self) -> Authority:
        found: Authority = self._request.getfixturevalue("authority")
        return found

    @property
    def strangers(self) -> Authority:
        found: Authority = self._request.getfixturevalue("strangers")
        return found


Situation = Callable[[Place], AbstractContextManager[Ask]]


class Refusal(NamedTuple):
    """A situation, and what comes of it.

    :param situation: sets it up, and says how to ask for the connection
    :param kind: the name of the class that programs written for pika catch, or look for in what was called back
    :param phase: what the text says was going on
    :param cause: a regular expression for the cause in the text
    :param remedy: what the text says can be done; None if there is nothing to say
    :param called_back: the name of the class that callbacks get, if it is another
    """

    situation: Situation
    kind: str
    phase: str
    cause: str
    remedy: str | None
    called_back: str | None = None


def certificate(made: Certificate) -> dict[str, str]:
    return {"certfile": str(made.cert), "keyfile": str(made.key)}


def rabbitmq(
    node: str = "node", client: Callable[[Place], Certificate] | None = None, external: bool = False, **tls: Any
) -> Situation:
    """A RabbitMQ, and a client that is not right for it."""

    @contextlib.contextmanager
    def situation(place: Place) -> Iterator[Ask]:
        found = place.node(node)
        mine = {} if client is None else certificate(client(place))
        yield {**at(found.tls_port, found.authority, **mine, **tls), "external": external}

    return situation


@contextlib.contextmanager
def unknown_authority(place: Place) -> Iterator[Ask]:
    yield at(place.node("node").tls_port, place.strangers)


@contextlib.contextmanager
def system_authorities(place: Place) -> Iterator[Ask]:
    yield {"url": place.node("node").tls_url}


@contextlib.contextmanager
def tls_to_the_plain_port(place: Place) -> Iterator[Ask]:
    yield at(place.node("node").port, place.node("node").authority)


@contextlib.contextmanager
def plain_to_the_tls_port(place: Place) -> Iterator[Ask]:
    yield {"host": LOOPBACK, "port": place.node("node").tls_port}


def no_tls(script: Callable[[PeerSocket], object], stack_timeout: float = 20.0) -> Situation:
    """A server that does not speak TLS."""

    @contextlib.contextmanager
    def situation(place: Place) -> Iterator[Ask]:
        with Peer(script) as peer:
            yield {**at(peer.port, place.authority), "attributes": {"stack_timeout": stack_timeout}}

    return situation


def server(
    script: Callable[[PeerSocket], object] = lambda peer: None,
    client: dict[str, Any] | None = None,
    stack_timeout: float = 20.0,
    **issue: Any,
) -> Situation:
    """A server that speaks TLS, and does as a script says behind the handshake.

    :param client: what the client's TLS is like
    :param issue: what the server's certificate is like; ``only`` is the version of TLS that it speaks
    """
    only = issue.pop("only", None)

    @contextlib.contextmanager
    def situation(place: Place) -> Iterator[Ask]:
        context = place.authority.server_context(place.authority.issue("refusing", **issue))
        if only is not None:
            context.minimum_version = context.maximum_version = ssl.TLSVersion[only]
        with Peer(script, tls=context) as peer:
            ask = at(peer.port, place.authority, **client or {})
            yield {**ask, "attributes": {"stack_timeout": stack_timeout}}

    return situation


def answers(data: bytes) -> Callable[[PeerSocket], object]:
    def script(peer: PeerSocket) -> None:
        peer.recv_some()
        peer.send(data)

    return script


def hangs_up(peer: PeerSocket) -> None:
    peer.recv_some()


def resets(peer: PeerSocket) -> None:
    peer.recv_some()
    peer.reset()


TLS = "TLS handshake"
AMQP = "AMQP handshake"
TRUST = "check its names and dates, and that the SSLContext trusts the CA"
WANTS_CERTIFICATE = r"it may want a client certificate it trusts (SSLContext.load_cert_chain)"
IS_PLAIN = "is this the plain port? amqps is usually 5671"
HUNG_UP = "it may not speak TLS (amqps is usually 5671), or refuse us"
VERSIONS = "see minimum_version and maximum_version of the SSLContext"
USE_TLS = "connect with amqps:// or ssl_options"
NOT_VERIFIED = "SSLCertVerificationError"

#: With RabbitMQ.
BY_RABBITMQ: dict[str, Refusal] = {
    "an unknown CA": Refusal(unknown_authority, NOT_VERIFIED, TLS, "certificate in certificate chain", TRUST),
    "not the system's CA": Refusal(system_authorities, NOT_VERIFIED, TLS, "certificate in certificate chain", TRUST),
    "another name": Refusal(
        rabbitmq(server_hostname="elsewhere.example"), NOT_VERIFIED, TLS, "valid for 'elsewhere.example'", TRUST
    ),
    "EXTERNAL without a certificate": Refusal(
        rabbitmq(external=True), "ProbableAuthenticationError", AMQP, "403.*EXTERNAL", None
    ),
    "EXTERNAL for nobody": Refusal(
        rabbitmq(client=lambda place: place.node("node").authority.issue("nobody"), external=True),
        "ProbableAuthenticationError",
        AMQP,
        "403.*EXTERNAL",
        None,
    ),
    "no client certificate, 1.2": Refusal(
        rabbitmq("strict_node", only=TLS_1_2), "SSLError", TLS, "alert handshake failure", WANTS_CERTIFICATE
    ),
    "another CA's client certificate, 1.2": Refusal(
        rabbitmq("strict_node", client=lambda place: place.strangers.issue(CERTIFIED_USER), only=TLS_1_2),
        "SSLError",
        TLS,
        "alert unknown ca",
        WANTS_CERTIFICATE,
    ),
    "an expired client certificate, 1.2": Refusal(
        rabbitmq(
            "strict_node",
            client=lambda place: place.node("strict_node").authority.issue("expired", expired=True),
            only=TLS_1_2,
        ),
        "SSLError",
        TLS,
        "alert certificate expired",
        WANTS_CERTIFICATE,
    ),
    # With TLS 1.3 the client believes that the handshake is over when it is refused.
    "no client certificate, 1.3": Refusal(
        rabbitmq("strict_node", only=TLS_1_3), "IncompatibleProtocolError", AMQP, "", WANTS_CERTIFICATE
    ),
    "another CA's client certificate, 1.3": Refusal(
        rabbitmq("strict_node", client=lambda place: place.strangers.issue(CERTIFIED_USER), only=TLS_1_3),
        "IncompatibleProtocolError",
        AMQP,
        "",
        WANTS_CERTIFICATE,
    ),
    "an expired client certificate, 1.3": Refusal(
        rabbitmq(
            "strict_node",
            client=lambda place: place.node("strict_node").authority.issue("expired", expired=True),
            only=TLS_1_3,
        ),
        "IncompatibleProtocolError",
        AMQP,
        "",
        WANTS_CERTIFICATE,
    ),
    "no version in common": Refusal(
        rabbitmq("old_node", only=TLS_1_3), "SSLError", TLS, "alert protocol version", VERSIONS
    ),
    "TLS to the plain port": Refusal(tls_to_the_plain_port, "SSLError", TLS, "wrong version number", IS_PLAIN),
    "plain to the TLS port": Refusal(
        plain_to_the_tls_port, "IncompatibleProtocolError", AMQP, "speaks TLS|reset|EOF", None
    ),
}

#: With servers that the tests make themselves.
BY_OTHERS: dict[str, Refusal] = {
    "expired": Refusal(server(expired=True), NOT_VERIFIED, TLS, "certificate has expired", TRUST),
    "another host's": Refusal(server(hosts=["elsewhere.example"]), NOT_VERIFIED, TLS, "IP address mismatch", TRUST),
    "1.2 to a server with 1.3 only": Refusal(
        server(only=TLS_1_3, client={"only": TLS_1_2}), "SSLError", TLS, "alert protocol version", VERSIONS
    ),
    "1.3 to a server with 1.2 only": Refusal(
        server(only=TLS_1_2, client={"only": TLS_1_3}), "SSLError", TLS, "alert protocol version", VERSIONS
    ),
    "plain AMQP": Refusal(no_tls(answers(b"AMQP\0\0\x09\x01")), "SSLError", TLS, "wrong version number", IS_PLAIN),
    "HTTP": Refusal(
        no_tls(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")), "SSLError", TLS, "wrong version number", IS_PLAIN
    ),
    "hangs up at once": Refusal(no_tls(lambda peer: None), "OSError", TLS, "EOF|reset", HUNG_UP),
    "hangs up": Refusal(no_tls(hangs_up), "SSLError", TLS, "EOF", HUNG_UP),
    "resets": Refusal(no_tls(resets), "ConnectionResetError", TLS, "reset by peer", HUNG_UP),
    "says nothing": Refusal(
        no_tls(PeerSocket.recv_until_end, 0.5), "AMQPConnectorStackTimeout", TLS, "stack_timeout", None
    ),
    "TLS and then nothing": Refusal(
        server(PeerSocket.recv_until_end, stack_timeout=2.0),
        "AMQPConnectorStackTimeout",
        AMQP,
        "stack_timeout",
        None,
        "ConnectionOpenAborted",
    ),
    "TLS and then hangs up": Refusal(server(hangs_up), "IncompatibleProtocolError", AMQP, "EOF", None),
    "TLS and then resets": Refusal(server(resets), "IncompatibleProtocolError", AMQP, "reset|EOF", None),
    "TLS 1.2 and then resets": Refusal(
        server(resets, only=TLS_1_2), "IncompatibleProtocolError", AMQP, "reset|EOF", None
    ),
}
