"""BlockingConnection: the callback connection, pumped by the calls that wait for it."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, ClassVar

from pika import exceptions, frame, spec
from pika._arguments import ArgumentTypeError, NegativeTimeError, require_callable
from pika._threads import one_thread
from pika.adapters.blocking_channel import BlockingChannel, close_after
from pika.adapters.blocking_deliveries import Deliveries
from pika.adapters.blocking_events import (
    LOGGER,
    ReturnedMessage,
    _CallbackResult,
    _ConsumerCancellationEvt,
    _ConsumerDeliveryEvt,
    _ConsumerInfo,
    _ReturnedMessageEvt,
)
from pika.adapters.ending import ClosedBeforeCallError
from pika.adapters.pumped_connection import PumpedConnection
from pika.adapters.queue_consumer import _QueueConsumerGeneratorInfo
from pika.connection import ConnectionParameters, Parameters
from pika.transport.dial import Address, Destination, describe, dial, out_of_time
from pika.transport.stream import Stream

__all__ = [
    "BlockingChannel",
    "BlockingConnection",
    "ReturnedMessage",
    "_CallbackResult",
    "_ConsumerCancellationEvt",
    "_ConsumerDeliveryEvt",
    "_ConsumerInfo",
    "_QueueConsumerGeneratorInfo",
    "_ReturnedMessageEvt",
]

OnBlocked = Callable[["BlockingConnection", "frame.Method[spec.Connection.Blocked]"], object]
OnUnblocked = Callable[["BlockingConnection", "frame.Method[spec.Connection.Unblocked]"], object]


class BlockingConnection:
    """A connection whose methods return when the broker has answered.

    It is used by one thread at a time: a call that enters while another thread is inside raises
    :class:`~pika.exceptions.WrongThreadError`. Handing it over between calls is fine, the properties that tell its
    state can be read by any thread, and :meth:`add_callback_threadsafe` is for work from other threads. Callbacks
    are called while :meth:`process_data_events`, :meth:`sleep` or ``channel.start_consuming`` runs, and an operation
    called inside a callback queues what arrives for later.

    After a fork the parent keeps the connection; in the child it is closed, and calls raise
    :class:`~pika.exceptions.ConnectionWrongStateError`.

    :param parameters: where and how to connect: one, or a sequence of them that is tried in order; the defaults of
        :class:`~pika.ConnectionParameters` if None
    :param background_heartbeats: whether heartbeats are sent while the program is busy between calls or in a callback,
        by a daemon thread that all connections of the process share; otherwise only calls of the connection send them
    :raises pika.exceptions.AMQPConnectionError: when no broker could be reached; the text lists each address with
        its cause
    :raises pika.exceptions.ProbableAuthenticationError: when the broker refused the credentials
    :raises pika.exceptions.ProbableAccessDeniedError: when the broker refused the virtual host
    """

    #: Seconds after which the broker is given up on when it does not answer an operation, though it is
    #: alive. Time under an alarm of the broker's does not count.
    REPLY_TIMEOUT: ClassVar[float] = 600.0
    #: Seconds that closing may take; then the connection is dropped.
    CLOSE_TIMEOUT: ClassVar[float] = 10.0

    def __init__(
        self,
        parameters: Parameters | Sequence[Parameters] | None = None,
        _impl_class: type[PumpedConnection] | None = None,
        *,
        background_heartbeats: bool = True,
    ) -> None:
        # What waits to be handed to the user's callbacks.
        self._ready_events: deque[Callable[[], object]] = deque()
        self._channels_pending: dict[Deliveries, None] = {}
        self._in_dispatch = False
        self._awaiting_events = False
        # What signal handlers asked for that could not be done then.
        self._deferred: deque[Callable[[], object]] = deque()
        self._impl = self._create_connection(parameters, _impl_class)
        self._inside = self._impl._inside
        if background_heartbeats:
            self._impl.keep_heartbeats()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} impl={self._impl!r}>"

    def __enter__(self) -> BlockingConnection:
        return self

    def __exit__(self, exc_type: object, value: object, traceback: object) -> None:
        if self.is_open:
            close_after(self.close, exc_type)

    # Opening and closing

    def _create_connection(
        self, configs: Parameters | Sequence[Parameters] | None = None, impl_class: type[PumpedConnection] | None = None
    ) -> PumpedConnection:
        if configs is None:
            configs = ConnectionParameters()
        destinations = [configs] if isinstance(configs, Parameters) else list(configs)
        for destination in destinations:
            if not isinstance(destination, Parameters):
                # Not what it is: a URL in it may have a password.
                raise ArgumentTypeError(
                    f"parameters must be pika.ConnectionParameters or pika.URLParameters, or a sequence of them, "
                    f"but got {type(configs).__name__}: for a URL use pika.URLParameters(url)"
                )
        try:
            return dial(destinations, functools.partial(self._open, impl_class or PumpedConnection))
        except Exception as error:
            LOGGER.error("No connection: %s", error)
            raise

    def _open(
        self, impl_class: type[PumpedConnection], destination: Destination, address: Address, deadline: float | None
    ) -> PumpedConnection:
        """Connect to one address, and do the AMQP handshake to its end."""
        assert isinstance(destination, Parameters)
        try:
            return self._attempt(impl_class, destination, address, deadline)
        except Exception as error:
            LOGGER.error("Connecting to %s failed: %s", describe(destination, address), str(error) or repr(error))
            raise

    def _attempt(
        self, impl_class: type[PumpedConnection], destination: Parameters, address: Address, deadline: float | None
    ) -> PumpedConnection:
        stream = Stream.connect(destination, address, deadline)
        try:
            impl = impl_class(destination, stream)
            remaining = None if deadline is None else deadline - time.monotonic()
            if impl.pump_until(lambda: impl.is_open, remaining):
                return impl
            if impl.ending.reason is not None:
                raise impl.ending.reason
            raise out_of_time(destination, address, impl._protocol.phase)
        except BaseException:
            stream.close()
            raise

    @one_thread
    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Close the connection and its channels.

        It takes :attr:`CLOSE_TIMEOUT` at most. A broker that answers nothing until then, because an alarm keeps it from
        reading, is left without a goodbye.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :raises pika.exceptions.ConnectionWrongStateError: when it is closed already
        """
        if self._impl.interrupted:
            # A signal handler, which cannot wait for an answer: the next round of events does it.
            self._defer(functools.partial(self._close_if_open, reply_code, reply_text))
            return
        if self.is_closed:
            error = self._impl._wrong_state(
                f"BlockingConnection.close({reply_code!r}, {reply_text!r}) called on closed connection."
            )
            LOGGER.error("%s", error)
            raise error
        # Also what was written before, and is stuck, has no longer than this.
        deadline = self._impl.write_deadline = time.monotonic() + self.CLOSE_TIMEOUT
        if self.is_open:
            self._impl.close(reply_code, reply_text)
        else:
            # A signal handler raised in a call of this: what it had begun may not be with the kernel.
            self._impl._flush()
        if self._impl.pump_until(lambda: self._impl.is_closed, deadline - time.monotonic()):
            if self._impl.ending.is_news:
                raise self._impl.ending.tell()
        else:
            LOGGER.warning(
                "%s did not answer connection.close within %s seconds: dropping the connection",
                self._impl.stream.peer,
                self.CLOSE_TIMEOUT,
            )
            self._impl.abort(exceptions.ConnectionClosedByClient(reply_code, reply_text))

    def _close_if_open(self, reply_code: int, reply_text: str) -> None:
        if self.is_open:
            self.close(reply_code, reply_text)

    @one_thread
    def update_secret(self, new_secret: str, reason: str) -> None:
        """Give the broker a new secret before the present one expires (RabbitMQ's connection.update-secret).

        :param new_secret: the new password or token
        :param reason: a text for the broker's log
        """
        self._require_calm("connection.update-secret")
        result = _CallbackResult()
        self._impl.update_secret(new_secret, reason, result.set_value_once)
        self._wait_until(result.is_ready, "connection.update-secret")

    @one_thread
    def channel(self, channel_number: int | None = None) -> BlockingChannel:
        """Open a channel.

        :param channel_number: its number, 1 to 65535; None takes the lowest that is free
        :returns: the channel, open
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        :raises pika.exceptions.NoFreeChannels: when the broker allows no more
        :raises pika.exceptions.InvalidChannelNumber: when the number is no int, in use or out of range
        """
        self._require_calm("channel.open")
        opened = _CallbackResult()
        impl = self._impl.channel(channel_number, opened.set_value_once)
        channel = BlockingChannel(impl, self)
        try:
            channel._wait(opened.is_ready, "channel.open")
        except BaseException:
            if not (impl.is_closing or impl.is_closed):
                # A signal handler raised: nobody else could ever close it.
                impl.close()
            raise
        return channel

    # Events

    @one_thread
    def process_data_events(self, time_limit: float | None = 0) -> None:
        """Take what arrives, and call the callbacks that wait for it.

        :param time_limit: seconds after which to return at the latest, though callbacks are not cut short; 0
            returns at once, None when something has happened that concerns a callback
        :raises pika.exceptions.AMQPConnectionError: of the class that says why, when the connection ends
        """
        if time_limit is not None and time_limit < 0:
            raise NegativeTimeError(f"process_data_events: time_limit must be non-negative, but got {time_limit!r}")
        if self._impl.ending.by_user or not self._has_ready_events():
            # Messages without acknowledgements are still handed out when the connection is gone.
            self._require_open_before()
        awaiting, self._awaiting_events = self._awaiting_events, True
        try:
            self._await_events(None if time_limit is None else time.monotonic() + time_limit)
        finally:
            self._awaiting_events = awaiting
        if not self._in_dispatch and self._has_ready_events():
            self._dispatch()
        if self._impl.is_closed and not self._impl.ending.by_user:
            self._require_alive()

    def _await_events(self, deadline: float | None) -> None:
        # Inside a callback nobody else is called: there the wait ends with anything that arrives.
        outermost = not self._in_dispatch
        while not (outermost and self._has_ready_events()):
            self._require_alive()
            self._impl.pump(None if deadline is None else max(deadline - time.monotonic(), 0))
            self._run_deferred()
            if not outermost and deadline is None:
                return
            if deadline is not None and time.monotonic() >= deadline:
                return
        # They do not wait, but what has arrived behind them, such as an end, is known when they are called.
        self._impl.receive()
        self._run_deferred()

    @one_thread
    def sleep(self, duration: float) -> None:
        """Sleep, while what arrives is handed to its callbacks, and heartbeats are sent.

        :param duration: seconds
        """
        if duration < 0:
            raise NegativeTimeError(f"sleep: duration must be non-negative, but got {duration!r}")
        deadline = time.monotonic() + duration
        while True:
            remaining = deadline - time.monotonic()
            self.process_data_events(max(remaining, 0))
            if time.monotonic() >= deadline:
                return

    @one_thread
    def call_later(self, delay: float, callback: Callable[[], object]) -> object:
        """Have a function called once, later.

        :param delay: in how many seconds
        :param callback: called without arguments
        :returns: a handle for :meth:`remove_timeout`
        :raises ValueError: when `delay` is negative
        :raises pika.exceptions.AMQPConnectionError: when the connection is closed: nothing would call back
        """
        if delay < 0:
            raise ValueError(f"call_later: delay must be non-negative, but got {delay!r}")
        timer = _UserTimer(callback)
        self._require_open_before()
        timer.handle = self._impl._adapter_call_later(delay, functools.partial(self._ready_events.append, timer.run))
        return timer

    @one_thread
    def remove_timeout(self, timeout_id: object) -> None:
        """Take back a call that was asked for; one that was made already is ignored.

        :param timeout_id: what :meth:`call_later` returned
        """
        if not isinstance(timeout_id, _UserTimer):
            raise ArgumentTypeError(f"timeout_id must be what call_later returned, but got {timeout_id!r}")
        timeout_id.cancelled = True
        self._impl._adapter_remove_timeout(timeout_id.handle)

    def add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """Have a function called in the thread that uses the connection. May be called from any thread.

        It is called by the :meth:`process_data_events`, :meth:`sleep` or ``start_consuming`` that is running, or
        the next.

        :param callback: called without arguments
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is closed
        """
        require_callable(callback)
        if self.is_closed:
            raise self._impl._wrong_state(
                "BlockingConnection.add_callback_threadsafe() called on closed or closing connection."
            )
        self._impl._adapter_add_callback_threadsafe(functools.partial(self._ready_events.append, callback))

    def add_on_connection_blocked_callback(self, callback: OnBlocked) -> None:
        """Have a function called when the broker blocks publishing, over a memory or disk alarm.

        :param callback: called as ``callback(connection, method_frame)``, with RabbitMQ's connection.blocked
        """
        self._impl.add_on_connection_blocked_callback(self._later(callback))

    def add_on_connection_unblocked_callback(self, callback: OnUnblocked) -> None:
        """Have a function called when publishing is possible again.

        :param callback: called as ``callback(connection, method_frame)``, with RabbitMQ's connection.unblocked
        """
        self._impl.add_on_connection_unblocked_callback(self._later(callback))

    # State

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._impl.is_open

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed, which is final."""
        return self._impl.is_closed

    @property
    def basic_nack(self) -> bool:
        """Whether the broker has basic.nack."""
        return self._impl.basic_nack

    @property
    def consumer_cancel_notify(self) -> bool:
        """Whether the broker tells a consumer that it was cancelled."""
        return self._impl.consumer_cancel_notify

    @property
    def exchange_exchange_bindings(self) -> bool:
        """Whether the broker can bind exchanges to exchanges."""
        return self._impl.exchange_exchange_bindings

    @property
    def publisher_confirms(self) -> bool:
        """Whether the broker has publisher confirms."""
        return self._impl.publisher_confirms

    basic_nack_supported = basic_nack
    consumer_cancel_notify_supported = consumer_cancel_notify
    exchange_exchange_bindings_supported = exchange_exchange_bindings
    publisher_confirms_supported = publisher_confirms

    # Insides

    def _later(self, callback: Callable[[Any, Any], object]) -> Callable[[object, Any], object]:
        """Wrap a callback of the callback connection's so that it waits for its turn."""
        require_callable(callback)

        def queue(_connection: object, method_frame: frame.Method[Any]) -> None:
            self._ready_events.append(functools.partial(callback, self, method_frame))

        return queue

    def _require_calm(self, what: str) -> None:
        """Refuse what a signal handler calls in the middle of I/O, before anything of it is sent."""
        if self._impl.interrupted:
            raise exceptions.ReentrancyError(
                f"{what}: called by a signal handler in the middle of I/O, where no answer can be awaited; "
                f"stop_consuming() and close() can be called there, and add_callback_threadsafe() does the rest"
            )

    def _wait_until(
        self,
        done: Callable[[], bool],
        what: str,
        channel: BlockingChannel | None = None,
        began: float | None = None,
    ) -> None:
        """Pump until something holds. The caller has looked with :meth:`_require_calm` before it sent anything.

        :param done: says whether it holds
        :param what: what is awaited, for the error's text
        :param channel: on which channel, for that too
        :param began: since when, on ``time.monotonic()``; None for now
        :raises pika.exceptions.AMQPConnectionError: of the class that says why, when the connection ends before
        """
        impl = self._impl
        if began is None:
            began = time.monotonic()
        while True:
            # What an alarm has held up has the whole time again after it.
            deadline = max(began, impl.unblocked_at) + self.REPLY_TIMEOUT
            if impl.pump_until(done, deadline - time.monotonic()):
                return
            self._require_alive()
            if impl._protocol.blocked is not None:
                impl.pump_until(lambda: done() or impl._protocol.blocked is None, None)
            elif impl.unblocked_at + self.REPLY_TIMEOUT <= deadline:
                where = "" if channel is None else f" on channel {channel.channel_number}"
                error = exceptions.StreamLostError(
                    f"{impl.stream.peer} is alive and did not answer {what}{where} "
                    f"within {self.REPLY_TIMEOUT:g} seconds"
                )
                impl.abort(error)
                self._require_alive()
                raise error

    def _require_alive(self) -> None:
        ending = self._impl.ending
        if self._impl.is_closed:
            if ending.is_news:
                raise ending.tell()
            raise self._impl._wrong_state()

    def _require_open_before(self) -> None:
        if self._impl.is_closed:
            if self._impl.ending.is_news:
                raise self._impl.ending.tell()
            raise self._impl._wrong_state("Timeout closed before call", ClosedBeforeCallError)

    def _require_outermost(self, what: str) -> None:
        if self._in_dispatch:
            raise exceptions.ReentrancyError(
                f"{what} may not be called from inside a callback of this connection: it would wait for itself"
            )

    def _request_dispatch(self, channel: Deliveries) -> None:
        self._channels_pending[channel] = None

    def _forget(self, channel: Deliveries) -> None:
        """A channel is over, and nothing of it is left to hand out."""
        self._channels_pending.pop(channel, None)

    def _defer(self, action: Callable[[], object]) -> None:
        """For signal handlers: have something done as soon as the I/O that is going on is over."""
        self._deferred.append(action)
        self._impl.stream.wake()

    def _run_deferred(self) -> None:
        for _ in range(len(self._deferred)):
            self._deferred.popleft()()

    def _run_deferred_between_calls(self) -> None:
        if self._deferred and not self._impl.interrupted:
            self._run_deferred()

    def _interrupt_wait(self, channel: Deliveries) -> None:
        self._request_dispatch(channel)
        self._impl.stream.wake()

    def _has_ready_events(self) -> bool:
        return bool(self._ready_events or self._channels_pending)

    def _dispatch(self) -> None:
        """Call what waits: the connection's callbacks, then the channels'."""
        self._in_dispatch = True
        try:
            # As many as there are now: one that asks for another must not keep us here.
            for _ in range(len(self._ready_events)):
                if self._impl.ending.by_user:
                    # One of them closed the connection: the others were asked for before that.
                    self._ready_events.clear()
                    break
                self._ready_events.popleft()()
            pending: dict[Deliveries, None] = {}
            try:
                pending, self._channels_pending = self._channels_pending, {}
                if len(pending) > 1:
                    pending = dict.fromkeys(sorted(pending, key=lambda channel: channel._impl.channel_number))
                while pending:
                    channel = next(iter(pending))
                    channel._dispatch_events()
                    del pending[channel]
            finally:
                # A callback raised: what it left is for the next time.
                self._channels_pending = {**pending, **self._channels_pending}
        finally:
            self._in_dispatch = False


class _UserTimer:
    """What :meth:`BlockingConnection.call_later` returns."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = require_callable(callback)
        self.cancelled = False
        self.handle: Any = None

    def run(self) -> None:
        """Call back, unless that was taken back while it waited for its turn."""
        if not self.cancelled:
            self.callback()
