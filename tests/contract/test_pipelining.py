"""What is sent without waiting, and in which order it is answered."""

from __future__ import annotations

from pika import spec
from tests.contract.refusals import no_queue
from tests.contract.wire import Wire


def test_declares_are_answered_in_order(wire: Wire) -> None:
    names = [f"contract-pipeline-{id(wire)}-{number}" for number in range(50)]
    wire.send(*[spec.Queue.Declare(0, name, exclusive=True) for name in names])
    assert [wire.expect(spec.Queue.DeclareOk).queue for _ in names] == names


def test_topology_is_answered_in_order(wire: Wire) -> None:
    exchange = f"contract-pipeline-{id(wire)}"
    wire.send(
        spec.Exchange.Declare(0, exchange, "fanout", auto_delete=True),
        spec.Queue.Declare(0, "", exclusive=True),
        spec.Queue.Bind(0, "", exchange),
        spec.Exchange.Bind(0, "amq.fanout", exchange),
        spec.Queue.Purge(0, ""),
        spec.Exchange.Unbind(0, "amq.fanout", exchange),
        spec.Queue.Unbind(0, "", exchange),
        spec.Queue.Delete(0, ""),
        spec.Exchange.Delete(0, exchange),
    )
    assert wire.names(9) == [
        "Exchange.DeclareOk",
        "Queue.DeclareOk",
        "Queue.BindOk",
        "Exchange.BindOk",
        "Queue.PurgeOk",
        "Exchange.UnbindOk",
        "Queue.UnbindOk",
        "Queue.DeleteOk",
        "Exchange.DeleteOk",
    ]


def test_without_answers(wire: Wire) -> None:
    exchange = f"contract-pipeline-{id(wire)}"
    queue = exchange
    wire.send(
        spec.Exchange.Declare(0, exchange, "fanout", auto_delete=True, nowait=True),
        spec.Queue.Declare(0, queue, exclusive=True, nowait=True),
        spec.Queue.Bind(0, queue, exchange, nowait=True),
        spec.Exchange.Bind(0, "amq.fanout", exchange, "key", nowait=True),
    )
    wire.publish(exchange, "key", b"x")
    wire.send(spec.Basic.Get(0, queue, no_ack=True))
    assert wire.expect_content(spec.Basic.GetOk)[1].body == b"x"
    wire.send(
        spec.Exchange.Unbind(0, "amq.fanout", exchange, "key", nowait=True),
        spec.Queue.Purge(0, queue, nowait=True),
        spec.Queue.Delete(0, queue, nowait=True),
        spec.Exchange.Delete(0, exchange, nowait=True),
        spec.Channel.Flow(True),
    )
    assert wire.names(1) == ["Channel.FlowOk"]


def test_failure_without_an_answer(wire: Wire) -> None:
    wire.send(spec.Queue.Purge(0, "contract-missing", nowait=True), spec.Channel.Flow(True))
    wire.expect_channel_closed(404, no_queue("contract-missing"), spec.Queue.Purge)


def test_what_came_before_a_failure_is_answered(wire: Wire) -> None:
    wire.send(
        spec.Queue.Declare(0, "", exclusive=True),
        spec.Queue.Bind(0, "", "amq.fanout"),
        spec.Queue.Declare(0, "contract-missing", passive=True),
        spec.Queue.Delete(0, ""),
    )
    assert wire.names(2) == ["Queue.DeclareOk", "Queue.BindOk"]
    wire.expect_channel_closed(404, no_queue("contract-missing"), spec.Queue.Declare)


def test_gets_are_answered_in_order(wire: Wire) -> None:
    queue = wire.declare_queue()
    for number in range(10):
        wire.publish("", queue, str(number).encode())
    wire.send(*[spec.Basic.Get(0, queue, no_ack=True)] * 11)
    bodies = [wire.expect_content(spec.Basic.GetOk)[1].body for _ in range(10)]
    assert bodies == [str(number).encode() for number in range(10)]
    wire.expect(spec.Basic.GetEmpty)


def test_deliveries_come_between_answers(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Basic.Consume(0, queue, "tag", no_ack=True))
    wire.expect(spec.Basic.ConsumeOk)
    for number in range(20):
        wire.publish("", queue, str(number).encode())
        wire.send(spec.Queue.Declare(0, queue, passive=True))
    deliveries: list[bytes] = []
    answers = 0
    while len(deliveries) + answers < 40:
        received = wire.next()
        if received.content is None:
            assert received.name == "Queue.DeclareOk"
            answers += 1
        else:
            deliveries.append(received.content.body)
    assert answers == 20
    assert deliveries == [str(number).encode() for number in range(20)]


def test_confirms_come_between_deliveries_and_answers(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    wire.send(spec.Basic.Consume(0, queue, "tag", no_ack=True))
    wire.expect(spec.Basic.ConsumeOk)
    for _ in range(20):
        wire.publish("", queue, b"x")
    wire.send(spec.Channel.Flow(True))
    settled: set[int] = set()
    delivered, flowed = 0, False
    while len(settled) < 20 or delivered < 20 or not flowed:
        received = wire.next()
        if received.name == "Basic.Ack":
            tag = received.method.delivery_tag
            settled |= set(range(1, tag + 1)) if received.method.multiple else {tag}
        elif received.name == "Basic.Deliver":
            delivered += 1
            assert received.method.delivery_tag == delivered
        else:
            assert received.name == "Channel.FlowOk"
            flowed = True
    assert settled == set(range(1, 21))


def test_large_delivery_is_not_torn_apart(wire: Wire) -> None:
    # Its frames come one behind the other on their channel, whatever happens on others.
    wire.open_channel(2)
    queue = wire.declare_queue()
    body = b"x" * (1 << 20)
    wire.send(spec.Basic.Consume(0, queue, "tag", no_ack=True))
    wire.expect(spec.Basic.ConsumeOk)
    wire.publish("", queue, body, channel=2)
    wire.send(*[spec.Channel.Flow(True)] * 50, channel=2)
    kinds: list[int] = []
    size = answers = 0
    while size < len(body) or answers < 50:
        received = wire.next_frame()
        if received.channel == 2:
            answers += 1
            continue
        kinds.append(received.kind)
        if received.kind == spec.FRAME_BODY:
            size += len(received.payload)
    assert kinds == [spec.FRAME_METHOD, spec.FRAME_HEADER] + [spec.FRAME_BODY] * (len(kinds) - 2)
    assert size == len(body)
