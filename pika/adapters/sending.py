"""What a callback connection sends on an event loop: in bursts, and with back-pressure."""

from __future__ import annotations

from typing import Any, Callable

from pika.adapters.utils.nbio_interface import AbstractIOServices, AbstractStreamTransport, AbstractTimerReference
from pika.adapters.utils.outflow import Outflow, OutputLimitExceeded
from pika.adapters.utils.stream_transport import StreamTransport
from pika.connection import Connection, Parameters

# How many pieces are kept, while events are dealt with, to be sent in one go: a small message is one.
_HELD_PIECES = 128
# How often a loop that does not tell is asked whether what waits was sent, in seconds.
_LOOK = 0.05


class SendingConnection(Connection):
    """The part of a connection on an event loop that sends.

    :param parameters: as :class:`BaseConnection` has them, and so the callbacks
    :param on_open_callback: see above
    :param on_open_error_callback: see above
    :param on_close_callback: see above
    :param nbio: the services of the event loop
    """

    #: How many bytes may wait to be sent before the paused callbacks are called.
    OUTPUT_HIGH_MARK: int = 16 * 1024 * 1024
    #: With how many bytes left the resumed callbacks are called.
    OUTPUT_LOW_MARK: int = 4 * 1024 * 1024
    #: How many bytes may wait for a publish to be accepted.
    OUTPUT_LIMIT: int = 1024 * 1024 * 1024

    _transport: AbstractStreamTransport | None = None
    # The same, where it can do more than the interface says.
    _streaming: StreamTransport | None = None

    def __init__(
        self,
        parameters: Parameters | None,
        on_open_callback: Callable[[Any], object] | None,
        on_open_error_callback: Callable[[Any, Any], object] | None,
        on_close_callback: Callable[[Any, Any], object] | None,
        nbio: AbstractIOServices,
    ) -> None:
        self._nbio = nbio
        self._outflow: Outflow[SendingConnection] = Outflow(
            self, lambda callback: self._adapter_call_later(0, callback)
        )
        self._outflow_timer: AbstractTimerReference | None = None
        self._writing = False
        # Whether something was sent since the loop went on, so that what comes now may wait until it goes on again.
        self._bursting = False
        super().__init__(parameters, on_open_callback, on_open_error_callback, on_close_callback, False)

    # Back-pressure

    @property
    def unsent_bytes(self) -> int:
        """How many bytes wait to be sent, because the broker has not taken them yet."""
        if self._transport is None:
            return 0
        return self._transport.get_write_buffer_size() + sum(map(len, self._protocol.output))

    @property
    def is_output_paused(self) -> bool:
        """Whether so much waits that publishing should pause: see :meth:`add_on_output_paused_callback`. Not so once
        the connection has ended."""
        return self._outflow.paused

    def add_on_output_paused_callback(self, callback: Callable[[Any], object]) -> None:
        """Have a function called when more than :attr:`OUTPUT_HIGH_MARK` bytes wait to be sent: in the middle of the
        publish that makes it more.

        :param callback: called as ``callback(connection)``
        :raises TypeError: it cannot be called
        """
        self._outflow.add(self._outflow.on_paused, callback)

    def add_on_output_resumed_callback(self, callback: Callable[[Any], object]) -> None:
        """Have a function called when so much of it was sent that :attr:`OUTPUT_LOW_MARK` bytes are left. When the
        connection ends before that, the close callback tells, and this one is not called.

        :param callback: called as ``callback(connection)``
        :raises TypeError: it cannot be called
        """
        self._outflow.add(self._outflow.on_resumed, callback)

    @property
    def _is_congested(self) -> bool:
        return self._outflow.paused

    def _require_room(self) -> None:
        if self.unsent_bytes > self.OUTPUT_LIMIT:
            raise OutputLimitExceeded(
                f"{self.unsent_bytes} bytes wait to be sent to {self._protocol.settings.peer}, which is more than "
                f"OUTPUT_LIMIT ({self.OUTPUT_LIMIT}), so this message was not taken; publish less while the broker "
                f"takes less: see add_on_output_paused_callback()"
            )

    def _look_at_output(self) -> None:
        outflow = self._outflow
        outflow.look(self.unsent_bytes, self.OUTPUT_HIGH_MARK, self.OUTPUT_LOW_MARK)
        if outflow.paused and self._streaming is None and self._outflow_timer is None and self._transport is not None:
            self._outflow_timer = self._adapter_call_later(_LOOK, self._look_again)

    def _look_again(self) -> None:
        self._outflow_timer = None
        self._look_at_output()

    # Sending

    def _flush(self) -> None:
        output = self._protocol.output
        # What is large, and so ends in an end octet by itself, does not wait.
        if len(output) < _HELD_PIECES and (not output or len(output[-1]) > 1):
            if self._processing or self._bursting:
                # More may come while an event is dealt with, or in what is left of a burst: it goes out in one go.
                return
            if output and self._was_open:
                # The first of what may become a burst goes at once; what comes before the loop goes on, behind it. Said
                # in this order: what is called for nothing does no harm.
                self._bursting = self._call_soon(self._end_burst)
        self._flush_now()

    def _call_soon(self, callback: Callable[[], object]) -> bool:
        """Have a function called when the loop goes on.

        :returns: whether it will be, as far as that can be told: not where the loop does not run
        """
        call_soon: Callable[[Callable[[], object]], bool] | None = getattr(self._nbio, "call_soon", None)
        if call_soon is not None:
            return call_soon(callback)
        self._adapter_call_later(0, callback)
        return True

    def _end_burst(self) -> None:
        self._bursting = False
        self._flush_now()

    def _flush_now(self) -> None:
        rules, output = self._protocol, self._protocol.output
        inside = self._inside
        busy = inside.busy
        # A signal handler that comes in between leaves its output to the loop that it interrupts: none overtakes.
        while output and not self._writing:
            try:
                self._writing = True
                inside.busy = busy + 1
                self._send_pieces(rules.data_to_send())
                self._writing = False
                inside.busy = busy
            except BaseException as error:
                self._writing = False
                inside.busy = busy
                self._give_up(error)
                raise
        streaming = self._streaming
        if streaming is None or streaming.stream.has_output or self._outflow.paused:
            self._look_at_output()

    def _send_pieces(self, pieces: list[bytes | memoryview]) -> None:
        if self._streaming is not None:
            if len(pieces) == 1:
                self._streaming.write(pieces[0])
            else:
                self._streaming.write_pieces(pieces)
        elif self._transport is not None:
            self._emit_pieces(pieces)
