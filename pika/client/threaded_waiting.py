"""Threads that wait: for a sign, for deliveries to hand to handlers, for callbacks to call."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable

from pika import exceptions
from pika.client.inbox import Inbox, Item
from pika.client.reports import tell_of_callback, tell_of_handler

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pika.client.threaded_link import Link

LOGGER = logging.getLogger(__name__)

#: The longest that a thread waits at a stretch, in seconds: where waiting for a lock cannot be interrupted, as on
#: Windows, Ctrl-C is seen in between.
STRETCH = 0.5


class Gate:
    """Where one thread waits until another lets it pass."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self, _what: object = None) -> None:
        """Let the thread pass, now or when it comes. Opening it twice is as good as once."""
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:
                # A signal handler has opened it in between.
                return

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is opened.

        :param timeout: seconds; None waits without limit
        :returns: whether it was opened
        """
        if timeout is None:
            while not self._lock.acquire(timeout=STRETCH):
                pass
            return True
        if timeout <= STRETCH:
            return self._lock.acquire(timeout=max(timeout, 0))
        # Most waits are over by now; only the others need a look at the clock.
        if self._lock.acquire(timeout=STRETCH):
            return True
        timeout -= STRETCH
        deadline = time.monotonic() + timeout
        while not self._lock.acquire(timeout=min(STRETCH, max(timeout, 0))):
            timeout = deadline - time.monotonic()
            if timeout <= 0:
                return False
        return True


def later(action: Callable[[], object]) -> None:
    """Do what a signal handler, or a finalizer, asked for and cannot wait for, in a thread of its own.

    :param action: what to do
    """

    def act() -> None:
        try:
            action()
        except exceptions.AMQPError as error:
            # Whom to tell has gone on.
            LOGGER.warning("What could not be waited for failed: %s", error)

    try:
        threading.Thread(target=act, name="pika-deferred", daemon=True).start()
    except RuntimeError as error:  # at the end of the interpreter, or at a limit of the system
        LOGGER.warning("No thread can be started for what cannot wait: %s", error)


def join(thread: threading.Thread, timeout: float) -> None:
    """Wait for the end of a thread, as others may do at the same time.

    :param thread: the thread
    :param timeout: seconds
    """
    try:
        thread.join(timeout)
    except (AssertionError, RuntimeError) as error:
        # PyPy 3.9 raises these in those who see its end together. What comes from elsewhere is a signal handler's.
        innermost = error.__traceback__
        while innermost is not None and innermost.tb_next is not None:
            innermost = innermost.tb_next
        if innermost is None or innermost.tb_frame.f_globals.get("__name__") != "threading":
            raise


def is_inside(lock: threading.RLock) -> bool:
    """Say whether this thread has a connection's lock because somebody is inside it; if nobody is, release it.

    Python 3.9 may be interrupted between the body of a with statement and its end; then the lock stays taken.

    :param lock: the lock
    """
    # A private name, but the one that threading.Condition asks too.
    owned: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
    if not owned():
        return False
    if is_nested():
        return True
    while owned():
        lock.release()
    return False


def is_nested() -> bool:
    """Say whether the program has called a client in the middle of a call of a client's, as signal handlers do.

    Who is inside has a frame of a client's below those of the program that called in just now.
    """
    outside = False
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_globals.get("__name__", "")
        outside = outside or not name.startswith("pika.")
        if outside and name.startswith("pika.client."):
            return True
    return False


def is_collected() -> bool:
    """Say whether the generator that asks is ended by garbage collection in the middle of what the library does.

    The thread may hold the lock of another connection, or be one that others wait for.
    """
    # That of the generator, and of who ends it: a program, but for garbage collection.
    frame = sys._getframe(1).f_back
    return frame is not None and frame.f_globals.get("__name__", "").startswith("pika.")


class Parking:
    """Where those who read an inbox wait while it is empty.

    :param link: the connection
    :param inbox: the inbox
    """

    def __init__(self, link: Link, inbox: Inbox) -> None:
        self._link = link
        self._inbox = inbox
        self.parked: dict[Gate, threading.Thread] = {}
        # Threads that were woken because nothing more will come, and how many have left altogether.
        self.dismissed: list[threading.Thread] = []
        self.left = 0
        inbox.wake = self.wake

    def wake(self) -> None:
        """Wake as many as there is something for, or all when nothing more will come; under the connection's lock."""
        parked = self.parked
        if parked:
            waiting = len(self._inbox.items)
            while parked and (waiting > 0 or self._inbox.over):
                waiting -= 1
                gate, thread = parked.popitem()
                if waiting < 0:
                    self.dismissed.append(thread)
                gate.open()

    def park(self, timeout: float | None = None) -> bool:
        """Wait until there is something in the inbox.

        :param timeout: seconds; None waits without limit
        :returns: whether there may be something; False when the time was over, or nothing more will come
        """
        link, inbox = self._link, self._inbox
        with link.lock:
            if inbox.items:
                return True
            if inbox.over:
                self.left += 1
                link.on_rest()
                return False
            gate = Gate()
            self.parked[gate] = threading.current_thread()
            link.on_rest()
        try:
            passed = gate.wait(timeout)
        except BaseException:
            self._leave(gate)
            raise
        if not passed:
            self._leave(gate)
        return passed or bool(inbox.items)

    def _leave(self, gate: Gate) -> None:
        with self._link.lock:
            self.parked.pop(gate, None)


