"""The socket below a blocking connection, where programs look for it."""

from __future__ import annotations

import socket
from typing import Any

import pika


def test_the_socket(broker: Any) -> None:
    connection = pika.BlockingConnection(broker.parameters())
    impl: Any = connection._impl
    assert impl._transport._sock.getpeername()[1] == broker.port
    impl._transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert impl.socket is impl._transport._sock and impl.socket.fileno() > 0
    connection.close()
    assert impl._transport is None
