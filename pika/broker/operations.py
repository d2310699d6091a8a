"""What the broker does for each method that a client may send on a channel.

An operation takes the channel and the method, and returns the method's reply or None; what RabbitMQ refuses
it refuses by raising :class:`errors.Refusal`. The order of its checks is RabbitMQ's, because it decides the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from pika import spec
from pika.amqp_object import Method
from pika.broker import arguments, errors
from pika.broker.channel import ServerChannel, Transaction
from pika.broker.publishing import REPLY_TO
from pika.broker.queues import Queue
from pika.broker.routing import Destination, Exchange
from pika.broker.vhost import check_exchange_type, check_reserved, generated_name

Reply = Optional[Method]
Operation = Callable[[ServerChannel, Any], Reply]

_LINE_BREAKS = {ord("\r"): None, ord("\n"): None}


def _not_implemented(text: str) -> errors.ConnectionRefusal:
    return errors.ConnectionRefusal(spec.NOT_IMPLEMENTED, text)


def _name(channel: ServerChannel, name: str) -> str:
    """The queue that a method means: the one declared last when it names none."""
    if name:
        return name
    if channel.last_queue is None:
        raise errors.Refusal(spec.NOT_FOUND, "no previously declared queue")
    return channel.last_queue


def _queue(channel: ServerChannel, name: str) -> Queue:
    """The queue of that name, for a method that reads from it."""
    name = _name(channel, name)
    channel.permissions.read("queue", name)
    return channel.vhost.queue(name, channel.connection)


def _check_not_default(name: str) -> None:
    if not name:
        raise errors.access_refused("operation not permitted on the default exchange")


# Channels ------------------------------------------------------------------------------------------------------


def channel_flow(channel: ServerChannel, method: spec.Channel.Flow) -> Reply:
    if not method.active:
        raise _not_implemented("active=false")
    return spec.Channel.FlowOk(True)


def access_request(channel: ServerChannel, method: spec.Access.Request) -> Reply:
    return spec.Access.RequestOk(1)


# Exchanges -----------------------------------------------------------------------------------------------------


def exchange_declare(channel: ServerChannel, method: spec.Exchange.Declare) -> Reply:
    name = method.exchange.translate(_LINE_BREAKS)
    if not method.passive:
        check_exchange_type(method.type)
    _check_not_default(name)
    if method.passive:
        channel.vhost.exchange(name)
        return spec.Exchange.DeclareOk()
    permissions = channel.permissions
    permissions.configure("exchange", name)
    table = method.arguments or {}
    alternate = table.get(arguments.ALTERNATE)
    if isinstance(alternate, str) and name not in channel.vhost.exchanges:
        permissions.read("exchange", name)
        permissions.write("exchange", alternate)
    channel.vhost.declare_exchange(
        name,
        method.type,
        durable=method.durable,
        auto_delete=method.auto_delete,
        internal=method.internal,
        table=table,
    )
    return spec.Exchange.DeclareOk()


def exchange_delete(channel: ServerChannel, method: spec.Exchange.Delete) -> Reply:
    name = method.exchange.translate(_LINE_BREAKS)
    _check_not_default(name)
    channel.permissions.configure("exchange", name)
    channel.vhost.delete_exchange(name, if_unused=method.if_unused)
    return spec.Exchange.DeleteOk()


def exchange_bind(channel: ServerChannel, method: spec.Exchange.Bind) -> Reply:
    _check_not_default(method.destination)
    _check_binding(channel, "exchange", method.destination, method.source)
    source = channel.vhost.exchange(method.source)
    destination = channel.vhost.exchange(method.destination)
    channel.vhost.bind(source, destination, method.routing_key, method.arguments or {})
    return spec.Exchange.BindOk()


def exchange_unbind(channel: ServerChannel, method: spec.Exchange.Unbind) -> Reply:
    _check_not_default(method.destination)
    _check_binding(channel, "exchange", method.destination, method.source)
    destination = channel.vhost.exchanges.get(method.destination)
    _unbind(channel, method.source, destination, method.routing_key, method.arguments)
    return spec.Exchange.UnbindOk()


def _check_binding(channel: ServerChannel, kind: str, destination: str, source: str) -> None:
    channel.permissions.write(kind, destination)
    _check_not_default(source)
    channel.permissions.read("exchange", source)


def _unbind(
    channel: ServerChannel,
    source_name: str,
    destination: Destination | None,
    routing_key: str,
    table: dict[str, Any] | None,
) -> None:
    source = channel.vhost.exchanges.get(source_name)
    if source is None or destination is None:
        return
    table = table or {}
    if isinstance(destination, Exchange):
        channel.vhost.unbind(source, destination, routing_key, table)
    elif channel.vhost.is_bound(source, destination, routing_key, table):
        channel.vhost.queue(destination.name, channel.connection)
        channel.vhost.unbind(source, destination, routing_key, table)


# Queues --------------------------------------------------------------------------------------------------------


def queue_declare(channel: ServerChannel, method: spec.Queue.Declare) -> Reply:
    name = method.queue.translate(_LINE_BREAKS)
    if name == REPLY_TO or name in channel.vhost.reply_channels:
        return spec.Queue.DeclareOk(name, 0, 1)
    if name.startswith(REPLY_TO):
        raise errors.not_found("queue", name, channel.vhost.name)
    queue = channel.vhost.queue(name, channel.connection) if method.passive else _declare(channel, method, name)
    channel.last_queue = queue.name
    return spec.Queue.DeclareOk(queue.name, len(queue), len(queue.consumers))


def _declare(channel: ServerChannel, method: spec.Queue.Declare, name: str) -> Queue:
    if name:
        check_reserved("queue", name)
    else:
        name = generated_name("amq.gen-")
    permissions = channel.permissions
    permissions.configure("queue", name)
    table = method.arguments or {}
    dead_letters = table.get("x-dead-letter-exchange")
    if isinstance(dead_letters, str) and name not in channel.vhost.queues:
        permissions.read("queue", name)
        permissions.write("exchange", dead_letters)
    return channel.vhost.declare_queue(
        name,
        channel.connection,
        durable=method.durable,
        exclusive=method.exclusive,
        auto_delete=method.auto_delete,
        table=table,
    )


def queue_delete(channel: ServerChannel, method: spec.Queue.Delete) -> Reply:
    name = _name(channel, method.queue).translate(_LINE_BREAKS)
    channel.permissions.configure("queue", name)
    if name not in channel.vhost.queues:
        return spec.Queue.DeleteOk(0)
    queue = channel.vhost.queue(name, channel.connection)
    where = errors.resource("queue", name, channel.vhost.name)
    if method.if_empty and len(queue):
        raise errors.precondition(f"{where} not empty")
    if method.if_unused and queue.consumers:
        raise errors.precondition(f"{where} in use")
    count = len(queue)
    channel.vhost.delete_queue(queue)
    return spec.Queue.DeleteOk(count)


def queue_purge(channel: ServerChannel, method: spec.Queue.Purge) -> Reply:
    return spec.Queue.PurgeOk(_queue(channel, method.queue).purge())


def queue_bind(channel: ServerChannel, method: spec.Queue.Bind) -> Reply:
    name = _name(channel, method.queue)
    _check_binding(channel, "queue", name, method.exchange)
    source = channel.vhost.exchange(method.exchange)
    queue = channel.vhost.queue(name, channel.connection)
    channel.vhost.bind(source, queue, _key(method, name), method.arguments or {})
    return spec.Queue.BindOk()


def queue_unbind(channel: ServerChannel, method: spec.Queue.Unbind) -> Reply:
    name = _name(channel, method.queue)
    _check_binding(channel, "queue", name, method.exchange)
    _unbind(channel, method.exchange, channel.vhost.queues.get(name), _key(method, name), method.arguments)
    return spec.Queue.UnbindOk()


def _key(method: spec.Queue.Bind | spec.Queue.Unbind, name: str) -> str:
    """The routing key of a binding; a method that names neither queue nor key means the queue's name."""
    return method.routing_key if method.queue or method.routing_key else name


