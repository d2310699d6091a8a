"""The event loop: timers, callbacks, descriptors, stopping, on every poller that this system has."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import select
import signal
import socket
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any, Callable

import pytest

from pika.exceptions import WrongThreadError
from pika.transport.loop import Loop
from pika.transport.pollers import ERROR, HANGUP, READ, WRITE, poller_class
from tests.support.bounded import Running, bounded, side_by_side

NAMES = [name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)]


class Boom(Exception):
    """What callbacks of these tests raise."""


def boom() -> None:
    raise Boom


@pytest.fixture(params=NAMES)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    loop = Loop(poller_class(request.param))
    yield loop
    loop.close()


class Clock:
    """A clock that only moves when it is told to, and counts how often it was read."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.read = 0

    def __call__(self) -> float:
        self.read += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=NAMES)
def clocked(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Loop]:
    loop = Loop(poller_class(request.param), clock)
    yield loop
    loop.close()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Three pairs of connected sockets that do not block."""
    made = [socket.socketpair() for _ in range(3)]
    for pair in made:
        for sock in pair:
            sock.setblocking(False)
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


Pairs = list[tuple[socket.socket, socket.socket]]


def turn(loop: Loop) -> None:
    """Run one iteration."""
    loop.add_callback(loop.stop)
    loop.start()


def run_for(loop: Loop, seconds: float) -> None:
    """Run for some time, with a timer that is never due, so that every iteration reads the clock."""
    timer = loop.call_later(1e6, boom)
    threading.Timer(seconds, loop.stop).start()
    bounded(loop.start)
    loop.remove_timeout(timer)


@contextlib.contextmanager
def alarm(seconds: float, handler: Callable[[], object]) -> Iterator[None]:
    """Have a signal handler run once in this thread, and put back what was there before."""

    def run(_number: int, _frame: FrameType | None) -> None:
        handler()

    before = signal.signal(signal.SIGALRM, run)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


needs_alarms = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this platform")


class TestTimers:
    def test_they_run_in_the_order_of_their_times(self, loop: Loop) -> None:
        ran: list[str] = []
        loop.call_later(0.03, lambda: ran.append("c"))
        loop.call_later(0, lambda: ran.append("a1"))
        loop.call_later(0.01, lambda: ran.append("b"))
        loop.call_later(0, lambda: ran.append("a2"))
        loop.call_later(0.04, loop.stop)
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
        running = Running(loop.start)
        time.sleep(0.05)
        getattr(loop, how)(lambda: (ran.append(threading.current_thread()), loop.stop()))
        running.result(4)  # the longest wait is 5 seconds
        assert ran == [running.thread]

    def test_a_wake_up_that_was_heard_is_over(self, clocked: Loop, clock: Clock) -> None:
        ran: list[int] = []
        threading.Timer(0.05, lambda: clocked.add_callback_threadsafe(lambda: ran.append(1))).start()
        run_for(clocked, 0.2)
        assert ran == [1]
        assert 2 < clock.read < 100

    def test_a_storm_of_eight_threads(self, loop: Loop) -> None:
        count = 5_000
        ran: list[tuple[int, int]] = []

        def storm(thread: int) -> None:
            for number in range(count):
                loop.add_callback_threadsafe(lambda number=number: ran.append((thread, number)))

        running = Running(loop.start)
        side_by_side([lambda thread=thread: storm(thread) for thread in range(8)])
        loop.add_callback_threadsafe(loop.stop)
        running.result(4)
        assert len(ran) == 8 * count
        for thread in range(8):
            assert [number for who, number in ran if who == thread] == list(range(count))

    def test_threads_that_add_one_at_a_time_are_never_missed(self, loop: Loop) -> None:
        """Each waits until its callback has run: one lost wake-up would cost 5 seconds."""
        running = Running(loop.start)

        def ping() -> None:
            for _ in range(1_000):
                answered = threading.Event()
                loop.add_callback_threadsafe(answered.set)
                assert answered.wait(4)

        side_by_side([ping, ping, ping])
        loop.stop()
        running.result(4)


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

        class OnTheBrink(poller_class(name)):  # type: ignore[misc]
            def poll(self) -> None:
                self.stop()
                super().poll()

        loop = Loop(OnTheBrink)
        bounded(loop.start, 4)  # the longest wait is 5 seconds
        loop.close()

    def test_by_another_thread(self, loop: Loop) -> None:
        running = Running(loop.start)
        time.sleep(0.05)
        loop.stop()
        running.result(4)

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


class TestHandlers:
    def test_reading_and_writing(self, loop: Loop, pairs: Pairs) -> None:
        ours, theirs = pairs[0]
        seen: list[tuple[int, int]] = []

        def handle(fd: int, events: int) -> None:
            seen.append((fd, events))
            loop.stop()

        loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        assert seen == []
        theirs.send(b"x")
        loop.start()
        loop.update_handler(ours.fileno(), WRITE)
        loop.start()
        loop.update_handler(ours.fileno(), READ | WRITE)
        loop.start()
        loop.update_handler(ours.fileno(), 0)
        turn(loop)
        loop.remove_handler(ours.fileno())
        turn(loop)
        assert seen == [(ours.fileno(), READ), (ours.fileno(), WRITE), (ours.fileno(), READ | WRITE)]

    def test_what_was_not_taken_is_told_again(self, loop: Loop, pairs: Pairs) -> None:
        ours, theirs = pairs[0]
        got: list[bytes] = []
        theirs.send(b"abc")
        loop.add_handler(ours.fileno(), lambda fd, events: got.append(ours.recv(1)), READ)
        for _ in range(4):
            turn(loop)
        assert got == [b"a", b"b", b"c"]

    @pytest.mark.parametrize("asked", [READ, WRITE, READ | WRITE, READ | WRITE | ERROR])
    def test_the_end_of_the_peer(self, loop: Loop, pairs: Pairs, asked: int) -> None:
        ours, theirs = pairs[0]
        seen: list[int] = []
        theirs.close()
        loop.add_handler(ours.fileno(), lambda fd, events: (seen.append(events), loop.stop()), asked)
        loop.start()
        assert seen[0] & ~HANGUP == asked & ~ERROR

    @pytest.mark.parametrize("asked", [READ, WRITE, READ | WRITE])
    def test_a_reset_is_told_as_what_was_asked_for(self, loop: Loop, asked: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        seen: list[int] = []
        with ours:
            loop.add_handler(ours.fileno(), lambda fd, events: seen.append(events), asked)
            # The reset may take a moment to arrive.
            while not seen or seen[-1] & ~HANGUP != asked:
                turn(loop)
            loop.remove_handler(ours.fileno())
        assert all(not events & ~(asked | HANGUP) for events in seen)

    @pytest.mark.parametrize("asked", [WRITE, WRITE | ERROR, READ | WRITE])
    def test_a_connection_that_is_refused(self, loop: Loop, asked: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        seen: list[int] = []
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(address)
            loop.add_handler(sock.fileno(), lambda fd, events: (seen.append(events), loop.stop()), asked)
            bounded(loop.start)
            assert seen[0] & WRITE
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
            loop.remove_handler(sock.fileno())

    def test_an_error_that_nobody_asked_about_does_not_spin(self, clocked: Loop, clock: Clock) -> None:
        """The end of a pipe that is written to has failed, whatever was asked, when nobody reads any more."""
        reader, writer = os.pipe()
        os.close(reader)
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(events)
            clocked.remove_handler(fd)

        try:
            clocked.add_handler(writer, handle, READ)
            run_for(clocked, 0.2)
        finally:
            os.close(writer)
        assert clock.read < 100
        assert all(events & (READ | ERROR | HANGUP) for events in seen)

    def test_one_that_asks_for_nothing_hears_nothing_and_does_not_spin(
        self, clocked: Loop, clock: Clock, pairs: Pairs
    ) -> None:
        for asked in (0, HANGUP):
            ours, theirs = pairs[asked // HANGUP]
            clocked.add_handler(ours.fileno(), lambda fd, events: boom(), READ)
            clocked.update_handler(ours.fileno(), asked)
            theirs.close()
        run_for(clocked, 0.2)
        assert clock.read < 100

    def test_what_a_handler_removes_is_not_called_any_more(
        self, loop: Loop, pairs: Pairs, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(fd)
            for ours, _ in pairs:
                loop.remove_handler(ours.fileno())

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        turn(loop)
        assert len(seen) == 1
        assert caplog.records == []

    def test_what_a_handler_silences_is_not_called_any_more(self, loop: Loop, pairs: Pairs) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(fd)
            for ours, _ in pairs:
                loop.update_handler(ours.fileno(), 0)

        for ours, theirs in pairs:
            theirs.close()
            loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        turn(loop)
        assert len(seen) == 1

    def test_one_that_takes_a_descriptor_over_is_not_told_what_was_found_for_another(
        self, loop: Loop, pairs: Pairs
    ) -> None:
        """All three are ready in one go; the first one called gives the others new handlers, that wait for writing."""
        seen: list[str] = []

        def take_over(fd: int, events: int) -> None:
            seen.append("old")
            for ours, _ in pairs:
                loop.remove_handler(ours.fileno())
                loop.add_handler(ours.fileno(), lambda fd, events: seen.append("new"), READ)

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), take_over, READ)
        turn(loop)
        assert seen == ["old"]
        turn(loop)
        assert seen == ["old", "new", "new", "new"]

    def test_one_whose_question_was_changed_hears_only_the_answer_to_the_new_one(
        self, loop: Loop, pairs: Pairs
    ) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(events)
            for ours, _ in pairs:
                loop.update_handler(ours.fileno(), WRITE)

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        assert seen == [READ]
        turn(loop)
        assert seen == [READ, WRITE, WRITE, WRITE]

    def test_adding_again_replaces(self, loop: Loop, pairs: Pairs) -> None:
        ours, _ = pairs[0]
        seen: list[int] = []
        loop.add_handler(ours.fileno(), lambda fd, events: boom(), READ)

        def again() -> None:
            loop.add_handler(ours.fileno(), lambda fd, events: (seen.append(events), loop.stop()), WRITE)

        loop.add_callback(again)
        loop.start()
        assert seen == [WRITE]

    def test_one_that_raises_leaves_start_and_the_others_are_served_by_the_next(self, loop: Loop, pairs: Pairs) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(fd)
            os.read(fd, 1)
            if len(seen) == 1:
                raise Boom

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), handle, READ)
        with pytest.raises(Boom):
            loop.start()
        turn(loop)
        assert sorted(seen) == sorted(ours.fileno() for ours, _ in pairs)

    def test_a_descriptor_that_is_none(self, loop: Loop, pairs: Pairs) -> None:
        number = os.dup(pairs[0][0].fileno())
        os.close(number)
        for descriptor in (number, -1):
            with pytest.raises((OSError, ValueError)):
                loop.add_handler(descriptor, lambda fd, events: None, READ)
            with pytest.raises(KeyError):
                loop.remove_handler(descriptor)
        with pytest.raises(TypeError):
            loop.add_handler(pairs[0][0], lambda fd, events: None, READ)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="handler must be a callable"):
            loop.add_handler(pairs[0][0].fileno(), None, READ)  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError, match="has no handler"):
            loop.update_handler(pairs[0][0].fileno(), READ)
        turn(loop)

    def test_one_that_was_closed_before_it_was_removed(self, clocked: Loop, clock: Clock, pairs: Pairs) -> None:
        """The loop neither spins nor fails, goes on serving the others, and takes the removal."""
        closed, _ = pairs[0]
        number = closed.fileno()
        clocked.add_handler(number, lambda fd, events: boom(), READ)
        clocked.add_callback(closed.close)
        run_for(clocked, 0.2)
        assert clock.read < 100
        seen: list[int] = []
        clocked.add_handler(pairs[1][0].fileno(), lambda fd, events: (seen.append(events), clocked.stop()), WRITE)
        clocked.start()
        assert seen == [WRITE]
        clocked.remove_handler(number)
        clocked.remove_handler(pairs[1][0].fileno())

    def test_a_number_that_was_closed_and_is_in_use_again(self, loop: Loop, pairs: Pairs) -> None:
        ours = pairs[0][0]
        seen: list[str] = []
        number = os.dup(ours.fileno())
        loop.add_handler(number, lambda fd, events: seen.append("old"), READ)
        os.close(number)
        assert os.dup(pairs[1][0].fileno()) == number
        try:
            loop.add_handler(number, lambda fd, events: (seen.append("new"), os.read(fd, 1)), READ)
            pairs[1][1].send(b"x")
            turn(loop)
            turn(loop)
            assert seen == ["new"]
            loop.remove_handler(number)
        finally:
            os.close(number)

    def test_one_that_somebody_else_keeps_open_does_not_spin(self, clocked: Loop, clock: Clock, pairs: Pairs) -> None:
        """As a child process does after a fork: epoll goes on reporting a number that means nothing any more."""
        ours, theirs = pairs[0]
        number = ours.fileno()
        kept = os.dup(number)
        try:
            clocked.add_handler(number, lambda fd, events: boom(), READ)
            ours.close()
            clocked.remove_handler(number)
            theirs.send(b"x")
            run_for(clocked, 0.2)
            assert clock.read < 100
            seen: list[int] = []
            clocked.add_handler(pairs[1][0].fileno(), lambda fd, events: (seen.append(events), clocked.stop()), WRITE)
            clocked.start()
            assert seen == [WRITE]
        finally:
            os.close(kept)

    def test_many(self, loop: Loop) -> None:
        pairs = [socket.socketpair() for _ in range(200)]
        seen: list[int] = []
        try:
            for ours, theirs in pairs:
                theirs.send(b"x")
                loop.add_handler(ours.fileno(), lambda fd, events: (seen.append(fd), loop.remove_handler(fd)), READ)
            while len(seen) < len(pairs):
                bounded(lambda: turn(loop))
            assert sorted(seen) == sorted(ours.fileno() for ours, _ in pairs)
        finally:
            for pair in pairs:
                for sock in pair:
                    sock.close()


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
        running = Running(loop.start)
        time.sleep(0.05)
        for call in calls:
            with pytest.raises(WrongThreadError, match="add_callback_threadsafe"):
                call()
        loop.stop()
        running.result(4)
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
        with alarm(0.05, loop.stop):
            loop.start()
        assert time.monotonic() - begun < 4  # the longest wait is 5 seconds

    @pytest.mark.parametrize("how", ["callback", "threadsafe", "timer"])
    def test_work_that_a_handler_adds_is_done_at_once(self, loop: Loop, how: str) -> None:
        add: dict[str, Callable[[], object]] = {
            "callback": lambda: loop.add_callback(loop.stop),
            "threadsafe": lambda: loop.add_callback_threadsafe(loop.stop),
            "timer": lambda: loop.call_later(0, loop.stop),
        }
        begun = time.monotonic()
        with alarm(0.05, add[how]):
            loop.start()
        assert time.monotonic() - begun < 4

    def test_what_a_handler_raises_leaves_start_and_the_loop_goes_on(self, loop: Loop) -> None:
        ran: list[str] = []
        with alarm(0.05, boom), pytest.raises(Boom):
            loop.start()
        Running(lambda: loop.add_callback_threadsafe(lambda: (ran.append("callback"), loop.stop()))).result()
        bounded(loop.start, 4)
        assert ran == ["callback"]

    def test_ctrl_c(self, loop: Loop) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        with alarm(0.05, interrupt), pytest.raises(KeyboardInterrupt):
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
        assert time.monotonic() - begun < 4

    def test_a_storm_that_handlers_break_into(self, loop: Loop) -> None:
        """A handler that raises in the middle of a wake-up costs the others none of theirs."""
        ran: list[int] = []
        running = Running(loop.start)
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
            assert answered.wait(4)
        assert interrupted > 0
        loop.stop()
        running.result(4)


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
