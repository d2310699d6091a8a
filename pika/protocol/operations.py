"""Every operation of a channel, once: which method it sends, and what it needs to be legal.

A synchronous operation returns a :class:`~pika.protocol.replies.Reply`, which fails with the broker's reason when the
broker closes the channel or the connection instead of answering.  With ``nowait`` the broker answers nothing, and the
operation returns None; when it fails, the broker closes the channel.
"""

from __future__ import annotations

import abc
import reprlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Optional, Union, overload

from pika import exceptions, frame, spec
from pika._arguments import ArgumentTypeError
from pika._faults import InvalidTable
from pika.amqp_object import Method
from pika.protocol.confirms import Confirmation, ConfirmTracker
from pika.protocol.replies import Reply
from pika.protocol.states import ChannelState

Arguments = Optional[Mapping[str, Any]]
Pieces = tuple[Union[bytes, memoryview], ...]

_OPEN = ChannelState.OPEN
_NO_PROPERTIES = spec.BasicProperties()

#: How many prepared publish methods a channel keeps; a program that publishes to more routes than this
#: prepares some of them again.
PREPARED = 256


class _Prepared(NamedTuple):
    """What publishes to one route begin with.

    :ivar method: the method frame
    :ivar opening: that, and the beginning of a content header without properties
    """

    method: bytes
    opening: bytes


