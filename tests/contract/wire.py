"""Frames over a plain socket: a test says what is sent, and sees what comes back, in order."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pika import frame, spec
from pika.amqp_object import Method
from pika.connection.parameters import URLParameters
from pika.credentials import PlainCredentials
from tests.support.bounded import PATIENCE

M = TypeVar("M", bound=Method)

CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}


class Hangup(Exception):
    """The broker ended the TCP connection."""


class RawFrame(NamedTuple):
    """A frame as it came."""

    kind: int
    channel: int
    payload: bytes


class Content(NamedTuple):
    """What follows a method that carries content."""

    properties: spec.BasicProperties
    body: bytes


class Received(NamedTuple):
    """A method, with its content if it carries one."""

    channel: int
    method: Any
    content: Content | None

    @property
    def name(self) -> str:
        """The method's name, as in ``Basic.Deliver``."""
        return str(self.method.NAME)


class Wire:
    """A connection on which nothing is sent that the test does not send.

    :param url: the broker's AMQP URL
    """

    def __init__(self, url: str) -> None:
        self.parameters = URLParameters(url)
        credentials = self.parameters.credentials
        assert isinstance(credentials, PlainCredentials)
        self.username, self.password = str(credentials.username), str(credentials.password)
        self.frame_max = spec.FRAME_MAX_SIZE
        self.channel_max = 0
        self.heartbeat = 0
        self.server_properties: dict[str, Any] = {}
        self._ended = False
        self._reader = frame.FrameReader(spec.FRAME_MAX_SIZE + frame.FRAME_OVERHEAD)
        address = (self.parameters.host, self.parameters.port)
        self._socket = socket.create_connection(address, timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def disconnect(self) -> None:
        """Drop the TCP connection, without a word."""
        self._socket.close()

    # Sending

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def send_frame(self, kind: int, channel: int, payload: bytes, end: int = spec.FRAME_END) -> None:
        """Send a frame of any type, with any payload."""
        self.send_bytes(struct.pack(">BHL", kind, channel, len(payload)) + payload + bytes((end,)))

    def send(self, *methods: Method, channel: int = 1) -> None:
        """Send methods, all of them at once."""
        self.send_bytes(b"".join(frame.encode_method(channel, method) for method in methods))

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        properties: spec.BasicProperties | None = None,
        *,
        mandatory: bool = False,
        immediate: bool = False,
        channel: int = 1,
    ) -> None:
        """Send basic.publish with its content."""
        method = spec.Basic.Publish(0, exchange, routing_key, mandatory, immediate)
        content = frame.encode_content(channel, properties or spec.BasicProperties(), body, self.frame_max)
        self.send_bytes(b"".join([frame.encode_method(channel, method), *content]))

    # Receiving

    def receive_bytes(self, count: int) -> bytes:
        """Take so many octets that are no frame."""
        deadline = time.monotonic() + PATIENCE
        received = b""
        while len(received) < count:
            received += self._receive(deadline)
        assert len(received) == count, received
        return received

    def next_frame(self, timeout: float = PATIENCE) -> RawFrame:
        """Take the next frame, heartbeats included.

        :raises Hangup: the broker ended the connection
        :raises TimeoutError: nothing came
        """
        deadline = time.monotonic() + timeout
        while True:
            received = self._reader.next_frame()
            if received is not None:
                return RawFrame(*received)
            self._reader.feed(self._receive(deadline))

    def _receive(self, deadline: float) -> bytes:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self._socket.recv(1 << 16)
        except socket.timeout as error:
            raise TimeoutError("nothing came from the broker") from error
        except ConnectionError:
            data = b""
        if not data:
            raise Hangup("the broker ended the TCP connection")
        return data

    def next(self, timeout: float = PATIENCE) -> Received:
        """Take the next method, with its content; heartbeats are passed over."""
        received = self.next_frame(timeout)
        while received.kind == spec.FRAME_HEARTBEAT:
            received = self.next_frame(timeout)
        assert received.kind == spec.FRAME_METHOD, received
        method = frame.decode_method(received.payload)
        if not isinstance(method, (spec.Basic.Deliver, spec.Basic.GetOk, spec.Basic.Return)):
            return Received(received.channel, method, None)
        return Received(received.channel, method, self._content(received.channel))

    def _content(self, channel: int) -> Content:
        header = self.next_frame()
        assert (header.kind, header.channel) == (spec.FRAME_HEADER, channel), header
        size, properties = frame.decode_header(header.payload)
        body = b""
        while len(body) < size:
            piece = self.next_frame()
            assert (piece.kind, piece.channel) == (spec.FRAME_BODY, channel), piece
            body += piece.payload
        return Content(properties, body)

    def expect(self, kind: type[M], channel: int = 1) -> M:
        """Take the next method, which must be of this kind on this channel."""
        received = self.next()
        assert isinstance(received.method, kind), f"{received} came, not {kind.NAME}"
        assert received.channel == channel
        return received.method

    def expect_content(self, kind: type[M], channel: int = 1) -> tuple[M, Content]:
        """Take the next method, which must be of this kind on this channel, and its content."""
        received = self.next()
        assert isinstance(received.method, kind), f"{received} came, not {kind.NAME}"
        assert received.channel == channel
        assert received.content is not None
        return received.method, received.content

    def names(self, count: int) -> list[str]:
        """Take so many methods, and return their names."""
        return [self.next().name for _ in range(count)]

    def expect_channel_closed(self, code: int, text: str, method: type[Method] | None, channel: int = 1) -> None:
        """Take a channel.close with this reason over this method, and answer it."""
        self._check_close(self.expect(spec.Channel.Close, channel), code, text, method)
        self.send(spec.Channel.CloseOk(), channel=channel)

    def expect_closed(self, code: int, text: str, method: type[Method] | None = None) -> None:
        """Take a connection.close with this reason over this method (None: over no method), and answer it."""
        self._check_close(self.expect(spec.Connection.Close, 0), code, text, method)
        self.send(spec.Connection.CloseOk(), channel=0)
        self._ended = True

    def _check_close(
        self, close: spec.Channel.Close | spec.Connection.Close, code: int, text: str, method: type[Method] | None
    ) -> None:
        assert (close.reply_code, close.reply_text) == (code, text)
        index = 0 if method is None else method.INDEX
        assert index is not None
        assert (close.class_id, close.method_id) == (index >> 16, index & 0xFFFF)

    def expect_hangup(self) -> None:
        """See the broker end the TCP connection, and nothing before that."""
        try:
            received = self.next()
        except Hangup:
            return
        raise AssertionError(f"{received} came, not the end of the TCP connection")

    # The usual beginning

    def start(self) -> spec.Connection.Start:
        """Send the protocol header, and take connection.start."""
        self.send_bytes(frame.ProtocolHeader().marshal())
        start = self.expect(spec.Connection.Start, 0)
        self.server_properties = start.server_properties or {}
        return start

    def log_in(
        self,
        username: str | None = None,
        password: str | None = None,
        capabilities: Mapping[str, bool] = CAPABILITIES,
    ) -> None:
        """Answer connection.start, by default with the credentials of the URL."""
        username = self.username if username is None else username
        password = self.password if password is None else password
        response = f"\0{username}\0{password}"
        properties = {"product": "contract", "capabilities": dict(capabilities)}
        self.send(spec.Connection.StartOk(properties, "PLAIN", response, "en_US"), channel=0)

    def tune(
        self, channel_max: int | None = None, frame_max: int | None = None, heartbeat: int = 0
    ) -> spec.Connection.Tune:
        """Take connection.tune, and answer it: with the broker's own proposals, except the heartbeat."""
        tune = self.expect(spec.Connection.Tune, 0)
        self.channel_max = tune.channel_max if channel_max is None else channel_max
        self.frame_max = tune.frame_max if frame_max is None else frame_max
        self.heartbeat = heartbeat
        self.send(spec.Connection.TuneOk(self.channel_max, self.frame_max, heartbeat), channel=0)
        return tune

    def open(self, virtual_host: str | None = None) -> None:
        """Open the virtual host, by default that of the URL."""
        host = self.parameters.virtual_host if virtual_host is None else virtual_host
        self.send(spec.Connection.Open(host), channel=0)
        self.expect(spec.Connection.OpenOk, 0)

    def connect(
        self,
        channel_max: int | None = None,
        frame_max: int | None = None,
        heartbeat: int = 0,
        capabilities: Mapping[str, bool] = CAPABILITIES,
    ) -> Wire:
        """Do the whole handshake."""
        self.start()
        self.log_in(capabilities=capabilities)
        self.tune(channel_max, frame_max, heartbeat)
        self.open()
        return self

    def open_channel(self, channel: int = 1) -> None:
        """Open a channel."""
        self.send(spec.Channel.Open(), channel=channel)
        self.expect(spec.Channel.OpenOk, channel)

    def declare_queue(self, queue: str = "", channel: int = 1) -> str:
        """Declare an exclusive queue, and return its name."""
        self.send(spec.Queue.Declare(0, queue, exclusive=True), channel=channel)
        return str(self.expect(spec.Queue.DeclareOk, channel).queue)

    def close(self) -> None:
        """Close the connection, whatever is still on its way; one that is closed already is only disconnected."""
        try:
            if self._ended:
                return
            self.send(spec.Connection.Close(200, "done", 0, 0), channel=0)
            while not isinstance(self.next().method, spec.Connection.CloseOk):
                pass
        except (OSError, Hangup):
            pass
        finally:
            self.disconnect()
