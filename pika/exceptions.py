"""The exceptions of the library.

Three families: :class:`AMQPConnectionError` says that the connection cannot be used,
:class:`AMQPChannelError` that a channel, a consumer or a publish failed while the connection lives on,
and :class:`ProtocolSyntaxError` that bytes did not follow AMQP 0-9-1.

``str(exception)`` is never empty: one that was raised without arguments says what its class means and
what to do about it. ``exception.args`` is what was given to the constructor. All of them can be copied and pickled.

The names are those of pika 1.x, because programs import and catch them: also the few that are never raised here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar


class _Explained(Exception):
    """An exception that always has something to say."""

    # What `str()` says when there are no arguments: the meaning of the class, then the remedy.
    _meaning: ClassVar[str] = "The operation failed."
    # What `repr()` says after the class name: a format string over the arguments; {args} is all of them.
    _summary: ClassVar[str] = "{args}"
    # True for classes whose argument is a bare value (a tag, a number): alone it would tell a reader nothing.
    _value_needs_summary: ClassVar[bool] = False

    def __str__(self) -> str:
        if self._value_needs_summary and self.args:
            return self._summarize()
        return super().__str__() or self._meaning

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self._summarize()}"

    def _summarize(self) -> str:
        if self.args and "{" not in self._summary:
            return f"{self._summary}: {self.args}"
        try:
            return self._summary.format(*self.args, args=self.args)
        except IndexError:
            return f"{self._meaning} {self.args}" if self.args else self._meaning


class AMQPError(_Explained):
    """The base of what goes wrong in AMQP: catch it to catch all but misuse of a callback."""

    _meaning = "An AMQP operation failed; the log of the library and that of the broker say more."
    _summary = "An unspecified AMQP error has occurred; {args}"

    #: Where it happened: host, port and what the connection was doing. ``str()`` ends with it; it is no argument.
    context: str | None = None

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} [{self.context}]" if self.context else text


def text_in_brackets(error: BaseException) -> str:
    """Return an exception's text for the context of another one: what stands in brackets itself has none of its own."""
    context = getattr(error, "context", None)
    return f"{str(error).removesuffix(f' [{context}]')}; {context}" if context else str(error)


class _Closed(AMQPError):
    """What a close says: a number and words."""

    def __init__(self, reply_code: int, reply_text: str) -> None:
        super().__init__(int(reply_code), str(reply_text))

    def _summarize(self) -> str:
        return f"({self.reply_code}) {self.reply_text!r}"

    @property
    def reply_code(self) -> int:
        """The number that says why it was closed."""
        return int(self.args[0])

    @property
    def reply_text(self) -> str:
        """The words that say why it was closed."""
        return str(self.args[1])


class AMQPConnectionError(AMQPError):
    """The connection could not be made, was lost, or was closed; a new one is needed."""

    _meaning = "The connection to the broker failed; check host, port and credentials, then connect again."

    def _summarize(self) -> str:
        if len(self.args) == 2:
            return f"({self.args[0]}) {self.args[1]}"
        return f"{self.args}"


class ConnectionOpenAborted(AMQPConnectionError):
    """The client gave up connecting before the connection was open."""

    _meaning = "Connecting was aborted by this client before the connection was open."


class StreamLostError(AMQPConnectionError):
    """The stream under the connection (TCP, TLS) broke, or the broker hung up without an AMQP close."""

    _meaning = "The stream to the broker was lost; connect again."


class IncompatibleProtocolError(AMQPConnectionError):
    """The peer is no AMQP 0-9-1 broker, or it hung up on our protocol header."""

    _meaning = "The peer does not speak AMQP 0-9-1; check that host and port are those of an AMQP listener."
    _summary = "The protocol returned by the server is not supported: {args}"
    _summarize = _Explained._summarize


class AuthenticationError(AMQPConnectionError):
    """No authentication mechanism of the broker fits the credentials; the argument is the mechanism wanted."""

    _meaning = "Broker and client share no authentication mechanism; give credentials of a type the broker offers."
    _summary = "Server and client could not negotiate use of the {0} authentication mechanism"
    _value_needs_summary = True
    _summarize = _Explained._summarize


class ProbableAuthenticationError(AMQPConnectionError):
    """The broker hung up where it does so on wrong credentials."""

    _meaning = "The broker hung up while credentials were checked; check user name and password."
    _summary = "Client was disconnected at a connection stage indicating a probable authentication error: {args}"
    _summarize = _Explained._summarize


class ProbableAccessDeniedError(AMQPConnectionError):
    """The broker hung up where it does so when the user may not use the virtual host, or it does not exist."""

    _meaning = "The broker hung up while the virtual host was opened; check its name and the user's permissions."
    _summary = (
        "Client was disconnected at a connection stage indicating a probable denial of access "
        "to the specified virtual host: {args}"
    )
    _summarize = _Explained._summarize