class Operations(abc.ABC):
    """The operations of AMQP 0-9-1 with RabbitMQ's extensions, as methods of a channel.

    Sections are those of the AMQP 0-9-1 reference.  Every operation raises, and then nothing was sent:

    :param number: the channel's number
    :param frame_max: the negotiated maximum of octets in a frame
    :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
    :raises TypeError: when an argument is of a wrong type
    :raises ValueError: when an integer does not fit its field, or the arguments do not fit into a frame
    :raises pika.exceptions.ShortStringTooLong: when a name, a routing key or a consumer tag has over 255 octets
    :raises pika.exceptions.UnsupportedAMQPFieldException: when a value in `arguments` has no AMQP field type
    """

    state: ChannelState
    confirms: ConfirmTracker | None

    def __init__(self, number: int, frame_max: int) -> None:
        self.number = number
        self.frame_max = frame_max
        # Of how many octets a body may be to be sent in one piece with its frames.
        self._joinable = min(frame_max - frame.FRAME_OVERHEAD, frame.JOIN_LIMIT)
        #: Tag to whether its consumer is without acknowledgements.
        self.consumers: dict[str, bool] = {}
        #: Consumers whose cancel is on its way: their late deliveries go back.
        self.cancelled: dict[str, bool] = {}
        # What asked for consumers whose tags belonged to others, until they are answered: what arrives for such a tag
        # before is taken for the predecessor's.
        self._successors: dict[str, spec.Basic.Consume] = {}
        self._prepared: dict[tuple[str, str, bool], _Prepared] = {}
        self._prepared_gets: dict[tuple[str, bool], tuple[spec.Basic.Get, bytes | None]] = {}

    @abc.abstractmethod
    def call(self, method: Method, encoded: bytes | None = None) -> Reply[Any]:
        """Send a synchronous method, or queue it until its turn has come.

        :param method: the method
        :param encoded: its frame, if that was made already
        """

    @abc.abstractmethod
    def _prepare_get(self, queue: str, no_ack: bool) -> tuple[spec.Basic.Get, bytes | None]:
        """Return what :meth:`call` is given for a get, the next ones of this queue too."""

    @abc.abstractmethod
    def call_nowait(self, method: Method) -> None:
        """As :meth:`call`, for a method whose ``nowait`` tells the broker not to answer."""

    @abc.abstractmethod
    def send(self, *pieces: bytes | memoryview) -> None:
        """Send encoded frames of methods that have no reply, or queue them behind what they must not overtake."""

    @abc.abstractmethod
    def send_publish(
        self,
        pieces: Pieces,
        confirmation: Confirmation | None,
        exchange: str,
        routing_key: str,
        body: bytes,
        mandatory: bool,
    ) -> bool:
        """As :meth:`send`, for a message whose number is its place among those that are sent in confirm mode.

        :param pieces: the message's frames, of :meth:`encode_publish`; the channel was open before that
        :returns: False when the channel was closed since, by a signal handler or by what encoding has called: then it
            was not published
        """

    @abc.abstractmethod
    def require_open(self) -> None:
        """Raise unless the channel is open."""

    @abc.abstractmethod
    def _silence(self, consumer_tag: str, no_ack: bool, told: bool) -> None:
        """Remember a consumer that is gone.

        :param told: whether the broker has said so, behind its last delivery
        """

    @abc.abstractmethod
    def _predecessor(self, consumer_tag: str) -> bool | None:
        """Return whether the last consumer of a tag was without acknowledgements, if it was cancelled with nowait."""

    def _call(self, method: Method, nowait: bool) -> Reply[Any] | None:
        return self.call_nowait(method) if nowait else self.call(method)

    # Exchanges

    @overload
    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = ...,
        passive: bool = ...,
        durable: bool = ...,
        auto_delete: bool = ...,
        internal: bool = ...,
        nowait: Literal[False] = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Exchange.DeclareOk]: ...
    @overload
    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = ...,
        passive: bool = ...,
        durable: bool = ...,
        auto_delete: bool = ...,
        internal: bool = ...,
        nowait: bool = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Exchange.DeclareOk] | None: ...
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
        """Declare an exchange (exchange.declare, section 1.6.2.1).

        :param exchange: its name
        :param exchange_type: ``direct`` (the default), ``fanout``, ``topic``, ``headers`` or what a plugin adds
        :param passive: only ask whether it exists; the reply fails with 404 if not
        :param durable: it outlives the broker
        :param auto_delete: it goes with the last binding from it (RabbitMQ's extension)
        :param internal: clients cannot publish to it (RabbitMQ's extension)
        :param nowait: ask for no answer
        :param arguments: more of the broker's arguments, such as ``alternate-exchange``
        :returns: the reply, or None with `nowait`
        """
        method = spec.Exchange.Declare(
            0, exchange, exchange_type, passive, durable, auto_delete, internal, nowait, _table(arguments)
        )
        return self._call(method, nowait)

    @overload
    def exchange_delete(
        self, exchange: str, if_unused: bool = ..., nowait: Literal[False] = ...
    ) -> Reply[spec.Exchange.DeleteOk]: ...
    @overload
    def exchange_delete(
        self, exchange: str, if_unused: bool = ..., nowait: bool = ...
    ) -> Reply[spec.Exchange.DeleteOk] | None: ...
    def exchange_delete(
        self, exchange: str, if_unused: bool = False, nowait: bool = False
    ) -> Reply[spec.Exchange.DeleteOk] | None:
        """Delete an exchange with its bindings (exchange.delete, section 1.6.2.3).

        :param exchange: its name
        :param if_unused: only if nothing is bound to it; the reply fails with 406 if something is
        :param nowait: ask for no answer
        :returns: the reply, or None with `nowait`
        """
        return self._call(spec.Exchange.Delete(0, exchange, if_unused, nowait), nowait)

    @overload
    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = ...,
        nowait: Literal[False] = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Exchange.BindOk]: ...
    @overload
    def exchange_bind(
        self, destination: str, source: str, routing_key: str = ..., nowait: bool = ..., arguments: Arguments = ...
    ) -> Reply[spec.Exchange.BindOk] | None: ...
    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", nowait: bool = False, arguments: Arguments = None
    ) -> Reply[spec.Exchange.BindOk] | None:
        """Bind an exchange to another one (exchange.bind, RabbitMQ's extension).

        :param destination: the exchange that messages go to
        :param source: the exchange that they come from
        :param routing_key: what the source matches them by
        :param nowait: ask for no answer
        :param arguments: what a headers exchange matches them by
        :returns: the reply, or None with `nowait`
        """
        return self._call(spec.Exchange.Bind(0, destination, source, routing_key, nowait, _table(arguments)), nowait)

    @overload
    def exchange_unbind(
        self,
        destination: str,
        source: str,
        routing_key: str = ...,
        nowait: Literal[False] = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Exchange.UnbindOk]: ...
    @overload
    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = ..., nowait: bool = ..., arguments: Arguments = ...
    ) -> Reply[spec.Exchange.UnbindOk] | None: ...
    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", nowait: bool = False, arguments: Arguments = None
    ) -> Reply[spec.Exchange.UnbindOk] | None:
        """Undo the binding of an exchange to another one (exchange.unbind, RabbitMQ's extension).

        :param destination: the exchange that messages went to
        :param source: the exchange that they came from
        :param routing_key: that of the binding
        :param nowait: ask for no answer
        :param arguments: those of the binding
        :returns: the reply, or None with `nowait`
        """
        return self._call(spec.Exchange.Unbind(0, destination, source, routing_key, nowait, _table(arguments)), nowait)

    # Queues

    @overload
    def queue_declare(
        self,
        queue: str = ...,
        passive: bool = ...,
        durable: bool = ...,
        exclusive: bool = ...,
        auto_delete: bool = ...,
        nowait: Literal[False] = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Queue.DeclareOk]: ...
    @overload
    def queue_declare(
        self,
        queue: str = ...,
        passive: bool = ...,
        durable: bool = ...,
        exclusive: bool = ...,
        auto_delete: bool = ...,
        nowait: bool = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Queue.DeclareOk] | None: ...
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
        """Declare a queue (queue.declare, section 1.7.2.1).

        :param queue: its name; empty (the default) has the broker choose one, which the answer tells
        :param passive: only ask whether it exists; the reply fails with 404 if not
        :param durable: it outlives the broker
        :param exclusive: it belongs to this connection, and goes with it
        :param auto_delete: it goes with its last consumer
        :param nowait: ask for no answer
        :param arguments: more of the broker's arguments, such as ``x-queue-type``
        :returns: the reply, whose answer counts messages and consumers; or None with `nowait`
        """
        method = spec.Queue.Declare(0, queue, passive, durable, exclusive, auto_delete, nowait, _table(arguments))
        return self._call(method, nowait)

    @overload
    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = ...,
        nowait: Literal[False] = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Queue.BindOk]: ...
    @overload
    def queue_bind(
        self, queue: str, exchange: str, routing_key: str = ..., nowait: bool = ..., arguments: Arguments = ...
    ) -> Reply[spec.Queue.BindOk] | None: ...
    def queue_bind(
        self, queue: str, exchange: str, routing_key: str = "", nowait: bool = False, arguments: Arguments = None
    ) -> Reply[spec.Queue.BindOk] | None:
        """Bind a queue to an exchange (queue.bind, section 1.7.2.3).

        :param queue: the queue; empty is the one that the channel declared last
        :param exchange: the exchange that messages come from
        :param routing_key: what the exchange matches them by
        :param nowait: ask for no answer
        :param arguments: what a headers exchange matches them by
        :returns: the reply, or None with `nowait`
        """
        return self._call(spec.Queue.Bind(0, queue, exchange, routing_key, nowait, _table(arguments)), nowait)

    def queue_unbind(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Arguments = None
    ) -> Reply[spec.Queue.UnbindOk]:
        """Undo the binding of a queue to an exchange (queue.unbind, section 1.7.2.5).

        :param queue: the queue; empty is the one that the channel declared last
        :param exchange: the exchange that messages came from
        :param routing_key: that of the binding
        :param arguments: those of the binding
        :returns: the reply
        """
        return self.call(spec.Queue.Unbind(0, queue, exchange, routing_key, _table(arguments)))

    @overload
    def queue_purge(self, queue: str, nowait: Literal[False] = ...) -> Reply[spec.Queue.PurgeOk]: ...
    @overload
    def queue_purge(self, queue: str, nowait: bool = ...) -> Reply[spec.Queue.PurgeOk] | None: ...
    def queue_purge(self, queue: str, nowait: bool = False) -> Reply[spec.Queue.PurgeOk] | None:
        """Remove the messages of a queue that await no acknowledgement (queue.purge, section 1.7.2.7).

        :param queue: the queue; empty is the one that the channel declared last
        :param nowait: ask for no answer
        :returns: the reply, whose answer counts the messages; or None with `nowait`
        """
        return self._call(spec.Queue.Purge(0, queue, nowait), nowait)

    @overload
    def queue_delete(
        self, queue: str, if_unused: bool = ..., if_empty: bool = ..., nowait: Literal[False] = ...
    ) -> Reply[spec.Queue.DeleteOk]: ...
    @overload
    def queue_delete(
        self, queue: str, if_unused: bool = ..., if_empty: bool = ..., nowait: bool = ...
    ) -> Reply[spec.Queue.DeleteOk] | None: ...
    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, nowait: bool = False
    ) -> Reply[spec.Queue.DeleteOk] | None:
        """Delete a queue with its messages and bindings (queue.delete, section 1.7.2.9).

        :param queue: the queue; empty is the one that the channel declared last
        :param if_unused: only if it has no consumer; the reply fails with 406 if it has
        :param if_empty: only if it has no message; the reply fails with 406 if it has
        :param nowait: ask for no answer
        :returns: the reply, whose answer counts the messages; or None with `nowait`
        """
        return self._call(spec.Queue.Delete(0, queue, if_unused, if_empty, nowait), nowait)

    # Consuming

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False
    ) -> Reply[spec.Basic.QosOk]:
        """Bound the deliveries that await an acknowledgement (basic.qos, section 1.8.3.1).

        :param prefetch_size: octets; RabbitMQ takes only 0, no bound
        :param prefetch_count: messages, 0 (the default) to 65535; 0 is no bound
        :param global_qos: to RabbitMQ: False bounds each later consumer of the channel, True all of them together
        :returns: the reply
        """
        return self.call(spec.Basic.Qos(prefetch_size, prefetch_count, global_qos))

    @overload
    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = ...,
        no_local: bool = ...,
        no_ack: bool = ...,
        exclusive: bool = ...,
        nowait: Literal[False] = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Basic.ConsumeOk]: ...
    @overload
    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = ...,
        no_local: bool = ...,
        no_ack: bool = ...,
        exclusive: bool = ...,
        nowait: bool = ...,
        arguments: Arguments = ...,
    ) -> Reply[spec.Basic.ConsumeOk] | None: ...
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
        """Start a consumer (basic.consume, section 1.8.3.3).  Deliveries can come before the reply.

        :param queue: the queue; empty is the one that the channel declared last
        :param consumer_tag: its name in the channel; empty (the default) has the broker choose, and the answer tell it
        :param no_local: not what this connection published; RabbitMQ ignores it
        :param no_ack: deliveries need no acknowledgement
        :param exclusive: be the only consumer of the queue; the reply fails with 403 if it has another
        :param nowait: ask for no answer
        :param arguments: more of the broker's arguments, such as ``x-priority``
        :returns: the reply, or None with `nowait`
        :raises pika.exceptions.DuplicateConsumerTag: when the channel has a consumer of this tag; or had one that was
            cancelled with `nowait`, and is followed with another `no_ack` or with `nowait`: to which of both a delivery
            belongs could not be told, nor whether it may be acknowledged
        :raises ValueError: when there is neither a tag nor a reply that could bring one
        """
        self.require_open()
        predecessor = self._predecessor(consumer_tag)
        if (
            consumer_tag in self.consumers
            or consumer_tag in self.cancelled
            or consumer_tag in self._successors
            or (predecessor is not None and (nowait or predecessor is not bool(no_ack)))
        ):
            raise exceptions.DuplicateConsumerTag(consumer_tag)
        if nowait and not consumer_tag:
            raise ValueError("a consumer that waits for no reply needs a consumer tag: the broker could not tell it")
        method = spec.Basic.Consume(0, queue, consumer_tag, no_local, no_ack, exclusive, nowait, _table(arguments))
        reply = self._call(method, nowait)
        if predecessor is not None:
            self._successors[consumer_tag] = method
        elif consumer_tag:
            self.consumers[consumer_tag] = no_ack
        return reply

    @overload
    def basic_cancel(self, consumer_tag: str, nowait: Literal[False] = ...) -> Reply[spec.Basic.CancelOk]: ...
    @overload
    def basic_cancel(self, consumer_tag: str, nowait: bool = ...) -> Reply[spec.Basic.CancelOk] | None: ...
    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> Reply[spec.Basic.CancelOk] | None:
        """Cancel a consumer (basic.cancel, section 1.8.3.5).

        From now on its deliveries that need an acknowledgement are rejected with requeue; those that need
        none have left their queue, and come out as events.  With `nowait` nothing says which delivery is the last:
        when another consumer has got the tag by then, this lasts until that one is answered.

        :param consumer_tag: its name; one that the channel does not have is no error
        :param nowait: ask for no answer
        :returns: the reply, or None with `nowait`
        """
        reply = self._call(spec.Basic.Cancel(consumer_tag, nowait), nowait)
        successor = self._successors.pop(consumer_tag, None)
        if successor is not None:
            self.cancelled[consumer_tag] = successor.no_ack
        elif consumer_tag in self.consumers:
            self.cancelled[consumer_tag] = self.consumers.pop(consumer_tag)
        if nowait and consumer_tag in self.cancelled:
            self._silence(consumer_tag, self.cancelled.pop(consumer_tag), told=False)
        return reply

    def basic_get(self, queue: str, no_ack: bool = False) -> Reply[spec.Basic.GetOk | spec.Basic.GetEmpty]:
        """Ask for one message of a queue (basic.get, section 1.8.3.10).

        :param queue: the queue; empty is the one that the channel declared last
        :param no_ack: the message needs no acknowledgement
        :returns: the reply; a message comes as its content
        """
        try:
            prepared = self._prepared_gets.get((queue, no_ack))
        except TypeError:
            # As encode_publish has it.
            prepared = None
        return self.call(*(prepared or self._prepare_get(queue, no_ack)))

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Acknowledge a delivery (basic.ack, section 1.8.3.13).

        :param delivery_tag: that of the delivery
        :param multiple: every delivery up to it too; with tag 0 all of the channel
        """
        if self.state is not _OPEN:
            self.require_open()
        self.send(frame.encode_ack(self.number, delivery_tag, multiple))

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or several (basic.nack, RabbitMQ's extension).

        :param delivery_tag: that of the delivery
        :param multiple: every delivery up to it too; with tag 0 all of the channel
        :param requeue: give it back to its queue (the default); if not, it is dropped or dead-lettered
        """
        self.require_open()
        self.send(frame.encode_method(self.number, spec.Basic.Nack(delivery_tag, multiple, requeue)))

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """Refuse one delivery (basic.reject, section 1.8.3.14).

        :param delivery_tag: that of the delivery
        :param requeue: give it back to its queue (the default); if not, it is dropped or dead-lettered
        """
        self.require_open()
        self.send(frame.encode_method(self.number, spec.Basic.Reject(delivery_tag, requeue)))

    def basic_recover(self, requeue: bool = False) -> Reply[spec.Basic.RecoverOk]:
        """Ask for the unacknowledged deliveries of the channel again (basic.recover, section 1.8.3.16).

        :param requeue: give them back to their queues; RabbitMQ refuses False (the default) with 540
        :returns: the reply
        """
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
        """Publish a message (basic.publish, section 1.8.3.7).

        :param exchange: where to; empty is the default exchange, which routes to the queue of the routing key's name
        :param routing_key: what the exchange routes it by
        :param body: any number of octets; split into frames where it is larger than one
        :param properties: of the message; None (the default) is none at all
        :param mandatory: have it returned (:class:`~pika.protocol.events.Returned`) if it reaches no queue
        :param confirmation: on a channel in confirm mode, told when the broker has taken or refused the message
        :raises ValueError: when the properties do not fit into a frame
        """
        if self.state is not _OPEN:
            self.require_open()
        pieces = self.encode_publish(exchange, routing_key, body, properties, mandatory)
        if not self.send_publish(pieces, confirmation, exchange, routing_key, body, mandatory):
            self.require_open()

    def encode_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: spec.BasicProperties | None,
        mandatory: bool,
    ) -> Pieces:
        """Do the part of :meth:`basic_publish` that can refuse: return what :meth:`send_publish` is to be given."""
        try:
            prepared = self._prepared.get((exchange, routing_key, mandatory))
        except TypeError:
            # Of a type that has no hash, and so no str: what says so best is encoding it.
            prepared = None
        if prepared is None:
            prepared = self._prepare_publish(exchange, routing_key, mandatory)
        if properties is None:
            size = len(body)
            if 0 < size <= self._joinable:
                # The hot path of publishing: what does not change is prepared, the rest is one pack and one join.
                middle = frame.BARE_MIDDLE.pack(size, 0, spec.FRAME_END, spec.FRAME_BODY, self.number, size)
                return (b"".join((prepared.opening, middle, body, frame.END_OCTET)),)
            properties = _NO_PROPERTIES
        elif not isinstance(properties, spec.BasicProperties):
            raise ArgumentTypeError(f"properties must be a pika.BasicProperties, but got {properties!r}")
        return frame.encode_content(self.number, properties, body, self.frame_max, prepared.method)

    def _prepare_publish(self, exchange: str, routing_key: str, mandatory: bool) -> _Prepared:
        method = frame.encode_method(self.number, spec.Basic.Publish(0, exchange, routing_key, mandatory, False))
        if len(self._prepared) >= PREPARED:
            self._prepared.clear()
        prepared = _Prepared(method, frame.bare_opening(self.number, method))
        self._prepared[exchange, routing_key, mandatory] = prepared
        return prepared

    @overload
    def confirm_select(self, nowait: Literal[False] = ...) -> Reply[spec.Confirm.SelectOk]: ...
    @overload
    def confirm_select(self, nowait: bool = ...) -> Reply[spec.Confirm.SelectOk] | None: ...
    def confirm_select(self, nowait: bool = False) -> Reply[spec.Confirm.SelectOk] | None:
        """Put the channel into confirm mode (confirm.select, RabbitMQ's extension).

        The publishes that follow it on the wire are numbered from 1.

        :param nowait: ask for no answer
        :returns: the reply, or None with `nowait`
        """
        return self._call(spec.Confirm.Select(nowait), nowait)

    # Transactions

    def tx_select(self) -> Reply[spec.Tx.SelectOk]:
        """Put the channel into transaction mode (tx.select, section 1.9.2.1).

        :returns: the reply
        """
        return self.call(spec.Tx.Select())

    def tx_commit(self) -> Reply[spec.Tx.CommitOk]:
        """Commit the publishes and acknowledgements since the last commit or rollback (tx.commit, section 1.9.2.3).

        :returns: the reply
        """
        return self.call(spec.Tx.Commit())

    def tx_rollback(self) -> Reply[spec.Tx.RollbackOk]:
        """Abandon the publishes and acknowledgements since the last commit or rollback (tx.rollback, section 1.9.2.5).

        :returns: the reply
        """
        return self.call(spec.Tx.Rollback())

    # Flow

    def flow(self, active: bool) -> Reply[spec.Channel.FlowOk]:
        """Ask the broker to pause deliveries, or to go on (channel.flow, section 1.5.2.3).

        :param active: True goes on; RabbitMQ refuses False, pausing, with 540: bound deliveries by :meth:`basic_qos`
        :returns: the reply
        """
        return self.call(spec.Channel.Flow(active))


def _table(arguments: Arguments) -> dict[str, Any] | None:
    if not arguments:
        return None if arguments is None else {}
    given: object = arguments
    if not isinstance(given, Mapping):
        raise InvalidTable(f"arguments must be a dict, not {reprlib.repr(given)} of type {type(given).__name__}")
    return dict(given)
