"""What becomes of each message of a program that is cut short: what the program knows, and what the broker has."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid

import pika
from pika import aio, exceptions, spec
from tests.support.bounded import eventually

#: The body of messages that are not counted.
LARGE = bytes(300_000)


class Ledger:
    """What a program knows of its messages, each of which has a body of its own.

    :ivar tried: those that it has begun to publish
    :ivar confirmed: those that the broker has, as far as the program was told
    :ivar settling: those that it has begun to acknowledge
    :ivar settled: those that it has acknowledged
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.tried: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        self.settling: set[bytes] = set()
        self.settled: set[bytes] = set()
        self._sent: list[tuple[bytes, aio.Confirmation]] = []
        self._numbers = itertools.count()

    def _new(self) -> bytes:
        body = b"%d" % next(self._numbers)
        self.tried.add(body)
        return body

    async def publish(self, publisher: aio.Publisher) -> None:
        body = self._new()
        await publisher.publish(body, routing_key=self.queue)
        self.confirmed.add(body)

    async def send(self, publisher: aio.Publisher) -> aio.Confirmation:
        body = self._new()
        confirmation = await publisher.send(body, routing_key=self.queue)
        self._sent.append((body, confirmation))
        return confirmation

    async def work(self, message: aio.Message) -> None:
        """Settle a message, which goes back when this is cut short."""
        async with message.process():
            await asyncio.sleep(0)
            self.settling.add(message.body)
        self.settled.add(message.body)

    async def on_message(
        self, channel: aio.Channel, method: spec.Basic.Deliver, _properties: spec.BasicProperties, body: bytes
    ) -> None:
        self.settling.add(body)
        await channel.basic_ack(method.delivery_tag)
        self.settled.add(body)

    async def look_at_what_was_sent(self) -> None:
        for body, confirmation in self._sent:
            assert confirmation.done()
            # Its channel may have been closed before the broker said it.
            with contextlib.suppress(exceptions.PublishOutcomeUnknown):
                await confirmation
                self.confirmed.add(body)

    def reconcile(self, left: list[bytes]) -> None:
        """See that what is in the queue is what is to be there, and that nothing is held back."""
        left = [body for body in left if body != LARGE]
        assert len(set(left)) == len(left), "twice in the queue"
        assert self.confirmed - self.settling <= set(left), "lost, or left unacknowledged"
        assert set(left) <= self.tried - self.settled, "in the queue all the same"


class Witness:
    """A client of another kind, on a connection of its own, which sees what the broker has."""

    def __init__(self, url: str) -> None:
        self.connection = pika.connect(url)
        self.channel = self.connection.channel()
        self.channel.queue_declare("nothing comes", auto_delete=False)

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.queue_delete("nothing comes")
        self.connection.close()

    def new_queue(self) -> str:
        return self.channel.queue_declare(f"aio-{uuid.uuid4().hex}").method.queue

    def take_all(self, queue: str) -> list[bytes]:
        """Delete the queue, and return what was in it: what somebody else holds is not."""
        bodies: list[bytes] = []
        while True:
            message = self.channel.basic_get(queue, auto_ack=True)
            if message is None:
                break
            bodies.append(message.body)
        self.channel.queue_delete(queue)
        self.channel.queue_purge("nothing comes")
        return bodies

    def take_all_eventually(self, ledger: Ledger) -> list[bytes]:
        """Do the same when a connection was lost: its end may be news to the broker for a moment."""
        missing = ledger.confirmed - ledger.settling
        bodies: list[bytes] = []

        def complete() -> bool:
            for message in iter(lambda: self.channel.basic_get(ledger.queue, auto_ack=True), None):
                bodies.append(message.body)
            return missing <= set(bodies)

        eventually(complete)
        return bodies + self.take_all(ledger.queue)
