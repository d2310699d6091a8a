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

from pika.client.inbox import HANDLER_RAISED, Inbox

if TYPE_CHECKING:
    from pika.client.aio_link import Link

LOGGER = logging.getLogger(__name__)

#: Whoever works messages off without waiting for anything lets others take their turn after so many seconds.
TURN = 0.002
# Seconds that tasks which were cancelled may take to end.
_END_TIMEOUT = 1.0


# The task of a handler or a callback, also in those that it starts, as asyncio.wait_for() does.
_worker: ContextVar[asyncio.Task[Any] | None] = ContextVar("pika-worker", default=None)


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
        task.cancel()
    return others


async def await_all(tasks: Collection[asyncio.Task[None]]) -> None:
    """Wait for the end of tasks that are about to end; what does not is left alone after a while."""
    if tasks:
        await asyncio.wait(tasks, timeout=_END_TIMEOUT)


def worker() -> asyncio.Task[Any] | None:
    """Return the task that runs the handler or the callback which has called, perhaps in a task of its own."""
    return _worker.get() or asyncio.current_task()


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
        self._arriving = False
        _worker.set(asyncio.current_task())

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._all_tasks.discard(task)
        if task.cancelled():
            self._arriving = False
        elif task.exception() is None:
            # What has come since found somebody at work, and woke nobody.
            self.wake()
        self._on_rest()

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
        inbox.wake = self.wake

    def is_idle(self) -> bool:
        """Say whether nothing waits and no handler runs but those that drain."""
        return not self.inbox.items and all(task in self._link.draining for task in self._tasks)

    def _has_work(self) -> bool:
        return bool(self.inbox.items)

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
            try:
                outcome = handler(consumer.handler_channel, method, delivery.properties, delivery.body)
                if type(outcome) is CoroutineType:
                    await outcome
                elif outcome is not None:
                    await result_of(outcome)
            except asyncio.CancelledError:
                if was_cancelled():
                    raise
                LOGGER.exception(HANDLER_RAISED, consumer.tag, method.delivery_tag)
            except Exception:
                LOGGER.exception(HANDLER_RAISED, consumer.tag, method.delivery_tag)
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

    def call(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Have a callback called, behind those before it."""
        self._calls.append((callback, arguments))
        self.wake()

    def _has_work(self) -> bool:
        return bool(self._calls)

    async def _work(self) -> None:
        self._begun()
        while self._calls:
            callback, arguments = self._calls.popleft()
            try:
                await result_of(callback(*arguments))
            except asyncio.CancelledError:
                if was_cancelled():
                    raise
                LOGGER.exception("The callback %r raised", callback)
            except Exception:
                LOGGER.exception("The callback %r raised", callback)
            del callback, arguments
