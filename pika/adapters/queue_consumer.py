"""The consumer behind :meth:`BlockingChannel.consume`, whose messages are iterated over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pika import exceptions
from pika.adapters.blocking_events import LOGGER, ConsumerEvent, _ConsumerCancellationEvt, _ConsumerDeliveryEvt

if TYPE_CHECKING:
    from pika.adapters.blocking_channel import Arguments, BlockingChannel


class _QueueConsumerGeneratorInfo:
    """The consumer behind :meth:`BlockingChannel.consume`.

    :param params: queue, auto_ack and exclusive, as given
    :param consumer_tag: its tag
    """

    def __init__(self, params: tuple[str, bool, bool], consumer_tag: str) -> None:
        self.params = params
        self.consumer_tag = consumer_tag
        #: Deliveries that the generator has not handed out yet.
        self.pending_events: deque[_ConsumerDeliveryEvt] = deque()
        self.cancelled_by_broker = False


class QueueConsumer:
    """Feeds the generator of a channel, which has one consumer of this kind at a time.

    What is known of that is in ``channel._queue_consumer_generator``, where tracers look for it.

    :param channel: the channel
    """

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel

    def begin(self, params: tuple[str, bool, bool], consumer_tag: str | None, arguments: Arguments) -> None:
        """Start the consumer, or go on with the one that was started with the same parameters.

        :param params: queue, auto_ack and exclusive
        :param consumer_tag: names the consumer; made if None
        :param arguments: RabbitMQ's extensions
        :raises ValueError: when a consumer is active that was started with other parameters
        """
        channel = self._channel
        queue, auto_ack, exclusive = params
        # Messages that need no acknowledgement are still handed out when the channel is gone.
        if not (auto_ack and channel.get_waiting_message_count()):
            channel._require_open()
        active = channel._queue_consumer_generator
        if active is not None:
            if active.params != params:
                raise ValueError(
                    f"consume() is active with (queue, auto_ack, exclusive) = {active.params!r}, "
                    f"and was called with {params!r}: call cancel() first"
                )
            return
        tag = consumer_tag or channel._impl._generate_consumer_tag()
        channel._queue_consumer_generator = _QueueConsumerGeneratorInfo(params, tag)
        try:
            channel._consume(queue, auto_ack, exclusive, tag, arguments, None, channel._on_consumer_generator_event)
        except BaseException:
            # A signal handler may have raised when it was there already: then cancel() is to find it.
            self._forget(tag)
            raise

    def messages(self, inactivity_timeout: float | None) -> Generator[tuple[Any, Any, Any], None, None]:
        """Iterate over the messages until the consumer ends.

        :param inactivity_timeout: seconds without a message after which (None, None, None) comes; None waits on
        """
        channel = self._channel
        while True:
            info = channel._queue_consumer_generator
            if info is None:
                return
            if info.pending_events and (info.params[1] or not self._is_over):
                event = info.pending_events.popleft()
                yield event.method, event.properties, event.body
            elif info.cancelled_by_broker:
                channel._queue_consumer_generator = None
            elif not self._await_event(inactivity_timeout):
                yield None, None, None

    def cancel(self) -> int:
        """End the consumer, and put back what was not handed out; see :meth:`BlockingChannel.cancel`."""
        channel = self._channel
        info = channel._queue_consumer_generator
        if info is None:
            LOGGER.warning("cancel() of %s, where no consume() is active", channel._place())
            return 0
        try:
            if not self._is_over:
                channel.basic_cancel(info.consumer_tag)
            _queue, auto_ack, _exclusive = info.params
            while info.pending_events and not auto_ack and channel.is_open:
                event = info.pending_events.popleft()
                channel._impl.basic_reject(event.method.delivery_tag, requeue=True)
            return 0
        finally:
            self._forget(info.consumer_tag)

    def _forget(self, consumer_tag: str) -> None:
        """Have no consumer any more, unless there still is one."""
        if self._channel.is_closed or consumer_tag not in self._channel._consumer_infos:
            self._channel._queue_consumer_generator = None

    def on_event(self, event: ConsumerEvent) -> None:
        """Take what has happened to the consumer."""
        channel = self._channel
        info = channel._queue_consumer_generator
        if isinstance(event, _ConsumerCancellationEvt):
            channel._consumer_infos.pop(event.method_frame.method.consumer_tag, None)
            if info is not None:
                info.cancelled_by_broker = True
        elif info is not None:
            info.pending_events.append(event)
        else:
            return
        channel._connection._request_dispatch(channel)

    def _await_event(self, timeout: float | None) -> bool:
        """Wait for something to happen to the consumer; False when the time is over."""
        channel = self._channel
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._is_over:
                # Without a reason it is the child of a fork.
                if channel._ending.is_news or channel._ending.reason is None:
                    channel._raise_closed()
                channel._queue_consumer_generator = None
                return True
            remaining = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                channel._connection.process_data_events(time_limit=remaining)
            except exceptions.AMQPError as error:
                # What arrived before the end is handed out first.
                if error is not channel._ending.reason:
                    raise
            if self._has_news():
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    @property
    def _is_over(self) -> bool:
        # Exactly True: tests of tracers put mocks below a BlockingChannel, of which every attribute is true.
        return self._channel.is_closed is True

    def _has_news(self) -> bool:
        info = self._channel._queue_consumer_generator
        return info is None or self._is_over or bool(info.pending_events) or info.cancelled_by_broker
