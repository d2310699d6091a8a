"""A virtual host: its exchanges, queues and bindings, and what follows from what when they come and go."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pika import spec
from pika.broker import arguments, errors, routing
from pika.broker.queues import Queue
from pika.broker.routing import Destination, Exchange

if TYPE_CHECKING:
    from pika.broker.channel import ServerChannel

_PREDECLARED = (
    ("amq.direct", "direct"),
    ("amq.fanout", "fanout"),
    ("amq.topic", "topic"),
    ("amq.headers", "headers"),
    ("amq.match", "headers"),
)


def generated_name(prefix: str) -> str:
    """Return a name as RabbitMQ makes them, such as ``amq.gen-`` and 22 characters."""
    return prefix + base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()


class VirtualHost:
    """A virtual host.

    :param name: its name
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {"": Exchange("", "direct", routing.Default(self.queues), durable=True)}
        for exchange, kind in _PREDECLARED:
            self.exchanges[exchange] = Exchange(exchange, kind, routing.ROUTERS[kind](), durable=True)
        trace = "amq.rabbitmq.trace"
        self.exchanges[trace] = Exchange(trace, "topic", routing.Topic(), durable=True, internal=True)
        #: Grows with every change, so that what was found out before it can be recognized as old.
        self.version = 0
        #: The channels that take direct replies, by the name that stands in reply_to.
        self.reply_channels: dict[str, ServerChannel] = {}
        # The exchanges from which a binding leads to a destination, so that it can be deleted with its bindings.
        self._sources: dict[Destination, dict[Exchange, None]] = {}

    # Lookup ----------------------------------------------------------------------------------------------------

    def queue(self, name: str, asking: object) -> Queue:
        """Return a queue.

        :param asking: the connection that wants to use it
        :raises errors.Refusal: 404 when there is none, 405 when it is exclusive to another connection
        """
        queue = self.queues.get(name)
        if queue is None:
            raise errors.not_found("queue", name, self.name)
        if queue.owner is not None and queue.owner is not asking:
            raise errors.locked(name, self.name)
        return queue

    def exchange(self, name: str) -> Exchange:
        """Return an exchange.

        :raises errors.Refusal: 404 when there is none
        """
        exchange = self.exchanges.get(name)
        if exchange is None:
            raise errors.not_found("exchange", name, self.name)
        return exchange

    # Routing ---------------------------------------------------------------------------------------------------

    def route(self, exchange: Exchange, keys: Sequence[str], headers: routing.Headers) -> tuple[list[Queue], bool]:
        """Find the queues that a message goes to.

        :param exchange: where it was published
        :param keys: its routing key and those of its CC and BCC headers
        :param headers: its headers
        :returns: each queue once, and whether the headers had a say
        """
        queues: dict[Queue, None] = {}
        seen = {exchange}
        pending = [exchange]
        uses_headers = False
        while pending:
            exchange = pending.pop()
            router = exchange.router
            uses_headers = uses_headers or router.uses_headers
            found: Iterable[Destination] = [found for key in keys for found in router.match(key, headers)]
            if not found and exchange.alternate is not None and exchange.alternate in self.exchanges:
                found = (self.exchanges[exchange.alternate],)
            for destination in found:
                if isinstance(destination, Queue):
                    queues[destination] = None
                elif destination not in seen:
                    seen.add(destination)
                    pending.append(destination)
        return list(queues), uses_headers

    # Exchanges -------------------------------------------------------------------------------------------------

    def declare_exchange(
        self, name: str, kind: str, *, durable: bool, auto_delete: bool, internal: bool, table: dict[str, Any]
    ) -> None:
        """Create an exchange, or see that the one of that name is equivalent.

        :raises errors.Refusal: 403 for a reserved name, 406 when it is not equivalent or an argument is refused
        """
        current = self.exchanges.get(name)
        if current is not None:
            where = errors.resource("exchange", name, self.name)
            arguments.same_value("type", current.kind, kind, where)
            arguments.same_value("durable", current.durable, durable, where)
            arguments.same_value("auto_delete", current.auto_delete, auto_delete, where)
            arguments.same_value("internal", current.internal, internal, where)
            arguments.same_exchange(current.arguments, table, where)
            return
        check_reserved("exchange", name)
        arguments.check_exchange(table, name, self.name)
        self.version += 1
        self.exchanges[name] = Exchange(
            name,
            kind,
            routing.ROUTERS[kind](),
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            arguments=table,
        )

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete an exchange with its bindings; one that does not exist is fine.

        :raises errors.Refusal: 403 for RabbitMQ's own, 406 when it is in use and that was excluded
        """
        where = errors.resource("exchange", name, self.name)
        if name.startswith("amq."):
            raise errors.access_refused(f"deletion of system {where} not allowed")
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.router.bindings:
            raise errors.precondition(f"{where} in use")
        self._drop_exchange(exchange)

    def _drop_exchange(self, exchange: Exchange) -> None:
        self._forget(exchange)
        self._unbind_all(exchange)

    def _forget(self, exchange: Exchange) -> None:
        self.version += 1
        del self.exchanges[exchange.name]
        for bound in exchange.router.bindings:
            self._sources.get(bound.destination, {}).pop(exchange, None)

    # Queues ----------------------------------------------------------------------------------------------------

    def declare_queue(
        self, name: str, owner: object, *, durable: bool, exclusive: bool, auto_delete: bool, table: dict[str, Any]
    ) -> Queue:
        """Create a queue, or see that the one of that name is equivalent.

        :param owner: the connection that declares it
        :raises errors.Refusal: 405 when exclusiveness says so, 406 when it is not equivalent or an argument is refused
        """
        current = self.queues.get(name)
        # What dies with its connection cannot be durable.
        durable = durable and not exclusive
        if current is None:
            arguments.check_queue(table, name, self.name, durable=durable, exclusive=exclusive)
            self.version += 1
            holder = owner if exclusive else None
            queue = Queue(name, owner=holder, durable=durable, auto_delete=auto_delete, arguments=table)
            self.queues[name] = queue
            return queue
        if current.owner is not (owner if exclusive else None):
            raise errors.locked(name, self.name)
        where = errors.resource("queue", name, self.name)
        arguments.same_value("durable", current.durable, durable, where)
        arguments.same_value("auto_delete", current.auto_delete, auto_delete, where)
        arguments.same_queue(current.arguments, table, where)
        return current

    def delete_queue(self, queue: Queue) -> None:
        """Delete a queue with its bindings, messages and consumers; the consumers' clients are told."""
        if queue.deleted:
            return
        self.version += 1
        queue.deleted = True
        del self.queues[queue.name]
        queue.purge()
        self._unbind_all(queue)
        consumers, queue.consumers = queue.consumers, []
        for consumer in consumers:
            consumer.channel.consumer_cancelled(consumer)

    def consumer_left(self, queue: Queue) -> None:
        """Delete a queue that wants to go with its last consumer, when that one is gone."""
        if queue.auto_delete and not queue.consumers:
            self.delete_queue(queue)

    def delete_owned(self, owner: object) -> None:
        """Delete the queues that are exclusive to a connection."""
        for queue in [queue for queue in self.queues.values() if queue.owner is owner]:
            self.delete_queue(queue)

    # Bindings --------------------------------------------------------------------------------------------------

    def bind(self, source: Exchange, destination: Destination, routing_key: str, table: dict[str, Any]) -> None:
        """Bind a queue or an exchange to an exchange; a binding that exists is fine.

        :raises errors.Refusal: 406 when the exchange's type has no use for the arguments
        """
        source.router.check(table)
        self.version += 1
        source.router.add(routing.binding(destination, routing_key, table))
        self._sources.setdefault(destination, {})[source] = None

    def unbind(self, source: Exchange, destination: Destination, routing_key: str, table: dict[str, Any]) -> None:
        """Remove a binding; one that does not exist is fine."""
        if source.router.remove(routing.binding(destination, routing_key, table)):
            self.version += 1
            if not self._leads_elsewhere(source, destination):
                self._sources[destination].pop(source, None)
            if self._is_over(source):
                self._drop_exchange(source)

    def is_bound(self, source: Exchange, destination: Destination, routing_key: str, table: dict[str, Any]) -> bool:
        """Whether a binding exists."""
        return routing.binding(destination, routing_key, table) in source.router.bindings

    def _leads_elsewhere(self, source: Exchange, destination: Destination) -> bool:
        return any(bound.destination is destination for bound in source.router.bindings)

    def _unbind_all(self, destination: Destination) -> None:
        """Remove all bindings that lead to something that is being deleted, and what goes with its last binding."""
        # Not recursive: a chain of auto-delete exchanges may be of any length.
        pending = [destination]
        while pending:
            gone = pending.pop()
            for source in self._sources.pop(gone, {}):
                for bound in [bound for bound in source.router.bindings if bound.destination is gone]:
                    source.router.remove(bound)
                if self._is_over(source):
                    self._forget(source)
                    pending.append(source)

    def _is_over(self, source: Exchange) -> bool:
        """Whether an exchange wants to go with its last binding, and that one is gone."""
        return source.auto_delete and not source.router.bindings and self.exchanges.get(source.name) is source


def check_reserved(kind: str, name: str) -> None:
    """Refuse a name that only RabbitMQ may give.

    :raises errors.Refusal: 403
    """
    if name.startswith("amq."):
        raise errors.access_refused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def check_exchange_type(kind: str) -> None:
    """Refuse a type of exchange that there is not; this closes the connection.

    :raises errors.ConnectionRefusal: 503
    """
    if kind not in routing.ROUTERS:
        # RabbitMQ says "invalid" of words that mean something else to Erlang; there is no list of them.
        how = "unknown" if kind else "invalid"
        raise errors.ConnectionRefusal(spec.COMMAND_INVALID, f"{how} exchange type '{kind}'")