# Messages ------------------------------------------------------------------------------------------------------


def basic_qos(channel: ServerChannel, method: spec.Basic.Qos) -> Reply:
    if method.prefetch_size:
        raise _not_implemented(f"prefetch_size!=0 ({method.prefetch_size})")
    # Before the deliveries that it makes room for.
    channel.send(spec.Basic.QosOk())
    if method.global_qos:
        channel.limit_prefetch(method.prefetch_count)
    else:
        # RabbitMQ's meaning: a limit for each consumer to come; and what limited them together is off.
        channel.prefetch = method.prefetch_count
        channel.limit_prefetch(0)
    return None


def basic_consume(channel: ServerChannel, method: spec.Basic.Consume) -> Reply:
    if method.queue == REPLY_TO:
        return spec.Basic.ConsumeOk(channel.consume_replies(method.consumer_tag, method.no_ack))
    if method.consumer_tag in channel.consumers:
        raise errors.ConnectionRefusal(spec.NOT_ALLOWED, f"attempt to reuse consumer tag '{method.consumer_tag}'")
    queue = _queue(channel, method.queue)
    consumer = channel.consume(method, queue)
    if not method.nowait:
        # Before the first delivery.
        channel.send(spec.Basic.ConsumeOk(consumer.tag))
    queue.dispatch()
    return None


