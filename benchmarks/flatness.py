"""See whether memory, threads and descriptors stay flat over long use: ``python benchmarks/flatness.py``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pika
from benchmarks import broker
from benchmarks.options import positive
from pika import aio
from tests.support.rabbitmq import RabbitMQError

MIB = 1 << 20
# Rounds that are done each time the loop runs.
BATCH = 100
# What the process has grown by when it is not flat any more. The allocator keeps a little more or less at each look.
MOST_GROWTH = 1.0
WORKLOADS = (
    "connections", "channels", "publishes", "gets", "confirmed", "threaded-connections", "threaded-messages",
    "awaited-connections", "awaited-messages",
)  # fmt: skip
HEADING = f"{'done':>10}  {'resident MiB':>12}  {'threads':>7}  {'descriptors':>11}"


class Reading(NamedTuple):
    """What the process holds at some point.

    :param done: how many rounds are done
    :param resident: resident memory, in MiB
    :param threads: how many threads run
    :param descriptors: how many descriptors are open
    """

    done: int
    resident: float
    threads: int
    descriptors: int


def connections(url: str, count: int) -> Iterator[int]:
    """Open and close connections, each with a channel; tells after each how many."""
    for number in range(1, count + 1):
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            connection.channel()
        yield number


def channels(url: str, count: int) -> Iterator[int]:
    """Open and close channels of one connection, each with an operation on it."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        for number in range(1, count + 1):
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            channel.close()
            yield number


def publishes(url: str, count: int) -> Iterator[int]:
    """Publish messages of 100 octets for nobody, which the broker drops."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        properties = pika.BasicProperties(headers={"key": "value"})
        for number in range(1, count + 1):
            channel.basic_publish("", "nobody", bytes(100), properties)
            yield number


def gets(url: str, count: int) -> Iterator[int]:
    """Publish messages of 100 octets, and fetch each."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        queue = str(channel.queue_declare("", exclusive=True).method.queue)
        for number in range(1, count + 1):
            channel.basic_publish("", queue, bytes(100))
            method, _properties, _body = channel.basic_get(queue, auto_ack=True)
            if method is None or method.delivery_tag != number:
                raise pika.exceptions.AMQPError(f"message {number} was lost")
            yield number


def confirmed_publishes(url: str, count: int) -> Iterator[int]:
    """Publish the same, and wait for each to be confirmed."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(headers={"key": "value"})
        for number in range(1, count + 1):
            channel.basic_publish("", "nobody", bytes(100), properties)
            yield number


def threaded_connections(url: str, count: int) -> Iterator[int]:
    """Open and close connections for threads, each with a channel, a handler and a confirmed message."""
    for number in range(1, count + 1):
        with pika.connect(url) as connection:
            channel = connection.channel(prefetch=1)
            queue = channel.queue_declare("", exclusive=True).method.queue
            handled = threading.Event()
            channel.basic_consume(
                queue, lambda *_, handled=handled: handled.set(), auto_ack=True, consumer_tag="consumer"
            )
            with channel.publisher() as publisher:
                publisher.publish(bytes(100), routing_key=queue)
            handled.wait()
        yield number


def threaded_messages(url: str, count: int) -> Iterator[int]:
    """Publish messages of 100 octets with confirms, up to 1000 at a time, and acknowledge each in a loop."""
    with pika.connect(url) as connection:
        channel = connection.channel(prefetch=200)
        queue = channel.queue_declare("", exclusive=True).method.queue
        publisher = connection.channel().publisher(max_in_flight=1000)
        messages = channel.consume(queue)
        properties = pika.BasicProperties(headers={"key": "value"})
        for number in range(1, count + 1):
            publisher.publish(bytes(100), routing_key=queue, properties=properties)
            if number > 500:
                next(messages).ack()
            yield number


def awaited_connections(url: str, count: int) -> Iterator[int]:
    """Open and close connections of pika.aio, each with a channel, a handler and a confirmed message."""

    async def use() -> None:
        async with aio.connect(url) as connection, connection.channel(prefetch=1) as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            handled = asyncio.Event()
            await channel.basic_consume(queue, lambda *_: handled.set(), auto_ack=True, consumer_tag="consumer")
            await channel.publisher().publish(bytes(100), routing_key=queue)
            await handled.wait()

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        for number in range(1, count + 1):
            loop.run_until_complete(use())
            yield number


def awaited_messages(url: str, count: int) -> Iterator[int]:
    """Publish messages of 100 octets with confirms, up to 1000 at a time, and acknowledge each in a loop."""

    async def open_all() -> tuple[aio.Connection, aio.Publisher, aio.Messages, str]:
        connection = await aio.connect(url)
        channel = await connection.channel(prefetch=200)
        queue = (await channel.queue_declare("", exclusive=True)).method.queue
        publisher = (await connection.channel()).publisher(max_in_flight=1000)
        return connection, publisher, channel.consume(queue), queue

    async def use(first: int, last: int) -> None:
        for number in range(first, last):
            await publisher.send(bytes(100), routing_key=queue, properties=properties)
            if number > 500:
                await (await messages.__anext__()).ack()

    properties = pika.BasicProperties(headers={"key": "value"})
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        connection, publisher, messages, queue = loop.run_until_complete(open_all())
        for first in range(1, count + 1, BATCH):
            last = min(first + BATCH, count + 1)
            loop.run_until_complete(use(first, last))
            yield from range(first, last)
        loop.run_until_complete(connection.close())


def read(done: int) -> Reading:
    """Look at this process."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # The one that lists them is no more when it is counted.
    descriptors = len(os.listdir("/proc/self/fd")) - 1
    return Reading(done, resident / MIB, threading.active_count(), descriptors)