class NoFreeChannels(AMQPConnectionError):
    """Every channel number of the connection is taken."""

    _meaning = "Every channel number of this connection is in use; close channels or raise channel_max."
    _summary = "The connection has run out of free channels"
    _summarize = _Explained._summarize


class ConnectionWrongStateError(AMQPConnectionError):
    """The connection is not in a state (opening, open, closing, closed) that allows the operation."""

    _meaning = "The connection is in the wrong state for this operation; use it only while it is open."

    def _summarize(self) -> str:
        if self.args:
            return super()._summarize()
        return "The connection is in wrong state for the requested operation."


class ConnectionClosed(_Closed, AMQPConnectionError):
    """The connection was closed with an AMQP ``connection.close`` (AMQP 0-9-1, section 1.4.2.9).

    :param reply_code: the number that says why, such as 320 (``CONNECTION_FORCED``)
    :param reply_text: the same in words
    """


class ConnectionClosedByBroker(ConnectionClosed):
    """The broker closed the connection."""


class ConnectionClosedByClient(ConnectionClosed):
    """This client closed the connection."""


class ConnectionBlockedTimeout(AMQPConnectionError):
    """The broker blocked the connection (RabbitMQ's ``connection.blocked``) for longer than allowed."""

    _meaning = (
        "The broker kept the connection blocked for longer than blocked_connection_timeout; "
        "see the broker's memory and disk alarms."
    )


class AMQPHeartbeatTimeout(AMQPConnectionError):
    """Nothing was received from the broker for two heartbeat intervals."""

    _meaning = "Nothing was received from the broker for two heartbeat intervals; connect again."


class AMQPChannelError(AMQPError):
    """An operation on a channel failed; the connection lives on."""

    _meaning = "An operation on a channel failed; open a new channel if this one is closed."
    _summary = "{args}"


class ChannelWrongStateError(AMQPChannelError):
    """The channel is not in a state (opening, open, closing, closed) that allows the operation."""

    _meaning = "The channel is in the wrong state for this operation; use it only while it is open."


class ChannelClosed(_Closed, AMQPChannelError):
    """The channel was closed with an AMQP ``channel.close`` (AMQP 0-9-1, section 1.5.2.5).

    :param reply_code: the number that says why, such as 404 (``NOT_FOUND``)
    :param reply_text: the same in words
    """


class ChannelClosedByBroker(ChannelClosed):
    """The broker closed the channel."""


class ChannelClosedByClient(ChannelClosed):
    """This client closed the channel."""


class DuplicateConsumerTag(AMQPChannelError):
    """A consumer with this tag exists on the channel; the argument is the tag."""

    _meaning = "The channel already has a consumer with this tag; choose another or let the library choose."
    _summary = "The consumer tag specified already exists for this channel: {0}"
    _value_needs_summary = True


class ConsumerCancelled(AMQPChannelError):
    """The broker cancelled the consumer (RabbitMQ's consumer cancel notification), as when its queue is deleted."""

    _meaning = "The broker cancelled the consumer, as when its queue is deleted; declare the queue and consume again."
    _summary = "Server cancelled consumer"


def _where(messages: Iterable[Any]) -> str | None:
    """Say where the first of the messages went and what the broker said of it, if it is one that came back."""
    try:
        method = next(iter(messages)).method
        where = f"exchange {method.exchange!r}, routing key {method.routing_key!r}"
        return f"{where}: {method.reply_code} {method.reply_text}"
    except (StopIteration, AttributeError, TypeError):
        # Programs and their tests raise these too, with messages of their own.
        return None


class _MessagesError(AMQPChannelError):
    """Published messages that did not arrive in a queue. ``context`` says where the first of them was to go."""

    _counted: ClassVar[str]

    def __init__(self, messages: Sequence[Any]) -> None:
        super().__init__(self._counted.format(len(messages)))
        self.messages = messages
        self.context = _where(messages)

    def __reduce__(self) -> tuple[Any, ...]:
        # The arguments of the constructor are not `args` here, so the default would rebuild something else.
        return type(self), (self.messages,), self.__dict__


class UnroutableError(_MessagesError):
    """The broker returned mandatory messages (``basic.return``) that it could route to no queue.

    :param messages: the returned messages, with the broker's reason in each
    """

    _counted = "{} unroutable message(s) returned"

    def _summarize(self) -> str:
        return f"{len(self.messages)} unroutable messages returned by broker"


class NackError(_MessagesError):
    """The broker refused published messages (``basic.nack``, a RabbitMQ extension).

    :param messages: the messages refused; they may be published again
    """

    _counted = "{} message(s) NACKed"

    def _summarize(self) -> str:
        return str(self.args[0])


class PublishOutcomeUnknown(_MessagesError):
    """The channel or the connection ended before the broker said whether it took published messages.

    ``__cause__`` is why it ended. A message that is published again may then be in its queue twice.

    :param messages: the messages
    """

    _counted = "the outcome of {} published message(s) is unknown"

    def _summarize(self) -> str:
        return str(self.args[0])


