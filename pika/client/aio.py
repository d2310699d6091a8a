"""``pika.aio``: a connection whose calls are awaited."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Callable

from pika import exceptions, protocol
from pika.client import opening
from pika.client.aio_channel import Channel
from pika.client.aio_link import Link
from pika.client.aio_opening import Opening, Provider, ask_for_credentials, dial
from pika.client.aio_stream import Stream
from pika.client.aio_tasks import await_all, cancel, worker
from pika.client.opening import LOCALHOST, Where
from pika.client.session import CLOSE_TIMEOUT, REPLY_TIMEOUT, ChannelBook
from pika.client.state import BaseConnection
from pika.connection import Parameters
from pika.transport.dial import Address, Destination, out_of_time


class Connection(BaseConnection):
    """A connection to a broker on asyncio's event loop, with its channels; :func:`pika.aio.connect` opens it.

    Its methods that wait are coroutines, which any number of tasks may call at a time, on the loop that it was opened
    on. Heartbeats are sent from that loop. Handlers of messages run in one task per channel, callbacks in one per
    connection; they may call anything. Calls that wait for the broker take a `timeout`, in seconds, and can be
    cancelled. On another loop, or in another thread, every coroutine of it and of its channels raises
    :class:`~pika.exceptions.ConnectionWrongStateError`, and nothing is sent.

    After a fork the parent keeps the connection; in the child it is closed.

    :param name: what the broker shows the connection as
    :param credentials: in place of those of the parameters: see :func:`pika.aio.connect`
    """

    _link: Link

    def __init__(self, name: str | None, credentials: Provider) -> None:
        super().__init__(name)
        self._credentials = credentials

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # Opening

    async def _connect(self, places: Sequence[Parameters]) -> Connection:
        self._link = await dial(places, self._open)
        return self

    async def _open(self, destination: Destination, address: Address, deadline: float | None) -> Link:
        assert isinstance(destination, Parameters)
        credentials = await ask_for_credentials(self._credentials)
        settings = opening.settings(destination, self._name, credentials, self)
        stream = await Stream.connect(destination, address, deadline)
        try:
            link = Link(protocol.Connection(settings), stream, destination.blocked_connection_timeout)
            if not await link.shake_hands(deadline):
                raise out_of_time(destination, address, link.rules.phase)
        except BaseException:
            stream.abort()
            raise
        return link

    # Operations

    def channel(
        self, channel_number: int | None = None, *, prefetch: int = 0, timeout: float | None = None
    ) -> Opening[Channel]:
        """Open a channel: await it, or enter it with ``async with``, which closes it in the end.

        :param channel_number: its number, 1 to 65535; None takes the lowest that is free
        :param prefetch: how many messages may be delivered and not acknowledged for each consumer; 0 is no bound
        :param timeout: seconds to wait for each of the broker's answers
        :returns: what gives the channel, open
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        :raises pika.exceptions.NoFreeChannels: when the broker allows no more
        :raises pika.exceptions.InvalidChannelNumber: when the number is in use or out of range
        """
        begin = functools.partial(self._open_channel, channel_number, prefetch, timeout)
        return Opening(begin, f"a channel of {self._link.peer}", "connection.channel(...)")

    async def _open_channel(self, channel_number: int | None, prefetch: int, timeout: float | None) -> Channel:
        link = self._link
        opened: list[ChannelBook] = []

        begin = functools.partial(link.open_channel, channel_number, opened)

        def drop(_reply: object = None) -> None:
            rules = opened[0].rules
            if rules.state is protocol.ChannelState.OPEN:
                # Nobody else could ever close it.
                rules.close()
                link.flush_soon()

        await self._ask("channel.open", begin, timeout, drop)
        channel = Channel(self, link, opened[0])
        if prefetch:
            try:
                await channel.basic_qos(prefetch_count=prefetch, timeout=timeout)
            except BaseException:
                drop()
                raise
        return channel

    async def update_secret(self, new_secret: str, reason: str, *, timeout: float | None = None) -> None:
        """Give the broker a new secret before the present one expires (RabbitMQ's connection.update-secret).

        :param new_secret: the new password or token
        :param reason: a text for the broker's log
        :param timeout: seconds to wait for the broker's answer
        """
        update = functools.partial(self._link.rules.update_secret, new_secret, reason)
        await self._ask("connection.update-secret", update, timeout)

    async def _ask(
        self,
        what: str,
        operation: Callable[[], protocol.Reply[Any]],
        timeout: float | None,
        late: Callable[[protocol.Reply[Any]], None] | None = None,
    ) -> None:
        try:
            await self._link.ask(what, operation, timeout, late)
        except exceptions.AMQPError as error:
            self._tell(error)
            raise

    # The end

    async def drain(self, *, timeout: float | None = None) -> None:
        """Come to rest: stop consuming, let handlers finish that run, and see that all is acknowledged and confirmed.

        Messages that no handler has begun with go back to their queues. The connection stays open. A handler may call
        it too, and does not wait for itself.

        :param timeout: seconds it may take; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it takes longer
        :raises pika.exceptions.AMQPError: the reason, when the connection ends meanwhile
        """
        link, task = self._link, worker()
        link.enter()
        deadline = link.loop.time() + (REPLY_TIMEOUT if timeout is None else timeout)
        link.rules.require_open()
        link.draining[task] = link.draining.get(task, 0) + 1
        # Others that drain in handlers need not wait for this one.
        link.on_rest()
        try:
            for channel in self._channels():
                await channel._drain(deadline)
        finally:
            # A handler may drain in several tasks at a time.
            others = link.draining.pop(task, 1) - 1
            if others:
                link.draining[task] = others
        # Closing it ends the handlers too.
        link.rules.require_open()

    async def close(
        self, reply_code: int = 200, reply_text: str = "Normal shutdown", *, timeout: float | None = None
    ) -> None:
        """Close the connection and its channels; one that is closed already is left alone.

        Handlers that run are cancelled, but for the one that calls this, and no other is called: to let them finish,
        call :meth:`drain` before.
        A broker that does not answer in time is left without a goodbye. When this is cancelled, the connection is
        closed all the same.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :param timeout: seconds it may take; None for :data:`pika.client.session.CLOSE_TIMEOUT`
        """
        link = self._link
        if link.over and not link.handling and not link.calling_back:
            return
        link.enter()
        link.begin_close(reply_code, reply_text, CLOSE_TIMEOUT if timeout is None else timeout)
        running = cancel(link.handling)
        await link.await_end()
        # What callbacks were called with may be this end.
        running += link.calling_back - {worker()}
        await await_all(running)

    def _channels(self) -> list[Channel]:
        return [book.owner for book in self._link.channels.values() if isinstance(book.owner, Channel)]


def connect(where: Where = LOCALHOST, *, name: str | None = None, credentials: Provider = None) -> Opening[Connection]:
    """Connect to a broker: await it, or enter it with ``async with``, which closes the connection in the end.

    :param where: an AMQP URL, :class:`~pika.ConnectionParameters`, or a sequence of them that is tried in order
    :param name: what the broker shows the connection as
    :param credentials: in place of those of `where`: credentials, or a function without arguments that returns them,
        which is called for each attempt to connect; it may be a coroutine function
    :returns: what gives the connection, open
    :raises TypeError: when `where` or `credentials` is of another type
    :raises ValueError: when a URL cannot be understood
    :raises pika.exceptions.AMQPConnectionError: when no broker could be reached; the text lists each address with
        its cause
    :raises pika.exceptions.ProbableAuthenticationError: when the broker refused the credentials
    :raises pika.exceptions.ProbableAccessDeniedError: when the broker refused the virtual host
    """
    opening.require_credentials(credentials)
    places = opening.destinations(where)
    peers = " or ".join(f"{one.host}:{one.port}" for one in places)
    return Opening(
        lambda: Connection(name, credentials)._connect(places), f"a connection to {peers}", "aio.connect(...)"
    )
