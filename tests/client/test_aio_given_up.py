"""Confirms of pika.aio that a caller waits for no longer: what nobody was told is told at the end of the block."""

from __future__ import annotations

import asyncio
import threading

import pytest

import pika
from pika import aio, exceptions, spec
from tests.support.aio import run
from tests.support.bounded import PATIENCE
from tests.support.encoding import method
from tests.support.scripted_broker import Session, scripted_broker


@pytest.mark.parametrize("how", ["awaited", "published", "published with a timeout"])
def test_a_message_whose_caller_has_given_up_waiting(how: str) -> None:
    """Nobody has been told that it was refused: leaving the block does."""
    given_up = threading.Event()

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
        session.expect(spec.Basic.Publish)
        assert given_up.wait(PATIENCE)
        session.send(method(number, spec.Basic.Nack(1, False, False)))
        session.close_politely()

    async def give_up(publisher: aio.Publisher) -> None:
        if how == "published with a timeout":
            with pytest.raises(exceptions.AMQPTimeoutError):
                await publisher.publish(b"refused", routing_key="queue", timeout=0.05)
        elif how == "published":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(publisher.publish(b"refused", routing_key="queue"), 0.05)
        else:
            confirmation = await publisher.send(b"refused", routing_key="queue")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.ensure_future(awaited(confirmation)), 0.05)

    async def awaited(confirmation: aio.Confirmation) -> None:
        await confirmation

    async def program() -> None:
        parameters = pika.ConnectionParameters("127.0.0.1", peer.port)
        async with aio.connect(parameters) as connection, connection.channel() as channel:
            with pytest.raises(exceptions.NackError) as caught:
                async with channel.publisher() as publisher:
                    await give_up(publisher)
                    given_up.set()
            assert [message.body for message in caught.value.messages] == [b"refused"]

    with scripted_broker(script) as peer:
        run(program)
