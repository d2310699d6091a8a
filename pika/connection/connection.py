"""The callback API of a connection, which adapters and users' own classes put on a way of waiting."""

from __future__ import annotations

import abc
import copy
import functools
import logging
import time
from typing import Any, Callable, ClassVar, NamedTuple, TypeVar, cast

from pika import channel as channel_module
from pika import exceptions, frame, protocol, spec
from pika._arguments import call_each, nowait_unless, require_callable
from pika._threads import Inside, ignore, one_thread
from pika.amqp_object import Method
from pika.connection.callbacks import Callbacks
from pika.connection.channel_events import ChannelEvent
from pika.connection.parameters import ConnectionParameters, Parameters
from pika.connection.settings import settings_for
from pika.protocol import ConnectionState
from pika.transport import forks

LOGGER = logging.getLogger("pika.connection")

#: So many turns of its loop a busy program gets to read what had arrived, before an alarm is judged: kernels keep a few
#: MiB, and a turn reads up to 128 KiB.
_TURNS_TO_READ = 64

_DELIVERY = protocol.Delivery
_CONFIRMED = protocol.Confirmed
_REPLIED = protocol.Replied

Handler = TypeVar("Handler", bound=Callable[..., Any])
OnOpen = Callable[["Connection"], object]
OnClose = Callable[["Connection", BaseException], object]
OnOpenError = Callable[["Connection", Any], object]
OnBlocked = Callable[["Connection", "frame.Method[Any]"], object]

#: Seconds that pika 1.x adds to the heartbeat interval when it judges silence, which programs know it by.
_CHECK_MARGIN = 5


def _of_the_loop(method: Handler) -> Handler:
    """Decorate what the connection's own loop calls: it waits for a thread that is inside, which takes a moment, since
    what the loop brings must not be refused."""

    @functools.wraps(method)
    def patient(self: Connection, *args: Any, **kwargs: Any) -> Any:
        inside = self._inside
        inside.acquire(True)
        try:
            return method(self, *args, **kwargs)
        finally:
            inside.release()

    return cast(Handler, patient)


class HeartbeatChecker(NamedTuple):
    """How often a connection's liveness is seen to, for programs that fit their own work in between.

    :param interval: the negotiated heartbeat interval, in seconds
    """

    interval: int

    @property
    def _check_interval(self) -> int:
        return self.interval + _CHECK_MARGIN


