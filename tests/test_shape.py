"""Deliveries that are alike are compared and not decoded: what comes out is what each of them says, all the same."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import exceptions, frame, spec

#: More than it takes to learn a shape.
MANY = 40


class Sent(NamedTuple):
    """A delivery that is sent."""

    number: int
    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    routing_key: str
    properties: spec.BasicProperties
    body: bytes

    @property
    def method(self) -> spec.Basic.Deliver:
        """Its basic.deliver."""
        return spec.Basic.Deliver(self.consumer_tag, self.delivery_tag, self.redelivered, "exchange", self.routing_key)

    @property
    def encoded(self) -> bytes:
        """Its frames."""
        method = frame.encode_method(self.number, self.method)
        return b"".join(frame.encode_content(self.number, self.properties, self.body, 131072, method))


def like(delivery_tag: int, body: bytes = b"hello") -> Sent:
    return Sent(1, "consumer", delivery_tag, False, "key", spec.BasicProperties(content_type="text/plain"), body)


def alike() -> list[Sent]:
    return [like(tag) for tag in range(1, MANY + 1)]


def taken(reader: frame.FrameReader) -> list[tuple[int, spec.Basic.Deliver, spec.BasicProperties, bytes]]:
    """All that is there, as messages."""
    messages = []
    while True:
        message = reader.next_message()
        if message is None:
            return messages
        number, method, properties, body = message
        assert isinstance(method, spec.Basic.Deliver)
        messages.append((number, method, properties, body))


def expected(sent: list[Sent]) -> list[tuple[int, spec.Basic.Deliver, spec.BasicProperties, bytes]]:
    return [(each.number, each.method, each.properties, each.body) for each in sent]


def assembled(frames: list[tuple[int, int, bytes]]) -> tuple[int, spec.Basic.Deliver, spec.BasicProperties, bytes]:
    """A message that has come in frames."""
    (_, number, method), (_, _, header), (_, _, body) = frames
    decoded = frame.decode_method(method)
    assert isinstance(decoded, spec.Basic.Deliver)
    return number, decoded, frame.decode_header(header)[1], body


PROPERTIES = st.sampled_from(
    [
        spec.BasicProperties(),
        spec.BasicProperties(content_type="text/plain", delivery_mode=2),
        spec.BasicProperties(message_id="one"),
        spec.BasicProperties(headers={"key": "value"}),
    ]
)
#: Where they vary, most of them still are like the one before.
DELIVERIES = st.builds(
    Sent,
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from(["consumer", "consumer", "another"]),
    st.integers(0, 2**64 - 1),
    st.sampled_from([False, False, True]),
    st.sampled_from(["key", "key", "", "longer.key"]),
    PROPERTIES,
    st.binary(min_size=1, max_size=40),
)


@given(st.lists(st.tuples(DELIVERIES, st.integers(1, MANY)), max_size=6), st.data())
def test_runs_of_deliveries_in_any_order_and_split(runs: list[tuple[Sent, int]], data: st.DataObject) -> None:
    sent = [
        each._replace(delivery_tag=each.delivery_tag ^ number, body=each.body[: 1 + number])
        for each, count in runs
        for number in range(count)
    ]
    stream = b"".join(each.encoded for each in sent)
    reader, messages, position = frame.FrameReader(), [], 0
    frames: list[tuple[int, int, bytes]] = []
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream)), "size")
        reader.feed(stream[position : position + size])
        position += size
        while True:
            messages += taken(reader)
            found = reader.next_frame()
            if found is None:
                break
            frames.append(found)
            if len(frames) == 3:
                messages.append(assembled(frames))
                frames.clear()
    assert messages == expected(sent)


def test_properties_are_each_message_s_own() -> None:
    reader = frame.FrameReader()
    reader.feed(b"".join(each.encoded for each in alike()))
    properties = [message[2] for message in taken(reader)]
    for number, each in enumerate(properties):
        each.content_type = str(number)
    assert [each.content_type for each in properties] == [str(number) for number in range(MANY)]


@given(st.integers(0, len(like(1).encoded) - 1), st.integers(0, 255))
def test_a_damaged_delivery_behind_those_that_it_is_like(index: int, octet: int) -> None:
    """It is what its frames are, or it is left alone."""
    encoded = like(MANY + 1).encoded
    damaged = encoded[:index] + bytes([octet]) + encoded[index + 1 :]
    fast, slow = frame.FrameReader(), frame.FrameReader()
    fast.feed(b"".join(each.encoded for each in alike()) + damaged)
    slow.feed(damaged)
    try:
        messages = taken(fast)
    except exceptions.InvalidFrameError:
        messages = []
    if len(messages) <= MANY:
        return
    *before, (number, method, properties, body) = messages
    assert before == expected(alike())
    frames = [slow.next_frame() for _ in range(3)]
    assert [each and each[:2] for each in frames] == [(1, number), (2, number), (3, number)]
    payloads = [each[2] for each in frames if each is not None]
    assert frame.decode_method(payloads[0]) == method
    assert frame.decode_header(payloads[1]) == (len(body), properties)
    assert payloads[2] == body


@pytest.mark.parametrize("end", range(0, len(like(1).encoded), 3))
def test_one_that_is_not_all_there(end: int) -> None:
    reader = frame.FrameReader()
    reader.feed(b"".join(each.encoded for each in alike()) + like(MANY + 1).encoded[:end])
    assert taken(reader) == expected(alike())
    assert reader.buffered == end


def test_a_body_frame_that_is_larger_than_the_header_says() -> None:
    encoded = like(MANY + 1, b"four").encoded
    size = encoded.rindex(b"\x04four") - 3
    wrong = encoded[:size] + b"\0\0\0\x05" + b"fours" + encoded[-1:]
    reader = frame.FrameReader()
    reader.feed(b"".join(each.encoded for each in alike()) + wrong)
    assert taken(reader) == expected(alike())
    assert reader.buffered == len(wrong)


def test_one_that_is_larger_than_a_frame_may_be() -> None:
    reader = frame.FrameReader(4096)
    large = like(MANY + 1, b"x" * 5000).encoded
    reader.feed(b"".join(each.encoded for each in alike()) + large)
    assert taken(reader) == expected(alike())
    assert reader.next_frame() is not None
    assert reader.next_frame() is not None
    with pytest.raises(exceptions.InvalidFrameError):
        reader.next_frame()
