"""A broker made of a script: speaks AMQP as far as a test wants it to, and then misbehaves."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from pika import frame, spec
from pika.amqp_object import Method
from tests.support.encoding import content, method
from tests.support.peer import Peer, PeerSocket

M = TypeVar("M", bound=Method)

START = spec.Connection.Start(
    0,
    9,
    {
        "product": "Script",
        "capabilities": {"basic.nack": True, "consumer_cancel_notify": True, "publisher_confirms": True},
    },
    "PLAIN AMQPLAIN",
    "en_US",
)
TUNE = spec.Connection.Tune(2047, 131072, 0)


def delivery(number: int, consumer_tag: str, delivery_tag: int, body: bytes, routing_key: str = "queue") -> bytes:
    """Encode a delivery with its content."""
    return content(number, spec.Basic.Deliver(consumer_tag, delivery_tag, False, "", routing_key), body)


class ClientGone(Exception):
    """The client has closed the stream."""


class Session:
    """One connection of a client, as the broker's script sees it.

    :param peer: the broker's end of the TCP connection
    """

    def __init__(self, peer: PeerSocket) -> None:
        self.peer = peer
        self._received = b""

    def send(self, *data: bytes) -> None:
        """Send encoded frames, all of them in one piece."""
        self.peer.send(b"".join(data))

    def expect_header(self) -> bytes:
        """Receive and return the client's protocol header."""
        return self.peer.recv_exactly(8)

    def receive(self) -> Any:
        """Receive a frame.

        :raises ClientGone: when the client has closed the stream
        """
        while True:
            size, found = frame.decode_frame(self._received)
            if found is not None:
                self._received = self._received[size:]
                return found
            try:
                data = self.peer.recv_some()
            except ConnectionError:
                data = b""
            if not data:
                raise ClientGone
            self._received += data

    def expect(self, kind: type[M], *answers: Method) -> frame.Method[M]:
        """Receive frames up to a method, and answer it on its channel.

        :param kind: the method's class; content frames, heartbeats and other methods are passed over
        :param answers: what to send
        :raises ClientGone: when the client has closed the stream
        """
        while True:
            found = self.receive()
            if isinstance(found, frame.Method) and isinstance(found.method, kind):
                if answers:
                    self.send(method(found.channel_number, *answers))
                return found

    def expect_content(self) -> tuple[spec.BasicProperties, bytes]:
        """Receive the properties and the body that follow a method."""
        header = self.receive()
        assert isinstance(header, frame.Header)
        body = b""
        while len(body) < header.body_size:
            piece = self.receive()
            assert isinstance(piece, frame.Body)
            body += piece.fragment
        return header.properties, body

    def open(self, tune: spec.Connection.Tune = TUNE) -> None:
        """Do the handshake of a connection."""
        self.expect_header()
        self.send(method(0, START))
        self.expect(spec.Connection.StartOk, tune)
        self.expect(spec.Connection.TuneOk)
        self.expect(spec.Connection.Open, spec.Connection.OpenOk())

    def open_channel(self) -> int:
        """Let the client open a channel, and return its number."""
        return self.expect(spec.Channel.Open, spec.Channel.OpenOk()).channel_number

    def open_for_confirms(self) -> int:
        """Let the client open a connection and a channel with confirms, and return the number of that."""
        self.open()
        number = self.open_channel()
        self.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
        return number

    def accept_consumer(self, *behind: bytes) -> tuple[int, str]:
        """Let the client consume.

        :param behind: what to send in the same piece with consume-ok
        :returns: the number of the channel and the consumer tag
        """
        asked = self.expect(spec.Basic.Consume)
        number, tag = asked.channel_number, asked.method.consumer_tag
        assert tag is not None
        self.send(method(number, spec.Basic.ConsumeOk(tag)), *behind)
        return number, tag

    def close_politely(self) -> None:
        """Answer the client's close, and what comes before it; return when the client has gone."""
        try:
            while True:
                found = self.receive()
                if isinstance(found, frame.Method):
                    answer = _CLOSING.get(type(found.method))
                    if answer is not None:
                        self.send(method(found.channel_number, answer))
        except ClientGone:
            return

    def beat(self, pause: float = 0.05) -> None:
        """Send heartbeats, and take what comes, until the client has gone.

        :param pause: seconds between two of them
        """
        self.peer.socket.settimeout(pause)
        while True:
            self.send(frame.HEARTBEAT_FRAME)
            with contextlib.suppress(TimeoutError, socket.timeout):
                self.receive()

    def hold(self) -> None:
        """Say nothing more; return when the client has gone."""
        self.peer.recv_until_end()


def fall_silent(session: Session) -> None:
    """A script: let the client open a connection and a channel, and say nothing more."""
    session.open()
    session.open_channel()
    session.hold()


_CLOSING: dict[type[Method], Method] = {
    spec.Channel.Close: spec.Channel.CloseOk(),
    spec.Connection.Close: spec.Connection.CloseOk(),
}


def scripted_broker(script: Callable[[Session], object], **options: Any) -> Peer:
    """A TCP server that runs a script for each client: a context manager.

    :param script: given the session; the stream is closed when it returns. A client that goes away ends it
    :param options: those of :class:`Peer`
    """

    def run(peer: PeerSocket) -> None:
        try:
            script(Session(peer))
        except (ClientGone, EOFError, ConnectionError):
            # How a client takes a broker that misbehaves; what it raised is the test's to look at.
            return

    return Peer(run, **options)
