"""What a client keeps of a connection: its channels, and where each event goes. Nothing here waits."""

from __future__ import annotations

import abc
import copy
import logging
import uuid
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pika import exceptions, protocol, spec
from pika.client.inbox import Consumer, Inbox
from pika.client.reports import tell_of_end
from pika.protocol import Event

LOGGER = logging.getLogger(__name__)

Callbacks = list[Callable[..., object]]

#: Seconds that a call waits for the broker's answer unless said otherwise.
REPLY_TIMEOUT = 600.0
#: Seconds that closing a connection may take unless said otherwise; then it is dropped.
CLOSE_TIMEOUT = 10.0
#: Seconds that leaving a loop over messages may take.
LEAVE_TIMEOUT = 10.0


def again(error: BaseException) -> BaseException:
    """Return an exception to raise that others raise too: a copy, so that each has its own traceback."""
    try:
        own = copy.copy(error)
    except Exception:  # an exception of somebody else's that cannot be copied
        return error
    if type(own) is not type(error):
        return error
    own.__cause__ = error.__cause__
    return own


class Ending:
    """Why something is closed, of which the first call tells that finds it so.

    :ivar error: why, once it is
    :ivar told: whether a call has raised that
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.told = False

    @property
    def ended_by_program(self) -> bool:
        """Whether it is closed because the program closed it, or its connection."""
        return isinstance(self.error, exceptions.ConnectionClosedByClient)

    def take_as_told(self) -> None:
        """Take note that a call has raised what has ended it, if anything has."""
        self.told = self.told or self.error is not None

    def tell(self) -> None:
        """Raise what has ended it, in place of what is being handled, unless a call has before or the program knows."""
        if self.error is None or self.told or self.ended_by_program:
            return
        self.told = True
        error = again(self.error)
        raise error from error.__cause__


class ChannelBook(Ending):
    """What a client keeps of a channel.

    :ivar rules: the channel of the protocol
    :ivar consumers: by tag; one that was cancelled stays until the broker has said so
    :ivar inboxes: where its deliveries wait
    :ivar on_close: called with the reason when it is closed
    :ivar on_return: called with the method, properties and body of what comes back
    :ivar on_cancel: called with the method when the broker cancels a consumer
    :ivar on_fewer: called when it has lost a consumer
    :ivar for_consumers: who waits until it has none
    :ivar owner: the client's channel, once there is one

    :param rules: see above
    """

    def __init__(self, rules: protocol.Channel) -> None:
        super().__init__()
        self.rules = rules
        self.consumers: dict[str, Consumer] = {}
        # Those that the broker has ended, as long as something of them waits to be handed out.
        self.ended: weakref.WeakSet[Consumer] = weakref.WeakSet()
        self.inboxes: dict[Inbox, None] = {}
        self.on_close: Callbacks = []
        self.on_return: Callbacks = []
        self.on_cancel: Callbacks = []
        self.on_fewer: Callable[[], object] = _nothing
        self.for_consumers: list[Any] = []
        self.owner: object = None

    def every_consumer(self) -> list[Consumer]:
        """Return whose messages may be handed out: its consumers, and those that the broker has ended."""
        # Copies: garbage collection may end a loop of the channel's in between.
        return [*list(self.consumers.values()), *self.ended]

    def ending(self) -> Callable[[], bool]:
        """Return what says whether the broker still has to answer the cancel of a consumer that is under way now.

        Until then what needs no acknowledgement may come.
        """
        consumers = self.consumers
        stopped = [consumer for consumer in list(consumers.values()) if consumer.stopped]

        def is_ending() -> bool:
            is_open = self.rules.state is protocol.ChannelState.OPEN
            return is_open and any(consumers.get(consumer.tag) is consumer for consumer in stopped)

        return is_ending

    def new_tag(self) -> str:
        """Return a tag that no consumer has."""
        return f"ctag{self.rules.number}.{uuid.uuid4().hex}"

    @property
    def ended_by_program(self) -> bool:
        if isinstance(self.error, exceptions.ChannelClosedByClient):
            # Over a message that is too large the library closes the channel by itself.
            return self.error.reply_code != spec.CONTENT_TOO_LARGE
        return super().ended_by_program

    def end(self, error: BaseException) -> None:
        """Take note that the channel is closed, and why."""
        self.error = error
        for consumer in self.every_consumer():
            consumer.stopped = True
        # A copy, as there.
        for inbox in list(self.inboxes):
            inbox.end(None if self.ended_by_program else error)


def _nothing() -> None:
    """Do nothing."""


class Caller(Protocol):
    """What calls users' callbacks, one by one."""

    def call(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Have a callback called, behind those before it."""


class Session(Ending, abc.ABC):
    """A connection of the protocol with a client's channels.

    :ivar rules: the connection of the protocol
    :ivar peer: how the texts of errors name the broker
    :ivar channels: what is kept of its channels, by number
    :ivar on_blocked: called with the method when the broker stops reading what is published
    :ivar on_unblocked: called with the method when it goes on
    :ivar on_close: called with the reason when the connection is closed
    :ivar callbacks: what calls users' callbacks, one by one, where they may do anything
    :ivar full: inboxes that hold as much as they may: as long as there is one, nothing is read unless somebody waits

    :param rules: see above; open, or before its handshake
    """

    callbacks: Caller

    def __init__(self, rules: protocol.Connection) -> None:
        super().__init__()
        self.rules = rules
        self.peer = rules.settings.peer
        self.channels: dict[int, ChannelBook] = {}
        self.on_blocked: Callbacks = []
        self.on_unblocked: Callbacks = []
        self.on_close: Callbacks = []
        self.full: dict[Inbox, None] = {}
        # Whether a call waited for the broker when it was last looked at what has arrived.
        self._attended = False

    @property
    @abc.abstractmethod
    def is_attended(self) -> bool:
        """Whether a call waits for the broker."""

    @abc.abstractmethod
    def relieve(self, inbox: Inbox) -> None:
        """Go on reading if an inbox has been worked off far enough.

        :param inbox: the inbox, from which something was taken, or which is over
        """

    @abc.abstractmethod
    def on_alarm(self, blocked: bool) -> None:
        """Take note that the broker has stopped reading what is published, or goes on."""

    def call_back(self, callbacks: Callbacks, *arguments: Any) -> None:
        """Have a user's callbacks called soon, where they may do anything.

        :param callbacks: the callbacks
        :param arguments: what they are called with
        """
        for callback in tuple(callbacks):
            self.callbacks.call(callback, *arguments)

    def wake(self, inbox: Inbox) -> None:
        """Wake who waits for deliveries of an inbox, or for its end.

        :param inbox: the inbox
        """
        inbox.wake()
        if self.full:
            self.relieve(inbox)

    def timed_out(self, what: str, timeout: float) -> exceptions.AMQPTimeoutError:
        """Return what to raise when something took too long.

        :param what: what was waited for
        :param timeout: for how many seconds
        """
        error = exceptions.AMQPTimeoutError(f"{what} was not over within {timeout:g} seconds")
        blocked = self.rules.blocked
        error.context = self.peer if blocked is None else f"{self.peer}; the broker has blocked it: {blocked}"
        return error

    def take_events(self) -> bool:
        """Take the events of what has arrived, and do what each asks for; then wake who has got deliveries.

        :returns: whether somebody has
        """
        # Before: what ends lets go of those who wait.
        self._attended = self.is_attended
        next_event, channels = self.rules.next_event, self.channels
        filled: dict[Inbox, None] = {}
        while True:
            event = next_event()
            if event is None:
                break
            if type(event) is protocol.Delivery:
                consumer = channels[event.channel.number].consumers.get(event.method.consumer_tag)
                if consumer is not None:
                    inbox = consumer.inbox
                    inbox.put(consumer, event)
                    filled[inbox] = None
                elif event.channel.consumers.get(event.method.consumer_tag) is False:
                    # Nobody waits for the answer to basic.consume any more, and this is ahead of it.
                    self.give_back(event)
            else:
                handler = _HANDLERS.get(type(event))
                if handler is not None:
                    handler(self, event)
        for inbox in filled:
            self.wake(inbox)
            if inbox.holds():
                self.full[inbox] = None
                # Who has emptied or ended it meanwhile, in another thread or a finalizer, did not find it there.
                if inbox.over or not inbox.holds():
                    self.full.pop(inbox, None)
        return bool(filled)

    def dropped(self, reply_code: int, reply_text: str) -> exceptions.ConnectionClosedByClient:
        """Return why the connection is closed: the program has closed it, and the broker has not answered in time.

        :param reply_code: what the program has closed it with
        :param reply_text: see above
        """
        LOGGER.warning("%s did not answer connection.close in time: dropping the connection", self.peer)
        return exceptions.ConnectionClosedByClient(reply_code, reply_text)

    def open_channel(
        self, channel_number: int | None, opened: list[ChannelBook]
    ) -> protocol.Reply[spec.Channel.OpenOk]:
        """Open a channel.

        :param channel_number: its number; None takes the lowest that is free
        :param opened: gets what is kept of it
        :raises pika.exceptions.AMQPError: when there can be no channel of this number
        """
        rules = self.rules.open_channel(channel_number)
        book = self.channels[rules.number] = ChannelBook(rules)
        opened.append(book)
        return rules.open()

    def end_channel(self, book: ChannelBook, error: BaseException) -> None:
        """Take note that a channel is closed, and tell everybody who waits for something of it."""
        if book.error is None:
            book.end(error)
            for inbox in list(book.inboxes):
                self.wake(inbox)
            book.on_fewer()
            self.call_back(book.on_close, error)

    def end(self, error: BaseException) -> None:
        """Take note that the connection is closed, and tell everybody."""
        if self.error is None:
            self.error = error
            for book in self.channels.values():
                self.end_channel(book, error)
            self.channels.clear()
            self.call_back(self.on_close, error)

    def is_unheard(self, book: ChannelBook) -> bool:
        """Say whether nobody would be told of a channel's end: no call, no callback, no loop, and no publisher."""
        if self._attended or book.on_close or book.for_consumers or book.rules.confirms is not None:
            return False
        return all(consumer.handler is not None for consumer in book.consumers.values())

    def begin(
        self,
        book: ChannelBook,
        consumer: Consumer,
        queue: str,
        exclusive: bool,
        arguments: Mapping[str, Any] | None,
    ) -> protocol.Reply[spec.Basic.ConsumeOk]:
        """Have a consumer begin with a queue; see :meth:`pika.protocol.Channel.basic_consume`."""
        reply = book.rules.basic_consume(
            queue, consumer.tag, no_ack=consumer.auto_ack, exclusive=exclusive, arguments=arguments
        )
        # Deliveries can come before the answer.
        book.consumers[consumer.tag] = consumer
        return reply

    def abandon(self, book: ChannelBook, consumer: Consumer) -> bool:
        """Forget a consumer for whose beginning nobody waits any more, and give back what has come.

        :returns: whether it had begun, and may have to be cancelled
        """
        if book.consumers.get(consumer.tag) is not consumer:
            self.dismiss(book, consumer)
            return False
        self.stop(book, consumer)
        self.forget(book, consumer)
        return True

    def cancel(self, book: ChannelBook, tag: str, consumer: Consumer | None) -> protocol.Reply[spec.Basic.CancelOk]:
        """Cancel a consumer, or the broker's of a tag that belongs to none; hand out nothing more of it."""
        reply = book.rules.basic_cancel(tag)
        if consumer is not None:
            self.stop(book, consumer)
        return reply

    def forget(self, book: ChannelBook, consumer: Consumer | None, _reply: object = None) -> None:
        """Take note that the broker has answered the cancel of a consumer."""
        if consumer is not None:
            if book.consumers.get(consumer.tag) is consumer:
                del book.consumers[consumer.tag]
            self.dismiss(book, consumer)
        book.on_fewer()

    def stop(self, book: ChannelBook, consumer: Consumer) -> None:
        """Hand out nothing more of a consumer, and give back what waits for it."""
        consumer.stopped = True
        if consumer.auto_ack:
            return
        for delivery in consumer.inbox.take_out(consumer):
            self.give_back(delivery)
        # Who looked for something while all was out has found nothing.
        self.wake(consumer.inbox)

    def dismiss(self, book: ChannelBook, consumer: Consumer) -> None:
        """Let those go who work for a consumer alone, once they have nothing left to do."""
        if not consumer.shares:
            consumer.inbox.end(None)
            book.inboxes.pop(consumer.inbox, None)
            self.wake(consumer.inbox)

    def give_back(self, delivery: protocol.Delivery) -> None:
        """Give a delivery back to its queue, unless its channel is dead: then the broker does."""
        if delivery.channel.state is protocol.ChannelState.OPEN:
            delivery.channel.basic_reject(delivery.method.delivery_tag, requeue=True)


def _on_closed(session: Session, event: protocol.Closed) -> None:
    if session.channels and not isinstance(event.error, exceptions.ConnectionClosedByClient):
        unheard = not session.on_close and any(map(session.is_unheard, session.channels.values()))
        tell_of_end(LOGGER, "The connection has ended", event.error, unheard)
    session.end(event.error)


def _on_channel_closed(session: Session, event: protocol.ChannelClosed) -> None:
    book = session.channels.pop(event.channel.number, None)
    if book is not None:
        if isinstance(event.error, exceptions.ChannelClosedByBroker):
            tell_of_end(LOGGER, "The broker has closed a channel", event.error, session.is_unheard(book))
        session.end_channel(book, event.error)


def _on_returned(session: Session, event: protocol.Returned) -> None:
    book = session.channels[event.channel.number]
    session.call_back(book.on_return, event.method, event.properties, event.body)


def _on_cancelled(session: Session, event: protocol.ConsumerCancelled) -> None:
    book = session.channels[event.channel.number]
    consumer = book.consumers.pop(event.method.consumer_tag, None)
    if consumer is not None and not consumer.stopped:
        book.ended.add(consumer)
        error = exceptions.ConsumerCancelled(event.method)
        error.context = f"{session.peer}; channel {event.channel.number}"
        unheard = consumer.handler is not None and not book.on_cancel and not book.for_consumers
        tell_of_end(LOGGER, "The broker has ended a consumer", error, unheard)
        # What has arrived is still handed out and can be acknowledged; then there is no more.
        if not consumer.shares:
            consumer.inbox.end(error)
            book.inboxes.pop(consumer.inbox, None)
        session.wake(consumer.inbox)
        book.on_fewer()
    session.call_back(book.on_cancel, event.method)


def _on_blocked(session: Session, event: protocol.ConnectionBlocked) -> None:
    session.on_alarm(True)
    session.call_back(session.on_blocked, event.method)


def _on_unblocked(session: Session, event: protocol.ConnectionUnblocked) -> None:
    session.on_alarm(False)
    session.call_back(session.on_unblocked, event.method)


_HANDLERS: dict[type[Event], Callable[[Session, Any], None]] = {
    protocol.Closed: _on_closed,
    protocol.ChannelClosed: _on_channel_closed,
    protocol.Returned: _on_returned,
    protocol.ConsumerCancelled: _on_cancelled,
    protocol.ConnectionBlocked: _on_blocked,
    protocol.ConnectionUnblocked: _on_unblocked,
}
