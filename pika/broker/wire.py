"""The broker's hot paths: taking published messages from the bytes that arrive, and writing deliveries."""

from __future__ import annotations

import struct

from pika import frame, spec
from pika.broker.queues import Message

_METHOD = struct.Struct(">BHLI")  # type, channel, payload size, class and method
_END_AND_HEADER = struct.Struct(">BBHLHHQ")  # end octet; type, channel, payload size; class, weight, body size
_END_AND_PREFIX = struct.Struct(">BBHL")  # end octet; type, channel, payload size
_TAG = struct.Struct(">QB")
_COUNT = struct.Struct(">L")

_PUBLISH = spec.Basic.Publish.INDEX
_DELIVER = spec.Basic.Deliver.INDEX
_GET_OK = spec.Basic.GetOk.INDEX
_RETURN = spec.Basic.Return.INDEX
_BASIC = spec.Basic.INDEX
_END = bytes((spec.FRAME_END,))
_NO_ROUTE = struct.pack(">HB", spec.NO_ROUTE, len("NO_ROUTE")) + b"NO_ROUTE"

#: What a publish is: channel number, arguments of the method, payload of the content header, body.
Published = tuple[int, bytes, bytes, bytes]


class Reader(frame.FrameReader):
    """Reads frames, and whole publishes in one step when they are there."""

    __slots__ = ()

    def take(self, size: int) -> bytes:
        """Take the next `size` octets, which are no frame; empty when they are not all there."""
        taken = self.peek(size)
        if len(taken) < size:
            return b""
        self._position += size
        return taken

    def next_publish(self) -> Published | None:
        """Take a basic.publish with its whole content, when that is what comes next and all of it is there.

        What it does not recognize it leaves alone, so that :meth:`next_frame` takes it apart and says what is wrong
        with it, if anything is.
        """
        buffer = self._buffer
        position = self._position
        try:
            frame_type, number, size, index = _METHOD.unpack_from(buffer, position)
            if index != _PUBLISH or frame_type != spec.FRAME_METHOD:
                return None
            header = position + 7 + size
            end_1, type_1, number_1, size_1, class_id, weight, body_size = _END_AND_HEADER.unpack_from(buffer, header)
            stop = header + 8 + size_1
            if body_size:
                end_2, type_2, number_2, size_2 = _END_AND_PREFIX.unpack_from(buffer, stop)
                body = stop + 8
                end = body + body_size
                if (
                    buffer[end] != spec.FRAME_END
                    or (end_2, type_2, number_2, size_2) != (spec.FRAME_END, spec.FRAME_BODY, number, body_size)
                    or size_2 + 8 > self.max_frame_size
                ):
                    return None
            else:
                body = end = stop
                if buffer[end] != spec.FRAME_END:
                    return None
            if (
                (end_1, type_1, number_1, class_id) != (spec.FRAME_END, spec.FRAME_HEADER, number, _BASIC)
                or size_1 < 14
                or weight
                or max(size, size_1) + 8 > self.max_frame_size
            ):
                return None
        except (struct.error, IndexError):
            return None
        self._position = end + 1
        return number, buffer[position + 11 : header], buffer[header + 8 : stop], buffer[body:end]


class Output:
    """Bytes that wait to be sent. Pieces are joined when they are sent, many at a time.

    :param chunk: how many octets are joined at most, one piece more or less
    """

    __slots__ = ("_chunk", "_offset", "_pieces", "size")

    def __init__(self, chunk: int = 262144) -> None:
        self._chunk = chunk
        self._pieces: list[bytes] = []
        # How much of the first piece was sent.
        self._offset = 0
        #: Octets waiting.
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._pieces.append(data)
        self.size += len(data)

    def peek(self) -> bytes | memoryview:
        """Return what is to be sent next; empty when nothing waits. Say with :meth:`sent` how much of it was sent."""
        pieces = self._pieces
        if self._offset:
            # The rest of a piece is viewed, not cut: a body of a hundred megabytes is sent in a thousand steps.
            return memoryview(pieces[0])[self._offset :]
        if len(pieces) > 1:
            count = len(pieces)
            if self.size > self._chunk:
                size = count = 0
                for piece in pieces:
                    if count and size + len(piece) > self._chunk:
                        break
                    size += len(piece)
                    count += 1
            if count > 1:
                pieces[:count] = [b"".join(pieces[:count])]
        return pieces[0] if pieces else b""

    def sent(self, count: int) -> None:
        """Forget the first `count` octets of what :meth:`peek` returned."""
        self._offset += count
        self.size -= count
        if self._offset == len(self._pieces[0]):
            del self._pieces[0]
            self._offset = 0

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._offset = 0
        self.size = 0

    def deliver(
        self, number: int, consumer_tag: bytes, tag: int, redelivered: bool, message: Message, frame_max: int
    ) -> None:
        """Append a basic.deliver with its content.

        :param number: the channel
        :param consumer_tag: the consumer tag as a short string
        :param tag: the delivery tag
        :param redelivered: whether the message was delivered before
        :param message: the message
        :param frame_max: the negotiated maximum of octets in a frame
        """
        route = message.route
        header = message.header
        body = message.body
        size = 13 + len(consumer_tag) + len(route)
        header_size = len(header)
        body_size = len(body)
        if not body_size or body_size + 8 > frame_max:
            method = _METHOD.pack(1, number, size, _DELIVER) + consumer_tag + _TAG.pack(tag, redelivered) + route
            self._content(number, method, message, frame_max)
            return
        self._pieces += (
            _METHOD.pack(1, number, size, _DELIVER),
            consumer_tag,
            _TAG.pack(tag, redelivered),
            route,
            _END_AND_PREFIX.pack(206, 2, number, header_size),
            header,
            _END_AND_PREFIX.pack(206, 3, number, body_size),
            body,
            _END,
        )
        self.size += size + header_size + body_size + 24

    def get_ok(self, number: int, tag: int, redelivered: bool, message: Message, count: int, frame_max: int) -> None:
        """Append a basic.get-ok with its content; `count` messages remain."""
        arguments = _TAG.pack(tag, redelivered) + message.route + _COUNT.pack(count)
        method = _METHOD.pack(1, number, len(arguments) + 4, _GET_OK) + arguments
        self._content(number, method, message, frame_max)

    def returned(self, number: int, message: Message, frame_max: int) -> None:
        """Append a basic.return for a message that no queue wanted, with its content."""
        arguments = _NO_ROUTE + message.route
        method = _METHOD.pack(1, number, len(arguments) + 4, _RETURN) + arguments
        self._content(number, method, message, frame_max)

    def _content(self, number: int, method: bytes, message: Message, frame_max: int) -> None:
        """Append a method frame, which lacks its end octet, and a content of any size."""
        body = message.body
        limit = frame_max - frame.FRAME_OVERHEAD
        self.write(method)
        self.write(_END_AND_PREFIX.pack(206, 2, number, len(message.header)))
        self.write(message.header)
        for start in range(0, len(body), limit):
            piece = body[start : start + limit]
            self.write(_END_AND_PREFIX.pack(206, 3, number, len(piece)))
            self.write(piece)
        self.write(_END)
