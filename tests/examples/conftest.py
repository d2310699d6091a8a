"""What the tests of the examples stand on."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pika
from tests.examples.example import EXAMPLES, Example
from tests.support.adapter_loops import require
from tests.support.bounded import eventually
from tests.support.oracle import REASON, oracle_python
from tests.support.rabbitmq import Broker

QUEUE = "tasks"

Start = Callable[..., Example]


class Tasks:
    """The queue that the examples share, on a broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    @contextlib.contextmanager
    def _channel(self) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
        with pika.BlockingConnection(self.broker.parameters()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel

    def delete(self) -> None:
        """Delete the queue, if it is there."""
        with self._channel() as channel:
            channel.queue_delete(QUEUE)

    def publish(self, *bodies: str) -> None:
        """Put messages into the queue."""
        with self._channel() as channel:
            channel.queue_declare(QUEUE, durable=True)
            for body in bodies:
                channel.basic_publish("", QUEUE, body.encode(), mandatory=True)

    def wait_for_consumers(self, number: int) -> None:
        """Wait until the queue has so many consumers: what a lost one held is in the queue again then."""
        with self._channel() as channel:
            eventually(lambda: channel.queue_declare(QUEUE, passive=True).method.consumer_count == number)

    def take_all(self) -> list[str]:
        """Return the messages in the queue, and remove them."""
        with self._channel() as channel:
            messages = iter(lambda: channel.basic_get(QUEUE, auto_ack=True)[2], None)
            return [body.decode() for body in messages]


@pytest.fixture
def tasks(rabbitmq: Broker) -> Iterator[Tasks]:
    """The examples' queue on the run's broker; it is not there before and after."""
    tasks = Tasks(rabbitmq)
    tasks.delete()
    yield tasks
    tasks.delete()


@pytest.fixture
def spare_tasks(spare_rabbitmq: Broker) -> Iterator[Tasks]:
    """The examples' queue on a broker that may be commanded; it is not there before and after."""
    tasks = Tasks(spare_rabbitmq)
    tasks.delete()
    yield tasks
    tasks.delete()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an example with the pika of this tree: call it with the arguments of :class:`Example`."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: Any, python: Path | None = None) -> Example:
            if python is None and name.startswith("gevent"):
                require("gevent")
            example = Example(name, *map(str, arguments), folder=tmp_path, python=python)
            stack.callback(example.end)
            return example

        yield start


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what pika 1.4.4 has nothing of: pika.aio."""
    unwanted = [item for item in items if "-aio_" in item.name and "pika 1.4.4" in item.name]
    items[:] = [item for item in items if item not in unwanted]
    config.hook.pytest_deselected(items=unwanted)


@pytest.fixture(params=["this pika", pytest.param("pika 1.4.4", marks=pytest.mark.slow)])
def start_on_both(request: pytest.FixtureRequest, start: Start) -> Start:
    """Start an example with this pika, and with pika 1.4.4: what is written for one runs on the other."""
    if request.param == "this pika":
        return start
    python = oracle_python()
    if python is None:
        pytest.skip(REASON)
    return lambda name, *arguments: start(name, *arguments, python=python)


def load(name: str) -> ModuleType:
    """Import an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
