"""Brokers that speak TLS, and clients that try to reach them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import oracle
from tests.support.bounded import bounded
from tests.support.certificates import Authority
from tests.support.ports import LOOPBACK
from tests.support.secure_rabbitmq import SecureRabbitMQ
from tests.tls import attempt as attempts
from tests.tls.attempt import Ask, Report
from tests.tls.oracle_process import Oracle

Attempt = Callable[[Ask], Report]


@pytest.fixture(scope="session")
def node(spare_rabbitmq: SecureRabbitMQ) -> SecureRabbitMQ:
    """A RabbitMQ with TLS, where clients may have a certificate."""
    return spare_rabbitmq


@pytest.fixture(scope="session")
def strict_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRabbitMQ]:
    """A RabbitMQ with TLS, where clients must have a certificate."""
    with SecureRabbitMQ(tmp_path_factory.mktemp("strict-node"), demand_certificate=True) as running:
        yield running


@pytest.fixture(scope="session")
def old_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRabbitMQ]:
    """A RabbitMQ with TLS 1.2 and no other."""
    with SecureRabbitMQ(tmp_path_factory.mktemp("old-node"), versions=["tlsv1.2"]) as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the servers that the tests make themselves."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("strangers"), "strangers")


@pytest.fixture(scope="session")
def pika_1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """pika 1.4.4."""
    python = oracle.oracle_python()
    if python is None:
        pytest.skip(oracle.REASON)
    running = Oracle(python, tmp_path_factory.mktemp("pika-1"))
    yield running
    running.stop()


@pytest.fixture(params=list(attempts.DRIVERS))
def driver(request: pytest.FixtureRequest) -> str:
    """The name of the adapter under test."""
    return str(request.param)


@pytest.fixture
def attempt(driver: str) -> Attempt:
    """Make an attempt with the adapter under test."""
    return lambda ask: bounded(lambda: attempts.attempt({**ask, "driver": driver}))


@pytest.fixture
def connect(driver: str) -> Iterator[Callable[[Ask], attempts.Driver]]:
    """Open connections with the adapter under test; they are closed at the end."""
    opened: list[attempts.Driver] = []

    def open_one(ask: Ask) -> attempts.Driver:
        one = attempts.DRIVERS[driver]()
        opened.append(one)
        bounded(lambda: one.open(attempts.parameters(ask)))
        return one

    yield open_one
    for one in opened:
        bounded(one.close)


def at(port: int, authority: Authority, **tls: Any) -> Ask:
    """How to ask for a connection to a port of the loopback with TLS, trusting an authority."""
    return {"host": LOOPBACK, "port": port, "tls": {"cafile": str(authority.cert), **tls}}


def kinds(error: Report) -> set[str]:
    """The names of the classes of an error, and of the one that it wraps."""
    return {*error["classes"], *(error["cause"]["classes"] if error["cause"] else ())}
