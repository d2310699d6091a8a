"""A connection: handshake, channel table, closing, blocked, heartbeats; bytes in, events out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Callable

from pika import exceptions, frame, spec
from pika._faults import ChannelNumberOutOfRange
from pika.amqp_object import Method
from pika.protocol import handshake, states
from pika.protocol.channel import Channel
from pika.protocol.events import ChannelClosed, Closed, ConnectionBlocked, ConnectionUnblocked, Event, Opened, Replied
from pika.protocol.handshake import Settings
from pika.protocol.heartbeat import Heartbeat
from pika.protocol.replies import Expectations, Reply
from pika.protocol.states import Action, ConnectionState

#: What dying in each state of the handshake probably means; the classes are pika's.
_DEATHS: dict[ConnectionState, type[exceptions.AMQPConnectionError]] = {
    ConnectionState.PROTOCOL: exceptions.IncompatibleProtocolError,
    ConnectionState.START: exceptions.ProbableAuthenticationError,
    ConnectionState.TUNE: exceptions.ProbableAccessDeniedError,
}

_PHASES: dict[ConnectionState, str] = {
    ConnectionState.INIT: "before the connection",
    ConnectionState.PROTOCOL: "AMQP handshake, waiting for connection.start",
    ConnectionState.START: "AMQP handshake, authentication",
    ConnectionState.TUNE: "AMQP handshake, opening the virtual host",
    ConnectionState.OPEN: "open connection",
    ConnectionState.CLOSING: "closing connection",
}

_REPLY_CODES: dict[type[BaseException], int] = {
    exceptions.UnexpectedFrameError: spec.UNEXPECTED_FRAME,
    exceptions.BodyTooLongError: spec.UNEXPECTED_FRAME,
    exceptions.InvalidFrameError: spec.FRAME_ERROR,
}

# Where a word begins in a method's name: RecoverAsync is recover-async to AMQP.
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")

_CLOSED = ConnectionState.CLOSED
_CHANNEL_OPEN = states.ChannelState.OPEN
# What comes first on a channel that was opened.
_ANSWERS_TO_OPEN = (spec.Channel.OpenOk.INDEX, spec.Channel.Close.INDEX)


def _culprit(close: spec.Channel.Close | None) -> str:
    """Say over which method the broker has closed a channel, if it says so itself."""
    method = None if close is None else spec.methods.get(close.class_id << 16 | close.method_id)
    return "" if method is None else f"; {_WORD.sub('-', method.NAME).lower()}"


class Connection:
    """The client's side of an AMQP 0-9-1 connection, without I/O.

    Bytes go in with :meth:`receive_data` and come out as :meth:`events`; what to send is collected for
    :meth:`data_to_send`.  A frame changes state, or ends a reply, only when its event is taken.

    :param settings: what to open the connection with
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = ConnectionState.INIT
        #: Why the connection is closed, once it is.
        self.error: BaseException | None = None
        #: What the broker said of itself; None before it has (connection.start).
        self.server_properties: dict[str, Any] | None = None
        self.channel_max = settings.channel_max
        self.frame_max = settings.frame_max
        #: The negotiated heartbeat interval in seconds; 0 when there is none.
        self.heartbeat_interval = 0
        #: The reason why the broker has blocked the connection, or None.
        self.blocked: str | None = None
        self.channels: dict[int, Channel] = {}
        # Before tune the broker may send frames this large, whatever we are going to propose.
        self._reader = frame.FrameReader(spec.FRAME_MAX_SIZE)
        #: The pieces to send next, which :meth:`data_to_send` takes; for nobody else to change.
        self.output: list[bytes | memoryview] = []
        self._owed = Expectations()
        self._heartbeat: Heartbeat | None = None
        #: When bytes arrived last, or the handshake began.
        self.received_at = 0.0
        self._lost: BaseException | None = None
        self._closing_error: exceptions.ConnectionClosedByClient | None = None
        # Our connection.close, until it is sent.
        self._close_frame: bytes | None = None
        self._close_answered = False
        self._finished: Closed | None = None
        # No channel number below is free.
        self._lowest_number = 1
        # Numbers of channels that the broker has closed. Deliveries that it had under way may come behind its close.
        self._echoing: set[int] = set()

    def __repr__(self) -> str:
        return f"<Connection to {self.settings.peer} {self.state.name}>"

    @property
    def phase(self) -> str:
        """What the connection is doing, in words for an error's text."""
        return _PHASES.get(self.state, "closed connection")

    # The stream

    def start(self, now: float) -> None:
        """Begin the handshake: the stream is connected.

        :param now: the time in seconds, by any clock that does not jump
        """
        self.received_at = now
        self._advance(Action.CONNECT)
        self.output.append(frame.ProtocolHeader().marshal())

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes that arrived; what they mean comes out of :meth:`events`.

        :param data: the bytes, in any split
        :param now: the time
        """
        self.received_at = now
        if self._heartbeat is not None:
            self._heartbeat.last_received = now
        if self.state is not ConnectionState.CLOSED:
            self._reader.feed(data)

    def stream_lost(self, error: BaseException) -> None:
        """Take note that nothing more will arrive.  Events of what arrived before come first.

        :param error: why
        """
        if self._lost is None:
            self._lost = error

    def abandon(self, error: BaseException) -> None:
        """End the connection here and now: nothing more is sent, and no event says so.

        :param error: the reason
        """
        if self.state is not ConnectionState.CLOSED:
            self._finish(error, Action.LOSE)
        self.output.clear()

    def give_up_blocked(self, timeout: float | None) -> None:
        """Take note that the stream is given up, since the broker has blocked the connection for too long.

        :param timeout: for how many seconds
        """
        error = exceptions.ConnectionBlockedTimeout("Blocked connection timeout expired.")
        error.context = (
            f"blocked for {timeout} seconds: {self.blocked}; see the broker's memory and disk alarms, or allow more by "
            f"blocked_connection_timeout"
        )
        self.stream_lost(error)

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` has anything to return."""
        return bool(self.output)

    def data_to_send(self) -> list[bytes | memoryview]:
        """Return the pieces to send now, in order, and forget them."""
        count = len(self.output)
        # In place, since the channels append to this very list; and no more than was taken, since a signal handler may
        # append in between.
        if count == 1:
            try:
                output = [self.output.pop(0)]
            except IndexError:
                # A signal handler has forked in between, and in this child nothing is sent.
                output = []
        else:
            output = self.output[:count]
            del self.output[:count]
        heartbeat = self._heartbeat
        if heartbeat is not None and not heartbeat.sent and output and output != [frame.HEARTBEAT_FRAME]:
            heartbeat.sent = True
        return output

    def events(self) -> Iterator[Event]:
        """Iterate over the events of what has arrived, frame by frame."""
        while True:
            event = self.next_event()
            if event is None:
                return
            yield event

    def next_event(self) -> Event | None:
        """Take the next event, or None when nothing that arrived is left."""
        if self._finished is not None:
            finished, self._finished = self._finished, None
            return finished
        if self._close_answered and self.state is not ConnectionState.CLOSED:
            return self._on_close_answered()
        while self.state is not _CLOSED:
            try:
                message = self._reader.next_message()
                if message is not None:
                    number, method, properties, body = message
                    channel = self.channels.get(number)
                    if channel is None or channel.state is not _CHANNEL_OPEN:
                        if self._is_echo(number):
                            continue
                        channel = self._addressee(number)
                    if type(method) is spec.Basic.Deliver:
                        event = channel.on_delivery(method, properties, body)
                    elif isinstance(method, spec.Basic.Ack):
                        event = channel.on_ack(method)
                    else:
                        event = channel.on_get_ok(method, properties, body)
                        if self._close_frame is not None:
                            self._transmit_close()
                    if event is not None:
                        return event
                    continue
                received = self._reader.next_piece()
                if received is None:
                    return None if self._lost is None else self._on_lost(self._lost)
                event = self._on_frame(*received)
            except exceptions.AMQPError as error:
                return self._on_violation(error)
            if event is not None:
                return event
        return None

    # Time

    def next_deadline(self) -> float | None:
        """Return when :meth:`tick` is to be called, or None."""
        # Looked at once: another thread, that of the keeper, asks too.
        heartbeat = self._heartbeat
        return None if heartbeat is None else heartbeat.deadline

    def tick(self, now: float) -> None:
        """Send a heartbeat if one is due, and find out whether the broker is dead.

        Read everything that has arrived first: what a busy program left unread is no silence.

        :param now: the time
        """
        heartbeat = self._heartbeat
        if heartbeat is None or now < heartbeat.deadline:
            return
        if heartbeat.silent(now):
            dead = exceptions.AMQPHeartbeatTimeout(
                f"No activity or too many missed heartbeats in the last {heartbeat.interval:g} seconds"
            )
            silence = now - heartbeat.last_received
            dead.context = f"no byte for {silence:.1f} seconds, over twice the heartbeat interval"
            self.stream_lost(dead)
        elif heartbeat.tick(now):
            self.output.append(frame.HEARTBEAT_FRAME)

    # Operations

    def require_open(self) -> None:
        """Raise unless the connection is open.

        :raises pika.exceptions.ConnectionWrongStateError: naming the state, and the reason when it is closed
        """
        if self.state is not ConnectionState.OPEN:
            reason = f": {self.error!r}" if self.error is not None else ""
            raise exceptions.ConnectionWrongStateError(
                f"the connection to {self.settings.peer} is {self.state.name}, not open{reason}"
            )

    def next_channel_number(self) -> int:
        """Return the lowest channel number that is free.

        :raises pika.exceptions.NoFreeChannels: when all of them are in use
        """
        while self._lowest_number in self.channels:
            self._lowest_number += 1
        if self._lowest_number > self.channel_max:
            refusal = exceptions.NoFreeChannels()
            refusal.context = f"{self.settings.peer} allows {self.channel_max}"
            raise refusal
        return self._lowest_number

    def open_channel(self, number: int | None = None) -> Channel:
        """Make a channel; :meth:`Channel.open` opens it.

        :param number: the channel's number from 1; None takes the lowest that is free
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        :raises pika.exceptions.NoFreeChannels: when all of them are in use
        :raises pika.exceptions.InvalidChannelNumber: when the number is in use, or not between 1 and 65535. One above
            the negotiated channel_max is the broker's to judge: to RabbitMQ that is a number of channels
        """
        self.require_open()
        if not number:
            number = self.next_channel_number()
        elif number in self.channels:
            raise exceptions.InvalidChannelNumber(f"channel number {number} is in use on this connection")
        elif not 0 < number <= frame.CHANNEL_MAX:
            raise ChannelNumberOutOfRange(f"channel number {number} is not between 1 and {frame.CHANNEL_MAX}")
        channel = Channel(number, self.output, self.frame_max, self.settings.max_message_size)
        self.channels[number] = channel
        return channel

    def update_secret(self, new_secret: str, reason: str) -> Reply[spec.Connection.UpdateSecretOk]:
        """Give the broker a new secret before the present one expires (connection.update-secret, RabbitMQ's extension).

        :param new_secret: the new password or token
        :param reason: a text for the broker's log
        :raises pika.exceptions.ConnectionWrongStateError: when the connection is not open
        :raises ValueError: when the secret does not fit into a frame
        """
        self.require_open()
        method = spec.Connection.UpdateSecret(new_secret, reason)
        encoded = frame.encode_method(0, method)
        frame.require_fit("the new secret takes", encoded, self.frame_max)
        reply: Reply[spec.Connection.UpdateSecretOk] = Reply(method, spec.replies[spec.Connection.UpdateSecret])
        self.output.append(encoded)
        self._owed.append(reply)
        return reply

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Close the connection (connection.close); before it is open, abandon the handshake.

        Its channels are closed with it, each in its turn: what was asked of them before is answered first.

        :param reply_code: for the broker's log
        :param reply_text: for the broker's log
        :raises pika.exceptions.ConnectionWrongStateError: when it is closing or closed already
        """
        if Action.CLOSE not in states.CONNECTION[self.state]:
            self.require_open()
        if self.state is not ConnectionState.OPEN:
            self._finish(exceptions.ConnectionOpenAborted(f"closed during: {self.phase}"), Action.CLOSE)
            return
        encoded = frame.encode_method(0, spec.Connection.Close(reply_code, reply_text, 0, 0))
        self._advance(Action.CLOSE)
        self._closing_error = exceptions.ConnectionClosedByClient(reply_code, reply_text)
        self._close_frame = encoded
        for channel in self.channels.values():
            channel.close_if_open(reply_code, reply_text)
        self._transmit_close()

    def _transmit_close(self) -> None:
        # The broker discards what follows connection.close, so nothing that was accepted may be behind it.
        if self._close_frame is not None and not any(channel.has_waiting for channel in self.channels.values()):
            self.output.append(self._close_frame)
            self._close_frame = None

    # Frames

    def _on_frame(self, frame_type: int, number: int, payload: Any) -> Event | None:
        if number == 0:
            return self._on_connection_frame(frame_type, payload)
        if self._echoing and self._is_echo(number, payload if frame_type == spec.FRAME_METHOD else b""):
            return None
        channel = self._addressee(number)
        if frame_type == spec.FRAME_METHOD:
            event = channel.on_method(payload)
            if isinstance(event, ChannelClosed):
                self._on_channel_closed(event)
        elif frame_type == spec.FRAME_HEADER:
            event = channel.on_header(payload)
        elif frame_type == spec.FRAME_BODY:
            event = channel.on_body(payload)
        else:
            raise exceptions.InvalidFrameError(f"a heartbeat frame on channel {number}: they belong on channel 0")
        if self._close_frame is not None:
            # An answer, be it a method or the end of a get-ok's content, may have sent the last of what waited.
            self._transmit_close()
        return event

    def _on_channel_closed(self, event: ChannelClosed) -> None:
        number = event.channel.number
        del self.channels[number]
        self._lowest_number = min(self._lowest_number, number)
        if isinstance(event.error, exceptions.ChannelClosedByBroker):
            self._echoing.add(number)
        if isinstance(event.error, exceptions.AMQPError):
            event.error.context = f"{self.settings.peer}; channel {number}{_culprit(event.method)}"

    def _is_echo(self, number: int, payload: bytes | memoryview = b"") -> bool:
        """Say whether a frame is for a channel that the broker has closed, and not for the next one of its number."""
        if number not in self._echoing:
            return False
        channel = self.channels.get(number)
        if channel is not None and int.from_bytes(payload[:4], "big") in _ANSWERS_TO_OPEN:
            self._echoing.remove(number)
            return False
        return True

    def _addressee(self, number: int) -> Channel:
        channel = self.channels.get(number)
        if channel is None or channel.state is states.ChannelState.CLOSED:
            raise exceptions.UnexpectedFrameError(f"a frame on channel {number}, which is not open")
        return channel

    def _on_connection_frame(self, frame_type: int, payload: bytes) -> Event | None:
        if frame_type == spec.FRAME_HEARTBEAT:
            return None
        if frame_type != spec.FRAME_METHOD:
            raise exceptions.UnexpectedFrameError(f"a content frame of type {frame_type} on channel 0")
        method = frame.decode_method(payload)
        handler = _HANDLERS.get(type(method))
        if handler is None or type(method) not in states.CONNECTION[self.state]:
            raise exceptions.UnexpectedFrameError(f"{method.NAME} during: {self.phase}")
        return handler(self, method)

    def _on_start(self, method: Method) -> Event | None:
        assert isinstance(method, spec.Connection.Start)
        try:
            handshake.check_version(method)
            answer = frame.encode_method(0, handshake.start_ok(self.settings, method))
        except Exception as error:  # the user's, as a provider of credentials may raise anything
            return self._finish(error, Action.FAIL)
        self.server_properties = method.server_properties if isinstance(method.server_properties, dict) else {}
        self._advance(spec.Connection.Start)
        self.output.append(answer)
        return None

    def _on_tune(self, method: Method) -> Event | None:
        assert isinstance(method, spec.Connection.Tune)
        try:
            answer = handshake.tune_ok(self.settings, method)
            encoded = frame.encode_method(0, answer)
            encoded += frame.encode_method(0, spec.Connection.Open(self.settings.virtual_host))
            self.settings.credentials.erase_credentials()
        except exceptions.UnexpectedFrameError:
            raise
        except Exception as error:  # the user's, as a function that chooses the heartbeat may raise anything
            return self._finish(error, Action.FAIL)
        self._advance(spec.Connection.Tune)
        self.channel_max, self.frame_max = answer.channel_max or frame.CHANNEL_MAX, answer.frame_max
        self.heartbeat_interval = answer.heartbeat
        self._reader.max_frame_size = self._largest_frame(method)
        if answer.heartbeat:
            self._heartbeat = Heartbeat(answer.heartbeat, self.received_at)
        self.output.append(encoded)
        return None

    def _largest_frame(self, tune: spec.Connection.Tune) -> int:
        """Return how large a frame may be that the broker sends.

        RabbitMQ cuts bodies to the negotiated frame_max, but sends a message's properties in one frame whatever
        their size: another client may have published them with the frame_max that the broker proposes to all.
        """
        proposed = min(tune.frame_max or self.settings.max_message_size, self.settings.max_message_size)
        return max(proposed, spec.FRAME_MAX_SIZE)

    def _on_open_ok(self, method: Method) -> Event | None:
        self._advance(spec.Connection.OpenOk)
        return Opened()

    def _on_blocked(self, method: Method) -> Event | None:
        assert isinstance(method, spec.Connection.Blocked)
        self.blocked = method.reason or ""
        return ConnectionBlocked(method)

    def _on_unblocked(self, method: Method) -> Event | None:
        assert isinstance(method, spec.Connection.Unblocked)
        self.blocked = None
        return ConnectionUnblocked(method)

    def _on_update_secret_ok(self, method: Method) -> Event | None:
        reply = self._owed.take(method)
        if reply is None:
            raise exceptions.UnexpectedFrameError(f"{method.NAME} answers nothing that was asked")
        reply.succeed(method)
        return Replied(None, reply)

    def _on_close(self, method: Method) -> Event | None:
        assert isinstance(method, spec.Connection.Close)
        self.output.append(frame.encode_method(0, spec.Connection.CloseOk()))
        error = exceptions.ConnectionClosedByBroker(method.reply_code, method.reply_text)
        return self._finish(self._explain(error), spec.Connection.Close)

    def _on_close_ok(self, method: Method) -> Event | None:
        assert self._closing_error is not None
        if self._close_frame is not None:
            raise exceptions.UnexpectedFrameError(f"{method.NAME} before connection.close was sent")
        self._close_answered = True
        return self._on_close_answered()

    def _on_close_answered(self) -> Event | None:
        # RabbitMQ often closes the connection before its channels have got round to answering, and leaves their answers
        # out. Their ends still come out first, one by one.
        for channel in self.channels.values():
            if channel.state is states.ChannelState.CLOSING:
                event = channel.end_closed()
                self._on_channel_closed(event)
                return event
        assert self._closing_error is not None
        return self._finish(self._closing_error, spec.Connection.CloseOk)

    # Endings

    def _on_lost(self, error: BaseException) -> Event | None:
        return self._finish(self._explain(error), Action.LOSE)

    def _on_violation(self, violation: exceptions.AMQPError) -> Event | None:
        """End the connection over something that the broker must not send, and tell it (section 4.10.2)."""
        if self.state is ConnectionState.PROTOCOL:
            error: BaseException = exceptions.IncompatibleProtocolError(self._not_amqp(violation))
        else:
            code = _REPLY_CODES.get(type(violation), spec.SYNTAX_ERROR)
            # ASCII, since a short string is bounded in octets and the broker's own words may be in the text.
            text = ascii(str(violation))[1:-1][:200]
            self.output.append(frame.encode_method(0, spec.Connection.Close(code, text, 0, 0)))
            error = self._explain(exceptions.StreamLostError(f"{self.settings.peer} broke the protocol: {violation}"))
        error.__cause__ = violation
        return self._finish(error, Action.FAIL)

    def _not_amqp(self, violation: exceptions.AMQPError) -> str:
        answer = self._reader.peek(16)
        if answer.startswith(b"AMQP") and answer != frame.ProtocolHeader().marshal():
            versions = ".".join(map(str, answer[5:8]))
            return f"{self.settings.peer} answers that it speaks AMQP {versions}, not 0.9.1"
        if frame.looks_like_tls(answer):
            return f"{self.settings.peer} speaks TLS: connect with amqps:// or ssl_options (usually port 5671)"
        answers = f"it answers {answer!r} ({violation})" if answer else f"{violation}"
        return f"{self.settings.peer} is no AMQP 0-9-1 server: {answers}"

    def _explain(self, error: BaseException) -> BaseException:
        """Return what a death in this state is to a user: during the handshake it hints at its probable cause."""
        death = _DEATHS.get(self.state)
        if death is None or isinstance(error, exceptions.ConnectionOpenAborted):
            return error
        explained = death(repr(error))
        explained.__cause__ = error
        return explained

    def _finish(self, error: BaseException, trigger: states.Trigger) -> Event | None:
        """Close with a reason; every reply, confirmation and channel ends with it."""
        phase = self.phase
        self._advance(trigger)
        if isinstance(error, exceptions.AMQPError):
            # Of a stream's error it begins with the peer, as it does here.
            known = (error.context or "").split("; ", 1)
            if known[0] == self.settings.peer:
                del known[0]
            remedy = handshake.remedy(error, self.settings)
            error.context = "; ".join(filter(None, (self.settings.peer, phase, *known, remedy)))
        self.error = error
        self._heartbeat = None
        self.blocked = None
        for channel in self.channels.values():
            channel.end(error)
        self.channels.clear()
        for reply in self._owed.take_all():
            reply.fail(error)
        closed = Closed(error)
        if trigger is Action.CLOSE:
            # Not out of a frame: it comes out with the next one.
            self._finished = closed
            return None
        return closed

    def _advance(self, trigger: states.Trigger) -> None:
        following = states.CONNECTION[self.state].get(trigger)
        if following is None:
            name = trigger.value if isinstance(trigger, Action) else trigger.NAME
            raise exceptions.ConnectionWrongStateError(f"{name}, but the connection is {self.state.name}")
        self.state = following


_HANDLERS: dict[type[Method], Callable[[Connection, Method], Event | None]] = {
    spec.Connection.Start: Connection._on_start,
    spec.Connection.Tune: Connection._on_tune,
    spec.Connection.OpenOk: Connection._on_open_ok,
    spec.Connection.Blocked: Connection._on_blocked,
    spec.Connection.Unblocked: Connection._on_unblocked,
    spec.Connection.UpdateSecretOk: Connection._on_update_secret_ok,
    spec.Connection.Close: Connection._on_close,
    spec.Connection.CloseOk: Connection._on_close_ok,
}
