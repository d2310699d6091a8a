"""Timers: order, cancelling, exceptions, and a comparison with a plain list."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from pathlib import Path
from types import FrameType
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika.transport.timers import Timer, Timers
from tests.support.signals import alarm, needs_alarms


def test_due_timers_run_in_order_of_time_then_of_making() -> None:
    timers = Timers()
    ran: list[str] = []
    timers.call_at(2.0, lambda: ran.append("b1"))
    timers.call_at(1.0, lambda: ran.append("a"))
    timers.call_at(2.0, lambda: ran.append("b2"))
    timers.call_at(3.0, lambda: ran.append("c"))
    assert timers.run_due(2.0) == 3
    assert ran == ["a", "b1", "b2"]
    assert len(timers) == 1
    assert timers.next_deadline() == 3.0


def test_nothing_waits_at_first() -> None:
    timers = Timers()
    assert timers.next_deadline() is None
    assert timers.run_due(1e9) == 0
    assert len(timers) == 0


def test_a_cancelled_timer_does_not_run_and_is_no_deadline() -> None:
    timers = Timers()
    ran: list[int] = []
    first = timers.call_at(1.0, lambda: ran.append(1))
    timers.call_at(2.0, lambda: ran.append(2))
    timers.cancel(first)
    timers.cancel(first)
    assert len(timers) == 1
    assert timers.next_deadline() == 2.0
    assert timers.run_due(5.0) == 1
    assert ran == [2]


def test_a_timer_cancelled_by_an_earlier_one_of_the_same_run_does_not_run() -> None:
    timers = Timers()
    ran: list[str] = []
    timers.call_at(1.0, lambda: timers.cancel(second))
    second = timers.call_at(2.0, lambda: ran.append("second"))
    assert timers.run_due(2.0) == 1
    assert ran == []
    assert len(timers) == 0


def test_cancelling_a_timer_that_has_run_is_nothing() -> None:
    timers = Timers()
    timer = timers.call_at(1.0, lambda: None)
    timers.call_at(2.0, lambda: None)
    timers.run_due(1.0)
    timers.cancel(timer)
    assert len(timers) == 1


def test_a_timer_added_during_a_run_waits_for_the_next() -> None:
    timers = Timers()
    ran: list[int] = []

    def renew() -> None:
        ran.append(len(ran))
        timers.call_at(0.0, renew)

    timers.call_at(0.0, renew)
    assert timers.run_due(10.0) == 1
    assert timers.next_deadline() == 0.0
    assert timers.run_due(10.0) == 1
    assert ran == [0, 1]


def test_an_exception_leaves_the_timers_behind_it_for_the_next_run() -> None:
    timers = Timers()
    ran: list[int] = []

    def fail() -> None:
        raise KeyError("mine")

    timers.call_at(1.0, lambda: ran.append(1))
    timers.call_at(2.0, fail)
    timers.call_at(3.0, lambda: ran.append(3))
    with pytest.raises(KeyError, match="mine"):
        timers.run_due(9.0)
    assert ran == [1]
    assert len(timers) == 1
    assert timers.run_due(9.0) == 1
    assert ran == [1, 3]


def test_a_callback_may_run_a_loop_of_its_own() -> None:
    timers = Timers()
    ran: list[str] = []

    def nested() -> None:
        timers.call_at(1.0, lambda: ran.append("added"))
        ran.append(f"inner ran {timers.run_due(5.0)}")

    timers.call_at(1.0, nested)
    timers.call_at(2.0, lambda: ran.append("second"))
    assert timers.run_due(5.0) == 1
    assert ran == ["added", "second", "inner ran 2"]
    assert len(timers) == 0


def test_cancelled_timers_do_not_pile_up() -> None:
    class Moment(float):
        """A time of which it can be seen whether anything still holds it."""

    timers = Timers()
    keep = timers.call_at(1e6, lambda: None)
    moments: list[weakref.ref[Moment]] = []
    for _ in range(20):
        for _ in range(500):
            moment = Moment(2e6)
            moments.append(weakref.ref(moment))
            timers.cancel(timers.call_at(moment, lambda: None))
        gc.collect()
        assert sum(reference() is not None for reference in moments) < 200
    assert len(timers) == 1
    assert timers.next_deadline() == keep.when


def test_the_repr_says_when() -> None:
    timers = Timers()
    timer = timers.call_at(1.5, lambda: None)
    assert "1.5" in repr(timer)
    timers.cancel(timer)
    assert "over" in repr(timer)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 20)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("run"), st.integers(0, 20)),
    ),
    max_size=200,
)


@given(_STEPS)
def test_timers_behave_like_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    timers = Timers()
    made: list[Timer] = []
    waiting: list[tuple[int, int]] = []
    ran: list[int] = []
    for step, value in steps:
        if step == "add":
            number = len(made)
            made.append(timers.call_at(value, lambda number=number: ran.append(number)))  # type: ignore[misc]
            waiting.append((value, number))
        elif step == "cancel" and made:
            number = value % len(made)
            timers.cancel(made[number])
            waiting = [entry for entry in waiting if entry[1] != number]
        elif step == "run":
            due = sorted(entry for entry in waiting if entry[0] <= value)
            waiting = [entry for entry in waiting if entry[0] > value]
            ran.clear()
            assert timers.run_due(value) == len(due)
            assert ran == [number for _, number in due]
        assert len(timers) == len(waiting)
        assert timers.next_deadline() == min((when for when, _ in waiting), default=None)


def set_in_the_middle(timers: Timers, lines: int, of_the_handler: Callable[[], object]) -> bool:
    """Set a timer, and another before one more than so many lines have run, those of what is used for it too."""
    left = lines

    def on_event(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if Path(frame.f_code.co_filename).name not in ("timers.py", "heapq.py", "bisect.py"):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                timers.call_at(0.5, of_the_handler)
        return on_event

    before = sys.gettrace()
    sys.settrace(on_event)
    try:
        timers.call_at(1.0, list)
    finally:
        sys.settrace(before)
    return left < 0


@pytest.mark.parametrize("late", range(9))
def test_a_signal_handler_sets_a_timer_in_the_middle_of_setting_one(late: int) -> None:
    for lines in itertools.count():
        timers = Timers()
        for number in range(8):
            timers.call_at(2.0 if number < late else 0.25, list)
        ran: list[None] = []
        came = set_in_the_middle(timers, lines, lambda ran=ran: ran.append(None))  # type: ignore[misc]
        before = 8 - late
        assert (timers.run_due(0.4), timers.run_due(0.6), len(ran)) == (before, came, came)
        assert (timers.run_due(1.5), timers.run_due(3.0), len(timers)) == (1, late, 0)
        if not came:
            break


@needs_alarms
def test_a_signal_handler_sets_timers_while_others_are_set() -> None:
    timers = Timers()
    # Appended to, since a handler that is itself interrupted would lose one in a sum.
    set_by_handler: list[None] = []

    def handler() -> None:
        timers.call_at(0.5, list)
        set_by_handler.append(None)

    with alarm(0.001, handler, interval=0.0005):
        for number in range(100_000):
            timers.call_at(1 / (number + 1), list)
    assert set_by_handler
    assert len(timers) == 100_000 + len(set_by_handler)
