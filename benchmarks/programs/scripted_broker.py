"""A broker that is a script: it opens what is opened, and answers basic.get with a body of a given size.

As a program it serves one TCP connection, and prints the port first. Arguments: octets of the body.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Callable

from pika import frame, protocol, spec
from pika.amqp_object import Method
from pika.credentials import PlainCredentials

FRAME_MAX = 131072
_PROTOCOL_HEADER_SIZE = 8
_PATTERN = bytes(range(256)) * (FRAME_MAX // 256)


class ScriptedBroker:
    """The broker's side of a connection, without I/O.

    :param body_size: octets of the body that basic.get is answered with
    """

    def __init__(self, body_size: int) -> None:
        self.body_size = body_size
        self._reader = frame.FrameReader()
        self._greeting = b""

    def answer(self, data: bytes) -> Iterator[bytes]:
        """Take what the client sends, and iterate over the pieces of the answer."""
        if len(self._greeting) < _PROTOCOL_HEADER_SIZE:
            missing = _PROTOCOL_HEADER_SIZE - len(self._greeting)
            self._greeting += data[:missing]
            data = data[missing:]
            if len(self._greeting) == _PROTOCOL_HEADER_SIZE:
                yield frame.encode_method(0, spec.Connection.Start(0, 9, {}, b"PLAIN", b"en_US"))
        self._reader.feed(data)
        while True:
            found = self._reader.next_frame()
            if found is None:
                return
            _frame_type, channel, payload = found
            method = frame.decode_method(payload)
            if isinstance(method, spec.Basic.Get):
                yield from self._message(channel)
            elif type(method) in _ANSWERS:
                yield frame.encode_method(channel, _ANSWERS[type(method)]())

    def _message(self, channel: int) -> Iterator[bytes]:
        yield frame.encode_method(channel, spec.Basic.GetOk(1, False, "", "key", 0))
        yield frame.encode_header(channel, self.body_size, spec.BasicProperties())
        for fragment in body_pieces(self.body_size):
            yield frame.Body(channel, fragment).marshal()


_ANSWERS: dict[type[Method], Callable[[], Method]] = {
    spec.Connection.StartOk: lambda: spec.Connection.Tune(2047, FRAME_MAX, 0),
    spec.Connection.Open: spec.Connection.OpenOk,
    spec.Connection.Close: spec.Connection.CloseOk,
    spec.Channel.Open: spec.Channel.OpenOk,
    spec.Basic.Consume: lambda: spec.Basic.ConsumeOk("consumer"),
}


def body_pieces(body_size: int) -> Iterator[bytes]:
    """Iterate over the body, in pieces as large as fit into a frame."""
    limit = FRAME_MAX - frame.FRAME_OVERHEAD
    whole = _PATTERN[:limit]
    for left in range(body_size, 0, -limit):
        yield whole if left >= limit else whole[:left]


def is_body(body: bytes, body_size: int) -> bool:
    """Tell whether a body is the one that the broker sent."""
    position = 0
    with memoryview(body) as view:
        for piece in body_pieces(body_size):
            if view[position : position + len(piece)] != piece:
                return False
            position += len(piece)
    return position == len(body)


def converse(connection: protocol.Connection, broker: ScriptedBroker) -> list[protocol.Event]:
    """Carry bytes between a client and the broker until neither has more to say; return the client's events."""
    events: list[protocol.Event] = []
    while True:
        sent = b"".join(connection.data_to_send())
        if not sent:
            return events
        connection.receive_data(b"".join(broker.answer(sent)), 0.0)
        events += connection.events()


def open_channel(broker: ScriptedBroker) -> tuple[protocol.Connection, protocol.Channel]:
    """Open a connection to the broker, and a channel on it."""
    connection = protocol.Connection(protocol.Settings(PlainCredentials("guest", "guest")))
    connection.start(0.0)
    converse(connection, broker)
    channel = connection.open_channel()
    channel.open()
    converse(connection, broker)
    channel.require_open()
    return connection, channel


def main() -> None:
    broker = ScriptedBroker(int(sys.argv[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        client, _ = listener.accept()
    with client:
        while True:
            data = client.recv(65536)
            if not data:
                return
            for piece in broker.answer(data):
                client.sendall(piece)


if __name__ == "__main__":
    main()
