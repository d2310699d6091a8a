"""The way of pika.aio to its broker: TCP, TLS, deadlines, and what does not fit into them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pika
from pika import exceptions
from pika.aio import connect
from pika.broker import Broker as EmbeddedBroker
from pika.transport.errors import AMQPConnectorStackTimeout
from tests.support.aio import run
from tests.support.certificates import Authority
from tests.support.peer import Peer, PeerSocket, unanswering
from tests.support.tls_proxy import tls_proxy

LARGE = bytes(range(256)) * 80_000


@pytest.fixture(params=["plain", "TLS"])
def parameters(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[pika.URLParameters]:
    """Where an embedded broker is, plain or behind TLS."""
    with EmbeddedBroker() as embedded, contextlib.ExitStack() as stack:
        parameters = pika.URLParameters(embedded.url)
        if request.param == "TLS":
            authority = Authority(tmp_path)
            context = authority.server_context(authority.issue("localhost"))
            proxy = stack.enter_context(tls_proxy(parameters.port, context, parameters.host))
            parameters.host, parameters.port = proxy.host, proxy.port
            parameters.ssl_options = pika.SSLOptions(authority.client_context(), "localhost")
        yield parameters


def test_large_bodies_both_ways_at_a_time(parameters: pika.URLParameters) -> None:
    async def main() -> None:
        async with connect(parameters) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue

            async def publish() -> None:
                async with channel.publisher(max_in_flight=3) as publisher:
                    for number in range(6):
                        await publisher.send(LARGE if number % 2 else b"small", routing_key=queue)

            publishing = asyncio.ensure_future(publish())
            sizes = []
            async for message in channel.consume(queue):
                sizes.append(len(message.body))
                if len(message.body) > 5:
                    assert message.body == LARGE
                await message.ack()
                if len(sizes) == 6:
                    break
            assert sizes == [5, len(LARGE)] * 3
            await publishing

    run(main)


def test_many_at_a_time(parameters: pika.URLParameters) -> None:
    async def use(number: int) -> None:
        async with connect(parameters) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            await channel.basic_publish("", queue, b"%d" % number)
            async for message in channel.consume(queue, auto_ack=True):
                assert message.body == b"%d" % number
                break

    async def main() -> None:
        await asyncio.gather(*map(use, range(20)))

    run(main)


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    authority, other = map(Authority, folders)

    async def main() -> None:
        options = pika.SSLOptions(other.client_context(), "localhost")
        with pytest.raises(exceptions.AMQPConnectionError, match="the certificate of the peer was not accepted"):
            await connect(pika.ConnectionParameters("127.0.0.1", peer.port, ssl_options=options))

    with Peer(lambda peer: None, tls=authority.server_context(authority.issue("localhost"))) as peer:
        run(main)
    assert len(peer.handshake_errors) == 1


def hold(peer: PeerSocket) -> None:
    """Say nothing."""
    peer.recv_until_end()


@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_that_says_nothing(tls: bool, tmp_path: Path) -> None:
    async def main() -> None:
        options = pika.SSLOptions(Authority(tmp_path).client_context(), "localhost") if tls else None
        silent = pika.ConnectionParameters("127.0.0.1", peer.port, stack_timeout=1.5, ssl_options=options)
        with pytest.raises(AMQPConnectorStackTimeout) as caught:
            await connect(silent)
        assert isinstance(caught.value, exceptions.AMQPConnectionError)
        assert ("TLS handshake" if tls else "waiting for connection.start") in str(caught.value)

    with Peer(hold) as peer:
        run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="backlogs count differently elsewhere")
def test_tcp_that_is_not_answered() -> None:
    async def main(port: int) -> None:
        for what, limits in (
            ("socket_timeout (0.1 seconds)", {"socket_timeout": 0.1}),
            ("the stack_timeout of 0.1", {"stack_timeout": 0.1, "socket_timeout": None}),
        ):
            with pytest.raises(exceptions.AMQPConnectionError) as caught:
                await connect(pika.ConnectionParameters("127.0.0.1", port, **limits))
            assert f"TCP connection: no answer within {what}" in str(caught.value)

    with unanswering() as port:
        run(lambda: main(port))


def test_what_is_no_broker() -> None:
    async def main(port: int) -> None:
        with pytest.raises(exceptions.IncompatibleProtocolError, match="HTTP"):
            await connect(pika.ConnectionParameters("127.0.0.1", port))

    # It speaks before it is spoken to.
    with Peer(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as peer:
        run(lambda: main(peer.port))
