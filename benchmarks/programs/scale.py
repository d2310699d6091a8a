"""What an operation costs when there is much else: many channels, consumers, unacknowledged messages, connections.

Arguments: the line, how many there are, how many operations are measured, the broker's AMQP URL, and seconds to idle.
Prints one line of JSON. Where operations are measured in sections, the cost is their median: what comes between hits
few of them.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Behind everything else, so that the pika that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika
from benchmarks.programs.meter import cpu_seconds, report, rss_kib
from pika.adapters.asyncio_connection import AsyncioConnection

SECTION = 500
BODY = bytes(100)
# Until then what was published is in the kernel's buffers, so that no wait for the broker is measured.
SETTLE_SECONDS = 1.0
# Acknowledgements of one section. Their messages are fetched outside of it.
ACKS = 100
# Connections that are being opened at a time.
AT_ONCE = 20


def cpu() -> float:
    return sum(cpu_seconds())


class Sections:
    """The CPU that an operation takes, in microseconds, section by section."""

    def __init__(self) -> None:
        self.costs: list[float] = []

    def measure(self, operations: int, perform: Callable[[], object]) -> None:
        """Measure one section."""
        before = cpu()
        perform()
        self.costs.append((cpu() - before) * 1e6 / operations)

    def result(self) -> dict[str, Any]:
        return {"cpu_us": statistics.median(self.costs)}


def channels(count: int, operations: int, url: str, in_turn: bool) -> dict[str, Any]:
    """Publish for nobody, on one of so many channels or on all of them in turn."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        opened = [connection.channel() for _ in range(count)]
        publishes = [channel.basic_publish for channel in opened]
        section = [publishes[number % count if in_turn else 0] for number in range(SECTION)]

        def perform() -> None:
            for publish in section:
                publish("", "nobody", BODY)

        sections = Sections()
        for number in range(operations // SECTION + 1):
            if in_turn:
                section = [publishes[(number * SECTION + place) % count] for place in range(SECTION)]
            sections.measure(SECTION, perform)
            # The broker is to be done with it, so that no write has to wait.
            opened[0].basic_qos(prefetch_count=0)
    return sections.result()


def consumers(count: int, operations: int, url: str, in_turn: bool) -> dict[str, Any]:
    """Consume as one of so many consumers, or as all of them in turn."""
    received = 0

    def on_message(*_: object) -> None:
        nonlocal received
        received += 1

    parameters = pika.URLParameters(url)
    with pika.BlockingConnection(parameters) as connection, pika.BlockingConnection(parameters) as other:
        channel, producer = connection.channel(), other.channel()
        busy = str(channel.queue_declare("").method.queue)
        idle = busy if in_turn else str(channel.queue_declare("", exclusive=True).method.queue)
        channel.basic_consume(busy, on_message, auto_ack=True)
        for _ in range(count - 1):
            channel.basic_consume(idle, on_message, auto_ack=True)
        for _ in range(operations):
            producer.basic_publish("", busy, BODY)
        producer.basic_qos(prefetch_count=0)
        time.sleep(SETTLE_SECONDS)
        # In one piece: messages are read many at a time, and then handed out.
        before = cpu()
        while received < operations:
            connection.process_data_events(time_limit=60)
        cost = cpu() - before
        producer.queue_delete(busy)
    return {"cpu_us": cost * 1e6 / operations}


def unacked(count: int, operations: int, url: str) -> dict[str, Any]:
    """Acknowledge one by one the latest messages, while so many before them are not acknowledged."""
    received = 0

    def on_message(*_: object) -> None:
        nonlocal received
        received += 1

    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        held = str(channel.queue_declare("", exclusive=True).method.queue)
        busy = str(channel.queue_declare("", exclusive=True).method.queue)
        for queue, messages in ((held, count), (busy, operations + ACKS)):
            for _ in range(messages):
                channel.basic_publish("", queue, b"")
        channel.basic_consume(held, on_message)
        while received < count:
            connection.process_data_events(time_limit=60)
        sections = Sections()
        for tags in _fetched(channel, busy, operations):
            sections.measure(len(tags), functools.partial(_acknowledge, channel, tags))
    return sections.result()


def _acknowledge(channel: Any, tags: list[int]) -> None:
    for tag in tags:
        channel.basic_ack(tag)


def _fetched(channel: Any, queue: str, count: int) -> Iterator[list[int]]:
    for _ in range(count // ACKS + 1):
        yield [channel.basic_get(queue)[0].delivery_tag for _ in range(ACKS)]


def connections(count: int, idle_seconds: float, url: str, awaited: bool) -> dict[str, Any]:
    """Hold so many connections in one asyncio process.

    :param awaited: those of pika.aio; else AsyncioConnection
    """
    _open, _close = (_open_awaited, _close_awaited) if awaited else (_open_with_callbacks, _close_with_callbacks)

    async def hold() -> dict[str, Any]:
        # What is imported and allocated once is no connection's.
        first = await _open(url)
        before, start = rss_kib(), cpu()
        opened: list[Any] = []
        while len(opened) < count:
            opened += await asyncio.gather(*(_open(url) for _ in range(min(AT_ONCE, count - len(opened)))))
        opening, after = cpu() - start, rss_kib()
        start, clock = cpu(), time.perf_counter()
        await asyncio.sleep(idle_seconds)
        busy = (cpu() - start) / (time.perf_counter() - clock)
        alive = all(connection.is_open for connection in opened)
        await asyncio.gather(*(_close(connection) for connection in (first, *opened)))
        if not alive:
            raise SystemExit("connections were lost while they were idle")
        return {
            "cpu_us": opening * 1e6 / count,
            "kib_each": None if before is None or after is None else (after - before) / count,
            "idle_cpu": busy,
        }

    return asyncio.run(hold())


async def _open_with_callbacks(url: str) -> Any:
    opened = asyncio.get_running_loop().create_future()
    AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=opened.set_result,
        on_open_error_callback=lambda _connection, error: opened.set_exception(_as_exception(error)),
    )
    return await opened


def _as_exception(error: Any) -> BaseException:
    return error if isinstance(error, BaseException) else RuntimeError(str(error))


async def _close_with_callbacks(connection: Any) -> None:
    closed = asyncio.get_running_loop().create_future()
    connection.add_on_close_callback(lambda *_: closed.set_result(None))
    connection.close()
    await closed


async def _open_awaited(url: str) -> Any:
    from pika import aio

    return await aio.connect(url)


async def _close_awaited(connection: Any) -> None:
    await connection.close()


def main() -> None:
    line, count, operations, url, idle_seconds = sys.argv[1:]
    number, repeated = int(count), int(operations)
    if line in ("channels", "channels-in-turn"):
        report(channels(number, repeated, url, in_turn=line != "channels"))
    elif line in ("consumers", "consumers-in-turn"):
        report(consumers(number, repeated, url, in_turn=line != "consumers"))
    elif line == "unacked":
        report(unacked(number, repeated, url))
    else:
        report(connections(number, float(idle_seconds), url, awaited=line == "aio-connections"))


if __name__ == "__main__":
    main()
