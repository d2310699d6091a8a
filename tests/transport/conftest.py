"""What the tests of the transport share: certificates, made once for all, and streams."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from pika.transport.stream import Stream
from tests.support.certificates import Authority, Certificate
from tests.transport.streams import Link, Options, Pair


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues certificates."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server(authority: Authority) -> Certificate:
    """The certificate of a server on localhost."""
    return authority.issue("transport-server")


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def link(request: pytest.FixtureRequest, authority: Authority, server: Certificate) -> Link:
    """A way of connecting, of each kind in turn."""
    if request.param == "plain":
        return Link(None, None)
    context = authority.server_context(server)
    version = ssl.TLSVersion.TLSv1_2 if request.param == "TLS 1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = version
    return Link(context, Options(authority.client_context(), "localhost"))


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A stream, and the other end of its socket."""
    one, other = socket.socketpair()
    stream = Stream(one, peer="other:1")
    yield Pair(stream, other)
    stream.close()
    other.close()
