"""Programs subclass what pika shows: their overrides are called, their attributes kept."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import pika
from pika import exceptions, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.amqp_object import AMQPObject
from pika.channel import Channel
from pika.connection import Connection
from tests.support.adapter_loops import KINDS, Loop
from tests.support.brokers import Target

# pika has no such packages.
OURS = ("pika.aio", "pika.broker", "pika.cli", "pika.client", "pika.protocol", "pika.telemetry", "pika.testing")


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(pika.__path__, "pika."):
        if found.name.startswith((*OURS, "pika.transport")) or "._" in found.name or found.name == "pika.__main__":
            continue
        try:
            yield importlib.import_module(found.name)
        except ModuleNotFoundError as missing:  # an adapter's library
            assert missing.name in ("gevent", "tornado", "twisted")


def public_classes() -> list[type]:
    """Every class with a public name, the nested ones too."""
    found: dict[type, None] = {}
    waiting: list[Any] = [pika, *modules()]
    while waiting:
        for name, value in vars(waiting.pop()).items():
            known = not inspect.isclass(value) or value in found or not value.__module__.startswith("pika")
            if not known and not name.startswith("_"):
                found[value] = None
                waiting.append(value)
    # What says only what a type is, and tuples with names, have no instances to speak of.
    return [each for each in found if not issubclass(each, (enum.Enum, tuple)) and not getattr(each, "_is_protocol", 0)]


CLASSES = public_classes()
# Tracers hang things on these.
OPEN = (AMQPObject, BlockingChannel, BlockingConnection, Channel, Connection, exceptions.AMQPError)


@pytest.mark.parametrize("public", CLASSES, ids=lambda each: each.__qualname__)
def test_any_of_them(public: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be subclassed and patched, and what is put on an instance of the subclass stays there."""

    class Mine(public):  # type: ignore[misc]
        label = "mine"

    monkeypatch.setattr(public, "patched", lambda instance: instance.label, raising=False)
    if not inspect.isabstract(public):
        instance = Mine.__new__(Mine)
        instance.trace = "id"
        assert (instance.patched(), vars(instance)["trace"]) == ("mine", "id")


@pytest.mark.parametrize(
    "public",
    [each for each in CLASSES if issubclass(each, OPEN) and not inspect.isabstract(each)],
    ids=lambda each: each.__qualname__,
)
def test_attributes_of_instances(public: type) -> None:
    instance: Any = public.__new__(public)
    instance.trace = "id"
    assert vars(instance)["trace"] == "id"


def test_parameters_and_credentials(broker: Target) -> None:
    asked: list[str] = []

    class Credentials(pika.PlainCredentials):
        def response_for(self, start: Any) -> Any:
            asked.append(type(start).__name__)
            return super().response_for(start)

    class Parameters(pika.ConnectionParameters):
        def __init__(self, label: str, **options: Any) -> None:
            super().__init__(**options)
            self.label = label

    by_url = broker.parameters()
    parameters = Parameters("mine", host=by_url.host, port=by_url.port, credentials=Credentials("guest", "guest"))
    with BlockingConnection(parameters) as connection:
        used = connection._impl.params
    assert isinstance(used, Parameters) and used.label == "mine"
    assert asked == ["Start"]


def test_a_blocking_connection(broker: Target) -> None:
    class Mine(BlockingConnection):
        def __init__(self, label: str, *arguments: Any) -> None:
            self.label = label
            self.log: list[str] = []
            super().__init__(*arguments)

        def channel(self, *arguments: Any, **options: Any) -> BlockingChannel:
            self.log.append("channel")
            return super().channel(*arguments, **options)

        def process_data_events(self, *arguments: Any, **options: Any) -> None:
            self.log.append("process_data_events")
            super().process_data_events(*arguments, **options)

    with Mine("mine", broker.parameters()) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(queue, lambda channel, *message: channel.stop_consuming(), auto_ack=True)
        channel.basic_publish("", queue, b"x")
        channel.start_consuming()
        assert channel.connection is connection and connection.label == "mine"
    assert connection.log[0] == "channel" and set(connection.log[1:]) == {"process_data_events"}


def noting_channel(log: list[Any]) -> type[Channel]:
    """Make a class of channels that write to a log which of their methods are called."""

    class Noting(Channel):
        def queue_declare(self, *arguments: Any, **options: Any) -> None:
            log.append("declare")
            super().queue_declare(*arguments, **options)

        def basic_consume(self, *arguments: Any, **options: Any) -> str:
            log.append("consume")
            return super().basic_consume(*arguments, **options)

        def basic_publish(self, *arguments: Any, **options: Any) -> None:
            log.append("publish")
            super().basic_publish(*arguments, **options)

        def _on_deliver(self, *arguments: Any) -> None:
            log.append("deliver")
            super()._on_deliver(*arguments)

        def basic_ack(self, *arguments: Any, **options: Any) -> None:
            log.append("ack")
            super().basic_ack(*arguments, **options)

        def close(self, *arguments: Any, **options: Any) -> None:
            log.append("close")
            super().close(*arguments, **options)

    return Noting


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_on_a_loop_with_channels_of_a_class_of_its_own(broker: Target, kind: str) -> None:
    loop = Loop(kind)
    log = loop.log

    noting = noting_channel(log)
    adapter: Any = loop.adapter

    class MyConnection(adapter):  # type: ignore[misc]
        def _create_channel(self, channel_number: int, on_open_callback: Any) -> Channel:
            return noting(self, channel_number, on_open_callback)

    def on_channel_open(channel: Channel) -> None:
        channel.queue_declare("", exclusive=True, callback=lambda frame: on_declared(channel, frame.method.queue))

    def on_declared(channel: Channel, queue: str) -> None:
        channel.basic_consume(queue, on_message)
        channel.basic_publish("", queue, b"x")

    def on_message(channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        assert isinstance(channel, noting)
        channel.basic_ack(method.delivery_tag)
        channel.close()

    connection = MyConnection(broker.parameters(), custom_ioloop=loop.native)
    loop.run(lambda: connection.is_open)
    opened = connection.channel(on_open_callback=on_channel_open)
    loop.run(lambda: opened.is_closed)
    connection.close()
    loop.run(lambda: connection.is_closed)
    loop.close()
    assert log == ["declare", "consume", "publish", "deliver", "ack", "close"]


def test_properties(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    class Mine(pika.BasicProperties):
        def __init__(self, trace: str, **properties: Any) -> None:
            super().__init__(**properties)
            self.trace = trace

    channel.confirm_delivery()
    channel.basic_publish("", queue, b"x", Mine("id", headers={"a": 1}))
    _method, properties, _body = channel.basic_get(queue, auto_ack=True)
    assert type(properties) is spec.BasicProperties and properties == pika.BasicProperties(headers={"a": 1})
    assert properties != Mine("id", headers={"a": 1})


def test_exceptions(connection: BlockingConnection) -> None:
    class Mine(exceptions.AMQPConnectionError):
        pass

    def fail() -> None:
        raise Mine("mine")

    connection.call_later(0, fail)
    with pytest.raises(Mine) as caught:
        connection.sleep(20)
    assert caught.value.args == ("mine",) and connection.is_open
