"""The callback connection on an event loop: what all of the adapters for loops share."""

from __future__ import annotations

import abc
import functools
import logging
import time
from collections.abc import Iterable
from typing import Any, Callable, ClassVar

from pika import exceptions
from pika._arguments import require_callable
from pika.adapters.sending import SendingConnection
from pika.adapters.utils.connection_workflow import (
    AbstractAMQPConnectionWorkflow,
    AMQPConnectionWorkflow,
    AMQPConnectionWorkflowAborted,
    AMQPConnector,
    ConnectingFailed,
)
from pika.adapters.utils.nbio_interface import (
    AbstractIOServices,
    AbstractStreamProtocol,
    AbstractStreamTransport,
    AbstractTimerReference,
)
from pika.adapters.utils.outflow import OutputLimitExceeded
from pika.adapters.utils.stream_transport import StreamTransport
from pika.connection import Parameters
from pika.protocol.heartbeat import told_late
from pika.transport import keeper
from pika.transport.stream import LINGER

__all__ = ["BaseConnection", "OutputLimitExceeded"]

LOGGER = logging.getLogger(__name__)

# How often it is looked at whether the last bytes have left, in seconds.
_LINGER_STEP = 0.02


class BaseConnection(SendingConnection, AbstractStreamProtocol):
    """A callback connection on an event loop.

    It is used in the thread of its loop. While the loop runs, calls from other threads raise
    :class:`~pika.exceptions.WrongThreadError`, as far as the loop can tell, and :meth:`add_callback_threadsafe` is for
    them. In the child of a fork it is closed.

    **Back-pressure.** Publishing never waits: what the broker does not take at once is kept. When that is more than
    :attr:`OUTPUT_HIGH_MARK` bytes, the callbacks of :meth:`add_on_output_paused_callback` are called, and when the
    broker has taken so much of it that :attr:`OUTPUT_LOW_MARK` bytes are left, those of
    :meth:`add_on_output_resumed_callback`. Beyond :attr:`OUTPUT_LIMIT` publishing raises :class:`OutputLimitExceeded`.
    The three can be set on a class or on a connection.

    :param parameters: where and how to connect; the defaults of :class:`~pika.ConnectionParameters` if None
    :param on_open_callback: called as ``callback(connection)`` when the connection is open
    :param on_open_error_callback: called as ``callback(connection, exception)`` when it could not be opened
    :param on_close_callback: called as ``callback(connection, exception)`` when it was open and is closed
    :param nbio: the services of the event loop
    :param internal_connection_workflow: False when somebody else connects the stream, as ``create_connection()`` does
    :param background_heartbeats: whether heartbeats are sent while a callback keeps the loop busy, by a daemon thread
        that all connections of the process share. A loop with streams of its own does without
    :raises ValueError: ``parameters`` are something else
    """

    #: Seconds that closing may take; then the connection is dropped.
    CLOSE_TIMEOUT: float = 10.0

    _workflow: AMQPConnectionWorkflow | None = None
    _STREAM_CLOSED: ClassVar[str] = "Transport indicated EOF"

    def __init__(
        self,
        parameters: Parameters | None,
        on_open_callback: Callable[[Any], object] | None,
        on_open_error_callback: Callable[[Any, Any], object] | None,
        on_close_callback: Callable[[Any, Any], object] | None,
        nbio: AbstractIOServices,
        internal_connection_workflow: bool = True,
        *,
        background_heartbeats: bool = True,
    ) -> None:
        given: object = parameters
        if given is not None and not isinstance(given, Parameters):
            # Not what it is: a URL in it may have a password.
            kind = type(given).__name__
            raise ValueError(f"Expected instance of Parameters, not {kind}: for a URL use pika.URLParameters(url)")
        self._background_heartbeats = background_heartbeats
        self._duty: keeper.Duty | None = None
        self._linger_until: float | None = None
        self._close_timer: AbstractTimerReference | None = None
        self._forked = False
        super().__init__(parameters, on_open_callback, on_open_error_callback, on_close_callback, nbio)
        guard = getattr(nbio, "thread_guard", None)
        if guard is not None:
            self._inside.acquire, self._inside.release = guard.acquire, guard.release
        if internal_connection_workflow:
            self._adapter_connect_stream()

    @classmethod
    @abc.abstractmethod
    def create_connection(
        cls,
        connection_configs: Iterable[Parameters],
        on_done: Callable[[Any], Any],
        custom_ioloop: Any = None,
        workflow: AbstractAMQPConnectionWorkflow | None = None,
    ) -> AbstractAMQPConnectionWorkflow:
        """Connect to the first broker of several that can be reached.

        :param connection_configs: connection parameters, tried in their order; ``connection_attempts`` and
            ``retry_delay`` of the last ones say how often, and with how many seconds in between
        :param on_done: called with the connection when it is open, or with the exception that says why there is none:
            :class:`~pika.adapters.utils.connection_workflow.AMQPConnectionWorkflowFailed`, or
            :class:`~pika.adapters.utils.connection_workflow.AMQPConnectionWorkflowAborted` after ``abort()``
        :param custom_ioloop: the event loop, or its services
        :param workflow: how to do it; an :class:`~pika.adapters.utils.connection_workflow.AMQPConnectionWorkflow` if
            None
        :returns: the workflow, whose ``abort()`` gives up
        :raises ValueError: there are no parameters
        """
        nbio = cls._services(custom_ioloop)
        adapter: Callable[..., Any] = cls
        factory = functools.partial(adapter, custom_ioloop=nbio, internal_connection_workflow=False)
        return cls._start_connection_workflow(connection_configs, factory, nbio, workflow, on_done)

    @classmethod
    def _services(cls, custom_ioloop: Any) -> AbstractIOServices:
        """Return the services that were given, or those of the event loop that was."""
        return custom_ioloop if isinstance(custom_ioloop, AbstractIOServices) else cls._services_on(custom_ioloop)

    @classmethod
    def _services_on(cls, native_loop: Any) -> AbstractIOServices:
        """Return the services of an event loop: what an adapter does that leaves its ``create_connection()`` to this
        class.

        :param native_loop: the loop; None for the adapter's own choice
        """
        raise NotImplementedError

    @classmethod
    def _start_connection_workflow(
        cls,
        connection_configs: Iterable[Parameters],
        connection_factory: Callable[[Any], Any],
        nbio: AbstractIOServices,
        workflow: AbstractAMQPConnectionWorkflow | None,
        on_done: Callable[[Any], Any],
    ) -> AbstractAMQPConnectionWorkflow:
        """Do the work of :meth:`create_connection`.

        :param connection_factory: makes a connection of parameters, with ``internal_connection_workflow=False``
        :param nbio: the services of the event loop
        """
        if workflow is None:
            workflow = AMQPConnectionWorkflow()
        if isinstance(workflow, AMQPConnectionWorkflow):
            workflow.set_io_services(nbio)
        workflow.start(
            connection_configs=connection_configs,
            connector_factory=lambda: AMQPConnector(connection_factory, nbio),
            native_loop=nbio.get_native_ioloop(),
            on_done=on_done,
        )
        return workflow

    @property
    def ioloop(self) -> Any:
        """The event loop."""
        return self._nbio.get_native_ioloop()

    def add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """Have a function called in the thread of the loop, as soon as possible. Any thread may call this.

        :param callback: called without arguments
        :raises TypeError: it cannot be called
        """
        self._adapter_add_callback_threadsafe(require_callable(callback))

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Close the connection and its channels; the close callback reports the end, after :attr:`CLOSE_TIMEOUT`
        seconds at the latest.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :raises pika.exceptions.ConnectionWrongStateError: when it is closing or closed already
        """
        super().close(reply_code, reply_text)
        if not self.is_closed:
            drop = functools.partial(self._drop, exceptions.ConnectionClosedByClient(reply_code, reply_text))
            self._close_timer = self._adapter_call_later(self.CLOSE_TIMEOUT, drop)

    def _drop(self, reason: exceptions.ConnectionClosedByClient) -> None:
        self._close_timer = None
        LOGGER.warning(
            "%s did not answer connection.close within %s seconds: dropping the connection",
            self._protocol.settings.peer,
            self.CLOSE_TIMEOUT,
        )
        self._abort(reason)

    # The stream's other end

    def connection_made(self, transport: AbstractStreamTransport) -> None:
        """Take note of the stream: called by it."""
        self._transport = transport
        if isinstance(transport, StreamTransport):
            self._streaming = transport
            transport.stream.peer = self._protocol.settings.peer
            transport.on_output_sent = self._look_at_output
        if self._protocol.error is not None:
            transport.abort()
        else:
            self._on_stream_connected()

    def data_received(self, data: bytes) -> None:
        """Take bytes: called by the stream."""
        self._on_data_available(data)

    def _handle_events(self) -> None:
        if self._streaming is not None:
            # What callbacks raise from here on is theirs.
            self._streaming.in_hand = False
        super()._handle_events()

    def eof_received(self) -> bool:
        """Take note that the broker has hung up: called by the stream, which is closed then."""
        return False

    def connection_lost(self, error: BaseException | None) -> None:
        """Take note of the end of the stream: called by it."""
        streaming, self._transport, self._streaming = self._streaming, None, None
        self._duty = None
        self._outflow.paused = False
        if self._forked:
            return
        if self._outflow_timer is not None:
            self._outflow_timer.cancel()
            self._outflow_timer = None
        if self._disconnecting:
            self._on_stream_terminated(None)
            return
        lost: BaseException | None = None if streaming is None else streaming.lost
        if lost is None:
            text = self._STREAM_CLOSED if error is None else f"Stream connection lost: {error!r}"
            lost = exceptions.StreamLostError(text)
            lost.__cause__ = error
        self._on_stream_terminated(lost)

    def _report_closed(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        error = self._protocol.error
        if self._was_open and not isinstance(error, exceptions.ConnectionClosedByClient):
            LOGGER.error("The connection to %s has ended: %s", self._protocol.settings.peer, error)
        super()._report_closed()

    def _on_fork(self, parent: int) -> None:
        self._forked = True
        super()._on_fork(parent)
        if self._streaming is not None:
            self._streaming.abandon()
        self._transport = self._streaming = self._duty = None
        self._outflow.paused = False

    # Connecting

    def _adapter_connect_stream(self) -> None:
        workflow = self._workflow = AMQPConnectionWorkflow(_until_first_amqp_attempt=True)
        workflow.set_io_services(self._nbio)
        workflow.start([self.params], self._make_connector, self.ioloop, self._on_workflow_done)

    def _make_connector(self) -> AMQPConnector:
        # Nobody but this connection tells its user.
        return AMQPConnector(lambda _parameters: self, self._nbio, remove_default=False)

    def _on_workflow_done(self, result: Any) -> None:
        self._workflow = None
        if not isinstance(result, BaseException) or self._forked or self._stream_is_gone:
            return
        if isinstance(result, AMQPConnectionWorkflowAborted):
            self._on_stream_terminated(exceptions.ConnectionOpenAborted(str(result)))
        else:
            self._on_stream_terminated(result.open_error() if isinstance(result, ConnectingFailed) else result)

    # What a callback connection asks of its adapter

    def _adapter_disconnect_stream(self) -> None:
        transport = self._transport
        if self._stream_is_gone:
            return
        if transport is None:
            if self._workflow is not None:
                # It calls back.
                self._workflow.abort()
            else:
                self._adapter_call_later(0, lambda: self._on_stream_terminated(None))
        elif self._is_still_sending(transport):
            self._adapter_call_later(_LINGER_STEP, self._adapter_disconnect_stream)
        else:
            transport.abort()

    def _is_still_sending(self, transport: AbstractStreamTransport) -> bool:
        if isinstance(self._protocol.error, (exceptions.AMQPHeartbeatTimeout, exceptions.ConnectionOpenAborted)):
            return False
        now = time.monotonic()
        if self._linger_until is None:
            self._linger_until = now + LINGER
        return transport.get_write_buffer_size() > 0 and now < self._linger_until

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _adapter_call_later(self, delay: float, callback: Callable[[], object]) -> AbstractTimerReference:
        return self._nbio.call_later(delay, callback)

    def _adapter_remove_timeout(self, timeout_id: AbstractTimerReference) -> None:
        timeout_id.cancel()

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        self._nbio.add_callback_threadsafe(callback)

    # Heartbeats

    def _arm_heartbeat(self) -> None:
        super()._arm_heartbeat()
        if self._duty is None and self._background_heartbeats and self._streaming is not None:
            # Held here, and only here: it goes with the connection, also when that is forgotten without a close.
            self._duty = keeper.Duty(self._protocol, self._streaming.stream)
            keeper.keep(self._duty)

    def _on_heartbeat_due(self) -> None:
        due = self._protocol.next_deadline()
        late = 0.0 if due is None else time.monotonic() - due
        if self._duty is None and late > self._protocol.heartbeat_interval / 2:
            LOGGER.warning(told_late(self._protocol.settings.peer, late, self._protocol.heartbeat_interval))
        super()._on_heartbeat_due()

    def _tick(self) -> None:
        try:
            if self._streaming is not None:
                # However the turns of the loop went: silence is judged once what has arrived was read.
                self._streaming.look()
        finally:
            super()._tick()
