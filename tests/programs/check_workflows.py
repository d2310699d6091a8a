"""python-workflows: its RabbitMQ transport, which keeps a connection in a thread of its own, sends and takes."""

from __future__ import annotations

import queue
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

from common import PATIENCE, proxy_to, wait_until
from workflows.transport.pika_transport import PikaTransport

import pika

QUEUE = "workflows"


def check(url: str) -> str:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        channel.exchange_declare("workflows.all", "fanout")
    proxy, through = proxy_to(url)
    parts = urlsplit(through)
    values = {"host": parts.hostname, "port": parts.port, "user": "guest", "pass": "guest", "vhost": unquote(parts.path[1:])}
    PikaTransport.config = {f"--rabbit-{name}": value for name, value in values.items()}
    transport = PikaTransport()
    with proxy:
        assert transport.connect() and transport.is_connected()
        got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        subscribed(transport, got)
        acknowledged(transport)
        in_transactions(transport, got)
        transport.subscribe_broadcast("workflows.all", lambda header, message: got.put(message), reconnectable=True)
        transport.broadcast("workflows.all", "to all")
        assert got.get(timeout=PATIENCE) == b"to all"
        transport.disconnect()
        assert not transport.is_connected()
    reconnected(url)
    return "subscriptions, acknowledgements, transactions, broadcasts, reconnecting"
