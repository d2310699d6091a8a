"""The broker that the workloads talk to: a private node, or the one of PIKA_TEST_AMQP_URL."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika
from benchmarks.programs.meter import body_of
from benchmarks.workloads import Workload
from pika import frame, spec
from pika.adapters.blocking_connection import BlockingChannel
from tests.support.rabbitmq import PROTOCOL_HEADER, Broker, RabbitMQ, RabbitMQError

SETTLE_SECONDS = 30.0


@contextmanager
def running_broker() -> Iterator[Broker]:
    """Have a RabbitMQ that answers.

    :raises tests.support.rabbitmq.RabbitMQError: when none can be started
    """
    url = os.environ.get("PIKA_TEST_AMQP_URL")
    if url:
        yield Broker(url)
    else:
        with RabbitMQ() as node:
            yield node


def describe(broker: Broker) -> dict[str, Any]:
    """Return what a broker says of itself in connection.start: product, version, platform.

    :raises tests.support.rabbitmq.RabbitMQError: when it cannot be reached, or hangs up
    """
    try:
        start = frame.decode_method(_first_payload(broker))
    except OSError as error:
        raise RabbitMQError(f"the broker at {broker.host}:{broker.port}: {error}") from error
    assert isinstance(start, spec.Connection.Start)
    properties = start.server_properties or {}
    return {name: properties.get(name) for name in ("product", "version", "platform")}


def _first_payload(broker: Broker) -> bytes:
    reader = frame.FrameReader()
    with socket.create_connection((broker.host, broker.port), timeout=30) as probe:
        probe.sendall(PROTOCOL_HEADER)
        while True:
            data = probe.recv(65536)
            if not data:
                raise ConnectionError("it hung up without a connection.start")
            reader.feed(data)
            found = reader.next_frame()
            if found is not None:
                return found[2]


@contextmanager
def queue(url: str, body: bytes, filled: int, left: int) -> Iterator[str]:
    """Have a classic transient queue of one's own, and see that as many messages are left as are to be.

    :param url: the broker
    :param body: of each message that is in it
    :param filled: how many are in it
    :param left: how many are to be there afterwards
    :raises LostError: when there is another number
    """
    name = f"benchmark-{secrets.token_hex(4)}"
    _with_channel(url, lambda channel: _fill(channel, name, body, filled))
    try:
        yield name
        _with_channel(url, lambda channel: _expect(channel, name, left))
    finally:
        _with_channel(url, lambda channel: channel.queue_delete(name))


@contextmanager
def queue_for(workload: Workload, total: int, url: str) -> Iterator[str]:
    """Have the queue that a workload needs, if it does; without one, the name is empty.

    :param workload: what is measured
    :param total: how many messages its program takes or publishes
    :param url: the broker
    :raises LostError: when other messages are left than are to be
    """
    if workload.queue is None:
        yield ""
        return
    filled, left = (total, 0) if workload.queue else (0, total)
    with queue(url, body_of(workload.body_size), filled, left) as name:
        yield name


class LostError(Exception):
    """Messages are missing in a queue, or there are too many."""


def _with_channel(url: str, action: Callable[[BlockingChannel], object]) -> None:
    # Not kept while a program is measured: it would have to be seen to.
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        action(connection.channel())


def _fill(channel: BlockingChannel, name: str, body: bytes, filled: int) -> None:
    channel.queue_declare(name)
    for _ in range(filled):
        channel.basic_publish("", name, body)
    _expect(channel, name, filled)


def _expect(channel: BlockingChannel, name: str, count: int) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        queued = channel.queue_declare(name, passive=True).method.message_count
        if queued == count:
            return
        if time.monotonic() > deadline:
            raise LostError(f"messages were lost: the queue has {queued}, not {count}")
        time.sleep(0.01)
