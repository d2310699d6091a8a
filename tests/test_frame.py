"""Frames: encoding, the incremental reader, and decoding one at a time."""

from __future__ import annotations

import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import exceptions, frame, spec
from tests import strategies

PROPERTIES = spec.BasicProperties(content_type="text/plain", headers={"a": [1, {"b": None}]})

RECORDED = [
    frame.Method(0, spec.Connection.Start(0, 9, {"product": "RabbitMQ"}, b"PLAIN", b"en_US")),
    frame.Heartbeat(),
    frame.Method(3, spec.Basic.Deliver("tag", 1, False, "exchange", "key")),
    frame.Header(3, 6, PROPERTIES),
    frame.Body(3, b"abc"),
    frame.Body(3, b""),
    frame.Body(3, b"\xce\xce\xce"),
    frame.Method(65535, spec.Channel.CloseOk()),
]
STREAM = b"".join(item.marshal() for item in RECORDED)


def take_all(reader: frame.FrameReader) -> list[tuple[int, int, bytes]]:
    found = []
    while True:
        item = reader.next_frame()
        if item is None:
            return found
        found.append(item)


def expected() -> list[tuple[int, int, bytes]]:
    return [(item.frame_type, item.channel_number, item.marshal()[7:-1]) for item in RECORDED]


