"""Who else may call a loop that runs: other threads and signal handlers."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Callable

import pytest

from pika.exceptions import WrongThreadError
from pika.transport.loop import Loop
from pika.transport.pollers import WRITE
from tests.support.bounded import PATIENCE, Running, bounded
from tests.support.loops import Boom, Pairs, boom, started, turn
from tests.support.signals import alarm, needs_alarms


class TestThreads:
    def test_what_only_the_thread_that_runs_it_may_call(self, loop: Loop, pairs: Pairs) -> None:
        number = pairs[0][0].fileno()
        timer = loop.call_later(100, boom)
        calls: list[Callable[[], Any]] = [
            loop.start,
            loop.poll,
            loop.process_timeouts,
            loop.activate_poller,
            loop.deactivate_poller,
            loop.close,
            lambda: loop.call_later(0, boom),
            lambda: loop.remove_timeout(timer),
            lambda: loop.add_handler(number, lambda fd, events: boom(), WRITE),
            lambda: loop.update_handler(number, WRITE),
            lambda: loop.remove_handler(number),
        ]
        running = started(loop)
        for call in calls:
            with pytest.raises(WrongThreadError, match="add_callback_threadsafe"):
                call()
        loop.stop()
        running.result()
        loop.remove_timeout(timer)
        turn(loop)

    def test_handing_a_loop_over(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.call_later(0, lambda: (ran.append("timer"), loop.stop()))
        bounded(loop.start)
        loop.call_later(0, lambda: (ran.append("another"), loop.stop()))
        loop.start()
        assert ran == ["timer", "another"]


@needs_alarms
class TestSignals:
    def test_stop_in_a_handler_ends_start_at_once(self, loop: Loop) -> None:
        begun = time.monotonic()
        with alarm(0.05, loop.stop, loop):
            loop.start()
        assert time.monotonic() - begun < PATIENCE

    @pytest.mark.parametrize("how", ["callback", "threadsafe", "timer"])
    def test_work_that_a_handler_adds_is_done_at_once(self, loop: Loop, how: str) -> None:
        add: dict[str, Callable[[], object]] = {
            "callback": lambda: loop.add_callback(loop.stop),
            "threadsafe": lambda: loop.add_callback_threadsafe(loop.stop),
            "timer": lambda: loop.call_later(0, loop.stop),
        }
        begun = time.monotonic()
        with alarm(0.05, add[how], loop):
            loop.start()
        assert time.monotonic() - begun < PATIENCE

    def test_what_a_handler_raises_leaves_start_and_the_loop_goes_on(self, loop: Loop) -> None:
        ran: list[str] = []
        with alarm(0.05, boom, loop), pytest.raises(Boom):
            loop.start()
        Running(lambda: loop.add_callback_threadsafe(lambda: (ran.append("callback"), loop.stop()))).result()
        bounded(loop.start)
        assert ran == ["callback"]

    def test_ctrl_c(self, loop: Loop) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        with alarm(0.05, interrupt, loop), pytest.raises(KeyboardInterrupt):
            loop.start()
        turn(loop)

    @pytest.mark.parametrize("seconds", [0.001, 0.0017, 0.0031, 0.0053, 0.0071, 0.0113, 0.0171, 0.0231])
    def test_stop_is_never_missed_wherever_it_interrupts(self, loop: Loop, seconds: float) -> None:
        def again() -> None:
            loop.call_later(0.0001, again)

        for _ in range(20):
            again()
        begun = time.monotonic()
        with alarm(seconds, loop.stop):
            loop.start()
        assert time.monotonic() - begun < PATIENCE

    # A handler that raises inside a weak reference's callback is heard of, and does no harm.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_storm_that_handlers_break_into(self, loop: Loop) -> None:
        """A handler that raises in the middle of a wake-up costs the others none of theirs."""
        ran: list[int] = []
        running = started(loop)
        interrupted = 0
        for number in range(200):
            answered = threading.Event()
            with contextlib.suppress(Boom), alarm(0.00002 * (number % 20 + 1), boom):
                for _ in range(50):
                    loop.add_callback_threadsafe(lambda: ran.append(1))
                time.sleep(0.001)
                interrupted -= 1
            interrupted += 1
            loop.add_callback_threadsafe(answered.set)
            assert answered.wait(PATIENCE)
        assert interrupted > 0
        loop.stop()
        running.result()
