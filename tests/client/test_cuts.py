"""The stream ends at every byte of a session, in both directions: each call raises the right class, and none hangs."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import pika
from pika import exceptions
from tests.support.bounded import PATIENCE, bounded, eventually
from tests.support.cuts import HANDSHAKE, ORDER, Limits, RunSessions, check


def use(port: int, over: list[str]) -> None:
    """The client's side of the session.

    :param over: where the names of the steps go that are over
    """
    connection = pika.connect(pika.ConnectionParameters("127.0.0.1", port))
    try:
        run(connection, over)
    finally:
        connection.close(timeout=PATIENCE)
    if over == ORDER[:-1]:
        over.append("close")


def run(connection: pika.Connection, over: list[str]) -> None:
    over.extend(HANDSHAKE)
    ended: list[BaseException] = []
    connection.add_on_close_callback(lambda _connection, reason: ended.append(reason))
    channel = connection.channel()
    closed: list[BaseException] = []
    channel.add_on_close_callback(lambda _channel, reason: closed.append(reason))
    over.append("channel")
    assert channel.queue_declare("queue").method.queue == "queue"
    over.append("declare")
    channel.confirm_delivery()
    over.append("confirm")
    try:
        channel.basic_publish("", "queue", b"body", pika.BasicProperties(headers={"key": "value"}), mandatory=True)
    except exceptions.PublishOutcomeUnknown as error:
        assert error.__cause__ is not None
        raise error.__cause__ from None
    over.append("publish")
    consume_one(channel, over, ended)
    channel.close()
    # One that has ended before is left alone.
    if isinstance(eventually(lambda: closed)[0], exceptions.ChannelClosedByClient):
        over.append("close channel")
    connection.close()
    # Closing raises nothing; the callback has been called when it returns.
    if not isinstance(ended[-1], exceptions.ConnectionClosedByClient):
        raise ended[-1]


def consume_one(channel: Any, over: list[str], ended: list[BaseException]) -> None:
    """Consume the message with a handler, until it has come or the channel has ended; then cancel."""
    delivered, consuming = threading.Event(), threading.Event()

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        assert body == b"body"
        # The steps in their order, whichever thread is first.
        consuming.wait(PATIENCE)
        over.append("deliver")
        try:
            channel.basic_ack(method.delivery_tag)
            over.append("ack")
        except exceptions.ChannelWrongStateError as error:
            ended.append(error)
        delivered.set()

    channel.add_on_close_callback(lambda _channel, reason: delivered.set())
    channel.basic_consume("queue", on_message, consumer_tag="consumer")
    over.append("consume")
    consuming.set()
    assert delivered.wait(PATIENCE)
    channel.basic_cancel("consumer")
    over.append("cancel")


class ThreadedSessions(RunSessions):
    """Runs the session with pika.Connection."""

    def run(self, limits: Limits) -> tuple[list[str], BaseException | None]:
        self._limits = limits
        over: list[str] = []
        try:
            bounded(lambda: use(self.peer.port, over))
        except exceptions.ChannelWrongStateError as error:
            # Between the end and the call that found it.
            return over, error.__cause__
        except exceptions.AMQPError as error:
            return over, error
        return over, None


@pytest.mark.parametrize("how", ["end of file", "reset"])
@pytest.mark.parametrize("direction", ["broker to client", "client to broker"])
def test_the_stream_ends_at_every_byte(direction: str, how: str) -> None:
    sessions = ThreadedSessions()
    before = threading.active_count()
    with sessions.peer:
        for step, over, error, where in sessions.cut_everywhere(sessions.record(), direction, how):
            if how == "reset" and step not in HANDSHAKE and len(over) < ORDER.index(step):
                # It has overtaken an answer on its way, which another thread was about to read.
                step = ORDER[len(over)]
            check(step, over, error, where)
    eventually(lambda: threading.active_count() <= before + 2)
