"""A program for py-amqp: it does everything once, and prints what it saw."""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
import time
from typing import Any

from .report import HEADERS, PROPERTIES, ROUTES, Report, Server, digest, refusals

# By name: nobody else has it, type checkers neither.
amqp: Any = importlib.import_module("amqp")

# Seconds that anything may take to arrive.
PATIENCE = 60.0

MORE_HEADERS = {"fraction": 1.5}


class Program:
    """All that is done, with one connection.

    :param server: the broker
    :param report: takes what is seen
    """

    def __init__(self, server: Server, report: Report) -> None:
        self.server = server
        self.report = report
        self.name = report.name
        self.connection = self.connect()
        self.channel = self.connection.channel()

    def connect(self, **options: Any) -> Any:
        """Open a connection."""
        given = {
            "userid": self.server.user,
            "password": self.server.password,
            "virtual_host": self.server.vhost,
            "login_method": "PLAIN",
            "connect_timeout": PATIENCE,
            **options,
        }
        connection = amqp.Connection(f"{self.server.host}:{self.server.port}", **given)
        connection.connect()
        return connection

    def run(self) -> None:
        """Do it all."""
        for section in (
            self.handshake, self.declaring, self.routing, self.properties, self.publishing, self.consuming,
            self.settling, self.refusals, self.transactions, self.large, self.heartbeats, self.closing,
        ):  # fmt: skip
            self.report.section(section.__name__)
            section()
        self.report.print()

    def queue(self, what: str, **options: Any) -> str:
        """Declare a queue, which is this connection's alone unless said otherwise."""
        queue = self.name(what)
        self.channel.queue_declare(queue, **{"auto_delete": False, **(options or {"exclusive": True})})
        return queue

    def drain(self, queue: str, channel: Any = None) -> list[Any]:
        """Empty a queue, and return what is in it."""
        found = []
        channel = channel or self.channel
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            info = message.delivery_info
            found.append([octets(message.body), info["redelivered"], info["message_count"]])
        return found

    def wait(self, found: list[Any], count: int) -> None:
        """Take what arrives, until there is so much of it."""
        while len(found) < count:
            self.connection.drain_events(timeout=PATIENCE)

    def refused(self, title: str, error: Any) -> None:
        """See an error that the broker told."""
        self.report.see(title, type(error).__name__, error.reply_code, error.reply_text)

    def handshake(self) -> None:
        see = self.report.see
        for options in ({"password": "wrong"}, {"userid": "nobody"}, {"virtual_host": self.name("none")}):
            try:
                self.connect(**options)
            except (amqp.AMQPError, OSError) as error:
                see(type(error).__name__, getattr(error, "reply_code", 0), getattr(error, "reply_text", ""))
        for method in ("AMQPLAIN", "PLAIN"):
            connection = self.connect(login_method=method, channel_max=5, frame_max=8192)
            see(method, [connection.channel().channel_id for _ in range(5)])
            connection.close()

    def declaring(self) -> None:
        see, channel = self.report.see, self.channel
        for options in (
            {},
            {"durable": True},
            {"exclusive": True},
            {"auto_delete": True},
            {"durable": True, "arguments": {"x-max-length": 10, "x-message-ttl": 600000}},
        ):
            declared = channel.queue_declare(self.name("declared"), **{"auto_delete": False, **options})
            see(*declared)
            channel.basic_publish(amqp.Message(b"one"), "", declared.queue)
            channel.queue_declare(declared.queue, **{"auto_delete": False, **options})
            see(channel.queue_purge(declared.queue), channel.queue_delete(declared.queue))
        named = channel.queue_declare("", exclusive=True).queue
        see(named[:8], len(named))
        for kind in ("direct", "fanout", "topic", "headers"):
            for options in ({}, {"durable": True}, {"auto_delete": True}):
                exchange = self.name("declared")
                channel.exchange_declare(exchange, kind, **{"auto_delete": False, **options})
                channel.exchange_declare(exchange, kind, passive=True)
                channel.exchange_delete(exchange)
                see(kind)

    def routing(self) -> None:
        see, channel = self.report.see, self.channel
        for kind, bindings, published in ROUTES:
            exchange = self.name(kind)
            channel.exchange_declare(exchange, kind, auto_delete=False)
            queues = [self.queue(f"{kind}-{number}") for number in range(len(bindings))]
            for queue, (key, arguments) in zip(queues, bindings):
                channel.queue_bind(queue, exchange, key, arguments=arguments)
            for key, headers in published:
                channel.basic_publish(amqp.Message(b"m", application_headers=headers), exchange, key)
                see(kind, key, [len(self.drain(queue)) for queue in queues])
            behind = self.name(f"{kind}-behind")
            channel.exchange_declare(behind, "fanout", auto_delete=False)
            channel.exchange_bind(behind, exchange, "a")
            channel.queue_bind(queues[0], behind)
            channel.basic_publish(amqp.Message(b"m"), exchange, "a")
            see(kind, "behind", [len(self.drain(queue)) for queue in queues])
            channel.exchange_unbind(behind, exchange, "a")
            channel.basic_publish(amqp.Message(b"m"), exchange, "a")
            see(kind, "unbound", [len(self.drain(queue)) for queue in queues])
            for name in (behind, exchange):
                channel.exchange_delete(name)

    def properties(self) -> None:
        queue = self.queue("properties")
        publish_all(self.channel, queue)
        for _ in range(3):
            self.report.see(*described(self.channel.basic_get(queue, no_ack=True)))

    def publishing(self) -> None:
        see = self.report.see
        returned: list[Any] = []
        self.channel.events["basic_return"].add(lambda *content: returned.append(content))
        self.channel.basic_publish(amqp.Message(b"back"), "amq.direct", self.name("nobody"), mandatory=True)
        self.wait(returned, 1)
        error, exchange, key, message = returned[0]
        see(error.reply_code, error.reply_text, exchange, key, octets(message.body))
        queue = self.queue("confirmed")
        channel = self.connection.channel()
        for key in (queue, self.name("nobody")):
            see(channel.basic_publish_confirm(amqp.Message(b"confirmed"), "", key) is None)
        see(self.drain(queue))
        try:
            self.connection.channel().basic_publish_confirm(amqp.Message(b""), self.name("nowhere"), "k")
        except amqp.AMQPError as error:
            self.refused("no exchange", error)

    def consuming(self) -> None:
        see, channel = self.report.see, self.connection.channel()
        queue = self.queue("consumed")
        for number in range(10):
            channel.basic_publish(amqp.Message(str(number)), "", queue)
        channel.basic_qos(0, 3, False)
        found: list[Any] = []
        cancelled: list[Any] = []
        channel.basic_consume(queue, "mine", callback=found.append, on_cancel=cancelled.append)
        self.wait(found, 3)
        see(
            [
                [m.delivery_info[name] for name in ("consumer_tag", "delivery_tag", "redelivered", "exchange")]
                for m in found
            ]
        )
        see(*self.channel.queue_declare(queue, passive=True))
        channel.basic_ack(2, multiple=True)
        self.wait(found, 5)
        see([octets(message.body) for message in found])
        channel.basic_cancel("mine")
        channel.basic_reject(4, requeue=True)
        channel.basic_reject(5, requeue=False)
        channel.basic_recover(requeue=True)
        # On this channel: what it gives back others see a little later.
        see(self.drain(queue, channel))
        channel.basic_consume(queue, "x", exclusive=True, callback=found.append, on_cancel=cancelled.append)
        try:
            self.connection.channel().basic_consume(queue, callback=print)
        except amqp.AMQPError as error:
            self.refused("exclusive consumer", error)
        self.channel.queue_delete(queue)
        self.wait(cancelled, 1)
        see(cancelled)

    def settling(self) -> None:
        queue = self.queue("settled")
        other = self.connection.channel()
        for number in range(4):
            other.basic_publish(amqp.Message(str(number)), "", queue)
        self.report.see([octets(other.basic_get(queue).body) for _ in range(3)])
        other.basic_ack(1)
        other.close()
        self.report.see(self.drain(queue), self.channel.basic_get(queue))

    def refusals(self) -> None:
        self.queue("plain", auto_delete=True)
        self.channel.exchange_declare(self.name("direct"), "direct", auto_delete=False)
        self.channel.queue_bind(self.name("plain"), self.name("direct"), "k")
        self.channel.basic_publish(amqp.Message(b"kept"), "", self.name("plain"))
        for title, operation, options in refusals(self.name):
            channel = self.connection.channel()
            try:
                getattr(channel, operation)(**options)
                channel.queue_declare(self.name("plain"), passive=True)
                self.report.see(title, "allowed")
            except amqp.AMQPError as error:
                self.refused(title, error)
        try:
            self.connection.channel().exchange_declare(self.name("direct"), "topic")
        except amqp.AMQPError as error:
            self.refused("another type", error)
        self.channel.exchange_delete(self.name("direct"))
        self.channel.queue_delete(self.name("plain"))
        connection = self.connect()
        try:
            connection.channel().exchange_declare(self.name("odd"), "nonsense")
        except amqp.AMQPError as error:
            self.refused("no such type", error)

    def transactions(self) -> None:
        queue = self.queue("transacted")
        channel = self.connection.channel()
        channel.tx_select()
        channel.basic_publish(amqp.Message(b"rolled back"), "", queue)
        channel.tx_rollback()
        channel.basic_publish(amqp.Message(b"committed"), "", queue)
        self.report.see(self.drain(queue))
        channel.tx_commit()
        self.report.see(self.drain(queue))

    def large(self) -> None:
        queue = self.queue("large")
        for size in (0, 1, 131072 - 8, 131072, 1 << 20):
            self.channel.basic_publish(amqp.Message((b"0123456789" * (size // 10 + 1))[:size]), "", queue)
            self.report.see(*digest(octets(self.channel.basic_get(queue, no_ack=True).body)))

    def heartbeats(self) -> None:
        connection = self.connect(heartbeat=1)
        end = time.monotonic() + 2.6
        while time.monotonic() < end:
            with contextlib.suppress(socket.timeout):
                connection.drain_events(timeout=0.2)
            connection.heartbeat_tick()
        self.report.see(connection.connected, connection.heartbeat)
        connection.close()

    def closing(self) -> None:
        queue = self.queue("closed")
        other = self.connect()
        try:
            other.channel().queue_declare(queue, passive=True)
        except amqp.AMQPError as error:
            self.refused("locked", error)
        other.close()
        self.channel.close()
        self.report.see(self.connection.connected)
        self.connection.close()
        self.report.see(self.connection.connected)


def octets(body: Any) -> bytes:
    """Return a body, which the client gives as text where it can."""
    return body.encode("utf-8") if isinstance(body, str) else bytes(body)


def publish_all(channel: Any, queue: str) -> None:
    """Publish messages with every property, and header fields of every kind, to a queue."""
    headers = {**HEADERS, **MORE_HEADERS}
    message = amqp.Message(b"all", application_headers=headers, timestamp=1_600_000_000, **PROPERTIES)
    channel.basic_publish(message, "", queue)
    channel.basic_publish(amqp.Message(b"none"), "", queue)
    message = amqp.Message(b"headers", application_headers={}, expiration="600000", user_id="guest")
    channel.basic_publish(message, "", queue)


def described(message: Any) -> list[Any]:
    """Return what a message is like."""
    names = [*PROPERTIES, "timestamp", "expiration", "user_id"]
    properties = {name: message.properties.get(name) for name in names}
    headers = message.properties.get("application_headers")
    for name, value in (headers or {}).items():
        # This client takes 64 bits with a sign for 64 bits without.
        if isinstance(value, int) and value >= 1 << 63:
            headers[name] = value - (1 << 64)
    return [message.delivery_info["exchange"], octets(message.body), {**properties, "headers": headers}]


def main(url: str, prefix: str, action: str = "run") -> None:
    """Do everything, or only write or read the messages with all properties in the queue that has the prefix's name."""
    report = Report(prefix)
    program = Program(Server(url), report)
    if action == "write":
        publish_all(program.channel, prefix)
        program.connection.close()
    elif action == "read":
        report.section(action)
        while (message := program.channel.basic_get(prefix, no_ack=True)) is not None:
            report.see(*described(message))
        report.print()
        program.connection.close()
    else:
        program.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
