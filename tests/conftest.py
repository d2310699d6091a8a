"""What every test stands on: Hypothesis profiles, one RabbitMQ for the whole run, and both brokers seen alike.

Environment:

- ``PIKA_TEST_AMQP_URL``: run against the broker at this AMQP URL instead of starting a node
- ``PIKA_TEST_RABBITMQCTL``: the command line that acts as that broker's ``rabbitmqctl``
- ``HYPOTHESIS_PROFILE``: ``default``, ``brief`` or ``fuzz``
- ``CI``: if set, a missing RabbitMQ server is an error; otherwise its tests are left out, and one line says so
"""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from pika.broker import Broker as EmbeddedBroker
from tests.support.brokers import BOTH
from tests.support.rabbitmq import Broker, RabbitMQ, find_server
from tests.support.secure_rabbitmq import SecureRabbitMQ

# Speed never fails a test: no deadlines, and a slow machine is no failed health check.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("brief", settings.get_profile("default"), max_examples=25)
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

MISSING = "no RabbitMQ server on this machine: {count} tests that need one {verb} (apt-get install rabbitmq-server)"

# The fixtures that are RabbitMQ, or start one.
NODES = frozenset({"rabbitmq", "spare_rabbitmq", "start_rabbitmq"})

# Files whose tests take longest, and so come first: the tests of a file run one behind the other, and what begins last
# is waited for by all.
_LONG = frozenset({"test_benchmarks.py", "test_tutorials.py", "test_examples.py", "test_traffic.py"})

_left_out = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in _LONG)
    installed = find_server() is not None
    missing = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        if isinstance(item, pytest.Function) and callspec is not None and callspec.params.get("broker") == "rabbitmq":
            # `broker` asks for it only when it runs.
            item.fixturenames = ["rabbitmq", *item.fixturenames]
        fixtures = getattr(item, "fixturenames", ())
        if not NODES.isdisjoint(fixtures):
            item.add_marker(pytest.mark.rabbitmq)
        served_elsewhere = "rabbitmq" in fixtures and "PIKA_TEST_AMQP_URL" in os.environ
        if item.get_closest_marker("rabbitmq") is not None and not installed and not served_elsewhere:
            missing.append(item)
    if missing and os.environ.get("CI"):
        raise pytest.UsageError(MISSING.format(count=len(missing), verb="cannot run"))
    if missing:
        # Left out rather than skipped one by one: one line at the end says it, and louder than hundreds would.
        unwanted = {id(item) for item in missing}
        items[:] = [item for item in items if id(item) not in unwanted]
        config.hook.pytest_deselected(items=missing)
    config.stash[_left_out] = len(missing)


def pytest_collection_finish() -> None:
    """Spare the collections of garbage to come the tests themselves: thousands of objects that stay to the end."""
    gc.collect()
    if hasattr(gc, "freeze"):  # PyPy has none, and its collector passes over the old by itself.
        gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    count = config.stash.get(_left_out, 0)
    if count:
        terminalreporter.write_line(
            "WARNING: " + MISSING.format(count=count, verb="were LEFT OUT"), yellow=True, bold=True
        )


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Broker]:
    """The RabbitMQ of this run: a private node, or the broker of PIKA_TEST_AMQP_URL. Leave it as you found it."""
    url = os.environ.get("PIKA_TEST_AMQP_URL")
    if url:
        yield Broker(url, shlex.split(os.environ.get("PIKA_TEST_RABBITMQCTL", "")))
    else:
        with RabbitMQ() as node:
            yield node


@pytest.fixture(scope="session", params=BOTH)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The broker under test: the embedded one, then RabbitMQ. Only RabbitMQ has a `ctl`."""
    if request.param == "rabbitmq":
        yield request.getfixturevalue("rabbitmq")
        return
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.url)


@pytest.fixture(scope="session")
def spare_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRabbitMQ]:
    """A private node beside, with TLS too, to be stopped, commanded or alarmed. Leave it as you found it."""
    with SecureRabbitMQ(tmp_path_factory.mktemp("spare-rabbitmq")) as node:
        yield node


@pytest.fixture
def start_rabbitmq() -> Iterator[Callable[..., RabbitMQ]]:
    """Start a node for this test alone, to be configured, killed or cut off: call it with the arguments of RabbitMQ."""
    nodes: list[RabbitMQ] = []

    def start(*, config: tuple[str, ...] = (), plugins: tuple[str, ...] = ()) -> RabbitMQ:
        nodes.append(RabbitMQ(config, plugins))
        nodes[-1].start()
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()
