"""What tracers do to pika: they wrap it from outside, and see every message. The wrapping is theirs, in short."""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Callable
from unittest import mock

import pytest

import pika
from pika import exceptions, spec
from pika.adapters import blocking_connection
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.channel import Channel
from pika.connection import Connection
from tests.support.adapter_loops import KINDS, Loop
from tests.support.bounded import PATIENCE
from tests.support.consuming import pump

Wrapper = Callable[..., Any]


@pytest.fixture
def wrap(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str, Wrapper], None]:
    """Wrap a method of a class: the wrapper is called as ``wrapper(original, self, *args, **kwargs)``."""

    def wrap(owner: type, name: str, wrapper: Wrapper) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            return wrapper(original.__get__(self), self, *args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    return wrap


@pytest.fixture
def log() -> list[Any]:
    return []


class TestOpenTelemetry:
    """It decorates a BlockingChannel's consumers and its basic_publish, and the queue of its generator."""

    @pytest.fixture(autouse=True)
    def instrumented(self, wrap: Callable[[type, str, Wrapper], None], log: list[Any]) -> None:
        def channel(original: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
            made = original(*args, **kwargs)
            self.instrument(made, log)
            return made

        def generator(original: Any, info: Any, *args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            info.pending_events = self.Proxy(info.pending_events, log)

        wrap(BlockingConnection, "channel", channel)
        wrap(blocking_connection._QueueConsumerGeneratorInfo, "__init__", generator)

    class Proxy:
        """Stands for a deque, and reports what is taken from it."""

        def __init__(self, wrapped: Any, log: list[Any]) -> None:
            self.wrapped, self.log = wrapped, log

        def __getattr__(self, name: str) -> Any:
            return getattr(self.wrapped, name)

        def __len__(self) -> int:
            return len(self.wrapped)

        def __getitem__(self, index: int) -> Any:
            return self.wrapped[index]

        def popleft(self) -> Any:
            event = self.wrapped.popleft()
            assert isinstance(event, blocking_connection._ConsumerDeliveryEvt)
            assert isinstance(event.method, spec.Basic.Deliver)
            self.log.append(("generator", event.properties.headers, event.body))
            return event

    @staticmethod
    def decorate(channel: Any, tag: str, log: list[Any]) -> None:
        info = channel._consumer_infos[tag]
        callback = info.on_message_callback
        if callback is None or hasattr(callback, "original"):
            return

        def decorated(channel: Any, method: Any, properties: Any, body: bytes) -> Any:
            log.append(("consumer", properties.headers, body))
            return callback(channel, method, properties, body)

        decorated.original = callback  # type: ignore[attr-defined]
        info.on_message_callback = decorated

    def instrument(self, channel: Any, log: list[Any]) -> None:
        assert channel._impl._consumers == {} and channel._impl.connection.params.host == "127.0.0.1"
        publish, consume = channel.basic_publish, channel.basic_consume

        def decorated_publish(
            exchange: str, routing_key: str, body: Any, properties: Any = None, mandatory: bool = False
        ) -> Any:
            properties = properties or pika.BasicProperties(headers={}, content_type="text/plain")
            properties.headers = {**(properties.headers or {}), "trace": "id"}
            return publish(exchange, routing_key, body, properties, mandatory)

        def decorated_consume(*args: Any, **kwargs: Any) -> Any:
            tag = consume(*args, **kwargs)
            self.decorate(channel, tag, log)
            return tag

        channel.basic_publish, channel.basic_consume = decorated_publish, decorated_consume

    def test_consumers(self, connection: BlockingConnection, log: list[Any]) -> None:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        got = []
        channel.basic_consume(queue, lambda *message: got.append(message), auto_ack=True)
        channel.basic_publish("", queue, b"1")
        channel.basic_publish(
            exchange="", routing_key=queue, body=b"2", properties=pika.BasicProperties(headers={"a": 1})
        )
        pump(connection, lambda: len(got) == 2)
        assert log == [("consumer", {"trace": "id"}, b"1"), ("consumer", {"a": 1, "trace": "id"}, b"2")]
        assert [message[0] for message in got] == [channel, channel]

    def test_confirms(self, connection: BlockingConnection) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        with pytest.raises(exceptions.UnroutableError) as caught:
            channel.basic_publish("", "pika-nowhere", b"x", mandatory=True)
        assert caught.value.messages[0].properties.headers == {"trace": "id"}

    def test_generators(self, connection: BlockingConnection, log: list[Any]) -> None:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for body in (b"1", b"2", b"3"):
            channel.basic_publish("", queue, body)
        messages = channel.consume(queue, inactivity_timeout=PATIENCE)
        for body in (b"1", b"2"):
            method, properties, received = next(messages)
            assert method is not None and received == body
            assert log[-1] == ("generator", properties.headers, body)
            channel.basic_ack(method.delivery_tag)
        pump(connection, lambda: channel.get_waiting_message_count() == 1)
        generator = channel._queue_consumer_generator
        assert generator is not None and type(generator.pending_events).__name__ == "Proxy"
        channel.cancel()
        assert channel._queue_consumer_generator is None

    def test_the_callback_connections_channel(
        self, wrap: Callable[[type, str, Wrapper], None], connection: BlockingConnection, log: list[Any]
    ) -> None:
        def channel(original: Any, impl: Any, *args: Any, **kwargs: Any) -> Any:
            made = original(*args, **kwargs)
            log.append(("made", made._consumers, impl.params is made.connection.params))
            return made

        wrap(Connection, "channel", channel)
        connection.channel()
        assert log == [("made", {}, True)]

    @pytest.mark.parametrize("kind", KINDS)
    def test_channels_of_connections_on_loops(
        self, wrap: Callable[[type, str, Wrapper], None], broker: Any, log: list[Any], kind: str
    ) -> None:
        """It wraps the method of the class that they have in common, and what the channels have of their own."""

        def channel(original: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
            made = original(*args, **kwargs)
            publish, consume = made.basic_publish, made.basic_consume

            def decorated_publish(exchange: str, routing_key: str, body: Any) -> Any:
                log.append(("publish", body))
                return publish(exchange, routing_key, body, pika.BasicProperties(headers={"trace": "id"}), False)

            def decorated_consume(*args: Any, **kwargs: Any) -> Any:
                log.append(("consume", kwargs["queue"]))
                return consume(*args, **kwargs)

            made.basic_publish, made.basic_consume = decorated_publish, decorated_consume
            return made

        wrap(Connection, "channel", channel)
        loop = Loop(kind)
        connection = loop.connect(broker.parameters())
        loop.run(lambda: connection.is_open)
        opened, queue = connection.channel(), f"pika-{uuid.uuid4().hex}"
        loop.run(lambda: opened.is_open)
        got: list[Any] = []
        opened.queue_declare(queue, exclusive=True)
        opened.basic_consume(queue=queue, on_message_callback=lambda *message: got.append(message), auto_ack=True)
        opened.basic_publish("", queue, b"x")
        loop.run(lambda: got)
        connection.close()
        loop.run(lambda: connection.is_closed)
        loop.close()
        assert log == [("consume", queue), ("publish", b"x")]
        assert got[0][2].headers == {"trace": "id"}


def untrace_consuming(original: Any, channel: Any, *args: Any, **kwargs: Any) -> None:
    """Wrap the making of a BlockingChannel, so that its consumers are not traced twice."""
    original(*args, **kwargs)
    impl = channel._impl
    untraced = getattr(impl.basic_consume, "__wrapped__", impl.basic_consume)
    impl.basic_consume = untraced.__get__(impl) if not hasattr(untraced, "__self__") else untraced


class TestNewRelic:
    """It wraps methods of both kinds of channels, and the delivered methods themselves."""

    @pytest.fixture
    def wrapped_channels(self, wrap: Callable[[type, str, Wrapper], None], log: list[Any]) -> None:
        """Have its wrappers around the methods of both kinds of channels."""

        def publish(
            original: Any, channel: Any, exchange: str, routing_key: str, body: Any, *args: Any, **kw: Any
        ) -> Any:
            arguments = dict(zip(("properties", "mandatory"), args), **kw)
            properties = arguments.pop("properties", None) or pika.BasicProperties()
            properties.headers = {**(properties.headers or {}), "newrelic": len(log)}
            log.append(("publish", type(channel).__name__, routing_key))
            return original(exchange, routing_key, body, properties, **arguments)

        def get(original: Any, channel: Any, queue: str, callback: Any, *args: Any, **kwargs: Any) -> Any:
            name = f"{callback.__module__}:{callback.__qualname__}"

            @functools.wraps(callback)
            def traced(channel: Any, method: Any, properties: Any, body: bytes) -> Any:
                log.append(("got", name, type(method).__name__, body))
                return callback(channel, method, properties, body)

            return original(queue, traced, *args, **kwargs)

        def consume(original: Any, channel: Any, queue: str, callback: Any, *args: Any, **kwargs: Any) -> Any:
            log.append(("consume", type(channel).__name__, queue))

            @functools.wraps(callback)
            def traced(channel: Any, method: Any, properties: Any, body: bytes) -> Any:
                log.append(("consumed", type(channel).__name__, properties.__dict__["headers"], body))
                return callback(channel, method, properties, body)

            return original(queue, traced, *args, **kwargs)

        wrap(Channel, "basic_publish", publish)
        wrap(Channel, "basic_get", get)
        wrap(Channel, "basic_consume", consume)
        wrap(BlockingChannel, "__init__", untrace_consuming)
        wrap(BlockingChannel, "basic_consume", consume)

    @pytest.mark.usefixtures("wrapped_channels")
    def test_publishing_getting_and_consuming(self, broker: Any, log: list[Any]) -> None:
        with pika.BlockingConnection(broker.parameters()) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_publish("", queue, b"1")
            channel.basic_publish("", queue, b"2", pika.BasicProperties(), False)
            method = None
            while method is None:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
            assert (properties.headers, body) == ({"newrelic": 0}, b"1")
            tag = channel.basic_consume(queue, lambda *message: log.append("callback"), auto_ack=True)
            pump(connection, lambda: log[-1] == "callback")
            channel.basic_cancel(tag)
        assert [entry for entry in log if entry[0] != "consume"] == [
            ("publish", "Channel", queue),
            ("publish", "Channel", queue),
            ("got", "pika.adapters.blocking_connection:_CallbackResult.set_value_once", "GetOk", b"1"),
            ("consumed", "BlockingChannel", {"newrelic": 1}, b"2"),
            "callback",
        ]
        assert log.count(("consume", "BlockingChannel", queue)) == 1

    def test_delivered_methods(
        self,
        wrap: Callable[[type, str, Wrapper], None],
        connection: BlockingConnection,
        channel: BlockingChannel,
        queue: str,
    ) -> None:
        def init(original: Any, method: Any, *args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            method._nr_start_time = time.time()

        wrap(spec.Basic.Deliver, "__init__", init)
        seen: list[Any] = []
        channel.basic_consume(queue, lambda channel, method, properties, body: seen.append(method), auto_ack=True)
        channel.basic_publish("", queue, b"1")
        channel.basic_publish("", queue, b"x" * 300_000)
        pump(connection, lambda: len(seen) == 2)
        assert all(method._nr_start_time <= time.time() for method in seen)
        assert [method.delivery_tag for method in seen] == [1, 2]

    def test_generators(
        self,
        wrap: Callable[[type, str, Wrapper], None],
        connection: BlockingConnection,
        channel: BlockingChannel,
        queue: str,
        log: list[Any],
    ) -> None:
        def consume(original: Any, channel: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
            for method, properties, body in original(*args, **kwargs):
                log.append((properties.__dict__.get("headers"), body) if method else None)
                yield method, properties, body

        wrap(BlockingChannel, "consume", consume)
        channel.basic_publish("", queue, b"1", pika.BasicProperties(headers={"a": 1}))
        messages = channel.consume(queue, auto_ack=True, inactivity_timeout=0.1)
        while next(messages)[0] is None:
            pass
        messages.close()
        channel.cancel()
        assert log[-1] == ({"a": 1}, b"1")

    def test_channels_of_a_class_of_its_own(self, connection: BlockingConnection, monkeypatch: Any) -> None:
        class Traced(Channel):
            pass

        def create(self: Any, channel_number: int, on_open_callback: Any) -> Channel:
            assert isinstance(channel_number, int)
            return Traced(self, channel_number, on_open_callback)

        monkeypatch.setattr(type(connection._impl), "_create_channel", create)
        channel = connection.channel()
        assert type(channel._impl) is Traced and channel.is_open
        assert connection._impl._channels[channel.channel_number] is channel._impl


class TestSkyWalking:
    """It wraps publishing, and the arrival of every delivery."""

    def test_it(
        self,
        wrap: Callable[[type, str, Wrapper], None],
        connection: BlockingConnection,
        channel: BlockingChannel,
        queue: str,
        log: list[Any],
    ) -> None:
        def on_deliver(original: Any, channel: Any, method_frame: Any, header_frame: Any, body: bytes) -> Any:
            consumer = channel._consumers[method_frame.method.consumer_tag]
            blocking = isinstance(consumer.__self__, BlockingChannel)
            log.append((blocking, method_frame.method.exchange, header_frame.properties.headers, body))
            return original(method_frame, header_frame, body)

        def publish(
            original: Any,
            channel: Any,
            exchange: str,
            routing_key: str,
            body: Any,
            properties: Any = None,
            mandatory: bool = False,
        ) -> Any:
            properties = properties or pika.BasicProperties()
            properties.headers = {**(properties.headers or {}), "sw8": channel.connection.params.host}
            return original(exchange, routing_key, body, properties, mandatory=mandatory)

        wrap(Channel, "_on_deliver", on_deliver)
        wrap(Channel, "basic_publish", publish)
        got: list[bytes] = []
        channel.basic_consume(queue, lambda channel, method, properties, body: got.append(body), auto_ack=True)
        for body in (b"1", b"x" * 300_000):
            channel.basic_publish("", queue, body)
        pump(connection, lambda: len(got) == 2)
        assert got == [b"1", b"x" * 300_000]
        assert log == [(True, "", {"sw8": "127.0.0.1"}, body) for body in got]


class TestInstana:
    """It wraps methods of both kinds of channels; its tests look at what is sent, and hand messages in."""

    def test_what_is_sent(
        self, wrap: Callable[[type, str, Wrapper], None], channel: BlockingChannel, queue: str, log: list[Any]
    ) -> None:
        def send_method(original: Any, channel: Any, *args: Any) -> Any:
            log.append(args)
            return original(*args)

        wrap(Channel, "_send_method", send_method)
        impl = channel._impl
        properties = pika.BasicProperties(headers={"a": 1})
        for _ in range(4):
            channel.basic_publish("", queue, b"x", properties)
        publish = spec.Basic.Publish(exchange="", routing_key=queue)
        assert log == [(publish, (properties, b"x"))] * 4
        log.clear()
        for _ in range(3):
            while channel.basic_get(queue)[0] is None:
                pass
        log.clear()
        impl.basic_ack(1)
        impl.basic_nack(2, requeue=False)
        impl.basic_reject(3, requeue=False)
        assert log == [
            (spec.Basic.Ack(1),),
            (spec.Basic.Nack(2, requeue=False),),
            (spec.Basic.Reject(3, requeue=False),),
        ]
        assert channel.queue_purge(queue).method.message_count == 1

    def test_confirms_through_a_patched_send_method(
        self, wrap: Callable[[type, str, Wrapper], None], channel: BlockingChannel, queue: str
    ) -> None:
        wrap(Channel, "_send_method", lambda original, channel, *args: original(*args))
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"x")
        with pytest.raises(exceptions.UnroutableError):
            channel.basic_publish("", "pika-nowhere", b"x", mandatory=True)

    def test_a_send_method_of_one_channel(self, channel: BlockingChannel, queue: str) -> None:
        impl = channel._impl
        with mock.patch.object(impl, "_send_method") as send_method:
            channel.basic_publish("", queue, b"x")
        send_method.assert_called_once_with(spec.Basic.Publish(routing_key=queue), (pika.BasicProperties(), b"x"))
        assert channel.queue_declare(queue, passive=True).method.message_count == 0

    def test_messages_are_handed_in(self, channel: BlockingChannel, queue: str) -> None:
        callback = mock.Mock()
        tag = channel.basic_consume(queue, callback)
        method, properties = spec.Basic.Deliver(consumer_tag=tag, delivery_tag=1), pika.BasicProperties()
        channel._add_pending_event(blocking_connection._ConsumerDeliveryEvt(method, properties, b"x"))
        channel._dispatch_events()
        callback.assert_called_once_with(channel, method, properties, b"x")

    def test_messages_are_handed_to_the_generator(self, channel: BlockingChannel, queue: str) -> None:
        messages = channel.consume(queue, auto_ack=True, inactivity_timeout=0.01)
        assert next(messages) == (None, None, None)
        method, properties = spec.Basic.Deliver(delivery_tag=1), pika.BasicProperties()
        event = blocking_connection._ConsumerDeliveryEvt(method, properties, b"x")
        channel._on_consumer_generator_event(event)
        assert next(messages) == (method, properties, b"x")


def test_patches_of_several_threads_do_not_get_into_each_others_way(broker: Any) -> None:
    """A tracer assigns basic_publish on each channel; another connection's is its own."""
    seen: dict[int, list[bytes]] = {0: [], 1: []}

    def use(index: int) -> None:
        with pika.BlockingConnection(broker.parameters()) as connection:
            channel = connection.channel()
            original = channel.basic_publish

            def publish(
                exchange: str, routing_key: str, body: Any, properties: Any = None, mandatory: Any = False
            ) -> None:
                seen[index].append(body)
                original(exchange, routing_key, body, properties, mandatory)

            channel.basic_publish = publish  # type: ignore[method-assign]
            queue = channel.queue_declare("", exclusive=True).method.queue
            for number in range(20):
                channel.basic_publish("", queue, b"%d" % number)

    threads = [threading.Thread(target=use, args=(index,)) for index in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == {index: [b"%d" % number for number in range(20)] for index in seen}
