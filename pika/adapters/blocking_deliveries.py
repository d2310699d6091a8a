"""What has arrived for a BlockingChannel and waits for its turn, and who it is handed to."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Callable, cast

from pika import channel as channel_module
from pika import frame, spec
from pika.adapters.blocking_events import (
    LOGGER,
    OnReturn,
    PendingEvent,
    ReturnedMessage,
    _ConsumerCancellationEvt,
    _ConsumerDeliveryEvt,
    _ConsumerInfo,
    _ReturnedMessageEvt,
)
from pika.adapters.ending import Ending
from pika.connection.callbacks import Callbacks

if TYPE_CHECKING:
    from pika.adapters.blocking_channel import BlockingChannel
    from pika.adapters.blocking_connection import BlockingConnection
    from pika.adapters.queue_consumer import _QueueConsumerGeneratorInfo

#: What the callbacks of cancelled consumers are kept under.
ON_CANCEL = "blocking_channel_consumer_cancelled"


class Deliveries:
    """The side of a BlockingChannel at which the callback channel's news arrive.

    They wait in the order in which they came, until the connection says that it is the channel's turn.

    :param channel_impl: the callback channel
    :param connection: the connection
    """

    def __init__(self, channel_impl: channel_module.Channel, connection: BlockingConnection) -> None:
        self._impl = channel_impl
        self._connection = connection
        # Of the connection's, for what is done with every message. A stand-in for one may lack them.
        pumped = getattr(connection, "_impl", None)
        self._glance: Callable[[], bool] = getattr(pumped, "glance", bool)
        self._pump: Callable[[float], object] = getattr(pumped, "_pump", bool)
        self._deferred: Collection[object] = getattr(connection, "_deferred", ())
        self._ready_events: Collection[object] = getattr(connection, "_ready_events", ())
        self._consumer_infos: dict[str, _ConsumerInfo] = {}
        self._pending_events: deque[PendingEvent] = deque()
        self._queue_consumer_generator: _QueueConsumerGeneratorInfo | None = None
        self._delivery_confirmation = False
        self._callbacks = Callbacks()
        self._on_return: list[OnReturn] = []
        self._ending = Ending()
        # The consumer that was cancelled last.
        self._cancelled_last: _ConsumerInfo | None = None
        channel_impl.add_on_close_callback(self._on_closed)
        channel_impl.add_on_cancel_callback(self._on_consumer_cancelled_by_broker)
        channel_impl.add_on_return_callback(self._on_message_returned)

    @property
    def _is_over(self) -> bool:
        # Exactly True: tests of tracers put mocks below, of which every attribute is true.
        return self._impl.is_closed is True

    def _as_channel(self) -> BlockingChannel:
        """What callbacks are given."""
        return cast("BlockingChannel", self)

    def _place(self) -> str:
        """Say which channel it is, for the log."""
        return f"channel {self._impl.channel_number} to {self._connection._impl.stream.peer}"

    # Arriving

    def _on_consumer_message_delivery(
        self,
        channel: channel_module.Channel,
        method: spec.Basic.Deliver,
        properties: spec.BasicProperties,
        body: bytes,
    ) -> None:
        event = _ConsumerDeliveryEvt(method, properties, body)
        info = self._consumer_infos.get(method.consumer_tag)
        if info is None or info.alternate_event_sink is None:
            self._pending_events.append(event)
            self._connection._request_dispatch(self)
        else:
            info.alternate_event_sink(event)

    def _on_consumer_cancelled_by_broker(self, method_frame: frame.Method[spec.Basic.Cancel]) -> None:
        event = _ConsumerCancellationEvt(method_frame)
        info = self._consumer_infos.get(method_frame.method.consumer_tag)
        if info is None or info.alternate_event_sink is None:
            self._add_pending_event(event)
        else:
            info.alternate_event_sink(event)

    def _on_message_returned(
        self,
        channel: channel_module.Channel,
        method: spec.Basic.Return,
        properties: spec.BasicProperties,
        body: bytes,
    ) -> None:
        if self._delivery_confirmation:
            LOGGER.warning("A message came back to %s: %s", self._place(), method)
        message = ReturnedMessage(method, properties, body)
        for callback in self._on_return:
            self._add_pending_event(_ReturnedMessageEvt(callback, message))

    def _on_closed(self, channel: channel_module.Channel, reason: BaseException) -> None:
        self._ending.reason = reason
        by_user = self._ending.by_user
        # The broker delivers again what awaits an acknowledgement. What awaits none has left its queue for good: it is
        # still handed out, unless it was the user who closed.
        kept = {tag for tag, info in self._consumer_infos.items() if info.auto_ack and not by_user}
        for tag in self._consumer_infos.keys() - kept:
            del self._consumer_infos[tag]
        generator = self._queue_consumer_generator
        if generator is not None and (by_user or not generator.params[1]):
            generator.pending_events.clear()
        pending = list(self._pending_events)
        self._pending_events.clear()
        self._pending_events.extend(
            event
            for event in pending
            if not isinstance(event, _ConsumerDeliveryEvt) or event.method.consumer_tag in kept
        )
        if self._pending_events or self._connection._awaiting_events:
            # Whoever waits for this channel's events is to look up, also when it was a signal handler that closed it.
            self._connection._interrupt_wait(self)
        else:
            self._connection._forget(self)

    def _add_pending_event(self, evt: PendingEvent) -> None:
        self._pending_events.append(evt)
        self._connection._request_dispatch(self)

    # Leaving

    def _dispatch_events(self) -> None:
        """Hand what is pending to its callbacks; a callback that cancels its consumer takes the rest back."""
        connection, channel = self._connection, self._as_channel()
        # What was there before is handed out in one go. What callbacks that acknowledge bring in may have no end.
        waiting = len(self._pending_events)
        while True:
            try:
                event = self._pending_events.popleft()
            except IndexError:
                # Asked for no sooner: a signal handler that cancels takes events back at any moment.
                break
            if isinstance(event, _ConsumerDeliveryEvt):
                info = self._consumer_infos.get(event.method.consumer_tag)
                if info is None:
                    self._dispatch_late(event)
                elif info.on_message_callback is not None:
                    info.on_message_callback(channel, event.method, event.properties, event.body)
            else:
                self._dispatch_news(event)
            waiting -= 1
            # Room for what signal handlers asked for, and, once it has had its turn, for other callbacks.
            if self._deferred or (waiting <= 0 and self._ready_events):
                connection._request_dispatch(self)
                break
        if self._is_over:
            self._consumer_infos.clear()

    def _dispatch_news(self, event: _ConsumerCancellationEvt | _ReturnedMessageEvt) -> None:
        if isinstance(event, _ConsumerCancellationEvt):
            self._consumer_infos.pop(event.method_frame.method.consumer_tag, None)
            self._dispatch_cancellation(event.method_frame)
        else:
            message = event.message
            event.callback(self._as_channel(), message.method, message.properties, message.body)

    def _dispatch_cancellation(self, method_frame: frame.Method[spec.Basic.Cancel]) -> None:
        for _, callback in self._callbacks.take(self._impl.channel_number, ON_CANCEL, self, method_frame):
            try:
                callback(method_frame)
            except Exception as error:
                LOGGER.error(
                    "%r raised %r over a consumer that the broker cancelled on %s", callback, error, self._place()
                )
                raise

    def _dispatch_late(self, event: _ConsumerDeliveryEvt) -> None:
        # A signal handler cancelled the consumer when the message had just left the queue of events.
        info = self._cancelled_last
        if info is None or info.consumer_tag != event.method.consumer_tag:
            return
        if not info.auto_ack:
            if self._impl.is_open:
                self._impl.basic_reject(event.method.delivery_tag, requeue=True)
            return
        if info.on_message_callback is not None:
            info.on_message_callback(self._as_channel(), event.method, event.properties, event.body)

    def _take_pending(self, consumer_tag: str) -> list[_ConsumerDeliveryEvt]:
        taken: list[_ConsumerDeliveryEvt] = []
        rest: list[PendingEvent] = []
        for event in self._pending_events:
            if isinstance(event, _ConsumerDeliveryEvt) and event.method.consumer_tag == consumer_tag:
                taken.append(event)
            # That the broker has cancelled the consumer as well is no news then.
            elif (
                not isinstance(event, _ConsumerCancellationEvt)
                or event.method_frame.method.consumer_tag != consumer_tag
            ):
                rest.append(event)
        self._pending_events.clear()
        self._pending_events.extend(rest)
        return taken

    def _put_back(self, events: Iterable[_ConsumerDeliveryEvt]) -> None:
        """Give messages back to their queue, which nobody was handed."""
        for event in events:
            self._impl.basic_reject(event.method.delivery_tag, requeue=True)
