"""Connections: handshake, frames, channels and heartbeats, as RabbitMQ 3.10 has them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import data, frame, spec
from pika.broker.node import Node
from pika.broker.users import User
from pika.broker.vhost import VirtualHost
from tests.broker.peer import CAPABILITIES, Peer, bodies, connected, make_node, published, refusal

C, CH, B, Q = spec.Connection, spec.Channel, spec.Basic, spec.Queue
HEADER = frame.ProtocolHeader().marshal()


def raw(kind: int, number: int, payload: bytes, end: int = 206) -> bytes:
    return struct.pack(">BHL", kind, number, len(payload)) + payload + bytes((end,))


# Handshake -----------------------------------------------------------------------------------------------------


def test_the_handshake_offers_what_rabbitmq_offers() -> None:
    peer = Peer(Node({"guest": User("guest")}, {"/": VirtualHost("/")}, server_properties={"product": "pika.broker"}))
    (_, start), (_, tune), (_, open_ok) = peer.handshake()
    assert isinstance(start, C.Start)
    assert start.server_properties == {"product": "pika.broker"}
    assert (start.mechanisms, start.locales) == (b"PLAIN AMQPLAIN", b"en_US")
    assert tune == C.Tune(2047, 131072, 60)
    assert isinstance(open_ok, C.OpenOk)


@pytest.mark.parametrize("header", [b"AMQP\x00\x00\x09\x02", b"AMQP\x01\x01\x00\x0a", b"GET / HTTP/1.1\r\n"])
def test_another_protocol_is_told_the_right_one(header: bytes) -> None:
    peer = Peer(make_node())
    assert peer.feed(header) == [(0, repr(HEADER))]
    assert peer.connection.finished


def test_a_protocol_header_may_come_in_pieces() -> None:
    peer = Peer(make_node())
    assert peer.feed(HEADER[:3]) == []
    assert isinstance(peer.feed(HEADER[3:])[0][1], C.Start)


def test_amqplain() -> None:
    pieces: list[bytes] = []
    data.encode_table(pieces, {"LOGIN": "guest", "PASSWORD": "guest"})
    peer = Peer(make_node())
    peer.feed(HEADER)
    start_ok = C.StartOk({}, "AMQPLAIN", b"".join(pieces)[4:], "en_US")
    assert isinstance(peer.send(0, start_ok)[0][1], C.Tune)


@pytest.mark.parametrize(("user", "password"), [("guest", "wrong"), ("nobody", "guest"), ("nobody", "")])
def test_wrong_credentials_are_refused(user: str, password: str) -> None:
    peer = Peer(make_node())
    found = peer.handshake(user=user, password=password)
    assert refusal(found[-1][1]) == (
        403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
    )
    peer.send(0, C.CloseOk())
    assert peer.connection.finished


@pytest.mark.parametrize(
    ("mechanism", "response", "capabilities"),
    [
        ("PLAIN", "\0guest\0wrong", {}),
        ("PLAIN", "garbage", CAPABILITIES),
        ("FOO", "\0guest\0guest", CAPABILITIES),
        ("AMQPLAIN", b"\xff\xff", CAPABILITIES),
    ],
)
def test_a_client_that_is_not_to_be_told_is_hung_up_on(mechanism: str, response: Any, capabilities: Any) -> None:
    peer = Peer(make_node())
    peer.feed(HEADER)
    assert peer.send(0, C.StartOk({"capabilities": capabilities}, mechanism, response, "en_US")) == []
    assert peer.connection.finished


@pytest.mark.parametrize("tuned", [(0, 131072), (2048, 131072), (2047, 0), (2047, 4095), (2047, 131073)])
def test_a_tune_ok_beyond_what_was_offered_is_hung_up_on(tuned: tuple[int, int]) -> None:
    peer = Peer(make_node())
    peer.feed(HEADER)
    peer.send(0, C.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
    assert peer.send(0, C.TuneOk(*tuned, 0)) == []
    assert peer.connection.finished


@pytest.mark.parametrize(
    "method", [C.Open("/"), C.TuneOk(0, 0, 0), C.Close(200, "", 0, 0), CH.Open(), Q.Declare(queue="q")]
)
def test_methods_out_of_turn_are_hung_up_on(method: Any) -> None:
    peer = Peer(make_node())
    peer.feed(HEADER)
    assert peer.send(0, method) == []
    assert peer.connection.finished


@pytest.mark.parametrize(
    ("number", "method", "reply"),
    [
        (1, CH.Open(), (505, "UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>")),
        (0, C.Close(200, "", 0, 0), (504, "CHANNEL_ERROR - unexpected method in connection state opening")),
    ],
)
def test_a_client_that_opens_something_else_than_the_virtual_host(
    number: int, method: Any, reply: tuple[int, str]
) -> None:
    peer = Peer(make_node())
    peer.feed(HEADER)
    peer.send(0, C.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
    peer.send(0, C.TuneOk(2047, 131072, 0))
    assert refusal(peer.send(number, method)[0][1]) == reply


def test_virtual_hosts() -> None:
    users = {"guest": User("guest"), "alice": User("secret", vhosts=("a",))}
    node = Node(users, {"/": VirtualHost("/"), "a": VirtualHost("a")})
    assert refusal(Peer(node).handshake(vhost="b")[-1][1]) == (530, "NOT_ALLOWED - vhost b not found")
    assert refusal(Peer(node).handshake(user="alice", password="secret")[-1][1]) == (
        530,
        "NOT_ALLOWED - access to vhost '/' refused for user 'alice'",
    )
    assert isinstance(Peer(node).handshake(user="alice", password="secret", vhost="a")[-1][1], C.OpenOk)


def test_no_handshake_within_the_limit() -> None:
    peer = Peer(make_node(handshake=10))
    assert peer.connection.tick(9.9) == 10
    assert not peer.connection.finished
    peer.connection.tick(10)
    assert peer.connection.finished


# Heartbeats ----------------------------------------------------------------------------------------------------


def run_until(peer: Peer, end: float) -> None:
    """Let time pass as the server does: tick when it is due."""
    due = peer.connection.tick(peer.now)
    while due <= end and not peer.connection.finished:
        peer.now = due
        due = peer.connection.tick(due)
    if not peer.connection.finished:
        peer.now = end


def test_heartbeats_are_sent_when_nothing_else_is() -> None:
    peer = Peer(make_node())
    peer.handshake(heartbeat=10)
    run_until(peer, 4.9)
    assert peer.received() == []
    run_until(peer, 5)
    assert peer.received() == [(0, "heartbeat")]
    run_until(peer, 8)
    assert [type(method) for _, method in peer.send(1, spec.Channel.Open())] == [spec.Channel.OpenOk]
    run_until(peer, 12.9)
    assert peer.received() == []
    run_until(peer, 13)
    assert peer.received() == [(0, "heartbeat")]


@pytest.mark.parametrize(("last_sent", "death"), [(0, 30), (3, 30), (9, 30), (11, 40), (19, 40), (21, 50)])
def test_silence_between_three_looks_is_death(last_sent: float, death: float) -> None:
    """RabbitMQ looks at a client once in an interval, from connection.tune-ok on."""
    peer = Peer(make_node())
    peer.handshake(heartbeat=10)
    run_until(peer, last_sent)
    peer.feed(b"\x08")
    run_until(peer, 100)
    assert peer.connection.finished
    assert peer.now == death


def test_heartbeats_begin_before_the_connection_is_open() -> None:
    peer = Peer(make_node(handshake=100))
    peer.feed(frame.ProtocolHeader().marshal())
    peer.send(0, C.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), C.TuneOk(2047, 131072, 10))
    run_until(peer, 5)
    assert peer.received() == [(0, "heartbeat")]
    run_until(peer, 100)
    assert peer.connection.finished
    assert peer.now == 30


def test_no_heartbeats_were_wanted() -> None:
    peer = connected()
    assert peer.connection.tick(1e6) == float("inf")
    assert peer.received() == []
    assert not peer.connection.finished


# Frames --------------------------------------------------------------------------------------------------------

UNIMPLEMENTED = (503, "COMMAND_INVALID - unimplemented method")
UNEXPECTED = (504, "CHANNEL_ERROR - unexpected method in connection state running")
NO_METHOD = (505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead")
PUBLISH = frame.encode_method(1, B.Publish(0, "", "x"))
FIVE = frame.encode_header(1, 5, spec.BasicProperties())


@pytest.mark.parametrize(
    ("sent", "reply", "named"),
    [
        (raw(1, 1, b"\0\x32\0\x0a"), (501, "FRAME_ERROR - cannot decode <<>>"), (50, 10)),
        (raw(1, 1, b"\0\x32"), (501, "FRAME_ERROR - type 1, all octets = <<0,50>>: unknown_frame"), (0, 0)),
        (
            raw(1, 1, b"\0\x32\0\x0a", 205),
            (501, "FRAME_ERROR - type 1, all octets = <<0,50,0,10>>: {invalid_frame_end_marker,205}"),
            (0, 0),
        ),
        (raw(5, 1, b"\0\x32"), (501, "FRAME_ERROR - type 5, all octets = <<0,50>>: unknown_frame"), (0, 0)),
        (
            b"\x03\0\x01\0\x10\0\0xxx",
            (501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,1048576,131064}"),
            (0, 0),
        ),
        (raw(8, 1, b""), (505, "UNEXPECTED_FRAME - type 8, all octets = <<>>"), (0, 0)),
        (raw(3, 0, b"x"), (505, 'UNEXPECTED_FRAME - type 3, all octets = <<"x">>'), (0, 0)),
        (raw(3, 1, b"x"), NO_METHOD, (0, 0)),
        (raw(3, 9, b"x"), NO_METHOD, (0, 0)),
        (FIVE, NO_METHOD, (0, 0)),
        (raw(8, 0, b"abc"), (501, 'FRAME_ERROR - type 8, all octets = <<"abc">>: unknown_frame'), (0, 0)),
        (raw(1, 1, b"\0\x32\0\x0a\0\0\x01\xff\0\0\0\0\0"), (501, "FRAME_ERROR - Malformed UTF-8 in shortstr"), (0, 0)),
        (
            PUBLISH.replace(b"\x01x", b"\x01\xff") + raw(2, 1, b"\0\x3c" + bytes(12)),
            (501, "FRAME_ERROR - Malformed UTF-8 in shortstr"),
            (0, 0),
        ),
        (
            PUBLISH + raw(2, 1, b"\0\x3c\0\x07" + bytes(10)),
            (505, "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"),
            (60, 40),
        ),
        (frame.encode_method(1, CH.Open()), (504, "CHANNEL_ERROR - second 'channel.open' seen"), (20, 10)),
        (frame.encode_method(5, Q.Declare()), (504, "CHANNEL_ERROR - expected 'channel.open'"), (50, 10)),
        (published("", "x", number=5), (504, "CHANNEL_ERROR - expected 'channel.open'"), (60, 40)),
        (frame.encode_method(7, CH.CloseOk()), (504, "CHANNEL_ERROR - expected 'channel.open'"), (20, 41)),
        (frame.encode_method(1, CH.CloseOk()), UNIMPLEMENTED, (20, 41)),
        (frame.encode_method(1, CH.FlowOk(True)), UNIMPLEMENTED, (20, 21)),
        (frame.encode_method(1, C.Close(200, "", 0, 0)), UNIMPLEMENTED, (10, 50)),
        (frame.encode_method(1, Q.DeclareOk("a", 1, 1)), UNIMPLEMENTED, (50, 11)),
        (frame.encode_method(0, Q.Declare()), UNEXPECTED, (50, 10)),
        (frame.encode_method(0, C.Open("/")), UNEXPECTED, (10, 40)),
        (frame.encode_method(0, C.Tune(1, 5000, 5)), UNEXPECTED, (10, 30)),
        (
            PUBLISH + PUBLISH,
            (505, "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"),
            (60, 40),
        ),
        (
            PUBLISH + FIVE + PUBLISH,
            (505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead"),
            (60, 40),
        ),
        (
            PUBLISH + raw(2, 1, b"\0\x32" + bytes(12)),
            (505, "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead"),
            (60, 40),
        ),
        (
            PUBLISH + FIVE + raw(3, 1, b"sixsix") + PUBLISH,
            (505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead"),
            (60, 40),
        ),
        (PUBLISH + raw(2, 1, b"\0\x3c" + bytes(10) + b"\xff\xff"), (541, "INTERNAL_ERROR"), (0, 0)),
    ],
)
def test_frames_that_make_no_sense_close_the_connection(
    sent: bytes, reply: tuple[int, str], named: tuple[int, int]
) -> None:
    peer = connected()
    found = peer.feed(sent)
    assert len(found) == 1
    close = found[0][1]
    assert isinstance(close, C.Close)
    assert refusal(close) == reply
    assert (close.class_id, close.method_id) == named
    # Whatever follows means nothing any more, but for the answer.
    assert peer.send(1, Q.Declare(queue="late")) == []
    peer.send(0, C.CloseOk())
    assert peer.connection.finished
    assert "late" not in peer.node.vhosts["/"].queues


def test_a_client_that_never_answers_a_close_is_given_up() -> None:
    peer = connected()
    peer.send(5, Q.Declare())
    deadline = peer.connection.tick(0)
    peer.connection.tick(deadline)
    assert peer.connection.finished


@pytest.mark.parametrize("index", [b"\0\x63\0\x0a", b"\0\x3c\x03\xe7", bytes(4)])
@pytest.mark.parametrize("number", [0, 1])
def test_an_unknown_method_ends_the_connection_without_a_word(number: int, index: bytes) -> None:
    peer = connected()
    assert peer.feed(raw(1, number, index)) == []
    assert peer.connection.finished


@given(st.binary(max_size=300), st.booleans())
def test_no_garbage_is_too_much(garbage: bytes, opened: bool) -> None:
    peer = connected() if opened else Peer(make_node())
    peer.feed(garbage)
    peer.feed(garbage)
    assert peer.connection.tick(1000) >= 0
    peer.connection.lost()


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 8]), st.integers(0, 2), st.binary(max_size=30)), max_size=6),
    st.sampled_from(sorted(spec.methods)),
)
def test_no_frame_is_too_strange(frames: list[tuple[int, int, bytes]], index: int) -> None:
    peer = connected()
    peer.feed(b"".join(raw(kind, number, struct.pack(">L", index) + payload) for kind, number, payload in frames))
    peer.connection.lost()


@given(st.data())
def test_bytes_may_come_in_any_pieces(drawn: st.DataObject) -> None:
    stream = frame.encode_method(1, Q.Declare(queue="q")) + frame.encode_method(1, spec.Confirm.Select())
    expected = []
    for size in (0, 1, 5, 4088, 4089, 9000):
        body = bytes(size)
        expected.append(body)
        stream += published("", "q", body, spec.BasicProperties(headers={"n": size}), frame_max=4096)
    stream += frame.encode_method(1, B.Consume(queue="q", no_ack=True))
    cuts = sorted(drawn.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    peer = Peer(make_node())
    peer.handshake(frame_max=4096)
    peer.send(1, CH.Open())
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)]):
        found += peer.feed(stream[start:end])
    assert bodies(found) == expected
    acks = [method for _, method in found if isinstance(method, B.Ack)]
    assert acks[-1].delivery_tag == len(expected)


def test_a_message_beyond_the_limit_closes_its_channel_and_is_not_kept() -> None:
    peer = connected(make_node(max_message_size=100_000))
    peer.call(Q.Declare(queue="q"))
    found = peer.publish("", "q", bytes(200_000))
    assert refusal(found[-1][1]) == (
        406,
        "PRECONDITION_FAILED - message size 200000 is larger than configured max size 100000",
    )
    peer.send(1, CH.CloseOk(), CH.Open())
    assert peer.call(Q.Declare(queue="q", passive=True)).message_count == 0


# Closing -------------------------------------------------------------------------------------------------------


def test_a_client_closes_its_connection() -> None:
    peer = connected()
    assert peer.send(0, C.Close(200, "bye", 0, 0)) == [(0, C.CloseOk())]
    assert peer.connection.finished


def test_what_was_sent_before_a_channel_close_arrived_is_ignored() -> None:
    peer = connected()
    found = peer.send(1, Q.Declare(queue="nope", passive=True), Q.Declare(queue="late"))
    assert [type(item) for _, item in found] == [CH.Close]
    assert peer.feed(published("nope", "x", b"body")) == []
    assert peer.send(1, CH.CloseOk(), CH.Open()) == [(1, CH.OpenOk(b""))]
    assert refusal(peer.call(Q.Declare(queue="late", passive=True)))[0] == 404
    # The number is not free before that close is answered.
    assert refusal(peer.call(CH.Open())) == (504, "CHANNEL_ERROR - second 'channel.open' seen")


def test_closes_that_cross_are_both_answered() -> None:
    peer = connected()
    found = peer.send(1, Q.Declare(queue="nope", passive=True), CH.Close(200, "", 0, 0), CH.CloseOk())
    assert [type(item) for _, item in found] == [CH.Close, CH.CloseOk]
    assert peer.send(1, CH.Open()) == [(1, CH.OpenOk(b""))]


def test_channels_are_counted_not_numbered() -> None:
    peer = Peer(make_node())
    peer.feed(HEADER)
    peer.send(0, C.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
    peer.send(0, C.TuneOk(2, 131072, 0), C.Open("/"))
    assert peer.send(1, CH.Open()) == [(1, CH.OpenOk(b""))]
    assert peer.send(7, CH.Open()) == [(7, CH.OpenOk(b""))]
    assert refusal(peer.send(3, CH.Open())[0][1]) == (
        530,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)",
    )


def test_a_new_secret_is_welcome() -> None:
    assert connected().send(0, C.UpdateSecret("secret", "because")) == [(0, C.UpdateSecretOk())]


def test_shutting_down() -> None:
    peer = connected()
    peer.connection.shut_down("shutdown", 0)
    assert refusal(peer.received()[0][1]) == (
        320,
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
    )
    assert peer.connection.finished