class Connection(abc.ABC):
    """An AMQP connection whose news come as callbacks.

    It knows no I/O.  A subclass writes the ``_adapter_`` methods, and calls :meth:`_on_stream_connected`,
    :meth:`_on_data_available` and :meth:`_on_stream_terminated`; the rules of AMQP are in :mod:`pika.protocol`.

    :param parameters: where and how to connect; the defaults of :class:`ConnectionParameters` if None
    :param on_open_callback: called as ``callback(connection)`` when the connection is open
    :param on_open_error_callback: called as ``callback(connection, exception)`` when it could not be opened
    :param on_close_callback: called as ``callback(connection, exception)`` when it was open and is closed
    :param internal_connection_workflow: False when the stream is connected by somebody else, who calls
        :meth:`_on_stream_connected`
    """

    ON_CONNECTION_CLOSED: ClassVar[str] = "_on_connection_closed"
    ON_CONNECTION_ERROR: ClassVar[str] = "_on_connection_error"
    ON_CONNECTION_OPEN_OK: ClassVar[str] = "_on_connection_open_ok"
    CONNECTION_CLOSED: ClassVar[int] = ConnectionState.CLOSED.value
    CONNECTION_INIT: ClassVar[int] = ConnectionState.INIT.value
    CONNECTION_PROTOCOL: ClassVar[int] = ConnectionState.PROTOCOL.value
    CONNECTION_START: ClassVar[int] = ConnectionState.START.value
    CONNECTION_TUNE: ClassVar[int] = ConnectionState.TUNE.value
    CONNECTION_OPEN: ClassVar[int] = ConnectionState.OPEN.value
    CONNECTION_CLOSING: ClassVar[int] = ConnectionState.CLOSING.value

    def __init__(
        self,
        parameters: Parameters | None = None,
        on_open_callback: OnOpen | None = None,
        on_open_error_callback: OnOpenError | None = None,
        on_close_callback: OnClose | None = None,
        internal_connection_workflow: bool = True,
    ) -> None:
        #: The parameters: a copy, whose limits and heartbeat are the negotiated ones once the connection is open.
        self.params: Parameters = _own_copy(parameters) if parameters is not None else ConnectionParameters()
        #: What is called at which event, of this connection and of its channels.
        self.callbacks = Callbacks()
        self._channels: dict[int, channel_module.Channel] = {}
        self._protocol = protocol.Connection(settings_for(self.params, self))
        self._inside = Inside(self._give_up)
        self._was_open = False
        self._processing = False
        self._disconnecting = False
        self._stream_is_gone = False
        # Set between the protocol's last event and the end of the stream.
        self._closed: protocol.Closed | None = None
        self._heartbeat_timer: Any = None
        self._blocked_timer: Any = None
        self._callbacks_by_reply: dict[protocol.Reply[Any], Callable[[frame.Method[Any]], object]] = {}
        self.callbacks.add(0, self.ON_CONNECTION_ERROR, _raise_open_error, False)
        if on_open_callback is not None:
            self.add_on_open_callback(on_open_callback)
        if on_open_error_callback is not None:
            self.add_on_open_error_callback(on_open_error_callback)
        if on_close_callback is not None:
            self.add_on_close_callback(on_close_callback)
        forks.watch(self)
        if internal_connection_workflow:
            self._adapter_connect_stream()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.name} params={self.params}>"

    # What a subclass writes

    @abc.abstractmethod
    def _adapter_connect_stream(self) -> None:
        """Begin to connect the stream; call :meth:`_on_stream_connected` or :meth:`_on_stream_terminated` then."""

    @abc.abstractmethod
    def _adapter_disconnect_stream(self) -> None:
        """End the stream, output first; call :meth:`_on_stream_terminated` when it has ended."""

    @abc.abstractmethod
    def _adapter_emit_data(self, data: bytes) -> None:
        """Send bytes, now or soon, in the order of the calls.

        :param data: the bytes
        """

    @abc.abstractmethod
    def _adapter_call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        """Call back once.

        :param delay: in how many seconds
        :param callback: what to call, without arguments
        :returns: a handle for :meth:`_adapter_remove_timeout`
        """

    @abc.abstractmethod
    def _adapter_remove_timeout(self, timeout_id: Any) -> None:
        """Cancel a call that was asked for.

        :param timeout_id: the handle that :meth:`_adapter_call_later` returned
        """

    @abc.abstractmethod
    def _adapter_add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back soon, in the connection's thread; may be called from any thread.

        :param callback: what to call, without arguments
        """

    # What a subclass calls

    @_of_the_loop
    def _on_stream_connected(self) -> None:
        """Begin the AMQP handshake: bytes can flow."""
        if self._state is not ConnectionState.INIT:
            # Closed while the stream was being connected.
            return
        self._protocol.start(time.monotonic())
        self._flush()

    @_of_the_loop
    def _on_stream_terminated(self, error: BaseException | None) -> None:
        """Take note that the stream has ended.

        :param error: why, or None when it was ended by :meth:`_adapter_disconnect_stream`
        """
        self._stream_is_gone = True
        self._protocol.stream_lost(error or exceptions.StreamLostError("the stream was closed by this client"))
        self._process_events()

    def _on_data_available(self, data_in: bytes) -> None:
        """Take bytes that arrived, and act on them.

        :param data_in: the bytes, in any split
        """
        # As _of_the_loop does it, without the calls: every read passes here.
        inside = self._inside
        inside.acquire(True)
        try:
            self._protocol.receive_data(data_in, time.monotonic())
            self._act_on_events()
        finally:
            inside.release()

    # Callbacks

    def add_on_open_callback(self, callback: OnOpen) -> None:
        """Have a function called when the connection is open.

        :param callback: called as ``callback(connection)``
        :raises TypeError: when it is not callable
        """
        self.callbacks.add(0, self.ON_CONNECTION_OPEN_OK, require_callable(callback), False)

    def add_on_open_error_callback(self, callback: OnOpenError, remove_default: bool = True) -> None:
        """Have a function called when the connection could not be opened. Without any, the exception is raised, out
        of the loop that moves the connection.

        :param callback: called as ``callback(connection, exception)``
        :param remove_default: whether the exception is not raised any more
        :raises TypeError: when it is not callable
        """
        require_callable(callback)
        if remove_default:
            self.callbacks.remove(0, self.ON_CONNECTION_ERROR, _raise_open_error)
        self.callbacks.add(0, self.ON_CONNECTION_ERROR, callback, False)

    def add_on_close_callback(self, callback: OnClose) -> None:
        """Have a function called when the connection, once open, is closed.

        :param callback: called as ``callback(connection, exception)``
        :raises TypeError: when it is not callable
        """
        self.callbacks.add(0, self.ON_CONNECTION_CLOSED, require_callable(callback), False)

    def add_on_connection_blocked_callback(self, callback: OnBlocked) -> None:
        """Have a function called when the broker blocks publishing, over a memory or disk alarm.

        :param callback: called as ``callback(connection, method_frame)``, with RabbitMQ's connection.blocked
        :raises TypeError: when it is not callable
        """
        blocked = functools.partial(require_callable(callback), self)
        self.callbacks.add(0, spec.Connection.Blocked, blocked, False)

    def add_on_connection_unblocked_callback(self, callback: OnBlocked) -> None:
        """Have a function called when publishing is possible again.

        :param callback: called as ``callback(connection, method_frame)``, with RabbitMQ's connection.unblocked
        :raises TypeError: when it is not callable
        """
        unblocked = functools.partial(require_callable(callback), self)
        self.callbacks.add(0, spec.Connection.Unblocked, unblocked, False)

    # Operations

    @one_thread
    def channel(
        self,
        channel_number: int | None = None,
        on_open_callback: Callable[[channel_module.Channel], object] | None = None,
    ) -> channel_module.Channel:
        """Open a channel.

        :param channel_number: its number, 1 to 65535; None takes the lowest that is free
        :param on_open_callback: called as ``callback(channel)`` when the channel is open
        :returns: the channel, which is still opening
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        :raises pika.exceptions.NoFreeChannels: when the broker allows no more
        :raises pika.exceptions.InvalidChannelNumber: when the number is no int, in use or out of range
        """
        if not self.is_open:
            raise self._wrong_state(f"Channel allocation requires an open connection: {self!r}")
        if channel_number is not None and not isinstance(channel_number, int):
            raise exceptions.InvalidChannelNumber(channel_number)
        channel = self._create_channel(channel_number or self._protocol.next_channel_number(), on_open_callback)
        self._channels[channel.channel_number] = channel
        channel.open()
        return channel

    def _create_channel(
        self, channel_number: int, on_open_callback: Callable[[channel_module.Channel], object] | None
    ) -> channel_module.Channel:
        return channel_module.Channel(self, channel_number, on_open_callback)

    @one_thread
    def update_secret(
        self, new_secret: str, reason: str, callback: Callable[[frame.Method[Any]], object] | None = None
    ) -> None:
        """Give the broker a new secret before the present one expires (RabbitMQ's connection.update-secret).

        :param new_secret: the new password or token
        :param reason: a text for the broker's log
        :param callback: called as ``callback(method_frame)`` when the broker has taken it
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        """
        nowait_unless(callback)
        reply = self._protocol.update_secret(new_secret, reason)
        if callback is not None:
            self._callbacks_by_reply[reply] = callback
        self._flush()

    @one_thread
    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Close the connection, its channels first; the close callback reports the end.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :raises pika.exceptions.ConnectionWrongStateError: when it is closing or closed already
        """
        open_before = self.is_open
        channels = [channel for channel in self._channels.values() if channel.is_open or channel.is_opening]
        try:
            self._protocol.close(reply_code, reply_text)
        except BaseException as error:
            if open_before and not self.is_open:
                self._give_up(error)
            raise
        for channel in channels:
            channel._begin_closing()
        self._process_events()

    # State

    @property
    def _state(self) -> ConnectionState:
        # What is closed says so when its stream has ended too, and everybody is told.
        return self._protocol.state if self._closed is None else ConnectionState.CLOSING

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._protocol.state is ConnectionState.OPEN

    @property
    def is_closing(self) -> bool:
        """Whether the connection is on its way to closed."""
        return self._state is ConnectionState.CLOSING

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed, which is final."""
        return self._state is ConnectionState.CLOSED

    @property
    def server_properties(self) -> dict[str, Any] | Any:
        """What the broker said of itself in connection.start; None before that."""
        return self._protocol.server_properties

    @property
    def server_capabilities(self) -> dict[str, Any] | Any:
        """The extensions of AMQP 0-9-1 that the broker said it has; None before connection.start."""
        if self.server_properties is None:
            return None
        capabilities = self.server_properties.get("capabilities")
        return capabilities if isinstance(capabilities, dict) else {}

    def _has(self, capability: str) -> bool:
        return bool((self.server_capabilities or {}).get(capability, False))

    @property
    def basic_nack(self) -> bool:
        """Whether the broker has basic.nack."""
        return self._has("basic.nack")

    @property
    def consumer_cancel_notify(self) -> bool:
        """Whether the broker tells a consumer that it was cancelled."""
        return self._has("consumer_cancel_notify")

    @property
    def exchange_exchange_bindings(self) -> bool:
        """Whether the broker can bind exchanges to exchanges."""
        return self._has("exchange_exchange_bindings")

    @property
    def publisher_confirms(self) -> bool:
        """Whether the broker has publisher confirms."""
        return self._has("publisher_confirms")

    @property
    def connection_state(self) -> int:
        """The state as a number: one of ``CONNECTION_OPEN`` and its siblings."""
        return self._state.value

    @property
    def _heartbeat_checker(self) -> HeartbeatChecker | None:
        interval = self._protocol.heartbeat_interval
        return HeartbeatChecker(interval) if interval and not self.is_closed else None

    # Insides

    def _send_method(
        self, channel_number: int, method: Method, content: tuple[spec.BasicProperties, bytes] | None = None
    ) -> None:
        self._channels[channel_number]._send_method(method, content)

    def _flush(self) -> None:
        """Send what is to be sent, now or soon."""
        self._flush_now()

    def _flush_now(self) -> None:
        pieces = self._protocol.data_to_send()
        if pieces:
            self._emit_pieces(pieces)

    @property
    def _is_congested(self) -> bool:
        """Whether so much waits to be sent that :meth:`_require_room` is to be asked before a message is published."""
        return False

    def _require_room(self) -> None:  # noqa: B027
        """Raise when too much waits to be sent already."""

    def _emit_pieces(self, pieces: list[bytes | memoryview]) -> None:
        self._adapter_emit_data(pieces[0] if len(pieces) == 1 and isinstance(pieces[0], bytes) else b"".join(pieces))

    def _wrong_state(
        self, text: str = "", kind: type[exceptions.ConnectionWrongStateError] = exceptions.ConnectionWrongStateError
    ) -> exceptions.ConnectionWrongStateError:
        """Return what to raise for a call that came too late, or too early; ``str()`` has the reason of the end."""
        error = kind(text) if text else kind()
        reason = self._protocol.error
        error.context = None if reason is None else exceptions.text_in_brackets(reason)
        return error

    def _give_up(self, error: BaseException) -> None:
        """End the connection, as a signal handler raised where frames or calls would get lost."""
        peer = self._protocol.settings.peer
        lost = exceptions.StreamLostError(
            f"Stream connection lost: interrupted by {error!r} in the middle of its work, "
            f"so what {peer} got or sent is not known; connect again"
        )
        lost.__cause__ = error
        # What was interrupted is over, even if it could not say so.
        self._processing = False
        self._abort(lost)

    def _abort(self, error: BaseException) -> None:
        self._protocol.stream_lost(error)
        self._process_events()

    def _on_fork(self, parent: int) -> None:
        """In a child: be closed, without a word to the broker, which goes on talking to the parent."""
        error = forks.closed_in_child(self._protocol.settings.peer, parent)
        self._inside.after_fork()
        self._protocol.abandon(error)
        # An end that the parent was about to report is not the child's.
        self._closed = None

    @one_thread
    def _process_events(self) -> None:
        self._act_on_events()

    def _act_on_events(self) -> None:
        if self._processing:
            # A callback closes the connection, or its bytes push others in: the loop that called it goes on after it.
            self._flush()
            return
        inside = self._inside
        busy = inside.busy
        finished = False
        try:
            self._processing = True
            inside.busy = busy + 1
            self._handle_events()
            finished = True
        finally:
            self._processing = False
            inside.busy = busy
            if self._protocol.output:
                self._flush_now()
            if self._heartbeat_timer is None and self._protocol.heartbeat_interval:
                # The broker expects heartbeats from tune-ok on, however long it takes to open the connection.
                self._arm_heartbeat()
            if not finished:
                # A user's callback raised.  What arrived behind its event must not wait for more to arrive.
                self._adapter_call_later(0, self._process_events)
        if self._closed is not None:
            self._end_stream()

    def _handle_events(self) -> None:
        # One loop for all that a read has brought; deliveries, of which there are many, are told apart first.
        next_event, channels = self._protocol.next_event, self._channels
        taking = False
        try:
            while True:
                taking = True
                event = next_event()
                taking = False
                if event is None:
                    return
                if type(event) is _DELIVERY:
                    channel, method, properties, body = event
                    channels[channel.number]._deliver(method, properties, body)
                elif type(event) is _CONFIRMED:
                    channels[event.channel.number]._process(event.method)
                elif type(event) is _REPLIED and event.channel is not None:
                    channels[event.channel.number]._on_replied(event.reply)
                else:
                    _HANDLERS[type(event)](self, event)
        except BaseException as error:
            if taking:
                # By itself it raises nothing: a signal handler did.
                self._give_up(error)
            raise

    def _end_stream(self) -> None:
        if self._stream_is_gone:
            self._report_closed()
        elif not self._disconnecting:
            self._disconnecting = True
            self._adapter_disconnect_stream()

    def _on_opened(self, event: protocol.Opened) -> None:
        self._was_open = True
        rules, params = self._protocol, self.params
        params.channel_max, params.frame_max = rules.channel_max, rules.frame_max
        params.heartbeat = rules.heartbeat_interval
        self.callbacks.process(0, self.ON_CONNECTION_OPEN_OK, self, self)

    def _arm_heartbeat(self) -> None:
        deadline = self._protocol.next_deadline()
        if deadline is not None:
            delay = max(deadline - time.monotonic(), 0)
            self._heartbeat_timer = self._adapter_call_later(delay, self._on_heartbeat_due)

    def _on_heartbeat_due(self) -> None:
        # One turn later: what arrived while the loop was busy is read before silence is judged.
        self._heartbeat_timer = self._adapter_call_later(0, self._tick)

    @_of_the_loop
    def _tick(self) -> None:
        self._protocol.tick(time.monotonic())
        self._arm_heartbeat()
        self._process_events()

    def _on_connection_blocked(self, event: protocol.ConnectionBlocked) -> None:
        timeout = self.params.blocked_connection_timeout
        LOGGER.log(
            # Without an end to it, it is for the program to say what it means.
            logging.INFO if timeout is None else logging.WARNING,
            "%s has blocked publishing: %s (blocked_connection_timeout is %s)",
            self._protocol.settings.peer,
            event.method.reason,
            timeout,
        )
        if timeout is not None and self._blocked_timer is None:
            self._blocked_timer = self._adapter_call_later(timeout, self._on_blocked_timeout)
        self.callbacks.process(0, event.method, self, frame.Method(0, event.method))

    def _on_connection_unblocked(self, event: protocol.ConnectionUnblocked) -> None:
        self._remove_blocked_timer()
        self.callbacks.process(0, event.method, self, frame.Method(0, event.method))

    @_of_the_loop
    def _on_blocked_timeout(self, seen: float | None = None, turns: int = _TURNS_TO_READ) -> None:
        self._blocked_timer = None
        received_at = self._protocol.received_at
        if received_at != seen and turns:
            # The end of the alarm may be among what has arrived and was not read yet, while the program was busy.
            judge = functools.partial(self._on_blocked_timeout, received_at, turns - 1)
            self._blocked_timer = self._adapter_call_later(0, judge)
            return
        self._protocol.give_up_blocked(self.params.blocked_connection_timeout)
        self._process_events()

    def _remove_blocked_timer(self) -> None:
        if self._blocked_timer is not None:
            self._adapter_remove_timeout(self._blocked_timer)
            self._blocked_timer = None

    def _on_replied(self, event: protocol.Replied) -> None:
        """The broker answered an operation of the connection's own."""
        method = event.reply.result()
        callbacks = [callback for _, callback in self.callbacks.take(0, method, self, method)]
        if event.reply in self._callbacks_by_reply:
            callbacks.insert(0, self._callbacks_by_reply.pop(event.reply))
        call_each(callbacks, frame.Method(0, method))

    def _on_channel_event(self, event: ChannelEvent) -> None:
        self._channels[event.channel.number]._on_event(event)

    def _on_channel_closed(self, event: protocol.ChannelClosed) -> None:
        self._channels.pop(event.channel.number)._on_closed(event.error, event.method)

    def _on_closed_event(self, event: protocol.Closed) -> None:
        self._closed = event
        self._remove_blocked_timer()
        if self._heartbeat_timer is not None:
            self._adapter_remove_timeout(self._heartbeat_timer)
            self._heartbeat_timer = None

    def _report_closed(self) -> None:
        """Tell everybody once, channels first."""
        closed, self._closed = self._closed, None
        assert closed is not None
        channels, self._channels = self._channels, {}
        key = self.ON_CONNECTION_CLOSED if self._was_open else self.ON_CONNECTION_ERROR
        if not self._was_open:
            LOGGER.error("The connection could not be opened: %s", closed.error)
        call_each(
            [
                *(functools.partial(channel._on_closed, closed.error) for channel in channels.values()),
                functools.partial(self.callbacks.process, 0, key, self, self, closed.error),
            ]
        )
        # What will not be called any more leads back here; without it a connection is freed as soon as it is dropped.
        self._inside.give_up = ignore
        for method in (spec.Connection.Blocked, spec.Connection.Unblocked):
            self.callbacks.remove_all(0, method)


def _own_copy(parameters: Parameters) -> Parameters:
    """Copy parameters: the negotiated limits are written into them, and credentials may be erased once used."""
    own = copy.copy(parameters)
    if getattr(own.credentials, "erase_on_connect", False):
        own.credentials = copy.copy(own.credentials)
    return own


def _raise_open_error(connection: Connection, error: BaseException) -> None:
    """What is called about a connection that could not be opened, as long as nobody else asks to be."""
    raise error


_HANDLERS: dict[type[Any], Callable[[Connection, Any], None]] = {
    protocol.Opened: Connection._on_opened,
    protocol.ConnectionBlocked: Connection._on_connection_blocked,
    protocol.ConnectionUnblocked: Connection._on_connection_unblocked,
    protocol.Replied: Connection._on_replied,
    protocol.Returned: Connection._on_channel_event,
    protocol.ConsumerCancelled: Connection._on_channel_event,
    protocol.ChannelFlow: Connection._on_channel_event,
    protocol.ChannelClosed: Connection._on_channel_closed,
    protocol.Closed: Connection._on_closed_event,
}
