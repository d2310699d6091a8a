"""Messages that end in every way, in any order: the broker's script for tests of publishers."""

from __future__ import annotations

import random

from pika import frame, spec
from tests.support.encoding import content, method
from tests.support.scripted_broker import Session


class Fates:
    """What becomes of messages whose bodies are their numbers.

    :param count: of how many
    :ivar letters: of each: ``a`` for an ack, ``n`` for a nack, ``r`` for one that comes back
    """

    def __init__(self, count: int) -> None:
        self._random = random.Random(7)
        self.letters = [self._random.choice("aaaaanr") for _ in range(count)]

    def script(self, session: Session) -> None:
        """Be the broker: confirm what has come out of order, fifty at a time."""
        number = session.open_for_confirms()
        pending: list[int] = []
        tag = 0
        while tag < len(self.letters):
            found = session.receive()
            if not (isinstance(found, frame.Method) and isinstance(found.method, spec.Basic.Publish)):
                continue
            _, body = session.expect_content()
            tag += 1
            assert body == b"%d" % (tag - 1)
            if self.letters[tag - 1] == "r":
                session.send(content(number, spec.Basic.Return(312, "NO_ROUTE", "", found.method.routing_key), body))
            pending.append(tag)
            if len(pending) >= 50 or tag == len(self.letters):
                self._answer(session, number, pending)
                pending.clear()
        session.close_politely()

    def _answer(self, session: Session, number: int, tags: list[int]) -> None:
        answers = [spec.Basic.Nack(tag) if self.letters[tag - 1] == "n" else spec.Basic.Ack(tag) for tag in tags]
        self._random.shuffle(answers)
        session.send(*(method(number, one) for one in answers))
