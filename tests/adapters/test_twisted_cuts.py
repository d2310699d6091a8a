"""The stream ends at every byte of a session, both ways, under Twisted's reactor, plain and over TLS: every Deferred
fires, with the right class, and nothing is left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

import pika
from pika import exceptions
from tests.support.bounded import EVERY_LINE
from tests.support.certificates import Authority
from tests.support.cuts import HANDSHAKE, ORDER, Limits, Sessions, TLSSessions, allowed, ended, limits
from tests.support.reactor_cases import Case, Cases

pytest.importorskip("twisted", reason="no Twisted for this interpreter")

#: Of the plain stream, and of TLS's.
cases = Cases("tests.adapters.test_twisted_cuts", patience=280, limit=290)
# Over TLS there are thousands of bytes; every one of them in `make torture`.
TLS_STEP = 1 if EVERY_LINE else 5
WAYS = [(direction, how) for direction in ("broker", "client") for how in ("eof", "reset")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [f"plain_{direction}_{how}" for direction, how in WAYS])
def test_the_stream_ends_at_every_byte(name: str) -> None:
    cases.check(name, "amqp://localhost")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [f"tls_{direction}_{how}" for direction, how in WAYS])
def test_tls_ends_at_every_byte(name: str) -> None:
    cases.check(name, "amqp://localhost")


class Session:
    """The client's side of the session: Deferreds that are all watched.

    :param case: the case
    :param endpoint: where the broker is
    """

    def __init__(self, case: Case, endpoint: Any) -> None:
        self._case = case
        self._endpoint = endpoint
        #: The steps that are over.
        self.over: list[str] = []
        self._deferreds: list[Any] = []

    def _watch(self, deferred: Any) -> Any:
        self._deferreds.append(deferred)
        return deferred

    async def use(self) -> BaseException:
        """Go through it, and return why the connection ended."""
        from twisted.internet import protocol

        from pika.adapters.twisted_connection import TwistedProtocolConnection

        built = TwistedProtocolConnection(pika.ConnectionParameters("127.0.0.1"))
        ready = built.ready
        try:
            await self._endpoint.connect(protocol.Factory.forProtocol(lambda: built))
            await ready
        except Exception as error:
            return error
        closed = built.closed
        assert closed is not None
        self.over.extend(HANDSHAKE)
        try:
            await self._steps(built)
        except Exception as error:
            reason = await closed
            assert error is reason or isinstance(error, exceptions.AMQPError), error
        else:
            reason = await closed
        # Whatever was asked for has its end.
        assert all(deferred.called for deferred in self._deferreds)
        assert built.is_closed
        if self.over == ORDER[:-1] and isinstance(reason, exceptions.ConnectionClosedByClient):
            self.over.append("close")
        return reason

    async def _steps(self, built: Any) -> None:
        over, watch = self.over, self._watch
        channel = await watch(built.channel())
        watch(channel.on_closed)
        over.append("channel")
        await watch(channel.queue_declare("queue"))
        over.append("declare")
        await watch(channel.confirm_delivery())
        over.append("confirm")
        properties = pika.BasicProperties(headers={"key": "value"})
        await watch(channel.basic_publish("", "queue", b"body", properties, mandatory=True))
        over.append("publish")
        messages, _tag = await watch(channel.basic_consume("queue", consumer_tag="consumer"))
        over.append("consume")
        message = await watch(messages.get())
        assert message.body == b"body"
        over.append("deliver")
        channel.basic_ack(message.method.delivery_tag)
        over.append("ack")
        # It fails when the consumer ends.
        watch(messages.get()).addErrback(lambda failure: None)
        await watch(channel.basic_cancel("consumer"))
        over.append("cancel")
        channel.close()
        reason = await channel.on_closed
        if not isinstance(reason, exceptions.ChannelClosedByClient):
            raise reason
        over.append("close channel")
        built.close()


async def plain(case: Case, direction: str, how: str) -> None:
    """Cut a plain stream."""
    from twisted.internet import endpoints

    class Plain(Sessions):
        async def go(self, limits: Limits) -> tuple[list[str], BaseException]:
            self._limits = limits
            session = Session(case, endpoints.TCP4ClientEndpoint(case.reactor, "127.0.0.1", self.peer.port))
            reason = await session.use()
            return session.over, reason

    sessions = Plain()
    with sessions.peer:
        over, _reason = await sessions.go(Limits())
        assert over == ORDER, over
        await case.until(lambda: sessions._marks)
        marks = sessions._marks
        for offset in range(marks[-1].passed(direction)):
            check(*ended(marks, direction, offset, *await sessions.go(limits(direction, offset, how))))


def check(step: str, over: list[str], error: BaseException | None, where: str) -> None:
    """See that what is over when so many bytes have passed is over for the client too, and that the class is right."""
    if step in HANDSHAKE:
        assert over == [], where
        assert isinstance(error, HANDSHAKE[step]) or (step == "header" and is_of_the_endpoint(error)), where
    elif step == "close":
        assert over == ORDER or (over == ORDER[:-1] and isinstance(error, exceptions.StreamLostError)), where
    else:
        assert over in allowed(step), where
        assert isinstance(error, exceptions.StreamLostError), where


def is_of_the_endpoint(error: BaseException | None) -> bool:
    """Whether connecting failed: a reset at once may come before it is over, and then there was no protocol yet."""
    from twisted.internet.error import ConnectError

    return isinstance(error, ConnectError)


async def tls(case: Case, direction: str, how: str) -> None:
    """Cut a stream with TLS in it."""
    from twisted.internet import endpoints, ssl

    class TLS(TLSSessions):
        async def go(self, limits: Limits) -> tuple[list[str], BaseException]:
            self._limits = limits
            tcp: Any = endpoints.TCP4ClientEndpoint(case.reactor, "127.0.0.1", self.peer.port)
            options = ssl.optionsForClientTLS("localhost", trustRoot=root)
            session = Session(case, endpoints.wrapClientTLS(options, tcp))
            reason = await session.use()
            return session.over, reason

    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        root = ssl.Certificate.loadPEM(authority.cert.read_bytes())
        sessions = TLS(authority.server_context(authority.issue("localhost")))
        with sessions.peer:
            over, _reason = await sessions.go(Limits())
            assert over == ORDER, over
            await case.until(lambda: sessions.passed != (0, 0))
            sent, received = sessions.passed
            # Signatures, and with them all that follows, may be some bytes shorter the next time.
            for offset in range(0, (sent if direction == "broker" else received) - 16, TLS_STEP):
                over, error = await sessions.go(limits(direction, offset, how))
                where = f"{offset} bytes: {over}, {error!r}"
                if not over:
                    assert isinstance(error, exceptions.AMQPConnectionError) or is_of_the_endpoint(error), where
                elif over != ORDER:
                    steps = ORDER[len(HANDSHAKE) :]
                    assert any(over in allowed(step) for step in steps) or over == ORDER[:-1], where
                    assert isinstance(error, exceptions.StreamLostError), where


def case_of(run: Any, direction: str, how: str) -> Any:
    async def cut(case: Case) -> None:
        await run(case, direction, how)

    cut.__name__ = f"{run.__name__}_{direction}_{how}"
    return cut


for run in (plain, tls):
    for direction, how in WAYS:
        cases(case_of(run, direction, how))
