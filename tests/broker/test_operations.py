"""What each operation does and what it refuses, in the words of RabbitMQ 3.10."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from pika import data, spec
from pika.broker.node import Node
from pika.broker.users import User
from pika.broker.vhost import VirtualHost
from tests.broker.peer import Peer, bodies, connected, exchange, make_node, precondition, queue, refusal

B, CH, Q, X = spec.Basic, spec.Channel, spec.Queue, spec.Exchange
P = spec.BasicProperties
IN = "in vhost '/'"
DEFAULT = (403, "ACCESS_REFUSED - operation not permitted on the default exchange")
LOCKED = (
    405,
    f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' {IN}. It could be originally declared "
    "on another connection or the exclusive property value does not match that of the original declaration.",
)
NO_QUEUE = (404, "NOT_FOUND - no previously declared queue")


@pytest.fixture
def peer() -> Peer:
    """A client; there are a queue q with a message, an exchange x, and a queue of somebody else's named mine."""
    peer = connected()
    connected(peer.node).call(queue("mine", exclusive=True))
    peer.call(queue("q"))
    peer.call(exchange("x"))
    peer.publish("", "q", b"1")
    # A channel on which nothing was declared.
    peer.send(1, CH.Close(200, "", 0, 0), CH.Open())
    return peer


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        (queue("nope", passive=True), (404, f"NOT_FOUND - no queue 'nope' {IN}")),
        (queue("", passive=True), (404, f"NOT_FOUND - no queue '' {IN}")),
        (queue("amq.x"), (403, "ACCESS_REFUSED - queue name 'amq.x' contains reserved prefix 'amq.*'")),
        (queue("amq.x", passive=True), (404, f"NOT_FOUND - no queue 'amq.x' {IN}")),
        (
            queue("q", durable=True),
            precondition(f"inequivalent arg 'durable' for queue 'q' {IN}: received 'true' but current is 'false'"),
        ),
        (
            queue("q", auto_delete=True),
            precondition(f"inequivalent arg 'auto_delete' for queue 'q' {IN}: received 'true' but current is 'false'"),
        ),
        (queue("mine"), LOCKED),
        (queue("mine", exclusive=True), LOCKED),
        (queue("mine", passive=True), LOCKED),
        (Q.Purge(queue="mine"), LOCKED),
        (Q.Delete(queue="mine"), LOCKED),
        (Q.Bind(queue="mine", exchange="x"), LOCKED),
        (B.Get(queue="mine"), LOCKED),
        (B.Consume(queue="mine"), LOCKED),
        (Q.Purge(queue=""), NO_QUEUE),
        (Q.Delete(queue=""), NO_QUEUE),
        (Q.Bind(queue="", exchange="x"), NO_QUEUE),
        (Q.Unbind(queue="", exchange="x"), NO_QUEUE),
        (B.Get(queue=""), NO_QUEUE),
        (B.Consume(queue=""), NO_QUEUE),
        (B.Get(queue="nope"), (404, f"NOT_FOUND - no queue 'nope' {IN}")),
        (B.Consume(queue="nope"), (404, f"NOT_FOUND - no queue 'nope' {IN}")),
        (Q.Purge(queue="nope"), (404, f"NOT_FOUND - no queue 'nope' {IN}")),
        (Q.Bind(queue="nope", exchange="x"), (404, f"NOT_FOUND - no queue 'nope' {IN}")),
        (Q.Bind(queue="nope", exchange="none"), (404, f"NOT_FOUND - no exchange 'none' {IN}")),
        (Q.Bind(queue="q", exchange=""), DEFAULT),
        (Q.Unbind(queue="q", exchange=""), DEFAULT),
        (Q.Delete(queue="q", if_empty=True), precondition(f"queue 'q' {IN} not empty")),
        (exchange("nope", passive=True), (404, f"NOT_FOUND - no exchange 'nope' {IN}")),
        (exchange("amq.x"), (403, "ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'")),
        (exchange(""), DEFAULT),
        (exchange("", passive=True), DEFAULT),
        (
            exchange("x", "fanout"),
            precondition(f"inequivalent arg 'type' for exchange 'x' {IN}: received 'fanout' but current is 'direct'"),
        ),
        (
            exchange("x", internal=True),
            precondition(f"inequivalent arg 'internal' for exchange 'x' {IN}: received 'true' but current is 'false'"),
        ),
        (
            exchange("x", arguments={"alternate-exchange": "a"}),
            precondition(
                f"inequivalent arg 'alternate-exchange' for exchange 'x' {IN}: "
                "received the value 'a' of type 'longstr' but current is none"
            ),
        ),
        (
            exchange("y", arguments={"alternate-exchange": 5}),
            precondition(f"invalid type 'signedint' for arg 'alternate-exchange' in exchange 'y' {IN}"),
        ),
        (X.Delete(exchange=""), DEFAULT),
        (
            X.Delete(exchange="amq.direct"),
            (403, f"ACCESS_REFUSED - deletion of system exchange 'amq.direct' {IN} not allowed"),
        ),
        (X.Bind(destination="x", source="nope"), (404, f"NOT_FOUND - no exchange 'nope' {IN}")),
        (X.Bind(destination="nope", source="x"), (404, f"NOT_FOUND - no exchange 'nope' {IN}")),
        (X.Bind(destination="", source="x"), DEFAULT),
        (X.Bind(destination="x", source=""), DEFAULT),
        (spec.Tx.Commit(), precondition("channel is not transactional")),
        (spec.Tx.Rollback(), precondition("channel is not transactional")),
        (
            B.Consume(queue="q", arguments={"x-priority": "a"}),
            precondition(f"invalid arg 'x-priority' for queue 'q' {IN}: \"expected integer, got longstr\""),
        ),
        (B.Consume(queue="amq.rabbitmq.reply-to"), precondition("reply consumer cannot acknowledge")),
        (B.Qos(5), (540, "NOT_IMPLEMENTED - prefetch_size!=0 (5)")),
        (B.Recover(False), (540, "NOT_IMPLEMENTED - requeue=false")),
        (B.RecoverAsync(False), (540, "NOT_IMPLEMENTED - requeue=false")),
        (CH.Flow(False), (540, "NOT_IMPLEMENTED - active=false")),
        (exchange("y", ""), (503, "COMMAND_INVALID - invalid exchange type ''")),
        (exchange("y", "x-random"), (503, "COMMAND_INVALID - unknown exchange type 'x-random'")),
    ],
)
def test_refusals(peer: Peer, method: Any, reply: tuple[int, str]) -> None:
    close = peer.call(method)
    assert refusal(close) == reply
    assert isinstance(close, spec.Connection.Close if reply[0] > 500 else CH.Close)
    assert close.class_id << 16 | close.method_id == method.INDEX


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        (queue("q"), Q.DeclareOk("q", 1, 0)),
        (queue("q", passive=True, durable=True), Q.DeclareOk("q", 1, 0)),
        (queue("n\r\new"), Q.DeclareOk("new", 0, 0)),
        (Q.Purge(queue="q"), Q.PurgeOk(1)),
        (Q.Delete(queue="q"), Q.DeleteOk(1)),
        (Q.Delete(queue="nope"), Q.DeleteOk(0)),
        (Q.Unbind(queue="nope", exchange="nope"), Q.UnbindOk()),
        (Q.Unbind(queue="mine", exchange="x"), Q.UnbindOk()),
        (exchange("x", passive=True), X.DeclareOk()),
        (exchange("x", arguments={"ignored": 1}), X.DeclareOk()),
        (exchange("amq.direct", durable=True), X.DeclareOk()),
        (X.Delete(exchange="nope"), X.DeleteOk()),
        (X.Delete(exchange="x", if_unused=True), X.DeleteOk()),
        (X.Unbind(destination="nope", source="x"), X.UnbindOk()),
        (B.Cancel("unknown"), B.CancelOk("unknown")),
        (CH.Flow(True), CH.FlowOk(True)),
        (spec.Access.Request(), spec.Access.RequestOk(1)),
        (B.Recover(True), B.RecoverOk()),
    ],
)
def test_what_is_fine(peer: Peer, method: Any, reply: Any) -> None:
    assert peer.call(method) == reply


