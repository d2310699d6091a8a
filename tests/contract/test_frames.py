"""Frames that are malformed, or come where they have no place."""

from __future__ import annotations

import struct
from typing import Callable

import pytest

from pika import frame, spec
from pika.amqp_object import Method
from tests.contract.profiles import Profile
from tests.contract.wire import Wire

PUBLISH = spec.Basic.Publish(0, "", "contract-nowhere")
NOT_A_METHOD = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
NOT_A_HEADER = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
NOT_A_BODY = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
RUNNING = "CHANNEL_ERROR - unexpected method in connection state running"


def header(size: int, class_id: int = 60, weight: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">HHQH", class_id, weight, size, flags)


@pytest.mark.parametrize("kind", [0, 4, 5, 9, 255])
@pytest.mark.parametrize("channel", [0, 1])
def test_unknown_frame_type(wire: Wire, kind: int, channel: int) -> None:
    wire.send_frame(kind, channel, b"abc")
    wire.expect_closed(501, f'FRAME_ERROR - type {kind}, all octets = <<"abc">>: unknown_frame')


def test_wrong_end_octet(wire: Wire) -> None:
    wire.send_frame(spec.FRAME_METHOD, 1, struct.pack(">HHB", 20, 20, 1), end=0)
    wire.expect_closed(501, "FRAME_ERROR - type 1, all octets = <<0,20,0,20,1>>: {invalid_frame_end_marker,0}")


def test_frame_larger_than_negotiated(new_wire: Callable[[], Wire]) -> None:
    wire = new_wire().connect(frame_max=10000)
    wire.open_channel()
    # The size alone is enough; nothing of the payload is sent.
    wire.send_bytes(struct.pack(">BHL", spec.FRAME_BODY, 1, 10001))
    wire.expect_closed(501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,10001,9992}")


def test_frame_as_large_as_negotiated(new_wire: Callable[[], Wire]) -> None:
    wire = new_wire().connect(frame_max=10000)
    wire.open_channel()
    queue = wire.declare_queue()
    body = b"x" * (10000 - frame.FRAME_OVERHEAD)
    wire.publish("", queue, body)
    wire.send(spec.Basic.Get(0, queue, no_ack=True))
    _, content = wire.expect_content(spec.Basic.GetOk)
    assert content.body == body


@pytest.mark.parametrize(("class_id", "method_id"), [(99, 10), (60, 999), (0, 0)])
@pytest.mark.parametrize("channel", [0, 1])
def test_unknown_method_ends_the_connection_without_a_word(
    wire: Wire, class_id: int, method_id: int, channel: int
) -> None:
    wire.send_frame(spec.FRAME_METHOD, channel, struct.pack(">HH", class_id, method_id))
    wire.expect_hangup()


@pytest.mark.parametrize(
    ("payload", "octets"), [(b"", "<<>>"), (b"\0", "<<0>>"), (b"\0\x3c\0", "<<0,60,0>>"), (b"ab", '<<"ab">>')]
)
def test_method_frame_without_a_method(wire: Wire, payload: bytes, octets: str) -> None:
    wire.send_frame(spec.FRAME_METHOD, 1, payload)
    wire.expect_closed(501, f"FRAME_ERROR - type 1, all octets = {octets}: unknown_frame")


def test_arguments_that_are_cut_off(wire: Wire) -> None:
    wire.send_frame(spec.FRAME_METHOD, 1, struct.pack(">HH", 50, 10) + b"\0")
    wire.expect_closed(501, "FRAME_ERROR - cannot decode <<0>>", spec.Queue.Declare)


def test_short_string_that_is_no_text(wire: Wire) -> None:
    wire.send_frame(spec.FRAME_METHOD, 1, struct.pack(">HHH", 50, 10, 0) + b"\x02\xff\xfe\x04\0\0\0\0")
    wire.expect_closed(501, "FRAME_ERROR - Malformed UTF-8 in shortstr")


@pytest.mark.parametrize(
    "method",
    [
        spec.Queue.DeclareOk("x", 0, 0),
        spec.Basic.Deliver("x", 1, False, "", ""),
        spec.Basic.GetEmpty(),
        spec.Channel.FlowOk(True),
        spec.Channel.OpenOk(),
        spec.Channel.CloseOk(),
        spec.Exchange.DeclareOk(),
        spec.Tx.SelectOk(),
        spec.Confirm.SelectOk(),
        spec.Connection.Close(200, "", 0, 0),
    ],
    ids=lambda method: method.NAME,
)
def test_method_that_a_client_does_not_send_on_a_channel(wire: Wire, method: Method) -> None:
    if isinstance(method, spec.Basic.Deliver):
        content = frame.encode_content(1, spec.BasicProperties(), b"", wire.frame_max)
        wire.send_bytes(b"".join([frame.encode_method(1, method), *content]))
    else:
        wire.send(method)
    wire.expect_closed(503, "COMMAND_INVALID - unimplemented method", type(method))


@pytest.mark.parametrize(
    "method",
    [spec.Channel.Open(), spec.Basic.Qos(), spec.Queue.Declare(), spec.Connection.CloseOk()],
    ids=lambda method: method.NAME,
)
def test_method_that_has_no_place_on_the_connection(wire: Wire, method: Method) -> None:
    wire.send(method, channel=0)
    wire.expect_closed(504, RUNNING, type(method))


def test_content_header_on_the_connection(wire: Wire) -> None:
    wire.send_frame(spec.FRAME_HEADER, 0, header(0))
    wire.expect_closed(505, "UNEXPECTED_FRAME - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,0,0,0>>")


