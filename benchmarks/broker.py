"""The broker that the workloads talk to: a private node, or the one of PIKA_TEST_AMQP_URL."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pika import frame, spec
from tests.support.rabbitmq import PROTOCOL_HEADER, Broker, RabbitMQ, RabbitMQError


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
