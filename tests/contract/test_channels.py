"""Opening and closing channels and connections, in every order."""

from __future__ import annotations

from typing import Callable

import pytest

from pika import exceptions, spec
from pika.amqp_object import Method
from tests.contract.drivers import Channel, Connection
from tests.contract.refusals import channel_refused, connection_refused, no_queue
from tests.contract.wire import Wire

CLOSE = spec.Channel.Close(200, "", 0, 0)


def test_open_ok_is_empty(wire: Wire) -> None:
    wire.send(spec.Channel.Open(), channel=2)
    assert wire.expect(spec.Channel.OpenOk, 2).channel_id in ("", b"")


def test_second_open(wire: Wire) -> None:
    wire.send(spec.Channel.Open())
    wire.expect_closed(504, "CHANNEL_ERROR - second 'channel.open' seen", spec.Channel.Open)
    wire.expect_hangup()


@pytest.mark.parametrize(
    "method", [spec.Basic.Qos(), CLOSE, spec.Channel.CloseOk(), spec.Queue.Declare()], ids=lambda method: method.NAME
)
def test_use_before_open(wire: Wire, method: Method) -> None:
    wire.send(method, channel=7)
    wire.expect_closed(504, "CHANNEL_ERROR - expected 'channel.open'", type(method))


def test_use_after_close(wire: Wire) -> None:
    wire.send(CLOSE)
    wire.expect(spec.Channel.CloseOk)
    wire.send(spec.Channel.Flow(True))
    wire.expect_closed(504, "CHANNEL_ERROR - expected 'channel.open'", spec.Channel.Flow)


def test_number_is_free_again_after_close(wire: Wire) -> None:
    for _ in range(3):
        wire.send(CLOSE)
        wire.expect(spec.Channel.CloseOk)
        wire.open_channel()


def test_number_is_free_again_after_the_broker_closed_it(wire: Wire) -> None:
    for _ in range(3):
        wire.send(spec.Basic.Get(0, "contract-missing"))
        wire.expect_channel_closed(404, no_queue("contract-missing"), spec.Basic.Get)
        wire.open_channel()


def test_what_follows_a_failed_method_is_ignored(wire: Wire) -> None:
    wire.send(spec.Basic.Get(0, "contract-missing"), spec.Channel.Flow(True), spec.Queue.Declare(0, "", exclusive=True))
    wire.expect_channel_closed(404, no_queue("contract-missing"), spec.Basic.Get)
    wire.open_channel()
    wire.send(spec.Channel.Flow(True))
    assert wire.next().name == "Channel.FlowOk"


def test_publish_behind_a_failed_method_is_ignored(wire: Wire) -> None:
    wire.open_channel(2)
    queue = wire.declare_queue("", 2)
    wire.send(spec.Basic.Get(0, "contract-missing"))
    wire.publish("", queue, b"lost")
    wire.expect_channel_closed(404, no_queue("contract-missing"), spec.Basic.Get)
    wire.send(spec.Basic.Get(0, queue), channel=2)
    wire.expect(spec.Basic.GetEmpty, 2)


def test_both_sides_close_a_channel(wire: Wire) -> None:
    wire.send(spec.Basic.Get(0, "contract-missing"), CLOSE)
    assert wire.names(2) == ["Channel.Close", "Channel.CloseOk"]
    wire.send(spec.Channel.CloseOk())
    wire.open_channel()


def test_open_instead_of_close_ok(wire: Wire) -> None:
    # The number is not free before the broker's close is answered.
    wire.send(spec.Basic.Get(0, "contract-missing"))
    close = wire.expect(spec.Channel.Close)
    assert close.reply_code == 404
    wire.send(spec.Channel.Open())
    wire.expect_closed(504, "CHANNEL_ERROR - second 'channel.open' seen", spec.Channel.Open)


def test_connection_close_instead_of_close_ok(wire: Wire) -> None:
    wire.send(spec.Channel.Open())
    wire.expect(spec.Connection.Close, 0)
    wire.send(spec.Connection.Close(200, "", 0, 0), channel=0)
    wire.expect(spec.Connection.CloseOk, 0)


def test_what_comes_instead_of_close_ok_is_ignored(wire: Wire) -> None:
    wire.send(spec.Channel.Open())
    wire.expect(spec.Connection.Close, 0)
    wire.send(spec.Channel.Flow(True), spec.Queue.Declare(0, "", exclusive=True))
    wire.send(spec.Channel.Open(), channel=2)
    wire.send(spec.Connection.CloseOk(), channel=0)
    wire.expect_hangup()


