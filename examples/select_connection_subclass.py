"""A connection on nothing but ``select()`` and a socket of one's own: a subclass of ``pika.connection.Connection``.

For programs with a main loop of their own, which calls ``turn()``. TLS and the like are left to pika's own adapters.

    python examples/select_connection_subclass.py [amqp-url]

publishes three messages, consumes them, and closes the connection.
"""

import collections
import contextlib
import itertools
import select
import socket
import sys
import time

import pika
from pika.connection import Connection


class LoopConnection(Connection):
    """A connection that moves while somebody calls :meth:`turn`, or :meth:`run`."""

    def __init__(self, *args, **kwargs):
        self._socket = None
        self._ended = False
        self._output = bytearray()
        self._timers = {}
        self._numbers = itertools.count()
        # Other threads put callbacks here, and write to the waker for select() to return.
        self._from_threads = collections.deque()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        super().__init__(*args, **kwargs)

    # What pika calls. Each returns at once but the first, which waits; what comes of it is told in a later turn.

    def _adapter_connect_stream(self):
        try:
            self._socket = socket.create_connection((self.params.host, self.params.port), self.params.socket_timeout)
        except OSError as error:
            self._end(error)
        else:
            self._socket.setblocking(False)
            self._adapter_call_later(0, self._on_stream_connected)

    def _adapter_disconnect_stream(self):
        # All that can be left is the answer to a close of the broker's, and that fits into the socket's buffer.
        self._send()
        self._end(None)

    def _adapter_emit_data(self, data):
        self._output += data
        self._send()

    def _adapter_call_later(self, delay, callback):
        number = next(self._numbers)
        self._timers[number] = (time.monotonic() + delay, number, callback)
        return number

    def _adapter_remove_timeout(self, timeout_id):
        self._timers.pop(timeout_id, None)

    def _adapter_add_callback_threadsafe(self, callback):
        self._from_threads.append(callback)
        # When the waker takes no more, the loop is about to wake up anyway.
        with contextlib.suppress(BlockingIOError):
            self._waker.send(b"!")

    def run(self):
        """Turn until the connection is closed and everybody has been told."""
        while self._timers or self._socket:
            self.turn()
        self._waker.close()
        self._woken.close()

    def turn(self, longest=60):
        """Wait until there is something to do, for so many seconds at the most, and do it."""
        now = time.monotonic()
        timeout = max(min([longest, *(due - now for due, _, _ in self._timers.values())]), 0)
        sockets = [self._socket] if self._socket else []
        waiting = sockets if self._output else []
        readable, writable, _ = select.select([self._woken, *sockets], waiting, [], timeout)
        if writable:
            self._send()
        if self._socket in readable:
            self._receive()
        if self._woken in readable:
            self._woken.recv(4096)
            for _ in range(len(self._from_threads)):
                self._from_threads.popleft()()
        now = time.monotonic()
        for due, number, callback in sorted(self._timers.values()):
            # One that ran before it may have cancelled it.
            if due <= now and self._timers.pop(number, None):
                callback()

    def _receive(self):
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            return self._end(error)
        return self._on_data_available(data) if data else self._end(EOFError("the broker has closed the stream"))

    def _send(self):
        while self._output and self._socket:
            try:
                del self._output[: self._socket.send(self._output)]
            except BlockingIOError:
                return
            except OSError:
                # Reading will tell why, after what the broker has sent before.
                self._output.clear()

    def _end(self, error):
        if self._socket:
            self._socket.close()
            self._socket = None
        if not self._ended:
            self._ended = True
            self._adapter_call_later(0, lambda: self._on_stream_terminated(error))


def on_channel(channel):
    channel.queue_declare("", exclusive=True, callback=lambda frame: on_queue(channel, frame.method.queue))


def on_queue(channel, queue):
    for number in range(1, 4):
        channel.basic_publish("", queue, f"message {number}".encode())
    channel.basic_consume(queue, on_message)


def on_message(channel, method, properties, body):
    print("got", body.decode())
    channel.basic_ack(method.delivery_tag)
    if method.delivery_tag == 3:
        channel.connection.close()


if __name__ == "__main__":
    LoopConnection(
        pika.URLParameters(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/%2F"),
        on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
        on_open_error_callback=lambda connection, error: print("not connected:", error),
        on_close_callback=lambda connection, reason: print("closed:", reason),
    ).run()
