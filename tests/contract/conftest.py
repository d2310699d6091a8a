"""Each case runs against RabbitMQ and against the embedded broker, which must give the same answers.

Those that go through an adapter run over TLS too, which ends in front of the broker. These are marked slow, and so are
those that ask RabbitMQ otherwise than through the two commonest adapters: nothing of the interpreter is in them that is
not in the same cases on the embedded broker.

What the stream under a client, or its loop, can change shows in a few modules; `make contract` runs the others, too,
over TLS and on uvloop (PIKA_TEST_WHOLE_CONTRACT=1).
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from pika import spec
from pika.broker import Broker, User
from tests.contract.aio_driver import AioDriverConnection
from tests.contract.asyncio_driver import AsyncioDriverConnection
from tests.contract.blocking_driver import BlockingDriverConnection
from tests.contract.callback_driver import CallbackConnection
from tests.contract.drivers import Channel, Connection
from tests.contract.profiles import Profile, profile_for
from tests.contract.protocol_driver import ProtocolConnection
from tests.contract.select_driver import SelectDriverConnection
from tests.contract.threaded_driver import ThreadedDriverConnection
from tests.contract.users import USERS, add_users, delete_users
from tests.contract.wire import Wire
from tests.support.certificates import Authority
from tests.support.tls_proxy import tls_proxy


def on_library(library: str, driver: str) -> Callable[[str], Connection]:
    """Make connections of a driver that needs a library, which not every interpreter has.

    :param library: its name
    :param driver: the class's
    """

    def connect(url: str) -> Connection:
        pytest.importorskip(library, reason=f"no {library} for this interpreter")
        module = importlib.import_module(f"tests.contract.{library}_driver")
        connection: Connection = getattr(module, driver)(url)
        return connection

    return connect


BROKERS = [pytest.param("embedded"), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]
DRIVERS: dict[str, Callable[[str], Connection]] = {
    "protocol": ProtocolConnection,
    "blocking": BlockingDriverConnection,
    "callback": CallbackConnection,
    "select": SelectDriverConnection,
    "threaded": ThreadedDriverConnection,
    "aio": AioDriverConnection,
    "aio on uvloop": functools.partial(AioDriverConnection, kind="uvloop"),
    "asyncio": AsyncioDriverConnection,
    "tornado": on_library("tornado", "TornadoDriverConnection"),
    "gevent": on_library("gevent", "GeventDriverConnection"),
    "twisted": on_library("twisted", "TwistedDriverConnection"),
}
# Those that speak TLS, which the others know nothing of.
ADAPTERS = ["blocking", "threaded", "aio", "aio on uvloop", "select", "asyncio", "tornado", "gevent", "twisted"]
COMMONEST = ["blocking", "aio"]
OVER_TLS = " over TLS"
# What another loop or stream under the same client can change: these modules have all of it, small and large, one by
# one and pipelined, of both directions and of the ends.
SELECTION = ("test_channels", "test_consuming", "test_messages", "test_pipelining", "test_publishing")
IS_WHOLE = bool(os.environ.get("PIKA_TEST_WHOLE_CONTRACT"))


class Contractor:
    """A broker under test.

    :param url: its AMQP URL, as a user who may do everything
    :param ctl: runs rabbitmqctl on it, if it is RabbitMQ
    """

    def __init__(self, url: str, ctl: Callable[..., str] | None = None) -> None:
        self.url = url
        self.ctl = ctl
        wire = Wire(url).connect()
        self.server_properties = wire.server_properties
        wire.close()
        self.profile: Profile = profile_for(self.server_properties)

    def url_as(self, username: str, password: str) -> str:
        """Return the URL for another user."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{username}:{password}@{parts.hostname}:{parts.port}"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unwanted = [item for item in items if not is_selected(item)]
    if unwanted:
        items[:] = [item for item in items if is_selected(item)]
        config.hook.pytest_deselected(items=unwanted)
    # So that whoever looks for tests that need RabbitMQ by their fixtures finds these.
    for item in items:
        callspec = getattr(item, "callspec", None)
        if isinstance(item, pytest.Function) and callspec is not None and callspec.params.get("broker") == "rabbitmq":
            item.fixturenames = ["rabbitmq", *item.fixturenames]
            if callspec.params.get("connect") not in COMMONEST:
                item.add_marker(pytest.mark.slow)


def is_selected(item: pytest.Item) -> bool:
    """Say whether a test is wanted with its driver."""
    callspec = getattr(item, "callspec", None)
    driver, over_tls, _ = (str(callspec.params.get("connect")) if callspec is not None else "").partition(OVER_TLS)
    return IS_WHOLE or not (over_tls or driver == "aio on uvloop") or item.path.stem in SELECTION


