"""pika on trio: ``BaseConnection``, and what it asks of an event loop (``AbstractIOServices``), TLS included.

This is all that depends on the loop; the rest is pika's. ``trio_consumer.py`` is a program that stands on it.
"""

import contextlib

import trio

from pika.adapters.base_connection import BaseConnection
from pika.adapters.utils import nbio_interface


class TrioConnection(BaseConnection):
    """A connection that is given :class:`TrioServices`; its ``ioloop`` is their nursery."""

    @classmethod
    def create_connection(cls, connection_configs, on_done, custom_ioloop=None, workflow=None):
        nbio = TrioServices(custom_ioloop)
        return cls._start_connection_workflow(
            connection_configs, lambda params: cls(params, None, None, None, nbio, False), nbio, workflow, on_done
        )


class TrioServices(nbio_interface.AbstractIOServices):
    """What a connection asks of its loop, in tasks of a nursery. Whoever opened that ends it by cancelling it."""

    def __init__(self, nursery):
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._give, self._callbacks = trio.open_memory_channel(float("inf"))
        nursery.start_soon(self._call_back)

    def get_native_ioloop(self):
        return self._nursery

    def run(self):
        raise NotImplementedError("trio.run() runs the loop")

    def stop(self):
        self._nursery.cancel_scope.cancel()

    def close(self):
        """Do nothing: trio.run() closes what it has opened."""

    def add_callback_threadsafe(self, callback):
        self._token.run_sync_soon(self._give.send_nowait, callback)

    async def _call_back(self):
        async for callback in self._callbacks:
            callback()

    def call_later(self, delay, callback):
        return Task(self._nursery, lambda _: callback(), trio.sleep, max(delay, 0))

    def getaddrinfo(self, host, port, on_done, family=0, socktype=0, proto=0, flags=0):
        return Task(self._nursery, on_done, trio.socket.getaddrinfo, host, port, family, socktype, proto, flags)

    def connect_socket(self, sock, resolved_addr, on_done):
        return Task(self._nursery, on_done, trio.socket.from_stdlib_socket(sock).connect, resolved_addr)

    def create_streaming_connection(self, protocol_factory, sock, on_done, ssl_context=None, server_hostname=None):
        async def connect():
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            try:
                if ssl_context is not None:
                    stream = trio.SSLStream(stream, ssl_context, server_hostname=server_hostname)
                    await stream.do_handshake()
                await trio.lowlevel.checkpoint_if_cancelled()
            except BaseException:
                sock.close()
                raise
            transport = Transport(stream, protocol_factory())
            self._nursery.start_soon(transport.serve)
            return transport, transport.get_protocol()

        return Task(self._nursery, on_done, connect)


class Task(nbio_interface.AbstractIOReference, nbio_interface.AbstractTimerReference):
    """Calls an asynchronous function, and then ``on_done`` with what it returned or raised, unless it is cancelled."""

    def __init__(self, nursery, on_done, function, *arguments):
        self._over, self._scope = False, trio.CancelScope()
        nursery.start_soon(self._run, on_done, function, arguments)

    async def _run(self, on_done, function, arguments):
        with self._scope:
            try:
                result = await function(*arguments)
            except Exception as error:
                # trio wraps what breaks a stream.
                result = error.__cause__ or error
        if not self._over:
            self._over = True
            on_done(result)

    def cancel(self):
        in_time, self._over = not self._over, True
        self._scope.cancel()
        return in_time


class Transport(nbio_interface.AbstractStreamTransport):
    """Moves the bytes of a stream."""

    def __init__(self, stream, protocol):
        self._stream, self._protocol = stream, protocol
        self._output, self._written, self._scope = bytearray(), trio.Event(), trio.CancelScope()
        protocol.connection_made(self)

    async def serve(self):
        lost = None
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                try:
                    async for data in self._stream:
                        self._protocol.data_received(data)
                    if self._protocol.eof_received():
                        await trio.sleep_forever()
                except trio.BrokenResourceError as error:
                    lost = error.__cause__ or error
                nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(self._stream)
        self._protocol.connection_lost(lost)

    async def _send(self):
        while True:
            await self._written.wait()
            self._written = trio.Event()
            sending = bytes(self._output)
            # Where it fails, receiving tells why, after what the broker has sent before.
            with contextlib.suppress(trio.BrokenResourceError):
                await self._stream.send_all(sending)
            del self._output[: len(sending)]

    def write(self, data):
        self._output += data
        self._written.set()

    def get_write_buffer_size(self):
        return len(self._output)

    def get_protocol(self):
        return self._protocol

    def abort(self):
        self._scope.cancel()