def test_no_reply_where_none_is_wanted(peer: Peer) -> None:
    assert peer.send(1, queue("new", nowait=True), Q.Bind(queue="new", exchange="x", nowait=True)) == []
    assert bodies(peer.send(1, B.Consume(queue="q", nowait=True))) == [b"1"]
    found = peer.send(1, spec.Confirm.Select(nowait=True), Q.Delete(queue="q", nowait=True))
    assert [type(method) for _, method in found] == [B.Cancel]


def test_declared_last(peer: Peer) -> None:
    name = peer.call(queue("")).queue
    assert name.startswith("amq.gen-")
    assert len(name) == 30
    peer.call(Q.Bind(queue="", exchange="x"))
    peer.publish("x", name, b"by its name")
    assert peer.call(B.Get(queue="")).body == b"by its name"
    assert refusal(peer.call(queue(name)))[0] == 403


# Arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"x-message-ttl": "abc"}, 'x-message-ttl\' for {}: "expected integer, got longstr"'),
        ({"x-message-ttl": 5.0}, 'x-message-ttl\' for {}: "expected integer, got double"'),
        ({"x-message-ttl": -1}, "x-message-ttl' for {}: {{value_negative,-1}}"),
        ({"x-message-ttl": 2**40}, "x-message-ttl' for {}: {{value_too_large,1099511627776}}"),
        ({"x-expires": 0}, "x-expires' for {}: {{value_zero,0}}"),
        ({"x-max-length": -1}, "x-max-length' for {}: {{value_negative,-1}}"),
        ({"x-overflow": "foo"}, "x-overflow' for {}: invalid_overflow"),
        ({"x-overflow": 5}, "x-overflow' for {}: {{unacceptable_type,signedint}}"),
        ({"x-queue-mode": "foo"}, "x-queue-mode' for {}: \"unsupported queue mode 'foo'\""),
        ({"x-queue-version": 3}, "x-queue-version' for {}: \"unsupported queue version '3'\""),
        ({"x-max-priority": 256}, "x-max-priority' for {}: {{max_value_exceeded,256}}"),
        ({"x-queue-type": "foo"}, "x-queue-type' for {}: \"unsupported queue type 'foo'\""),
        ({"x-single-active-consumer": "x"}, "x-single-active-consumer' for {}: {{unacceptable_type,longstr}}"),
        ({"x-dead-letter-routing-key": "k"}, "x-dead-letter-routing-key' for {}: routing_key_but_no_dlx_defined"),
        ({"x-delivery-limit": 1}, "x-delivery-limit' for {} of queue type rabbit_classic_queue"),
    ],
)
def test_arguments_that_are_refused(arguments: Any, fault: str) -> None:
    close = connected().call(queue("q", arguments=arguments))
    assert refusal(close) == precondition("invalid arg '" + fault.format(f"queue 'q' {IN}"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-dead-letter-exchange": 5}, "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' {}"),
        ({"x-queue-type": "quorum"}, "invalid property 'non-durable' for queue 'q' {}"),
    ],
)
def test_arguments_that_do_not_fit_the_queue(arguments: Any, text: str) -> None:
    assert refusal(connected().call(queue("q", arguments=arguments))) == precondition(text.format(IN))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "'5' of type 'signedint'"),
        (data.long(5), "'5' of type 'long'"),
        (5.0, "'5.0' of type 'double'"),
        (True, "'true' of type 'bool'"),
        ("x", "'x' of type 'longstr'"),
        (b"x", "'x' of type 'binary'"),
        (None, "'undefined' of type 'void'"),
        ([1, "a"], "'[{signedint,1},{longstr,<<\"a\">>}]' of type 'array'"),
        ({"a": 1}, "'[{<<\"a\">>,signedint,1}]' of type 'table'"),
        (Decimal("1.5"), "'{1,15}' of type 'decimal'"),
        (datetime(2020, 1, 1), "'1577836800' of type 'timestamp'"),
    ],
)
def test_arguments_are_shown_as_erlang_terms(peer: Peer, value: Any, shown: str) -> None:
    close = peer.call(queue("q", arguments={"x-message-ttl": value}))
    assert refusal(close) == precondition(
        f"inequivalent arg 'x-message-ttl' for queue 'q' {IN}: received the value {shown} but current is none"
    )


