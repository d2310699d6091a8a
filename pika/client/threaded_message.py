"""A message of ``pika.Connection``, and what becomes of it."""

from __future__ import annotations

import logging
from types import TracebackType

from pika import exceptions
from pika.client.message import BaseMessage

LOGGER = logging.getLogger(__name__)


class Message(BaseMessage):
    """A message; it also unpacks as ``method, properties, body``."""

    __slots__ = ()

    def ack(self, multiple: bool = False) -> None:
        """Acknowledge it (basic.ack).

        :param multiple: every message of its channel up to it too
        :raises pika.exceptions.MessageSettledError: when that was done before, or it needs none; nothing is sent
        :raises pika.exceptions.ChannelWrongStateError: when the channel that it came on is closed; nothing is sent,
            and the broker delivers it again
        """
        self._settle("acknowledged", "basic_ack", multiple)

    def nack(self, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse it (basic.nack, RabbitMQ's extension); raises as :meth:`ack`.

        :param multiple: every message of its channel up to it too
        :param requeue: give it back to its queue (the default); if not, it is dropped or dead-lettered
        """
        self._settle("refused", "basic_nack", multiple, requeue)

    def reject(self, requeue: bool = True) -> None:
        """Reject it (basic.reject); raises as :meth:`ack`.

        :param requeue: give it back to its queue (the default); if not, it is dropped or dead-lettered
        """
        self._settle("rejected", "basic_reject", requeue)

    def process(self, requeue: bool = False, ignore_processed: bool = False) -> Processing:
        """Settle it at the end of a ``with`` block: acknowledge it, or reject it when the block raises.

        An exception that is no error of the program, such as ``KeyboardInterrupt``, gives it back to its queue.

        :param requeue: whether an error gives it back to its queue; if not (the default), it is dropped or
            dead-lettered
        :param ignore_processed: whether the block may settle it itself; if not, that is an error at the end of it
        :returns: a context manager, which enters as the message
        """
        return Processing(self, requeue, ignore_processed)


class Processing:
    """What :meth:`Message.process` returns.

    :param message: the message
    :param requeue: whether an error gives it back to its queue
    :param ignore_processed: whether the block may settle it itself
    """

    __slots__ = ("_ignore_processed", "_message", "_requeue")

    def __init__(self, message: Message, requeue: bool, ignore_processed: bool) -> None:
        self._message = message
        self._requeue = requeue
        self._ignore_processed = ignore_processed

    def __enter__(self) -> Message:
        return self._message

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        message = self._message
        if message._settled and (self._ignore_processed or error is not None):
            return
        if error is None:
            message.ack()
            return
        try:
            message.reject(self._requeue or not isinstance(error, Exception))
        except exceptions.AMQPError as refusal:
            # The channel is dead, so the broker delivers it again. What the block raised is what counts.
            LOGGER.warning("A message could not be rejected after %r: %s", error, refusal)