class MessageSettledError(AMQPChannelError):
    """A message was acknowledged or refused a second time, or needs neither; nothing was sent."""

    _meaning = "The message was settled before; settle each message once, and none that was asked for with auto_ack."


class AMQPTimeoutError(AMQPError, TimeoutError):
    """A call of ``pika.Connection`` was not over in time; the connection lives on."""

    _meaning = (
        "The call was not over in time; the connection lives on. Give it more time, or see what holds the broker up."
    )


class InvalidChannelNumber(AMQPError):
    """A channel number is no integer from 1 to 65535, or is in use on the connection; the argument is that number."""

    _meaning = "An invalid channel number was given; use an integer from 1 to 65535 that is not in use."
    _summary = "An invalid channel number has been specified: {0}"
    _value_needs_summary = True


class ProtocolSyntaxError(AMQPError):
    """Bytes do not follow the grammar of AMQP 0-9-1."""

    _meaning = "Bytes were received, or asked for, that AMQP 0-9-1 does not allow; check that the peer is a broker."
    _summary = "An unspecified protocol syntax error occurred"


class UnexpectedFrameError(ProtocolSyntaxError):
    """A frame arrived that has no place where it came; the argument is the frame."""

    _meaning = "A frame was received out of sequence; open a new connection."
    _summary = "Received a frame out of sequence: {0!r}"
    _value_needs_summary = True


class ProtocolVersionMismatch(ProtocolSyntaxError):
    """Two versions of the protocol meet; the arguments are the two, ours last."""

    _meaning = "The peer speaks another version of the protocol; connect to a listener that speaks AMQP 0-9-1."
    _summary = "Protocol versions did not match: {0!r} vs {1!r}"
    _value_needs_summary = True


class BodyTooLongError(ProtocolSyntaxError):
    """A body is longer than its header announced; the arguments are the bytes received and those expected."""

    _meaning = "A message body was longer than its header announced; open a new connection."
    _summary = "Received too many bytes for a message delivery: Received {0}, expected {1}"
    _value_needs_summary = True


class InvalidFrameError(ProtocolSyntaxError):
    """A frame is malformed; the argument says how."""

    _meaning = "A malformed frame was received; check that the peer is an AMQP broker, then open a new connection."
    _summary = "Invalid frame received: {0!r}"


class InvalidFieldTypeException(ProtocolSyntaxError):
    """A field table holds a type that AMQP does not know; the argument is the type's letter."""

    _meaning = "A field table holds a value of an unknown type; see the field types that RabbitMQ documents."
    _summary = "Unsupported field kind {0}"
    _value_needs_summary = True


class UnsupportedAMQPFieldException(ProtocolSyntaxError):
    """A Python value has no AMQP field type; the arguments are the pieces encoded so far and the value."""

    _meaning = (
        "A value has no AMQP field type; use None, bool, int, float, Decimal, str, bytes, datetime, list or dict."
    )
    _summary = "Unsupported field kind {1}"
    _value_needs_summary = True

    def _summarize(self) -> str:
        if len(self.args) > 1:
            return f"Unsupported field kind {type(self.args[1])}"
        return super()._summarize()


class MethodNotImplemented(AMQPError):
    """The method is not one that this client or this broker implements."""

    _meaning = "The method is not implemented; use one that AMQP 0-9-1 and RabbitMQ define."


class ChannelError(_Explained):
    """The channel was used in a way that it does not allow."""

    _meaning = "The channel was used in a way that it does not allow."
    _summary = "An unspecified error occurred with the Channel"


class ReentrancyError(_Explained):
    """The call was made inside a callback where it would wait for itself."""

    _meaning = (
        "The call was made inside a callback that it would have to wait for; "
        "make it outside, or schedule it with add_callback_threadsafe."
    )
    __repr__ = Exception.__repr__


class WrongThreadError(_Explained, RuntimeError):
    """A connection was called by one thread while another was inside one of its calls or callbacks.

    Nothing was sent. A connection may be handed from thread to thread between calls; work for the thread that is
    inside goes through ``add_callback_threadsafe``.
    """

    _meaning = (
        "The connection is in use by another thread; hand the work to that thread with add_callback_threadsafe, "
        "or give each thread a connection of its own."
    )
    __repr__ = Exception.__repr__


class ShortStringTooLong(AMQPError):
    """A value is too long for AMQP's short string; the argument is the value."""

    _meaning = "A short string can hold at most 255 bytes of UTF-8; shorten the value."
    _summary = "AMQP Short String can contain up to 255 bytes: {0}"
    _value_needs_summary = True


class DuplicateGetOkCallback(ChannelError):
    """A ``basic_get`` was made while the channel still waits for the answer to the one before."""

    _meaning = "The channel already waits for the answer to a basic_get; wait for its callback, then get again."
    _summary = "basic_get can only be called again after the callback for the previous basic_get is executed"
