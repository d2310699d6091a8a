"""What becomes of published messages: routes, confirms, copies, direct replies, transactions."""

from __future__ import annotations

import pytest

from pika import spec
from tests.broker.peer import (
    Content,
    bodies,
    connected,
    exchange,
    precondition,
    published,
    queue,
    refusal,
)

B, CH, Q, X = spec.Basic, spec.Channel, spec.Queue, spec.Exchange
P = spec.BasicProperties
IN = "in vhost '/'"


def test_confirms_come_behind_returns_and_many_at_once() -> None:
    peer = connected()
    peer.call(queue("q"))
    peer.call(spec.Confirm.Select())
    found = peer.publish("", "none", b"lost", mandatory=True)
    assert isinstance(found[0][1], Content)
    assert found[0][1].method == B.Return(312, "NO_ROUTE", "", "none")
    assert found[1:] == [(1, B.Ack(1, False))]
    assert peer.feed(published("", "q") * 49) == [(1, B.Ack(50, True))]
    # What was published before a refusal is confirmed before it.
    found = peer.feed(published("", "q") + published("nope", "q"))
    assert found[0] == (1, B.Ack(51, False))
    assert refusal(found[1][1]) == (404, f"NOT_FOUND - no exchange 'nope' {IN}")


def test_confirms_and_transactions_exclude_each_other() -> None:
    peer = connected(None, 1, 2)
    peer.call(spec.Confirm.Select())
    assert refusal(peer.call(spec.Tx.Select())) == precondition("cannot switch from confirm to tx mode")
    peer.call(spec.Tx.Select(), 2)
    assert refusal(peer.call(spec.Confirm.Select(), 2)) == precondition("cannot switch from tx to confirm mode")


def test_immediate_is_not_implemented() -> None:
    peer = connected()
    found = peer.send(1, B.Publish(0, "", "q", False, True))
    found += peer.feed(b"\x02\0\x01\0\0\0\x0e\0\x3c" + bytes(12) + b"\xce")
    assert refusal(found[0][1]) == (540, "NOT_IMPLEMENTED - immediate=true")


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (P(user_id="bob"), "user_id property set to 'bob' but authenticated user was 'guest'"),
        (P(expiration="abc"), "invalid expiration 'abc': no_integer"),
        (P(expiration=""), "invalid expiration '': no_integer"),
        (P(expiration="-1"), "invalid expiration '-1': {value_negative,-1}"),
        (P(expiration="5.5"), "invalid expiration '5.5': {leftover_string,\".5\"}"),
        (P(expiration="99999999999999"), "invalid expiration '99999999999999': {value_too_large,99999999999999}"),
        (P(delivery_mode=3), "invalid message: {delivery_mode_unknown,3}"),
        (P(headers={"CC": "q"}), 'invalid message: {unacceptable_type_in_header,"CC",longstr}'),
        (P(headers={"BCC": 5}), 'invalid message: {unacceptable_type_in_header,"BCC",signedint}'),
        (P(reply_to="amq.rabbitmq.reply-to"), "fast reply consumer does not exist"),
    ],
)
def test_properties_that_are_refused(properties: spec.BasicProperties, text: str) -> None:
    peer = connected()
    peer.call(queue("q"))
    for _ in range(2):
        assert refusal(peer.publish("", "q", b"", properties)[0][1]) == precondition(text)
        peer.send(1, CH.CloseOk(), CH.Open())


def test_properties_travel_as_they_came() -> None:
    peer = connected()
    peer.call(queue("q"))
    everything = P(
        "text/plain", "utf-8", {"a": [1, {"b": None}]}, 2, 9, "c", "r", "60000", "m", 12345, "t", "guest", "a", "k"
    )
    peer.publish("", "q", b"body", everything)
    assert peer.call(B.Get(queue="q")).properties == everything


def test_copies() -> None:
    peer = connected()
    for name in "abc":
        peer.call(queue(name))
    headers = {"CC": ["b", "a"], "BCC": ["c"], "other": 1}
    assert peer.publish("", "none", b"x", P(headers=headers), mandatory=True) == []
    for name in "abc":
        got = peer.call(B.Get(queue=name))
        assert got.properties.headers == {"CC": ["b", "a"], "other": 1}
        assert (got.method.routing_key, got.method.message_count) == ("none", 0)


def test_internal_exchanges_take_messages_from_others_only() -> None:
    peer = connected()
    peer.call(exchange("in", internal=True))
    peer.call(queue("q"))
    peer.call(Q.Bind(queue="q", exchange="in", routing_key="k"))
    peer.call(X.Bind(destination="in", source="amq.fanout"))
    assert peer.publish("amq.fanout", "k", b"x", mandatory=True) == []
    assert peer.call(B.Get(queue="q")).body == b"x"
    assert refusal(peer.publish("in", "k")[0][1]) == (
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange 'in' {IN}",
    )


