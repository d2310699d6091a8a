"""The stream ends at every byte of a session, in both directions: each call raises the right class, and none hangs."""

from __future__ import annotations

from typing import Any

import pytest

import pika
from pika import exceptions
from tests.support.bounded import bounded
from tests.support.cuts import HANDSHAKE, Limits, RunSessions, check


def use(port: int, over: list[str]) -> None:
    """The client's side of the session.

    :param over: where the names of the steps go that are over
    """
    parameters = pika.ConnectionParameters("127.0.0.1", port)
    connection = pika.BlockingConnection(parameters)
    over.extend(HANDSHAKE)
    channel = connection.channel()
    over.append("channel")
    assert channel.queue_declare("queue").method.queue == "queue"
    over.append("declare")
    channel.confirm_delivery()
    over.append("confirm")
    channel.basic_publish("", "queue", b"body", pika.BasicProperties(headers={"key": "value"}), mandatory=True)
    over.append("publish")
    got: list[bytes] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        over.append("deliver")
        channel.basic_ack(method.delivery_tag)
        over.append("ack")

    channel.basic_consume("queue", on_message, consumer_tag="consumer")
    over.append("consume")
    while not got:
        connection.process_data_events(None)
    channel.basic_cancel("consumer")
    over.append("cancel")
    channel.close()
    over.append("close channel")
    connection.close()
    over.append("close")
    assert got == [b"body"]


class BlockingSessions(RunSessions):
    """Runs the session again and again on one listening socket."""

    def run(self, limits: Limits) -> tuple[list[str], BaseException | None]:
        self._limits = limits
        over: list[str] = []
        try:
            bounded(lambda: use(self.peer.port, over))
        except exceptions.AMQPError as error:
            return over, error
        return over, None


@pytest.mark.parametrize("how", ["end of file", "reset"])
@pytest.mark.parametrize("direction", ["broker to client", "client to broker"])
def test_the_stream_ends_at_every_byte(direction: str, how: str) -> None:
    sessions = BlockingSessions()
    with sessions.peer:
        for ended in sessions.cut_everywhere(sessions.record(), direction, how):
            check(*ended)
