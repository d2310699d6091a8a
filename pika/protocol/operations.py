"""Every operation of a channel, once: which method it sends, and what it needs to be legal.

A synchronous operation returns a :class:`~pika.protocol.replies.Reply`.  With ``nowait`` the broker
answers nothing, and the operation returns None; when it fails, the broker closes the channel.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, Optional

from pika import exceptions, frame, spec
from pika.amqp_object import Method
from pika.protocol.confirms import Confirmation, ConfirmTracker
from pika.protocol.replies import Reply

Arguments = Optional[Mapping[str, Any]]

_NO_PROPERTIES = spec.BasicProperties()

#: How many prepared publish methods a channel keeps; a program that publishes to more routes than this
#: prepares some of them again.
_PREPARED_PUBLISHES = 256


class Operations(abc.ABC):
    """The operations of AMQP 0-9-1 with RabbitMQ's extensions, as methods of a channel."""

    number: int
    confirms: ConfirmTracker | None

    def __init__(self) -> None:
        #: Tag to whether its consumer is without acknowledgements.
        self.consumers: dict[str, bool] = {}
        #: Consumers whose cancel is on its way, or was sent without waiting: their late deliveries go back.
        self.cancelled: dict[str, bool] = {}
        self._prepared: dict[tuple[str, str, bool], bytes] = {}

    @abc.abstractmethod
    def call(self, method: Method, nowait: bool = False) -> Reply[Any] | None:
        """Send a synchronous method, or queue it until its turn has come."""

    @abc.abstractmethod
    def send(self, *pieces: bytes | memoryview) -> None:
        """Send encoded frames of methods that have no reply, or queue them behind what they must not overtake."""

    @abc.abstractmethod
    def require_open(self) -> None:
        """Raise unless the channel is open."""

    @property
    @abc.abstractmethod
    def frame_max(self) -> int:
        """The negotiated maximum of octets in a frame."""

    # Exchanges

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
    ) -> Reply[spec.Exchange.DeclareOk] | None:
        """Declare an exchange, or with `passive` ask whether it exists (exchange.declare)."""
        return self.call(
            spec.Exchange.Declare(
                0, exchange, exchange_type, passive, durable, auto_delete, internal, nowait, _table(arguments)
            ),
            nowait,
        )

    def exchange_delete(
        self, exchange: str, if_unused: bool = False, nowait: bool = False
    ) -> Reply[spec.Exchange.DeleteOk] | None:
        """Delete an exchange (exchange.delete)."""
        return self.call(spec.Exchange.Delete(0, exchange, if_unused, nowait), nowait)

    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", nowait: bool = False, arguments: Arguments = None
    ) -> Reply[spec.Exchange.BindOk] | None:
        """Bind an exchange to another one (exchange.bind, RabbitMQ's extension)."""
        return self.call(spec.Exchange.Bind(0, destination, source, routing_key, nowait, _table(arguments)), nowait)

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", nowait: bool = False, arguments: Arguments = None
    ) -> Reply[spec.Exchange.UnbindOk] | None:
        """Undo the binding of an exchange to another one (exchange.unbind, RabbitMQ's extension)."""
        return self.call(spec.Exchange.Unbind(0, destination, source, routing_key, nowait, _table(arguments)), nowait)

    # Queues

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
    ) -> Reply[spec.Queue.DeclareOk] | None:
        """Declare a queue, or with `passive` ask whether it exists (queue.declare)."""
        return self.call(
            spec.Queue.Declare(0, queue, passive, durable, exclusive, auto_delete, nowait, _table(arguments)), nowait
        )

    def queue_bind(
        self, queue: str, exchange: str, routing_key: str = "", nowait: bool = False, arguments: Arguments = None
    ) -> Reply[spec.Queue.BindOk] | None:
        """Bind a queue to an exchange (queue.bind)."""
        return self.call(spec.Queue.Bind(0, queue, exchange, routing_key, nowait, _table(arguments)), nowait)

    def queue_unbind(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None
    ) -> Reply[spec.Queue.UnbindOk] | None:
        """Undo the binding of a queue to an exchange (queue.unbind)."""
        return self.call(spec.Queue.Unbind(0, queue, exchange, routing_key, _table(arguments)))

    def queue_purge(self, queue: str, nowait: bool = False) -> Reply[spec.Queue.PurgeOk] | None:
        """Remove the messages of a queue that await no acknowledgement (queue.purge)."""
        return self.call(spec.Queue.Purge(0, queue, nowait), nowait)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, nowait: bool = False
    ) -> Reply[spec.Queue.DeleteOk] | None:
        """Delete a queue (queue.delete)."""
        return self.call(spec.Queue.Delete(0, queue, if_unused, if_empty, nowait), nowait)

    # Consuming

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False
    ) -> Reply[spec.Basic.QosOk] | None:
        """Bound the unacknowledged deliveries; RabbitMQ gives `global_qos` a meaning of its own (basic.qos)."""
        return self.call(spec.Basic.Qos(prefetch_size, prefetch_count, global_qos))

    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = "",
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
    ) -> Reply[spec.Basic.ConsumeOk] | None:
        """Start a consumer (basic.consume).  Deliveries can come before the reply.

        :raises pika.exceptions.DuplicateConsumerTag: when the channel has a consumer of this tag
        :raises ValueError: when there is neither a tag nor a reply that could bring one
        """
        self.require_open()
        if consumer_tag in self.consumers or consumer_tag in self.cancelled:
            raise exceptions.DuplicateConsumerTag(consumer_tag)
        if nowait and not consumer_tag:
            raise ValueError("a consumer that waits for no reply needs a consumer tag: the broker could not tell it")
        method = spec.Basic.Consume(0, queue, consumer_tag, no_local, no_ack, exclusive, nowait, _table(arguments))
        reply = self.call(method, nowait)
        if consumer_tag:
            self.consumers[consumer_tag] = no_ack
        return reply

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> Reply[spec.Basic.CancelOk] | None:
        """Cancel a consumer (basic.cancel).

        From now on its deliveries that need an acknowledgement are rejected with requeue; those that need
        none have left their queue, and come out as events.
        """
        reply = self.call(spec.Basic.Cancel(consumer_tag, nowait), nowait)
        if consumer_tag in self.consumers:
            self.cancelled[consumer_tag] = self.consumers.pop(consumer_tag)
        return reply

    def basic_get(self, queue: str, no_ack: bool = False) -> Reply[spec.Basic.GetOk | spec.Basic.GetEmpty] | None:
        """Ask for one message of a queue (basic.get); a message comes as the reply's content."""
        return self.call(spec.Basic.Get(0, queue, no_ack))

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a delivery; with `multiple` every one up to it, and all with tag 0 (basic.ack)."""
        self.require_open()
        self.send(frame.encode_method(self.number, spec.Basic.Ack(delivery_tag, multiple)))

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or several (basic.nack, RabbitMQ's extension)."""
        self.require_open()
        self.send(frame.encode_method(self.number, spec.Basic.Nack(delivery_tag, multiple, requeue)))

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse one delivery (basic.reject)."""
        self.require_open()
        self.send(frame.encode_method(self.number, spec.Basic.Reject(delivery_tag, requeue)))

    def basic_recover(self, requeue: bool = False) -> Reply[spec.Basic.RecoverOk] | None:
        """Ask for the unacknowledged deliveries of the channel again (basic.recover); RabbitMQ wants `requeue`."""
        return self.call(spec.Basic.Recover(requeue))

    # Publishing

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
        confirmation: Confirmation | None = None,
    ) -> None:
        """Publish a message (basic.publish).

        :param confirmation: on a channel in confirm mode, told when the broker has taken or refused the message
        :raises pika.exceptions.ShortStringTooLong: when exchange or routing key have over 255 octets
        :raises ValueError: when the properties do not fit into a frame
        """
        self.require_open()
        method = self._prepared.get((exchange, routing_key, mandatory))
        if method is None:
            method = self._prepare_publish(exchange, routing_key, mandatory)
        content = frame.encode_content(self.number, properties or _NO_PROPERTIES, body, self.frame_max)
        self.send(method, *content)
        if self.confirms is not None:
            self.confirms.published += 1
            if confirmation is not None:
                self.confirms.add(confirmation, exchange, routing_key, body, mandatory)

    def _prepare_publish(self, exchange: str, routing_key: str, mandatory: bool) -> bytes:
        method = frame.encode_method(self.number, spec.Basic.Publish(0, exchange, routing_key, mandatory, False))
        if len(self._prepared) >= _PREPARED_PUBLISHES:
            self._prepared.clear()
        self._prepared[exchange, routing_key, mandatory] = method
        return method

    def confirm_select(self, nowait: bool = False) -> Reply[spec.Confirm.SelectOk] | None:
        """Put the channel into confirm mode (confirm.select, RabbitMQ's extension).

        The publishes that follow it on the wire are numbered from 1.
        """
        reply = self.call(spec.Confirm.Select(nowait), nowait)
        if self.confirms is None:
            self.confirms = ConfirmTracker()
        return reply

    # Transactions

    def tx_select(self) -> Reply[spec.Tx.SelectOk] | None:
        """Put the channel into transaction mode (tx.select)."""
        return self.call(spec.Tx.Select())

    def tx_commit(self) -> Reply[spec.Tx.CommitOk] | None:
        """Commit the publishes and acknowledgements since the last commit or rollback (tx.commit)."""
        return self.call(spec.Tx.Commit())

    def tx_rollback(self) -> Reply[spec.Tx.RollbackOk] | None:
        """Abandon the publishes and acknowledgements since the last commit or rollback (tx.rollback)."""
        return self.call(spec.Tx.Rollback())

    # Flow

    def flow(self, active: bool) -> Reply[spec.Channel.FlowOk] | None:
        """Ask the broker to pause deliveries, or to go on (channel.flow); RabbitMQ refuses to pause."""
        return self.call(spec.Channel.Flow(active))


def _table(arguments: Arguments) -> dict[str, Any] | None:
    return None if arguments is None else dict(arguments)
