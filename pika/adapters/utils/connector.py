"""One attempt to connect to one address: TCP, TLS and the AMQP handshake, within their deadlines."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any, Callable

from pika import exceptions
from pika.adapters.utils.io_services import require_on_done
from pika.transport import forks
from pika.transport.dial import Address, describe
from pika.transport.errors import (
    AMQPConnectorAborted,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
    AMQPConnectorWrongState,
)
from pika.transport.sockets import open_socket

if TYPE_CHECKING:
    from pika.adapters.base_connection import BaseConnection
    from pika.adapters.utils.nbio_interface import AbstractIOServices
    from pika.connection import Parameters


class AMQPConnector:
    """Makes one connection, of one address.

    :param conn_factory: given the connection parameters, makes a connection that waits for its stream, such as
        ``SelectConnection(parameters, internal_connection_workflow=False)``
    :param nbio: the services of the event loop
    :param remove_default: as for :meth:`~pika.connection.Connection.add_on_open_error_callback`: False has a connection
        that fails to open raise the exception out of the loop when nobody but the connector wants to know
    """

    def __init__(
        self, conn_factory: Callable[[Any], BaseConnection], nbio: AbstractIOServices, *, remove_default: bool = True
    ) -> None:
        self._conn_factory = conn_factory
        self._nbio = nbio
        self._remove_default = remove_default
        self._params: Parameters | None = None
        self._on_done: Callable[[Any], Any] | None = None
        self._where = ""
        self._sock: socket.socket | None = None
        self._connection: BaseConnection | None = None
        # What cancels the phase that is going on, and the deadlines.
        self._task: Any = None
        self._tcp_timer: Any = None
        self._stack_timer: Any = None
        # Why the connection was given up, when it is over.
        self._verdict: Exception | None = None
        self._over = False

    def start(self, addr_record: Any, conn_params: Parameters, on_done: Callable[[Any], Any]) -> None:
        """Begin.

        :param addr_record: where to: one of the tuples of :func:`socket.getaddrinfo`
        :param conn_params: the connection parameters
        :param on_done: called with the connection, once it is open; or with an exception, of class
            :class:`AMQPConnectorAborted`, :class:`AMQPConnectorSocketConnectError`,
            :class:`AMQPConnectorTransportSetupError` or :class:`AMQPConnectorAMQPHandshakeError`
        :raises AMQPConnectorWrongState: it was started before
        """
        if self._params is not None:
            raise AMQPConnectorWrongState("A connector makes one attempt, and this one was started before.")
        self._on_done = require_on_done(on_done)
        self._params = conn_params
        address = Address(*addr_record)
        self._where = describe(conn_params, address)
        forks.watch(self)
        call_later = self._nbio.call_later
        if conn_params.stack_timeout is not None:
            self._stack_timer = call_later(conn_params.stack_timeout, self._on_stack_timeout)
        try:
            self._sock = open_socket(address, conn_params.tcp_options)
            self._task = self._nbio.connect_socket(self._sock, address.sockaddr, self._on_connected)
        except (OSError, ValueError, TypeError) as error:
            # Not before this has returned.
            self._task = call_later(0, functools.partial(self._on_connected, error))
        if conn_params.socket_timeout is not None:
            self._tcp_timer = call_later(conn_params.socket_timeout, self._on_tcp_timeout)

    def abort(self) -> None:
        """Give up; ``on_done`` is called with :class:`AMQPConnectorAborted`, not before this returned.

        :raises AMQPConnectorWrongState: it was not started, or is over
        """
        if self._params is None:
            raise AMQPConnectorWrongState("Cannot abort before starting.")
        if self._over:
            raise AMQPConnectorWrongState("Cannot abort after completion was reported")
        if self._verdict is None:
            self._give_up(AMQPConnectorAborted())

    def _on_fork(self, parent: int) -> None:
        """In a child: leave it to the parent. The connection, if there is one yet, sees to its own."""
        self._over = True
        if self._sock is not None:
            self._sock.close()

    # The phases

    def _on_connected(self, error: BaseException | None) -> None:
        if self._tcp_timer is not None:
            self._tcp_timer.cancel()
        if self._over or self._verdict is not None:
            return
        params, sock = self._params, self._sock
        if error is not None or sock is None:
            assert error is not None
            self._finish(self._tcp_error(error))
            return
        assert params is not None
        options = params.ssl_options
        # The stream takes the socket over.
        self._sock = None
        self._task = self._nbio.create_streaming_connection(
            self._make_connection,
            sock,
            self._on_stream,
            ssl_context=None if options is None else options.context,
            server_hostname=None if options is None else options.server_hostname or params.host,
        )

    def _make_connection(self) -> BaseConnection:
        connection = self._connection = self._conn_factory(self._params)
        connection.add_on_open_callback(self._on_open)
        connection.add_on_open_error_callback(self._on_open_error, remove_default=self._remove_default)
        return connection

    def _on_stream(self, result: Any) -> None:
        self._task = None
        if isinstance(result, Exception):
            self._finish(self._setup_error(result))

    def _on_open(self, connection: Any) -> None:
        if self._verdict is None:
            self._finish(connection)

    def _on_open_error(self, connection: Any, error: Any) -> None:
        verdict = self._verdict
        if verdict is None:
            verdict = AMQPConnectorAMQPHandshakeError(error, where=self._where)
        self._finish(verdict)

    # Endings

    def _on_tcp_timeout(self) -> None:
        assert self._params is not None
        limit = self._params.socket_timeout
        self._give_up(self._tcp_error(TimeoutError(f"no answer within socket_timeout ({limit:g} seconds)")))

    def _on_stack_timeout(self) -> None:
        error = AMQPConnectorStackTimeout("no answer within stack_timeout")
        if self._connection is not None:
            self._give_up(AMQPConnectorAMQPHandshakeError(error, where=self._where))
        elif self._sock is not None:
            self._give_up(self._tcp_error(error))
        else:
            self._give_up(self._setup_error(AMQPConnectorStackTimeout("no TLS handshake within stack_timeout")))

    def _tcp_error(self, error: BaseException) -> Exception:
        return _caused(AMQPConnectorSocketConnectError(error, where=self._where), error)

    def _setup_error(self, error: BaseException) -> Exception:
        hint = ""
        options = None if self._params is None else self._params.ssl_options
        if isinstance(error, OSError) and options is not None and self._params is not None:
            from pika.transport.tls import explain

            hint = explain(error, options.server_hostname or self._params.host)
        return _caused(AMQPConnectorTransportSetupError(error, where=self._where, hint=hint), error)

    def _give_up(self, verdict: Exception) -> None:
        """End the attempt. What the connection has to say comes first, if there is one yet."""
        if self._over or self._verdict is not None:
            return
        self._verdict = verdict
        if self._connection is None:
            self._clean_up()
            self._nbio.add_callback_threadsafe(functools.partial(self._finish, verdict))
        elif not (self._connection.is_closed or self._connection.is_closing):
            self._end_connection(self._connection, verdict)

    def _end_connection(self, connection: BaseConnection, verdict: Exception) -> None:
        text = "connecting was aborted by this client"
        if isinstance(verdict, AMQPConnectorAMQPHandshakeError):
            text = f"{self._where}: no AMQP handshake within stack_timeout"
        connection._abort(exceptions.ConnectionOpenAborted(text))

    def _clean_up(self) -> None:
        for pending in (self._tcp_timer, self._stack_timer, self._task):
            if pending is not None:
                pending.cancel()
        self._tcp_timer = self._stack_timer = self._task = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _finish(self, result: Any) -> None:
        if self._over:
            return
        self._over = True
        self._clean_up()
        on_done, self._on_done = self._on_done, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.callbacks.remove(0, connection.ON_CONNECTION_OPEN_OK, self._on_open)
            connection.callbacks.remove(0, connection.ON_CONNECTION_ERROR, self._on_open_error)
        assert on_done is not None
        on_done(result)


def _caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error
