"""The stream ends at every byte of a session of pika.aio, both ways, plain and under TLS: nothing hangs or is left."""

from __future__ import annotations

import asyncio
import bisect
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pika
from pika import aio, exceptions
from pika.transport.errors import DialError
from tests.support.aio import LoopThread, count_descriptors, loop_thread, settle
from tests.support.bounded import EVERY_LINE, PATIENCE, eventually
from tests.support.certificates import Authority
from tests.support.cuts import HANDSHAKE, ORDER, Limits, RunSessions, TLSSessions, check, check_tls

# Under TLS there are thousands of bytes; every one of them in `make torture`.
TLS_STEP = 1 if EVERY_LINE else 11


async def use(port: int, context: ssl.SSLContext | None, over: list[str]) -> None:
    """The client's side of the session.

    :param over: where the names of the steps go that are over
    """
    options = None if context is None else pika.SSLOptions(context, "localhost")
    try:
        connection = await aio.connect(pika.ConnectionParameters("127.0.0.1", port, ssl_options=options))
        try:
            await asyncio.wait_for(run(connection, over), PATIENCE)
        finally:
            await asyncio.wait_for(connection.close(timeout=PATIENCE), PATIENCE)
        if over == ORDER[:-1]:
            over.append("close")
    finally:
        await settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def run(connection: aio.Connection, over: list[str]) -> None:
    over.extend(HANDSHAKE)
    ended: list[BaseException] = []
    connection.add_on_close_callback(lambda _connection, reason: ended.append(reason))
    channel = await connection.channel()
    over.append("channel")
    assert (await channel.queue_declare("queue")).method.queue == "queue"
    over.append("declare")
    publisher = channel.publisher(mandatory=True)
    await publisher.__aenter__()
    over.append("confirm")
    properties = pika.BasicProperties(headers={"key": "value"})
    try:
        await publisher.publish(b"body", routing_key="queue", properties=properties)
    except exceptions.PublishOutcomeUnknown as error:
        assert error.__cause__ is not None
        raise error.__cause__ from None
    over.append("publish")
    await consume(channel, over, ended)
    reasons: list[BaseException] = []
    channel.add_on_close_callback(lambda _channel, reason: reasons.append(reason))
    await channel.close()
    await settle()
    # One that has ended before is left alone.
    if reasons and isinstance(reasons[0], exceptions.ChannelClosedByClient):
        over.append("close channel")
    await connection.close()
    # Closing raises nothing.
    await settle()
    if not isinstance(ended[-1], exceptions.ConnectionClosedByClient):
        raise ended[-1]


async def consume(channel: aio.Channel, over: list[str], ended: list[BaseException]) -> None:
    delivered, consuming = asyncio.Event(), asyncio.Event()

    async def on_message(channel: aio.Channel, method: Any, properties: Any, body: bytes) -> None:
        assert body == b"body"
        # The steps in their order, whichever task is first.
        await asyncio.wait_for(consuming.wait(), PATIENCE)
        over.append("deliver")
        try:
            await channel.basic_ack(method.delivery_tag)
            over.append("ack")
        except exceptions.ChannelWrongStateError as error:
            ended.append(error)
        delivered.set()

    channel.add_on_close_callback(lambda _channel, _reason: delivered.set())
    await channel.basic_consume("queue", on_message, consumer_tag="consumer")
    over.append("consume")
    consuming.set()
    await asyncio.wait_for(delivered.wait(), PATIENCE)
    await channel.basic_cancel("consumer")
    over.append("cancel")


def outcome(
    thread: LoopThread, port: int, context: ssl.SSLContext | None
) -> tuple[list[str], exceptions.AMQPError | None]:
    """Run the session, and return the steps that were over, with what was raised."""
    over: list[str] = []
    try:
        thread.do(use(port, context, over))
    except exceptions.ChannelWrongStateError as error:
        # Between the end and the call that found it.
        assert isinstance(error.__cause__, exceptions.AMQPError)
        return over, error.__cause__
    except exceptions.AMQPError as error:
        return over, error
    return over, None


class AioSessions(RunSessions):
    """Runs the session with pika.aio."""

    def __init__(self, thread: LoopThread) -> None:
        super().__init__()
        self._thread = thread

    def run(self, limits: Limits) -> tuple[list[str], BaseException | None]:
        self._limits = limits
        return outcome(self._thread, self.peer.port, None)


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=pytest.mark.slow)])
def thread(request: pytest.FixtureRequest) -> Iterator[LoopThread]:
    """A loop in a thread, in which nothing may be left."""
    with loop_thread(request.param) as thread:
        yield thread


@pytest.mark.parametrize("how", ["end of file", "reset"])
@pytest.mark.parametrize("direction", ["broker to client", "client to broker"])
def test_the_stream_ends_at_every_byte(thread: LoopThread, direction: str, how: str) -> None:
    sessions = AioSessions(thread)
    with sessions.peer:
        marks = sessions.record()
        before = count_descriptors()
        passed = [mark.sent if direction == "broker to client" else mark.received for mark in marks]
        for offset in range(passed[-1]):
            limits = {"sent" if direction == "broker to client" else "received": offset, "reset": how == "reset"}
            over, error = sessions.run(Limits(**limits))  # type: ignore[arg-type]  # by name
            step = marks[bisect.bisect_right(passed, offset)].step
            if how == "reset" and step not in HANDSHAKE and len(over) < ORDER.index(step):
                # It has overtaken an answer on its way.
                step = ORDER[len(over)]
            check(step, over, error, f"{offset} bytes, in {step}: {over}, {error!r}")
    # Those of the peer's end are closed by threads that may be late.
    eventually(lambda: count_descriptors() <= before + 2)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["end of file", "reset"])
@pytest.mark.parametrize("direction", ["broker to client", "client to broker"])
def test_tls_ends_at_every_byte(thread: LoopThread, direction: str, how: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.client_context()
    sessions = TLSSessions(authority.server_context(authority.issue("localhost")))
    with sessions.peer:
        assert outcome(thread, sessions.peer.port, context) == (ORDER, None)
        before = count_descriptors()
        sent, received = sessions.passed
        # Signatures, and with them all that follows, may be some bytes shorter the next time.
        for offset in range(0, (sent if direction == "broker to client" else received) - 16, TLS_STEP):
            limits = {"sent" if direction == "broker to client" else "received": offset, "reset": how == "reset"}
            sessions.limit(Limits(**limits))  # type: ignore[arg-type]  # by name
            over, error = outcome(thread, sessions.peer.port, context)
            if over != ORDER and not (over == [] and isinstance(error, DialError)):
                assert error is not None
                check_tls(over, error, f"{offset} bytes: {over}, {error!r}")
    eventually(lambda: count_descriptors() <= before + 2)
