"""Streams over real sockets, and what their tests do with them again and again."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pika.exceptions import StreamLostError
from pika.transport.dial import TLSOptions, resolve
from pika.transport.stream import Stream
from tests.support.peer import Peer, PeerSocket

MIB = 1 << 20


class Options(NamedTuple):
    context: ssl.SSLContext
    server_hostname: str | None = None


class Target(NamedTuple):
    host: str
    port: int
    ssl_options: TLSOptions | None = None
    socket_timeout: float | None = 10.0
    stack_timeout: float | None = 15.0
    tcp_options: Mapping[str, int] | None = None
    connection_attempts: int = 1
    retry_delay: float = 2.0


def connect(target: Target, deadline: float | None = None) -> Stream:
    return Stream.connect(target, resolve(target.host, target.port)[0], deadline)


def read_exactly(stream: Stream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = stream.read(size - len(received))
        if data is None:
            stream.flush()
            assert stream.wait(20), "the peer sends nothing"
        else:
            received += data
    return bytes(received)


def read_until_lost(stream: Stream) -> tuple[bytes, StreamLostError]:
    received = bytearray()
    while True:
        try:
            data = stream.read()
        except StreamLostError as error:
            return bytes(received), error
        if data is None:
            stream.flush()
            assert stream.wait(20), "the peer sends nothing"
        else:
            received += data


def drain(stream: Stream) -> None:
    for _ in range(400):
        if stream.flush():
            return
        # Not longer: a signal handler that writes can have sent everything since.
        select.select([], [stream.socket], [], 0.05)
    raise AssertionError("the peer takes nothing")


class Link(NamedTuple):
    """How streams of a test are made: plain, or with TLS."""

    tls: ssl.SSLContext | None
    options: TLSOptions | None

    def serve(self, script: Callable[[PeerSocket], object], host: str = "127.0.0.1") -> Peer:
        return Peer(script, tls=self.tls, host=host)

    def connect(self, peer: Peer) -> Stream:
        return connect(Target(peer.host, peer.port, self.options), time.monotonic() + 20)


class Pair(NamedTuple):
    stream: Stream
    other: socket.socket