def raw(frame_type: int, payload: bytes, number: int = 1, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHL", frame_type, number, len(payload)) + payload + end


# The reader


@pytest.mark.parametrize("split", range(len(STREAM) + 1))
def test_every_split_in_two_gives_the_same_frames(split: int) -> None:
    reader = frame.FrameReader()
    found = []
    for piece in (STREAM[:split], STREAM[split:]):
        reader.feed(piece)
        found += take_all(reader)
    assert found == expected()
    assert reader.buffered == 0


def test_byte_by_byte_gives_the_same_frames() -> None:
    reader = frame.FrameReader()
    found = []
    for index in range(len(STREAM)):
        reader.feed(STREAM[index : index + 1])
        found += take_all(reader)
    assert found == expected()


@given(st.lists(st.integers(0, len(STREAM)), max_size=20), st.booleans())
def test_any_split_gives_the_same_frames(cuts: list[int], take_between: bool) -> None:
    reader = frame.FrameReader()
    found = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in zip(edges, edges[1:]):
        reader.feed(STREAM[start:end])
        if take_between:
            found += take_all(reader)
    found += take_all(reader)
    assert found == expected()


@given(st.lists(st.binary(max_size=3000), max_size=8), st.sampled_from([b"", STREAM, STREAM[:40]]))
def test_any_bytes_give_frames_or_a_frame_error(pieces: list[bytes], beginning: bytes) -> None:
    reader = frame.FrameReader()
    arrived = taken = 0
    for piece in [beginning, *pieces]:
        reader.feed(piece)
        arrived += len(piece)
        try:
            for _, _, payload in take_all(reader):
                taken += len(payload) + frame.FRAME_OVERHEAD
        except exceptions.InvalidFrameError as error:
            assert str(error)
            return
        assert reader.buffered == arrived - taken


@pytest.mark.parametrize("size", [4089, 131072, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_frame_that_announces_too_much_is_refused_at_its_seventh_octet(size: int) -> None:
    reader = frame.FrameReader(max_frame_size=4096)
    prefix = struct.pack(">BHL", 1, 5, size)
    reader.feed(prefix[:6])
    assert reader.next_frame() is None
    reader.feed(prefix[6:])
    with pytest.raises(exceptions.InvalidFrameError, match=f"channel 5 announces {size:,} octets.*4,096"):
        reader.next_frame()
    assert reader.buffered == 7


def test_the_largest_frame_is_taken() -> None:
    reader = frame.FrameReader(max_frame_size=4096)
    largest = raw(3, b"x" * 4088)
    reader.feed(largest[:-1])
    assert reader.next_frame() is None
    reader.feed(largest[-1:])
    assert reader.next_frame() == (3, 1, b"x" * 4088)


def test_a_new_limit_holds_for_the_next_frame() -> None:
    reader = frame.FrameReader(max_frame_size=131072)
    reader.feed(raw(3, b"x" * 5000) * 2)
    assert reader.next_frame() is not None
    reader.max_frame_size = 4096
    with pytest.raises(exceptions.InvalidFrameError):
        reader.next_frame()


def test_a_wrong_end_octet_is_named() -> None:
    reader = frame.FrameReader()
    reader.feed(raw(1, b"abc", 9, b"\x07"))
    with pytest.raises(exceptions.InvalidFrameError, match="type 1 on channel 9 ends in octet 7, not in 206"):
        reader.next_frame()


@pytest.mark.parametrize("frame_type", [0, 4, 7, 9, 65, 255])
def test_an_unknown_frame_type_is_named(frame_type: int) -> None:
    reader = frame.FrameReader()
    reader.feed(raw(frame_type, b"abc"))
    with pytest.raises(exceptions.InvalidFrameError, match=f"unknown frame type {frame_type}"):
        reader.next_frame()


def test_peek_takes_nothing() -> None:
    reader = frame.FrameReader()
    for index in range(len(STREAM)):
        reader.feed(STREAM[index : index + 1])
    assert reader.peek(10) == STREAM[:10]
    assert reader.peek(10**6) == STREAM
    assert take_all(reader) == expected()


def test_what_a_program_does_to_its_buffer_changes_no_frame() -> None:
    reader = frame.FrameReader()
    buffer = bytearray(STREAM)
    reader.feed(buffer)
    buffer[:] = b"x" * len(buffer)
    assert take_all(reader) == expected()
    assert all(type(payload) is bytes for _, _, payload in expected())


def octets_joined(stream: bytes, step: int) -> int:
    """Count the octets that the reader copies into new buffers, while a stream arrives in steps."""
    reader = frame.FrameReader()
    joined = 0

    def watch(_frame: Any, event: str, called: Any) -> None:
        nonlocal joined
        if event == "c_call" and called.__name__ == "join":
            joined += reader.buffered

    found = 0
    previous = sys.getprofile()
    sys.setprofile(watch)
    try:
        for start in range(0, len(stream), step):
            reader.feed(stream[start : start + step])
            while reader.next_frame() is not None:
                found += 1
    finally:
        sys.setprofile(previous)
    assert found
    return joined


@pytest.mark.parametrize("step", [1, 7, 100, 1024, 4096, 65536])
def test_receiving_costs_in_proportion_to_the_octets(step: int) -> None:
    stream = raw(3, b"x" * 131064) + raw(3, b"y" * 100) * 50
    for times in (1, 2) if step == 1 else (2, 4, 8):
        assert octets_joined(stream * times, step) <= 2 * times * len(stream)


# Decoding one at a time


@pytest.mark.parametrize("index", range(len(RECORDED)))
def test_decode_frame_gives_the_frame_and_its_size(index: int) -> None:
    encoded = RECORDED[index].marshal()
    size, found = frame.decode_frame(encoded + b"more")
    assert (size, found) == (len(encoded), RECORDED[index])
    assert type(found) is type(RECORDED[index])


@pytest.mark.parametrize("index", range(len(RECORDED)))
def test_decode_frame_takes_nothing_of_an_incomplete_frame(index: int) -> None:
    encoded = RECORDED[index].marshal()
    for end in range(len(encoded)):
        assert frame.decode_frame(encoded[:end]) == (0, None)


def test_decode_frame_takes_any_bytes_like_object() -> None:
    encoded = RECORDED[2].marshal()
    assert frame.decode_frame(bytearray(encoded)) == (len(encoded), RECORDED[2])


@pytest.mark.parametrize("version", [(0, 9, 1), (1, 0, 0), (0, 8, 0)])
def test_decode_frame_knows_protocol_headers(version: tuple[int, int, int]) -> None:
    encoded = b"AMQP\0" + bytes(version)
    size, found = frame.decode_frame(encoded + b"x")
    assert isinstance(found, frame.ProtocolHeader)
    assert (size, found.major, found.minor, found.revision, found.frame_type) == (8, *version, -1)
    for end in range(8):
        assert frame.decode_frame(encoded[:end]) == (0, None)


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (raw(1, b"\x00\x63\x00\x07"), "unknown method: class 99, method 7"),
        (raw(1, b"\x00\x63"), "payload of 2 octets"),
        (raw(1, b"\x00\x32\x00\x0b\x05q"), "Queue.DeclareOk"),
        (raw(2, b"\x00\x3c"), "content header of 2 octets"),
        (raw(2, struct.pack(">HHQH", 50, 0, 5, 0)), "class 50"),
        (raw(2, struct.pack(">HHQH", 60, 0, 5, 0x8000)), "."),
        (raw(9, b""), "unknown frame type 9"),
        (raw(1, b"\x00\x14\x00\x29", end=b"\0"), "octet 0"),
    ],
)
def test_decode_frame_refuses_what_is_malformed(encoded: bytes, text: str) -> None:
    with pytest.raises(exceptions.InvalidFrameError, match=text):
        frame.decode_frame(encoded)


@given(st.sampled_from([1, 2, 3, 8]), st.binary(max_size=200))
def test_any_payload_decodes_or_is_a_frame_error(frame_type: int, payload: bytes) -> None:
    try:
        size, found = frame.decode_frame(raw(frame_type, payload))
    except exceptions.InvalidFrameError:
        return
    assert found is not None
    assert size == len(payload) + 8


@given(st.sampled_from(sorted(spec.methods)), st.binary(max_size=200))
def test_any_arguments_of_a_method_decode_or_are_a_frame_error(index: int, arguments: bytes) -> None:
    try:
        found = frame.decode_method(index.to_bytes(4, "big") + arguments)
    except exceptions.InvalidFrameError:
        return
    assert index == found.INDEX


@given(st.integers(0, 65535), strategies.methods())
def test_a_method_comes_back_from_its_frame(number: int, method: Any) -> None:
    encoded = frame.Method(number, method).marshal()
    assert frame.decode_frame(encoded) == (len(encoded), frame.Method(number, method))


@given(st.integers(0, 65535), st.integers(0, 2**64 - 1), strategies.property_sets())
def test_a_header_comes_back_from_its_frame(number: int, size: int, properties: spec.BasicProperties) -> None:
    encoded = frame.Header(number, size, properties).marshal()
    assert frame.decode_frame(encoded) == (len(encoded), frame.Header(number, size, properties))


# Encoding


@given(st.binary(max_size=20_000), st.integers(4096, 8192))
def test_content_is_cut_into_frames_that_fit(body: bytes, frame_max: int) -> None:
    pieces = frame.encode_content(7, PROPERTIES, body, frame_max)
    reader = frame.FrameReader(max_frame_size=frame_max)
    reader.feed(b"".join(pieces))
    (kind, number, header), *bodies = take_all(reader)
    assert (kind, number) == (spec.FRAME_HEADER, 7)
    assert frame.decode_header(header) == (len(body), PROPERTIES)
    assert all(item[:2] == (spec.FRAME_BODY, 7) and item[2] for item in bodies)
    assert b"".join(item[2] for item in bodies) == body
    assert reader.buffered == 0


def test_a_body_is_sent_without_being_copied() -> None:
    body = b"x" * 10_000
    pieces = frame.encode_content(1, PROPERTIES, body, 4096)
    views = [piece for piece in pieces if isinstance(piece, memoryview)]
    assert len(views) == 3
    assert all(view.obj is body for view in views)


def test_properties_that_no_frame_can_hold_are_refused() -> None:
    fits = spec.BasicProperties(headers={"a": "x" * 4000})
    assert frame.encode_content(1, fits, b"", 4096)
    with pytest.raises(ValueError, match=r"properties take 5,\d+ octets .* frame_max of 4,096"):
        frame.encode_content(1, spec.BasicProperties(headers={"a": "x" * 5000}), b"", 4096)


def test_the_base_class_has_no_payload() -> None:
    with pytest.raises(NotImplementedError, match="use a subclass"):
        frame.Frame(1, 1).marshal()


def test_a_protocol_header_is_eight_octets() -> None:
    assert frame.ProtocolHeader().marshal() == b"AMQP\x00\x00\x09\x01"
    assert frame.ProtocolHeader(1, 0, 0).marshal() == b"AMQP\x00\x01\x00\x00"


# The way for deliveries

DELIVERY = (
    frame.Method(3, spec.Basic.Deliver("tag", 1, False, "exchange", "key")).marshal()
    + frame.Header(3, 5, PROPERTIES).marshal()
    + frame.Body(3, b"hello").marshal()
)


def test_a_delivery_that_is_all_there_is_taken_at_once() -> None:
    reader = frame.FrameReader()
    reader.feed(DELIVERY + STREAM)
    found = reader.next_message()
    assert found == (3, spec.Basic.Deliver("tag", 1, False, "exchange", "key"), PROPERTIES, b"hello")
    assert reader.next_message() is None
    assert take_all(reader) == expected()


@pytest.mark.parametrize("end", range(len(DELIVERY)))
def test_a_delivery_that_is_not_all_there_is_left_alone(end: int) -> None:
    reader = frame.FrameReader()
    reader.feed(DELIVERY[:end])
    assert reader.next_message() is None
    assert reader.buffered == end


@given(st.integers(0, len(DELIVERY) - 1), st.integers(0, 255))
def test_a_damaged_delivery_is_what_its_frames_are(index: int, octet: int) -> None:
    damaged = DELIVERY[:index] + bytes([octet]) + DELIVERY[index + 1 :]
    fast, slow = frame.FrameReader(), frame.FrameReader()
    fast.feed(damaged)
    slow.feed(damaged)
    try:
        found = fast.next_message()
    except exceptions.InvalidFrameError:
        with pytest.raises(exceptions.InvalidFrameError):
            frame.decode_method(take_one(slow))
            frame.decode_header(take_one(slow))
        return
    if found is None:
        assert fast.buffered == len(damaged)
        return
    number, method, properties, body = found
    frames = take_all(slow)
    assert [item[:2] for item in frames] == [(1, number), (2, number), (3, number)]
    assert frame.decode_method(frames[0][2]) == method
    assert frame.decode_header(frames[1][2]) == (len(body), properties)
    assert frames[2][2] == body


def take_one(reader: frame.FrameReader) -> bytes:
    found = reader.next_frame()
    assert found is not None
    return found[2]


# The way for large bodies

LARGE = b"".join(
    [
        frame.Body(3, bytes(range(256)) * 400).marshal(),
        frame.Heartbeat().marshal(),
        frame.Body(4, b"y" * 20_000).marshal(),
        frame.Body(3, b"z").marshal(),
    ]
)


def take_pieces(reader: frame.FrameReader) -> list[tuple[int, int, bytes]]:
    pieces = []
    while (piece := reader.next_piece()) is not None:
        pieces.append((piece[0], piece[1], bytes(piece[2])))
    return pieces


@pytest.mark.parametrize("size", [1, 7, 100, 4096, 16_384, 16_391, 16_392, 50_000, 102_406, 102_407, 130_816])
def test_a_body_frame_that_is_not_complete_is_taken_in_parts(size: int) -> None:
    reader = frame.FrameReader()
    pieces = []
    for start in range(0, len(LARGE), size):
        reader.feed(LARGE[start : start + size])
        pieces += take_pieces(reader)
    assert all(part for kind, _number, part in pieces if kind == spec.FRAME_BODY)
    for number, body in ((3, bytes(range(256)) * 400 + b"z"), (4, b"y" * 20_000)):
        assert b"".join(part for _kind, owner, part in pieces if owner == number) == body
    assert [number for kind, number, _part in pieces if kind == spec.FRAME_HEARTBEAT] == [0]
    assert reader.buffered == 0


def test_parts_of_a_body_are_not_copied_out_of_what_arrived() -> None:
    encoded = frame.Body(3, b"x" * 100_000).marshal()
    reader = frame.FrameReader()
    arrived = encoded[:60_000]
    reader.feed(arrived)
    piece = reader.next_piece()
    assert piece is not None
    assert piece[2].obj is arrived


@pytest.mark.parametrize("size", [20_000, 100_000, 100_007])
def test_a_body_frame_in_parts_is_refused_for_its_end_octet_too(size: int) -> None:
    encoded = frame.Body(3, b"x" * 100_000).marshal()[:-1] + b"\0"
    reader = frame.FrameReader()
    reader.feed(encoded[:size])
    with pytest.raises(exceptions.InvalidFrameError, match="on channel 3 ends in octet 0, not in 206"):
        for _ in range(3):
            reader.next_piece()
        reader.feed(encoded[size:])
        for _ in range(3):
            reader.next_piece()
