"""The driver on :class:`pika.BlockingConnection`."""

from __future__ import annotations

import pika
from pika.adapters.blocking_connection import BlockingChannel
from tests.contract import drivers
from tests.contract.drivers import Cancelled, Message
from tests.contract.waiting_driver import WaitingDriverChannel


class BlockingDriverConnection(drivers.Connection):
    """A BlockingConnection.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self.connection = pika.BlockingConnection(parameters)

    def channel(self) -> BlockingDriverChannel:
        """Open a channel."""
        return BlockingDriverChannel(self, self.connection.channel())

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self.connection.is_open:
            self.connection.close()


class BlockingDriverChannel(WaitingDriverChannel):
    """A BlockingChannel."""

    def __init__(self, connection: BlockingDriverConnection, channel: BlockingChannel) -> None:
        super().__init__(connection, channel)
        self._pump = connection.connection.process_data_events
        channel.add_on_cancel_callback(lambda cancel: self.inbox.append(Cancelled(cancel.method.consumer_tag)))

    def pump(self, timeout: float) -> None:
        self._pump(timeout)

    def basic_cancel(self, consumer_tag: str) -> None:
        for method, properties, body in self._channel.basic_cancel(consumer_tag):
            self.inbox.append(drivers.message(method, properties, body))

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        method, properties, body = self._channel.basic_get(queue, no_ack)
        if method is None:
            return None
        assert properties is not None
        assert body is not None
        return drivers.message(method, properties, body)
