"""``pika.Connection``: a connection that any thread may use."""

from __future__ import annotations

import atexit
import contextlib
import functools
import threading
import time
import weakref
from typing import Any, Callable

from pika import exceptions, protocol
from pika.client import opening
from pika.client.opening import LOCALHOST, Provider, Where
from pika.client.session import CLOSE_TIMEOUT, REPLY_TIMEOUT, ChannelBook
from pika.client.state import BaseConnection
from pika.client.threaded_channel import Channel
from pika.client.threaded_link import Link
from pika.client.threaded_waiting import STRETCH, join, later
from pika.connection import Parameters
from pika.transport.dial import Address, Destination, dial, out_of_time
from pika.transport.stream import Ready, Stream

# Seconds that closing may take at the end of the interpreter, for all connections together; and the end of threads
# that are about to end.
_EXIT_TIMEOUT = 1.0

_living: weakref.WeakSet[Connection] = weakref.WeakSet()


class Connection(BaseConnection):
    """A connection to a broker, which any number of threads may use at a time, with its channels.

    One thread of its own reads from the socket and sends heartbeats, whatever the program does. Handlers of messages
    run in one thread per channel, callbacks in one per connection; they may call anything. Calls that wait for the
    broker take a `timeout`, in seconds, and can be interrupted by Ctrl-C.

    After a fork the parent keeps the connection; in the child it is closed. At the end of the interpreter it is closed
    too, and handlers that still run are not waited for: see :meth:`drain`.

    :param where: an AMQP URL, :class:`~pika.ConnectionParameters`, or a sequence of them that is tried in order
    :param name: what the broker shows the connection as
    :param credentials: in place of those of `where`: credentials, or a function without arguments that returns them,
        which is called for each attempt to connect
    :raises TypeError: when `where` or `credentials` is of another type
    :raises ValueError: when a URL cannot be understood
    :raises pika.exceptions.AMQPConnectionError: when no broker could be reached; the text lists each address with
        its cause
    :raises pika.exceptions.ProbableAuthenticationError: when the broker refused the credentials
    :raises pika.exceptions.ProbableAccessDeniedError: when the broker refused the virtual host
    """

    def __init__(self, where: Where = LOCALHOST, *, name: str | None = None, credentials: Provider = None) -> None:
        super().__init__(name)
        self._credentials = opening.require_credentials(credentials)
        self._link: Link = dial(opening.destinations(where), self._open)
        self._link.io.start()
        _living.add(self)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    # Opening

    def _open(self, destination: Destination, address: Address, deadline: float | None) -> Link:
        assert isinstance(destination, Parameters)
        settings = opening.settings(destination, self._name, self._credentials, self)
        stream = Stream.connect(destination, address, deadline)
        try:
            rules = protocol.Connection(settings)
            rules.start(time.monotonic())
            while rules.state is not protocol.ConnectionState.OPEN:
                remaining = STRETCH if deadline is None else deadline - time.monotonic()
                if remaining <= 0:
                    raise out_of_time(destination, address, rules.phase)
                _shake_hands(rules, stream, min(remaining, STRETCH))
            return Link(rules, stream, destination.blocked_connection_timeout)
        except BaseException:
            stream.close()
            raise

    # Operations

    def channel(self, channel_number: int | None = None, *, prefetch: int = 0, timeout: float | None = None) -> Channel:
        """Open a channel.

        :param channel_number: its number, 1 to 65535; None takes the lowest that is free
        :param prefetch: how many messages may be delivered and not acknowledged for each consumer; 0 is no bound
        :param timeout: seconds to wait for each of the broker's answers
        :returns: the channel, open
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        :raises pika.exceptions.NoFreeChannels: when the broker allows no more
        :raises pika.exceptions.InvalidChannelNumber: when the number is in use or out of range
        """
        link = self._link
        opened: list[ChannelBook] = []

        begin = functools.partial(link.open_channel, channel_number, opened)

        try:
            self._ask("channel.open", begin, timeout)
            channel = Channel(self, link, opened[0])
            if prefetch:
                channel.basic_qos(prefetch_count=prefetch, timeout=timeout)
            return channel
        except BaseException:
            with link.lock:
                for book in opened:
                    # Nobody else could ever close it; what is unanswered is answered first.
                    book.rules.close_if_open(200, "Nobody has got the channel")
                link.flush()
            raise

    def update_secret(self, new_secret: str, reason: str, *, timeout: float | None = None) -> None:
        """Give the broker a new secret before the present one expires (RabbitMQ's connection.update-secret).

        :param new_secret: the new password or token
        :param reason: a text for the broker's log
        :param timeout: seconds to wait for the broker's answer
        """
        update = functools.partial(self._link.rules.update_secret, new_secret, reason)
        self._ask("connection.update-secret", update, timeout)

    def _ask(self, what: str, operation: Callable[[], protocol.Reply[Any]], timeout: float | None) -> None:
        try:
            self._link.ask(what, operation, timeout)
        except exceptions.AMQPError as error:
            with self._link.lock:
                self._tell(error)
            raise

    # The end

    def drain(self, *, timeout: float | None = None) -> None:
        """Come to rest: stop consuming, let handlers finish that run, and see that all is acknowledged and confirmed.

        Messages that no handler has begun with go back to their queues. The connection stays open. A handler may call
        it too, and does not wait for itself. In a signal handler that interrupts a call of this connection, it returns
        at once, and happens soon.

        :param timeout: seconds it may take; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it takes longer
        :raises pika.exceptions.AMQPError: the reason, when the connection ends meanwhile
        """
        link = self._link
        if link.in_the_way():
            later(functools.partial(self.drain, timeout=timeout))
            return
        deadline = time.monotonic() + (REPLY_TIMEOUT if timeout is None else timeout)
        with link.lock:
            link.rules.require_open()
            channels = self._channels()
            link.draining[threading.get_ident()] = None
            # Others that drain in handlers need not wait for this one.
            link.on_rest()
        try:
            for channel in channels:
                channel._drain(deadline)
        finally:
            link.draining.pop(threading.get_ident(), None)

    def close(
        self, reply_code: int = 200, reply_text: str = "Normal shutdown", *, timeout: float | None = None
    ) -> None:
        """Close the connection and its channels; one that is closed already is left alone.

        Handlers that run are not waited for, and no other is called: to let them finish, call :meth:`drain` before. A
        broker that does not answer in time is left without a goodbye. In a signal handler that interrupts a call of
        this connection, it returns at once, and happens soon.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :param timeout: seconds it may take; None for :data:`pika.client.session.CLOSE_TIMEOUT`
        """
        link = self._link
        seconds = CLOSE_TIMEOUT if timeout is None else timeout
        begin = functools.partial(link.begin_close, reply_code, reply_text, seconds)
        if link.in_the_way():
            link.do(begin, link.flush)
            return
        with link.lock:
            channels = self._channels()
        link.do(begin, link.flush)
        if not link.await_end(seconds + _EXIT_TIMEOUT):
            return
        for thread in (link.io.thread, link.callbacks.thread):
            if thread is not None and thread is not threading.current_thread():
                join(thread, _EXIT_TIMEOUT)
        for channel in channels:
            channel._join(_EXIT_TIMEOUT)

    def _channels(self) -> list[Channel]:
        return [book.owner for book in self._link.channels.values() if isinstance(book.owner, Channel)]


