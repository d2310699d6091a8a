"""Connections on Twisted's reactor.

The program connects, with an endpoint, over TCP or TLS, and builds the protocol::

    factory = protocol.Factory.forProtocol(lambda: TwistedProtocolConnection(parameters))
    connected = endpoints.clientFromString(reactor, "tcp:localhost:5672").connect(factory)
    connected.addCallback(lambda connection: connection.ready)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable

try:
    from twisted.internet import defer, error, interfaces, protocol
except ImportError as missing:
    raise ModuleNotFoundError(
        "TwistedProtocolConnection needs Twisted: pip install pika[twisted]", name="twisted"
    ) from missing

from twisted.logger import Logger
from twisted.python.failure import Failure

from pika import exceptions
from pika.adapters.base_connection import BaseConnection
from pika.adapters.twisted_channel import ReceivedMessage, TwistedChannel
from pika.adapters.twisted_deferreds import Calls, ClosableDeferredQueue, fail, fire
from pika.adapters.twisted_stream import TwistedIOServices, TwistedStream
from pika.adapters.utils.connection_workflow import AbstractAMQPConnectionWorkflow
from pika.connection import Connection, Parameters

if TYPE_CHECKING:
    from pika.channel import Channel

__all__ = ["ClosableDeferredQueue", "ReceivedMessage", "TwistedChannel", "TwistedProtocolConnection"]

_log = Logger()


class _TwistedConnectionAdapter(BaseConnection):
    """The callback connection that a protocol stands on.

    Heartbeats are sent by timers of the reactor's. A transport of Twisted's belongs to the reactor's thread, so no
    other one can send them while a callback keeps that busy: when one is late, the log says so.

    :param reactor: the reactor
    """

    # Why the transport was lost.
    _lost: BaseException | None = None
    _stream: TwistedStream | None = None

    def __init__(
        self,
        parameters: Parameters | None,
        on_open_callback: Callable[[Any], object],
        on_open_error_callback: Callable[[Any, Any], object],
        on_close_callback: Callable[[Any, Any], object],
        reactor: Any,
    ) -> None:
        super().__init__(
            parameters,
            on_open_callback,
            on_open_error_callback,
            on_close_callback,
            TwistedIOServices(reactor),
            internal_connection_workflow=False,
            background_heartbeats=False,
        )

    @classmethod
    def create_connection(
        cls,
        connection_configs: Iterable[Parameters],
        on_done: Callable[[Any], Any],
        custom_ioloop: Any = None,
        workflow: AbstractAMQPConnectionWorkflow | None = None,
    ) -> AbstractAMQPConnectionWorkflow:
        """Not to be had on Twisted, whose endpoints connect.

        :raises RuntimeError: always
        """
        raise RuntimeError("connect with a Twisted endpoint whose factory builds the TwistedProtocolConnection")

    def transport_made(self, transport: Any) -> None:
        """Take note of the transport."""
        self._stream = TwistedStream(transport, self, self.ioloop, self._look_at_output)
        self.connection_made(self._stream)

    def transport_lost(self, reason: BaseException | None) -> None:
        """Take note of the transport's end."""
        self._lost = reason
        if self._stream is not None:
            self._stream.lost()
        # An end of file says no more than that.
        self.connection_lost(None if type(reason) is error.ConnectionDone else reason)

    def _report_closed(self) -> None:
        if self._closed is not None and self._lost is not None:
            self._closed = self._closed._replace(error=_also(self._closed.error, self._lost))
        super()._report_closed()


def _also(reason: BaseException, lost: BaseException) -> BaseException:
    """Return the reason of an end, as an exception that is also what Twisted says of it: programs catch that."""
    if isinstance(reason, type(lost)):
        return reason
    namespace = {
        "__module__": type(reason).__module__,
        # Twisted's would take the arguments for words.
        "__str__": lambda _self: str(reason),
        "__reduce__": lambda _self: reason.__reduce__(),
    }
    kind = type(type(reason).__name__, (type(reason), type(lost)), namespace)
    also: BaseException = kind.__new__(kind, *reason.args)
    also.__dict__.update(reason.__dict__)
    also.__cause__ = lost
    return also


