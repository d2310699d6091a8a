"""The broker's side of a connection, without I/O: bytes in, bytes out, time is an argument."""

from __future__ import annotations

import logging
import struct

from pika import data, exceptions, frame, spec
from pika.amqp_object import Method
from pika.broker import errors
from pika.broker.channel import ServerChannel
from pika.broker.content import Incoming, UnexpectedFrame
from pika.broker.handshake import PROTOCOL_HEADER, Handshake, Step
from pika.broker.heartbeat import Heartbeat
from pika.broker.node import Node
from pika.broker.operations import OPERATIONS, Operation
from pika.broker.publishing import Target
from pika.broker.terms import binary
from pika.broker.users import Permissions
from pika.broker.wire import Output, Reader

_LOGGER = logging.getLogger(__name__)

_PUBLISH = spec.Basic.Publish.INDEX
_ACK = spec.Basic.Ack.INDEX
_FRAME_PREFIX = struct.Struct(">BHL")
_ACK_ARGUMENTS = struct.Struct(">QB")
_KNOWN_FRAMES = frozenset((spec.FRAME_METHOD, spec.FRAME_HEADER, spec.FRAME_BODY, spec.FRAME_HEARTBEAT))

# A refusal shows no more of a malformed frame than fits into its text.
_SHOWN_OCTETS = 40


