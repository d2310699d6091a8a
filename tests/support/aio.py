"""What tests of ``pika.aio`` share: programs that must end and leave nothing behind, and a loop in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Callable, TypeVar

import pytest

from pika import aio
from tests.support.bounded import PATIENCE, bounded, stacks
from tests.support.memory import count_descriptors as count_descriptors

T = TypeVar("T")

#: So many turns of a loop let everything run that is ready, and what that makes ready in its turn.
TURNS = 20


class Leftovers(AssertionError):
    """A program has left something behind in its loop."""


def new_loop(kind: str = "asyncio") -> asyncio.AbstractEventLoop:
    """Make a loop; a test that asks for one that is not there is left out.

    :param kind: ``asyncio``, or ``uvloop``
    """
    if kind == "uvloop":
        loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop", reason="no uvloop here").new_event_loop()
        return loop
    return asyncio.new_event_loop()


async def settle(turns: int = TURNS) -> None:
    """Let everything run that is ready."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def eventually(holds: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Ask again and again until the answer is true, and return it; the loop runs meanwhile."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        late = asyncio.get_running_loop().time() > deadline
        answer = holds()
        if answer:
            return answer
        assert not late, f"still {answer!r} after {seconds} seconds"
        await asyncio.sleep(0.005)


#: Seconds for all of a program, whose waits have less: some do much.
PROGRAM_PATIENCE = 4 * PATIENCE


def run(program: Callable[[], Coroutine[Any, Any, T]], *, kind: str = "asyncio", debug: bool = False) -> T:
    """Run a coroutine in a loop of its own, which must end, and leave no task, timer, transport or complaint behind.

    :param program: makes it
    :param kind: see :func:`new_loop`
    :param debug: turns asyncio's debug mode on
    :raises Leftovers: when something is left
    """
    loop = new_loop(kind)
    loop.set_debug(debug)
    return bounded(lambda: _run_in(loop, program), PROGRAM_PATIENCE)


def _run_in(loop: asyncio.AbstractEventLoop, program: Callable[[], Coroutine[Any, Any, T]]) -> T:
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(program())
        loop.run_until_complete(settle())
        loop.run_until_complete(loop.shutdown_asyncgens())
        left = leftovers(loop)
        if left:
            raise Leftovers("; ".join(left))
        # What complains about not having been looked at does so when it is collected.
        gc.collect()
        if complaints:
            raise Leftovers(repr(complaints))
        return result
    finally:
        asyncio.set_event_loop(None)
        # Here: a loop that runs on when nobody waits for it any more would complain in the middle of another test.
        loop.close()


def use(url: str, program: Callable[[aio.Connection, aio.Channel, str], Coroutine[Any, Any, None]]) -> None:
    """Run a program as :func:`run` does, and give it a connection, a channel of it, and an exclusive queue."""

    async def main() -> None:
        async with aio.connect(url) as connection, connection.channel() as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            await program(connection, channel, queue)

    run(main)


async def fill(connection: aio.Connection, queue: str, count: int, size: int = 0) -> list[bytes]:
    """Publish messages whose bodies are their numbers, wait until the broker has them, and return their bodies."""
    bodies = [b"%d" % number + b" " * size for number in range(count)]
    async with connection.channel() as channel, channel.publisher() as publisher:
        for body in bodies:
            await publisher.send(body, routing_key=queue)
    return bodies


def numbers(count: int) -> list[bytes]:
    """Return the bodies of so many messages of :func:`fill`."""
    return [b"%d" % number for number in range(count)]


async def take_all(channel: aio.Channel, queue: str) -> list[bytes]:
    """Take the messages that are in a queue, and return their bodies."""
    bodies: list[bytes] = []
    while True:
        message = await channel.basic_get(queue, auto_ack=True)
        if message is None:
            return bodies
        bodies.append(message.body)


async def ready(channel: aio.Channel, queue: str) -> int:
    """Return how many messages are in a queue that nobody has got."""
    return (await channel.queue_declare(queue, passive=True)).method.message_count


async def becomes_ready(channel: aio.Channel, queue: str, count: int) -> None:
    """Wait until so many messages are in a queue that nobody has got."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        found = await ready(channel, queue)
        if found == count:
            return
        assert asyncio.get_running_loop().time() < deadline, f"{found}, not {count} messages"
        await asyncio.sleep(0.01)


def leftovers(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Return what is left in a loop that does not run: tasks, timers, and descriptors that it watches."""
    left = [repr(task) for task in asyncio.all_tasks(loop)]
    # As far as a loop says it: uvloop does not.
    left += [repr(handle) for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    selector = getattr(loop, "_selector", None)
    if selector is not None:
        # One is the loop's own.
        keys = [key for key in selector.get_map().values() if not _is_own(loop, key.fileobj)]
        left += [repr(key) for key in keys]
    return left


def _is_own(loop: asyncio.AbstractEventLoop, fileobj: Any) -> bool:
    own = getattr(loop, "_ssock", None)
    return own is not None and fileobj in (own, own.fileno())


class LoopThread:
    """A loop that runs in a thread of its own, and does what other threads ask for.

    :param kind: see :func:`new_loop`
    """

    def __init__(self, kind: str = "asyncio") -> None:
        self.loop = new_loop(kind)
        self._thread = threading.Thread(target=self._run, name=f"loop-{kind}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, and return what it returns.

        :raises AssertionError: when it has not ended in time
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise AssertionError(f"{coroutine} has not ended:\n{stacks()}") from None

    def end(self) -> None:
        """Stop and close the loop; what is left in it is an error."""
        # What was about to end when the last one was told its result comes to it.
        self.do(settle())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        left = leftovers(self.loop)
        self.loop.close()
        if left:
            raise Leftovers("; ".join(left))


@contextlib.contextmanager
def loop_thread(kind: str = "asyncio") -> Iterator[LoopThread]:
    """Have a loop run in a thread."""
    thread = LoopThread(kind)
    try:
        yield thread
    finally:
        thread.end()
