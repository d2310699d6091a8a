"""Memory alarms: who is blocked, when, and what still works. RabbitMQ has a node of its own here, for others' peace."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Callable, NamedTuple

import pytest

from pika import frame, spec
from pika.broker import Broker
from tests.contract.conftest import Contractor
from tests.contract.wire import Hangup, RawFrame, Wire
from tests.support.bounded import PATIENCE
from tests.support.rabbitmq import RabbitMQ

HEARTBEAT = RawFrame(spec.FRAME_HEARTBEAT, 0, b"")
# How long is waited for what must not come.
_QUIET = 0.3


class Alarmed(NamedTuple):
    """A broker whose memory alarm can be raised and ended."""

    contractor: Contractor
    raise_alarm: Callable[[], None]
    end_alarm: Callable[[], None]


@pytest.fixture(scope="module", params=["embedded", pytest.param("own-node", marks=pytest.mark.rabbitmq)])
def alarmed(request: pytest.FixtureRequest) -> Iterator[Alarmed]:
    if request.param == "embedded":
        with Broker() as embedded:
            yield Alarmed(Contractor(embedded.url), embedded.block, embedded.unblock)
        return
    node: RabbitMQ = request.getfixturevalue("spare_rabbitmq")

    yield Alarmed(Contractor(node.url, node.ctl), node.raise_memory_alarm, node.end_memory_alarm)


@pytest.fixture
def broker(alarmed: Alarmed) -> Contractor:
    return alarmed.contractor


@pytest.fixture
def alarm(alarmed: Alarmed) -> Iterator[Alarmed]:
    yield alarmed
    alarmed.end_alarm()


def says_nothing(wire: Wire) -> bool:
    """Whether nothing but heartbeats comes for a while."""
    try:
        wire.next(_QUIET)
    except TimeoutError:
        return True
    return False


def has_been_read(wire: Wire) -> None:
    """Wait until the broker has read all that was sent."""
    wire.open_channel(9)


def expect_blocked(wire: Wire) -> None:
    assert wire.expect(spec.Connection.Blocked, 0).reason == "low on memory"


def message(queue: str, body: bytes) -> list[bytes]:
    """The frames of a message: method, content header, body frames."""
    content = frame.encode_content(1, spec.BasicProperties(), body, spec.FRAME_MIN_SIZE)
    data = b"".join([frame.encode_method(1, spec.Basic.Publish(0, "", queue)), *content])
    frames = []
    while data:
        size = int.from_bytes(data[3:7], "big") + 8
        frames.append(data[:size])
        data = data[size:]
    return frames


def test_a_connection_is_blocked_when_it_publishes_and_not_before(wire: Wire, alarm: Alarmed) -> None:
    wire.publish("", "nowhere")
    has_been_read(wire)
    for _ in range(2):
        alarm.raise_alarm()
        queue = wire.declare_queue()
        wire.publish("", queue, b"body")
        wire.send(spec.Queue.Delete(0, queue))
        expect_blocked(wire)
        assert says_nothing(wire)
        alarm.end_alarm()
        wire.expect(spec.Connection.Unblocked, 0)
        assert wire.expect(spec.Queue.DeleteOk).message_count == 1


def test_what_was_taken_when_it_is_blocked(new_wire: Callable[[], Wire], alarm: Alarmed) -> None:
    empty, whole, begun, beginning = (new_wire().connect() for _ in range(4))
    for wire in (empty, whole, begun, beginning):
        wire.open_channel()
        wire.send(spec.Confirm.Select())
        wire.expect(spec.Confirm.SelectOk)
    method, header, body = message("nowhere", b"body")
    begun.send_bytes(method + header)
    has_been_read(begun)
    alarm.raise_alarm()
    # The content header blocks, so a message without a body is taken, and one with a body waits for it...
    empty.publish("", "nowhere")
    expect_blocked(empty)
    empty.expect(spec.Basic.Ack)
    whole.publish("", "nowhere", b"body")
    expect_blocked(whole)
    # ...and a body frame blocks, too...
    begun.send_bytes(body)
    expect_blocked(begun)
    begun.expect(spec.Basic.Ack)
    # ...but a method does not.
    beginning.send_bytes(method)
    beginning.open_channel(2)
    beginning.send_bytes(header)
    expect_blocked(beginning)
    beginning.send_bytes(body)
    assert says_nothing(whole)
    assert says_nothing(beginning)
    alarm.end_alarm()
    for wire in (whole, beginning):
        wire.expect(spec.Connection.Unblocked, 0)
        wire.expect(spec.Basic.Ack)
    for wire in (empty, begun):
        wire.expect(spec.Connection.Unblocked, 0)
        assert says_nothing(wire)


def test_each_body_frame_of_a_message_counts(new_wire: Callable[[], Wire], alarm: Alarmed) -> None:
    wire = new_wire().connect(frame_max=spec.FRAME_MIN_SIZE)
    wire.open_channel()
    wire.send(spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    method, header, *bodies = message("nowhere", bytes(3 * spec.FRAME_MIN_SIZE))
    wire.send_bytes(method + header + bodies[0])
    has_been_read(wire)
    alarm.raise_alarm()
    assert says_nothing(wire)
    wire.send_bytes(b"".join(bodies[1:]))
    expect_blocked(wire)
    assert says_nothing(wire)
    alarm.end_alarm()
    wire.expect(spec.Connection.Unblocked, 0)
    wire.expect(spec.Basic.Ack)


def test_whoever_does_not_publish_is_not_told(wire: Wire, new_wire: Callable[[], Wire], alarm: Alarmed) -> None:
    queue = wire.declare_queue()
    for body in (b"first", b"second"):
        wire.publish("", queue, body)
    wire.send(spec.Basic.Qos(0, 1, False))
    wire.expect(spec.Basic.QosOk)
    alarm.raise_alarm()
    wire.send(spec.Basic.Consume(0, queue))
    wire.expect(spec.Basic.ConsumeOk)
    for body in (b"first", b"second"):
        method, content = wire.expect_content(spec.Basic.Deliver)
        assert content.body == body
        wire.send(spec.Basic.Ack(method.delivery_tag))
    new = new_wire().connect()
    new.open_channel()
    new.send(spec.Basic.Get(0, new.declare_queue()))
    new.expect(spec.Basic.GetEmpty)
    for connection in (wire, new):
        connection.send(spec.Connection.Close(200, "done", 0, 0), channel=0)
        connection.expect(spec.Connection.CloseOk, 0)


def test_a_blocked_connection_gets_deliveries_and_heartbeats_and_may_be_silent(
    wire: Wire, new_wire: Callable[[], Wire], alarm: Alarmed
) -> None:
    queue = "given-back"
    wire.send(spec.Queue.Declare(0, queue, auto_delete=True))
    wire.expect(spec.Queue.DeclareOk)
    wire.publish("", queue, b"for later")
    wire.send(spec.Basic.Get(0, queue))
    wire.expect_content(spec.Basic.GetOk)
    # Before it connects: to raise it may take longer than the broker waits for its heartbeats.
    alarm.raise_alarm()
    silent = new_wire().connect(heartbeat=1)
    silent.open_channel()
    silent.send(spec.Basic.Consume(0, queue, no_ack=True))
    silent.expect(spec.Basic.ConsumeOk)
    silent.publish("", "nowhere")
    expect_blocked(silent)
    for _ in range(8):
        assert silent.next_frame() == HEARTBEAT
    wire.send(spec.Basic.Reject(1, True))
    assert silent.expect_content(spec.Basic.Deliver)[1].body == b"for later"
    alarm.end_alarm()
    silent.expect(spec.Connection.Unblocked, 0)
    silent.open_channel(2)
    # From now on its silence counts again.
    with pytest.raises(Hangup):
        while True:
            assert silent.next_frame() == HEARTBEAT


def test_a_blocked_client_that_is_not_told(new_wire: Callable[[], Wire], alarm: Alarmed) -> None:
    wire = new_wire().connect(capabilities={})
    wire.open_channel()
    alarm.raise_alarm()
    wire.publish("", "nowhere", b"body")
    wire.send(spec.Queue.Declare(0, "", exclusive=True))
    assert says_nothing(wire)
    alarm.end_alarm()
    wire.expect(spec.Queue.DeclareOk)


def test_a_blocked_client_that_closes_is_answered_when_the_alarm_is_over(wire: Wire, alarm: Alarmed) -> None:
    alarm.raise_alarm()
    wire.publish("", "nowhere")
    expect_blocked(wire)
    wire.send(spec.Connection.Close(200, "done", 0, 0), channel=0)
    assert says_nothing(wire)
    alarm.end_alarm()
    wire.expect(spec.Connection.Unblocked, 0)
    wire.expect(spec.Connection.CloseOk, 0)


def _exists(wire: Wire, queue: str) -> bool:
    """Whether an exclusive queue of somebody else exists."""
    wire.open_channel(2)
    wire.send(spec.Queue.Declare(0, queue, passive=True), channel=2)
    close = wire.expect(spec.Channel.Close, 2)
    wire.send(spec.Channel.CloseOk(), channel=2)
    return bool(close.reply_code == spec.RESOURCE_LOCKED)


def _wait_until_gone(wire: Wire, queue: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while _exists(wire, queue):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("heartbeat", [0, 1])
def test_a_blocked_client_that_hangs_up(
    wire: Wire, new_wire: Callable[[], Wire], alarm: Alarmed, heartbeat: int
) -> None:
    alarm.raise_alarm()
    gone = new_wire().connect(heartbeat=heartbeat)
    gone.open_channel()
    queue = gone.declare_queue()
    gone.publish("", "nowhere")
    expect_blocked(gone)
    gone.disconnect()
    if not heartbeat:
        # Only what is sent to it shows that it is not there any more.
        assert says_nothing(wire)
        assert _exists(wire, queue)
        alarm.end_alarm()
    _wait_until_gone(wire, queue)


def test_a_publish_that_is_refused_blocks_all_the_same(new_wire: Callable[[], Wire], alarm: Alarmed) -> None:
    nowhere, closing, immediate = (new_wire().connect() for _ in range(3))
    for wire in (nowhere, closing, immediate):
        wire.open_channel()
    alarm.raise_alarm()
    text = "NOT_FOUND - no {} in vhost '/'"
    nowhere.publish("no-such-exchange", "")
    expect_blocked(nowhere)
    nowhere.expect_channel_closed(404, text.format("exchange 'no-such-exchange'"), spec.Basic.Publish)
    closing.send(spec.Queue.Declare(0, "no-such-queue", passive=True))
    closing.expect(spec.Channel.Close)
    closing.publish("", "")
    expect_blocked(closing)
    immediate.publish("", "", immediate=True)
    expect_blocked(immediate)
    immediate.expect_closed(540, "NOT_IMPLEMENTED - immediate=true", spec.Basic.Publish)
    immediate.expect_hangup()


def test_a_blocked_publisher_is_held_back(wire: Wire, alarm: Alarmed) -> None:
    alarm.raise_alarm()

    def publish() -> None:
        for _ in range(64):
            wire.publish("", "nowhere", bytes(1 << 20))

    publisher = threading.Thread(target=publish, daemon=True)
    publisher.start()
    expect_blocked(wire)
    publisher.join(1)
    assert publisher.is_alive()
    alarm.end_alarm()
    publisher.join(PATIENCE)
    assert not publisher.is_alive()
    wire.expect(spec.Connection.Unblocked, 0)
    wire.open_channel(2)