def hand_out(link: Link, inbox: Inbox, item: Item) -> None:
    """Call the handler of one delivery. What it raises is logged, and the message stays unacknowledged."""
    consumer, delivery = item
    if link.full:
        link.relieve(inbox)
    if consumer.stopped and not consumer.auto_ack:
        with link.lock:
            link.give_back(delivery)
            link.flush()
        return
    assert consumer.handler is not None
    try:
        consumer.handler(consumer.handler_channel, delivery.method, delivery.properties, delivery.body)
    except BaseException:  # the thread goes on: SystemExit in it would end nothing but the handling of messages
        tell_of_handler(LOGGER, consumer.tag, delivery.method.delivery_tag)


class Crew:
    """Threads that hand the deliveries of an inbox to handlers; with one of them, in order.

    :param link: the connection
    :param inbox: the inbox
    :param name: of the threads
    :param count: how many threads
    """

    def __init__(self, link: Link, inbox: Inbox, name: str, count: int = 1) -> None:
        self.inbox = inbox
        self._link = link
        self._parking = Parking(link, inbox)
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def is_idle(self) -> bool:
        """Say whether nothing waits and no handler runs but those that drain; under the connection's lock."""
        draining = sum(thread.ident in self._link.draining for thread in self._threads)
        working = len(self._threads) - self._parking.left - len(self._parking.parked) - draining
        return not self.inbox.items and working <= 0

    def join(self, timeout: float) -> None:
        """Wait for the threads that have no handler to finish; others end with it. Their inbox is over."""
        for thread in self._parking.dismissed:
            join(thread, timeout)

    def _run(self) -> None:
        link, inbox, items = self._link, self.inbox, self.inbox.items
        while True:
            try:
                item = items.popleft()
            except IndexError:
                if not self._parking.park() and not items:
                    return
                continue
            hand_out(link, inbox, item)
            # Not kept while it waits for the next one.
            del item


class ExecutorCrew:
    """Hands the deliveries of an inbox to handlers in a user's executor; with a concurrency of 1, in order.

    :param link: the connection
    :param inbox: the inbox
    :param executor: where handlers run
    :param concurrency: how many of them at a time
    """

    def __init__(self, link: Link, inbox: Inbox, executor: Executor, concurrency: int) -> None:
        self._link = link
        self.inbox = inbox
        self._executor = executor
        self._concurrency = concurrency
        self._running: dict[object, int] = {}
        inbox.wake = self.wake

    def wake(self) -> None:
        """Have as many handlers run as there is something for; under the connection's lock."""
        while len(self._running) < min(self._concurrency, len(self.inbox.items) + len(self._running)):
            mark = object()
            self._running[mark] = 0
            try:
                self._executor.submit(self._drain, mark)
            except RuntimeError as error:
                del self._running[mark]
                LOGGER.error("The executor takes no more handlers, messages stay unacknowledged: %s", error)
                return

    def is_idle(self) -> bool:
        """Say whether nothing waits and no handler runs but those that drain; under the connection's lock."""
        running = [thread for thread in self._running.values() if thread not in self._link.draining]
        return not running and not self.inbox.items

    def join(self, timeout: float) -> None:
        """Wait for nothing: the threads are the executor's."""

    def _drain(self, mark: object) -> None:
        self._running[mark] = threading.get_ident()
        while True:
            try:
                item = self.inbox.items.popleft()
            except IndexError:
                with self._link.lock:
                    # What has come since found somebody at work, and woke nobody.
                    if not self.inbox.items:
                        del self._running[mark]
                        self._link.on_rest()
                        return
                continue
            hand_out(self._link, self.inbox, item)


class CallbackThread:
    """Calls users' callbacks one by one, in a thread that starts with the first. A callback may do anything.

    :param name: of the thread
    :param lock: the connection's
    """

    def __init__(self, name: str, lock: threading.RLock) -> None:
        self._name = name
        self._deaf = False
        self._lock = lock
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._gate: Gate | None = None
        self._over = False
        self.thread: threading.Thread | None = None

    def call(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Have a callback called, behind those before it; under the connection's lock."""
        if self._deaf:
            return
        self._calls.append((callback, arguments))
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                self.thread.start()
            except RuntimeError as error:  # at the end of the interpreter, or at a limit of the system
                self.thread = None
                LOGGER.warning("No thread can be started for %r: %s", callback, error)
        elif self._gate is not None:
            self._gate.open()

    def silence(self) -> None:
        """Call nothing of what was asked for, and never again anything."""
        self._deaf = True
        self._calls.clear()

    def finish(self) -> None:
        """End the thread when all that waits was called; under the connection's lock. What comes later has another."""
        self._over = True
        if self._gate is not None:
            self._gate.open()

    def _run(self) -> None:
        while True:
            # Made before it is looked whether there is anything: whoever adds something now opens it.
            gate = self._gate = Gate()
            while self._calls:
                callback, arguments = self._calls.popleft()
                try:
                    callback(*arguments)
                except BaseException:  # the thread goes on, for the others
                    tell_of_callback(LOGGER, callback)
                del callback, arguments
            if not self._over:
                gate.wait()
                continue
            with self._lock:
                if not self._calls:
                    self.thread = None
                    return
