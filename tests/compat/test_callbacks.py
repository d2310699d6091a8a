"""The registry of callbacks that a connection and its channels share, which programs reach as ``callbacks``."""

from __future__ import annotations

from typing import Any, Callable

import pytest

import pika
from pika import exceptions, frame, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.connection import Connection
from tests.support.consuming import pump


class Log(list[Any]):
    """What was called, in order."""

    def of(self, name: object) -> Callable[..., None]:
        return lambda *arguments, **keywords: self.append((name, *arguments, *keywords.values()))

    def taken(self) -> list[tuple[Any, ...]]:
        """Take out what was called, with the types of its arguments."""
        seen = [(name, *(type(argument).__name__ for argument in arguments)) for name, *arguments in self]
        self.clear()
        return seen


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def callbacks(connection: BlockingConnection) -> Any:
    return connection._impl.callbacks


def test_a_channel_shares_its_connections(connection: BlockingConnection, channel: BlockingChannel) -> None:
    assert channel._impl.callbacks is connection._impl.callbacks


def test_callbacks_by_name(callbacks: Any, log: Log) -> None:
    assert callbacks.pending(7, "name") is None
    assert callbacks.process(7, "name", None) is False
    assert callbacks.add(7, "name", log.of("once")) == ("7", "name")
    assert callbacks.add("7", "name", log.of("always"), False) == ("7", "name")
    assert callbacks.pending(7, "name") == 2
    assert callbacks.process(7, "name", None, 1, keyword=2) is True
    assert callbacks.process(7, "name", None, 3) is True
    assert callbacks.pending(7, "name") == 1
    assert log == [("once", 1, 2), ("always", 1, 2), ("always", 3)]


def test_callbacks_by_method(callbacks: Any, log: Log) -> None:
    callbacks.add(7, spec.Basic.Ack, log.of("class"), False)
    callbacks.add(7, spec.Basic.Ack(1), log.of("instance"), False)
    callbacks.add(7, frame.Method(7, spec.Basic.Ack(1)), log.of("frame"), False)
    assert callbacks.pending(7, spec.Basic.Ack) == callbacks.pending(7, "Basic.Ack") == 3
    callbacks.process(7, spec.Basic.Ack(2), None, "x")
    assert log == [("class", "x"), ("instance", "x"), ("frame", "x")]