def test_exchanges_bound_in_a_circle() -> None:
    peer = connected()
    peer.call(queue("q"))
    for name, kind in (("a", "topic"), ("b", "direct"), ("c", "headers")):
        peer.call(exchange(name, kind))
    peer.call(X.Bind(destination="b", source="a", routing_key="a.#"))
    peer.call(X.Bind(destination="c", source="b", routing_key="a.b"))
    peer.call(X.Bind(destination="a", source="c", arguments={"h": "1"}))
    peer.call(Q.Bind(queue="q", exchange="c", arguments={"h": "1"}))
    for _ in range(2):
        assert peer.publish("a", "a.b", b"yes", P(headers={"h": "1"}), mandatory=True) == []
        assert bodies(peer.publish("a", "a.b", b"no", mandatory=True)) == [b"no"]
    assert peer.call(queue("q", passive=True)).message_count == 2


def test_alternate_exchanges() -> None:
    peer = connected()
    peer.call(exchange("main", arguments={"alternate-exchange": "rest"}))
    assert bodies(peer.publish("main", "k", b"x", mandatory=True)) == [b"x"]
    peer.call(exchange("rest", "fanout"))
    peer.call(queue("q"))
    peer.call(Q.Bind(queue="q", exchange="rest"))
    assert peer.publish("main", "k", b"y", mandatory=True) == []
    got = peer.call(B.Get(queue="q"))
    assert (got.body, got.method.exchange) == (b"y", "main")


def test_what_was_learned_of_a_route_does_not_outlive_it() -> None:
    peer = connected()
    for _ in range(3):
        peer.call(queue("q"))
        assert peer.publish("", "q", mandatory=True) == []
        peer.call(Q.Bind(queue="q", exchange="amq.direct", routing_key="k"))
        assert peer.publish("amq.direct", "k", mandatory=True) == []
        peer.call(Q.Unbind(queue="q", exchange="amq.direct", routing_key="k"))
        assert bodies(peer.publish("amq.direct", "k", b"x", mandatory=True)) == [b"x"]
        assert peer.call(Q.Delete(queue="q")).message_count == 2
        assert bodies(peer.publish("", "q", b"y", mandatory=True)) == [b"y"]


def test_direct_replies() -> None:
    client = connected(None, 1)
    server = connected(client.node)
    server.call(queue("work"))
    reply_to = "amq.rabbitmq.reply-to"
    client.call(B.Consume(queue=reply_to, consumer_tag="replies", no_ack=True))
    client.publish("", "work", b"question", P(reply_to=reply_to))
    name = server.call(B.Get(queue="work", no_ack=True)).properties.reply_to
    assert name.startswith(f"{reply_to}.")
    assert server.call(queue(name, passive=True)) == Q.DeclareOk(name, 0, 1)
    server.publish("", name, b"answer")
    ((number, delivery),) = client.received()
    assert isinstance(delivery, Content)
    assert delivery.method == B.Deliver("replies", 1, False, "", name)
    assert (number, delivery.body) == (1, b"answer")
    client.call(B.Cancel("replies"))
    assert bodies(server.publish("", name, b"late", mandatory=True)) == [b"late"]
    assert client.received() == []
    assert refusal(server.call(queue(name, passive=True)))[0] == 404


def test_a_transaction_publishes_and_settles_when_it_is_committed() -> None:
    peer = connected()
    peer.call(queue("q"))
    peer.publish("", "q", b"0")
    peer.call(spec.Tx.Select())
    peer.call(B.Get(queue="q"))
    assert peer.send(1, B.Ack(1)) == []
    assert peer.publish("", "q", b"1") == []
    assert peer.publish("", "none", b"2", mandatory=True) == []
    assert peer.call(queue("q", passive=True)).message_count == 0
    found = peer.send(1, spec.Tx.Commit())
    assert bodies(found[:1]) == [b"2"]
    assert found[1] == (1, spec.Tx.CommitOk())
    assert peer.call(queue("q", passive=True)).message_count == 1
    assert refusal(peer.call(B.Ack(1))) == precondition("unknown delivery tag 1")


def test_a_transaction_that_is_rolled_back_did_nothing() -> None:
    peer = connected()
    peer.call(queue("q"))
    peer.publish("", "q", b"0")
    peer.call(spec.Tx.Select())
    peer.call(B.Get(queue="q"))
    peer.send(1, B.Ack(1))
    peer.publish("", "q", b"1")
    assert peer.call(spec.Tx.Rollback()) == spec.Tx.RollbackOk()
    assert peer.send(1, B.Nack(1, False, True)) == []
    peer.call(spec.Tx.Commit())
    assert peer.call(B.Get(queue="q")).body == b"0"
    assert isinstance(peer.call(B.Get(queue="q")), B.GetEmpty)


def test_a_transaction_that_is_cut_short_settled_nothing() -> None:
    peer = connected()
    peer.call(queue("q"))
    peer.publish("", "q", b"0")
    peer.call(spec.Tx.Select())
    peer.call(B.Get(queue="q"))
    peer.send(1, B.Ack(1))
    assert refusal(peer.call(B.Ack(99)))[0] == 406
    peer.send(1, CH.CloseOk(), CH.Open())
    assert peer.call(B.Get(queue="q")).method.redelivered
