"""Messages, the queues that hold them and the consumers that get them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pika.broker.channel import ServerChannel


class Message:
    """A message on its way. Whatever queues hold it, there is one, and its parts travel on as they came.

    :param route: exchange and routing key, as two short strings
    :param header: the content header's payload: class, weight, body size, properties
    :param body: the body
    """

    __slots__ = ("body", "header", "route")

    def __init__(self, route: bytes, header: bytes, body: bytes) -> None:
        self.route = route
        self.header = header
        self.body = body


#: A message in a queue: its position there, itself, whether it was delivered before. Positions are unique.
Entry = tuple[int, Message, bool]


class Consumer:
    """A consumer of a queue.

    :param channel: where its deliveries go
    :param queue: where they come from
    :param tag: its consumer tag
    :param no_ack: whether a delivery is settled by being sent
    :param exclusive: whether it wants the queue for itself
    :param priority: consumers of higher priority are served first
    :param prefetch: how many deliveries may be unsettled, 0 for any number
    """

    __slots__ = ("channel", "encoded_tag", "exclusive", "in_flight", "no_ack", "prefetch", "priority", "queue", "tag")

    def __init__(
        self,
        channel: ServerChannel,
        queue: Queue,
        tag: str,
        encoded_tag: bytes,
        *,
        no_ack: bool,
        exclusive: bool,
        priority: int,
        prefetch: int,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.tag = tag
        self.encoded_tag = encoded_tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.prefetch = prefetch
        self.in_flight = 0

    def ready(self) -> bool:
        """Whether it can take a delivery now."""
        channel = self.channel
        if channel.connection.congested:
            return False
        if self.no_ack:
            return True
        if self.prefetch and self.in_flight >= self.prefetch:
            return False
        return not channel.prefetch_limit or channel.in_flight < channel.prefetch_limit


class Queue:
    """A classic queue of RabbitMQ, in memory.

    :param name: its name
    :param owner: the connection that it is exclusive to, or None
    :param durable: kept for comparison; nothing outlives the broker
    :param auto_delete: whether it goes when its last consumer does
    :param arguments: as declared
    """

    def __init__(
        self,
        name: str,
        *,
        owner: object = None,
        durable: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.owner = owner
        self.durable = durable
        self.auto_delete = auto_delete
        self.arguments: Mapping[str, Any] = arguments or {}
        self.deleted = False
        #: By descending priority; among equals, whose turn it is comes first.
        self.consumers: list[Consumer] = []
        self._single_active = bool(self.arguments.get("x-single-active-consumer"))
        self._fresh: deque[Entry] = deque()
        # What was given back, a heap by position. It was taken from the front, so all of it comes before what is fresh.
        self._returned: list[Entry] = []
        self._position = 0
        # No consumer can take anything until something happens that calls dispatch().
        self._stalled = True

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def put(self, message: Message) -> None:
        """Append a message, or hand it straight to a consumer that is ready."""
        position = self._position
        self._position = position + 1
        if not self._stalled and not self._fresh and not self._returned:
            consumer = self._next_consumer()
            if consumer is not None:
                consumer.channel.deliver(consumer, (position, message, False))
                return
            self._stalled = True
        self._fresh.append((position, message, False))

    def take(self) -> Entry | None:
        """Take the message at the front, or None when there is none."""
        if self._returned:
            return heapq.heappop(self._returned)
        return self._fresh.popleft() if self._fresh else None

    def give_back(self, entry: Entry) -> None:
        """Put a message that was taken back to where it was. Call :meth:`dispatch` when all are back."""
        if not self.deleted:
            heapq.heappush(self._returned, (entry[0], entry[1], True))

    def dispatch(self) -> None:
        """Hand out messages until there are none or no consumer can take one."""
        while self._returned or self._fresh:
            consumer = self._next_consumer()
            if consumer is None:
                self._stalled = True
                return
            entry = heapq.heappop(self._returned) if self._returned else self._fresh.popleft()
            consumer.channel.deliver(consumer, entry)
        self._stalled = not self.consumers

    def purge(self) -> int:
        """Drop what is ready and return how many messages that was."""
        count = len(self)
        self._fresh.clear()
        self._returned.clear()
        return count

    def add_consumer(self, consumer: Consumer) -> None:
        """Let a consumer take its turn, behind those of its priority. It gets nothing before :meth:`dispatch`."""
        if self._single_active:
            self.consumers.append(consumer)
        else:
            self._insert(consumer)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Forget a consumer. Call :meth:`dispatch`, so that others take what it could not."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)

    def _insert(self, consumer: Consumer) -> None:
        consumers = self.consumers
        index = len(consumers)
        while index and consumers[index - 1].priority < consumer.priority:
            index -= 1
        consumers.insert(index, consumer)

    def _next_consumer(self) -> Consumer | None:
        """Whose turn it is; that consumer goes behind its equals."""
        consumers = self.consumers
        if len(consumers) == 1 or self._single_active:
            return consumers[0] if consumers and consumers[0].ready() else None
        for index, consumer in enumerate(consumers):
            if consumer.ready():
                del consumers[index]
                self._insert(consumer)
                return consumer
        return None
