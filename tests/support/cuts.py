"""A stream that ends after a number of bytes, and the session of a client on it, for the tests of every client."""

from __future__ import annotations

import abc
import bisect
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

from pika import exceptions, spec
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed
from pika.transport.errors import DialError
from tests.support.bounded import eventually
from tests.support.encoding import method
from tests.support.peer import Peer, PeerSocket
from tests.support.scripted_broker import START, TUNE, ClientGone, Session, delivery

#: What is raised when the stream ends in a step of the handshake.
HANDSHAKE = {
    "header": exceptions.IncompatibleProtocolError,
    "credentials": exceptions.ProbableAuthenticationError,
    "virtual host": exceptions.ProbableAccessDeniedError,
}
#: The steps of the session, in the order in which they are over for the client.
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


class Cut(Exception):
    """The number of bytes that may pass is reached."""


class Limits(NamedTuple):
    """How many bytes of the broker's and of the client's pass, and how it ends then; None for all."""

    sent: int | None = None
    received: int | None = None
    reset: bool = False


def limits(direction: str, offset: int, how: str) -> Limits:
    """Return the limits that end the stream after so many bytes.

    :param direction: whose bytes are counted: ``broker to client``, or ``client to broker``
    :param offset: how many pass
    :param how: ``end of file``, or ``reset``
    """
    reset = how == "reset"
    return Limits(sent=offset, reset=reset) if direction.startswith("broker") else Limits(received=offset, reset=reset)


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

    def passed(self, direction: str) -> int:
        """How many of these: see :func:`limits`."""
        return self.sent if direction.startswith("broker") else self.received


class Ended(NamedTuple):
    """A session whose stream was cut.

    :ivar step: the step that it was in
    :ivar over: the steps that were over for the client
    :ivar error: what the client raised
    :ivar where: tells of it all
    """

    step: str
    over: list[str]
    error: BaseException | None
    where: str


def ended(marks: list[Mark], direction: str, offset: int, over: list[str], error: BaseException | None) -> Ended:
    """Tell of a session whose stream was cut after so many bytes.

    :param marks: those of the whole session
    """
    # What is over when so many bytes have passed is over for the client too, and nothing behind it.
    step = marks[bisect.bisect_right([mark.passed(direction) for mark in marks], offset)].step
    return Ended(step, over, error, f"{offset} bytes, in {step}: {over}, {error!r}")


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


def hang_up(peer: PeerSocket, limits: Limits) -> None:
    """End the stream as the limits say; an end of file is no more than that."""
    if limits.reset:
        peer.reset()
    else:
        peer.socket.shutdown(socket.SHUT_WR)
        peer.recv_until_end()


class Sessions:
    """The broker of the session, again and again, on one listening socket."""

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
            hang_up(cut, self._limits)
        except (ClientGone, ConnectionError):
            # The client noticed the end in the middle of what it was to send.
            return


class RunSessions(Sessions, abc.ABC):
    """Runs the session again and again."""

    def record(self) -> list[Mark]:
        """Run it whole, and return how many bytes had passed at the end of each step."""
        assert self.run(Limits()) == (ORDER, None)
        # The broker's end comes to its own a moment later.
        return eventually(lambda: self._marks)

    def cut_everywhere(self, marks: list[Mark], direction: str, how: str) -> Iterator[Ended]:
        """Run it with the stream ending after every number of bytes.

        :param marks: what :meth:`record` returned
        :param direction: see :func:`limits`
        :param how: see there
        """
        for offset in range(marks[-1].passed(direction)):
            yield ended(marks, direction, offset, *self.run(limits(direction, offset, how)))

    @abc.abstractmethod
    def run(self, limits: Limits) -> tuple[list[str], BaseException | None]:
        """Run it within limits, and return the steps that were over, with what was raised."""


class TLSCutSocket(CutSocket):
    """The broker's end of a TLS connection, which fails after a number of bytes of ciphertext."""

    def __init__(self, sock: socket.socket, limits: Limits, context: ssl.SSLContext) -> None:
        super().__init__(sock, limits)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._call(self._tls.do_handshake)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                result = function(*arguments)
            except ssl.SSLWantReadError:
                self._send_ciphertext()
                data = super().recv_some()
                if not data:
                    raise ClientGone from None
                self._incoming.write(data)
            else:
                self._send_ciphertext()
                return result

    def _send_ciphertext(self) -> None:
        data = self._outgoing.read()
        if data:
            super().send(data)

    def send(self, data: bytes) -> None:
        self._call(self._tls.write, data)

    def recv_some(self, limit: int = 65536) -> bytes:
        received: bytes = self._call(self._tls.read, limit)
        return received


class TLSSessions(Sessions):
    """The broker of the session over TLS.

    :param context: the broker's
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context
        #: How many bytes of ciphertext have passed: of the broker's, and of the client's.
        self.passed = (0, 0)

    def _run(self, peer: PeerSocket) -> None:
        cut = CutSocket(peer.socket, self._limits)
        try:
            cut = TLSCutSocket(peer.socket, self._limits, self._context)
            serve(cut)
            self.passed = (cut.sent, cut.received)
            cut.recv_some()
        except Cut:
            hang_up(PeerSocket(peer.socket), self._limits)
        except (ClientGone, OSError):
            # The client noticed the end in the middle of what it was to send.
            return

    def limit(self, limits: Limits) -> None:
        """Have the next client's session run within limits."""
        self._limits = limits


def check(step: str, over: list[str], error: BaseException | None, where: str) -> None:
    """Assert that a client was told what it should be when the stream ended in a step."""
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


def check_tls(over: list[str], error: BaseException, where: str) -> None:
    """What is over says which class the error has; records do not end where steps do."""
    if not over:
        # In the middle of AMQP's handshake, or of TLS's, or at once.
        kinds = (*HANDSHAKE.values(), AMQPConnectionWorkflowFailed)
        assert isinstance(error, kinds) or (
            "reset" in str(error) and isinstance(error, exceptions.AMQPConnectionError)
        ), where
    elif over != ORDER:
        assert any(over in allowed(step) for step in ORDER[len(HANDSHAKE) :]) or over == ORDER[:-1], where
        assert type(error) is exceptions.StreamLostError, where
