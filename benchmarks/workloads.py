"""What is measured."""

from __future__ import annotations

from typing import NamedTuple


class Workload(NamedTuple):
    """Something that a program does with messages. Its name is what the programs of the clients know.

    :param name: one word
    :param title: what is done
    :param messages: how many, unless said otherwise
    :param body_size: octets of each body
    """

    name: str
    title: str
    messages: int
    body_size: int = 1024


WORKLOADS = (
    Workload("publish", "publish", 20_000),
    Workload("consume", "consume, auto-ack", 20_000),
    Workload("consume-ack", "consume, prefetch 200, an ack each", 20_000),
    Workload("publish-confirmed", "publish, confirmed one by one", 3_000),
    Workload("get", "basic.get", 3_000),
    Workload("encode", "encode a publish, no broker", 30_000),
    Workload("decode", "decode a delivery, no broker", 30_000),
)