class ServerConnection:
    """One client's connection.

    Feed it with :meth:`receive_data` and :meth:`tick`, send what is in :attr:`output`, and hang up when it is
    :attr:`finished` and nothing is left to send; then, and whenever the client is gone, call :meth:`lost`.

    :param node: the broker
    :param now: seconds, of any clock that only goes forward
    """

    def __init__(self, node: Node, now: float) -> None:
        self.node = node
        self.output = Output()
        self.frame_max = node.limits.frame_max
        #: Whether so much waits to be sent that its consumers get nothing more.
        self.congested = False
        #: Whether it published under an alarm, so that nothing more is taken from it until the alarm is over.
        self.blocked = False
        #: Whether there is nothing more to say, so that the connection ends when all is sent.
        self.finished = False
        self._reader = Reader(node.limits.frame_max)
        self._handshake = Handshake(node)
        self.vhost = self._handshake.vhost
        self._channels: dict[int, ServerChannel] = {}
        self._targets: dict[bytes, Target] = {}
        self._incoming: dict[int, Incoming] = {}
        self._with_confirms: list[ServerChannel] = []
        self._is_dirty = False
        # Frames wait in the reader until what was written is sent, or the alarm is over.
        self._is_paused = False
        # The broker said connection.close; only the answer to it is read.
        self._closing = False
        # The index of the method that is being handled, 0 for none: a refusal names it.
        self._handled = 0
        self._heartbeat = Heartbeat(0, now)
        self._deadline = now + node.limits.handshake

    # What channels ask for -------------------------------------------------------------------------------------

    @property
    def permissions(self) -> Permissions:
        """What the user may do."""
        assert self._handshake.permissions is not None
        return self._handshake.permissions

    @property
    def notifies_cancel(self) -> bool:
        """Whether the client wants to hear of consumers that the broker cancels."""
        return bool(self._handshake.capabilities.get("consumer_cancel_notify"))

    @property
    def _notifies_blocked(self) -> bool:
        """Whether the client wants to hear that it is blocked."""
        return bool(self._handshake.capabilities.get("connection.blocked"))

    def send(self, number: int, method: Method) -> None:
        """Send a method on a channel."""
        self.output.write(frame.encode_method(number, method))
        self.wrote()

    def wrote(self) -> None:
        """Take note that something waits in :attr:`output`."""
        if not self._is_dirty:
            self._is_dirty = True
            self.node.dirty.append(self)
        if self.output.size > self.node.limits.congested:
            self.congested = True

    def has_confirms(self, channel: ServerChannel) -> None:
        """Take note that a channel has confirms to send at the end of this turn."""
        self._with_confirms.append(channel)

    # What the network tells ------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it is past its handshake and not closing, so that only heartbeats are due."""
        return self._handshake.step is Step.DONE and not self._closing

    @property
    def takes_more(self) -> bool:
        """Whether more of what the client sends should be read: not while too much waits to be sent to it, or an alarm
        holds it back."""
        return not self.blocked and self.output.size <= self.node.limits.overwhelmed

    def sent(self, count: int, now: float) -> None:
        """Take note that bytes were sent, the first of what ``output.peek()`` returned."""
        self.output.sent(count)
        self._heartbeat.sent_at = now

    def flushed(self, now: float) -> None:
        """Take note that as much was sent as could be; what is written from here on makes it dirty again."""
        self._is_dirty = False
        if self.congested and self.output.size <= self.node.limits.congested // 2:
            self.congested = False
            for channel in list(self._channels.values()):
                channel.wake()
        if self._is_paused and self.takes_more:
            self._take(now)

    def receive_data(self, received: bytes, now: float) -> None:
        """Take bytes from the client, in any split."""
        self._heartbeat.heard_at = now
        if self.finished:
            return
        self._reader.feed(received)
        self._take(now)

    def unblock(self, now: float) -> None:
        """Take from the client again what it sends, and tell it; called when an alarm is over."""
        if not self.blocked:
            return
        self.blocked = False
        self._heartbeat.restart(now)
        if self._notifies_blocked:
            self.send(0, spec.Connection.Unblocked())
        # What waits in the reader is taken when this was sent.
        self.wrote()

    def _take(self, now: float) -> None:
        """Take the frames that are there, as long as their answers do not pile up."""
        self._is_paused = False
        try:
            self._read()
        except errors.HangUp as reason:
            _LOGGER.info("hung up on a client: %s", reason)
            self._finish()
        except errors.ConnectionRefusal as refusal:
            self._refuse(refusal, now)
        except exceptions.InvalidFrameError as fault:
            if self._handshake.step is Step.DONE:
                self._refuse(self._frame_fault(), now)
            else:
                _LOGGER.info("hung up on a client: %s", fault)
            # Where the next frame begins cannot be known.
            self._finish()
        self._confirm()

    def tick(self, now: float) -> float:
        """Do what is due at this time, and return when to be called next at the latest."""
        if not self.is_open and now >= self._deadline:
            self._finish()
        if self.finished or self._closing:
            return self._deadline
        heartbeat = self._heartbeat
        if not self.takes_more:
            # Nothing is read from it, so its silence says nothing.
            heartbeat.heard_at = now
        if heartbeat.look(now):
            self.output.clear()
            self._finish()
        elif heartbeat.is_due(now):
            heartbeat.sent_at = now
            self.output.write(frame.HEARTBEAT_FRAME)
            self.wrote()
        return heartbeat.next_at() if self.is_open else min(heartbeat.next_at(), self._deadline)

    def shut_down(self, reason: str, now: float) -> None:
        """Close the connection as the broker's operator does."""
        if self.is_open:
            text = f"broker forced connection closure with reason '{reason}'"
            self._refuse(errors.ConnectionRefusal(spec.CONNECTION_FORCED, text, named=False), now)
        self._finish()

    def lost(self) -> None:
        """Give up what the client had: consumers, unsettled messages, exclusive queues."""
        self.finished = True
        self._give_up()
        self.output.clear()

    # Reading ---------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take all frames that are there."""
        reader = self._reader
        if self._handshake.step is Step.HEADER and not self._read_header():
            return
        while not self.finished:
            if not self.takes_more:
                # A get is a few octets, its answer may be millions: the rest waits until this is sent.
                self._is_paused = True
                return
            if not self._incoming and not self._closing and self.node.alarm is None:
                published = reader.next_publish()
                if published is not None:
                    self._handled = _PUBLISH
                    number, arguments, header, body = published
                    self._publish(number, arguments, header, body)
                    continue
            found = reader.next_frame()
            if found is None:
                return
            self._handled = 0
            self._frame(*found)

    def _read_header(self) -> bool:
        header = self._reader.take(8)
        if not header:
            return False
        if header != PROTOCOL_HEADER:
            self.output.write(PROTOCOL_HEADER)
            self.wrote()
            raise errors.HangUp(f"{header!r} instead of a protocol header")
        self.send(0, self._handshake.start())
        return True

    def _frame(self, frame_type: int, number: int, payload: bytes) -> None:
        if self._closing:
            self._closing_frame(frame_type, number, payload)
        elif self._handshake.step is not Step.DONE:
            self._handshake_frame(frame_type, number, payload)
        elif frame_type == spec.FRAME_HEARTBEAT and number == 0 and not payload:
            return
        elif number == 0 or frame_type == spec.FRAME_HEARTBEAT:
            self._connection_frame(frame_type, payload)
        elif number in self._incoming:
            self._content_frame(frame_type, number, payload)
        elif frame_type == spec.FRAME_METHOD:
            self._channel_method(number, payload)
        else:
            text = "expected method frame, got non method frame instead"
            raise errors.ConnectionRefusal(spec.UNEXPECTED_FRAME, text, named=False)

    def _handshake_frame(self, frame_type: int, number: int, payload: bytes) -> None:
        if frame_type == spec.FRAME_HEARTBEAT:
            return
        opening = self._handshake.step is Step.OPEN
        if frame_type != spec.FRAME_METHOD or number:
            if opening:
                raise _unexpected(frame_type, payload)
            raise errors.HangUp("a frame that is no method of the connection during the handshake")
        try:
            method = frame.decode_method(payload)
        except exceptions.InvalidFrameError as error:
            raise errors.HangUp(str(error)) from None
        self._handled = method.INDEX or 0
        handshake = self._handshake
        if opening and not isinstance(method, spec.Connection.Open):
            raise errors.ConnectionRefusal(spec.CHANNEL_ERROR, "unexpected method in connection state opening")
        reply = handshake.take(method)
        if handshake.tuned is not None and handshake.step is Step.OPEN:
            self.frame_max = self._reader.max_frame_size = handshake.tuned.frame_max
            self._heartbeat = Heartbeat(handshake.tuned.heartbeat, self._heartbeat.heard_at)
        self.vhost = handshake.vhost
        if reply is not None:
            self.send(0, reply)

    def _closing_frame(self, frame_type: int, number: int, payload: bytes) -> None:
        """Only a connection.close or the answer to one has a meaning now."""
        if frame_type != spec.FRAME_METHOD or number:
            return
        index = int.from_bytes(payload[:4], "big")
        if index == spec.Connection.Close.INDEX:
            self.send(0, spec.Connection.CloseOk())
        elif index == spec.Connection.CloseOk.INDEX:
            self._finish()

    def _connection_frame(self, frame_type: int, payload: bytes) -> None:
        if frame_type == spec.FRAME_HEARTBEAT and payload:
            raise _unknown_frame(frame_type, payload)
        if frame_type != spec.FRAME_METHOD:
            raise _unexpected(frame_type, payload)
        method = self._decode(payload)
        if isinstance(method, spec.Connection.Close):
            self._give_up()
            self.send(0, spec.Connection.CloseOk())
            self._finish()
        elif isinstance(method, spec.Connection.UpdateSecret):
            self.send(0, spec.Connection.UpdateSecretOk())
        else:
            raise errors.ConnectionRefusal(spec.CHANNEL_ERROR, "unexpected method in connection state running")

    def _decode(self, payload: bytes) -> Method:
        number = int.from_bytes(payload[:4], "big")
        kind = spec.methods.get(number)
        if len(payload) < 4:
            raise _unknown_frame(spec.FRAME_METHOD, payload)
        if kind is None:
            raise errors.HangUp(f"unknown method: class {number >> 16}, method {number & 0xFFFF}")
        self._handled = number
        try:
            method = kind().decode(payload, 4)
            errors.check_text(method)
            if isinstance(getattr(method, "arguments", None), data.RawTable):
                raise errors.ConnectionRefusal(spec.INTERNAL_ERROR, named=False)
            return method
        except exceptions.InvalidFrameError:
            text = f"cannot decode {binary(payload[4 : 4 + _SHOWN_OCTETS])}"
            raise errors.ConnectionRefusal(spec.FRAME_ERROR, text) from None

    def _frame_fault(self) -> errors.ConnectionRefusal:
        """What RabbitMQ says of the frame that could not be read."""
        prefix = self._reader.peek(spec.FRAME_HEADER_SIZE)
        frame_type, _, size = _FRAME_PREFIX.unpack(prefix)
        limit = self._reader.max_frame_size - frame.FRAME_OVERHEAD
        octets = b""
        if size > limit:
            fault = f"{{frame_too_large,{size},{limit}}}"
        else:
            found = self._reader.peek(spec.FRAME_HEADER_SIZE + size + 1)
            octets = found[spec.FRAME_HEADER_SIZE : spec.FRAME_HEADER_SIZE + min(size, _SHOWN_OCTETS)]
            fault = "unknown_frame" if frame_type not in _KNOWN_FRAMES else f"{{invalid_frame_end_marker,{found[-1]}}}"
        text = f"type {frame_type}, all octets = {binary(octets)}: {fault}"
        return errors.ConnectionRefusal(spec.FRAME_ERROR, text, named=False)

    # Channels --------------------------------------------------------------------------------------------------

    def _channel_method(self, number: int, payload: bytes) -> None:
        channel = self._channels.get(number)
        kind = int.from_bytes(payload[:4], "big")
        if channel is not None and not channel.closing and kind == _ACK and len(payload) == 13:
            # The hot path of consuming.
            self._handled = kind
            tag, multiple = _ACK_ARGUMENTS.unpack_from(payload, 4)
            try:
                channel.settle(tag, multiple != 0, False)
            except errors.Refusal as refusal:
                self._refuse_channel(channel, refusal)
            return
        method = self._decode(payload)
        if isinstance(method, spec.Channel.Open):
            self._open_channel(number, channel)
        elif channel is None:
            raise errors.ConnectionRefusal(spec.CHANNEL_ERROR, "expected 'channel.open'")
        elif isinstance(method, spec.Basic.Publish):
            self._incoming[number] = Incoming(payload[4:], self.node.limits.max_message_size)
        elif channel.closing:
            self._closing_channel(channel, method)
        elif isinstance(method, spec.Channel.Close):
            self._end_channel(channel)
            self.send(number, spec.Channel.CloseOk())
        else:
            operation = OPERATIONS.get(kind)
            if operation is None:
                raise errors.ConnectionRefusal(spec.COMMAND_INVALID, "unimplemented method")
            self._operate(channel, operation, method)

    def _open_channel(self, number: int, current: ServerChannel | None) -> None:
        if current is not None and not current.answered_close:
            raise errors.ConnectionRefusal(spec.CHANNEL_ERROR, "second 'channel.open' seen")
        assert self._handshake.tuned is not None
        limit = self._handshake.tuned.channel_max
        if limit and len(self._channels) >= limit:
            raise errors.ConnectionRefusal(
                spec.NOT_ALLOWED,
                f"number of channels opened ({limit}) has reached the negotiated channel_max ({limit})",
                named=False,
            )
        self._channels[number] = ServerChannel(self, number)
        self.send(number, spec.Channel.OpenOk())

    def _closing_channel(self, channel: ServerChannel, method: Method) -> None:
        """The broker closed the channel, and waits for the client's answer; all else came too late."""
        if isinstance(method, spec.Channel.CloseOk):
            del self._channels[channel.number]
        elif isinstance(method, spec.Channel.Close):
            channel.answered_close = True
            self.send(channel.number, spec.Channel.CloseOk())

    def _operate(self, channel: ServerChannel, operation: Operation, method: Method) -> None:
        """Do what a method asks for and answer it."""
        try:
            reply = operation(channel, method)
        except errors.Refusal as refusal:
            self._refuse_channel(channel, refusal)
            return
        if reply is not None and not getattr(method, "nowait", False):
            channel.send(reply)
        if self.node.deferred:
            self.node.send_deferred()

    def _refuse_channel(self, channel: ServerChannel, refusal: errors.Refusal) -> None:
        """Close a channel, or the whole connection where the refusal says so."""
        if isinstance(refusal, errors.ConnectionRefusal):
            raise refusal
        channel.closing = True
        channel.end()
        self.send(channel.number, errors.close_method(refusal, self._handled))
        self.node.send_deferred()

    def _end_channel(self, channel: ServerChannel) -> None:
        del self._channels[channel.number]
        self._incoming.pop(channel.number, None)
        channel.end()
        if self.node.deferred:
            self.node.send_deferred()

    def _end_channels(self) -> None:
        for channel in list(self._channels.values()):
            self._end_channel(channel)

    def _give_up(self) -> None:
        """End the channels, then delete the exclusive queues; RabbitMQ does so before it says that it closes."""
        self._end_channels()
        if self.vhost is not None:
            self.vhost.delete_owned(self)
        self.node.send_deferred()

    # Content ---------------------------------------------------------------------------------------------------

    def _content_frame(self, frame_type: int, number: int, payload: bytes) -> None:
        incoming = self._incoming[number]
        self._handled = _PUBLISH
        try:
            complete = incoming.take(frame_type, payload)
        except UnexpectedFrame as error:
            raise errors.ConnectionRefusal(error.code, str(error)) from None
        if self.node.alarm is not None:
            self._block(self.node.alarm)
        if not complete:
            return
        del self._incoming[number]
        channel = self._channels[number]
        if incoming.too_large and not channel.closing:
            self._refuse_channel(channel, incoming.refusal())
        else:
            self._publish(number, incoming.arguments, incoming.header, incoming.body)

    def _publish(self, number: int, arguments: bytes, header: bytes, body: bytes) -> None:
        """Hand a message to its channel."""
        channel = self._channels.get(number)
        if channel is None:
            raise errors.ConnectionRefusal(spec.CHANNEL_ERROR, "expected 'channel.open'")
        if channel.closing:
            return
        target = self._targets.get(arguments)
        if target is None:
            try:
                target = Target(arguments)
            except exceptions.InvalidFrameError:
                text = f"cannot decode {binary(arguments[:_SHOWN_OCTETS])}"
                raise errors.ConnectionRefusal(spec.FRAME_ERROR, text) from None
            data.remember(self._targets, arguments, target)
        try:
            channel.publish(target, header, body)
        except errors.Refusal as refusal:
            self._refuse_channel(channel, refusal)

    def _block(self, reason: str) -> None:
        """Take nothing more from the client than the frame at hand, and tell it why."""
        if self.blocked:
            return
        self.blocked = True
        if self._notifies_blocked:
            self.send(0, spec.Connection.Blocked(reason))
        # A client that is not told has nothing to be sent, but no more must be read from it either.
        self.wrote()

    def _confirm(self) -> None:
        if self._with_confirms:
            channels, self._with_confirms = self._with_confirms, []
            for channel in channels:
                channel.flush_confirms()

    # The end ---------------------------------------------------------------------------------------------------

    def _refuse(self, refusal: errors.ConnectionRefusal, now: float) -> None:
        """Close the connection, and wait for the client's answer."""
        self._confirm()
        self._give_up()
        self._incoming.clear()
        self.send(0, errors.close_method(refusal, self._handled))
        self._closing = True
        self.blocked = False
        self._deadline = now + self.node.limits.closing

    def _finish(self) -> None:
        self.finished = True
        self.wrote()


def _unexpected(frame_type: int, payload: bytes) -> errors.ConnectionRefusal:
    text = f"type {frame_type}, all octets = {binary(payload[:_SHOWN_OCTETS])}"
    return errors.ConnectionRefusal(spec.UNEXPECTED_FRAME, text, named=False)


def _unknown_frame(frame_type: int, payload: bytes) -> errors.ConnectionRefusal:
    text = f"type {frame_type}, all octets = {binary(payload[:_SHOWN_OCTETS])}: unknown_frame"
    return errors.ConnectionRefusal(spec.FRAME_ERROR, text, named=False)
