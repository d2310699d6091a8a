"""The channel of ``pika.Connection``: every method is safe from any thread."""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from typing import TYPE_CHECKING

from pika import exceptions, spec
from pika._arguments import as_body
from pika.client.confirming import BaseConfirmation, Body
from pika.client.session import ChannelBook
from pika.client.threaded_consuming import Consuming
from pika.client.threaded_link import Link
from pika.client.threaded_publisher import Publisher
from pika.client.threaded_waiting import Gate

if TYPE_CHECKING:
    from pika.client.threaded import Connection


class Channel(Consuming):
    """A channel of a :class:`pika.Connection`; :meth:`pika.Connection.channel` opens it.

    Every method is safe from any thread, from handlers and from callbacks. Those that wait for the broker's answer take
    `timeout`, in seconds; None is :data:`pika.client.session.REPLY_TIMEOUT`. When the broker closes the channel instead
    of answering, they raise its reason.

    :param connection: the connection
    :param link: what is behind it
    :param book: what it keeps of this channel
    """

    def __init__(self, connection: Connection, link: Link, book: ChannelBook) -> None:
        super().__init__(link, book)
        self._connection: Connection = connection
        self._publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()
        book.owner = self

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    @property
    def connection(self) -> Connection:
        """Its connection."""
        return self._connection

    # Closing

    def close(
        self, reply_code: int = 200, reply_text: str = "Normal shutdown", *, timeout: float | None = None
    ) -> None:
        """Close the channel; one that is closed or closing already is left alone.

        What was delivered and not acknowledged goes back to its queue, whether a handler works on it or not.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :param timeout: seconds to wait for the broker's answer
        """
        try:
            if self._link.in_the_way():
                # A signal handler, which cannot wait for the answer.
                self._begin_close(reply_code, reply_text)
            elif self.is_open:
                # Others may close it, or the connection, at the same time.
                with contextlib.suppress(
                    exceptions.ChannelWrongStateError,
                    exceptions.ChannelClosedByClient,
                    exceptions.ConnectionClosedByClient,
                ):
                    self._ask("channel.close", functools.partial(self._rules.close, reply_code, reply_text), timeout)
                    with self._link.lock:
                        # Who has read the answer books the end behind it.
                        pass
        except BaseException:
            # Who is interrupted here, as at the end of a with statement, does not come back to close it.
            self._begin_close(reply_code, reply_text)
            raise

    def _begin_close(self, reply_code: int, reply_text: str) -> None:
        self._link.let_go()
        with self._link.lock:
            if self.is_open:
                self._rules.close(reply_code, reply_text)
                self._link.flush()

    # Publishing

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: Body,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
        *,
        timeout: float | None = None,
    ) -> None:
        """Publish a message (basic.publish). After :meth:`confirm_delivery` it returns when the broker has taken it.

        :param exchange: the exchange; empty is the default exchange, which routes to the queue that `routing_key` names
        :param routing_key: what the exchange routes it by
        :param body: the body; a str is encoded as UTF-8
        :param properties: its properties; None is none at all
        :param mandatory: whether it is returned when it reaches no queue
        :param timeout: seconds to wait while the network takes no more; with confirms, for the confirm
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closed
        :raises pika.exceptions.NackError: with confirms, when the broker refused it
        :raises pika.exceptions.UnroutableError: with confirms, when it came back
        :raises pika.exceptions.PublishOutcomeUnknown: with confirms, when the channel or the connection ended first
        :raises pika.exceptions.AMQPTimeoutError: when it takes too long; without confirms, it was not published
        """
        if type(body) is not bytes:
            body = as_body(body)
        if self._confirming:
            self._publish_confirmed(exchange, routing_key, body, properties, mandatory, timeout)
            return
        link = self._link
        if link.congested:
            link.await_room(timeout)
        # As Sending says.
        try:
            with link.lock:
                try:
                    self._rules.basic_publish(exchange, routing_key, body, properties, mandatory)
                    link.flush()
                except BaseException as error:
                    link.cut_short(error)
                    raise
        except BaseException:
            link.let_go()
            raise

    def _publish_confirmed(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: spec.BasicProperties | None,
        mandatory: bool,
        timeout: float | None,
    ) -> None:
        link = self._link
        link.require_patience("basic.publish with a confirm")
        confirmation = BaseConfirmation()
        confirmation._content = (exchange, routing_key, properties, body)
        gate = Gate()
        confirmation.on_done = gate.open
        publish = functools.partial(
            self._rules.basic_publish, exchange, routing_key, body, properties, mandatory, confirmation
        )
        link.wait(gate, "the publisher confirm", timeout, publish)
        confirmation.require_success(self._where)

    def publisher(
        self, max_in_flight: int = 1000, mandatory: bool = False, *, timeout: float | None = None
    ) -> Publisher:
        """Make a publisher: its messages are confirmed by the broker while more of them are published.

        :param max_in_flight: how many messages may be unconfirmed; publishing another one waits
        :param mandatory: whether messages come back that reach no queue; without it these are confirmed, and dropped
        :param timeout: seconds to wait for the broker's answer
        :returns: the publisher, which threads may share
        :raises ValueError: when `max_in_flight` is less than 1
        """
        publisher = Publisher(self._link, self._rules, max_in_flight, mandatory)
        self._select_confirms(timeout)
        with self._link.lock:
            self._publishers.add(publisher)
        return publisher

    def _tell(self, error: exceptions.AMQPError) -> None:
        # Of those that come too late at the same time, one tells why; and before the thread that has read it has booked
        # what ended, nobody counts as told.
        with self._link.lock:
            super()._tell(error)

    # Coming to rest

    def _drain(self, deadline: float) -> None:
        """Do this channel's part of :meth:`pika.Connection.drain`."""
        link = self._link
        for tag in self.consumer_tags:
            self._cancel_if_open(tag, max(deadline - time.monotonic(), 0))
        # Others may cancel some, too.
        is_ending = self._book.ending()
        link.await_rest(lambda: not is_ending() and all(crew.is_idle() for crew in self._crews), "handlers", deadline)
        with link.lock:
            publishers = list(self._publishers)
        for publisher in publishers:
            publisher._await_all(max(deadline - time.monotonic(), 0))
        if self._receives and self.is_open:
            # What the broker answers now, it does behind the acknowledgements.
            with contextlib.suppress(exceptions.ChannelWrongStateError):
                self.flow(True, timeout=max(deadline - time.monotonic(), 0))

    def _join(self, timeout: float) -> None:
        """Wait for threads that have no handler to finish; the channel is closed."""
        for crew in self._crews:
            crew.join(timeout)