@pytest.fixture(scope="session", params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[Contractor]:
    """The broker under test."""
    if request.param == "rabbitmq":
        server = request.getfixturevalue("rabbitmq")
        yield Contractor(server.url, server.ctl)
        return
    users = {"guest": User("guest")}
    for user in USERS:
        configure, write, read = user.permissions or ("", "", "")
        vhosts = None if user.permissions else ()
        users[user.name] = User(user.password, configure, write, read, vhosts)
    with Broker(users=users) as embedded:
        yield Contractor(embedded.url)


@pytest.fixture
def profile(broker: Contractor) -> Profile:
    """What the broker's version does."""
    return broker.profile


@pytest.fixture(scope="session")
def users(broker: Contractor) -> Iterator[None]:
    """See that the users of the contract exist; the embedded broker was made with them."""
    if broker.ctl is not None:
        add_users(broker.ctl)
    yield
    if broker.ctl is not None:
        delete_users(broker.ctl)


_numbers = itertools.count(1)
_run = secrets.token_hex(4)


@pytest.fixture
def name() -> Callable[..., str]:
    """Make names that nobody else uses."""

    def name(what: str = "name") -> str:
        return f"contract-{_run}-{next(_numbers)}-{what}"

    return name


# Connections


@pytest.fixture
def new_wire(broker: Contractor) -> Iterator[Callable[..., Wire]]:
    """Make TCP connections to the broker, on which nothing has been said yet."""
    with ExitStack() as stack:

        def new(url: str | None = None) -> Wire:
            wire = Wire(url or broker.url)
            stack.callback(wire.disconnect)
            return wire

        yield new


@pytest.fixture
def wire(broker: Contractor) -> Iterator[Wire]:
    """An open connection with channel 1 open, frame by frame."""
    wire = Wire(broker.url).connect()
    wire.open_channel()
    yield wire
    wire.close()


@pytest.fixture(scope="session")
def over_tls(broker: Contractor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Turn a URL of the broker into one that goes there over TLS."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    context = authority.server_context(authority.issue("contract"))
    options = quote(str({"cafile": str(authority.cert)}))
    address = urlsplit(broker.url)
    with tls_proxy(address.port or 5672, context, address.hostname or "localhost") as proxy:

        def convert(url: str) -> str:
            parts = urlsplit(url)
            user = parts.netloc.rpartition("@")[0]
            converted = parts._replace(scheme="amqps", netloc=f"{user}@{proxy.host}:{proxy.port}")
            return urlunsplit(converted._replace(query=f"ssl_options={options}"))

        yield convert


@pytest.fixture(
    params=[*DRIVERS, *(pytest.param(f"{adapter}{OVER_TLS}", marks=pytest.mark.slow) for adapter in ADAPTERS)]
)
def connect(broker: Contractor, request: pytest.FixtureRequest) -> Iterator[Callable[..., Connection]]:
    """Make connections of the driver."""
    driver, over_tls, _ = request.param.partition(OVER_TLS)
    kind = DRIVERS[driver]
    convert: Callable[[str], str] = request.getfixturevalue("over_tls") if over_tls else str
    with ExitStack() as stack:

        def connect(url: str | None = None) -> Connection:
            connection: Connection = kind(convert(url or broker.url))
            stack.callback(connection.close)
            return connection

        yield connect


@pytest.fixture
def connection(connect: Callable[..., Connection]) -> Connection:
    """An open connection of the driver."""
    return connect()


@pytest.fixture
def channel(connection: Connection) -> Channel:
    """An open channel of the driver."""
    return connection.channel()


@pytest.fixture
def other(connection: Connection) -> Channel:
    """A second channel on the connection."""
    return connection.channel()


# What is declared


@pytest.fixture
def queue(channel: Channel, name: Callable[..., str]) -> str:
    """An exclusive queue."""
    return channel.queue_declare(name("queue"), exclusive=True).queue


@pytest.fixture
def leftovers(broker: Contractor) -> Iterator[list[spec.Exchange.Delete | spec.Queue.Delete]]:
    """What is carried out when the test is over; deleting what is gone is no error."""
    deletions: list[spec.Exchange.Delete | spec.Queue.Delete] = []
    yield deletions
    if deletions:
        wire = Wire(broker.url).connect()
        wire.open_channel()
        wire.send(*deletions)
        assert set(wire.names(len(deletions))) <= {"Exchange.DeleteOk", "Queue.DeleteOk"}
        wire.close()


@pytest.fixture
def new_exchange(
    channel: Channel, name: Callable[..., str], leftovers: list[spec.Exchange.Delete | spec.Queue.Delete]
) -> Callable[..., str]:
    """Declare exchanges that are gone after the test."""

    def new(exchange_type: str = "direct", **options: Any) -> str:
        exchange = name(exchange_type)
        leftovers.append(spec.Exchange.Delete(0, exchange))
        channel.exchange_declare(exchange, exchange_type, **options)
        return exchange

    return new


@pytest.fixture
def new_queue(
    channel: Channel, name: Callable[..., str], leftovers: list[spec.Exchange.Delete | spec.Queue.Delete]
) -> Callable[..., str]:
    """Declare queues that are gone after the test, durable and not exclusive unless said otherwise."""

    def new(**options: Any) -> str:
        queue = name("queue")
        leftovers.append(spec.Queue.Delete(0, queue))
        channel.queue_declare(queue, **{"durable": True, **options})
        return queue

    return new
