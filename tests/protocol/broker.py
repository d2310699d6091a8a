"""The broker's side of a conversation, without sockets: encodes what a broker sends, decodes what the client sent."""

from __future__ import annotations

from typing import Any

from pika import frame, protocol, spec
from pika.credentials import PlainCredentials
from tests.support.encoding import content, method, raw_frame

PEER = "rabbit.example:5672"

START = spec.Connection.Start(0, 9, {"product": "RabbitMQ"}, "PLAIN AMQPLAIN", "en_US")
TUNE = spec.Connection.Tune(2047, 131072, 60)


def header(number: int, body_size: int, properties: spec.BasicProperties | None = None) -> bytes:
    """Encode a content header frame."""
    return frame.encode_header(number, body_size, properties or spec.BasicProperties())


def body(number: int, fragment: bytes) -> bytes:
    """Encode a body frame."""
    return raw_frame(spec.FRAME_BODY, number, fragment)


def deliver(number: int, tag: str, delivery_tag: int = 1, payload: bytes = b"hello") -> bytes:
    """Encode a delivery with its content."""
    return content(number, spec.Basic.Deliver(tag, delivery_tag, False, "", "key"), payload)


class Broker:
    """Talks to one client connection.

    :param connection: the client
    """

    def __init__(self, connection: protocol.Connection) -> None:
        self.connection = connection
        self.now = 0.0

    def send(self, *data: bytes) -> list[protocol.Event]:
        """Let the client receive bytes; return the events that came out."""
        for piece in data:
            self.connection.receive_data(piece, self.now)
        return list(self.connection.events())

    def frames(self) -> list[Any]:
        """Return the frames that the client sent since the last call."""
        stream = b"".join(self.connection.data_to_send())
        frames = []
        while stream:
            size, found = frame.decode_frame(stream)
            assert found is not None, "the client sent half a frame"
            frames.append(found)
            stream = stream[size:]
        return frames

    def methods(self) -> list[Any]:
        """Return the methods that the client sent since the last call, without content."""
        return [item.method for item in self.frames() if isinstance(item, frame.Method)]

    def wire(self) -> list[str]:
        """Return the names of what the client sent since the last call."""
        return [item.method.NAME if isinstance(item, frame.Method) else item.NAME for item in self.frames()]


def settings(**changes: Any) -> protocol.Settings:
    """Return settings of a guest, with changes."""
    return protocol.Settings(**{"credentials": PlainCredentials("guest", "guest"), "peer": PEER, **changes})


def handshake(connection: protocol.Connection, tune: spec.Connection.Tune = TUNE) -> Broker:
    """Open a connection and return its broker; nothing is left to send."""
    broker = Broker(connection)
    connection.start(broker.now)
    assert broker.send(method(0, START)) == []
    assert broker.send(method(0, tune)) == []
    assert broker.send(method(0, spec.Connection.OpenOk())) == [protocol.Opened()]
    assert len(broker.frames()) == 4
    return broker


def connected(tune: spec.Connection.Tune = TUNE, **changes: Any) -> Broker:
    """Return the broker of a connection that is open."""
    return handshake(protocol.Connection(settings(**changes)), tune)


def open_channel(broker: Broker, number: int | None = None) -> protocol.Channel:
    """Open a channel of the broker's connection; nothing is left to send."""
    channel = broker.connection.open_channel(number)
    reply = channel.open()
    broker.send(method(channel.number, spec.Channel.OpenOk()))
    assert reply.done and channel.state is protocol.ChannelState.OPEN
    assert broker.wire() == ["Channel.Open"]
    return channel


def consume(broker: Broker, channel: protocol.Channel, tag: str = "tag", no_ack: bool = False) -> None:
    """Have a consumer on a channel; nothing is left to send."""
    channel.basic_consume("queue", tag, no_ack=no_ack)
    broker.send(method(channel.number, spec.Basic.ConsumeOk(tag)))
    broker.frames()
