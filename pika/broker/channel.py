"""The broker's side of a channel: publishing, delivering, settling, transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from pika import amqp_object, data, spec
from pika.broker import arguments, errors, publishing
from pika.broker.publishing import REPLY_TO, Publication, Target
from pika.broker.queues import Consumer, Entry, Message, Queue
from pika.broker.vhost import generated_name

if TYPE_CHECKING:
    from pika.broker.connection import ServerConnection

#: A delivery that is not settled: the queue it is from, its place there, and the consumer that it went to, if any.
Unsettled = tuple[Queue, Entry, Optional[Consumer]]
_Settled = list[tuple[int, Unsettled]]


class Transaction:
    """What a transaction has gathered since its last commit or rollback."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        #: Deliveries that were settled, and whether their messages go back to their queues.
        self.settled: list[tuple[_Settled, bool]] = []


class ServerChannel:
    """One channel of a connection, as the broker sees it.

    :param connection: its connection
    :param number: its number
    """

    def __init__(self, connection: ServerConnection, number: int) -> None:
        self.connection = connection
        self.number = number
        assert connection.vhost is not None
        self.vhost = connection.vhost
        self.permissions = connection.permissions
        #: Whether the broker closed it and waits for the client's close-ok.
        self.closing = False
        self.answered_close = False
        #: The queue that was declared last; what an empty name stands for.
        self.last_queue: str | None = None
        self.consumers: dict[str, Consumer] = {}
        #: For new consumers.
        self.prefetch = 0
        #: For all deliveries to consumers of this channel together, 0 for any number.
        self.prefetch_limit = 0
        self.in_flight = 0
        # How many of these are no deliveries to consumers: gets that were unsettled when the limit came.
        self._counted_gets = 0
        self.confirming = False
        self.transaction: Transaction | None = None
        self._unsettled: dict[int, Unsettled] = {}
        self._delivery_tag = 0
        self._published = 0
        self._unconfirmed = 0
        self._reply_consumer: tuple[str, bytes, str] | None = None

    def send(self, method: amqp_object.Method) -> None:
        """Send a method, behind the confirms that are due."""
        if self._unconfirmed:
            self.flush_confirms()
        self.connection.send(self.number, method)

    # Publishing ------------------------------------------------------------------------------------------------

    def publish(self, target: Target, header: bytes, body: bytes) -> None:
        """Take a message.

        :param target: where it goes
        :param header: the payload of its content header
        :param body: its body
        :raises errors.Refusal: when RabbitMQ would refuse it
        """
        if target.version != self.vhost.version:
            self._find(target)
        queues = target.queues
        keys: tuple[str, ...] = (target.routing_key,)
        if not publishing.is_plain(header[12:]):
            reply_to = self._reply_consumer[2] if self._reply_consumer else None
            examined = publishing.examine(header, self.permissions.name, reply_to)
            header = examined.header
            keys += tuple(examined.copies)
            if queues is None or examined.copies:
                assert target.found is not None
                queues, _ = self.vhost.route(target.found, keys, examined.headers)
        elif queues is None:
            assert target.found is not None
            queues, _ = self.vhost.route(target.found, (target.routing_key,), {})
        message = Message(target.route, header, body)
        if not target.exchange:
            for key in dict.fromkeys(keys):
                if key.startswith(REPLY_TO):
                    self._reply(key, message)
        if self.transaction is not None:
            self.transaction.publications.append(Publication(target, message, queues))
            return
        for queue in queues:
            queue.put(message)
        if not queues and target.mandatory:
            self._return(message)
        if self.confirming:
            self._published += 1
            self._unconfirmed += 1
            if self._unconfirmed == 1:
                self.connection.has_confirms(self)

    def _find(self, target: Target) -> None:
        """Find out where publishes go, and whether they may."""
        if target.immediate:
            raise errors.ConnectionRefusal(spec.NOT_IMPLEMENTED, "immediate=true")
        self.permissions.write("exchange", target.exchange)
        target.found = self.vhost.exchange(target.exchange)
        if target.found.internal:
            where = errors.resource("exchange", target.exchange, self.vhost.name)
            raise errors.access_refused(f"cannot publish to internal {where}")
        queues, uses_headers = self.vhost.route(target.found, (target.routing_key,), {})
        target.queues = None if uses_headers else queues
        target.version = self.vhost.version

    def _return(self, message: Message) -> None:
        if self._unconfirmed:
            self.flush_confirms()
        self.connection.output.returned(self.number, message, self.connection.frame_max)
        self.connection.wrote()

    def flush_confirms(self) -> None:
        """Acknowledge what was published and not yet confirmed; in memory, everything is safe at once."""
        count, self._unconfirmed = self._unconfirmed, 0
        if count:
            self.connection.send(self.number, spec.Basic.Ack(self._published, count > 1))

    # Direct replies --------------------------------------------------------------------------------------------

    def consume_replies(self, tag: str, no_ack: bool) -> str:
        """Take direct replies on this channel from now on, and return the consumer tag.

        :raises errors.Refusal: 406 when it does already, or wants to acknowledge them
        """
        if self._reply_consumer is not None:
            raise errors.precondition("reply consumer already set")
        if not no_ack:
            raise errors.precondition("reply consumer cannot acknowledge")
        tag = tag or generated_name("amq.ctag-")
        name = f"{generated_name(REPLY_TO + '.')}.{generated_name('')}"
        self._reply_consumer = (tag, data.short_string(tag), name)
        self.vhost.reply_channels[name] = self
        return tag

    def _reply(self, name: str, message: Message) -> None:
        channel = self.vhost.reply_channels.get(name)
        if channel is not None and channel._reply_consumer is not None:
            channel._delivery_tag += 1
            connection = channel.connection
            tag = channel._reply_consumer[1]
            connection.output.deliver(channel.number, tag, channel._delivery_tag, False, message, connection.frame_max)
            connection.wrote()

    # Consuming -------------------------------------------------------------------------------------------------

    def consume(self, method: spec.Basic.Consume, queue: Queue) -> Consumer:
        """Add a consumer to a queue. It gets nothing before :meth:`Queue.dispatch`.

        :raises errors.Refusal: 403 when the queue is in exclusive use, or is to be and has consumers; 406
        """
        table = method.arguments or {}
        arguments.check_consumer(table, queue.name, self.vhost.name)
        others = queue.consumers
        if others and (method.exclusive or any(other.exclusive for other in others)):
            where = errors.resource("queue", queue.name, self.vhost.name)
            raise errors.access_refused(f"{where} in exclusive use")
        tag = method.consumer_tag or generated_name("amq.ctag-")
        consumer = Consumer(
            self,
            queue,
            tag,
            data.short_string(tag),
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            priority=table.get("x-priority", 0),
            prefetch=self.prefetch,
        )
        self.consumers[tag] = consumer
        queue.add_consumer(consumer)
        return consumer

    def cancel(self, tag: str) -> None:
        """End a consumer; one that does not exist is fine. What it was sent stays unsettled."""
        consumer = self.consumers.pop(tag, None)
        if consumer is not None:
            consumer.queue.remove_consumer(consumer)
            consumer.queue.dispatch()
            self.vhost.consumer_left(consumer.queue)
        elif self._reply_consumer is not None and self._reply_consumer[0] == tag:
            del self.vhost.reply_channels[self._reply_consumer[2]]
            self._reply_consumer = None

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """Forget a consumer whose queue was deleted, and tell the client if it wants to know."""
        if self.consumers.pop(consumer.tag, None) is not None and self.connection.notifies_cancel:
            method = spec.Basic.Cancel(consumer.tag, True)
            self.connection.node.deferred.append((self.connection, self.number, method))

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send a message to a consumer of this channel."""
        self._delivery_tag = tag = self._delivery_tag + 1
        if not consumer.no_ack:
            self._unsettled[tag] = (consumer.queue, entry, consumer)
            consumer.in_flight += 1
            self.in_flight += 1
        connection = self.connection
        connection.output.deliver(self.number, consumer.encoded_tag, tag, entry[2], entry[1], connection.frame_max)
        connection.wrote()

    def get(self, queue: Queue, no_ack: bool) -> bool:
        """Send the message at the front of a queue as a get-ok, and return whether there was one."""
        entry = queue.take()
        if entry is None:
            return False
        if self._unconfirmed:
            self.flush_confirms()
        self._delivery_tag = tag = self._delivery_tag + 1
        if not no_ack:
            self._unsettled[tag] = (queue, entry, None)
        connection = self.connection
        connection.output.get_ok(self.number, tag, entry[2], entry[1], len(queue), connection.frame_max)
        connection.wrote()
        return True

    def limit_prefetch(self, limit: int) -> None:
        """Limit the deliveries of all consumers of this channel together; 0 takes the limit away.

        What was got before there was a limit counts, and goes on counting when it is settled, until the limit is
        taken away: so it is in RabbitMQ.
        """
        if not limit:
            self.in_flight -= self._counted_gets
            self._counted_gets = 0
        elif not self.prefetch_limit:
            self._counted_gets = sum(consumer is None for _, _, consumer in self._unsettled.values())
            self.in_flight += self._counted_gets
        self.prefetch_limit = limit
        self.wake()

    def wake(self) -> None:
        """Let the queues look again whether consumers of this channel can take something."""
        for consumer in list(self.consumers.values()):
            consumer.queue.dispatch()

    # Settling --------------------------------------------------------------------------------------------------

    def settle(self, tag: int, multiple: bool, requeue: bool) -> None:
        """Settle deliveries: with an ack or a rejection their messages are gone, with a requeue they go back.

        :param tag: the delivery tag, 0 with `multiple` for all there are
        :param multiple: settle all up to this tag
        :param requeue: put the messages back where they were
        :raises errors.Refusal: 406 when the tag is none that is unsettled
        """
        unsettled = self._unsettled
        if multiple and not tag:
            settled = list(unsettled.items())
            unsettled.clear()
        elif tag not in unsettled:
            raise errors.precondition(f"unknown delivery tag {tag}")
        elif multiple:
            settled = [(older, unsettled[older]) for older in unsettled if older <= tag]
            for older, _ in settled:
                del unsettled[older]
        else:
            settled = [(tag, unsettled.pop(tag))]
        if self.transaction is not None:
            self.transaction.settled.append((settled, requeue))
        else:
            self._apply(settled, requeue)

    def _apply(self, settled: _Settled, requeue: bool) -> None:
        queues: dict[Queue, None] = {}
        for _, (queue, entry, consumer) in settled:
            if consumer is not None:
                consumer.in_flight -= 1
                self.in_flight -= 1
            if requeue:
                queue.give_back(entry)
            queues[queue] = None
        for queue in queues:
            queue.dispatch()
        if self.prefetch_limit and settled:
            self.wake()

    def recover(self) -> None:
        """Put everything that is unsettled back into its queue (basic.recover)."""
        settled = list(self._unsettled.items())
        self._unsettled.clear()
        self._apply(settled, True)

    # Transactions ----------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Do what the transaction gathered: publish, then settle."""
        transaction = self._in_transaction()
        self.transaction = Transaction()
        for target, message, queues in transaction.publications:
            left = [queue for queue in queues if not queue.deleted]
            for queue in left:
                queue.put(message)
            if not left and target.mandatory:
                self._return(message)
        for settled, requeue in transaction.settled:
            self._apply(settled, requeue)

    def rollback(self) -> None:
        """Forget what the transaction gathered; what it settled is unsettled again."""
        transaction = self._in_transaction()
        self.transaction = Transaction()
        self._restore(transaction)

    def _in_transaction(self) -> Transaction:
        if self.transaction is None:
            raise errors.precondition("channel is not transactional")
        return self.transaction

    def _restore(self, transaction: Transaction) -> None:
        for settled, _ in transaction.settled:
            self._unsettled.update(settled)
        self._unsettled = dict(sorted(self._unsettled.items()))

    # The end ---------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End what the channel does: consumers stop, what is unsettled goes back to its queues."""
        if self._unconfirmed:
            self.flush_confirms()
        if self.transaction is not None:
            self._restore(self.transaction)
            self.transaction = None
        if self._reply_consumer is not None:
            self.cancel(self._reply_consumer[0])
        # Consumers first, so that nothing that goes back is sent here again; what goes back next, so that it keeps
        # its place before what others get.
        consumed = {consumer.queue: None for consumer in self.consumers.values()}
        for consumer in self.consumers.values():
            consumer.queue.remove_consumer(consumer)
        self.consumers.clear()
        queues = dict(consumed)
        for queue, entry, _ in self._unsettled.values():
            queue.give_back(entry)
            queues[queue] = None
        self._unsettled.clear()
        for queue in queues:
            queue.dispatch()
        for queue in consumed:
            self.vhost.consumer_left(queue)