def test_body_on_the_connection(wire: Wire) -> None:
    wire.send_frame(spec.FRAME_BODY, 0, b"abc")
    wire.expect_closed(505, 'UNEXPECTED_FRAME - type 3, all octets = <<"abc">>')


@pytest.mark.parametrize(("kind", "payload"), [(spec.FRAME_HEADER, header(0)), (spec.FRAME_BODY, b"x")])
def test_content_without_a_method(wire: Wire, kind: int, payload: bytes) -> None:
    wire.send_frame(kind, 1, payload)
    wire.expect_closed(505, NOT_A_METHOD)


def test_method_instead_of_the_header(wire: Wire) -> None:
    wire.send(PUBLISH, spec.Channel.Flow(True))
    wire.expect_closed(505, NOT_A_HEADER, spec.Basic.Publish)


def test_closing_the_channel_instead_of_the_header(wire: Wire) -> None:
    wire.send(PUBLISH, spec.Channel.Close(200, "", 0, 0))
    wire.expect_closed(505, NOT_A_HEADER, spec.Basic.Publish)


def test_closing_the_connection_instead_of_the_header(wire: Wire) -> None:
    wire.send(PUBLISH)
    wire.send(spec.Connection.Close(200, "", 0, 0), channel=0)
    wire.expect(spec.Connection.CloseOk, 0)


def test_body_instead_of_the_header(wire: Wire) -> None:
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_BODY, 1, b"x")
    wire.expect_closed(505, NOT_A_HEADER, spec.Basic.Publish)


def test_header_of_another_class(wire: Wire) -> None:
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_HEADER, 1, header(0, class_id=50))
    wire.expect_closed(
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        spec.Basic.Publish,
    )


def test_header_with_a_weight(wire: Wire) -> None:
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_HEADER, 1, header(0, weight=7))
    wire.expect_closed(505, NOT_A_HEADER, spec.Basic.Publish)


def test_header_twice(wire: Wire) -> None:
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_HEADER, 1, header(5))
    wire.send_frame(spec.FRAME_HEADER, 1, header(5))
    wire.expect_closed(505, NOT_A_BODY, spec.Basic.Publish)


def test_method_inside_the_body(wire: Wire) -> None:
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_HEADER, 1, header(5))
    wire.send_frame(spec.FRAME_BODY, 1, b"abc")
    wire.send(spec.Channel.Flow(True))
    wire.expect_closed(505, NOT_A_BODY, spec.Basic.Publish)


def test_body_that_goes_beyond_its_size(wire: Wire, profile: Profile) -> None:
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_HEADER, 1, header(5))
    wire.send_frame(spec.FRAME_BODY, 1, b"1234567")
    wire.send(spec.Channel.Flow(True))
    wire.expect_closed(*profile.body_beyond_size, spec.Basic.Publish)


def test_body_of_an_absurd_size(wire: Wire, profile: Profile) -> None:
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_HEADER, 1, header(1 << 40))
    maximum = profile.announced_body_maximum
    if maximum is None:
        wire.send(spec.Channel.Flow(True))
        wire.expect_closed(505, NOT_A_BODY, spec.Basic.Publish)
    else:
        text = f"FRAME_ERROR - content body size {1 << 40} exceeds maximum allowed size {maximum}"
        wire.expect_closed(501, text, spec.Basic.Publish)


def test_body_in_many_frames_with_empty_ones_between(wire: Wire) -> None:
    queue = wire.declare_queue()
    wire.send(spec.Basic.Publish(0, "", queue))
    wire.send_frame(spec.FRAME_HEADER, 1, header(6))
    for piece in (b"a", b"", b"bcd", b"", b"ef"):
        wire.send_frame(spec.FRAME_BODY, 1, piece)
    wire.send(spec.Basic.Get(0, queue, no_ack=True))
    _, content = wire.expect_content(spec.Basic.GetOk)
    assert content.body == b"abcdef"


def test_content_of_two_channels_interleaved(wire: Wire) -> None:
    wire.open_channel(2)
    queue = wire.declare_queue()
    for channel in (1, 2):
        wire.send(spec.Basic.Publish(0, "", queue), channel=channel)
    for channel in (2, 1):
        wire.send_frame(spec.FRAME_HEADER, channel, header(2))
    for channel, piece in ((1, b"a"), (2, b"x"), (2, b"y")):
        wire.send_frame(spec.FRAME_BODY, channel, piece)
    wire.send(spec.Channel.Flow(True), channel=2)
    wire.expect(spec.Channel.FlowOk, 2)
    wire.send_frame(spec.FRAME_BODY, 1, b"b")
    bodies = []
    for _ in range(2):
        wire.send(spec.Basic.Get(0, queue, no_ack=True))
        bodies.append(wire.expect_content(spec.Basic.GetOk)[1].body)
    assert bodies == [b"xy", b"ab"]


def test_frames_cut_into_single_octets(wire: Wire) -> None:
    queue = wire.declare_queue()
    method = frame.encode_method(1, spec.Basic.Publish(0, "", queue))
    content = frame.encode_content(1, spec.BasicProperties(type="t"), b"body", wire.frame_max)
    for octet in b"".join([method, *content]):
        wire.send_bytes(bytes((octet,)))
    wire.send(spec.Basic.Get(0, queue, no_ack=True))
    _, received = wire.expect_content(spec.Basic.GetOk)
    assert (received.properties.type, received.body) == ("t", b"body")


def test_properties_that_are_cut_off(wire: Wire) -> None:
    # The broker decodes the properties when it has to look into them, and calls their fault its own.
    wire.send(PUBLISH)
    wire.send_frame(spec.FRAME_HEADER, 1, header(0, flags=0xFFFF))
    wire.send(spec.Channel.Flow(True))
    wire.expect_closed(541, "INTERNAL_ERROR")
