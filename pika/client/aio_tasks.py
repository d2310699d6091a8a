"""What ``pika.aio`` does in tasks: handing deliveries to handlers, and calling callbacks. They last as long as there
is something to do."""

from __future__ import annotations

import abc
import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Callable
from weakref import WeakSet

from pika.client.aio_stream import UNCAUGHT
from pika.client.inbox import Inbox
from pika.client.reports import tell_of_callback, tell_of_handler

if TYPE_CHECKING:
    from pika.client.aio_link import Link

LOGGER = logging.getLogger(__name__)

# What ends a task that calls users' functions, whoever of them raises it; anything else is told of.
_ENDS_TASKS = (*UNCAUGHT, GeneratorExit)
#: Whoever works messages off without waiting for anything lets others take their turn after so many seconds.
TURN = 0.002
# Seconds that tasks which were cancelled may take to end.
_END_TIMEOUT = 1.0
# A loop that ends, as asyncio.run() does it, cancels all tasks and stops before it has taken so many turns.
_TURNS_TO_END = 64
# Tasks that a close has cancelled: nobody goes on in their place.
_dismissed: WeakSet[asyncio.Task[Any]] = WeakSet()


# The task of a handler or a callback, also in those that it starts, as asyncio.wait_for() does; empty once the handler
# is over, since they may outlive it.
_worker: ContextVar[list[asyncio.Task[Any] | None]] = ContextVar("pika-worker")


# Where one task waits until it is let pass.
Gate = asyncio.Future[bool]


def open_gate(gate: Gate, _what: object = None) -> None:
    """Let whoever awaits a future go on: what it waits for has come."""
    if not gate.done():
        gate.set_result(True)


def shut_gate(gate: Gate) -> None:
    """Let whoever awaits a future go on: the time is over."""
    if not gate.done():
        gate.set_result(False)


def was_cancelled() -> bool:
    """Say whether the :class:`asyncio.CancelledError` that is being handled is meant for the task that runs.

    It may be of something else that the task waited for. Python 3.9 and 3.10 cannot tell these apart.
    """
    cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or cancelling() > 0


async def result_of(outcome: Any) -> None:
    """Await what a user's function has returned, if it can be awaited."""
    if inspect.isawaitable(outcome):
        await outcome


