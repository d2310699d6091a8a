"""Replies: what waits its turn, which answer belongs to which question, and that each of them ends."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from pika import exceptions, protocol, spec
from pika.protocol import Channel, Reply, states
from tests.protocol.broker import Broker, connected, consume, content, method, open_channel

GET_OK = spec.Basic.GetOk(1, False, "", "key", 0)

#: Every operation that has a reply: how it is called, and the answer.
OPERATIONS: dict[str, tuple[Callable[[Channel], Reply[Any] | None], Any]] = {
    "Exchange.Declare": (lambda c: c.exchange_declare("e"), spec.Exchange.DeclareOk()),
    "Exchange.Delete": (lambda c: c.exchange_delete("e"), spec.Exchange.DeleteOk()),
    "Exchange.Bind": (lambda c: c.exchange_bind("d", "s"), spec.Exchange.BindOk()),
    "Exchange.Unbind": (lambda c: c.exchange_unbind("d", "s"), spec.Exchange.UnbindOk()),
    "Queue.Declare": (lambda c: c.queue_declare("q"), spec.Queue.DeclareOk("q", 0, 0)),
    "Queue.Bind": (lambda c: c.queue_bind("q", "e", arguments={"a": 1}), spec.Queue.BindOk()),
    "Queue.Unbind": (lambda c: c.queue_unbind("q", "e"), spec.Queue.UnbindOk()),
    "Queue.Purge": (lambda c: c.queue_purge("q"), spec.Queue.PurgeOk(3)),
    "Queue.Delete": (lambda c: c.queue_delete("q"), spec.Queue.DeleteOk(3)),
    "Basic.Qos": (lambda c: c.basic_qos(0, 1), spec.Basic.QosOk()),
    "Basic.Consume": (lambda c: c.basic_consume("q", "new"), spec.Basic.ConsumeOk("new")),
    "Basic.Cancel": (lambda c: c.basic_cancel("old"), spec.Basic.CancelOk("old")),
    "Basic.Get": (lambda c: c.basic_get("q"), spec.Basic.GetEmpty()),
    "Basic.Recover": (lambda c: c.basic_recover(True), spec.Basic.RecoverOk()),
    "Confirm.Select": (lambda c: c.confirm_select(), spec.Confirm.SelectOk()),
    "Tx.Select": (lambda c: c.tx_select(), spec.Tx.SelectOk()),
    "Tx.Commit": (lambda c: c.tx_commit(), spec.Tx.CommitOk()),
    "Tx.Rollback": (lambda c: c.tx_rollback(), spec.Tx.RollbackOk()),
    "Channel.Flow": (lambda c: c.flow(True), spec.Channel.FlowOk(True)),
}
PIPELINED = {kind.NAME for kind in states.PIPELINED}
HOLDS_ALL = {kind.NAME for kind in states.HOLDS_ALL}


@pytest.fixture
def broker() -> Broker:
    return connected()


def ask(channel: Channel, name: str) -> Reply[Any]:
    reply = OPERATIONS[name][0](channel)
    assert reply is not None
    return reply


def answer(broker: Broker, channel: Channel, name: str) -> list[protocol.Event]:
    return broker.send(method(channel.number, OPERATIONS[name][1]))


def test_the_table_says_what_may_be_pipelined() -> None:
    assert {name for name in OPERATIONS if name.startswith(("Exchange.", "Queue."))} == PIPELINED
    assert {name for name in OPERATIONS if name.startswith("Tx.")} == HOLDS_ALL


@pytest.mark.parametrize("second", OPERATIONS)
@pytest.mark.parametrize("first", OPERATIONS)
def test_every_pair(broker: Broker, first: str, second: str) -> None:
    channel = open_channel(broker)
    consume(broker, channel, "old")
    if first == second == "Basic.Consume":
        replies = [ask(channel, first), channel.basic_consume("q", "other")]
        answers = [OPERATIONS[first][1], spec.Basic.ConsumeOk("other")]
    else:
        replies = [ask(channel, first), ask(channel, second)]
        answers = [OPERATIONS[first][1], OPERATIONS[second][1]]
    together = first in PIPELINED and second in PIPELINED
    assert broker.wire() == ([first, second] if together else [first])
    for reply, told in zip(replies, answers):
        assert reply is not None
        assert not reply.done
        assert broker.send(method(1, told)) == [protocol.Replied(channel, reply)]
        assert reply.result() == told
    assert broker.wire() == ([] if together else [second])
    assert channel.unanswered == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_has_no_reply_waits_only_behind_transactions(broker: Broker, name: str) -> None:
    channel = open_channel(broker)
    consume(broker, channel, "old")
    ask(channel, name)
    channel.basic_ack(1)
    channel.basic_nack(2)
    channel.basic_reject(3)
    channel.basic_publish("", "key", b"")
    free = ["Basic.Ack", "Basic.Nack", "Basic.Reject", "Basic.Publish", "Header"]
    assert broker.wire() == ([name] if name in HOLDS_ALL else [name, *free])
    answer(broker, channel, name)
    assert broker.wire() == (free if name in HOLDS_ALL else [])


def test_nothing_overtakes_what_waits(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.basic_qos(0, 1)
    channel.queue_declare("q")
    channel.basic_publish("", "q", b"")
    channel.queue_bind("q", "e")
    channel.basic_ack(1)
    assert channel.unanswered == 3
    assert broker.wire() == ["Basic.Qos"]
    answer(broker, channel, "Basic.Qos")
    assert broker.wire() == ["Queue.Declare", "Basic.Publish", "Header", "Queue.Bind", "Basic.Ack"]


def test_without_pipelining_one_is_outstanding(broker: Broker) -> None:
    channel = open_channel(broker)
    channel.pipelining = False
    channel.queue_declare("q")
    channel.queue_bind("q", "e")
    assert broker.wire() == ["Queue.Declare"]
    answer(broker, channel, "Queue.Declare")
    assert broker.wire() == ["Queue.Bind"]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.exchange_declare("e", nowait=True),
        lambda c: c.exchange_delete("e", nowait=True),
        lambda c: c.exchange_bind("d", "s", nowait=True),
        lambda c: c.exchange_unbind("d", "s", nowait=True),
        lambda c: c.queue_declare("q", nowait=True),
        lambda c: c.queue_bind("q", "e", nowait=True),
        lambda c: c.queue_purge("q", nowait=True),
        lambda c: c.queue_delete("q", nowait=True),
        lambda c: c.basic_consume("q", "new", nowait=True),
        lambda c: c.basic_cancel("old", nowait=True),
        lambda c: c.confirm_select(nowait=True),
    ],
)
def test_nowait_has_no_reply_and_keeps_the_order(broker: Broker, call: Callable[[Channel], Any]) -> None:
    channel = open_channel(broker)
    consume(broker, channel, "old")
    channel.basic_qos(0, 1)
    broker.frames()
    assert call(channel) is None
    assert channel.unanswered == 1
    assert broker.wire() == []
    answer(broker, channel, "Basic.Qos")
    (sent,) = broker.methods()
    assert sent.nowait is True
    assert channel.unanswered == 0
    ask(channel, "Tx.Select")
    assert broker.wire() == ["Tx.Select"]


def test_an_answer_goes_to_the_oldest_that_accepts_it(broker: Broker) -> None:
    channel = open_channel(broker)
    replies = [channel.queue_declare("a"), channel.queue_bind("a", "e"), channel.queue_declare("b")]
    order = [spec.Queue.DeclareOk("a", 0, 0), spec.Queue.DeclareOk("b", 0, 0), spec.Queue.BindOk()]
    events = broker.send(method(1, *order))
    assert [event.reply for event in events if isinstance(event, protocol.Replied)] == [
        replies[0],
        replies[2],
        replies[1],
    ]


@pytest.mark.parametrize("name", ["Basic.Consume", "Basic.Cancel"])
def test_an_answer_for_another_consumer_is_a_violation(broker: Broker, name: str) -> None:
    channel = open_channel(broker)
    consume(broker, channel, "old")
    reply = ask(channel, name)
    stranger = type(OPERATIONS[name][1])("stranger")
    (event,) = broker.send(method(1, stranger))
    assert isinstance(event, protocol.Closed)
    assert reply.error is event.error


def test_get_brings_the_message(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.basic_get("q")
    assert reply is not None
    properties = spec.BasicProperties(content_type="text/plain")
    assert broker.send(content(1, GET_OK, b"x" * 9000, properties)) == [protocol.Replied(channel, reply)]
    assert reply.result() == GET_OK
    assert reply.content == (properties, b"x" * 9000)


def test_get_of_an_empty_queue(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.basic_get("q")
    broker.send(method(1, spec.Basic.GetEmpty()))
    assert reply is not None
    assert isinstance(reply.result(), spec.Basic.GetEmpty)
    assert reply.content is None


def test_a_get_ok_that_nobody_asked_for_is_a_violation(broker: Broker) -> None:
    open_channel(broker)
    (event,) = broker.send(content(1, GET_OK, b"body"))
    assert isinstance(event, protocol.Closed)


def test_a_pending_reply_has_no_result(broker: Broker) -> None:
    channel = open_channel(broker)
    reply = channel.queue_declare("q")
    assert reply is not None
    assert repr(reply) == "<Reply to Queue.Declare: pending>"
    with pytest.raises(RuntimeError, match=r"Queue\.Declare has not been answered yet"):
        reply.result()
    answer(broker, channel, "Queue.Declare")
    assert "DeclareOk" in repr(reply)


def test_a_reply_tells_its_client_once(broker: Broker) -> None:
    channel = open_channel(broker)
    told: list[Reply[Any]] = []
    replies = [channel.queue_declare("a"), channel.basic_qos(0, 1)]
    for reply in replies:
        assert reply is not None
        reply.on_done = told.append
    answer(broker, channel, "Queue.Declare")
    assert told == replies[:1]
    broker.send(method(1, spec.Channel.Close(404, "NOT_FOUND", 0, 0)))
    assert told == replies
    assert "failed" in repr(replies[1])


def endings() -> dict[str, Callable[[Broker], Any]]:
    return {
        "channel": lambda b: b.send(method(1, spec.Channel.Close(406, "PRECONDITION_FAILED", 0, 0))),
        "connection": lambda b: b.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0))),
        "violation": lambda b: b.send(b"\x09\0\0\0\0\0\0"),
        "lost": lambda b: (b.connection.stream_lost(exceptions.StreamLostError("gone")), b.send()),
        "my close": lambda b: (b.connection.close(), b.send(method(0, spec.Connection.CloseOk()))),
        "dead": lambda b: (b.connection.tick(1000.0), b.send()),
    }


@pytest.mark.parametrize("ending", endings())
def test_everything_ends_with_a_reason(broker: Broker, ending: str) -> None:
    channel = open_channel(broker)
    channel.confirm_select(nowait=True)
    confirmation = protocol.Confirmation()
    channel.basic_publish("", "key", b"", confirmation=confirmation)
    replies: list[Any] = [channel.queue_declare("a"), channel.queue_declare("b")]
    replies.append(broker.connection.update_secret("s", "r"))
    if ending != "my close":
        replies += [channel.basic_qos(0, 1), channel.basic_consume("q", "tag"), channel.close()]
    ended: list[Any] = []
    for item in [*replies, confirmation]:
        item.on_done = ended.append
    endings()[ending](broker)
    if ending == "channel":
        (secret,) = (reply for reply in replies if not reply.done)
        assert isinstance(secret.request, spec.Connection.UpdateSecret)
        replies.remove(secret)
    assert all(reply.done and reply.error is not None for reply in replies)
    assert len(ended) == len(replies) + 1
    assert confirmation.outcome is protocol.Outcome.UNKNOWN
    assert confirmation.error is replies[0].error is channel.error
    assert channel.unanswered == 0
    assert channel.state is protocol.ChannelState.CLOSED


def test_thousands_may_be_unanswered(broker: Broker) -> None:
    channel = open_channel(broker)
    replies = [channel.queue_declare(f"q{number}") for number in range(20_000)]
    assert len(broker.methods()) == 20_000
    broker.send(method(1, spec.Queue.DeclareOk("q", 0, 0)) * 20_000)
    assert all(reply is not None and reply.done for reply in replies)
