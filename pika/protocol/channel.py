"""A channel: its state, the replies it is owed, its consumers, and what its frames mean."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, NamedTuple, Union

from pika import exceptions, frame, spec
from pika.amqp_object import Method
from pika.protocol import events, states
from pika.protocol.confirms import Confirmation, ConfirmTracker, Publish
from pika.protocol.content import ContentAssembler, ContentTooLarge
from pika.protocol.operations import PREPARED, Operations, Pieces
from pika.protocol.replies import Expectations, Reply
from pika.protocol.states import Action, ChannelState

Content = Union[spec.Basic.Deliver, spec.Basic.GetOk, spec.Basic.Return]

#: How many consumers that are gone are remembered, by whichever side they were cancelled.  A delivery may still
#: be on its way when nothing says that the last one is through (nowait), and must not end the connection.
_SILENCED_CONSUMERS = 1024


_OPEN = ChannelState.OPEN
_CLOSED = ChannelState.CLOSED
_new_tuple = tuple.__new__


class _Silenced(NamedTuple):
    """A consumer that is gone: whether it needed no acknowledgements, and whether the broker has said that it is."""

    no_ack: bool
    told: bool


class Waiting(NamedTuple):
    """What waits its turn.

    :ivar pieces: its encoded frames
    :ivar method: the method, when it is a synchronous one
    :ivar reply: what it is answered with, unless it asks for no answer
    :ivar publish: the message, when it is one that confirms may count
    """

    pieces: Pieces
    method: Method | None = None
    reply: Reply[Any] | None = None
    publish: Publish | None = None


class Channel(Operations):
    """A channel of a connection; :meth:`pika.protocol.Connection.open_channel` makes it.

    What is called later never overtakes what waits its turn.

    :param number: the channel's number
    :param output: the connection's outgoing pieces, which the channel appends to
    :param frame_max: the negotiated maximum of octets in a frame
    :param max_message_size: octets that a received body may have
    """

    #: Whether there is a stand-in in the place of the connection, so that nobody answers.
    detached = False

    def __init__(self, number: int, output: list[bytes | memoryview], frame_max: int, max_message_size: int) -> None:
        super().__init__(number, frame_max)
        self.state = ChannelState.CLOSED
        #: Why the channel is closed, once it is.
        self.error: BaseException | None = None
        #: Numbers what is published once confirm.select was sent; None before that.
        self.confirms: ConfirmTracker | None = None
        #: Whether several operations may be unanswered at once, as far as :data:`states.PIPELINED` says.
        self.pipelining = True
        self._output = output
        self._owed = Expectations()
        self._waiting: deque[Waiting] = deque()
        # True while some of that is being sent: signal handlers that come then only add to it.
        self._transmitting = False
        # True while a method is unanswered that nothing at all may follow, and for ever once close was sent.
        self._held = False
        self._close_sent = False
        # The broker's channel.close, once it has come.
        self._closed_with: spec.Channel.Close | None = None
        self._content: ContentAssembler[Content] = ContentAssembler(max_message_size)
        self._silenced: dict[str, _Silenced] = {}

    def __repr__(self) -> str:
        return f"<Channel {self.number} {self.state.name}>"

    @property
    def begun(self) -> tuple[int, bool]:
        """How much was accepted and is not with the client's transport yet, in pieces; and whether it is under way.

        Every operation first refuses what is wrong, then changes this, then keeps its books. So when an exception
        comes out of one, and this has changed, a signal handler raised in between: what the broker will be told does
        not fit the books, and the connection has to end.
        """
        return len(self._output) + len(self._waiting), self._transmitting

    @property
    def unanswered(self) -> int:
        """How many operations await the broker's answer, those that wait their turn included."""
        return len(self._owed) + sum(waiting.reply is not None for waiting in self._waiting)

    # Opening and closing

    def open(self) -> Reply[spec.Channel.OpenOk]:
        """Open the channel (channel.open).

        :raises pika.exceptions.ChannelWrongStateError: when it was opened before, or its connection is
            closing or closed
        """
        if Action.OPEN not in states.CHANNEL[self.state] or self.error is not None:
            self._refuse()
        reply: Reply[spec.Channel.OpenOk] = Reply(spec.Channel.Open(), spec.replies[spec.Channel.Open])
        self._transmit(Waiting((frame.encode_method(self.number, reply.request),), reply.request, reply))
        self._advance(Action.OPEN)
        return reply

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> Reply[spec.Channel.CloseOk]:
        """Close the channel (channel.close), once what is unanswered has been answered.

        :raises pika.exceptions.ChannelWrongStateError: when it is closing or closed already
        """
        if Action.CLOSE not in states.CHANNEL[self.state]:
            self._refuse()
        method = spec.Channel.Close(reply_code, reply_text, 0, 0)
        encoded = frame.encode_method(self.number, method)
        reply: Reply[spec.Channel.CloseOk] = Reply(method, spec.replies[spec.Channel.Close])
        self._waiting.append(Waiting((encoded,), method, reply))
        self._advance(Action.CLOSE)
        self.error = exceptions.ChannelClosedByClient(reply_code, reply_text)
        self._transmit_waiting()
        return reply

    def close_if_open(self, reply_code: int, reply_text: str) -> None:
        """As :meth:`close`, since the connection is about to close; a channel that was never opened is just closed."""
        if Action.CLOSE in states.CHANNEL[self.state]:
            self.close(reply_code, reply_text)
        elif self.error is None:
            self.error = exceptions.ChannelClosedByClient(reply_code, reply_text)

    @property
    def has_waiting(self) -> bool:
        """Whether something was asked for that could not be sent yet."""
        return bool(self._waiting)

    def require_open(self) -> None:
        """Raise unless the channel is open.

        :raises pika.exceptions.ChannelWrongStateError: naming the state, and the reason when it is closed
        """
        if self.state is not ChannelState.OPEN:
            self._refuse()

    def _refuse(self) -> None:
        refusal = exceptions.ChannelWrongStateError(f"Channel is {self.state.name.lower()}.")
        if self.error is not None:
            refusal.context = exceptions.text_in_brackets(self.error)
        raise refusal from self.error

    def end(self, error: BaseException) -> None:
        """Close the channel with a reason, without a word to the broker; everything pending ends with it.

        :param error: the reason
        """
        if self.state is not ChannelState.CLOSED:
            self._advance(Action.LOSE)
        self.error = error
        self._fail_pending(error)

    def end_closed(self) -> events.ChannelClosed:
        """Close the channel with the reason for which it is closing, and return the event that says so."""
        assert self.error is not None
        self.end(self.error)
        return events.ChannelClosed(self, self.error, self._closed_with)

    def _fail_pending(self, error: BaseException) -> None:
        self._content.reset()
        # A signal handler may end the channel while some of that is being sent, which goes on with its own.
        waiting, self._waiting = self._waiting, deque()
        self._held = self._close_sent or self.state is _CLOSED
        for reply in self._owed.take_all() + [item.reply for item in waiting if item.reply is not None]:
            if not reply.done:
                reply.fail(error)
        if self.confirms is not None:
            self.confirms.fail_all(error)
        for item in waiting:
            if item.publish is not None and item.publish.confirmation is not None:
                item.publish.confirmation.fail(error)
        self.consumers.clear()
        self.cancelled.clear()
        self._successors.clear()
        self._silenced.clear()

    def _advance(self, trigger: states.Trigger) -> None:
        following = states.CHANNEL[self.state].get(trigger)
        if following is None:
            name = trigger.value if isinstance(trigger, Action) else trigger.NAME
            raise exceptions.UnexpectedFrameError(f"{name} on channel {self.number}, which is {self.state.name}")
        self.state = following

    # Sending

    def call(self, method: Method, encoded: bytes | None = None) -> Reply[Any]:
        """Send a synchronous method, or queue it until its turn has come.

        :param method: the method
        :param encoded: its frame, if that was made already
        :returns: the reply, not yet done
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        :raises ValueError: when the method's arguments do not fit into a frame
        """
        if encoded is None:
            encoded = self._encode(method)
        elif self.state is not _OPEN:
            self._refuse()
        reply: Reply[Any] = Reply(method, spec.replies[type(method)])
        # What Waiting() does, at half the price.
        self._enqueue(_new_tuple(Waiting, ((encoded,), method, reply, None)))
        return reply

    def call_nowait(self, method: Method) -> None:
        """As :meth:`call`, for a method whose ``nowait`` tells the broker not to answer."""
        self._enqueue(Waiting((self._encode(method),), method))

    def _encode(self, method: Method) -> bytes:
        if self.state is not _OPEN:
            self._refuse()
        encoded = frame.encode_method(self.number, method)
        if len(encoded) > self.frame_max:
            frame.require_fit(f"the arguments of {method.NAME} take", encoded, self.frame_max)
        return encoded

    def _prepare_get(self, queue: str, no_ack: bool) -> tuple[spec.Basic.Get, bytes | None]:
        method = spec.Basic.Get(0, queue, no_ack)
        prepared = method, self._encode(method)
        if len(self._prepared_gets) >= PREPARED:
            self._prepared_gets.clear()
        self._prepared_gets[queue, no_ack] = prepared
        return prepared

    def send(self, *pieces: bytes | memoryview) -> None:
        """Send encoded frames of methods that have no reply, or queue them behind what they must not overtake."""
        # While something is being sent, its books are not kept yet: what comes then waits for them.
        if self._waiting or self._held or self._transmitting:
            self._waiting.append(Waiting(pieces))
        else:
            self._output += pieces

    def send_publish(
        self,
        pieces: Pieces,
        confirmation: Confirmation | None,
        exchange: str,
        routing_key: str,
        body: bytes,
        mandatory: bool,
    ) -> bool:
        if not self._transmitting:
            # What _enqueue() does, without an object for it.
            self._transmitting = True
            direct = not self._waiting and not self._held
            if direct:
                self._output += pieces
                if self.confirms is not None:
                    self.confirms.add(confirmation, exchange, routing_key, body, mandatory)
            self._transmitting = False
            if direct:
                if self._waiting:
                    self._transmit_waiting()
                if self.state is _CLOSED:
                    self._end_what_came_late()
                return True
        if self._close_sent or self.state is _CLOSED:
            return False
        item = Waiting(pieces, publish=Publish(confirmation, exchange, routing_key, body, mandatory))
        self._enqueue(item)
        return self.state is _OPEN or not self._take_back(item)

    def _take_back(self, item: Waiting) -> bool:
        """Take out what waits behind the channel's close, and so would never be sent; say whether it was there."""
        waiting, closed = self._waiting, self._close_sent
        for place, one in enumerate(tuple(waiting)):
            if one is item:
                if closed:
                    del waiting[place]
                return closed
            closed = closed or type(one.method) is spec.Channel.Close
        return False

    def _enqueue(self, item: Waiting) -> None:
        direct = False
        if not self._transmitting:
            # Nothing waits most of the time: then what _transmit_waiting() would do in the end is done at once.
            self._transmitting = True
            direct = not self._waiting and self._may_transmit(item.method)
            if direct:
                self._transmit(item)
            self._transmitting = False
        if not direct:
            self._waiting.append(item)
        if self._waiting:
            self._transmit_waiting()
        if self.state is _CLOSED:
            self._end_what_came_late()

    def _end_what_came_late(self) -> None:
        # A signal handler may have ended the channel since it was found open: nobody is left who would answer.
        if self.state is ChannelState.CLOSED and self.error is not None:
            self._fail_pending(self.error)

    def _silence(self, consumer_tag: str, no_ack: bool, told: bool) -> None:
        # Anew, so that it is the last to be forgotten.
        self._silenced.pop(consumer_tag, None)
        self._silenced[consumer_tag] = _Silenced(bool(no_ack), told)
        if len(self._silenced) > _SILENCED_CONSUMERS:
            del self._silenced[next(iter(self._silenced))]

    def _predecessor(self, consumer_tag: str) -> bool | None:
        silenced = self._silenced.get(consumer_tag)
        return None if silenced is None or silenced.told else silenced.no_ack

    def _transmit_waiting(self) -> None:
        # A signal handler may come before any line. The place in the queue is the place on the wire, and what is being
        # sent stays there until its books are kept, so nothing overtakes it. What a handler adds meanwhile is sent by
        # whom it has interrupted, who therefore looks again after having said that nothing is being sent.
        waiting = self._waiting
        may_transmit = True
        while waiting and may_transmit and not self._transmitting:
            self._transmitting = True
            while waiting and (may_transmit := self._may_transmit(waiting[0].method)):
                self._transmit(waiting[0])
                waiting.popleft()
            self._transmitting = False

    def _may_transmit(self, method: Method | None) -> bool:
        if self._held:
            return False
        if method is None or not self._owed:
            return True
        if not self.pipelining or type(method) not in states.PIPELINED:
            return False
        # All that is owed may be pipelined, or it is one reply that nothing follows: the oldest speaks for all.
        return type(self._owed[0].request) in states.PIPELINED

    def _transmit(self, item: Waiting) -> None:
        self._output += item.pieces
        if item.publish is not None and self.confirms is not None:
            self.confirms.add(*item.publish)
        if item.reply is not None:
            self._owed.append(item.reply)
        if item.method is not None:
            kind = type(item.method)
            if kind is spec.Confirm.Select and self.confirms is None:
                self.confirms = ConfirmTracker()
            self._close_sent = kind is spec.Channel.Close
            self._held = self._close_sent or kind in states.HOLDS_ALL

    # Receiving

    def on_method(self, payload: bytes) -> events.Event | None:
        """Take a method frame's payload.

        :raises pika.exceptions.ProtocolSyntaxError: when it is malformed or out of place
        """
        method = frame.decode_method(payload)
        kind = type(method)
        if kind is not spec.Channel.Close:
            self._require_between_contents(method)
        if kind not in states.CHANNEL[self.state]:
            self._require_opened(method)
        if isinstance(method, (spec.Basic.Deliver, spec.Basic.GetOk, spec.Basic.Return)):
            self._content.begin(method)
            return None
        handler = _HANDLERS.get(kind)
        return self._on_reply(method) if handler is None else handler(self, method)

    def on_delivery(
        self, method: spec.Basic.Deliver, properties: spec.BasicProperties, body: bytes
    ) -> events.Event | None:
        """Take a basic.deliver whose content arrived with it.

        :raises pika.exceptions.ProtocolSyntaxError: when it is out of place
        """
        content = self._content
        if content.method is not None:
            self._require_between_contents(method)
        if len(body) > content.max_message_size:
            return self._refuse_content(ContentTooLarge(method, len(body), content.max_message_size))
        if self.state is _OPEN and method.consumer_tag in self.consumers:
            # What events.Delivery() does, at half the price.
            return _new_tuple(events.Delivery, (self, method, properties, body))
        self._require_opened(method)
        return self._on_content(method, properties, body)

    def on_get_ok(self, method: Content, properties: spec.BasicProperties, body: bytes) -> events.Event | None:
        """Take a basic.get-ok whose content arrived with it.

        :raises pika.exceptions.ProtocolSyntaxError: when it is out of place
        """
        content = self._content
        if content.method is not None:
            self._require_between_contents(method)
        if self.state is not _OPEN:
            self._require_opened(method)
        if len(body) > content.max_message_size:
            return self._refuse_content(ContentTooLarge(method, len(body), content.max_message_size))
        return self._on_reply(method, (properties, body))

    def _require_opened(self, method: Method) -> None:
        if self.state is ChannelState.OPENING:
            raise exceptions.UnexpectedFrameError(f"{method.NAME} on channel {self.number}, which is still opening")

    def _require_between_contents(self, method: Method) -> None:
        if self._content.method is not None:
            raise exceptions.UnexpectedFrameError(
                f"{method.NAME} on channel {self.number}, inside the content of {self._content.method.NAME}"
            )

    def on_header(self, payload: bytes) -> events.Event | None:
        """Take a content header frame's payload.

        :raises pika.exceptions.ProtocolSyntaxError: when it is malformed or out of place
        """
        try:
            complete = self._content.header(payload)
        except ContentTooLarge as error:
            return self._refuse_content(error)
        return None if complete is None else self._on_content(*complete)

    def on_body(self, fragment: bytes | memoryview) -> events.Event | None:
        """Take a body frame's payload, or a part of one.

        :raises pika.exceptions.ProtocolSyntaxError: when no body, or not that much of it, is due
        """
        complete = self._content.body(fragment)
        return None if complete is None else self._on_content(*complete)

    def _on_content(self, method: Content, properties: spec.BasicProperties, body: bytes) -> events.Event | None:
        if isinstance(method, spec.Basic.Deliver):
            if self.state is not ChannelState.OPEN:
                return None
            if method.consumer_tag in self.consumers or self._claim(method):
                return events.Delivery(self, method, properties, body)
            return None
        if isinstance(method, spec.Basic.Return):
            if self.confirms is not None:
                self.confirms.on_return(method, properties, body)
            return events.Returned(self, method, properties, body)
        return self._on_reply(method, (properties, body))

    def _claim(self, method: spec.Basic.Deliver) -> bool:
        """Say whether a delivery for none of the consumers is still to come out; if it is not, give it back."""
        tag = method.consumer_tag
        no_ack = self.cancelled.get(tag)
        if no_ack is None and tag in self._successors:
            # Its predecessor's, and that had the same.
            no_ack = self._successors[tag].no_ack
        elif no_ack is None and tag in self._silenced:
            no_ack = self._silenced[tag].no_ack
        if no_ack is None:
            # A consumer that left its tag to the broker learns it here if a delivery overtakes consume-ok.
            for reply in self._owed:
                request = reply.request
                if isinstance(request, spec.Basic.Consume) and not request.consumer_tag:
                    self.consumers[tag] = request.no_ack
                    return True
            raise exceptions.UnexpectedFrameError(
                f"a delivery on channel {self.number} for consumer {tag!r}, which the channel does not have"
            )
        if not no_ack:
            self.basic_reject(method.delivery_tag, requeue=True)
        return no_ack

    def _refuse_content(self, error: ContentTooLarge) -> events.Event | None:
        """Close the channel over a content that is larger than we take (AMQP 0-9-1, reply code 311).

        Its body is still on the way, so frames of the channel are dropped until the broker has answered.
        """
        reason = exceptions.ChannelClosedByClient(spec.CONTENT_TOO_LARGE, f"CONTENT_TOO_LARGE - {error}")
        if self.state is ChannelState.OPEN:
            self._fail_pending(reason)
            self.close(spec.CONTENT_TOO_LARGE, reason.reply_text[:255])
            self.error = reason
            return None
        # It is closing, and that may wait for this answer.
        reply = self._owed.take(error.method)
        if reply is not None:
            self._transmit_waiting()
            reply.fail(reason)
        return None

    def _on_reply(
        self, method: Method, content: tuple[spec.BasicProperties, bytes] | None = None
    ) -> events.Event | None:
        reply = self._owed.take(method)
        if reply is None:
            if self._close_sent:
                # Asked before the close, and ended with its reason (AMQP 0-9-1, channel.close: discard).
                return None
            raise exceptions.UnexpectedFrameError(
                f"{method.NAME} on channel {self.number} answers nothing that was asked there"
            )
        reply.content = content
        self._held = self._close_sent
        settle = _ON_REPLY.get(type(method))
        if settle is not None:
            settle(self, reply.request, method)
        if self._waiting:
            self._transmit_waiting()
        reply.succeed(method)
        if self.state is _CLOSED:
            return self.end_closed()
        return _new_tuple(events.Replied, (self, reply))

    def _on_close(self, method: Method) -> events.Event | None:
        assert isinstance(method, spec.Channel.Close)
        self._advance(spec.Channel.Close)
        self._output.append(frame.encode_method(self.number, spec.Channel.CloseOk()))
        self._closed_with = method
        self.error = exceptions.ChannelClosedByBroker(method.reply_code, method.reply_text)
        closing = self._owed.take(spec.Channel.CloseOk()) if self._close_sent else None
        if closing is None:
            # Our close, if it still waits behind what will not be answered any more, must not be sent: to the broker
            # the number is free now.
            return self.end_closed()
        self._fail_pending(self.error)
        self._owed.append(closing)
        return None

    def on_ack(self, method: spec.Basic.Ack) -> events.Event | None:
        """Take a basic.ack of the broker's: a publisher confirm.

        :raises pika.exceptions.ProtocolSyntaxError: when it is out of place
        """
        if self._content.method is not None:
            self._require_between_contents(method)
        if self.state is not _OPEN:
            self._require_opened(method)
        return self._on_confirm(method)

    def _on_confirm(self, method: Method) -> events.Event | None:
        assert isinstance(method, (spec.Basic.Ack, spec.Basic.Nack))
        if self.confirms is None:
            raise exceptions.UnexpectedFrameError(
                f"{method.NAME} on channel {self.number}, which is not in confirm mode"
            )
        self.confirms.on_confirm(method)
        return events.Confirmed(self, method)

    def _on_cancel(self, method: Method) -> events.Event | None:
        assert isinstance(method, spec.Basic.Cancel)
        if not method.nowait and not self._close_sent:
            self._output.append(frame.encode_method(self.number, spec.Basic.CancelOk(method.consumer_tag)))
        if method.consumer_tag in self._successors:
            # It crosses our cancel of the consumer that had the tag before, as a consumer is answered before it is
            # cancelled. Whoever has given the tag away would take this for the end of the one that has it now.
            return None
        no_ack = self.consumers.pop(method.consumer_tag, None)
        if no_ack is not None:
            self._silence(method.consumer_tag, no_ack, told=True)
        # Otherwise it crosses our cancel. That the broker gave the consumer up is news all the same.
        return events.ConsumerCancelled(self, method)

    def _on_flow(self, method: Method) -> events.Event | None:
        assert isinstance(method, spec.Channel.Flow)
        self._advance(spec.Channel.Flow)
        if self._close_sent:
            # Whatever follows our close is to be discarded (AMQP 0-9-1, channel.close), and nothing may be behind it.
            return None
        self._output.append(frame.encode_method(self.number, spec.Channel.FlowOk(method.active)))
        return events.ChannelFlow(self, method.active)