class TwistedProtocolConnection(protocol.Protocol):
    """An AMQP connection, as a protocol of Twisted's.

    It is used in the reactor's thread; while the reactor runs, calls from other threads raise
    :class:`~pika.exceptions.WrongThreadError`. What a callback of a Deferred raises goes to the next errback, as
    always; what other callbacks raise is logged by Twisted's logger, and the connection stays open.

    Heartbeats are sent while the reactor runs. A callback that keeps it busy for longer than the broker's patience, two
    intervals, costs the connection: long work belongs into a thread (``twisted.internet.threads.deferToThread``).

    :ivar ready: a Deferred that fires with what :meth:`connectionReady` returns when the connection is open, or fails
        with an :class:`~pika.exceptions.AMQPConnectionError` that says why it could not be opened; None from then on
    :ivar closed: None until the connection is open, and when it is closed. In between a Deferred that fires with the
        exception that says why it was closed, as a result; it is both one of :mod:`pika.exceptions` and the one that
        Twisted gives, such as ``ConnectionDone``

    :param parameters: credentials, virtual host, heartbeat and the like; the defaults of
        :class:`~pika.ConnectionParameters` if None. Host, port and TLS are the endpoint's business
    :param custom_reactor: the reactor; the one that is installed if None
    :raises ValueError: ``parameters`` are something else
    """

    def __init__(self, parameters: Parameters | None = None, custom_reactor: Any = None) -> None:
        if custom_reactor is None:
            # Here, because it installs one if there is none yet.
            from twisted.internet import reactor as custom_reactor
        self.ready: defer.Deferred[Any] | None = defer.Deferred()
        self.closed: defer.Deferred[BaseException] | None = None
        self._calls = Calls()
        self._impl = _TwistedConnectionAdapter(
            parameters, self._on_opened, self._on_connection_failed, self._on_connection_closed, custom_reactor
        )

    # State

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._impl.is_open

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed, which is final."""
        return self._impl.is_closed

    # Operations

    def channel(self, channel_number: int | None = None) -> defer.Deferred[TwistedChannel]:
        """Open a channel.

        :param channel_number: its number, 1 to 65535; None takes the lowest that is free
        :returns: a Deferred of the :class:`TwistedChannel`, which fails if the connection ends first
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        :raises pika.exceptions.NoFreeChannels: when the broker allows no more
        :raises pika.exceptions.InvalidChannelNumber: when the number is no int, in use or out of range
        """
        deferred: defer.Deferred[TwistedChannel] = defer.Deferred()

        def on_open(channel: Channel) -> None:
            if not fire(deferred, TwistedChannel(channel)):
                # It was cancelled: nobody has the channel.
                channel.close()

        def on_close(_channel: Channel, reason: BaseException) -> None:
            # Instead of opening it, the broker may close it. The end of the connection fails all that waits.
            if isinstance(reason, exceptions.ChannelClosedByBroker):
                fail(deferred, reason)

        self._impl.channel(channel_number, on_open).add_on_close_callback(on_close)
        return self._calls.add(deferred)

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> defer.Deferred[BaseException] | None:
        """Close the connection and its channels. One that is closed already is left alone.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :returns: :attr:`closed`: a Deferred that fires when it is closed, after ten seconds at the latest; None when
            the connection was not open
        :raises pika.exceptions.ConnectionWrongStateError: when it is closing already
        """
        if not self.is_closed:
            self._impl.close(reply_code, reply_text)
        return self.closed

    # What Twisted calls

    def makeConnection(self, transport: interfaces.ITransport) -> None:
        """Take the transport, and begin AMQP's handshake: called by Twisted.

        :param transport: the transport
        """
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        self._impl.transport_made(transport)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes: called by Twisted.

        :param data: the bytes
        """
        try:
            self._impl.data_received(data)
        except Exception:
            # Twisted would log it, and drop the connection.
            _log.failure("A callback of {connection!r} raised", connection=self)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Take note of the transport's end: called by Twisted.

        :param reason: why
        """
        self._impl.transport_lost(reason.value)

    # What happens to the connection

    def connectionReady(self) -> TwistedProtocolConnection | defer.Deferred[TwistedProtocolConnection]:
        """Called when the connection is open: for subclasses.

        :returns: what :attr:`ready` fires with: the connection; a subclass may return a Deferred
        """
        return self

    def _on_opened(self, connection: Connection) -> None:
        self.closed = defer.Deferred()
        try:
            self._on_connection_ready(connection)
        except Exception as error:
            ready, self.ready = self.ready, None
            if ready is None:
                raise
            fail(ready, error)

    def _on_connection_ready(self, _connection: Connection) -> None:
        ready, self.ready = self.ready, None
        if ready is not None:
            # It fails with the connection, whatever connectionReady waits for.
            self._calls.add(ready)
            defer.maybeDeferred(self.connectionReady).addBoth(lambda result: None if fire(ready, result) else result)

    def _on_connection_failed(self, _connection: Connection, error: BaseException) -> None:
        ready, self.ready = self.ready, None
        if ready is not None:
            fail(ready, error)

    def _on_connection_closed(self, _connection: Connection, exception: BaseException) -> None:
        closed, self.closed = self.closed, None
        if self.ready is not None:
            # A subclass has not let it fire.
            self._on_connection_failed(_connection, exception)
        self._calls.fail(exception)
        if closed is not None:
            fire(closed, exception)
