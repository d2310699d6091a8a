"""The callback connection under :class:`~pika.adapters.blocking_connection.BlockingConnection`."""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import Callable

from pika import exceptions
from pika._threads import one_thread
from pika.adapters.blocking_events import LOGGER
from pika.adapters.ending import Ending
from pika.connection import Connection, Parameters
from pika.transport import keeper
from pika.transport.stream import Ready, Stream
from pika.transport.timers import Timer, Timers

#: A publisher that only writes looks this often, in seconds, whether the broker has said anything.
GLANCE_INTERVAL = 0.001

_READ, _WRITE = Ready.READ, Ready.WRITE


class _Transport:
    """Where programs written for pika 1.x look for the socket.

    :param sock: the socket
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock


class PumpedConnection(Connection):
    """A callback connection on a :class:`~pika.transport.stream.Stream`, which moves only while somebody pumps.

    When :meth:`_adapter_emit_data` returns, the bytes are with the kernel.

    :param parameters: the parameters that the stream was connected with
    :param stream: the stream, connected
    """

    def __init__(self, parameters: Parameters, stream: Stream) -> None:
        self.stream = stream
        self.ending = Ending()
        #: Until when, on ``time.monotonic()``, bytes may wait for the broker to take them; None for no limit.
        self.write_deadline: float | None = None
        #: When an alarm of the broker's ended last, on ``time.monotonic()``.
        self.unblocked_at = 0.0
        self._timers = Timers()
        # What other threads handed over.
        self._soon: deque[Callable[[], object]] = deque()
        self._glanced_at = 0.0
        self._writing = False
        self._pushing = False
        # How deep it is in dealing with what has arrived.
        self._acts = 0
        self._duty: keeper.Duty | None = None
        super().__init__(parameters, on_open_error_callback=_note_open_error, on_close_callback=_note_end)
        stream.peer = self._protocol.settings.peer
        self.add_on_connection_unblocked_callback(_note_unblocked)

    @property
    def interrupted(self) -> bool:
        """Whether I/O is going on. Whoever finds this set is a signal handler that interrupts it, and cannot wait for
        an answer: what is interrupted would have to go on first."""
        return self._inside.busy > 0

    def keep_heartbeats(self) -> None:
        """Have heartbeats sent while nobody pumps, because the thread is busy in the program."""
        if self._protocol.heartbeat_interval:
            # Held here, and only here: it goes with the connection, also when that is forgotten without a close.
            self._duty = keeper.Duty(self._protocol, self.stream)
            keeper.keep(self._duty)

    # What programs read of the stream

    @property
    def socket(self) -> socket.socket:
        """The socket, for programs that look at its addresses or set its options; under TLS it carries the records."""
        return self.stream.socket

    @property
    def _transport(self) -> _Transport | None:
        return None if self.stream.closed else _Transport(self.stream.socket)

    # I/O

    @one_thread
    def pump(self, timeout: float | None) -> None:
        """Do one round: wait for bytes, for room to send, for a timer or a wake-up, then act on it.

        :param timeout: seconds to wait at the most; None for no limit
        """
        self._pump(timeout)

    def _pump(self, timeout: float | None) -> None:
        stream = self.stream
        if stream.closed:
            # An exception may have cut the report of the end short.
            if self._closed is not None:
                self._on_stream_terminated(None)
            self._run_due()
            return
        deadline = self._timers.next_deadline()
        if deadline is not None:
            until_timer = deadline - time.monotonic()
            if timeout is None or until_timer < timeout:
                timeout = until_timer
        inside = self._inside
        busy = inside.busy
        try:
            # While it waits, a signal handler may do all that a program may do, unless an event is half dealt with.
            inside.busy = self._acts
            ready = stream.wait(timeout)
        finally:
            inside.busy = busy
        self._act(ready, self._soon or (deadline is not None and time.monotonic() >= deadline))

    def receive(self) -> None:
        """Take what has arrived, without waiting, and run no timer.

        The caller is inside already.
        """
        if not self.stream.closed:
            self._act(Ready.READ, run_due=False)

    def glance(self) -> bool:
        """Take what has arrived and run what is due, without waiting, unless that was done a moment ago.

        :returns: whether it looked
        """
        now = time.monotonic()
        if now - self._glanced_at < GLANCE_INTERVAL:
            return False
        self._look(now)
        return True

    def _look(self, now: float) -> None:
        inside = self._inside
        if not inside.acquire(False):
            # What another thread does this for refuses it, by its own name.
            return
        busy = inside.busy
        try:
            # Not for a signal handler that interrupts it.
            if not self.interrupted and not self.stream.closed:
                self._glanced_at = now
                self._act(Ready.READ)
        except BaseException as error:
            inside.require_order(busy, error)
            raise
        finally:
            inside.release()

    def _act(self, ready: int, run_due: object = True) -> None:
        inside = self._inside
        busy, acts = inside.busy, self._acts
        try:
            self._acts = acts + 1
            inside.busy = busy + 1
            if ready & _WRITE:
                self.stream.flush()
            if ready & _READ:
                self._receive()
            if run_due:
                self._run_due()
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._acts = acts
            inside.busy = busy

    def pump_until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Pump until something holds or the connection is closed. The caller is inside already.

        :param done: says whether it holds
        :param timeout: seconds; None for no limit
        :returns: whether it holds
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            if self.stream.closed:
                self._pump(0)
                return done()
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            self._pump(remaining)
        return True

    def abort(self, error: BaseException) -> None:
        """End the connection at once, without a word to the broker.

        :param error: the reason
        """
        if not self.stream.closed:
            self.stream.close()
            self._on_stream_terminated(error)

    def _abort(self, error: BaseException) -> None:
        self.abort(error)

    def _on_fork(self, parent: int) -> None:
        super()._on_fork(parent)
        self.stream.abandon()
        self.ending.reason = self._protocol.error
        # No news: the program has forked knowingly.
        self.ending.told = True

    def _receive(self) -> None:
        try:
            data = self.stream.read()
        except exceptions.StreamLostError as error:
            self.stream.close()
            self._on_stream_terminated(error)
            return
        if data is not None:
            # As _on_data_available() does it: whoever is here is inside already.
            self._protocol.receive_data(data, time.monotonic())
            self._act_on_events()

    def _run_due(self) -> None:
        deadline = self._timers.next_deadline()
        if deadline is not None:
            now = time.monotonic()
            if now >= deadline:
                self._timers.run_due(now)
        if not self._soon:
            return
        # As many as there are now: one that adds another must not keep us here.
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    # The callback connection's side

    def _flush(self) -> None:
        inside, rules = self._inside, self._protocol
        busy = inside.busy
        # A signal handler that comes in between leaves its output to the loop that it interrupts: none overtakes.
        stream, output = self.stream, rules.output
        through = bool(output) or not stream.has_output
        while output and not self._writing:
            try:
                self._writing = True
                inside.busy = busy + 1
                pieces = rules.data_to_send()
                through = stream.write(pieces[0]) if len(pieces) == 1 else stream.write_pieces(pieces)
                self._writing = False
                inside.busy = busy
            except BaseException as error:
                self._writing = False
                inside.busy = busy
                self._give_up(error)
                raise
        if not (through or self._pushing or self._acts or self._writing) and stream.pending_output:
            self._push_out()

    _flush_now = _flush

    def _tick(self) -> None:
        # However the turns of the loop went: silence is judged once everything that has arrived was read.
        if not self.stream.closed:
            self._receive()
        super()._tick()

    def _push_out(self) -> None:
        # Of what a call of the program has to send; what is answered to the broker goes out as it can. While the broker
        # takes nothing, it is read on: a broker under an alarm goes on sending heartbeats, and says that it has blocked
        # us. Silence ends this, and so do blocked_connection_timeout and closing.
        try:
            self._pushing = True
            while self.stream.pending_output and not self.stream.closed:
                remaining = None if self.write_deadline is None else self.write_deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    break
                self.pump(remaining)
        finally:
            self._pushing = False

    def _adapter_connect_stream(self) -> None:
        self._on_stream_connected()

    def _adapter_disconnect_stream(self) -> None:
        self.stream.close()
        self._on_stream_terminated(None)

    def _adapter_emit_data(self, data: bytes) -> None:
        self.stream.write(data)

    def _adapter_call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        return self._timers.call_at(time.monotonic() + delay, callback)

    def _adapter_remove_timeout(self, timeout_id: Timer) -> None:
        self._timers.cancel(timeout_id)

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        self._soon.append(callback)
        self.stream.wake()


def _note_open_error(connection: Connection, error: BaseException) -> None:
    assert isinstance(connection, PumpedConnection)
    connection.ending.reason = error


def _note_end(connection: Connection, error: BaseException) -> None:
    assert isinstance(connection, PumpedConnection)
    connection.ending.reason = error
    if not connection.ending.by_user:
        LOGGER.error("The connection to %s has ended: %s", connection.stream.peer, error)


def _note_unblocked(connection: Connection, _method_frame: object) -> None:
    assert isinstance(connection, PumpedConnection)
    connection.unblocked_at = time.monotonic()