def test_equivalence_looks_at_values_not_types() -> None:
    peer = connected()
    peer.call(queue("q", arguments={"x-message-ttl": 60000, "x-queue-type": "classic"}))
    assert isinstance(peer.call(queue("q", arguments={"x-message-ttl": data.long(60000), "foo": 1})), Q.DeclareOk)
    assert refusal(peer.call(queue("q", arguments={"x-message-ttl": "a"}))) == precondition(
        f"inequivalent arg 'x-message-ttl' for queue 'q' {IN}: received 'a' but current is '60000'"
    )


# Exclusive, automatic deletion ---------------------------------------------------------------------------------


def test_an_exclusive_queue_is_its_connections_and_dies_with_it() -> None:
    peer = connected()
    peer.call(queue("e", exclusive=True, durable=True))
    assert isinstance(peer.call(queue("e", exclusive=True)), Q.DeclareOk)
    other = connected(peer.node)
    assert other.publish("", "e", b"from outside", mandatory=True) == []
    assert peer.call(B.Get(queue="e", no_ack=True)).body == b"from outside"
    peer.connection.lost()
    assert refusal(other.call(queue("e", passive=True)))[0] == 404


def test_automatic_deletion_goes_on_from_one_to_the_next() -> None:
    peer = connected()
    peer.call(exchange("a", auto_delete=True))
    peer.call(exchange("b", "topic", auto_delete=True))
    peer.call(queue("q", auto_delete=True))
    peer.call(X.Bind(destination="b", source="a"))
    peer.call(Q.Bind(queue="q", exchange="b", routing_key="#"))
    peer.call(B.Consume(queue="q", consumer_tag="t"))
    peer.call(B.Cancel("t"))
    vhost = peer.node.vhosts["/"]
    assert "q" not in vhost.queues
    assert not {"a", "b"} & set(vhost.exchanges)


