"""A program for pika 1.x: it does everything once, and prints what it saw."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import pika
from pika import exceptions

from .report import HEADERS, PROPERTIES, ROUTES, Report, Server, digest, refusals

# Seconds that anything may take to arrive.
PATIENCE = 60.0

MORE_HEADERS = {"octets": b"\x00\xff", "past": datetime.datetime(1970, 1, 1)}


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
        self.channel: Any = self.connection.channel()

    def connect(self, **options: Any) -> Any:
        """Open a connection."""
        given = {"credentials": pika.PlainCredentials(self.server.user, self.server.password), **options}
        return pika.BlockingConnection(
            pika.ConnectionParameters(self.server.host, self.server.port, self.server.vhost, **given)
        )

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
        self.channel.queue_declare(queue, **(options or {"exclusive": True}))
        return queue

    def drain(self, queue: str) -> list[Any]:
        """Empty a queue, and return what is in it."""
        found: list[Any] = []
        while True:
            method, _, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append([body, method.redelivered, method.message_count])

    def deliveries(self, queue: str, count: int, **options: Any) -> list[Any]:
        """Consume so many messages, and leave them unsettled."""
        found: list[Any] = []
        self.channel.basic_consume(queue, lambda _channel, *content: found.append(content), **options)
        while len(found) < count:
            self.connection.process_data_events(time_limit=PATIENCE)
        return found

    def handshake(self) -> None:
        see = self.report.see
        for options in (
            {"credentials": pika.PlainCredentials("guest", "wrong")},
            {"credentials": pika.PlainCredentials("nobody", "guest")},
        ):
            try:
                self.connect(**options)
            except exceptions.AMQPConnectionError as error:
                see(type(error).__name__, error.args)
        try:
            pika.BlockingConnection(
                pika.ConnectionParameters(self.server.host, self.server.port, self.name("no vhost"))
            )
        except exceptions.AMQPConnectionError as error:
            see(type(error).__name__, error.args)
        with self.connect(channel_max=5, frame_max=8192, heartbeat=17) as connection:
            channels = [connection.channel().channel_number for _ in range(5)]
            see(channels)

    def declaring(self) -> None:
        see, channel = self.report.see, self.channel
        for options in (
            {},
            {"durable": True},
            {"exclusive": True},
            {"auto_delete": True},
            {"durable": True, "arguments": {"x-max-length": 10, "x-message-ttl": 600000}},
        ):
            queue = self.name("declared")
            declared = channel.queue_declare(queue, **options).method
            see(declared.queue, declared.message_count, declared.consumer_count)
            channel.basic_publish("", queue, b"one")
            # How many messages there are is not asked here: RabbitMQ may answer that before it took the message.
            again = channel.queue_declare(queue, **options).method
            passive = channel.queue_declare(queue, passive=True).method
            see(again.queue, passive.queue, passive.consumer_count)
            see(channel.queue_purge(queue).method.message_count, channel.queue_delete(queue).method.message_count)
        named = channel.queue_declare("", exclusive=True).method.queue
        see(named[:8], len(named))
        channel.queue_delete(named)
        for kind in ("direct", "fanout", "topic", "headers"):
            for options in ({}, {"durable": True}, {"auto_delete": True}, {"internal": True}):
                exchange = self.name("declared")
                channel.exchange_declare(exchange, kind, **options)
                channel.exchange_declare(exchange, kind, passive=True)
                see(channel.exchange_delete(exchange).method.NAME)

    def routing(self) -> None:
        see, channel = self.report.see, self.channel
        for kind, bindings, published in ROUTES:
            exchange = self.name(kind)
            channel.exchange_declare(exchange, kind)
            queues = [self.queue(f"{kind}-{number}") for number in range(len(bindings))]
            for queue, (key, arguments) in zip(queues, bindings):
                channel.queue_bind(queue, exchange, key, arguments)
            for key, headers in published:
                channel.basic_publish(exchange, key, b"m", pika.BasicProperties(headers=headers))
                see(kind, key, [len(self.drain(queue)) for queue in queues])
            behind = self.name(f"{kind}-behind")
            channel.exchange_declare(behind, "fanout")
            channel.exchange_bind(behind, exchange, "a", {"x-match": "any", "n": 7})
            channel.queue_bind(queues[0], behind)
            channel.basic_publish(exchange, "a", b"m", pika.BasicProperties(headers={"n": 7}))
            see(kind, "behind", [len(self.drain(queue)) for queue in queues])
            channel.exchange_unbind(behind, exchange, "a", {"x-match": "any", "n": 7})
            channel.queue_unbind(queues[0], exchange, *bindings[0])
            channel.basic_publish(exchange, published[0][0], b"m", pika.BasicProperties(headers=published[0][1]))
            see(kind, "unbound", [len(self.drain(queue)) for queue in queues])
            for name in (behind, exchange):
                channel.exchange_delete(name)

    def properties(self) -> None:
        queue = self.queue("properties")
        publish_all(self.channel, queue)
        for _ in range(3):
            self.report.see(*described(self.channel.basic_get(queue, auto_ack=True)))

    def publishing(self) -> None:
        see = self.report.see
        channel = self.connection.channel()
        returned: list[Any] = []
        channel.add_on_return_callback(lambda _channel, *content: returned.append(content))
        channel.basic_publish("amq.direct", self.name("nobody"), b"back", mandatory=True)
        while not returned:
            self.connection.process_data_events(time_limit=PATIENCE)
        method, _, body = returned[0]
        see(method.reply_code, method.reply_text, method.exchange, method.routing_key, body)
        channel.confirm_delivery()
        queue = self.queue("confirmed")
        for mandatory in (False, True):
            channel.basic_publish("", queue, b"confirmed", mandatory=mandatory)
        channel.basic_publish("", self.name("nobody"), b"lost")
        try:
            channel.basic_publish("", self.name("nobody"), b"unroutable", mandatory=True)
        except exceptions.UnroutableError as error:
            see([(back.method.reply_code, back.method.reply_text, back.body) for back in error.messages])
        see(self.drain(queue))
        try:
            channel.basic_publish(self.name("nowhere"), "k", b"")
        except exceptions.ChannelClosedByBroker as error:
            see(error.reply_code, error.reply_text)

    def consuming(self) -> None:
        see, channel = self.report.see, self.channel
        queue = self.queue("consumed")
        for number in range(10):
            channel.basic_publish("", queue, b"%d" % number)
        channel.basic_qos(prefetch_count=3)
        found = self.deliveries(queue, 3, consumer_tag="mine")
        first = found[0][0].delivery_tag
        see(
            [(m.consumer_tag, m.delivery_tag - first, m.redelivered, m.exchange, m.routing_key, b) for m, _, b in found]
        )
        declared = channel.queue_declare(queue, passive=True).method
        see(declared.message_count, declared.consumer_count)
        channel.basic_ack(first + 1, multiple=True)
        while len(found) < 5:
            self.connection.process_data_events(time_limit=PATIENCE)
        see([body for _, _, body in found])
        channel.basic_cancel("mine")
        channel.basic_nack(0, multiple=True, requeue=True)
        channel.basic_qos(prefetch_count=0)
        see(self.drain(queue))
        channel.basic_publish("", queue, b"for the exclusive one")
        see([m.redelivered for m, _, _ in self.deliveries(queue, 1, consumer_tag="x", exclusive=True, auto_ack=True)])
        other = self.connection.channel()
        try:
            other.basic_consume(queue, lambda *_: None)
        except exceptions.ChannelClosedByBroker as error:
            see(error.reply_code, error.reply_text)
        cancelled: list[Any] = []
        channel.add_on_cancel_callback(lambda method: cancelled.append(method.method.consumer_tag))
        self.connection.channel().queue_delete(queue)
        while not cancelled:
            self.connection.process_data_events(time_limit=PATIENCE)
        see(cancelled)

    def settling(self) -> None:
        see, channel = self.report.see, self.channel
        queue = self.queue("settled")
        for number in range(6):
            channel.basic_publish("", queue, b"%d" % number)
        tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(6)]
        see([tag - tags[0] for tag in tags])
        channel.basic_ack(tags[0])
        channel.basic_reject(tags[1], requeue=False)
        channel.basic_reject(tags[2], requeue=True)
        channel.basic_nack(tags[4], multiple=True, requeue=True)
        method, _, body = channel.basic_get(queue)
        see(body, method.redelivered, method.message_count)
        channel.basic_recover(requeue=True)
        see(self.drain(queue))
        other = self.connection.channel()
        channel.basic_publish("", queue, b"given back")
        see(other.basic_get(queue)[2])
        other.close()
        see(self.drain(queue), channel.basic_get(queue))

    def refusals(self) -> None:
        self.queue("plain", auto_delete=True)
        self.channel.exchange_declare(self.name("direct"), "direct")
        self.channel.queue_bind(self.name("plain"), self.name("direct"), "k")
        self.channel.basic_publish("", self.name("plain"), b"kept")
        for title, operation, options in refusals(self.name):
            channel: Any = self.connection.channel()
            given = {**options, **({"on_message_callback": print} if operation == "basic_consume" else {})}
            try:
                getattr(channel, operation)(**given)
                channel.queue_declare(self.name("plain"), passive=True)
                self.report.see(title, "allowed")
            except exceptions.ChannelClosedByBroker as error:
                self.report.see(title, error.reply_code, error.reply_text)
        try:
            self.connection.channel().exchange_declare(self.name("direct"), "topic")
        except exceptions.ChannelClosedByBroker as error:
            self.report.see(error.reply_code, error.reply_text)
        self.channel.exchange_delete(self.name("direct"))
        self.channel.queue_delete(self.name("plain"))
        connection = self.connect()
        try:
            connection.channel().exchange_declare(self.name("odd"), "nonsense")
        except exceptions.ConnectionClosedByBroker as error:
            self.report.see(error.reply_code, error.reply_text)

    def transactions(self) -> None:
        queue = self.queue("transacted")
        channel = self.connection.channel()
        channel.tx_select()
        channel.basic_publish("", queue, b"rolled back")
        channel.tx_rollback()
        channel.basic_publish("", queue, b"committed")
        self.report.see(self.drain(queue))
        channel.tx_commit()
        self.report.see(self.drain(queue))

    def large(self) -> None:
        queue = self.queue("large")
        for size in (0, 1, 131072 - 8, 131072, 1 << 20):
            self.channel.basic_publish("", queue, (b"0123456789" * (size // 10 + 1))[:size])
            self.report.see(*digest(self.channel.basic_get(queue, auto_ack=True)[2]))

    def heartbeats(self) -> None:
        with self.connect(heartbeat=1) as connection:
            connection.process_data_events(time_limit=2.6)
            self.report.see(connection.is_open)

    def closing(self) -> None:
        see, channel = self.report.see, self.channel
        queue = self.queue("closed")
        with self.connect() as other:
            try:
                other.channel().queue_declare(queue, passive=True)
            except exceptions.ChannelClosedByBroker as error:
                see(error.reply_code, error.reply_text)
        channel.close()
        see(channel.is_closed, self.connection.is_open)
        self.connection.close()
        see(self.connection.is_closed)


def publish_all(channel: Any, queue: str) -> None:
    """Publish messages with every property, and header fields of every kind, to a queue."""
    headers = {**HEADERS, **MORE_HEADERS}
    channel.basic_publish(
        "", queue, b"all", pika.BasicProperties(headers=headers, timestamp=1_600_000_000, **PROPERTIES)
    )
    channel.basic_publish("", queue, b"none")
    channel.basic_publish("", queue, b"headers", pika.BasicProperties(headers={}, expiration="600000", user_id="guest"))


def described(content: Any) -> list[Any]:
    """Return what a message is like."""
    method, properties, body = content
    names = [*PROPERTIES, "timestamp", "expiration", "user_id", "headers"]
    return [method.exchange, body, {name: getattr(properties, name) for name in names}]


def main(url: str, prefix: str, action: str = "run") -> None:
    """Do everything, or only write or read the messages with all properties in the queue that has the prefix's name."""
    report = Report(prefix)
    program = Program(Server(url), report)
    if action == "write":
        publish_all(program.channel, prefix)
        program.connection.close()
    elif action == "read":
        report.section(action)
        while (content := program.channel.basic_get(prefix, auto_ack=True))[0] is not None:
            report.see(*described(content))
        report.print()
        program.connection.close()
    else:
        program.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
