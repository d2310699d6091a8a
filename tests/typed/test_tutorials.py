"""The tutorials run on both brokers; that their types are right is seen by `make types` and `make pyright`."""

from __future__ import annotations

import importlib

import pytest

from tests.support import aio
from tests.support.bounded import bounded
from tests.support.rabbitmq import Broker

EXPECTED = {
    "one_hello": ["Hello World!"],
    "two_work_queues": [*(f"task {number}" for number in range(10)), "0 left"],
    "three_publish_subscribe": ["info: all is well"] * 2,
    "four_routing": ["warning: a message of severity warning", "error: a message of severity error"],
    "five_topics": ["kern.info", "cron.critical", "nobody wants cron.info: cron.info"],
    "six_rpc": ["fibonacci(1) = 1", "fibonacci(10) = 55", "fibonacci(15) = 610"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_tutorial_runs(name: str, broker: Broker) -> None:
    tutorial = importlib.import_module(f"tests.typed.threaded.{name}")
    assert bounded(lambda: tutorial.main(broker.url)) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_tutorial_runs_on_asyncio(name: str, broker: Broker) -> None:
    tutorial = importlib.import_module(f"tests.typed.aio.{name}")
    assert aio.run(lambda: tutorial.main(broker.url)) == EXPECTED[name]
