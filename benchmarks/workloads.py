"""What is measured."""

from __future__ import annotations

from typing import NamedTuple

MIB = 1 << 20


class Workload(NamedTuple):
    """Something that a program does, mostly with messages.

    :param name: one word
    :param title: what is done
    :param task: what the programs call it; some workloads are the same task with other bodies
    :param messages: how many, unless said otherwise
    :param warm_up: how many before the measured ones
    :param body_size: octets of each body
    :param queue: None where no queue is needed; else whether it is full of the messages that the program takes, and
        not empty for those that it publishes
    :param unit: what its cost is told in: microseconds or milliseconds of CPU for each message, or seconds of the clock
    """

    name: str
    title: str
    task: str
    messages: int
    warm_up: int = 200
    body_size: int = 1024
    queue: bool | None = None
    unit: str = "µs"


WORKLOADS = (
    Workload("publish", "publish", "publish", 50_000, queue=False),
    Workload("consume", "consume, auto-ack", "consume", 50_000, queue=True),
    Workload("consume-ack", "consume, prefetch 200, an ack each", "consume-ack", 50_000, queue=True),
    Workload("publish-confirmed", "publish, confirmed one by one", "publish-confirmed", 3_000, queue=False),
    Workload("publish-window", "publish, confirmed, 1,000 in flight", "publish-window", 50_000, 1000, queue=False),
    Workload("get", "basic.get", "get", 3_000, queue=True),
    Workload("publish-1m", "publish 1 MiB", "publish", 100, 5, MIB, queue=False),
    Workload("consume-1m", "consume 1 MiB, auto-ack", "consume", 100, 5, MIB, queue=True),
    Workload("publish-64m", "publish 64 MiB", "publish", 3, 1, 64 * MIB, queue=False, unit="s"),
    Workload("get-64m", "basic.get of 64 MiB", "get", 3, 1, 64 * MIB, queue=True, unit="s"),
    Workload("open", "open a connection and a channel", "open", 100, 5, 0, unit="ms"),
    Workload("import", "import, beyond an empty interpreter", "import", 15, 0, 0, unit="ms"),
    Workload("encode", "encode a publish, no broker", "encode", 30_000),
    Workload("decode", "decode a delivery, no broker", "decode", 30_000),
)
