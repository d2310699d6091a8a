"""The operations of a channel under pika's names, each of which waits for the broker's answer."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Callable, Optional, TypeVar

from pika import exceptions, frame, spec
from pika.amqp_object import Method
from pika.client.state import BaseChannel
from pika.client.threaded_link import Link
from pika.protocol import Reply

Arguments = Optional[Mapping[str, Any]]
M = TypeVar("M", bound=Method)


class Operations(BaseChannel):
    """The operations of AMQP 0-9-1 with RabbitMQ's extensions, whose answers are waited for.

    What they return has the answer as its ``method``, as in pika. Each takes `timeout`, in seconds, and raises:

    :raises pika.exceptions.ChannelWrongStateError: when the channel is closed; nothing is sent. The first call that
        finds it closed by the broker raises the reason
    :raises pika.exceptions.ChannelClosedByBroker: when the broker refuses, and closes the channel over it
    :raises pika.exceptions.AMQPConnectionError: of the class that says why, when the connection ends first
    :raises pika.exceptions.AMQPTimeoutError: when there is no answer in time; the channel goes on

    :param link: the connection
    :param book: what it keeps of the channel
    """

    _link: Link

    def _ask(
        self,
        what: str,
        operation: Callable[[], Reply[M]],
        timeout: float | None,
        late: Callable[[Reply[M]], None] | None = None,
    ) -> Reply[M]:
        try:
            return self._link.ask(f"{what} on channel {self._rules.number}", operation, timeout, late)
        except exceptions.AMQPError as error:
            self._tell(error)
            raise

    def _call(self, what: str, operation: Callable[[], Any], timeout: float | None) -> frame.Method[Any]:
        reply = self._ask(what, operation, timeout)
        return frame.Method(self._rules.number, reply.result())

    # Exchanges

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> frame.Method[spec.Exchange.DeclareOk]:
        """Declare an exchange (exchange.declare).

        :param exchange: its name
        :param exchange_type: ``direct`` (the default), ``fanout``, ``topic``, ``headers`` or what a plugin adds
        :param passive: only ask whether it exists
        :param durable: it outlives the broker
        :param auto_delete: it goes with the last binding from it
        :param internal: clients cannot publish to it
        :param arguments: more of the broker's arguments, such as ``alternate-exchange``
        :param timeout: seconds to wait for the answer
        """
        declare = functools.partial(
            self._rules.exchange_declare,
            exchange,
            exchange_type,
            passive,
            durable,
            auto_delete,
            internal,
            arguments=arguments,
        )
        return self._call("exchange.declare", declare, timeout)

    def exchange_delete(
        self, exchange: str, if_unused: bool = False, *, timeout: float | None = None
    ) -> frame.Method[spec.Exchange.DeleteOk]:
        """Delete an exchange with its bindings (exchange.delete).

        :param exchange: its name
        :param if_unused: only if nothing is bound to it
        :param timeout: seconds to wait for the answer
        """
        delete = functools.partial(self._rules.exchange_delete, exchange, if_unused)
        return self._call("exchange.delete", delete, timeout)

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> frame.Method[spec.Exchange.BindOk]:
        """Bind an exchange to another one (exchange.bind, RabbitMQ's extension).

        :param destination: the exchange that messages go to
        :param source: the exchange that they come from
        :param routing_key: what the source matches them by
        :param arguments: what a headers exchange matches them by
        :param timeout: seconds to wait for the answer
        """
        bind = functools.partial(self._rules.exchange_bind, destination, source, routing_key, arguments=arguments)
        return self._call("exchange.bind", bind, timeout)

    def exchange_unbind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> frame.Method[spec.Exchange.UnbindOk]:
        """Undo the binding of an exchange to another one (exchange.unbind, RabbitMQ's extension).

        :param destination: the exchange that messages went to
        :param source: the exchange that they came from
        :param routing_key: that of the binding
        :param arguments: those of the binding
        :param timeout: seconds to wait for the answer
        """
        unbind = functools.partial(self._rules.exchange_unbind, destination, source, routing_key, arguments=arguments)
        return self._call("exchange.unbind", unbind, timeout)

    # Queues

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> frame.Method[spec.Queue.DeclareOk]:
        """Declare a queue (queue.declare).

        :param queue: its name; empty has the broker choose one, which is ``.method.queue`` of the answer
        :param passive: only ask whether it exists
        :param durable: it outlives the broker
        :param exclusive: it belongs to this connection, and goes with it
        :param auto_delete: it goes with its last consumer
        :param arguments: more of the broker's arguments, such as ``x-queue-type``
        :param timeout: seconds to wait for the answer
        :returns: the answer, whose method counts messages and consumers
        """
        declare = functools.partial(
            self._rules.queue_declare, queue, passive, durable, exclusive, auto_delete, arguments=arguments
        )
        return self._call("queue.declare", declare, timeout)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> frame.Method[spec.Queue.BindOk]:
        """Bind a queue to an exchange (queue.bind).

        :param queue: the queue
        :param exchange: the exchange that messages come from
        :param routing_key: what the exchange matches them by; None, as in pika, is the queue's name
        :param arguments: what a headers exchange matches them by
        :param timeout: seconds to wait for the answer
        """
        key = queue if routing_key is None else routing_key
        bind = functools.partial(self._rules.queue_bind, queue, exchange, key, arguments=arguments)
        return self._call("queue.bind", bind, timeout)

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str | None = None,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> frame.Method[spec.Queue.UnbindOk]:
        """Undo the binding of a queue to an exchange (queue.unbind).

        :param queue: the queue
        :param exchange: the exchange that messages came from
        :param routing_key: that of the binding; None, as in pika, is the queue's name
        :param arguments: those of the binding
        :param timeout: seconds to wait for the answer
        """
        key = queue if routing_key is None else routing_key
        unbind = functools.partial(self._rules.queue_unbind, queue, exchange, key, arguments)
        return self._call("queue.unbind", unbind, timeout)

    def queue_purge(self, queue: str, *, timeout: float | None = None) -> frame.Method[spec.Queue.PurgeOk]:
        """Remove the messages of a queue that await no acknowledgement (queue.purge).

        :param queue: the queue
        :param timeout: seconds to wait for the answer
        :returns: the answer, whose method counts the messages
        """
        return self._call("queue.purge", functools.partial(self._rules.queue_purge, queue), timeout)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, *, timeout: float | None = None
    ) -> frame.Method[spec.Queue.DeleteOk]:
        """Delete a queue with its messages and bindings (queue.delete).

        :param queue: the queue
        :param if_unused: only if it has no consumer
        :param if_empty: only if it has no message
        :param timeout: seconds to wait for the answer
        :returns: the answer, whose method counts the messages
        """
        delete = functools.partial(self._rules.queue_delete, queue, if_unused, if_empty)
        return self._call("queue.delete", delete, timeout)

    # Flow of deliveries

    def basic_qos(
        self,
        prefetch_size: int = 0,
        prefetch_count: int = 0,
        global_qos: bool = False,
        *,
        timeout: float | None = None,
    ) -> None:
        """Bound the deliveries that await an acknowledgement (basic.qos).

        :param prefetch_size: octets; RabbitMQ takes only 0, no bound
        :param prefetch_count: messages; 0 (the default) is no bound
        :param global_qos: to RabbitMQ: False bounds each later consumer of the channel, True all of them together
        :param timeout: seconds to wait for the answer
        """
        qos = functools.partial(self._rules.basic_qos, prefetch_size, prefetch_count, global_qos)
        self._ask("basic.qos", qos, timeout)

    def basic_recover(self, requeue: bool = False, *, timeout: float | None = None) -> None:
        """Ask for the unacknowledged deliveries of the channel again (basic.recover).

        :param requeue: give them back to their queues; RabbitMQ refuses False (the default)
        :param timeout: seconds to wait for the answer
        """
        self._ask("basic.recover", functools.partial(self._rules.basic_recover, requeue), timeout)

    def flow(self, active: bool, *, timeout: float | None = None) -> bool:
        """Ask the broker to pause deliveries, or to go on (channel.flow).

        :param active: whether to deliver; RabbitMQ refuses False: bound deliveries by :meth:`basic_qos`
        :param timeout: seconds to wait for the answer
        :returns: whether the broker delivers now
        """
        reply = self._ask("channel.flow", functools.partial(self._rules.flow, active), timeout)
        return bool(reply.result().active)

    # Confirms

    def confirm_delivery(self, *, timeout: float | None = None) -> None:
        """Have ``basic_publish`` wait until the broker confirms each message (confirm.select).

        A publisher does not need it.

        :param timeout: seconds to wait for the answer
        """
        self._select_confirms(timeout)
        self._confirming = True

    def _select_confirms(self, timeout: float | None) -> None:
        if self._rules.confirms is None:
            self._ask("confirm.select", self._rules.confirm_select, timeout)

    # Transactions

    def tx_select(self, *, timeout: float | None = None) -> frame.Method[spec.Tx.SelectOk]:
        """Put the channel into transaction mode (tx.select).

        :param timeout: seconds to wait for the answer
        """
        return self._call("tx.select", self._rules.tx_select, timeout)

    def tx_commit(self, *, timeout: float | None = None) -> frame.Method[spec.Tx.CommitOk]:
        """Commit the publishes and acknowledgements since the last commit or rollback (tx.commit).

        :param timeout: seconds to wait for the answer
        """
        return self._call("tx.commit", self._rules.tx_commit, timeout)

    def tx_rollback(self, *, timeout: float | None = None) -> frame.Method[spec.Tx.RollbackOk]:
        """Abandon the publishes and acknowledgements since the last commit or rollback (tx.rollback).

        :param timeout: seconds to wait for the answer
        """
        return self._call("tx.rollback", self._rules.tx_rollback, timeout)
