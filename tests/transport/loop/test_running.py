"""Running a loop: timers, callbacks, stopping, closing."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import weakref

import pytest

from pika.exceptions import WrongThreadError
from pika.transport.loop import Loop
from pika.transport.pollers import READ, WRITE, poller_class
from tests.support.bounded import PATIENCE, bounded, side_by_side
from tests.support.loops import NAMES, Boom, Clock, Pairs, boom, patient, started, turn


class TestTimers:
    def test_they_run_in_the_order_of_their_times(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.call_later(0.4, lambda: ran.append("c"))
        loop.call_later(0, lambda: ran.append("a1"))
        loop.call_later(0.01, lambda: ran.append("b"))
        loop.call_later(0, lambda: ran.append("a2"))
        loop.call_later(0.41, loop.stop)
        loop.start()
        assert ran == ["a1", "a2", "b", "c"]

    def test_they_are_not_early(self, loop: Loop) -> None:
        due = time.monotonic() + 0.0123
        late: list[float] = []
        loop.call_later(0.0123, lambda: (late.append(time.monotonic() - due), loop.stop()))
        loop.start()
        assert late[0] >= 0

    @pytest.mark.parametrize("name", NAMES)
    def test_waiting_for_them_is_no_spinning(self, name: str) -> None:
        read = 0

        def clock() -> float:
            nonlocal read
            read += 1
            return time.monotonic()

        loop = Loop(poller_class(name), clock)
        for number in range(10):
            loop.call_later(0.0059 * number, lambda: None)
        loop.call_later(0.06, loop.stop)
        loop.start()
        loop.close()
        assert read < 200

    def test_a_removed_one_does_not_run(self, loop: Loop) -> None:
        ran: list[int] = []
        timer = loop.call_later(0, lambda: ran.append(1))
        loop.remove_timeout(timer)
        loop.remove_timeout(timer)
        loop.call_later(0, loop.stop)
        loop.start()
        assert ran == []
        loop.remove_timeout(timer)

    def test_one_that_another_one_removes_does_not_run(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.call_later(0, lambda: (ran.append("first"), loop.remove_timeout(second)))
        second = loop.call_later(0, lambda: ran.append("second"))
        loop.call_later(0, lambda: (ran.append("third"), loop.remove_timeout(third)))
        third = loop.call_later(0.001, lambda: ran.append("fourth"))
        loop.call_later(0.02, loop.stop)
        loop.start()
        assert ran == ["first", "third"]

    def test_one_that_a_timer_makes_has_its_turn_in_the_next_iteration(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.call_later(0, lambda: (ran.append("outer"), loop.call_later(0, lambda: ran.append("inner"))))
        loop.call_later(0, lambda: (ran.append("stop"), loop.stop()))
        loop.start()
        assert ran == ["outer", "stop"]
        turn(loop)
        assert ran == ["outer", "stop", "inner"]

    def test_one_that_raises_takes_none_with_it(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.call_later(0, lambda: ran.append("a"))
        loop.call_later(0, boom)
        loop.call_later(0, lambda: (ran.append("b"), loop.stop()))
        with pytest.raises(Boom):
            loop.start()
        assert ran == ["a"]
        loop.start()
        assert ran == ["a", "b"]

    def test_thousands(self, loop: Loop) -> None:
        delays = [number / 100_000 for number in range(10_000)]
        random.Random(7).shuffle(delays)
        ran: list[float] = []
        timers = [loop.call_later(0, lambda: None) for _ in range(5_000)]
        for delay in delays:
            loop.call_later(delay, lambda delay=delay: ran.append(delay))
        for timer in timers:
            loop.remove_timeout(timer)
        loop.call_later(0.2, loop.stop)
        bounded(loop.start)
        assert len(ran) == len(delays)

    def test_a_clock_that_jumps_ahead_makes_them_due_once_and_in_order(self, clocked: Loop, clock: Clock) -> None:
        ran: list[str] = []
        clocked.call_later(7200, lambda: ran.append("late"))
        clocked.call_later(60, lambda: ran.append("soon"))
        clocked.call_later(1e9, lambda: ran.append("never"))
        turn(clocked)
        assert ran == []
        clock.now += 86400
        turn(clocked)
        turn(clocked)
        assert ran == ["soon", "late"]

    def test_a_clock_that_jumps_back_only_makes_them_later(self, clocked: Loop, clock: Clock) -> None:
        ran: list[str] = []
        clocked.call_later(10, lambda: ran.append("timer"))
        clock.now -= 86400
        turn(clocked)
        assert ran == []
        clock.now += 86410
        turn(clocked)
        assert ran == ["timer"]

    def test_the_clock_that_the_user_can_set_is_not_the_one(self, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time", lambda: 4e9)
        ran: list[str] = []
        loop.call_later(100, lambda: ran.append("timer"))
        loop.call_later(0.01, loop.stop)
        loop.start()
        assert ran == []

    @pytest.mark.parametrize("delay", [-1, -0.001, float("nan"), float("-inf")])
    def test_a_delay_that_is_none(self, loop: Loop, delay: float) -> None:
        with pytest.raises(ValueError, match="non-negative"):
            loop.call_later(delay, boom)

    def test_one_that_is_never_due(self, loop: Loop) -> None:
        loop.call_later(float("inf"), boom)
        loop.call_later(0.01, loop.stop)
        loop.start()

    def test_what_cannot_be_called(self, loop: Loop) -> None:
        for call in (loop.add_callback, loop.add_callback_threadsafe, lambda it: loop.call_later(0, it)):
            with pytest.raises(TypeError, match="callable"):
                call(None)
        with pytest.raises(AttributeError):
            loop.remove_timeout(None)  # type: ignore[arg-type]


class TestCallbacks:
    def test_they_run_in_order_and_before_timers(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.call_later(0, lambda: (ran.append("timer"), loop.stop()))
        loop.add_callback(lambda: ran.append("one"))
        loop.add_callback_threadsafe(lambda: ran.append("two"))
        loop.start()
        assert ran == ["one", "two", "timer"]

    def test_one_that_a_callback_adds_waits_for_the_next_iteration(self, loop: Loop) -> None:
        ran: list[str] = []

        def outer() -> None:
            ran.append("outer")
            loop.add_callback(lambda: ran.append("inner"))
            loop.stop()

        loop.add_callback(outer)
        loop.start()
        assert ran == ["outer"]
        turn(loop)
        assert ran == ["outer", "inner"]

    def test_one_that_renews_itself_starves_nobody(self, loop: Loop, pairs: Pairs) -> None:
        ran: list[str] = []

        def again() -> None:
            loop.add_callback(again)

        again()
        ours, theirs = pairs[0]
        theirs.send(b"x")
        loop.add_handler(ours.fileno(), lambda fd, events: (ran.append("read"), ours.recv(1)), READ)
        loop.call_later(0.01, lambda: (ran.append("timer"), loop.stop()))
        bounded(loop.start)
        assert ran == ["read", "timer"]

    def test_one_that_raises_leaves_start_and_the_rest_runs_at_the_next(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.add_callback(lambda: ran.append("a"))
        loop.add_callback(boom)
        loop.add_callback(lambda: (ran.append("b"), loop.stop()))
        with pytest.raises(Boom):
            loop.start()
        assert ran == ["a"]
        loop.start()
        assert ran == ["a", "b"]

    def test_an_exception_takes_the_stop_before_it_along(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.add_callback(loop.stop)
        loop.add_callback(boom)
        with pytest.raises(Boom):
            loop.start()
        loop.call_later(0.01, lambda: (ran.append("timer"), loop.stop()))
        loop.start()
        assert ran == ["timer"]

    @pytest.mark.parametrize("how", ["add_callback", "add_callback_threadsafe"])
    def test_another_thread_wakes_a_loop_that_waits(self, loop: Loop, how: str) -> None:
        ran: list[threading.Thread] = []
        running = started(loop)
        # It runs; now let it fall asleep.
        time.sleep(0.05)
        getattr(loop, how)(lambda: (ran.append(threading.current_thread()), loop.stop()))
        running.result()
        assert ran == [running.thread]

    def test_a_wake_up_that_was_heard_is_over(self, clocked: Loop, clock: Clock) -> None:
        ran: list[int] = []

        def heard() -> None:
            ran.append(1)
            threading.Timer(0.15, clocked.stop).start()

        timer = clocked.call_later(1e6, boom)
        threading.Timer(0.05, lambda: clocked.add_callback_threadsafe(heard)).start()
        bounded(clocked.start)
        clocked.remove_timeout(timer)
        assert ran == [1]
        assert 2 < clock.read < 100

    def test_a_storm_of_eight_threads(self, loop: Loop) -> None:
        count = 5_000
        ran: list[tuple[int, int]] = []

        def storm(thread: int) -> None:
            for number in range(count):
                loop.add_callback_threadsafe(lambda number=number: ran.append((thread, number)))

        running = started(loop)
        side_by_side([lambda thread=thread: storm(thread) for thread in range(8)])
        loop.add_callback_threadsafe(loop.stop)
        running.result()
        assert len(ran) == 8 * count
        for thread in range(8):
            assert [number for who, number in ran if who == thread] == list(range(count))

    def test_threads_that_add_one_at_a_time_are_never_missed(self, loop: Loop) -> None:
        """Each waits until its callback has run: one lost wake-up would cost all patience."""
        running = started(loop)

        def ping() -> None:
            for _ in range(1_000):
                answered = threading.Event()
                loop.add_callback_threadsafe(answered.set)
                assert answered.wait(PATIENCE)

        side_by_side([ping, ping, ping])
        loop.stop()
        running.result()


class TestStopping:
    def test_what_is_due_in_this_iteration_still_runs(self, loop: Loop, pairs: Pairs) -> None:
        ran: list[str] = []
        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(
                ours.fileno(), lambda fd, events, ours=ours: (ours.recv(1), ran.append("read"), loop.stop()), READ
            )
        loop.add_callback(lambda: ran.append("callback"))
        loop.call_later(0, lambda: ran.append("timer"))
        loop.start()
        assert ran == ["read", "read", "read", "callback", "timer"]

    def test_before_start_it_makes_the_next_one_return_at_once(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.stop()
        loop.add_callback(lambda: (ran.append("callback"), loop.stop()))
        loop.start()
        assert ran == []
        loop.start()
        assert ran == ["callback"]

    def test_start_within_a_callback_is_refused_and_harms_nothing(self, loop: Loop) -> None:
        ran: list[str] = []

        def nested() -> None:
            with pytest.raises(RuntimeError, match="already running") as caught:
                loop.start()
            assert not isinstance(caught.value, WrongThreadError)
            loop.add_callback(lambda: (ran.append("went on"), loop.stop()))

        loop.add_callback(nested)
        loop.start()
        assert ran == ["went on"]

    def test_stop_and_start_again_and_again(self, loop: Loop) -> None:
        for _ in range(100):
            turn(loop)

    @pytest.mark.parametrize("name", NAMES)
    def test_on_the_brink_of_a_wait(self, name: str) -> None:
        """Where a signal handler may call it, too: after the loop has looked for it, before the wait has begun."""

        class OnTheBrink(patient(name)):  # type: ignore[misc]
            def poll(self) -> None:
                self.stop()
                super().poll()

        loop = Loop(OnTheBrink)
        bounded(loop.start)
        loop.close()

    def test_by_another_thread(self, loop: Loop) -> None:
        running = started(loop)
        # It runs; now let it fall asleep.
        time.sleep(0.05)
        loop.stop()
        running.result()

    def test_polling_by_hand(self, loop: Loop, pairs: Pairs) -> None:
        ran: list[str] = []
        ours, theirs = pairs[0]
        loop.add_handler(ours.fileno(), lambda fd, events: ran.append("read"), READ)
        theirs.send(b"x")
        loop.activate_poller()
        loop.activate_poller()
        loop.add_callback(lambda: ran.append("callback"))
        loop.poll()
        assert ran == ["read"]
        loop.process_timeouts()
        assert ran == ["read", "callback"]
        loop.deactivate_poller()
        loop.deactivate_poller()
        loop.poll()
        assert ran == ["read", "callback", "read"]

    def test_polling_within_a_callback(self, loop: Loop, pairs: Pairs) -> None:
        ran: list[str] = []
        ours, theirs = pairs[0]
        loop.add_handler(ours.fileno(), lambda fd, events: (ran.append("read"), ours.recv(1)), READ)

        def nested() -> None:
            theirs.send(b"x")
            loop.poll()
            loop.add_callback(lambda: ran.append("inner"))
            loop.process_timeouts()
            loop.stop()

        loop.add_callback(nested)
        loop.add_callback(lambda: ran.append("outer"))
        loop.start()
        assert ran == ["read", "outer", "inner"]


class TestClosing:
    def test_it_is_refused_while_the_loop_runs(self, loop: Loop) -> None:
        def close() -> None:
            with pytest.raises(AssertionError, match="unwinds"):
                loop.close()
            loop.stop()

        loop.add_callback(close)
        loop.start()
        loop.close()

    def test_what_can_be_done_afterwards(self, loop: Loop, pairs: Pairs) -> None:
        number = pairs[0][0].fileno()
        timer = loop.call_later(0, boom)
        loop.add_callback(boom)
        loop.add_handler(number, lambda fd, events: boom(), WRITE)
        loop.close()
        loop.close()
        loop.remove_timeout(timer)
        loop.deactivate_poller()
        loop.process_timeouts()
        loop.add_callback(boom)
        loop.add_callback_threadsafe(boom)
        loop.process_timeouts()
        with pytest.raises(ValueError, match="closed"):
            loop.call_later(0, boom)
        for call in (loop.start, loop.poll, loop.activate_poller):
            with pytest.raises(RuntimeError, match="closed"):
                call()
        with pytest.raises(RuntimeError, match="closed"):
            loop.add_handler(number, lambda fd, events: boom(), WRITE)
        with pytest.raises(KeyError):
            loop.remove_handler(number)
        loop.stop()
        assert "closed" in repr(loop)

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
    @pytest.mark.parametrize("close", [True, False])
    def test_no_descriptor_is_left(self, close: bool) -> None:
        """Not even by loops that nobody closes."""
        gc.collect()
        before = sorted(os.listdir("/proc/self/fd"))
        for name in NAMES:
            loop = Loop(poller_class(name))
            turn(loop)
            if close:
                loop.close()
            del loop
        gc.collect()
        assert sorted(os.listdir("/proc/self/fd")) == before

    def test_what_it_held_is_freed(self, loop: Loop) -> None:
        class Thing:
            def method(self) -> None:
                pass

        freed: list[bool] = []
        thing = Thing()
        weakref.finalize(thing, freed.append, True)
        loop.add_callback(thing.method)
        loop.call_later(10, thing.method)
        del thing
        loop.close()
        gc.collect()
        assert freed == [True]


def test_its_text_says_what_it_has(loop: Loop) -> None:
    loop.call_later(10, boom)
    assert "not running: 0 descriptors, 1 timers, 0 callbacks" in repr(loop)
    texts: list[str] = []
    loop.add_callback(lambda: (texts.append(repr(loop)), loop.stop()))
    loop.start()
    assert "Poller, running:" in texts[0]
