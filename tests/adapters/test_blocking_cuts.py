"""The stream ends at every byte of a session, in both directions: each call raises the right class, and none hangs."""

from __future__ import annotations

import bisect
import socket
import time
from typing import Any, NamedTuple

import pytest

import pika
from pika import exceptions, spec
from pika.transport.errors import DialError
from tests.support.bounded import PATIENCE, bounded
from tests.support.encoding import method
from tests.support.peer import Peer, PeerSocket
from tests.support.scripted_broker import START, TUNE, ClientGone, Session, delivery


class Cut(Exception):
    """The number of bytes that may pass is reached."""


class Limits(NamedTuple):
    """How many bytes of the broker's and of the client's pass, and how it ends then; None for all."""

    sent: int | None = None
    received: int | None = None
    reset: bool = False


class CutSocket(PeerSocket):
    """The broker's end of a connection, which fails after a number of bytes."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        super().__init__(sock)
        self.limits = limits
        self.sent = 0
        self.received = 0

    def send(self, data: bytes) -> None:
        if self.limits.sent is not None:
            data = data[: self.limits.sent - self.sent]
        super().send(data)
        self.sent += len(data)
        if self.sent == self.limits.sent:
            raise Cut

    def recv_some(self, limit: int = 65536) -> bytes:
        if self.limits.received is not None:
            limit = min(limit, self.limits.received - self.received)
            if limit == 0:
                raise Cut
        data = super().recv_some(limit)
        self.received += len(data)
        return data

    def recv_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.recv_some(size - len(data))
        return data


class Mark(NamedTuple):
    """How many bytes had passed when a step of the session was over."""

    step: str
    sent: int
    received: int


def serve(peer: CutSocket) -> list[Mark]:
    """The broker's side of the session, step by step."""
    session = Session(peer)
    marks: list[Mark] = []

    def mark(step: str) -> None:
        marks.append(Mark(step, peer.sent, peer.received))

    session.expect_header()
    session.send(method(0, START))
    mark("header")
    session.expect(spec.Connection.StartOk, TUNE)
    mark("credentials")
    session.expect(spec.Connection.TuneOk)
    session.expect(spec.Connection.Open, spec.Connection.OpenOk())
    mark("virtual host")
    number = session.open_channel()
    mark("channel")
    session.expect(spec.Queue.Declare, spec.Queue.DeclareOk("queue", 0, 0))
    mark("declare")
    session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
    mark("confirm")
    session.expect(spec.Basic.Publish)
    session.expect_content()
    session.send(method(number, spec.Basic.Ack(1)))
    mark("publish")
    _, tag = session.accept_consumer()
    mark("consume")
    session.send(delivery(number, tag, 1, b"body"))
    mark("deliver")
    session.expect(spec.Basic.Ack)
    mark("ack")
    session.expect(spec.Basic.Cancel, spec.Basic.CancelOk(tag))
    mark("cancel")
    session.expect(spec.Channel.Close, spec.Channel.CloseOk())
    mark("close channel")
    session.expect(spec.Connection.Close, spec.Connection.CloseOk())
    mark("close")
    return marks


def hang_up(peer: CutSocket) -> None:
    """End the stream as the limits say. An end of file is no more than that: all that the client sends is read."""
    if peer.limits.reset:
        peer.reset()
        return
    peer.socket.shutdown(socket.SHUT_WR)
    peer.recv_until_end()


HANDSHAKE = {
    "header": exceptions.IncompatibleProtocolError,
    "credentials": exceptions.ProbableAuthenticationError,
    "virtual host": exceptions.ProbableAccessDeniedError,
}


