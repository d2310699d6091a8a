"""The underscored names of pika that programs hold on to: they are there, and take what they took."""

from __future__ import annotations

import inspect
from collections import deque
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.adapters import blocking_connection
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.channel import Channel, ContentFrameAssembler
from pika.connection import Connection


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [
        (Connection, "_adapter_connect_stream", []),
        (Connection, "_adapter_disconnect_stream", []),
        (Connection, "_adapter_emit_data", ["data"]),
        (Connection, "_adapter_call_later", ["delay", "callback"]),
        (Connection, "_adapter_remove_timeout", ["timeout_id"]),
        (Connection, "_adapter_add_callback_threadsafe", ["callback"]),
        (Connection, "_on_stream_connected", []),
        (Connection, "_on_stream_terminated", ["error"]),
        (Connection, "_on_data_available", ["data_in"]),
        (Connection, "_create_channel", ["channel_number", "on_open_callback"]),
        (Connection, "_send_method", ["channel_number", "method", "content"]),
        (Channel, "_on_deliver", ["method_frame", "header_frame", "body"]),
        (Channel, "_on_getok", ["method_frame", "header_frame", "body"]),
        (Channel, "_on_return", ["method_frame", "header_frame", "body"]),
        (Channel, "_send_method", ["method", "content"]),
        (Channel, "_raise_if_not_open", []),
        (Channel, "_generate_consumer_tag", []),
        (BlockingChannel, "_on_consumer_generator_event", ["evt"]),
        (BlockingChannel, "_dispatch_events", []),
        (BlockingChannel, "_process_data_events", ["time_limit"]),
        (BlockingChannel, "_add_pending_event", ["evt"]),
        (BlockingConnection, "_create_connection", ["configs", "impl_class"]),
        (blocking_connection, "_QueueConsumerGeneratorInfo", ["params", "consumer_tag"]),
        (blocking_connection, "_ConsumerDeliveryEvt", ["method", "properties", "body"]),
        (blocking_connection, "_ConsumerCancellationEvt", ["method_frame"]),
        (
            blocking_connection,
            "_ConsumerInfo",
            ["consumer_tag", "auto_ack", "on_message_callback", "alternate_event_sink"],
        ),
    ],
)
def test_parameters(owner: Any, name: str, expected: list[str]) -> None:
    assert parameters(getattr(owner, name)) == expected


def test_parameters_that_are_given_by_position() -> None:
    assert len(parameters(Channel._set_state)) == 1
    assert len(parameters(BlockingChannel._on_consumer_message_delivery)) == 4


def test_what_is_abstract() -> None:
    assert Connection.__abstractmethods__ == {
        "_adapter_add_callback_threadsafe",
        "_adapter_call_later",
        "_adapter_connect_stream",
        "_adapter_disconnect_stream",
        "_adapter_emit_data",
        "_adapter_remove_timeout",
    }


def test_defaults() -> None:
    assert inspect.signature(Channel._send_method).parameters["content"].default is None
    info = blocking_connection._ConsumerInfo("tag", True, print)
    assert (info.consumer_tag, info.auto_ack) == ("tag", True)
    assert info.on_message_callback is print and info.alternate_event_sink is None


def test_events_can_be_changed_and_carry_more() -> None:
    method, properties = spec.Basic.Deliver("tag", 1), pika.BasicProperties()
    event: Any = blocking_connection._ConsumerDeliveryEvt(method, properties, b"x")
    event.body, event.span = b"y", "span"
    assert (event.method, event.properties, event.body, event.span) == (method, properties, b"y", "span")
    method_frame = frame.Method(1, spec.Basic.Cancel("tag"))
    cancelled = blocking_connection._ConsumerCancellationEvt(method_frame)
    assert cancelled.method_frame is method_frame and cancelled.method is method_frame.method


def test_a_generators_consumer() -> None:
    info = blocking_connection._QueueConsumerGeneratorInfo(("queue", False, False), "tag")
    assert (info.params, info.consumer_tag, info.pending_events) == (("queue", False, False), "tag", deque())
    assert type(info.pending_events) is deque


def test_the_callback_of_basic_get() -> None:
    callback = blocking_connection._CallbackResult().set_value_once
    name = f"{callback.__module__}:{callback.__qualname__}"
    assert name == "pika.adapters.blocking_connection:_CallbackResult.set_value_once"