def test_a_channel_takes_its_consumers_and_their_queues_along() -> None:
    peer = connected(None, 1, 2)
    peer.call(queue("q", auto_delete=True))
    peer.call(B.Consume(queue="q"), 2)
    assert refusal(peer.call(Q.Delete(queue="q", if_unused=True))) == precondition(f"queue 'q' {IN} in use")
    peer.send(1, CH.CloseOk(), CH.Open())
    peer.send(2, CH.Close(200, "", 0, 0))
    assert refusal(peer.call(queue("q", passive=True)))[0] == 404


def test_exclusive_consumers(peer: Peer) -> None:
    peer.call(Q.Purge(queue="q"))
    peer.call(B.Consume(queue="q", consumer_tag="only", exclusive=True))
    other = connected(peer.node)
    in_use = (403, f"ACCESS_REFUSED - queue 'q' {IN} in exclusive use")
    assert refusal(other.call(B.Consume(queue="q"))) == in_use
    peer.call(B.Cancel("only"))
    peer.call(B.Consume(queue="q", consumer_tag="shared"))
    other.send(1, CH.CloseOk(), CH.Open())
    assert refusal(other.call(B.Consume(queue="q", exclusive=True))) == in_use
    assert refusal(peer.call(B.Consume(queue="q", consumer_tag="shared"))) == (
        530,
        "NOT_ALLOWED - attempt to reuse consumer tag 'shared'",
    )


# Permissions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "kind", "name"),
    [
        (queue("x1"), "queue", "x1"),
        (Q.Bind(queue="c1", exchange="rx"), "queue", "c1"),
        (Q.Bind(queue="w1", exchange="x"), "exchange", "x"),
        (exchange("x"), "exchange", "x"),
        (X.Delete(exchange="x"), "exchange", "x"),
        (Q.Delete(queue="x"), "queue", "x"),
        (Q.Purge(queue="c1"), "queue", "c1"),
        (B.Get(queue="c1"), "queue", "c1"),
        (B.Consume(queue="c1"), "queue", "c1"),
        (X.Bind(destination="cx", source="amq.topic"), "exchange", "cx"),
        (queue("c2", arguments={"x-dead-letter-exchange": "wz"}), "queue", "c2"),
        (exchange("cy", arguments={"alternate-exchange": "wz"}), "exchange", "cy"),
    ],
)
def test_permissions(method: Any, kind: str, name: str) -> None:
    node = Node({"guest": User("guest", "^c.*", "^w.*", "^r.*")}, {"/": VirtualHost("/")})
    assert refusal(connected(node).call(method)) == (
        403,
        f"ACCESS_REFUSED - access to {kind} '{name}' {IN} refused for user 'guest'",
    )


@pytest.mark.parametrize(("target", "shown"), [("", "amq.default"), ("nope", "nope"), ("amq.topic", "amq.topic")])
def test_permission_to_publish(target: str, shown: str) -> None:
    node = Node({"guest": User("guest", write="^w.*")}, {"/": VirtualHost("/")})
    peer = connected(node)
    assert refusal(peer.publish(target, "c1", b"", P(user_id="other"))[0][1]) == (
        403,
        f"ACCESS_REFUSED - access to exchange '{shown}' {IN} refused for user 'guest'",
    )


def test_an_empty_pattern_permits_nothing() -> None:
    node = Node({"guest": User("guest", configure="")}, {"/": VirtualHost("/")})
    assert refusal(connected(node).call(queue("q")))[0] == 403


def test_texts_are_cut_to_what_a_close_has_room_for() -> None:
    close = connected(make_node()).call(queue("q" * 255, passive=True))
    assert len(close.reply_text) == 255
    assert close.reply_text.endswith("...")
