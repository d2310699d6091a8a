"""The keeper: whose heartbeats it sends, and that nobody's trouble is the others'."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Callable

from pika.transport.keeper import Duty, Keeper
from tests.support.bounded import eventually


class Watched(Duty):
    """A duty that counts how often it was looked at.

    :param look: says when to look again, in seconds; None for never
    """

    def __init__(self, look: Callable[[], float | None]) -> None:
        self.looks = 0
        self._look = look

    def attend(self, now: float) -> float | None:
        self.looks += 1
        again = self._look()
        return None if again is None else now + again


def await_looks(duty: Watched, count: int) -> None:
    eventually(lambda: duty.looks >= count)


def test_duties_are_looked_at_until_they_are_over() -> None:
    keeper = Keeper()
    lasting = Watched(lambda: 0.02)
    over = Watched(lambda: None)
    keeper.keep(lasting)
    keeper.keep(over)
    await_looks(lasting, 5)
    assert over.looks == 1


def test_a_duty_that_raises_does_not_end_the_others() -> None:
    def fail() -> float | None:
        raise RuntimeError("a state that nobody thought of")

    keeper = Keeper()
    failing, lasting = Watched(fail), Watched(lambda: 0.02)
    keeper.keep(failing)
    keeper.keep(lasting)
    await_looks(lasting, 5)
    later = Watched(lambda: 0.02)
    keeper.keep(later)
    await_looks(later, 3)
    assert failing.looks == 1


def test_a_duty_that_is_forgotten_is_not_kept_alive() -> None:
    keeper = Keeper()
    duty = Watched(lambda: 0.02)
    keeper.keep(duty)
    await_looks(duty, 1)
    reference = weakref.ref(duty)
    del duty
    eventually(lambda: gc.collect() >= 0 and reference() is None)


def test_one_thread_for_all() -> None:
    keeper = Keeper()
    before = set(threading.enumerate())
    duties = [Watched(lambda: 0.05) for _ in range(20)]
    for duty in duties:
        keeper.keep(duty)
    for duty in duties:
        await_looks(duty, 2)
    assert len(set(threading.enumerate()) - before) == 1
