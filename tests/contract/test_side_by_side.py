"""Random scripts, run on the embedded broker and on RabbitMQ: what is seen must be the same."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pika import exceptions
from pika.broker import Broker
from tests.contract import drivers
from tests.contract.blocking_driver import BlockingDriverConnection
from tests.contract.callback_driver import CallbackConnection
from tests.contract.protocol_driver import ProtocolConnection
from tests.support import rabbitmq as support

QUEUES = ("first", "second")
KEYS = ("a", "b", "a.b")
BODIES = st.integers(1, 4)
CHANNELS = st.sampled_from((0, 1))
Step = tuple[Any, ...]
Driver = Callable[[str], Union[ProtocolConnection, BlockingDriverConnection, CallbackConnection]]

queues = st.sampled_from(QUEUES)
exchanges = st.sampled_from(("amq.direct", "amq.fanout", "amq.topic"))
steps = st.one_of(
    st.tuples(st.just("declare"), CHANNELS, queues, st.booleans()),
    st.tuples(st.just("bind"), CHANNELS, queues, exchanges, st.sampled_from((*KEYS, "#", "*.b"))),
    st.tuples(st.just("unbind"), CHANNELS, queues, exchanges, st.sampled_from(KEYS)),
    st.tuples(st.just("publish"), CHANNELS, st.just(""), queues, BODIES),
    st.tuples(st.just("publish"), CHANNELS, exchanges, st.sampled_from(KEYS), BODIES),
    st.tuples(st.just("get"), CHANNELS, queues, st.booleans()),
    st.tuples(st.just("consume"), CHANNELS, queues, st.booleans(), st.integers(0, 2)),
    st.tuples(st.just("cancel"), CHANNELS, queues),
    st.tuples(st.just("ack"), CHANNELS, st.integers(0, 5), st.booleans()),
    st.tuples(st.just("nack"), CHANNELS, st.integers(0, 5), st.booleans(), st.booleans()),
    st.tuples(st.just("reject"), CHANNELS, st.integers(0, 5), st.booleans()),
    st.tuples(st.just("recover"), CHANNELS),
    st.tuples(st.just("purge"), CHANNELS, queues),
    st.tuples(st.just("delete"), CHANNELS, queues, st.booleans()),
    st.tuples(st.just("close"), CHANNELS),
)


class Script:
    """A script that is run on one broker.

    :param connection: where
    :param prefix: what the names of its queues begin with
    """

    def __init__(self, connection: drivers.Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix
        self._channels = [self._open(), self._open()]
        self._consumers: dict[str, int] = {}
        self._published = 0
        self.seen: list[Any] = []

    def _open(self) -> drivers.Channel:
        channel = self._connection.channel()
        channel.confirm_select()
        return channel

    def _queue(self, queue: str) -> str:
        return f"{self._prefix}-{queue}"

    def run(self, script: list[Step]) -> None:
        """Carry the steps out, and look after each what arrived by itself; then at what is left."""
        for operation, number, *arguments in script:
            try:
                outcome = getattr(self, operation)(self._channels[number], *arguments)
                self._channels[number].synchronize()
            except exceptions.ChannelClosedByBroker as error:
                outcome = error.args
                self._gone(number)
            self.seen.append((operation, outcome, self._arrived()))
        for number in range(len(self._channels)):
            self.close(self._channels[number])
        for queue in QUEUES:
            try:
                left = self._connection.channel()
                while (message := left.basic_get(self._queue(queue))) is not None:
                    self.seen.append((queue, message.body, message.redelivered, message.message_count))
                left.queue_delete(self._queue(queue))
            except exceptions.ChannelClosedByBroker as error:
                self.seen.append((queue, error.args))

    def _gone(self, number: int) -> None:
        self._channels[number] = self._open()
        self._consumers = {queue: other for queue, other in self._consumers.items() if other != number}

    def _arrived(self) -> list[Any]:
        """Take what the queues have sent: to each consumer in order; one after another, as they have one each."""
        found = []
        for queue, number in self._consumers.items():
            for arrival in self._channels[number].settled(self._queue(queue)):
                self._channels[number].inbox.append(arrival)
        for number, channel in enumerate(self._channels):
            channel.synchronize()
            arrivals = sorted(channel.inbox, key=lambda arrival: str(getattr(arrival, "consumer_tag", "")))
            channel.inbox.clear()
            for arrival in arrivals:
                if isinstance(arrival, drivers.Message):
                    found.append((number, arrival.consumer_tag, arrival.redelivered, arrival.body))
                else:
                    found.append((number, *arrival))
        return found

    # The steps

    def declare(self, channel: drivers.Channel, queue: str, durable: bool) -> Any:
        return channel.queue_declare(self._queue(queue), durable=durable, exclusive=True).queue

    def bind(self, channel: drivers.Channel, queue: str, exchange: str, key: str) -> None:
        channel.queue_bind(self._queue(queue), exchange, f"{self._prefix}.{key}")

    def unbind(self, channel: drivers.Channel, queue: str, exchange: str, key: str) -> None:
        channel.queue_unbind(self._queue(queue), exchange, f"{self._prefix}.{key}")

    def publish(self, channel: drivers.Channel, exchange: str, key: str, count: int) -> Any:
        outcomes: list[Any] = []
        for _ in range(count):
            self._published += 1
            body = b"%d" % self._published
            try:
                key_used = f"{self._prefix}.{key}" if exchange else self._queue(key)
                channel.basic_publish(exchange, key_used, body, mandatory=True)
                outcomes.append(body)
            except exceptions.UnroutableError as error:
                outcomes += [(back.reply_code, back.reply_text, back.body) for back in error.messages]
        return outcomes

    def get(self, channel: drivers.Channel, queue: str, no_ack: bool) -> Any:
        message = channel.basic_get(self._queue(queue), no_ack=no_ack)
        return message and (message.body, message.redelivered, message.message_count)

    def consume(self, channel: drivers.Channel, queue: str, no_ack: bool, prefetch: int) -> Any:
        if queue in self._consumers:
            return "it has one"
        channel.basic_qos(prefetch)
        tag = channel.basic_consume(self._queue(queue), queue, no_ack=no_ack)
        self._consumers[queue] = self._channels.index(channel)
        return tag

    def cancel(self, channel: drivers.Channel, queue: str) -> None:
        if self._consumers.get(queue) == self._channels.index(channel):
            channel.basic_cancel(queue)
            del self._consumers[queue]

    def ack(self, channel: drivers.Channel, tag: int, multiple: bool) -> None:
        channel.basic_ack(tag, multiple=multiple)

    def nack(self, channel: drivers.Channel, tag: int, multiple: bool, requeue: bool) -> None:
        channel.basic_nack(tag, multiple=multiple, requeue=requeue)

    def reject(self, channel: drivers.Channel, tag: int, requeue: bool) -> None:
        channel.basic_reject(tag, requeue=requeue)

    def recover(self, channel: drivers.Channel) -> None:
        channel.basic_recover(requeue=True)

    def purge(self, channel: drivers.Channel, queue: str) -> int:
        return channel.queue_purge(self._queue(queue))

    def delete(self, channel: drivers.Channel, queue: str, if_empty: bool) -> int:
        count = channel.queue_delete(self._queue(queue), if_empty=if_empty)
        self._consumers.pop(queue, None)
        return count

    def close(self, channel: drivers.Channel) -> None:
        number = self._channels.index(channel)
        channel.close()
        self._gone(number)


@pytest.fixture(scope="module")
def embedded() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


# So that it is found with the property tests: the one inside is not collected.
@pytest.mark.hypothesis
@pytest.mark.parametrize(
    "driver",
    [ProtocolConnection, BlockingDriverConnection, CallbackConnection],
    ids=["protocol", "blocking", "callback"],
)
def test_random_scripts(driver: Driver, embedded: Broker, rabbitmq: support.Broker) -> None:
    @settings(
        settings(),
        max_examples=25 if settings().max_examples <= 100 else settings().max_examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(steps, min_size=1, max_size=30))
    def side_by_side(script: list[Step]) -> None:
        prefix = f"side-{secrets.token_hex(4)}"
        # Most scripts would do nothing if the queues were not there.
        script = [("declare", 0, "first", False), ("bind", 0, "first", "amq.topic", "#"), *script]
        seen = []
        with ExitStack() as stack:
            for url in (embedded.url, rabbitmq.url):
                connection = driver(url)
                stack.callback(connection.close)
                run = Script(connection, prefix)
                run.run(script)
                seen.append(run.seen)
        assert seen[0] == seen[1]

    side_by_side()


def test_what_arrives_is_looked_at(embedded: Broker) -> None:
    connection = ProtocolConnection(embedded.url)
    script = Script(connection, "looked-at")
    script.run(
        [
            ("declare", 0, "first", False),
            ("publish", 0, "", "first", 2),
            ("consume", 1, "first", False, 1),
            ("nack", 1, 1, False, True),
            ("ack", 1, 7, False),
        ]
    )
    connection.close()
    assert script.seen[0][1] == "looked-at-first"
    assert script.seen[2] == ("consume", "first", [(1, "first", False, b"1")])
    assert script.seen[3] == ("nack", None, [(1, "first", True, b"1")])
    assert script.seen[4] == ("ack", (406, "PRECONDITION_FAILED - unknown delivery tag 7"), [])
    assert script.seen[5:7] == [("first", b"1", True, 1), ("first", b"2", False, 0)]