def test_a_blocking_channel(connection: BlockingConnection, channel: Any, queue: str) -> None:
    assert type(channel._impl) is Channel and channel._connection is connection
    assert (channel._consumer_infos, channel._pending_events) == ({}, deque())
    assert channel._queue_consumer_generator is None

    def callback(*message: Any) -> None:
        raise AssertionError

    tag = channel.basic_consume(queue, callback, auto_ack=True)
    info = channel._consumer_infos[tag]
    assert type(info) is blocking_connection._ConsumerInfo
    assert (info.consumer_tag, info.auto_ack, info.on_message_callback) == (tag, True, callback)
    consumer: Any = channel._impl._consumers[tag]
    assert consumer.__self__ is channel and consumer.__name__ == "_on_consumer_message_delivery"
    channel.basic_cancel(tag)
    assert channel._consumer_infos == {} and channel._impl._consumers == {}
    next(channel.consume(queue, inactivity_timeout=0.01))
    generator: Any = channel._queue_consumer_generator
    assert type(generator) is blocking_connection._QueueConsumerGeneratorInfo
    assert channel._consumer_infos[generator.consumer_tag].on_message_callback is None


def test_replacing_a_consumers_callback(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    seen: list[str] = []
    tag = channel.basic_consume(queue, lambda *message: seen.append("first"), auto_ack=True)
    channel._consumer_infos[tag].on_message_callback = lambda *message: seen.append("second")
    channel.basic_publish("", queue, b"x")
    while not seen:
        connection.process_data_events(0.1)
    assert seen == ["second"]


def test_the_sets_of_a_channels_consumers(channel: BlockingChannel, queue: str) -> None:
    impl = channel._impl
    acked, unacked = channel.basic_consume(queue, print), channel.basic_consume(queue, print, auto_ack=True)
    assert set(impl._consumers) == {acked, unacked}
    assert (impl._consumers_with_noack, impl._cancelled) == ({unacked}, set())
    impl.basic_cancel(acked, callback=lambda method_frame: None)
    assert impl._cancelled == {acked}
    channel.basic_qos(prefetch_count=0)
    channel.basic_cancel(unacked)
    assert (impl._consumers, impl._consumers_with_noack, impl._cancelled) == ({}, set(), set())


def test_consumer_tags(channel: BlockingChannel) -> None:
    first, second = channel._impl._generate_consumer_tag(), channel._impl._generate_consumer_tag()
    assert first != second and first.startswith("ctag1.")


def test_the_callback_that_waits_for_a_message(channel: BlockingChannel, queue: str) -> None:
    def waiting() -> Any:
        return channel._impl._on_getok_callback

    def callback(*message: Any) -> None: ...

    assert waiting() is None
    channel._impl.basic_get(queue, callback)
    assert waiting() is callback
    with pytest.raises(exceptions.DuplicateGetOkCallback):
        channel._impl.basic_get(queue, callback)
    channel.basic_qos(prefetch_count=0)
    assert waiting() is None


def test_states(channel: BlockingChannel) -> None:
    assert (Channel.CLOSED, Channel.OPENING, Channel.OPEN, Channel.CLOSING) == (0, 1, 2, 3)
    impl = channel._impl
    impl._set_state(Channel.CLOSED)
    with pytest.raises(exceptions.ChannelWrongStateError):
        impl._raise_if_not_open()
    impl._set_state(Channel.OPEN)
    impl._raise_if_not_open()
    assert impl.is_open and impl.flow_active


class TestContentFrameAssembler:
    METHOD = frame.Method(1, spec.Basic.Deliver("tag", 1))

    @staticmethod
    def header(size: int) -> frame.Header:
        return frame.Header(1, size, pika.BasicProperties(type="kind"))

    def test_contents_one_after_the_other(self) -> None:
        assembler = ContentFrameAssembler()
        for parts in ([], [b"abc"], [b"ab", b"c", b"de"]):
            header = self.header(sum(map(len, parts)))
            frames: list[frame.Frame] = [self.METHOD, header, *(frame.Body(1, part) for part in parts)]
            *first, last = frames
            assert [assembler.process(each) for each in first] == [None] * len(first)
            assert assembler.process(last) == (self.METHOD, header, b"".join(parts))

    def test_a_body_that_is_too_long(self) -> None:
        assembler = ContentFrameAssembler()
        assembler.process(self.METHOD)
        assembler.process(self.header(3))
        with pytest.raises(exceptions.BodyTooLongError) as caught:
            assembler.process(frame.Body(1, b"1234"))
        assert caught.value.args == (4, 3)

    @pytest.mark.parametrize("wrong", [frame.Method(1, spec.Basic.Ack()), frame.Heartbeat(), None, 5])
    def test_other_frames(self, wrong: Any) -> None:
        with pytest.raises(exceptions.UnexpectedFrameError) as caught:
            ContentFrameAssembler().process(wrong)
        assert caught.value.args == (wrong,)
