"""What waits in a BlockingChannel for its turn, and what is kept of its consumers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Union

from pika import frame, spec

if TYPE_CHECKING:
    from pika.adapters.blocking_channel import BlockingChannel

#: What is worth a line about blocking connections and their channels, under the name that programs filter by.
LOGGER = logging.getLogger("pika.adapters.blocking_connection")

OnMessage = Callable[["BlockingChannel", "spec.Basic.Deliver", "spec.BasicProperties", bytes], object]
OnReturn = Callable[["BlockingChannel", "spec.Basic.Return", "spec.BasicProperties", bytes], object]


class ReturnedMessage:
    """A mandatory message that no queue took, as :class:`~pika.exceptions.UnroutableError` carries it.

    :param method: the basic.return
    :param properties: the message's properties
    :param body: the message's body
    """

    __slots__ = ("body", "method", "properties")

    def __init__(self, method: spec.Basic.Return, properties: spec.BasicProperties, body: bytes) -> None:
        self.method = method
        self.properties = properties
        self.body = body


class _ConsumerDeliveryEvt:
    """A message that waits for its consumer.

    :param method: the basic.deliver
    :param properties: the message's properties
    :param body: the message's body
    """

    def __init__(self, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes) -> None:
        self.method = method
        self.properties = properties
        self.body = body


class _ConsumerCancellationEvt:
    """The broker cancelled a consumer.

    :param method_frame: the frame of the basic.cancel
    """

    def __init__(self, method_frame: frame.Method[spec.Basic.Cancel]) -> None:
        self.method_frame = method_frame

    @property
    def method(self) -> spec.Basic.Cancel:
        """The basic.cancel."""
        return self.method_frame.method


class _ReturnedMessageEvt(NamedTuple):
    """A message came back, and a callback wants to know."""

    callback: OnReturn
    message: ReturnedMessage


ConsumerEvent = Union[_ConsumerDeliveryEvt, _ConsumerCancellationEvt]
PendingEvent = Union[ConsumerEvent, _ReturnedMessageEvt]


class _ConsumerInfo:
    """A consumer of a BlockingChannel.

    :param consumer_tag: its tag
    :param auto_ack: whether its deliveries need no acknowledgement
    :param on_message_callback: what gets its messages, or None
    :param alternate_event_sink: what gets its events instead, or None
    """

    def __init__(
        self,
        consumer_tag: str,
        auto_ack: bool,
        on_message_callback: OnMessage | None = None,
        alternate_event_sink: Callable[[ConsumerEvent], object] | None = None,
    ) -> None:
        self.consumer_tag = consumer_tag
        self.auto_ack = auto_ack
        self.on_message_callback = on_message_callback
        self.alternate_event_sink = alternate_event_sink


class _CallbackResult:
    """Keeps what a completion callback is called with."""

    def __init__(self) -> None:
        self.ready = False
        self.value: Any = None

    def is_ready(self) -> bool:
        """Whether the callback was called."""
        return self.ready

    def set_value_once(self, *values: Any) -> None:
        """The callback."""
        self.value = values[0] if len(values) == 1 else values
        self.ready = True

    # Dashboards know the callback by the name that it has in pika 1.x.
    set_value_once.__module__ = "pika.adapters.blocking_connection"
