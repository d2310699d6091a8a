"""A connection that threads share: the lock around its state, and what is sent under it."""

from __future__ import annotations

import threading
from typing import Callable

from pika import exceptions, protocol
from pika.client.session import Session
from pika.client.threaded_waiting import is_inside, is_nested
from pika.transport.stream import Stream

#: While deliveries are worked off, so many acknowledgements are sent together.
_ACKS_TOGETHER = 32


class Sending(Session):
    """A session whose state is changed under a lock, by threads that write to the socket themselves.

    The lock is reentrant: a signal handler, or a finalizer, may come in the middle of anything. What one raises may cut
    an operation short; then the connection ends, before anybody else gets the lock and sends what is half done. So an
    operation is::

        try:
            with link.lock:
                try:
                    ...
                    link.flush()
                except BaseException as error:
                    link.cut_short(error)
                    raise
        except BaseException:
            link.let_go()
            raise

    which :meth:`do` is for all whose speed matters less.

    :param rules: the connection of the protocol, open
    :param stream: the stream, connected
    """

    def __init__(self, rules: protocol.Connection, stream: Stream) -> None:
        super().__init__(rules)
        self.lock = threading.RLock()
        self.stream = stream
        #: Whether somebody looks after acknowledgements that are not sent at once, and how many pieces wait.
        self.attending = False
        self._held_back = 0
        self._writing = False
        #: Whether there is output for which the kernel has no room, as the thread that owns the socket knows: whoever
        #: makes more should wait before.
        self.congested = False

    def do(self, operation: Callable[[], object], flush: Callable[[], None]) -> None:
        """Carry out an operation that nobody waits for, and send what it makes.

        :param operation: the operation
        :param flush: :meth:`flush` or :meth:`flush_soon`
        """
        try:
            with self.lock:
                try:
                    operation()
                    flush()
                except BaseException as error:
                    self.cut_short(error)
                    raise
        except BaseException:
            self.let_go()
            raise

    def settle(self, settle: Callable[[], None]) -> None:
        """Have messages settled; it is sent soon.

        :param settle: does it; called under the lock
        """
        self.do(settle, self.flush_soon)

    # Under the lock

    def flush(self) -> None:
        """Send what is to be sent, without waiting: see :attr:`congested`."""
        rules, stream = self.rules, self.stream
        self._held_back = 0
        # Who interrupts this, as signal handlers do, leaves its output to it: none overtakes.
        try:
            while rules.output and not self._writing:
                self._writing = True
                pieces = rules.data_to_send()
                if len(pieces) == 1:
                    stream.write(pieces[0])
                else:
                    stream.write_pieces(pieces)
                self._writing = False
        except BaseException as error:
            # Pieces that were taken out, and perhaps not sent, would be missing.
            self.cut_short(error)
            raise
        if not stream.has_output:
            self.congested = False
            return
        if not self.congested:
            # Once is enough, since its thread waits for room then: it would wake in vain for each message.
            stream.wake()
            self.congested = True

    def flush_soon(self) -> None:
        """Send an acknowledgement, perhaps together with others that are made meanwhile."""
        held_back = len(self.rules.output)
        if self.attending and held_back <= _ACKS_TOGETHER:
            self._held_back = held_back
        else:
            self.flush()

    def cut_short(self, error: BaseException) -> None:
        """Take note of what an operation raised: if it was cut short, the connection ends.

        :param error: the exception: of an argument that was refused, before anything has happened; or of a signal
            handler, in the middle of anything
        """
        # What is half done around a signal handler is none of its calls' business.
        if isinstance(error, Exception) and (is_nested() or not self._is_half_done()):
            return
        self._writing = False
        lost = exceptions.StreamLostError(f"The connection was given up: a call was cut short by {error!r}")
        lost.__cause__ = error
        # Nothing more is sent: the books may not fit what the broker would be told.
        self.rules.abandon(lost)
        self.end(lost)
        self.stream.wake()

    def _is_half_done(self) -> bool:
        begun = len(self.rules.output) > self._held_back or self._writing
        return begun or any(channel.begun[1] for channel in self.rules.channels.values())

    # By whoever calls

    def let_go(self) -> None:
        """Release the lock if an interruption has left it taken behind the end of what it was taken for."""
        is_inside(self.lock)
