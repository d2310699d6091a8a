"""Frameworks hand blocking connections between threads, and close them from another than the one that uses them."""

from __future__ import annotations

import queue as queues
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

import pika
from pika import exceptions
from pika.adapters.blocking_connection import BlockingChannel
from tests.support.bounded import PATIENCE, Running
from tests.support.brokers import Target


class Local:
    """A connection and a channel for each thread that asks, as dramatiq's broker has them."""

    def __init__(self, broker: Target) -> None:
        self._broker = broker
        self._state = threading.local()
        self.connections: list[pika.BlockingConnection] = []
        self.channels: list[BlockingChannel] = []

    @property
    def channel(self) -> BlockingChannel:
        channel: BlockingChannel | None = getattr(self._state, "channel", None)
        if channel is None:
            connection = pika.BlockingConnection(self._broker.parameters())
            channel = self._state.channel = connection.channel()
            self.connections.append(connection)
            self.channels.append(channel)
        return channel


def test_dramatiq_closes_the_connections_of_all_threads(broker: Target) -> None:
    """Threads publish on connections of their own, then the main thread closes all of them."""
    local, queue = Local(broker), f"pika-{uuid.uuid4().hex}"
    local.channel.queue_declare(queue)
    meet = threading.Barrier(4)

    def work(number: int) -> None:
        local.channel.confirm_delivery()
        for index in range(10):
            local.channel.basic_publish("", queue, b"%d %d" % (number, index))
        meet.wait(PATIENCE)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, number) for number in range(4)]:
            done.result(PATIENCE)
    assert len(local.connections) == 5
    assert local.channel.queue_purge(queue).method.message_count == 40
    local.channel.queue_delete(queue)
    for each in (*local.channels, *local.connections):
        each.close()
    assert all(each.is_closed for each in (*local.channels, *local.connections))


def test_who_made_a_connection_that_another_thread_has_closed(broker: Target) -> None:
    with ThreadPoolExecutor(1) as owner:
        connection = owner.submit(pika.BlockingConnection, broker.parameters()).result(PATIENCE)
        channel = owner.submit(connection.channel).result(PATIENCE)
        channel.close()
        connection.close()
        calls: list[tuple[Callable[[], Any], type[Exception]]] = [
            (lambda: channel.basic_publish("", "queue", b"x"), exceptions.ChannelWrongStateError),
            (channel.close, exceptions.ChannelWrongStateError),
            (connection.channel, exceptions.ConnectionWrongStateError),
            (lambda: connection.process_data_events(0), ValueError),
            (lambda: connection.add_callback_threadsafe(print), exceptions.ConnectionWrongStateError),
            (connection.close, exceptions.ConnectionWrongStateError),
        ]
        for call, error in calls:
            with pytest.raises(error):
                owner.submit(call).result(PATIENCE)


def start_consuming(channel: BlockingChannel, queue: str, entered: threading.Event) -> None:
    channel.basic_consume(queue, lambda *message: entered.set(), auto_ack=True)
    channel.start_consuming()


def generate(channel: BlockingChannel, queue: str, entered: threading.Event) -> None:
    for _message in channel.consume(queue, auto_ack=True):
        entered.set()


@pytest.mark.parametrize("consume", [start_consuming, generate])
def test_a_consumer_whose_connection_another_thread_closes(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str, consume: Callable[..., None]
) -> None:
    """python-workflows and others stop a consumer's thread this way: it returns."""
    entered = threading.Event()
    channel.basic_publish("", queue, b"x")
    consumer = Running(lambda: consume(channel, queue, entered), "consumer")
    assert entered.wait(PATIENCE)
    connection.add_callback_threadsafe(connection.close)
    consumer.result()
    assert connection.is_closed and channel.is_closed


def test_a_pool_of_connections(broker: Target) -> None:
    """Threads borrow connections and give them back: each is used by many, by one at a time."""
    pool: queues.Queue[pika.BlockingConnection] = queues.Queue()
    for _ in range(2):
        pool.put(pika.BlockingConnection(broker.parameters()))
    users: dict[int, set[int]] = {}
    queue = f"pika-{uuid.uuid4().hex}"

    def work(number: int) -> None:
        for index in range(10):
            connection = pool.get(timeout=PATIENCE)
            users.setdefault(id(connection), set()).add(threading.get_ident())
            with connection.channel() as channel:
                channel.confirm_delivery()
                channel.queue_declare(queue)
                channel.basic_publish("", queue, b"%d %d" % (number, index), mandatory=True)
            pool.put(connection)

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(work, number) for number in range(6)]:
            done.result(PATIENCE)
    connection = pool.get()
    channel = connection.channel()
    assert channel.queue_purge(queue).method.message_count == 60
    channel.queue_delete(queue)
    assert len(set().union(*users.values())) > 1
    for each in (connection, pool.get()):
        each.close()
