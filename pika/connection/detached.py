"""The protocol of a channel whose connection is a stand-in: no broker, and nobody who answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import exceptions, protocol, spec
from pika.amqp_object import Method
from pika.protocol.channel import _Waiting
from pika.protocol.handshake import MAX_MESSAGE_SIZE

if TYPE_CHECKING:
    from pika.channel import Channel


class DetachedChannel(protocol.Channel):
    """Hands methods to :meth:`pika.channel.Channel._send_method` as objects, where other channels send bytes.

    Tests of tracers make a :class:`pika.channel.Channel` on a mock, and look at what it would send. They replace
    classes of :mod:`pika.spec` too, so nothing here asks what a method is, and nothing waits for an answer.

    :param number: the channel's number
    :param channel: the channel
    :raises pika.exceptions.InvalidChannelNumber: when the number is no int
    """

    def __init__(self, number: int | None, channel: Channel) -> None:
        if not isinstance(number, int):
            raise exceptions.InvalidChannelNumber(number)
        super().__init__(number, [], spec.FRAME_MAX_SIZE, MAX_MESSAGE_SIZE)
        self._channel = channel

    def call(self, method: Method) -> protocol.Reply[Any]:
        """Hand a synchronous method over.

        :param method: the method
        :returns: a reply that is never done
        :raises pika.exceptions.ChannelWrongStateError: when the channel is not open
        """
        self.call_nowait(method)
        return protocol.Reply(method, ())

    def call_nowait(self, method: Method) -> None:
        """As :meth:`call`, for a method that asks for no answer."""
        self.require_open()
        self._channel._send_method(method)

    def _transmit(self, item: _Waiting) -> None:
        if item.method is not None:
            self._channel._send_method(item.method)
