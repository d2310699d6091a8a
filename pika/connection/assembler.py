"""pika's assembler of content frames, which programs may have imported."""

from __future__ import annotations

from typing import Any

from pika import exceptions, frame, spec


class ContentFrameAssembler:
    """Puts a method's frame, its content header's and its body's together; what the library uses itself is in
    :mod:`pika.protocol`."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._method_frame: frame.Method[Any] | None = None
        self._header_frame: frame.Header | None = None
        self._fragments: list[bytes] = []
        self._received = 0

    def process(self, frame_value: frame.Frame) -> tuple[frame.Method[Any] | None, frame.Header, bytes] | None:
        """Take the next frame.

        :param frame_value: a method's frame that announces content, a header's or a body's
        :returns: the three parts when the content is complete, else None
        :raises pika.exceptions.UnexpectedFrameError: when it is another frame, or a body that no header announced
        :raises pika.exceptions.BodyTooLongError: when the body is longer than the header announced
        """
        if isinstance(frame_value, frame.Method) and spec.has_content(frame_value.method.INDEX):
            self._begin()
            self._method_frame = frame_value
            return None
        if isinstance(frame_value, frame.Header):
            self._header_frame = frame_value
        elif isinstance(frame_value, frame.Body) and self._header_frame is not None:
            self._fragments.append(frame_value.fragment)
            self._received += len(frame_value.fragment)
        else:
            raise exceptions.UnexpectedFrameError(frame_value)
        header = self._header_frame
        if self._received > header.body_size:
            raise exceptions.BodyTooLongError(self._received, header.body_size)
        if self._received < header.body_size:
            return None
        complete = self._method_frame, header, b"".join(self._fragments)
        self._begin()
        return complete