def cancel(tasks: Iterable[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    """Cancel tasks, but for the one that runs, or for which it does, and return them."""
    own = (worker(), asyncio.current_task())
    others = [task for task in tasks if task not in own]
    for task in others:
        _dismissed.add(task)
        task.cancel()
    return others


async def await_all(tasks: Collection[asyncio.Task[None]]) -> None:
    """Wait for the end of tasks that are about to end; what does not is left alone after a while."""
    if tasks:
        await asyncio.wait(tasks, timeout=_END_TIMEOUT)


def worker() -> asyncio.Task[Any] | None:
    """Return the task that runs the handler or the callback which has called, perhaps in a task of its own."""
    running = _worker.get(None)
    return running[0] if running else asyncio.current_task()


class Parking:
    """Where those who read an inbox wait while it is empty.

    :param link: the connection
    :param inbox: the inbox
    """

    def __init__(self, link: Link, inbox: Inbox) -> None:
        self._link = link
        self._inbox = inbox
        self._parked: dict[Gate, None] = {}
        inbox.wake = self.wake

    def wake(self) -> None:
        """Wake as many as there is something for, or all when nothing more will come."""
        parked = self._parked
        waiting = len(self._inbox.items)
        while parked and (waiting > 0 or self._inbox.over):
            waiting -= 1
            gate = next(iter(parked))
            del parked[gate]
            open_gate(gate)

    async def park(self, timeout: float | None = None) -> bool:
        """Wait until there is something in the inbox.

        :param timeout: seconds; None waits without limit
        :returns: whether there may be something; False when the time was over, or nothing more will come
        """
        inbox, loop = self._inbox, self._link.loop
        if inbox.items or inbox.over:
            return bool(inbox.items)
        gate: Gate = loop.create_future()
        self._parked[gate] = None
        timer = None if timeout is None else loop.call_later(timeout, shut_gate, gate)
        try:
            passed = await gate
        except BaseException:
            # Somebody else takes what this one was woken for.
            self._parked.pop(gate, None)
            if not loop.is_closed():
                self.wake()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        self._parked.pop(gate, None)
        return passed or bool(inbox.items)


class Workers(abc.ABC):
    """Tasks that work something off, and end when there is nothing left.

    :param loop: the event loop
    :param all_tasks: where those are noted that are at work, of these and of others
    :param name: of the tasks
    :param count: how many of them at a time
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, all_tasks: set[asyncio.Task[None]], name: str, count: int = 1
    ) -> None:
        self._loop = loop
        self._all_tasks = all_tasks
        self._name = name
        self._count = count
        self._tasks: set[asyncio.Task[None]] = set()
        # One is on its way, and has begun with nothing yet.
        self._arriving = False

    @abc.abstractmethod
    def _has_work(self) -> bool:
        """Say whether there is something to do that nobody has begun with."""

    @abc.abstractmethod
    async def _work(self) -> None:
        """Do what there is."""

    def wake(self) -> None:
        """Have somebody work, if there is something to do; more join in as long as there is something for them."""
        if len(self._tasks) < self._count and self._has_work():
            self._join()

    def _join(self) -> None:
        if self._arriving or len(self._tasks) >= self._count or self._loop.is_closed():
            return
        self._arriving = True
        # A factory may run the first part of a task at once, and whoever wakes is in the middle of something.
        if self._loop.get_task_factory() is None:
            self._begin()
        else:
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        task = self._loop.create_task(self._work(), name=self._name)
        self._tasks.add(task)
        self._all_tasks.add(task)
        task.add_done_callback(self._leave)

    def _begun(self) -> None:
        """Take note that a task has begun, which calls this."""
        task = asyncio.current_task()
        assert task is not None
        # One that begins at once does so before whoever has made it can note it.
        self._tasks.add(task)
        self._all_tasks.add(task)
        self._arriving = False

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._all_tasks.discard(task)
        if task.cancelled():
            self._arriving = False
            if task not in _dismissed:
                self._go_on_without(task, _TURNS_TO_END)
        elif task.exception() is None:
            # What has come since found somebody at work, and woke nobody.
            self.wake()
        self._on_rest()

    def _go_on_without(self, task: asyncio.Task[None], turns: int) -> None:
        """Have somebody go on in the place of a task that was cancelled, unless the loop ends before."""
        if turns:
            self._loop.call_soon(self._go_on_without, task, turns - 1)
        else:
            self._on_cut(task)
            self.wake()

    def _on_cut(self, task: asyncio.Task[None]) -> None:
        """Take note that somebody else than a close has cancelled a task, and that the loop goes on."""
        LOGGER.warning("%s was cancelled in a callback; those behind it are called all the same", task.get_name())

    def _on_rest(self) -> None:
        """Take note that somebody has ended."""
        return

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel those who work, but for the one that asks, and return them."""
        return cancel(self._tasks)


class Crew(Workers):
    """Hands the deliveries of an inbox to handlers; with a count of 1, in order.

    :param link: the connection
    :param inbox: the inbox
    :param name: of the tasks
    :param count: how many handlers at a time
    """

    def __init__(self, link: Link, inbox: Inbox, name: str, count: int = 1) -> None:
        super().__init__(link.loop, link.handling, name, count)
        self._link = link
        self.inbox = inbox
        # What the tasks had that were cancelled: the consumer and the delivery.
        self._cut: dict[asyncio.Task[Any] | None, tuple[str, int]] = {}
        inbox.wake = self.wake

    def is_idle(self) -> bool:
        """Say whether nothing waits and no handler runs but those that drain."""
        draining = self._link.draining
        # One that is done may still be noted: before Python 3.11, Ctrl-C may keep asyncio from telling of its end.
        return not self.inbox.items and all(task.done() or task in draining for task in self._tasks)

    def _has_work(self) -> bool:
        return bool(self.inbox.items)

    def _leave(self, task: asyncio.Task[None]) -> None:
        super()._leave(task)
        if task in _dismissed:
            self._cut.pop(task, None)

    def _on_cut(self, task: asyncio.Task[None]) -> None:
        cut = self._cut.pop(task, None)
        if cut is not None:
            LOGGER.warning(
                "The handler of consumer %r was cancelled; the message with delivery tag %s stays unacknowledged "
                "unless the handler settled it, and those behind it are handed out all the same",
                *cut,
            )

    def _on_rest(self) -> None:
        self._link.on_rest()

    async def _work(self) -> None:
        self._begun()
        link, items, several, clock = self._link, self.inbox.items, self._count > 1, time.monotonic
        end = clock() + TURN
        while items:
            consumer, delivery = items.popleft()
            if several and items:
                # It begins when this one waits for something.
                self._join()
            if link.full:
                link.relieve(self.inbox)
            if consumer.stopped and not consumer.auto_ack:
                link.give_back(delivery)
                link.flush_soon()
                continue
            handler, method = consumer.handler, delivery.method
            assert handler is not None
            running = [asyncio.current_task()]
            _worker.set(running)
            try:
                outcome = handler(consumer.handler_channel, method, delivery.properties, delivery.body)
                if type(outcome) is CoroutineType:
                    await outcome
                elif outcome is not None:
                    await result_of(outcome)
            except asyncio.CancelledError:
                if was_cancelled():
                    self._cut[asyncio.current_task()] = (consumer.tag, method.delivery_tag)
                    raise
                tell_of_handler(LOGGER, consumer.tag, method.delivery_tag)
            except _ENDS_TASKS:
                raise
            except BaseException:
                tell_of_handler(LOGGER, consumer.tag, method.delivery_tag)
            finally:
                # What it has started, and still drains, waits for the next one.
                link.draining.pop(running.pop(), None)
            if clock() > end:
                await asyncio.sleep(0)
                end = clock() + TURN


class CallbackTask(Workers):
    """Calls users' callbacks one by one, and awaits what can be awaited. A callback may do anything.

    :param loop: the event loop
    :param all_tasks: where the task is noted when it is at work
    :param name: of the task
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, all_tasks: set[asyncio.Task[None]], name: str) -> None:
        super().__init__(loop, all_tasks, name)
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._deaf = False

    def silence(self) -> None:
        """Call nothing of what was asked for, and never again anything."""
        self._deaf = True
        self._calls.clear()

    def call(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Have a callback called, behind those before it."""
        if self._deaf:
            return
        self._calls.append((callback, arguments))
        self.wake()

    def _has_work(self) -> bool:
        return bool(self._calls)

    async def _work(self) -> None:
        self._begun()
        while self._calls:
            callback, arguments = self._calls.popleft()
            running = [asyncio.current_task()]
            _worker.set(running)
            try:
                await result_of(callback(*arguments))
            except asyncio.CancelledError:
                if was_cancelled():
                    raise
                tell_of_callback(LOGGER, callback)
            except _ENDS_TASKS:
                raise
            except BaseException:
                tell_of_callback(LOGGER, callback)
            finally:
                running.clear()
            del callback, arguments
