"""A message that arrives in pieces.

The broker sends contents on as they came, so unlike the client's assembler this one does not decode properties.
"""

from __future__ import annotations

import struct

from pika import spec
from pika.broker import errors

_HEADER = struct.Struct(">HHQ")


class UnexpectedFrame(Exception):
    """A frame came that does not continue the content.

    :param code: the reply code
    :param text: what is wrong, in RabbitMQ's words
    """

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


class Incoming:
    """The content behind one basic.publish, until it is complete.

    :param arguments: the arguments of the method as they travelled
    :param limit: octets that the body may have; a larger one is taken in and dropped
    """

    __slots__ = ("_missing", "_pieces", "_size", "arguments", "header", "limit")

    def __init__(self, arguments: bytes, limit: int) -> None:
        self.arguments = arguments
        self.limit = limit
        #: The payload of the content header; empty until it came.
        self.header = b""
        self._pieces: list[bytes | bytearray] = []
        self._size = 0
        self._missing = 0

    @property
    def body(self) -> bytes:
        """The body."""
        return b"".join(self._pieces)

    @property
    def too_large(self) -> bool:
        """Whether the body has more octets than it may have."""
        return self._size > self.limit

    def refusal(self) -> errors.Refusal:
        """Return what a message that is too large is refused with."""
        return errors.precondition(f"message size {self._size} is larger than configured max size {self.limit}")

    def take(self, frame_type: int, payload: bytes) -> bool:
        """Take the next frame on the channel, and return whether the content is complete.

        :raises UnexpectedFrame: when it does not belong to the content
        """
        if not self.header:
            self._take_header(frame_type, payload)
        elif frame_type != spec.FRAME_BODY:
            raise UnexpectedFrame(spec.UNEXPECTED_FRAME, "expected content body, got non content body frame instead")
        else:
            self._missing -= len(payload)
            # A body beyond its size RabbitMQ 3.10 never finds complete: whatever comes behind it is refused.
            if self._missing < 0:
                self._pieces.clear()
            elif payload and not self.too_large:
                self._keep(payload)
        return not self._missing

    def _keep(self, payload: bytes) -> None:
        if len(payload) >= 1024:
            self._pieces.append(payload)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            # Small pieces share a buffer: an object for each would weigh many times its bytes.
            self._pieces[-1] += payload
        else:
            self._pieces.append(bytearray(payload))

    def _take_header(self, frame_type: int, payload: bytes) -> None:
        expected = f"expected content header for class {spec.Basic.INDEX}"
        if frame_type != spec.FRAME_HEADER:
            raise UnexpectedFrame(spec.UNEXPECTED_FRAME, f"{expected}, got non content header frame instead")
        if len(payload) < 14:
            raise UnexpectedFrame(spec.FRAME_ERROR, "content header is shorter than its fixed part")
        class_id, weight, self._size = _HEADER.unpack_from(payload)
        if weight:
            raise UnexpectedFrame(spec.UNEXPECTED_FRAME, f"{expected}, got non content header frame instead")
        if class_id != spec.Basic.INDEX:
            raise UnexpectedFrame(spec.UNEXPECTED_FRAME, f"{expected}, got one for class {class_id} instead")
        self.header = payload
        self._missing = self._size
