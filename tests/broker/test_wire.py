"""What waits to be sent, and publishes read in one step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pika import frame, spec
from pika.broker.wire import Output, Reader
from tests.broker.peer import published

PIECES = st.lists(st.binary(max_size=40), max_size=30)


@given(PIECES, st.integers(1, 60), st.data())
def test_everything_is_sent_once_and_in_order(pieces: list[bytes], chunk: int, drawn: st.DataObject) -> None:
    output = Output(chunk)
    sent = b""
    for written, piece in enumerate(pieces, 1):
        output.write(piece)
        if drawn.draw(st.booleans()):
            waiting = bytes(output.peek())
            count = drawn.draw(st.integers(0, len(waiting)))
            if count:
                output.sent(count)
                sent += waiting[:count]
        assert output.size == sum(map(len, pieces[:written])) - len(sent)
    while output.size:
        waiting = bytes(output.peek())
        output.sent(len(waiting))
        sent += waiting
    assert sent == b"".join(pieces)


@given(st.binary(max_size=30), st.integers(0, 3), st.sampled_from([4096, 30]), st.integers(0, 200))
def test_a_publish_read_in_one_step_is_what_its_frames_say(body: bytes, flags: int, limit: int, cut: int) -> None:
    properties = spec.BasicProperties(content_type="t" * flags or None)
    stream = published("x", "key", body, properties, number=7, frame_max=1000)
    whole = Reader(limit)
    whole.feed(stream[: len(stream) - cut])
    taken = whole.next_publish()
    if taken is None:
        # Then it is left to be read frame by frame: it is incomplete, or a frame of it is too large.
        largest = max(len(stream) - len(body) - 8 if body else len(stream), len(body) + 8)
        assert cut or largest > limit
        assert whole.buffered == len(stream[: len(stream) - cut])
        return
    single = frame.FrameReader(limit)
    single.feed(stream)
    frames = [single.next_frame() for _ in range(3 if body else 2)]
    assert taken == (7, frames[0][2][4:], frames[1][2], body)  # type: ignore[index]
    assert whole.next_publish() is None


def test_other_frames_are_left_alone() -> None:
    for stream in (b"", b"\x01", frame.HEARTBEAT_FRAME, frame.encode_method(1, spec.Basic.Ack(1))):
        reader = Reader()
        reader.feed(stream)
        assert reader.next_publish() is None
        assert reader.buffered == len(stream)
