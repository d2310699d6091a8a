"""TLS in front of a server that has none."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress

from tests.support.bounded import PATIENCE
from tests.support.peer import Peer, PeerSocket

_CHUNK = 65536


def tls_proxy(port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> Peer:
    """A server that speaks TLS to its clients and passes what they say on to a plain server: a context manager.

    When one side ends, so does the other: with a close-notify towards the client.

    :param port: the plain server's port
    :param context: a server's
    :param host: the plain server's host
    """

    def forward(client: PeerSocket) -> None:
        gone = suppress(ConnectionError, ssl.SSLError)
        with socket.create_connection((host, port), timeout=PATIENCE) as server, gone:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _exchange(client.socket, server)

    return Peer(forward, tls=context)


def _exchange(client: socket.socket, server: socket.socket) -> None:
    assert isinstance(client, ssl.SSLSocket)
    while True:
        # What OpenSSL has decrypted already is seen by no select().
        ready = [client] if client.pending() else select.select([client, server], [], [])[0]
        for source, target in ((client, server), (server, client)):
            if source in ready:
                data = source.recv(_CHUNK)
                if not data:
                    return
                target.sendall(data)
