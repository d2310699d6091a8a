"""The actors of the check of dramatiq. They write what they do into the file ACTORS_LOG, a line each."""

from __future__ import annotations

import os
import time
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

QUEUE = "work"

broker = RabbitmqBroker(url=os.environ["ACTORS_URL"], confirm_delivery=True)
dramatiq.set_broker(broker)


def note(*words: Any) -> None:
    with open(os.environ["ACTORS_LOG"], "a", encoding="utf-8") as log:
        log.write(" ".join(map(str, words)) + "\n")


@dramatiq.actor(queue_name=QUEUE)
def count(number: int) -> None:
    note("count", number)


@dramatiq.actor(queue_name=QUEUE)
def take_time(number: int) -> None:
    note("begin", number)
    time.sleep(0.2)
    note("end", number)


@dramatiq.actor(queue_name=QUEUE, min_backoff=50, max_backoff=100, max_retries=5)
def fail_twice(name: str) -> None:
    note("attempt", name)
    with open(os.environ["ACTORS_LOG"], encoding="utf-8") as log:
        attempts = log.read().splitlines().count(f"attempt {name}")
    if attempts < 3:
        raise ValueError(f"attempt {attempts} of {name}")
    note("success", name)


@dramatiq.actor(queue_name=QUEUE, min_backoff=50, max_backoff=100, max_retries=1)
def fail_always(name: str) -> None:
    note("attempt", name)
    raise ValueError(name)


@dramatiq.actor(queue_name=QUEUE)
def tell_time(sent: float) -> None:
    note("late", time.time() - sent)
