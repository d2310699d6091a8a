"""A BlockingChannel on stand-ins, as tracers' tests make it."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

import pika
from pika import spec
from pika.adapters.blocking_connection import BlockingChannel, _ConsumerDeliveryEvt
from tests.support.bounded import PATIENCE, Running, eventually


def plain() -> Any:
    with mock.patch("pika.connection.Connection") as connection:
        return connection()


def blocking() -> Any:
    with mock.patch("pika.adapters.blocking_connection.BlockingConnection", autospec=True) as connection:
        return connection


@pytest.fixture(params=[plain, blocking])
def channel(request: Any) -> BlockingChannel:
    with mock.patch("pika.channel.Channel", spec=pika.channel.Channel) as kind:
        impl: Any = kind()
    impl.channel_number = 1
    impl.basic_consume.return_value = "tag"
    impl._generate_consumer_tag.return_value = "tag"
    return BlockingChannel(impl, request.param())


def test_consume(channel: BlockingChannel) -> None:
    consumed: list[Any] = []

    def consume() -> None:
        for delivery in channel.consume("queue", inactivity_timeout=PATIENCE):
            if any(delivery):
                consumed.append(delivery)
                break

    consuming = Running(consume)
    eventually(lambda: channel._queue_consumer_generator)
    method, properties = spec.Basic.Deliver(consumer_tag="tag"), pika.BasicProperties()
    channel._on_consumer_generator_event(_ConsumerDeliveryEvt(method, properties, b"x"))
    consuming.result()
    assert consumed == [(method, properties, b"x")]


def test_basic_consume(channel: BlockingChannel) -> None:
    callback = mock.Mock()
    assert channel.basic_consume(queue="queue", on_message_callback=callback) == "tag"
    method, properties = spec.Basic.Deliver(consumer_tag="tag"), pika.BasicProperties()
    channel._add_pending_event(_ConsumerDeliveryEvt(method, properties, b"x"))
    channel._dispatch_events()
    callback.assert_called_once_with(channel, method, properties, b"x")


def test_basic_publish(channel: Any) -> None:
    channel.basic_publish("exchange", "key", "body")
    channel._impl.basic_publish.assert_called_once_with(
        exchange="exchange", routing_key="key", body="body", properties=None, mandatory=False
    )


def test_basic_ack(channel: Any) -> None:
    channel.basic_ack(1)
    channel._impl.basic_ack.assert_called_once_with(delivery_tag=1, multiple=False)