_HANDLERS: dict[type[Method], Callable[[Channel, Method], events.Event | None]] = {
    spec.Basic.Ack: Channel._on_confirm,
    spec.Basic.Nack: Channel._on_confirm,
    spec.Basic.Cancel: Channel._on_cancel,
    spec.Channel.Flow: Channel._on_flow,
    spec.Channel.Close: Channel._on_close,
}


def _on_open_ok(channel: Channel, request: Method, method: Method) -> None:
    channel._advance(spec.Channel.OpenOk)


def _on_close_ok(channel: Channel, request: Method, method: Method) -> None:
    channel._advance(spec.Channel.CloseOk)


def _on_consume_ok(channel: Channel, request: Method, method: Method) -> None:
    assert isinstance(request, spec.Basic.Consume)
    assert isinstance(method, spec.Basic.ConsumeOk)
    # One that chose its tag was registered when it was asked for, and may have been cancelled since; unless the tag was
    # another one's, whose deliveries came before this.
    successor = channel._successors.get(method.consumer_tag)
    if successor is request:
        del channel._successors[method.consumer_tag]
        channel._silenced.pop(method.consumer_tag, None)
    if successor is request or not request.consumer_tag:
        channel.consumers[method.consumer_tag] = request.no_ack


def _on_cancel_ok(channel: Channel, request: Method, method: Method) -> None:
    assert isinstance(method, spec.Basic.CancelOk)
    no_ack = channel.cancelled.pop(method.consumer_tag, None)
    if no_ack is not None:
        channel._silence(method.consumer_tag, no_ack, told=True)


_ON_REPLY: dict[type[Method], Callable[[Channel, Method, Method], None]] = {
    spec.Channel.OpenOk: _on_open_ok,
    spec.Channel.CloseOk: _on_close_ok,
    spec.Basic.ConsumeOk: _on_consume_ok,
    spec.Basic.CancelOk: _on_cancel_ok,
}