def follow(rounds: Iterator[int], count: int, looks: int) -> Iterator[Reading]:
    """Go through the rounds of a workload, and look at the process at regular points of it.

    :param rounds: gives after each round how many are done
    :param count: how many there will be
    :param looks: how often to look
    """
    points = {count * look // looks for look in range(1, looks + 1)}
    for done in rounds:
        if done in points:
            yield read(done)


def growth(readings: Sequence[Reading]) -> Reading:
    """Return by how much each figure has grown since the first look, up to which the process warms up."""
    first, last = readings[0], readings[-1]
    return Reading(
        last.done - first.done,
        last.resident - first.resident,
        last.threads - first.threads,
        last.descriptors - first.descriptors,
    )


def is_flat(grown: Reading) -> bool:
    """Tell whether what a process has grown by is nothing."""
    return grown.resident <= MOST_GROWTH and grown.threads <= 0 and grown.descriptors <= 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the JSON file; return the exit status, 1 when something grows."""
    options = _parser().parse_args(arguments)
    confirmed = max(options.publishes // 10, options.looks)
    workloads: dict[str, tuple[str, Callable[[str, int], Iterator[int]], int]] = {
        "connections": ("connections opened and closed", connections, options.connections),
        "channels": ("channels opened and closed", channels, options.channels),
        "publishes": ("publishes", publishes, options.publishes),
        "gets": ("gets", gets, options.gets),
        "confirmed": ("confirmed publishes", confirmed_publishes, confirmed),
        "threaded-connections": (
            "connections for threads opened and closed",
            threaded_connections,
            options.connections,
        ),
        "threaded-messages": (
            "messages published and acknowledged by threads",
            threaded_messages,
            options.publishes,
        ),
        "awaited-connections": (
            "connections of pika.aio opened and closed",
            awaited_connections,
            options.connections,
        ),
        "awaited-messages": (
            "messages published and acknowledged with pika.aio",
            awaited_messages,
            options.publishes,
        ),
    }
    measured: dict[str, list[Reading]] = {}
    try:
        with broker.running_broker() as running:
            for name in options.only:
                title, workload, count = workloads[name]
                measured[title] = _show(title, workload(running.url, count), count, options.looks)
    except (RabbitMQError, pika.exceptions.AMQPError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    if options.json is not None:
        shape: dict[str, Any] = {name: [one._asdict() for one in readings] for name, readings in measured.items()}
        options.json.write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
    return 0 if all(is_flat(growth(readings)) for readings in measured.values()) else 1


def _show(name: str, rounds: Iterator[int], count: int, looks: int) -> list[Reading]:
    print(f"{count} {name}\n{HEADING}")
    readings = []
    for one in follow(rounds, count, looks):
        readings.append(one)
        print(f"{one.done:>10}  {one.resident:>12.2f}  {one.threads:>7}  {one.descriptors:>11}", flush=True)
    grown = growth(readings)
    print(
        f"{'FLAT' if is_flat(grown) else 'GROWS'}: {grown.resident:+.2f} MiB, {grown.threads:+} threads, "
        f"{grown.descriptors:+} descriptors since the first look: memory x "
        f"{readings[-1].resident / readings[0].resident:.3f}\n",
        flush=True,
    )
    return readings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="See whether memory, threads and descriptors stay flat. Needs Linux.")
    parser.add_argument(
        "--only", nargs="+", choices=WORKLOADS, default=WORKLOADS, metavar="NAME", help=f"of {', '.join(WORKLOADS)}"
    )
    parser.add_argument("--connections", type=positive, default=10_000, metavar="N", help="default %(default)s")
    parser.add_argument("--channels", type=positive, default=1_000_000, metavar="N", help="default %(default)s")
    parser.add_argument("--gets", type=positive, default=1_000_000, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--publishes", type=positive, default=1_000_000, metavar="N", help="default %(default)s; a tenth with confirms"
    )
    parser.add_argument("--looks", type=positive, default=10, metavar="N", help="how often to look; default 10")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
