"""How fast many threads publish through one publisher, beside few: ``python benchmarks/threads.py``."""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pika
from benchmarks import broker
from benchmarks.options import positive
from tests.support.rabbitmq import RabbitMQError

IN_FLIGHT = 2000
BODY = bytes(100)


def rate(url: str, threads: int, messages: int) -> float:
    """Have threads publish so many messages together, with confirms, and return how many it were per second.

    :raises pika.exceptions.AMQPError: when one was lost
    """
    each = messages // threads
    with pika.connect(url) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        publisher = channel.publisher(max_in_flight=IN_FLIGHT, mandatory=True)

        def publish() -> None:
            for _ in range(each):
                publisher.publish(BODY, routing_key=queue)

        running = [threading.Thread(target=publish) for _ in range(threads)]
        began = time.perf_counter()
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        publisher.wait()
        seconds = time.perf_counter() - began
        arrived = channel.queue_declare(queue, passive=True).method.message_count
        if arrived != each * threads:
            raise pika.exceptions.AMQPError(f"messages were lost: the queue has {arrived}, not {each * threads}")
    return each * threads / seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status, 1 when a message was lost."""
    options = _parser().parse_args(arguments)
    counts = (options.few, options.many)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    try:
        with broker.running_broker() as running:
            # They take turns, so that what slows the machine slows both.
            for _ in range(options.rounds):
                for count in counts:
                    rates[count].append(rate(running.url, count, options.messages))
    except (RabbitMQError, pika.exceptions.AMQPError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print(f"{options.messages} messages of {len(BODY)} octets, at most {IN_FLIGHT} unconfirmed, one publisher\n")
    print(f"{'threads':>7}  {'messages/s':>10}  lowest - highest")
    for count, found in rates.items():
        print(f"{count:>7}  {statistics.median(found):>10,.0f}  {min(found):,.0f} - {max(found):,.0f}")
    ratios = sorted(many / few for few, many in zip(*rates.values()))
    print(
        f"\n{options.many} threads publish {statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f}) times "
        f"as fast as {options.few}; 0.5 is to be reached"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure how fast many threads publish together, beside few.")
    parser.add_argument("--few", type=positive, default=10, metavar="N", help="threads; default %(default)s")
    parser.add_argument("--many", type=positive, default=900, metavar="N", help="threads; default %(default)s")
    parser.add_argument("--messages", type=positive, default=36_000, metavar="N", help="in all; default %(default)s")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="default %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
