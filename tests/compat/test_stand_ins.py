"""A channel on a stand-in for its connection, as tracers' tests make it: they look at what it would send."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

import pika
from pika import exceptions, frame, spec
from pika.channel import Channel
from pika.connection import Connection


def connection_of_a_class() -> Any:
    stand_in = mock.Mock(spec=Connection)
    stand_in.callbacks = mock.Mock()
    return stand_in


@pytest.fixture(params=[mock.MagicMock, connection_of_a_class])
def connection(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture
def channel(connection: Any) -> Channel:
    channel = Channel(connection, 1, mock.Mock())
    channel._set_state(channel.OPEN)
    return channel


def sent(connection: Any) -> list[Any]:
    return [call.args for call in connection._send_method.call_args_list]


def test_states(connection: Any) -> None:
    channel = Channel(connection, 7, None)
    assert int(channel) == 7 and channel.connection is connection
    assert (channel.is_closed, channel.is_open) == (True, False)
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_publish("", "queue", b"body")
    for state, name in [
        (Channel.OPENING, "is_opening"),
        (Channel.OPEN, "is_open"),
        (Channel.CLOSING, "is_closing"),
        (Channel.CLOSED, "is_closed"),
    ]:
        channel._set_state(state)
        names = ("is_opening", "is_open", "is_closing", "is_closed")
        assert [each for each in names if getattr(channel, each)] == [name]
    with pytest.raises(exceptions.InvalidChannelNumber):
        Channel(connection, None, None)


def test_opening_and_closing(connection: Any) -> None:
    channel = Channel(connection, 1, None)
    channel.open()
    assert channel.is_opening and sent(connection) == [(1, spec.Channel.Open(), None)]
    channel._set_state(Channel.OPEN)
    connection.reset_mock()
    channel.basic_ack(1)
    channel._set_state(Channel.CLOSING)
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_ack(2)
    assert sent(connection) == [(1, spec.Basic.Ack(1), None)]


def test_what_basic_operations_send(connection: Any, channel: Channel) -> None:
    properties = pika.BasicProperties(headers={"a": 1})
    channel.basic_publish("exchange", "key", "body")
    channel.basic_publish("exchange", "key", b"body", properties, True)
    channel.basic_ack(1)
    channel.basic_nack(2, True, False)
    channel.basic_reject(3, requeue=False)
    channel.basic_get("queue", mock.Mock())
    assert sent(connection) == [
        (1, spec.Basic.Publish(exchange="exchange", routing_key="key"), (pika.BasicProperties(), b"body")),
        (1, spec.Basic.Publish(exchange="exchange", routing_key="key", mandatory=True), (properties, b"body")),
        (1, spec.Basic.Ack(1, False), None),
        (1, spec.Basic.Nack(2, True, False), None),
        (1, spec.Basic.Reject(3, False), None),
        (1, spec.Basic.Get(queue="queue"), None),
    ]


def test_send_method_is_patched_on_the_class(connection: Any, channel: Channel) -> None:
    with mock.patch("pika.channel.Channel._send_method") as send_method:
        channel.basic_publish("exchange", "key", "body")
        channel.basic_ack(1)
        channel.basic_get("queue", mock.Mock())
    publish = spec.Basic.Publish(exchange="exchange", routing_key="key")
    assert [tuple(call) for call in send_method.call_args_list] == [
        ((publish, (pika.BasicProperties(), b"body")), {}),
        ((spec.Basic.Ack(1),), {}),
        ((spec.Basic.Get(queue="queue"),), {}),
    ]
    assert sent(connection) == []


def test_methods_are_replaced_by_mocks(channel: Channel) -> None:
    with mock.patch("pika.spec.Basic.Publish") as publish, mock.patch.object(Channel, "_send_method") as send_method:
        channel.basic_publish("exchange", "key", "body")
        send_method.assert_called_once_with(publish.return_value, (pika.BasicProperties(), b"body"))
    callback = mock.Mock()
    with mock.patch("pika.spec.Basic.Get"):
        channel.basic_get("queue", callback)
    properties = pika.BasicProperties()
    method_frame: Any = frame.Method(1, spec.Basic.GetOk)  # a class, as it is done
    channel._on_getok(method_frame, frame.Header(1, 6, properties), "Hello!")  # type: ignore[arg-type]
    callback.assert_called_once_with(channel, spec.Basic.GetOk, properties, "Hello!")
    assert channel._on_getok_callback is None


def test_a_delivery_is_handed_in(channel: Channel) -> None:
    callback = mock.Mock()
    with mock.patch("pika.spec.Basic.Consume"):
        assert channel.basic_consume("queue", callback, consumer_tag="tag") == "tag"
    properties = pika.BasicProperties()
    method = spec.Basic.Deliver(consumer_tag="tag")
    channel._on_deliver(frame.Method(1, method), frame.Header(1, 6, properties), b"Hello!")
    callback.assert_called_once_with(channel, method, properties, b"Hello!")
    assert channel._consumers == {"tag": callback}


def test_a_delivery_for_a_cancelled_consumer_goes_back(connection: Any, channel: Channel) -> None:
    channel._cancelled.update({"acked", "unacked"})
    channel._consumers_with_noack.add("unacked")
    for tag in ("acked", "unacked", "unknown"):
        method_frame = frame.Method(1, spec.Basic.Deliver(consumer_tag=tag, delivery_tag=5))
        channel._on_deliver(method_frame, frame.Header(1, 1, pika.BasicProperties()), b"x")
    assert sent(connection) == [(1, spec.Basic.Reject(5, True), None)]


def test_a_return_is_handed_in(connection: Any, channel: Channel) -> None:
    method, properties = spec.Basic.Return(), pika.BasicProperties()
    channel._on_return(frame.Method(1, method), frame.Header(1, 1, properties), b"x")
    connection.callbacks.process.assert_called_once_with(1, "_on_return", channel, channel, method, properties, b"x")


def test_a_stand_in_without_anything() -> None:
    """It needs nothing of the connection before something is sent."""

    class StandIn:
        pass

    channel = Channel(StandIn(), 1, None)  # type: ignore[arg-type]
    channel._set_state(Channel.OPEN)
    returned: list[Any] = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    properties = pika.BasicProperties()
    channel._on_return(frame.Method(1, spec.Basic.Return()), frame.Header(1, 1, properties), b"x")
    assert returned == [(channel, spec.Basic.Return(), properties, b"x")]


def test_a_class_of_channels_that_makes_its_own_attributes() -> None:
    class Made(Channel):
        def __init__(self) -> None:
            self._consumers = {"tag": lambda *message: got.append(message)}
            self._consumers_with_noack = set()
            self._cancelled = set()
            self._on_getok_callback = lambda *message: got.append(message)

    got: list[Any] = []
    channel = Made()
    deliver, get_ok, properties = spec.Basic.Deliver("tag", 1), spec.Basic.GetOk(2), pika.BasicProperties()
    channel._on_deliver(frame.Method(1, deliver), frame.Header(1, 1, properties), b"x")
    channel._on_getok(frame.Method(1, get_ok), frame.Header(1, 1, properties), b"y")
    assert got == [(channel, deliver, properties, b"x"), (channel, get_ok, properties, b"y")]