def test_one_that_is_added_again(callbacks: Any, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    once, always = log.of("once"), log.of("always")
    for _ in range(2):
        callbacks.add(7, "name", once)
        callbacks.add(7, "name", always, False)
    assert callbacks.pending(7, "name") == 2
    for number in range(3):
        callbacks.process(7, "name", None, number)
    assert log == [("once", 0), ("always", 0), ("once", 1), ("always", 1), ("always", 2)]
    assert [record.getMessage() for record in caplog.records] == ['Duplicate callback found for "7:name"']


def test_the_only_caller(callbacks: Any, log: Log) -> None:
    mine, yours = object(), object()
    callbacks.add(7, "name", log.of("mine"), False, mine)
    callbacks.process(7, "name", yours)
    assert log == []
    callbacks.process(7, "name", mine)
    assert log == [("mine",)]


def test_arguments(callbacks: Any, log: Log) -> None:
    for tag in "ab":
        callbacks.add(7, spec.Basic.ConsumeOk, log.of(tag), False, None, {"consumer_tag": tag})
    for values in [
        (frame.Method(7, spec.Basic.ConsumeOk("a")),),
        (spec.Basic.ConsumeOk("b"),),
        ({"consumer_tag": "a"},),
        (spec.Basic.ConsumeOk("c"),),
        (spec.Basic.Ack(1),),
        ({},),
    ]:
        callbacks.process(7, spec.Basic.ConsumeOk, None, *values)
    assert [name for name, _ in log] == ["a", "b", "a"]


def test_removing(callbacks: Any, log: Log) -> None:
    first, second = log.of(1), log.of(2)
    assert callbacks.remove(7, "name", first) is False
    callbacks.add(7, "name", first)
    callbacks.add(7, "name", second)
    assert callbacks.remove(7, "name") is True
    assert callbacks.remove(7, "name", first) is True
    assert callbacks.pending(7, "name") == 1
    callbacks.remove_all(7, "name")
    assert callbacks.pending(7, "name") is None
    callbacks.add(7, "name", first, True, None, {"key": 1})
    callbacks.remove(7, "name", first)
    callbacks.remove(7, "name", first, {"key": 2})
    assert callbacks.pending(7, "name") == 1
    callbacks.remove(7, "name", first, {"key": 1})
    assert callbacks.pending(7, "name") is None
    callbacks.add(7, "name", first)
    callbacks.add(7, "other", first)
    callbacks.add(8, "name", first)
    assert (callbacks.cleanup(7), callbacks.cleanup(7)) == (True, False)
    assert callbacks.pending(7, "name") is None and callbacks.pending(8, "name") == 1


def test_one_that_changes_the_registry_while_it_is_called(callbacks: Any, log: Log) -> None:
    later = log.of("later")

    def first() -> None:
        log.append("first")
        callbacks.add(7, "name", later)
        callbacks.remove(7, "name", second)

    def second() -> None:
        log.append("second")

    callbacks.add(7, "name", first)
    callbacks.add(7, "name", second, False)
    callbacks.process(7, "name", None)
    assert log == ["first", "second"]
    callbacks.process(7, "name", None)
    assert log == ["first", "second", ("later",)]


def test_events_of_a_channel(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, callbacks: Any, log: Log
) -> None:
    number, impl = channel.channel_number, channel._impl

    def names() -> list[tuple[Any, ...]]:
        pump(connection, lambda: log)
        return log.taken()

    for key in [
        *(spec.Basic.GetEmpty, spec.Basic.Ack, spec.Basic.ConsumeOk, spec.Basic.CancelOk, spec.Basic.Cancel),
        *(spec.Queue.PurgeOk, spec.Channel.Close, "_on_return", "_on_channel_close", "_on_channel_cleanup"),
    ]:
        callbacks.add(number, key, log.of(getattr(key, "NAME", key)), False)
    channel.queue_purge(queue)
    assert names() == [("Queue.PurgeOk", "Method")]
    channel.basic_publish("", "pika-nowhere", b"x", mandatory=True)
    channel.queue_purge(queue)
    assert names() == [("_on_return", "Channel", "Return", "BasicProperties", "bytes"), ("Queue.PurgeOk", "Method")]
    channel.basic_get(queue)
    assert names() == [("Basic.GetEmpty", "Method")]
    tag = channel.basic_consume(queue, print)
    assert names() == [("Basic.ConsumeOk", "Method")]
    channel.basic_cancel(tag)
    assert names() == [("Basic.CancelOk", "Method")]
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"x")
    assert names() == [("Basic.Ack", "Method")]
    channel.basic_consume(queue, lambda *message: None)
    assert names() == [("Basic.ConsumeOk", "Method")]
    channel.queue_delete(queue)
    assert names() == [("Basic.Cancel", "Method")]
    with pytest.raises(exceptions.ChannelClosedByBroker):
        channel.queue_declare("amq.reserved")
    assert names() == [
        ("_on_channel_close", "Channel", "ChannelClosedByBroker"),
        ("_on_channel_cleanup", "Channel"),
        ("Channel.Close", "Method"),
    ]
    assert impl.is_closed and callbacks.pending(number, spec.Basic.Ack) is None


def test_the_order_is_that_of_adding(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, log: Log
) -> None:
    impl = channel._impl
    impl.add_callback(log.of("before"), [spec.Queue.PurgeOk])
    impl.queue_purge(queue, callback=log.of("operation"))
    impl.add_callback(log.of("after"), [spec.Queue.PurgeOk])
    pump(connection, lambda: len(log) == 3)
    assert [name for name, _ in log] == ["before", "operation", "after"]


def test_events_of_a_connection(broker: Any, log: Log) -> None:
    connection = pika.BlockingConnection(broker.parameters())
    callbacks = connection._impl.callbacks
    for key in (Connection.ON_CONNECTION_CLOSED, Connection.ON_CONNECTION_ERROR, spec.Connection.Blocked):
        callbacks.add(0, key, log.of(key), False)
    connection._impl._on_data_available(frame.Method(0, spec.Connection.Blocked("low on memory")).marshal())
    ((blocked, method_frame),) = log
    assert blocked is spec.Connection.Blocked and method_frame.method.reason == "low on memory"
    log.clear()
    connection.close()
    ((closed, impl, reason),) = log
    assert closed == Connection.ON_CONNECTION_CLOSED
    assert impl is connection._impl and isinstance(reason, exceptions.ConnectionClosedByClient)


def test_a_channel_whose_number_is_used_again_in_its_close_callback(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, log: Log
) -> None:
    opened: list[Any] = []

    def reopen(impl: Any, reason: BaseException) -> None:
        opened.append(connection._impl.channel())
        opened[0].add_callback(log.of("answered"), [spec.Queue.PurgeOk])

    channel._impl.add_on_close_callback(reopen)
    channel.close()
    pump(connection, lambda: opened[0].is_open)
    opened[0].queue_purge(queue, callback=log.of("done"))
    pump(connection, lambda: len(log) == 2)
    assert [name for name, _ in log] == ["answered", "done"]
