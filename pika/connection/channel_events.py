"""What the broker says to a channel, told to those who asked for it."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Callable, Union

from pika import exceptions, frame, protocol, spec
from pika._arguments import call_each
from pika.amqp_object import Method
from pika.protocol import ChannelState

if TYPE_CHECKING:
    from pika.channel import Channel
    from pika.connection.callbacks import Callbacks
    from pika.connection.connection import Connection

LOGGER = logging.getLogger("pika.channel")

OnMethod = Callable[["frame.Method[Any]"], object]
OnMessage = Callable[["Channel", Any, "spec.BasicProperties", bytes], object]
ChannelEvent = Union[protocol.Returned, protocol.Confirmed, protocol.ConsumerCancelled, protocol.ChannelFlow]

#: The names of a channel's events that are no method's, in the connection's registry of callbacks.
ON_CLOSE = "_on_channel_close"
ON_CLEANUP = "_on_channel_cleanup"
ON_RETURN = "_on_return"

#: Before whatever is added to the registry.
_FIRST = -1


class ChannelEvents:
    """The side of a :class:`pika.channel.Channel` at which the protocol's events arrive.

    :param connection: its connection
    :param rules: its protocol
    :param on_open_callback: called as ``callback(channel)`` when it is open
    """

    if TYPE_CHECKING:

        def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None: ...

    def __init__(
        self,
        connection: Connection,
        rules: protocol.Channel,
        on_open_callback: Callable[[Channel], object] | None,
    ) -> None:
        self.connection = connection
        self.channel_number = rules.number
        #: The connection's registry of what is called at which event; the channel's are under its number.
        self.callbacks: Callbacks = _callbacks_of(connection)
        #: Whether the broker takes messages, as far as it has said (channel.flow).
        self.flow_active = True
        self._protocol = rules
        self._on_open_callback: Callable[[Any], object] | None = on_open_callback
        self._consumers: dict[str, Callable[[Any, Any, spec.BasicProperties, bytes], object]] = {}
        self._consumers_with_noack: set[str] = set()
        # Those whose cancel awaits its answer.
        self._cancelled: set[str] = set()
        self._on_getok_callback: Callable[[Any, Any, spec.BasicProperties, bytes], object] | None = None
        # Each with its place in the order in which callbacks were added.
        self._callbacks_by_reply: dict[protocol.Reply[Any], tuple[int, OnMethod]] = {}
        # What was added for close-ok after this place comes behind the close callbacks.
        self._closed_at = _FIRST

    def _on_openok(self, method_frame: frame.Method[Any]) -> None:
        callback, self._on_open_callback = self._on_open_callback, None
        # It may have been closed meanwhile, and was never open then.
        if callback is not None and self._protocol.state is ChannelState.OPEN:
            callback(self)

    # Messages

    def _deliver(self, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes) -> None:
        """Hand a delivery to its consumer; through :meth:`_on_deliver` if somebody has put a patch on that."""
        if type(self)._on_deliver is not _ON_DELIVER or "_on_deliver" in self.__dict__:
            header = frame.Header(self.channel_number, len(body), properties)
            self._on_deliver(frame.Method(self.channel_number, method), header, body)
            return
        on_message_callback = self._consumers.get(method.consumer_tag)
        if on_message_callback is not None:
            on_message_callback(self, method, properties, body)

    def _on_deliver(self, method_frame: frame.Method[Any], header_frame: frame.Header, body: bytes) -> None:
        tag = method_frame.method.consumer_tag
        if tag in self._cancelled and tag not in self._consumers_with_noack:
            self.basic_reject(method_frame.method.delivery_tag, requeue=True)
            return
        on_message_callback = self._consumers.get(tag)
        if on_message_callback is not None:
            on_message_callback(self, method_frame.method, header_frame.properties, body)

    def _take_getok(self, method: Any, properties: spec.BasicProperties, body: bytes) -> None:
        """Hand a message to who asked for it; through :meth:`_on_getok` if somebody has put a patch on that."""
        if type(self)._on_getok is not _ON_GETOK or "_on_getok" in self.__dict__:
            header = frame.Header(self.channel_number, len(body), properties)
            self._on_getok(frame.Method(self.channel_number, method), header, body)
            return
        callback, self._on_getok_callback = self._on_getok_callback, None
        if callback is not None:
            callback(self, method, properties, body)

    def _on_getok(self, method_frame: frame.Method[Any], header_frame: frame.Header, body: bytes) -> None:
        callback, self._on_getok_callback = self._on_getok_callback, None
        if callback is not None:
            callback(self, method_frame.method, header_frame.properties, body)

    def _on_return(self, method_frame: frame.Method[Any], header_frame: frame.Header, body: bytes) -> None:
        message = (method_frame.method, header_frame.properties, body)
        self.callbacks.process(self.channel_number, ON_RETURN, self, self, *message)

    # Methods

    def _on_replied(self, reply: protocol.Reply[Any]) -> None:
        method, number = reply.result(), self.channel_number
        asked = self.callbacks.has(number, method.NAME)
        if reply.content is not None and not asked and not self._callbacks_by_reply:
            self._take_getok(method, *reply.content)
            return
        own = self._callbacks_by_reply.pop(reply, None)
        method_frame = frame.Method(number, method)
        due = self.callbacks.take(number, method, self.connection, method_frame) if asked else []
        if own is not None:
            due = sorted([own, *due], key=_first) if due else [own]
        callbacks = [callback for _, callback in due]
        if reply.content is not None:
            properties, body = reply.content
            callbacks.insert(0, lambda method_frame: self._take_getok(method, properties, body))
        elif isinstance(method, spec.Basic.GetEmpty):
            self._on_getok_callback = None
        try:
            call_each(callbacks, method_frame)
        finally:
            # One of them may have begun another consumer of this tag.
            if isinstance(method, spec.Basic.CancelOk) and method.consumer_tag in self._cancelled:
                self._forget_consumer(method.consumer_tag)

    def _on_event(self, event: ChannelEvent) -> None:
        if isinstance(event, protocol.ChannelFlow):
            self.flow_active = event.active
            LOGGER.warning(
                "%s %s publishing on channel %d (channel.flow)",
                self.connection._protocol.settings.peer,
                "allows" if event.active else "pauses",
                self.channel_number,
            )
            self._process(spec.Channel.Flow(event.active))
        elif isinstance(event, protocol.Returned):
            header, body = frame.Header(self.channel_number, len(event.body), event.properties), event.body
            method_frame = frame.Method(self.channel_number, event.method)
            call_each([lambda: self._on_return(method_frame, header, body), lambda: self._process(event.method)])
        else:
            # Where our own cancel crosses the broker's, its answer is still to come.
            if isinstance(event, protocol.ConsumerCancelled) and event.method.consumer_tag not in self._cancelled:
                self._forget_consumer(event.method.consumer_tag)
            self._process(event.method)

    def _process(self, method: Method) -> None:
        number = self.channel_number
        if self.callbacks.has(number, method.NAME):
            self.callbacks.process(number, method, self.connection, frame.Method(number, method))

    def _forget_consumer(self, consumer_tag: str) -> None:
        self._consumers.pop(consumer_tag, None)
        self._consumers_with_noack.discard(consumer_tag)
        self._cancelled.discard(consumer_tag)

    def _forget_consumers(self) -> None:
        self._consumers.clear()
        self._consumers_with_noack.clear()
        self._cancelled.clear()

    # The end

    def _begin_closing(self) -> None:
        """Take note that the channel is being closed from this side."""
        self._forget_consumers()
        self._closed_at = self.callbacks.next_order()

    def _on_closed(self, reason: BaseException, broker_close: spec.Channel.Close | None = None) -> None:
        """Tell everybody that the channel is closed.

        :param reason: why
        :param broker_close: the broker's channel.close, if there was one
        """
        if isinstance(reason, exceptions.ChannelClosedByBroker):
            # The text alone: a record that is kept somewhere must not keep the frames of a traceback.
            LOGGER.warning("The broker closed channel %d: %s", self.channel_number, str(reason))
        self._callbacks_by_reply.clear()
        self._on_getok_callback = None
        number, callbacks = self.channel_number, self.callbacks
        due = [
            *_bound(callbacks.take(number, ON_CLOSE, self, self, reason), self, reason),
            *_bound(callbacks.take(number, ON_CLEANUP, self, self), self),
        ]
        method: Method | None = broker_close
        if method is None and isinstance(reason, exceptions.ChannelClosedByClient):
            method = spec.Channel.CloseOk()
        if method is not None:
            method_frame = frame.Method(number, method)
            asked = callbacks.take(number, method, self.connection, method_frame)
            place = _FIRST if broker_close is not None else self._closed_at
            due[:0] = _bound([each for each in asked if each[0] < place], method_frame)
            due += _bound([each for each in asked if each[0] >= place], method_frame)
        # Before they are called: they may open another channel, which can get the number.
        callbacks.cleanup(number)
        try:
            call_each(due)
        finally:
            self._forget_consumers()


_ON_DELIVER = ChannelEvents._on_deliver
_ON_GETOK = ChannelEvents._on_getok


def _first(pair: tuple[int, object]) -> int:
    return pair[0]


def _bound(due: list[tuple[int, Callable[..., object]]], *arguments: object) -> list[Callable[[], object]]:
    return [functools.partial(callback, *arguments) for _, callback in due]


def _callbacks_of(connection: Any) -> Callbacks:
    callbacks: Callbacks | None = getattr(connection, "callbacks", None)
    if callbacks is None:
        from pika.connection.callbacks import Callbacks

        return Callbacks()
    return callbacks