def use(port: int, over: list[str]) -> None:
    """The client's side of the session.

    :param over: where the names of the steps go that are over
    """
    parameters = pika.ConnectionParameters("127.0.0.1", port)
    connection = pika.BlockingConnection(parameters)
    over.extend(HANDSHAKE)
    channel = connection.channel()
    over.append("channel")
    assert channel.queue_declare("queue").method.queue == "queue"
    over.append("declare")
    channel.confirm_delivery()
    over.append("confirm")
    channel.basic_publish("", "queue", b"body", pika.BasicProperties(headers={"key": "value"}), mandatory=True)
    over.append("publish")
    got: list[bytes] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        over.append("deliver")
        channel.basic_ack(method.delivery_tag)
        over.append("ack")

    channel.basic_consume("queue", on_message, consumer_tag="consumer")
    over.append("consume")
    while not got:
        connection.process_data_events(None)
    channel.basic_cancel("consumer")
    over.append("cancel")
    channel.close()
    over.append("close channel")
    connection.close()
    over.append("close")
    assert got == [b"body"]


class Sessions:
    """Runs the session again and again on one listening socket."""

    def __init__(self) -> None:
        self._limits = Limits()
        self._marks: list[Mark] = []
        self.peer = Peer(self._run)

    def _run(self, peer: PeerSocket) -> None:
        cut = CutSocket(peer.socket, self._limits)
        try:
            self._marks = serve(cut)
            cut.recv_until_end()
        except Cut:
            hang_up(cut)
        except (ClientGone, ConnectionError):
            # The client noticed the end in the middle of what it was to send.
            return

    def record(self) -> list[Mark]:
        """Run it whole, and return how many bytes had passed at the end of each step."""
        assert self.run(Limits()) == (ORDER, None)
        # The broker's end comes to its own a moment later.
        deadline = time.monotonic() + PATIENCE
        while not self._marks:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self._marks

    def run(self, limits: Limits) -> tuple[list[str], BaseException | None]:
        """Run it within limits, and return the steps that were over, with what was raised."""
        self._limits = limits
        over: list[str] = []
        try:
            bounded(lambda: use(self.peer.port, over))
        except exceptions.AMQPError as error:
            return over, error
        return over, None


ORDER = [
    "header",
    "credentials",
    "virtual host",
    "channel",
    "declare",
    "confirm",
    "publish",
    "consume",
    "deliver",
    "ack",
    "cancel",
    "close channel",
    "close",
]


@pytest.mark.parametrize("how", ["end of file", "reset"])
@pytest.mark.parametrize("direction", ["broker to client", "client to broker"])
def test_the_stream_ends_at_every_byte(direction: str, how: str) -> None:
    sessions = Sessions()
    with sessions.peer:
        marks = sessions.record()
        passed = [mark.sent if direction == "broker to client" else mark.received for mark in marks]
        for offset in range(passed[-1]):
            limits = {"sent" if direction == "broker to client" else "received": offset, "reset": how == "reset"}
            over, error = sessions.run(Limits(**limits))  # type: ignore[arg-type]  # by name
            # What is over when so many bytes have passed is over for the client too, and nothing behind it.
            step = marks[bisect.bisect_right(passed, offset)].step
            check(step, over, error, f"{offset} bytes, in {step}: {over}, {error!r}")


def check(step: str, over: list[str], error: BaseException | None, where: str) -> None:
    if step in HANDSHAKE:
        # A reset at once may come before connecting is over: then there is no phase of AMQP's yet.
        dialing = "reset" in repr(error).lower() and step == "header" and type(error) is DialError
        assert over == [] and (type(error) is HANDSHAKE[step] or dialing), where
        return
    assert over in allowed(step), where
    assert type(error) is exceptions.StreamLostError, where


def allowed(step: str) -> list[list[str]]:
    """Return what can be over when the stream ends in a step."""
    end = ORDER.index(step)
    # A message to be acknowledged is not handed out any more once the end is known, and nothing answers the ack.
    begin = ORDER.index("deliver") if step in ("deliver", "ack", "cancel") else end
    return [ORDER[:count] for count in range(begin, max(end, ORDER.index("cancel") if begin < end else end) + 1)]
