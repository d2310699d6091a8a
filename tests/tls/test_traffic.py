"""What passes over TLS: large and many messages, new keys in the middle of them, heartbeats."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator

import pytest

from pika.broker import Broker as EmbeddedBroker
from tests.support.bounded import Running, bounded, eventually
from tests.support.certificates import Authority
from tests.support.proxy import Proxy
from tests.support.secure_rabbitmq import SecureRabbitMQ
from tests.support.tls_proxy import tls_proxy
from tests.tls.attempt import Ask, Driver
from tests.tls.conftest import at
from tests.tls.refusals import TLS_1_2, TLS_1_3

Connect = Callable[[Ask], Driver]

LARGE = 16 * 1024 * 1024 + 1
# The rounds of a change of keys: each is a record of its own among those of the messages.
ROUNDS = 50


def noise(size: int) -> bytes:
    """Bytes without a period, the same each time."""
    return hashlib.shake_128(b"pika").digest(size)


@pytest.fixture(params=[TLS_1_2, TLS_1_3])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def ask(request: pytest.FixtureRequest, version: str) -> Iterator[Ask]:
    """How to ask for a connection to either broker."""
    if request.param == "rabbitmq":
        node: SecureRabbitMQ = request.getfixturevalue("node")
        yield at(node.tls_port, node.authority, only=version)
        return
    authority: Authority = request.getfixturevalue("authority")
    context = authority.server_context(authority.issue("embedded"))
    with EmbeddedBroker() as broker, tls_proxy(broker.port, context) as proxy:
        yield at(proxy.port, authority, only=version)


def test_large_messages_both_ways(ask: Ask, connect: Connect) -> None:
    bodies = [noise(LARGE), noise(LARGE)[::-1]]
    one = connect(ask)
    assert bounded(lambda: one.echo(bodies), 100) == bodies
    assert bounded(lambda: one.echo([b"small"])) == [b"small"]


def test_many_small_messages(ask: Ask, connect: Connect) -> None:
    bodies = [str(number).encode() for number in range(20_000)]
    assert bounded(lambda: connect(ask).echo(bodies), 100) == bodies


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 131064, 131065])
def test_sizes_at_the_edges_of_records_and_frames(ask: Ask, connect: Connect, size: int) -> None:
    bodies = [noise(size)] * 3
    assert bounded(lambda: connect(ask).echo(bodies)) == bodies


# New keys


def change_keys(node: SecureRabbitMQ, version: str, times: int) -> str:
    return node.update_keys(times) if version == TLS_1_3 else node.renegotiate(times)


@pytest.mark.rabbitmq
@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 5000, 1 << 20])
def test_new_keys_between_messages(node: SecureRabbitMQ, connect: Connect, version: str, size: int) -> None:
    """RabbitMQ changes its keys, and asks for new ones of ours, while messages go both ways."""
    one = connect(at(node.tls_port, node.authority, only=version))
    bodies = [noise(size), b"x"]
    changing = Running(lambda: change_keys(node, version, ROUNDS))
    echoes = 0
    while changing.thread.is_alive():
        assert bounded(lambda: one.echo(bodies)) == bodies
        echoes += 1
    assert changing.result() == "[ok]"
    assert echoes
    assert bounded(lambda: one.echo(bodies)) == bodies


@pytest.mark.rabbitmq
@pytest.mark.slow
def test_new_keys_within_a_message(node: SecureRabbitMQ, connect: Connect, version: str) -> None:
    one = connect(at(node.tls_port, node.authority, only=version))
    body = noise(LARGE)
    changing = Running(lambda: change_keys(node, version, ROUNDS))
    while changing.thread.is_alive():
        assert bounded(lambda: one.echo([body]), 100) == [body]
    assert changing.result() == "[ok]"


@pytest.mark.rabbitmq
def test_new_keys_are_answered_by_a_client_that_only_waits(
    node: SecureRabbitMQ, connect: Connect, version: str
) -> None:
    """The answer goes out by itself, and not with the next message."""
    with Proxy(node.tls_port) as proxy:
        ask = {**at(proxy.port, node.authority, only=version), "attributes": {"heartbeat": 0}}
        one = connect(ask)
        waiting = Running(one.wait_for_end)
        assert bounded(lambda: change_keys(node, version, 1)) == "[ok]"
        before = records(proxy.record("to_server"))
        assert bounded(lambda: change_keys(node, version, 3)) == "[ok]"
        eventually(lambda: len(records(proxy.record("to_server"))) >= len(before) + 3)
        proxy.cut()
        assert type(waiting.result()).__name__ == "StreamLostError"


def records(sent: bytes) -> list[bytes]:
    """Cut bytes into records of TLS."""
    found = []
    while sent:
        size = 5 + int.from_bytes(sent[3:5], "big")
        found.append(sent[:size])
        sent = sent[size:]
    return found


# Heartbeats


@pytest.mark.slow
def test_heartbeats(ask: Ask, connect: Connect) -> None:
    one = connect({**ask, "attributes": {"heartbeat": 1}})
    assert bounded(lambda: one.wait_for_end(4)).args == ("the connection has not ended",)
    assert bounded(lambda: one.echo([b"alive"])) == [b"alive"]


# What the broker says of it


@pytest.mark.rabbitmq
def test_the_broker_counts_it_as_tls(node: SecureRabbitMQ, connect: Connect, version: str) -> None:
    connect(at(node.tls_port, node.authority, only=version))
    listed = node.ctl("list_connections", "ssl", "ssl_protocol", "auth_mechanism", "state")
    assert re.search(rf"true\t{version.lower().replace('_', '.')}\tPLAIN\trunning", listed), listed
