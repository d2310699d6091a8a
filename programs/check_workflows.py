"""python-workflows: its RabbitMQ transport, which keeps a connection in a thread of its own, sends and takes."""

from __future__ import annotations

import contextlib
import queue
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from common import PATIENCE, proxy_to, wait_until
from workflows.transport.pika_transport import PikaTransport

import pika

QUEUE, EVERYBODY = "workflows", "workflows.all"


def check(url: str) -> str:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        channel.exchange_declare(EVERYBODY, "fanout")
    with connected(url) as transport:
        acknowledge(transport)
        send_in_transactions(transport)
    assert not transport.is_connected()
    proxy, through = proxy_to(url)
    with proxy, connected(through) as transport:
        reconnect(proxy, transport)
    return "subscriptions, acknowledgements, transactions, broadcasts, temporary queues, reconnecting"


@contextlib.contextmanager
def connected(url: str) -> Iterator[Any]:
    parts = urlsplit(url)
    values = {
        "host": parts.hostname,
        "port": parts.port,
        "user": "guest",
        "pass": "guest",
        "vhost": unquote(parts.path[1:]),
    }
    PikaTransport.config = {f"--rabbit-{name}": value for name, value in values.items()}
    transport = PikaTransport()
    assert transport.connect() and transport.is_connected()
    yield transport
    transport.disconnect()


def acknowledge(transport: Any) -> None:
    """Refuse messages, which come again, and acknowledge them then."""
    got: queue.SimpleQueue[Any] = queue.SimpleQueue()
    subscription = transport.subscribe(
        QUEUE, lambda header, message: got.put((header, message)), acknowledgement=True, prefetch_count=2
    )
    for number in range(10):
        transport.send(QUEUE, {"number": number}, headers={"mine": "kept"})
    numbers: set[int] = set()
    refused: set[int] = set()
    while len(numbers) < 10:
        header, message = got.get(timeout=PATIENCE)
        number = message["number"]
        assert header["mine"] == "kept" and header["redelivered"] == (number in refused)
        if number in refused:
            transport.ack(header)
            numbers.add(number)
        else:
            transport.nack(header)
            refused.add(number)
    transport.unsubscribe(subscription, drop_callback_reference=True)
    assert got.empty()


def send_in_transactions(transport: Any) -> None:
    got: queue.SimpleQueue[Any] = queue.SimpleQueue()
    temporary = transport.subscribe_temporary("hint", lambda header, message: got.put(message))
    for end, message in ((transport.transaction_abort, "aborted"), (transport.transaction_commit, "committed")):
        transaction = transport.transaction_begin()
        transport.send(temporary.queue_name, message, transaction=transaction)
        end(transaction)
    assert got.get(timeout=PATIENCE) == "committed" and got.empty()


def reconnect(proxy: Any, transport: Any) -> None:
    """Lose the connection: the subscriptions are made again."""
    got: queue.SimpleQueue[Any] = queue.SimpleQueue()
    transport.subscribe_broadcast(EVERYBODY, lambda header, message: got.put(message), reconnectable=True)
    transport.broadcast(EVERYBODY, "before")
    assert got.get(timeout=PATIENCE) == "before"
    first = transport._pika_thread._connection
    proxy.reset()
    wait_until(lambda: transport._pika_thread._connection is not first, "another connection")
    wait_until(transport._pika_thread._pika_channels.__len__, "the subscription")
    transport.broadcast(EVERYBODY, "behind")
    assert got.get(timeout=PATIENCE) == "behind"


if __name__ == "__main__":
    print(check(sys.argv[1]))