def basic_cancel(channel: ServerChannel, method: spec.Basic.Cancel) -> Reply:
    channel.cancel(method.consumer_tag)
    return spec.Basic.CancelOk(method.consumer_tag)


def basic_get(channel: ServerChannel, method: spec.Basic.Get) -> Reply:
    return None if channel.get(_queue(channel, method.queue), method.no_ack) else spec.Basic.GetEmpty()


def basic_ack(channel: ServerChannel, method: spec.Basic.Ack) -> Reply:
    channel.settle(method.delivery_tag, method.multiple, False)
    return None


def basic_nack(channel: ServerChannel, method: spec.Basic.Nack) -> Reply:
    channel.settle(method.delivery_tag, method.multiple, method.requeue)
    return None


def basic_reject(channel: ServerChannel, method: spec.Basic.Reject) -> Reply:
    channel.settle(method.delivery_tag, False, method.requeue)
    return None


def basic_recover(channel: ServerChannel, method: spec.Basic.Recover) -> Reply:
    if not method.requeue:
        raise _not_implemented("requeue=false")
    channel.send(spec.Basic.RecoverOk())
    channel.recover()
    return None


def basic_recover_async(channel: ServerChannel, method: spec.Basic.RecoverAsync) -> Reply:
    if not method.requeue:
        raise _not_implemented("requeue=false")
    channel.recover()
    return None


# Confirms and transactions -------------------------------------------------------------------------------------


def confirm_select(channel: ServerChannel, method: spec.Confirm.Select) -> Reply:
    if channel.transaction is not None:
        raise errors.precondition("cannot switch from tx to confirm mode")
    channel.confirming = True
    return spec.Confirm.SelectOk()


def tx_select(channel: ServerChannel, method: spec.Tx.Select) -> Reply:
    if channel.confirming:
        raise errors.precondition("cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction()
    return spec.Tx.SelectOk()


def tx_commit(channel: ServerChannel, method: spec.Tx.Commit) -> Reply:
    channel.commit()
    return spec.Tx.CommitOk()


def tx_rollback(channel: ServerChannel, method: spec.Tx.Rollback) -> Reply:
    channel.rollback()
    return spec.Tx.RollbackOk()


#: The operations by the index of their method. What is not here no client may send on an open channel.
OPERATIONS: dict[int, Operation] = {
    spec.Channel.Flow.INDEX: channel_flow,
    spec.Access.Request.INDEX: access_request,
    spec.Exchange.Declare.INDEX: exchange_declare,
    spec.Exchange.Delete.INDEX: exchange_delete,
    spec.Exchange.Bind.INDEX: exchange_bind,
    spec.Exchange.Unbind.INDEX: exchange_unbind,
    spec.Queue.Declare.INDEX: queue_declare,
    spec.Queue.Delete.INDEX: queue_delete,
    spec.Queue.Purge.INDEX: queue_purge,
    spec.Queue.Bind.INDEX: queue_bind,
    spec.Queue.Unbind.INDEX: queue_unbind,
    spec.Basic.Qos.INDEX: basic_qos,
    spec.Basic.Consume.INDEX: basic_consume,
    spec.Basic.Cancel.INDEX: basic_cancel,
    spec.Basic.Get.INDEX: basic_get,
    spec.Basic.Ack.INDEX: basic_ack,
    spec.Basic.Nack.INDEX: basic_nack,
    spec.Basic.Reject.INDEX: basic_reject,
    spec.Basic.Recover.INDEX: basic_recover,
    spec.Basic.RecoverAsync.INDEX: basic_recover_async,
    spec.Confirm.Select.INDEX: confirm_select,
    spec.Tx.Select.INDEX: tx_select,
    spec.Tx.Commit.INDEX: tx_commit,
    spec.Tx.Rollback.INDEX: tx_rollback,
}