def _shake_hands(rules: protocol.Connection, stream: Stream, timeout: float) -> None:
    """Do one round of the AMQP handshake.

    :raises BaseException: the reason, when it has failed
    """
    stream.write_pieces(rules.data_to_send())
    if stream.wait(timeout) & Ready.READ:
        try:
            data = stream.read()
        except exceptions.StreamLostError as error:
            rules.stream_lost(error)
        else:
            if data is not None:
                rules.receive_data(data, time.monotonic())
    rules.tick(time.monotonic())
    stream.flush()
    while rules.state is not protocol.ConnectionState.OPEN:
        event = rules.next_event()
        if event is None:
            return
        if isinstance(event, protocol.Closed):
            stream.write_pieces(rules.data_to_send())
            raise event.error


def connect(where: Where = LOCALHOST, *, name: str | None = None, credentials: Provider = None) -> Connection:
    """Connect to a broker.

    :param where: an AMQP URL, :class:`~pika.ConnectionParameters`, or a sequence of them that is tried in order
    :param name: what the broker shows the connection as
    :param credentials: in place of those of `where`: credentials, or a function without arguments that returns them,
        which is called for each attempt to connect
    :returns: the connection; it raises what :class:`Connection` does
    """
    return Connection(where, name=name, credentials=credentials)


@atexit.register
def _close_all() -> None:
    """At the end of the interpreter: say goodbye, where the broker answers at once."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    connections = [connection for connection in list(_living) if not connection.is_closed]
    for connection in connections:
        link = connection._link
        with contextlib.suppress(Exception):
            link.do(functools.partial(link.begin_close, 200, "Normal shutdown", _EXIT_TIMEOUT), link.flush)
    for connection in connections:
        with contextlib.suppress(Exception):
            connection._link.await_end(max(deadline - time.monotonic(), 0))
