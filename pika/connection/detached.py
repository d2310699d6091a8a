"""What a channel stands on when its connection is a stand-in, as tests of tracers make them: nobody answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import exceptions, protocol, spec
from pika._threads import Inside
from pika.amqp_object import Method
from pika.protocol.channel import Waiting
from pika.protocol.handshake import MAX_MESSAGE_SIZE

if TYPE_CHECKING:
    from pika.channel import Channel


class DetachedChannel(protocol.Channel):
    """Hands methods to :meth:`pika.channel.Channel._send_method` as objects, where other channels send bytes.

    The tests make a :class:`pika.channel.Channel` on a mock, and look at what it would send. They replace
    classes of :mod:`pika.spec` too, so nothing here asks what a method is, and nothing waits for an answer.

    :param number: the channel's number
    :param channel: the channel
    :raises pika.exceptions.InvalidChannelNumber: when the number is no int
    """

    detached = True

    def __init__(self, number: int | None, channel: Channel) -> None:
        if not isinstance(number, int):
            raise exceptions.InvalidChannelNumber(number)
        super().__init__(number, [], spec.FRAME_MAX_SIZE, MAX_MESSAGE_SIZE)
        self._channel = channel

    def call(self, method: Method, encoded: bytes | None = None) -> protocol.Reply[Any]:
        """Hand a synchronous method over.

        :param method: the method
        :param encoded: nothing, which stays behind
        :returns: a reply that is never done
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        self.call_nowait(method)
        return protocol.Reply(method, ())

    def call_nowait(self, method: Method) -> None:
        """As :meth:`call`, for a method that asks for no answer."""
        self.require_open()
        self._channel._send_method(method)

    def _prepare_get(self, queue: str, no_ack: bool) -> tuple[spec.Basic.Get, bytes | None]:
        return spec.Basic.Get(0, queue, no_ack), None

    def _transmit(self, item: Waiting) -> None:
        if item.method is not None:
            self._channel._send_method(item.method)


def protocol_for(channel: Channel, connection: Any, number: int | None) -> protocol.Channel:
    """Return the protocol of a channel: its connection's opens it, unless that is a stand-in and has none.

    :param channel: the channel
    :param connection: its connection
    :param number: its number; None for the lowest that is free
    """
    rules = getattr(connection, "_protocol", None)
    return rules.open_channel(number) if isinstance(rules, protocol.Connection) else DetachedChannel(number, channel)


def inside_of(connection: Any) -> Inside:
    """Return what a channel shares with its connection, or one of its own when that is a stand-in."""
    inside = getattr(connection, "_inside", None)
    return inside if isinstance(inside, Inside) else Inside()
