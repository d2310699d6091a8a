"""The end of a stream that moves the bytes, on any loop that watches descriptors."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Callable, Protocol

from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport
from pika.exceptions import StreamLostError
from pika.transport.pieces import Buffer
from pika.transport.stream import Stream

# So many reads are made in a row at most, when TLS has more than the socket tells of: others have their turn, too.
_READS = 8


class WatchesDescriptors(Protocol):
    """A loop that watches descriptors, as far as streams and sockets need it."""

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """See :class:`AbstractIOServices`."""

    def set_reader(self, fd: int, on_readable: Callable[[], Any]) -> None:
        """See :class:`AbstractFileDescriptorServices`."""

    def remove_reader(self, fd: int) -> bool:
        """See :class:`AbstractFileDescriptorServices`."""

    def set_writer(self, fd: int, on_writable: Callable[[], Any]) -> None:
        """See :class:`AbstractFileDescriptorServices`."""

    def remove_writer(self, fd: int) -> bool:
        """See :class:`AbstractFileDescriptorServices`."""


class StreamTransport(AbstractStreamTransport):
    """Moves bytes between a :class:`~pika.transport.stream.Stream`, plain or TLS, and a protocol.

    :param nbio: the loop
    :param stream: connected, its TLS handshake done; taken over
    :param protocol: told what arrives
    """

    def __init__(self, nbio: WatchesDescriptors, stream: Stream, protocol: AbstractStreamProtocol) -> None:
        self.stream = stream
        #: True from before bytes are taken out of the stream until the protocol has taken note of them. The protocol
        #: may reset it itself, to have what it raises later not taken for an interruption.
        self.in_hand = False
        #: Called when the kernel has taken bytes that had to wait, if the protocol wants to know.
        self.on_output_sent: Callable[[], object] | None = None
        #: What ended the stream, unless it was :meth:`abort`.
        self.lost: StreamLostError | None = None
        self._nbio = nbio
        self._protocol = protocol
        self._fd = stream.fileno()
        self._ended = False
        self._at_eof = False
        self._writing = False
        self._reads_soon = False
        # How many bytes were written. Less what the stream says is through, they are those that wait.
        self._accepted = 0

    @property
    def _sock(self) -> socket.socket:
        return self.stream.socket

    def begin(self) -> None:
        """Tell the protocol of the stream, and begin to read.

        :raises Exception: the loop refuses to watch, which the protocol hears nothing of; or the protocol failed, which
            ends the stream
        """
        self._nbio.set_reader(self._fd, self.look)
        try:
            self._protocol.connection_made(self)
            self._see_to_it()
        except BaseException as error:
            self._lose(error)
            raise

    # What the protocol calls

    def get_protocol(self) -> AbstractStreamProtocol:
        """Return the other end."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        stream = self.stream
        if not stream.has_output:
            # Exact again, whatever a signal handler that wrote in the middle of a write has left of the count.
            self._accepted = stream.taken
            return 0
        return max(self._accepted - stream.taken, 1)

    def write(self, data: Buffer) -> None:
        """Send bytes, without blocking: what the socket does not take is kept until it does."""
        self._accepted += len(data)
        self.stream.write(data)
        self._see_to_it()

    def write_pieces(self, pieces: Sequence[Buffer]) -> None:
        """Send pieces of bytes, one behind the other.

        :param pieces: not to be changed afterwards
        """
        self._accepted += sum(map(len, pieces))
        self.stream.write_pieces(pieces)
        self._see_to_it()

    def abort(self) -> None:
        """End the stream; ``connection_lost(None)`` is called later. What waits is offered to the kernel once more."""
        if not self._ended:
            self._end()
            self._nbio.add_callback_threadsafe(self._report_abort)

    def abandon(self) -> None:
        """In the child after a fork: close the descriptor, and leave loop and peer, which are the parent's, alone."""
        self._ended = True
        self.stream.abandon()

    # What the loop calls

    def look(self) -> None:
        """Take what has arrived: called by the loop, and by whoever wants to know before its turn."""
        # What is written meanwhile need not see to it that the rest is read.
        self._reads_soon = True
        try:
            for _ in range(_READS):
                # With a plain socket the loop tells whether there is more.
                if not self._receive() or not self.stream.has_input or self._ended:
                    break
        finally:
            self._reads_soon = False
            self._see_to_it()

    def _receive(self) -> bool:
        """Hand on what has arrived. Returns whether there was something."""
        lost: StreamLostError | None = None
        data: bytes | None = None
        if self._ended or self._at_eof:
            return False
        try:
            self.in_hand = True
            try:
                data = self.stream.read()
            except StreamLostError as error:
                lost = error
            if data is not None:
                self._protocol.data_received(data)
            self.in_hand = False
        except BaseException as error:
            if self.in_hand:
                # The protocol failed, or a signal handler raised, and what was read is lost.
                self._lose(error)
            raise
        if lost is not None:
            self._lose(lost)
        return data is not None

    def _lose(self, error: BaseException) -> None:
        self.in_hand = False
        if self._ended:
            return
        if isinstance(error, StreamLostError) and error.__cause__ is None:
            self._at_eof = True
            self._nbio.remove_reader(self._fd)
            if self._protocol.eof_received():
                return
        if isinstance(error, StreamLostError):
            self.lost = error
        if not self._ended:
            self._end()
            self._protocol.connection_lost(error.__cause__ if self.lost is error else error)

    def _on_writable(self) -> None:
        if not self._ended:
            self.stream.flush()
            self._see_to_it()
            if self.on_output_sent is not None:
                self.on_output_sent()

    def _see_to_it(self) -> None:
        """Have the loop watch for what there is to do."""
        if self._ended:
            return
        stream = self.stream
        if stream.is_settled and not self._writing:
            return
        if stream.wants_room is not self._writing:
            self._writing = not self._writing
            if self._writing:
                self._nbio.set_writer(self._fd, self._on_writable)
            else:
                self._nbio.remove_writer(self._fd)
                if self.on_output_sent is not None:
                    # With TLS, reading sends too.
                    self.on_output_sent()
        if stream.has_input and not self._reads_soon and not self._at_eof:
            self._reads_soon = True
            self._nbio.add_callback_threadsafe(self.look)

    def _end(self) -> None:
        self._ended = True
        try:
            # A loop that was closed before has forgotten them.
            with suppress(KeyError):
                self._nbio.remove_reader(self._fd)
                if self._writing:
                    self._writing = False
                    self._nbio.remove_writer(self._fd)
        finally:
            self.stream.close()

    def _report_abort(self) -> None:
        self._protocol.connection_lost(None)
