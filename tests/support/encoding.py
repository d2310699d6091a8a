"""What a broker sends, in bytes; and headers that notice when they are encoded."""

from __future__ import annotations

from typing import Any, Callable

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


class Headers(dict):  # type: ignore[type-arg]
    """Headers that have something done when they are encoded."""

    def __init__(self, on_encoding: Callable[[], object]) -> None:
        super().__init__(key="value")
        self._on_encoding = on_encoding

    def items(self) -> Any:
        self._on_encoding()
        return super().items()
