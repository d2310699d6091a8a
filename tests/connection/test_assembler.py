"""pika's assembler of content frames, where a sender breaks off."""

from __future__ import annotations

from pika import frame, spec
from pika.channel import ContentFrameAssembler


def test_a_method_begins_anew() -> None:
    assembler = ContentFrameAssembler()
    first, second = (frame.Method(1, spec.Basic.Deliver("tag", number, False, "", "key")) for number in (1, 2))
    for broken_off in (first, frame.Header(1, 2, spec.BasicProperties()), frame.Body(1, b"a")):
        assert assembler.process(broken_off) is None
    header = frame.Header(1, 1, spec.BasicProperties())
    assert assembler.process(second) is None
    assert assembler.process(header) is None
    assert assembler.process(frame.Body(1, b"b")) == (second, header, b"b")
