"""A message of ``pika.Connection``, and what becomes of it."""

from __future__ import annotations

import logging
from types import TracebackType

from pika import exceptions
from pika.client.message import BaseMessage, BaseProcessing

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


class Processing(BaseProcessing[Message]):
    """What :meth:`Message.process` returns."""

    __slots__ = ()

    def __enter__(self) -> Message:
        return self._message

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_settled(error):
            return
        if error is None:
            try:
                self._message.ack()
            except exceptions.MessageSettledError:
                # Another thread that has got it from the block was faster.
                if not self._ignore_processed:
                    raise
            return
        try:
            self._message.reject(self._gives_back(error))
        except exceptions.AMQPError as refusal:
            # The channel is dead, so the broker delivers it again. What the block raised is what counts.
            LOGGER.warning("A message could not be rejected after %r: %s", error, refusal)
