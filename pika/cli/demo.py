"""``python3 -m pika demo``: messages published, confirmed, consumed and acknowledged, on a broker in the box."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from pika import exceptions

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

_CODE = """\
    import pika

    with pika.BlockingConnection(pika.ConnectionParameters({broker})) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.confirm_delivery()
        for number in range({messages}):
            channel.basic_publish("", queue, f"message {{number}}")   # returns when the broker has it
        for method, properties, body in channel.consume(queue, inactivity_timeout=1):
            if method is None:
                break
            channel.basic_ack(method.delivery_tag)
"""


def add_to(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser("demo", help="publish, confirm, consume and acknowledge messages", description=__doc__)
    parser.add_argument(
        "--url", help="a RabbitMQ to do it against, amqp://user:password@host/vhost; else a broker of its own"
    )
    parser.add_argument("--messages", type=_positive, default=10_000, help="how many (default: %(default)s)")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a number of messages is at least 1, not {text!r}")
    return number


def run(options: argparse.Namespace) -> int:
    """Run the demo; the exit status."""
    try:
        if options.url is not None:
            return _demonstrate(options.url, options.messages, "")
        from pika.broker import Broker

        with Broker() as broker:
            return _demonstrate(broker.url, options.messages, " (a broker in this process)")
    except ValueError as error:
        print(f"pika demo: {error}", file=sys.stderr)
    except exceptions.AMQPError as error:
        print(f"pika demo: {' '.join(str(error).split())}", file=sys.stderr)
    return 1


def _demonstrate(url: str, messages: int, what: str) -> int:
    import pika

    parameters = pika.URLParameters(url)
    with pika.BlockingConnection(parameters) as connection:
        where = f"{parameters.host}:{parameters.port}"
        print(f"connected to {where}{what}")
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        print(f"declared the queue {queue}")
        channel.confirm_delivery()
        published = _publish(channel, queue, messages)
        print(f"published {messages:,} messages, each confirmed by the broker: {published:,.0f} a second")
        consumed = _consume(channel, queue, messages)
        print(f"consumed and acknowledged {messages:,} messages: {consumed:,.0f} a second")
        left = channel.queue_declare(queue, passive=True).method.message_count
        print(f"{left} messages are left in the queue, which goes with the connection")
    broker = repr(parameters.host)
    if what == "":
        broker += "" if parameters.port == 5672 else f", {parameters.port}"
        broker += "" if parameters.virtual_host == "/" else f", virtual_host={parameters.virtual_host!r}"
    print(f"\nThe lines that do the same on a RabbitMQ:\n\n{_CODE.format(broker=broker, messages=messages)}")
    return 0


def _publish(channel: BlockingChannel, queue: str, messages: int) -> float:
    """Publish; the messages per second."""
    progress = _Progress("publishing", messages)
    for number in range(messages):
        channel.basic_publish("", queue, f"message {number}")
        progress.show(number + 1)
    return progress.end()


def _consume(channel: BlockingChannel, queue: str, messages: int) -> float:
    """Consume, acknowledge, and see that everything came in order; the messages per second."""
    progress = _Progress("consuming", messages)
    for number, (method, _properties, body) in enumerate(channel.consume(queue, inactivity_timeout=10)):
        if method is None:
            raise exceptions.AMQPError(f"only {number} of {messages} messages came back within 10 seconds")
        if body != f"message {number}".encode():
            raise exceptions.AMQPError(f"message {number} came back as {body!r}")
        channel.basic_ack(method.delivery_tag)
        progress.show(number + 1)
        if number + 1 == messages:
            break
    rate = progress.end()
    channel.cancel()
    return rate


class _Progress:
    """A line on a terminal that says how far it is; nothing where nobody watches."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._watched = sys.stdout.isatty()
        self._start = time.monotonic()
        self._shown = self._start

    def show(self, done: int) -> None:
        """Say that so many are done, ten times a second at most."""
        if self._watched and time.monotonic() - self._shown >= 0.1:
            self._shown = time.monotonic()
            print(f"\r{self._what} {done:,} of {self._total:,} ({done * 100 // self._total} %)", end="", flush=True)

    def end(self) -> float:
        """Remove the line; how many there were per second."""
        if self._watched:
            print("\r\x1b[K", end="")
        return self._total / max(time.monotonic() - self._start, 1e-9)
