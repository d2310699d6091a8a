"""Declaring, deleting and binding exchanges."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from pika import exceptions
from tests.contract.drivers import Channel
from tests.contract.profiles import Profile
from tests.contract.refusals import channel_refused, no_exchange, no_queue

NewExchange = Callable[..., str]
Name = Callable[..., str]

PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}
DEFAULT_REFUSED = "ACCESS_REFUSED - operation not permitted on the default exchange"


@pytest.mark.parametrize("exchange_type", ["direct", "fanout", "topic", "headers"])
def test_declare_again(channel: Channel, new_exchange: NewExchange, exchange_type: str) -> None:
    exchange = new_exchange(exchange_type)
    channel.exchange_declare(exchange, exchange_type)
    channel.exchange_declare(exchange, passive=True)
    channel.exchange_declare(exchange, "no-matter-which", passive=True, durable=True, arguments={"a": 1})


def test_passive_declare_of_a_missing_one(channel: Channel, name: Name) -> None:
    missing = name()
    with channel_refused(404, no_exchange(missing)):
        channel.exchange_declare(missing, passive=True)


def test_unknown_type(channel: Channel, name: Name, profile: Profile) -> None:
    code = profile.unknown_exchange_type
    refusal = exceptions.ConnectionClosedByBroker if code == 503 else exceptions.ChannelClosedByBroker
    words = "COMMAND_INVALID" if code == 503 else "PRECONDITION_FAILED"
    with pytest.raises(refusal) as caught:
        channel.exchange_declare(name(), "x-contract")
    assert caught.value.args == (code, f"{words} - unknown exchange type 'x-contract'")


@pytest.mark.parametrize(
    ("declared", "again", "difference"),
    [
        ({}, {"exchange_type": "fanout"}, "'type' for exchange {}: received 'fanout' but current is 'direct'"),
        ({}, {"durable": True}, "'durable' for exchange {}: received 'true' but current is 'false'"),
        ({"durable": True}, {}, "'durable' for exchange {}: received 'false' but current is 'true'"),
        ({}, {"auto_delete": True}, "'auto_delete' for exchange {}: received 'true' but current is 'false'"),
        ({}, {"internal": True}, "'internal' for exchange {}: received 'true' but current is 'false'"),
        (
            {},
            {"arguments": {"alternate-exchange": "a"}},
            "'alternate-exchange' for exchange {}: received the value 'a' of type 'longstr' but current is none",
        ),
        (
            {"arguments": {"alternate-exchange": "a"}},
            {},
            "'alternate-exchange' for exchange {}: received none but current is the value 'a' of type 'longstr'",
        ),
        (
            {"arguments": {"alternate-exchange": "a"}},
            {"arguments": {"alternate-exchange": "b"}},
            "'alternate-exchange' for exchange {}: received 'b' but current is 'a'",
        ),
    ],
    ids=["type", "durable", "transient", "auto-delete", "internal", "argument", "no-argument", "other-argument"],
)
def test_declare_again_otherwise(
    channel: Channel, new_exchange: NewExchange, declared: dict[str, Any], again: dict[str, Any], difference: str
) -> None:
    exchange = new_exchange(**declared)
    text = "PRECONDITION_FAILED - inequivalent arg " + difference.format(f"'{exchange}' in vhost '/'")
    with channel_refused(406, text):
        channel.exchange_declare(exchange, **again)


def test_declare_again_with_an_argument_that_means_nothing(channel: Channel, new_exchange: NewExchange) -> None:
    exchange = new_exchange()
    channel.exchange_declare(exchange, arguments={"contract": 1})


def test_first_of_several_differences_is_named(channel: Channel, new_exchange: NewExchange) -> None:
    exchange = new_exchange()
    text = (
        f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{exchange}' in vhost '/': "
        "received 'topic' but current is 'direct'"
    )
    with channel_refused(406, text):
        channel.exchange_declare(exchange, "topic", durable=True, auto_delete=True, internal=True)


@pytest.mark.parametrize(("exchange", "exchange_type"), PREDECLARED.items())
def test_predeclared(channel: Channel, exchange: str, exchange_type: str) -> None:
    channel.exchange_declare(exchange, passive=True)
    channel.exchange_declare(exchange, exchange_type, durable=True)


def test_predeclared_otherwise(channel: Channel) -> None:
    text = "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'amq.topic' in vhost '/': "
    with channel_refused(406, text + "received 'false' but current is 'true'"):
        channel.exchange_declare("amq.topic", "topic")


def test_reserved_name(channel: Channel) -> None:
    text = "ACCESS_REFUSED - exchange name 'amq.contract' contains reserved prefix 'amq.*'"
    with channel_refused(403, text):
        channel.exchange_declare("amq.contract")


@pytest.mark.parametrize("exchange", ["amq.topic", "amq.contract"])
def test_delete_with_a_reserved_name(channel: Channel, exchange: str) -> None:
    text = f"ACCESS_REFUSED - deletion of system exchange '{exchange}' in vhost '/' not allowed"
    with channel_refused(403, text):
        channel.exchange_delete(exchange)


@pytest.mark.parametrize(
    "operation",
    [
        lambda channel, queue: channel.exchange_declare("", "direct", durable=True),
        lambda channel, queue: channel.exchange_declare("", passive=True),
        lambda channel, queue: channel.exchange_delete(""),
        lambda channel, queue: channel.queue_bind(queue, "", "key"),
        lambda channel, queue: channel.queue_unbind(queue, "", queue),
        lambda channel, queue: channel.exchange_bind("amq.topic", "", "key"),
        lambda channel, queue: channel.exchange_bind("", "amq.topic", "key"),
        lambda channel, queue: channel.exchange_unbind("amq.topic", "", "key"),
    ],
    ids=["declare", "passive", "delete", "bind", "unbind", "source", "destination", "unbind-source"],
)
def test_default_exchange_is_not_to_be_touched(
    channel: Channel, queue: str, operation: Callable[[Channel, str], object]
) -> None:
    with channel_refused(403, DEFAULT_REFUSED):
        operation(channel, queue)


def test_delete(channel: Channel, new_exchange: NewExchange) -> None:
    exchange = new_exchange()
    channel.exchange_delete(exchange)
    with channel_refused(404, no_exchange(exchange)):
        channel.exchange_declare(exchange, passive=True)


def test_delete_of_a_missing_one(channel: Channel, name: Name) -> None:
    channel.exchange_delete(name())
    channel.exchange_delete(name(), if_unused=True)


def test_delete_if_unused(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange()
    channel.queue_bind(queue, exchange, "key")
    channel.queue_unbind(queue, exchange, "key")
    channel.exchange_delete(exchange, if_unused=True)


def test_delete_if_unused_that_is_used(channel: Channel, other: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange()
    channel.queue_bind(queue, exchange, "key")
    with channel_refused(406, f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use"):
        channel.exchange_delete(exchange, if_unused=True)
    other.exchange_declare(exchange, passive=True)


def test_delete_if_unused_that_is_only_a_destination(channel: Channel, new_exchange: NewExchange) -> None:
    exchange = new_exchange()
    channel.exchange_bind(exchange, "amq.fanout")
    channel.exchange_delete(exchange, if_unused=True)


def test_deleting_takes_the_bindings_along(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange("fanout")
    channel.queue_bind(queue, exchange)
    channel.exchange_delete(exchange)
    channel.exchange_declare(exchange, "fanout")
    channel.publish_all("", b"lost", exchange=exchange)
    assert channel.basic_get(queue) is None


def test_auto_delete_goes_with_its_last_binding(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange(auto_delete=True)
    channel.queue_bind(queue, exchange, "a")
    channel.queue_bind(queue, exchange, "b")
    channel.queue_unbind(queue, exchange, "a")
    channel.exchange_declare(exchange, passive=True)
    channel.queue_unbind(queue, exchange, "b")
    with channel_refused(404, no_exchange(exchange)):
        channel.exchange_declare(exchange, passive=True)


def test_auto_delete_goes_with_its_last_queue(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange(auto_delete=True)
    channel.queue_bind(queue, exchange)
    channel.queue_delete(queue)
    with channel_refused(404, no_exchange(exchange)):
        channel.exchange_declare(exchange, passive=True)


def test_auto_delete_goes_with_its_last_exchange(channel: Channel, new_exchange: NewExchange) -> None:
    exchange, destination = new_exchange(auto_delete=True), new_exchange()
    channel.exchange_bind(destination, exchange)
    channel.exchange_delete(destination)
    with channel_refused(404, no_exchange(exchange)):
        channel.exchange_declare(exchange, passive=True)


def test_auto_delete_spreads(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    source, middle = new_exchange(auto_delete=True), new_exchange(auto_delete=True)
    channel.exchange_bind(middle, source)
    channel.queue_bind(queue, middle)
    channel.queue_unbind(queue, middle)
    with channel_refused(404, no_exchange(source)):
        channel.exchange_declare(source, passive=True)


def test_auto_delete_stays_until_it_was_bound(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange(auto_delete=True)
    channel.exchange_bind(exchange, "amq.direct", "key")
    channel.exchange_unbind(exchange, "amq.direct", "key")
    channel.exchange_declare(exchange, passive=True)


def test_internal_takes_no_publish(channel: Channel, new_exchange: NewExchange) -> None:
    exchange = new_exchange(internal=True)
    text = f"ACCESS_REFUSED - cannot publish to internal exchange '{exchange}' in vhost '/'"
    with channel_refused(403, text):
        channel.publish_all("", b"", exchange=exchange)


def test_alternate_exchange_that_is_no_name(channel: Channel, name: Name) -> None:
    exchange = name()
    text = f"PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange '{exchange}'"
    with channel_refused(406, text + " in vhost '/'"):
        channel.exchange_declare(exchange, arguments={"alternate-exchange": 5})


# Bindings


def test_bind_is_idempotent(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange()
    channel.queue_bind(queue, exchange, "key")
    channel.queue_bind(queue, exchange, "key")
    channel.publish_all("key", b"once", exchange=exchange)
    assert channel.get_all(queue) == [b"once"]
    channel.queue_unbind(queue, exchange, "key")
    channel.publish_all("key", b"lost", exchange=exchange)
    assert channel.get_all(queue) == []


def test_bindings_with_other_arguments_are_others(channel: Channel, new_exchange: NewExchange, queue: str) -> None:
    exchange = new_exchange()
    channel.queue_bind(queue, exchange, "key")
    channel.queue_bind(queue, exchange, "key", {"a": 1})
    channel.queue_unbind(queue, exchange, "key")
    channel.publish_all("key", b"still", exchange=exchange)
    assert channel.get_all(queue) == [b"still"]
    channel.queue_unbind(queue, exchange, "key", {"a": 2})
    channel.queue_unbind(queue, exchange, "key", {"a": 1})
    channel.publish_all("key", b"lost", exchange=exchange)
    assert channel.get_all(queue) == []


def test_bind_to_a_missing_exchange(channel: Channel, name: Name, queue: str) -> None:
    missing = name()
    with channel_refused(404, no_exchange(missing)):
        channel.queue_bind(queue, missing, "key")


def test_bind_of_a_missing_queue(channel: Channel, name: Name) -> None:
    missing = name()
    with channel_refused(404, no_queue(missing)):
        channel.queue_bind(missing, "amq.direct", "key")


def test_bind_with_both_missing_names_the_exchange(channel: Channel, name: Name) -> None:
    missing = name()
    with channel_refused(404, no_exchange(missing)):
        channel.queue_bind(name(), missing, "key")


def test_unbind_of_what_is_not_there(channel: Channel, name: Name, queue: str) -> None:
    channel.queue_unbind(queue, "amq.direct", "never-bound")
    channel.queue_unbind(queue, name("missing"), "key")
    channel.queue_unbind(name("missing"), "amq.direct", "key")
    channel.exchange_unbind("amq.fanout", "amq.direct", "never-bound")
    channel.exchange_unbind(name("missing"), "amq.direct", "key")
    channel.exchange_unbind("amq.fanout", name("missing"), "key")


def test_exchange_bind_from_a_missing_one(channel: Channel, name: Name) -> None:
    missing = name()
    with channel_refused(404, no_exchange(missing)):
        channel.exchange_bind("amq.fanout", missing, "key")


def test_exchange_bind_to_a_missing_one(channel: Channel, name: Name) -> None:
    missing = name()
    with channel_refused(404, no_exchange(missing)):
        channel.exchange_bind(missing, "amq.fanout", "key")
