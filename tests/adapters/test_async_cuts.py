"""The stream ends at every byte of a session, both ways, on both loops, plain and under TLS: each callback that must
come comes, once and with the right class, and nothing is left behind."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Callable

import pytest

import pika
from pika import exceptions
from pika.adapters.base_connection import BaseConnection
from tests.support.adapter_loops import KINDS, Loop
from tests.support.bounded import EVERY_LINE, eventually
from tests.support.certificates import Authority
from tests.support.cuts import HANDSHAKE, ORDER, Limits, RunSessions, TLSSessions, allowed, check_tls, limits
from tests.support.memory import count_descriptors


def take_steps(channel: Any, over: list[str]) -> None:
    """Go through the session on a channel that is open, and close the connection."""

    def step(name: str, then: Callable[[], object]) -> Callable[[object], None]:
        def on_done(_method_frame: object) -> None:
            over.append(name)
            then()

        return on_done

    def publish() -> None:
        properties = pika.BasicProperties(headers={"key": "value"})
        channel.basic_publish("", "queue", b"body", properties, mandatory=True)

    def on_message(_channel: object, method: Any, _properties: object, body: bytes) -> None:
        assert body == b"body"
        over.append("deliver")
        channel.basic_ack(method.delivery_tag)
        over.append("ack")
        channel.basic_cancel("consumer", step("cancel", channel.close))

    def confirm() -> None:
        channel.confirm_delivery(step("publish", consume), step("confirm", publish))

    def consume() -> None:
        channel.basic_consume("queue", on_message, consumer_tag="consumer", callback=step("consume", lambda: None))

    def on_close(_channel: object, error: BaseException) -> None:
        if isinstance(error, exceptions.ChannelClosedByClient):
            over.append("close channel")
            channel.connection.close()

    over.append("channel")
    channel.add_on_close_callback(on_close)
    channel.queue_declare("queue", callback=step("declare", confirm))


def use(loop: Loop, port: int, context: ssl.SSLContext | None, over: list[str]) -> BaseException:
    """The client's side of the session.

    :param over: where the names of the steps go that are over
    :returns: what the connection's end was reported with
    """
    ends: list[tuple[str, BaseException]] = []

    def end(name: str) -> Callable[..., None]:
        def on_end(connection: BaseConnection, error: BaseException) -> None:
            assert connection.is_closed
            ends.append((name, error))
            # One more turn, for whoever would report it again.
            loop.native.call_later(0, loop.native.stop)

        return on_end

    def on_open(connection: BaseConnection) -> None:
        over.extend(HANDSHAKE)
        connection.channel(on_open_callback=lambda channel: take_steps(channel, over))

    options = None if context is None else pika.SSLOptions(context, "localhost")
    parameters = pika.ConnectionParameters("127.0.0.1", port, ssl_options=options)
    loop.connect(
        parameters, on_open_callback=on_open, on_open_error_callback=end("error"), on_close_callback=end("close")
    )
    loop.run_until_stopped()
    assert len(ends) == 1, ends
    name, error = ends[0]
    assert name == ("close" if over else "error"), (over, error)
    assert loop.leftovers() == ""
    if over == [*ORDER[:-1]] and isinstance(error, exceptions.ConnectionClosedByClient):
        over.append("close")
    return error


class AsyncSessions(RunSessions):
    """Runs the session again and again on one listening socket, and on one loop."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.loop = loop

    def run(self, limits: Limits) -> tuple[list[str], BaseException | None]:
        self._limits = limits
        over: list[str] = []
        error = use(self.loop, self.peer.port, None, over)
        return over, None if over == ORDER else error


@pytest.mark.parametrize("how", ["end of file", "reset"])
@pytest.mark.parametrize("direction", ["broker to client", "client to broker"])
def test_the_stream_ends_at_every_byte(loop: Loop, direction: str, how: str) -> None:
    sessions = AsyncSessions(loop)
    with sessions.peer:
        marks = sessions.record()
        before = count_descriptors()
        for ended in sessions.cut_everywhere(marks, direction, how):
            check(*ended)
    # Those of the peer's end are closed by threads that may be late.
    eventually(lambda: count_descriptors() <= before + 2)


def check(step: str, over: list[str], error: BaseException | None, where: str) -> None:
    if step in HANDSHAKE:
        # A reset at once may come before connecting is over: then there is no phase of AMQP's yet.
        dialing = "reset" in str(error) and step == "header" and type(error) is not exceptions.StreamLostError
        assert over == [] and (type(error) is HANDSHAKE[step] or dialing), where
        return
    if step == "close":
        assert over == ORDER or (over == ORDER[:-1] and type(error) is exceptions.StreamLostError), where
        return
    assert over in allowed(step), where
    assert type(error) is exceptions.StreamLostError, where


class LoopTLSSessions(TLSSessions):
    """Runs the session over TLS, on a loop."""

    def run_on(self, loop: Loop, context: ssl.SSLContext, limits: Limits) -> tuple[list[str], BaseException]:
        """Run it within limits, and return the steps that were over, with how it ended."""
        self.limit(limits)
        over: list[str] = []
        error = use(loop, self.peer.port, context, over)
        return over, error


@pytest.mark.slow
@pytest.mark.parametrize("how", ["end of file", "reset"])
@pytest.mark.parametrize("direction", ["broker to client", "client to broker"])
def test_tls_ends_at_every_byte(loop: Loop, direction: str, how: str, tmp_path: Path) -> None:
    """There are thousands: each on one of the loops, or on all of them when all is tried."""
    first, step = (0, 1) if EVERY_LINE else (KINDS.index(loop.kind), len(KINDS))
    authority = Authority(tmp_path)
    context = authority.client_context()
    sessions = LoopTLSSessions(authority.server_context(authority.issue("localhost")))
    with sessions.peer:
        assert sessions.run_on(loop, context, Limits())[0] == ORDER
        before = count_descriptors()
        sent, received = sessions.passed
        # Signatures, and with them all that follows, may be some bytes shorter the next time.
        for offset in range(first, (sent if direction == "broker to client" else received) - 16, step):
            over, error = sessions.run_on(loop, context, limits(direction, offset, how))
            check_tls(over, error, f"{offset} bytes: {over}, {error!r}")
    eventually(lambda: count_descriptors() <= before + 2)