def test_other_channels_outlive_a_failure(channel: Channel, other: Channel) -> None:
    with channel_refused(404, no_queue("contract-missing")):
        channel.basic_get("contract-missing")
    other.synchronize()


def test_a_channel_that_the_broker_closed_takes_no_more(channel: Channel) -> None:
    with channel_refused(404, no_queue("contract-missing")):
        channel.basic_get("contract-missing")
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.synchronize()


def test_a_channel_that_was_closed_takes_no_more(channel: Channel) -> None:
    channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.synchronize()


def test_close_waits_for_what_was_sent_before(channel: Channel, other: Channel) -> None:
    queue = other.queue_declare(exclusive=True).queue
    for number in range(50):
        channel.basic_publish("", queue, str(number).encode())
    channel.close()
    assert other.get_all(queue) == [str(number).encode() for number in range(50)]


def test_connection_close_waits_for_what_was_sent_before(
    connect: Callable[[], Connection], new_queue: Callable[[], str], channel: Channel
) -> None:
    queue = new_queue()
    publisher = connect()
    publishing = publisher.channel()
    for number in range(50):
        publishing.basic_publish("", queue, str(number).encode())
    publisher.close()
    assert channel.get_all(queue) == [str(number).encode() for number in range(50)]


def test_connection_close_with_open_channels(wire: Wire) -> None:
    for number in range(2, 6):
        wire.open_channel(number)
    wire.send(spec.Connection.Close(200, "", 0, 0), channel=0)
    wire.expect(spec.Connection.CloseOk, 0)


def test_what_follows_connection_close_is_ignored(wire: Wire) -> None:
    wire.send(spec.Connection.Close(200, "", 0, 0), channel=0)
    wire.send(spec.Channel.Flow(True))
    wire.expect(spec.Connection.CloseOk, 0)


def test_what_was_asked_before_connection_close_is_answered_before(wire: Wire) -> None:
    wire.send(*[spec.Queue.Declare(0, "", exclusive=True)] * 3)
    wire.send(spec.Channel.Flow(True))
    assert wire.names(4) == ["Queue.DeclareOk"] * 3 + ["Channel.FlowOk"]
    wire.send(spec.Connection.Close(200, "", 0, 0), channel=0)
    assert wire.names(1) == ["Connection.CloseOk"]


def test_a_connection_error_ends_every_channel(connection: Connection, channel: Channel, other: Channel) -> None:
    with connection_refused(540, "NOT_IMPLEMENTED - active=false"):
        channel.flow(False)
    with pytest.raises((exceptions.ChannelWrongStateError, exceptions.ConnectionWrongStateError)):
        other.synchronize()
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.channel()


def test_flow(channel: Channel) -> None:
    assert channel.flow(True) is True


def test_flow_stop_is_refused(wire: Wire) -> None:
    wire.send(spec.Channel.Flow(False))
    wire.expect_closed(540, "NOT_IMPLEMENTED - active=false", spec.Channel.Flow)


def test_access_request(wire: Wire) -> None:
    # What AMQP 0-8 had, and RabbitMQ still answers.
    wire.send(spec.Access.Request("/data"))
    assert wire.expect(spec.Access.RequestOk).ticket == 1


def test_many_channels(connection: Connection) -> None:
    channels = [connection.channel() for _ in range(200)]
    queue = channels[0].queue_declare(exclusive=True).queue
    for number, channel in enumerate(channels):
        channel.basic_publish("", queue, str(number).encode())
        channel.synchronize()
    assert channels[-1].get_all(queue) == [str(number).encode() for number in range(200)]
    for channel in channels:
        channel.close()


def test_all_channels(new_wire: Callable[[], Wire]) -> None:
    wire = new_wire().connect()
    for number in range(1, 2048):
        wire.send(spec.Channel.Open(), channel=number)
    # Each channel answers for itself: the answers come in any order.
    answers = [wire.next() for _ in range(1, 2048)]
    assert {answer.name for answer in answers} == {"Channel.OpenOk"}
    assert sorted(answer.channel for answer in answers) == list(range(1, 2048))
    wire.send(spec.Channel.Open(), channel=2048)
    wire.expect_closed(
        530, "NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max (2047)"
    )
