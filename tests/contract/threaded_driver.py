"""The driver on :class:`pika.Connection`."""

from __future__ import annotations

import threading
import time
from typing import Any

import pika
from pika import exceptions
from pika.client.threaded_channel import Channel
from pika.client.threaded_message import Message as ClientMessage
from tests.contract import drivers
from tests.contract.drivers import Cancelled, Message
from tests.contract.waiting_driver import WaitingDriverChannel


class ThreadedDriverConnection(drivers.Connection):
    """A pika.Connection.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self.connection = pika.connect(parameters)

    def channel(self) -> ThreadedDriverChannel:
        """Open a channel."""
        return ThreadedDriverChannel(self, self.connection.channel())

    def close(self) -> None:
        """Close the connection, if it is open."""
        self.connection.close()


class ThreadedDriverChannel(WaitingDriverChannel):
    """A channel of a pika.Connection."""

    def __init__(self, connection: ThreadedDriverConnection, channel: Channel) -> None:
        super().__init__(connection, channel)
        channel.add_on_cancel_callback(lambda cancel: self.inbox.append(Cancelled(cancel.consumer_tag)))

    def pump(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            # What has arrived is with the handlers' thread and the callbacks' thread: wait until both have seen to it.
            link = self._channel._link
            link.await_rest(lambda: all(crew.is_idle() for crew in self._channel._crews), "handlers", deadline + 60)
            called = threading.Event()
            with link.lock:
                link.callbacks.call(called.set)
            called.wait(60)
            if self.inbox or self._channel.is_closed or time.monotonic() >= deadline:
                break
            time.sleep(0.002)
        # Its end is known, and noted, under the same lock.
        with link.lock:
            error = self._channel._book.error
        if not self.inbox and isinstance(error, exceptions.ChannelClosedByBroker):
            raise error

    def basic_cancel(self, consumer_tag: str) -> None:
        self._channel.basic_cancel(consumer_tag)

    def basic_get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        message: ClientMessage | None = self._channel.basic_get(queue, no_ack)
        return None if message is None else drivers.message(*message)

    def basic_publish(self, *arguments: Any, **options: Any) -> None:
        try:
            super().basic_publish(*arguments, **options)
        except exceptions.PublishOutcomeUnknown as error:
            assert error.__cause__ is not None
            raise error.__cause__ from None
