"""What each parameter of a BlockingChannel's operations does, on both brokers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from tests.contract.profiles import profile_for
from tests.support.consuming import count, drain, publish, pump
from tests.support.rabbitmq import Broker


def refused(code: int, operation: Callable[[], object]) -> str:
    """Call an operation that the broker refuses by closing the channel, and return what it says."""
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        operation()
    assert caught.value.reply_code == code
    return str(caught.value.reply_text)


def get(channel: BlockingChannel, queue: str) -> int:
    """Take a message that is there, and return its delivery tag."""
    tag = channel.basic_get(queue)[0].delivery_tag
    assert isinstance(tag, int)
    return tag


@pytest.fixture
def new_exchange(connection: BlockingConnection) -> Iterator[Callable[..., str]]:
    """Declare exchanges that are deleted after the test."""
    names: list[str] = []

    def new(**options: Any) -> str:
        names.append(f"pika-{uuid.uuid4().hex}")
        connection.channel().exchange_declare(names[-1], **options)
        return names[-1]

    yield new
    with connection.channel() as channel:
        for name in names:
            channel.exchange_delete(name)


def routed(channel: BlockingChannel, exchange: str, routing_key: str, headers: dict[str, Any] | None = None) -> bool:
    """Publish, and say whether a queue took it; the channel has confirms."""
    try:
        channel.basic_publish(exchange, routing_key, b"", pika.BasicProperties(headers=headers), mandatory=True)
    except exceptions.UnroutableError:
        return False
    return True


# Exchanges


def test_exchanges_are_direct_unless_said_otherwise(
    channel: BlockingChannel, queue: str, new_exchange: Callable[..., str]
) -> None:
    channel.confirm_delivery()
    exchange = new_exchange()
    channel.queue_bind(queue, exchange, "key")
    assert routed(channel, exchange, "key") and not routed(channel, exchange, "key.more")


def test_a_passive_declare_only_asks(
    connection: BlockingConnection, channel: BlockingChannel, new_exchange: Callable[..., str]
) -> None:
    exchange = new_exchange(exchange_type="fanout")
    assert isinstance(channel.exchange_declare(exchange, passive=True).method, spec.Exchange.DeclareOk)
    assert "no exchange" in refused(404, lambda: channel.exchange_declare("pika-missing", passive=True))
    assert "no queue" in refused(404, lambda: connection.channel().queue_declare("pika-missing", passive=True))


@pytest.mark.parametrize("option", ["durable", "auto_delete", "internal"])
def test_an_exchanges_options_have_to_match(
    channel: BlockingChannel, new_exchange: Callable[..., str], option: str
) -> None:
    exchange = new_exchange(**{option: True})
    channel.exchange_declare(exchange, **{option: True})  # type: ignore[arg-type]  # all three are bool
    assert option in refused(406, lambda: channel.exchange_declare(exchange))


def test_an_internal_exchange_takes_no_publishes(channel: BlockingChannel, new_exchange: Callable[..., str]) -> None:
    exchange = new_exchange(internal=True)
    channel.confirm_delivery()
    refused(403, lambda: channel.basic_publish(exchange, "key", b""))


def test_an_exchanges_arguments(channel: BlockingChannel, queue: str, new_exchange: Callable[..., str]) -> None:
    fallback = new_exchange(exchange_type="fanout")
    exchange = new_exchange(arguments={"alternate-exchange": fallback})
    channel.confirm_delivery()
    assert not routed(channel, exchange, "nobody's")
    channel.queue_bind(queue, fallback)
    assert routed(channel, exchange, "nobody's")


def test_deleting_an_exchange_only_if_it_is_unused(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, new_exchange: Callable[..., str]
) -> None:
    exchange = new_exchange()
    channel.queue_bind(queue, exchange)
    refused(406, lambda: connection.channel().exchange_delete(exchange, if_unused=True))
    channel.queue_unbind(queue, exchange)
    assert isinstance(channel.exchange_delete(exchange, if_unused=True).method, spec.Exchange.DeleteOk)
    # What is not there is deleted, too.
    channel.exchange_delete(exchange)


def test_bindings_between_exchanges(channel: BlockingChannel, queue: str, new_exchange: Callable[..., str]) -> None:
    source, destination = new_exchange(exchange_type="headers"), new_exchange(exchange_type="fanout")
    channel.confirm_delivery()
    channel.queue_bind(queue, destination)
    arguments = {"x-match": "all", "kind": "yes"}
    channel.exchange_bind(destination, source, routing_key="key", arguments=arguments)
    assert routed(channel, source, "any", {"kind": "yes"}) and not routed(channel, source, "any", {"kind": "no"})
    channel.exchange_unbind(destination, source, routing_key="key", arguments=arguments)
    assert not routed(channel, source, "any", {"kind": "yes"})
    # What is not bound is unbound.
    channel.exchange_unbind(destination, source, routing_key="key", arguments=arguments)


# Queues


def test_the_broker_names_a_queue(channel: BlockingChannel) -> None:
    first, second = (channel.queue_declare("", exclusive=True).method.queue for _ in range(2))
    assert first and second and first != second
    assert first.startswith("amq.gen-")


@pytest.mark.parametrize("option", ["durable", "auto_delete"])
def test_a_queues_options_have_to_match(connection: BlockingConnection, channel: BlockingChannel, option: str) -> None:
    name = f"pika-{uuid.uuid4().hex}"
    channel.queue_declare(name, **{option: True})  # type: ignore[arg-type]  # both are bool
    try:
        assert option in refused(406, lambda: connection.channel().queue_declare(name))
    finally:
        channel.queue_delete(name)


def test_a_queues_arguments_are_checked(connection: BlockingConnection) -> None:
    with pytest.raises(exceptions.ChannelClosedByBroker, match="x-max-length"):
        connection.channel().queue_declare("", exclusive=True, arguments={"x-max-length": "many"})


def test_an_exclusive_queue_goes_with_its_connection(broker: Broker) -> None:
    with pika.BlockingConnection(broker.parameters()) as first:
        name = first.channel().queue_declare("", exclusive=True).method.queue
    with pika.BlockingConnection(broker.parameters()) as second:
        refused(404, lambda: second.channel().queue_declare(name, passive=True))


def test_an_auto_delete_queue_goes_with_its_last_consumer(
    connection: BlockingConnection, channel: BlockingChannel
) -> None:
    name = channel.queue_declare("", auto_delete=True).method.queue
    tags = [channel.basic_consume(name, lambda *message: None) for _ in range(2)]
    channel.basic_cancel(tags[0])
    assert channel.queue_declare(name, passive=True).method.consumer_count == 1
    channel.basic_cancel(tags[1])
    refused(404, lambda: connection.channel().queue_declare(name, passive=True))


def test_the_queues_name_is_the_routing_key_unless_said_otherwise(channel: BlockingChannel, queue: str) -> None:
    channel.confirm_delivery()
    channel.queue_bind(queue, "amq.direct")
    assert routed(channel, "amq.direct", queue) and not routed(channel, "amq.direct", "")
    channel.queue_unbind(queue, "amq.direct")
    assert not routed(channel, "amq.direct", queue)


def test_a_bindings_arguments(channel: BlockingChannel, queue: str) -> None:
    channel.confirm_delivery()
    arguments = {"x-match": "any", "kind": queue}
    channel.queue_bind(queue, "amq.headers", "key", arguments)
    assert routed(channel, "amq.headers", "", {"kind": queue}) and not routed(channel, "amq.headers", "key", {"k": 1})
    channel.queue_unbind(queue, "amq.headers", "key", arguments)
    assert not routed(channel, "amq.headers", "", {"kind": queue})


def test_purging_and_deleting_say_how_many(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)
    get(channel, queue)
    assert channel.queue_purge(queue).method.message_count == 2
    publish(channel, queue, 2)
    assert channel.queue_delete(queue).method.message_count == 2
    # What is not there is deleted, too.
    assert channel.queue_delete(queue).method.message_count == 0


def test_deleting_a_queue_only_if_it_is_empty_or_unused(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    publish(channel, queue, 1)
    assert "not empty" in refused(406, lambda: connection.channel().queue_delete(queue, if_empty=True))
    channel.queue_purge(queue)
    tag = channel.basic_consume(queue, lambda *message: None)
    assert "in use" in refused(406, lambda: connection.channel().queue_delete(queue, if_unused=True))
    channel.basic_cancel(tag)
    channel.queue_delete(queue, if_unused=True, if_empty=True)


# Consuming


@pytest.mark.parametrize("global_qos", [False, True])
def test_prefetch_of_each_consumer_and_of_the_channel(
    channel: BlockingChannel, new_queue: Callable[[], str], global_qos: bool
) -> None:
    seen: list[bytes] = []
    server_properties = channel.connection._impl.server_properties
    assert server_properties is not None
    expected = 2 if global_qos and profile_for(server_properties).channel_prefetch else 4
    channel.basic_qos(prefetch_count=2, global_qos=global_qos)
    for queue in (new_queue(), new_queue()):
        publish(channel, queue, 5)
        channel.basic_consume(queue, lambda _channel, _method, _properties, body: seen.append(body))
    pump(channel.connection, lambda: len(seen) >= expected)
    channel.connection.sleep(0.1)
    assert len(seen) == expected


def test_a_prefetch_size_is_what_no_broker_has(connection: BlockingConnection, channel: BlockingChannel) -> None:
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        channel.basic_qos(prefetch_size=100)
    assert caught.value.reply_code == 540
    assert connection.is_closed


def test_a_consumers_arguments(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    seen: list[str] = []
    channel.basic_consume(queue, lambda *message: seen.append("other"), auto_ack=True)
    channel.basic_consume(queue, lambda *message: seen.append("first"), auto_ack=True, arguments={"x-priority": 9})
    publish(channel, queue, 3)
    pump(connection, lambda: len(seen) == 3)
    assert seen == ["first"] * 3


@pytest.mark.parametrize("given", [None, ""])
def test_consumer_tags_are_made(channel: BlockingChannel, queue: str, given: str | None) -> None:
    tags = [channel.basic_consume(queue, lambda *message: None, consumer_tag=given) for _ in range(3)]
    assert len(set(tags)) == 3 and all(tags)
    assert channel.consumer_tags == tags


def test_acknowledging_everything(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 3)
    taker = connection.channel()
    for _ in range(3):
        get(taker, queue)
    taker.basic_ack(multiple=True)
    taker.close()
    assert drain(channel, queue, 0) == []


def test_refusing_one_several_and_all(channel: BlockingChannel, queue: str) -> None:
    publish(channel, queue, 6)
    tags = [get(channel, queue) for _ in range(6)]
    channel.basic_nack(tags[1], multiple=True, requeue=False)
    channel.basic_reject(tags[2])
    channel.basic_reject(tags[3], requeue=False)
    channel.basic_nack(tags[4])
    channel.basic_nack(multiple=True, requeue=False)
    assert drain(channel, queue, 2) == [b"2", b"4"]


@pytest.mark.parametrize("operation", ["basic_ack", "basic_nack", "basic_reject"])
def test_a_delivery_tag_that_is_unknown(channel: BlockingChannel, operation: str) -> None:
    def run() -> None:
        getattr(channel, operation)(77)
        channel.basic_qos()

    assert "unknown delivery tag 77" in refused(406, run)


def test_recovering_without_requeue_is_what_no_broker_has(channel: BlockingChannel) -> None:
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        channel.basic_recover()
    assert caught.value.reply_code == 540


def test_pausing_is_what_no_broker_has(channel: BlockingChannel) -> None:
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        channel.flow(False)
    assert caught.value.reply_code == 540


# Transactions and confirms


def test_acknowledgements_in_a_transaction(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    publish(channel, queue, 1)
    taker = connection.channel()
    taker.tx_select()
    tag = get(taker, queue)
    taker.basic_ack(tag)
    taker.tx_rollback()
    taker.basic_nack(tag)
    assert count(channel, queue) == 0
    taker.tx_commit()
    assert drain(channel, queue, 1) == [b"0"]


def test_what_is_published_in_a_transaction_comes_back_at_its_commit(
    connection: BlockingConnection, channel: BlockingChannel
) -> None:
    seen: list[bytes] = []
    channel.add_on_return_callback(lambda _channel, _method, _properties, body: seen.append(body))
    channel.tx_select()
    channel.basic_publish("", "pika-nowhere", b"back", mandatory=True)
    connection.process_data_events(0.05)
    assert seen == []
    channel.tx_commit()
    pump(connection, lambda: bool(seen))
    assert seen == [b"back"]


def test_a_commit_of_what_cannot_be_published(channel: BlockingChannel) -> None:
    def run() -> None:
        channel.tx_select()
        channel.basic_publish("pika-missing", "key", b"")
        channel.tx_commit()

    assert "no exchange 'pika-missing'" in refused(404, run)


@pytest.mark.parametrize("operation", ["tx_commit", "tx_rollback"])
def test_no_transaction_to_end(channel: BlockingChannel, operation: str) -> None:
    assert "not transactional" in refused(406, getattr(channel, operation))


def test_a_channel_has_transactions_or_confirms(connection: BlockingConnection) -> None:
    first, second = connection.channel(), connection.channel()
    first.tx_select()
    refused(406, first.confirm_delivery)
    second.confirm_delivery()
    refused(406, second.tx_select)


# Wrappers that tracers put around the callback channel's methods


def test_a_wrapper_of_publish_that_publishes(channel: BlockingChannel, queue: str) -> None:
    """As a signal handler may, right before the message is sent; each learns of its own outcome."""
    channel.confirm_delivery()
    wrapped: Any = channel._impl
    original, inner = wrapped.basic_publish, iter([b"inner"])

    def wrapper(*args: Any, **keywords: Any) -> None:
        for body in inner:
            channel.basic_publish("", queue, body)
        original(*args, **keywords)

    wrapped.basic_publish = wrapper
    channel.basic_publish("", queue, b"outer")
    assert drain(channel, queue, 2) == [b"inner", b"outer"]


def test_a_wrapper_of_get_that_gets(channel: BlockingChannel, queue: str) -> None:
    wrapped: Any = channel._impl
    original, inner = wrapped.basic_get, iter([queue])
    seen: list[Any] = []

    def wrapper(*args: Any, **keywords: Any) -> None:
        for name in inner:
            seen.append(channel.basic_get(name))
        original(*args, **keywords)

    wrapped.basic_get = wrapper
    assert channel.basic_get(queue) == (None, None, None)
    assert seen == [(None, None, None)]
