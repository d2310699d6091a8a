"""What a broker sends, in bytes."""

from __future__ import annotations

from pika import frame, spec
from pika.amqp_object import Method


def method(number: int, *methods: Method) -> bytes:
    """Encode methods on a channel."""
    return b"".join(frame.encode_method(number, item) for item in methods)


def content(
    number: int,
    opening: Method,
    body: bytes = b"",
    properties: spec.BasicProperties | None = None,
    frame_max: int = spec.FRAME_MIN_SIZE,
) -> bytes:
    """Encode a method with its content, by default in frames that every client takes."""
    pieces = frame.encode_content(number, properties or spec.BasicProperties(), body, frame_max)
    return method(number, opening) + b"".join(pieces)


def raw_frame(frame_type: int, number: int, payload: bytes, end: int = spec.FRAME_END) -> bytes:
    """Encode any frame, a malformed one too."""
    return bytes([frame_type]) + number.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + bytes([end])
