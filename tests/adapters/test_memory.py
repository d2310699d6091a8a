"""What receiving costs in memory and in work, and that what is over is forgotten."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest

import pika
from pika import exceptions, frame, protocol, spec
from tests.support.bounded import eventually
from tests.support.encoding import method, raw_frame
from tests.support.memory import free_forgotten, traced
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import START, TUNE, Session, scripted_broker

MIB = 1 << 20
SIZE = 64 * MIB
FRAGMENT = 131_072 - 8


def stream_body(session: Session, number: int) -> None:
    """Send the frames of a body, without ever having it whole."""
    session.send(frame.encode_header(number, SIZE, spec.BasicProperties()))
    whole = raw_frame(spec.FRAME_BODY, number, bytes(FRAGMENT))
    for _ in range(SIZE // FRAGMENT):
        session.send(whole)
    rest = SIZE % FRAGMENT
    if rest:
        session.send(raw_frame(spec.FRAME_BODY, number, bytes(rest)))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["get", "consume"])
def test_receiving_a_large_body_takes_two_bodies_of_memory(how: str) -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        if how == "get":
            session.expect(spec.Basic.Get)
            session.send(method(number, spec.Basic.GetOk(1, False, "", "queue", 0)))
        else:
            _, tag = session.accept_consumer()
            session.send(method(number, spec.Basic.Deliver(tag, 1, False, "", "queue")))
        stream_body(session, number)
        session.close_politely()

    with scripted_broker(script) as peer:
        parameters = pika.ConnectionParameters(peer.host, peer.port)
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            with traced() as memory:
                body = channel.basic_get("queue")[2] if how == "get" else next(channel.consume("queue"))[2]
                peak = memory.get_traced_memory()[1]
            assert body is not None and len(body) == SIZE
            del body
            assert peak <= 2 * SIZE + 8 * MIB, f"{peak / MIB:.1f} MiB"


def opened() -> protocol.Connection:
    """A connection without I/O that is open, with a channel and a consumer."""
    connection = protocol.Connection(protocol.Settings(pika.PlainCredentials("guest", "guest")))
    connection.start(0)
    connection.receive_data(method(0, START, TUNE, spec.Connection.OpenOk()), 0)
    assert [type(event) for event in connection.events()] == [protocol.Opened]
    channel = connection.open_channel()
    channel.open()
    connection.receive_data(method(channel.number, spec.Channel.OpenOk()), 0)
    list(connection.events())
    channel.basic_consume("queue", "tag")
    connection.receive_data(method(channel.number, spec.Basic.ConsumeOk("tag")), 0)
    list(connection.events())
    return connection


def receive_byte_by_byte(size: int) -> None:
    """Receive a message byte by byte."""
    connection = opened()
    deliver = spec.Basic.Deliver("tag", 1, False, "", "queue")
    data = method(1, deliver) + b"".join(frame.encode_content(1, spec.BasicProperties(), bytes(size), 131_072))
    delivered: list[Any] = []
    for index in range(len(data)):
        connection.receive_data(data[index : index + 1], 0)
        delivered.extend(connection.events())
    (delivery,) = delivered
    assert type(delivery) is protocol.Delivery and len(delivery.body) == size


def calls_of(function: Any, *arguments: Any) -> int:
    """Return how many functions were called, those written in C included."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.slow
def test_receiving_byte_by_byte_is_linear() -> None:
    """Twice the bytes are twice the calls.

    A buffer that were joined anew for each byte would copy tens of gigabytes, and run into the time limit of tests.
    """
    small, large = (calls_of(receive_byte_by_byte, size) for size in (MIB // 2, MIB))
    assert large <= 2.05 * small


def test_bytes_that_arrive_one_by_one_are_kept_as_bytes() -> None:
    """An object for each would take fifty times their memory."""
    receive_byte_by_byte(1)
    with traced() as memory:
        receive_byte_by_byte(MIB // 8)
        peak = memory.get_traced_memory()[1]
    assert peak <= MIB


@pytest.mark.parametrize("ending", ["closed", "refused by the broker"])
def test_a_channel_that_is_over_is_forgotten(connection: pika.BlockingConnection, ending: str) -> None:
    """By a connection that lives on and never processes events."""
    channel = connection.channel()
    if ending == "closed":
        channel.close()
    else:
        with pytest.raises(exceptions.ChannelClosedByBroker):
            channel.queue_declare("nobody's", passive=True)
    reference = weakref.ref(channel)
    del channel
    gc.collect()
    # The thread that sends heartbeats may just be looking at it.
    eventually(lambda: reference() is None)
    assert connection.is_open


def test_a_connection_is_freed_when_it_is_dropped(broker: Broker) -> None:
    """Not only when garbage is collected: a program that connects often would grow between two collections."""
    gc.collect()
    gc.disable()
    try:
        connection = pika.BlockingConnection(broker.parameters())
        channel = connection.channel()
        channel.queue_declare("", exclusive=True)
        connection.close()
        references = [weakref.ref(part) for part in (connection, connection._impl, channel, channel._impl)]
        del connection, channel
        free_forgotten()
        # The thread that sends heartbeats may just be looking at them.
        eventually(lambda: [reference() for reference in references] == [None] * 4)
    finally:
        gc.enable()
