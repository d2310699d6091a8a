"""A client to drive the broker's connections with, frame by frame and without sockets."""

from __future__ import annotations

from typing import Any, NamedTuple, Union

from pika import frame, spec
from pika.amqp_object import Method
from pika.broker.connection import ServerConnection
from pika.broker.node import Limits, Node
from pika.broker.users import User
from pika.broker.vhost import VirtualHost

CAPABILITIES = {"authentication_failure_close": True, "consumer_cancel_notify": True}


class Content(NamedTuple):
    """What came with a deliver, a get-ok or a return."""

    method: Method
    properties: spec.BasicProperties
    body: bytes


Received = Union[Method, Content, str]


def make_node(**limits: Any) -> Node:
    """A broker with the user guest and the virtual host /."""
    return Node({"guest": User("guest")}, {"/": VirtualHost("/")}, Limits(**limits))


class Peer:
    """A client's end.

    :param node: the broker to connect to
    :param now: the time
    """

    def __init__(self, node: Node, now: float = 0.0) -> None:
        self.node = node
        self.now = now
        self.connection = ServerConnection(node, now)
        self._reader = frame.FrameReader()
        self._contents: dict[int, list[Any]] = {}

    def feed(self, data: bytes) -> list[tuple[int, Received]]:
        """Send bytes, and return what comes back."""
        self.connection.receive_data(data, self.now)
        return self.received()

    def received(self) -> list[tuple[int, Received]]:
        """Return what came since it was last asked for: channel numbers with methods, contents or frame names."""
        data = b""
        while self.connection.output.size:
            piece = bytes(self.connection.output.peek())
            # In two halves, as a socket may take them.
            self.connection.sent(len(piece) // 2, self.now)
            rest = bytes(self.connection.output.peek())
            self.connection.sent(len(piece) - len(piece) // 2, self.now)
            data += piece[: len(piece) // 2] + rest[: len(piece) - len(piece) // 2]
        self.connection.flushed(self.now)
        self.node.dirty = [other for other in self.node.dirty if other is not self.connection]
        found: list[tuple[int, Received]] = []
        if data[:4] == b"AMQP":
            found.append((0, repr(data[:8])))
            data = data[8:]
        self._reader.feed(data)
        while True:
            taken = self._reader.next_frame()
            if taken is None:
                return found
            self._take(*taken, found)

    def _take(self, kind: int, number: int, payload: bytes, found: list[tuple[int, Received]]) -> None:
        if kind == spec.FRAME_HEARTBEAT:
            found.append((number, "heartbeat"))
        elif kind == spec.FRAME_METHOD:
            method = frame.decode_method(payload)
            if spec.has_content(method.INDEX or 0):
                self._contents[number] = [method]
            else:
                found.append((number, method))
        else:
            content = self._contents[number]
            if kind == spec.FRAME_HEADER:
                content += [*frame.decode_header(payload), b""]
            else:
                content[3] += payload
            if len(content[3]) == content[1]:
                del self._contents[number]
                found.append((number, Content(content[0], content[2], content[3])))

    def handshake(
        self,
        *,
        user: str = "guest",
        password: str = "guest",
        vhost: str = "/",
        heartbeat: int = 0,
        frame_max: int = 131072,
    ) -> list[tuple[int, Received]]:
        """Open the connection, and return what came back."""
        response = f"\0{user}\0{password}"
        start_ok = spec.Connection.StartOk({"capabilities": CAPABILITIES}, "PLAIN", response, "en_US")
        found = self.feed(frame.ProtocolHeader().marshal())
        found += self.send(0, start_ok)
        if isinstance(found[-1][1], spec.Connection.Tune):
            found += self.send(0, spec.Connection.TuneOk(2047, frame_max, heartbeat), spec.Connection.Open(vhost))
        return found

    def send(self, number: int, *methods: Method) -> list[tuple[int, Received]]:
        """Send methods on a channel, and return what came back."""
        return self.feed(b"".join(frame.encode_method(number, method) for method in methods))

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        properties: spec.BasicProperties | None = None,
        *,
        number: int = 1,
        mandatory: bool = False,
        frame_max: int = 131072,
    ) -> list[tuple[int, Received]]:
        """Publish a message, and return what came back."""
        return self.feed(published(exchange, routing_key, body, properties, number, mandatory, frame_max))

    def call(self, method: Method, number: int = 1) -> Any:
        """Send a method on a channel, and return the one thing that came back."""
        found = self.send(number, method)
        assert len(found) == 1, found
        assert found[0][0] in {0, number}, found
        return found[0][1]


def published(
    exchange: str,
    routing_key: str,
    body: bytes = b"",
    properties: spec.BasicProperties | None = None,
    number: int = 1,
    mandatory: bool = False,
    frame_max: int = 131072,
) -> bytes:
    """The frames of a published message."""
    method = spec.Basic.Publish(0, exchange, routing_key, mandatory)
    content = frame.encode_content(number, properties or spec.BasicProperties(), body, frame_max)
    return frame.encode_method(number, method) + b"".join(content)


def connected(node: Node | None = None, *channels: int) -> Peer:
    """A client with an open connection and these channels, 1 unless given."""
    peer = Peer(node or make_node())
    peer.handshake()
    for number in channels or (1,):
        peer.send(number, spec.Channel.Open())
    return peer


def refusal(found: Any) -> tuple[int, str]:
    """The code and the text of a close."""
    assert isinstance(found, (spec.Channel.Close, spec.Connection.Close)), found
    return found.reply_code, str(found.reply_text)


def bodies(found: list[tuple[int, Received]]) -> list[bytes]:
    """The bodies among what came back."""
    return [item.body for _, item in found if isinstance(item, Content)]


def precondition(text: str) -> tuple[int, str]:
    """The code and the text of a close with code 406."""
    return 406, f"PRECONDITION_FAILED - {text}"


def queue(name: str, **arguments: Any) -> spec.Queue.Declare:
    """A queue.declare."""
    return spec.Queue.Declare(queue=name, **arguments)


def exchange(name: str, kind: str = "direct", **arguments: Any) -> spec.Exchange.Declare:
    """An exchange.declare."""
    return spec.Exchange.Declare(exchange=name, type=kind, **arguments)
