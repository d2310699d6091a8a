"""Connecting on asyncio: the plan of the transport, awaited; and what is both awaited and entered."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
from collections.abc import Awaitable, Coroutine, Generator, Sequence
from types import TracebackType
from typing import Any, Callable, Generic, Protocol, TypeVar, Union

from pika.client import opening
from pika.client.aio_stream import until
from pika.credentials import Credentials
from pika.exceptions import AMQPError
from pika.transport.dial import (
    Address,
    Destination,
    Pause,
    Resolve,
    StepResult,
    call_in_thread,
    look_up_number,
    plan,
    resolve,
)
from pika.transport.errors import AMQPConnectorException, DialError

Provider = Union[opening.Provider, Callable[[], Awaitable[Credentials]]]

T = TypeVar("T")


class Closable(Protocol):
    """What ends with a close."""

    async def close(self) -> None:
        """End it."""


C = TypeVar("C", bound=Closable)


class Opening(Generic[C]):
    """What opens something, once: await it, or enter it with ``async with``, which closes it in the end.

    :param begin: opens it
    """

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, C]]) -> None:
        self._begin = begin
        self._opened: list[C] = []

    def __await__(self) -> Generator[Any, None, C]:
        return self._begin().__await__()

    async def __aenter__(self) -> C:
        opened = await self._begin()
        self._opened.append(opened)
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.pop().close()


async def ask_for_credentials(credentials: Provider) -> Credentials | None:
    """Return credentials, for which a function may have to be called, and awaited.

    :param credentials: as they are, or a function that returns them, or None
    """
    given: Any = credentials
    if given is not None and not opening.is_credentials(given):
        given = given()
        if inspect.isawaitable(given):
            given = await given
    result: Credentials | None = given
    return result


async def dial(
    destinations: Sequence[Destination],
    attempt: Callable[[Destination, Address, float | None], Awaitable[T]],
) -> T:
    """Carry out a :func:`~pika.transport.dial.plan` until an attempt succeeds; see :func:`pika.transport.dial.dial`.

    :param destinations: at least one
    :param attempt: opens the stream and brings it to where it is of use; given destination, address and the deadline
        on the loop's clock
    :returns: what ``attempt`` returns
    :raises Exception: every attempt failed: see :meth:`pika.transport.errors.DialError.reduced`
    """
    steps = plan(destinations)
    try:
        step = next(steps)
        while True:
            result: StepResult = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Resolve):
                result = await _resolve(step.destination)
            else:
                limit = step.destination.stack_timeout
                deadline = None if limit is None else asyncio.get_running_loop().time() + limit
                try:
                    return await attempt(step.destination, step.address, deadline)
                except (OSError, AMQPError, AMQPConnectorException) as error:
                    result = error
            step = steps.send(result)
    except DialError as error:
        failed = error
    finally:
        steps.close()
    raise failed.reduced()


async def _resolve(destination: Destination) -> list[Address] | Exception:
    host, port = destination.host, destination.port
    known = look_up_number(host, port)
    if known is not None:
        return known
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address] | Exception] = loop.create_future()

    def keep(result: list[Address] | Exception) -> None:
        if not found.done():
            found.set_result(result)

    def tell(result: list[Address] | Exception) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(keep, result)

    # Not in the loop's executor, whose threads the end of a program waits for.
    call_in_thread(functools.partial(resolve, host, port), tell, f"pika-resolve-{host}")
    limit = destination.stack_timeout
    try:
        return await until(None if limit is None else loop.time() + limit, found)
    except asyncio.TimeoutError:
        return socket.gaierror(socket.EAI_AGAIN, f"the resolver did not answer within {limit:g} seconds")
