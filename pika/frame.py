"""AMQP frames: the classes that pika exposes, encoding, and a one-pass incremental reader.

A frame is a type octet, a channel number, a payload size, the payload and the end octet 206
(AMQP 0-9-1, section 2.3.5, "Frame Details").  A connection begins with a protocol header,
which is no frame (section 2.3.1).
"""

from __future__ import annotations

import struct
from typing import Any, Generic, NoReturn, TypeVar, Union

from pika import amqp_object, data, exceptions, spec
from pika._faults import UNPACKABLE
from pika._shape import Learner, Places, Shape

_PREFIX = struct.Struct(">BHL")  # type, channel, payload size
_METHOD_PREFIX = struct.Struct(">BHLI")  # a frame prefix and the method's class and method id
_HEADER_PREFIX = struct.Struct(">BHLHHQ")  # a frame prefix and a content header: class, weight, body size
_HEADER_FIXED = struct.Struct(">HHQ")
_PROTOCOL_HEADER = struct.Struct("BBBB")
# What lies between two payloads of one content. The end octet of a frame, type and channel number of the next one are
# read as one number. Then there is the payload's size, and in a content header class and weight as one number, and the
# body's size.
_BEHIND_METHOD = (spec.FRAME_END << 8 | spec.FRAME_HEADER) << 16
_BEHIND_HEADER = (spec.FRAME_END << 8 | spec.FRAME_BODY) << 16
_HEADER_BEGINS = struct.Struct(">LLLQ")
_BODY_BEGINS = struct.Struct(">LL")
# A frame of basic.ack: type, channel and payload size; the method's index, the delivery tag, the bits; the end. Its
# size is always the same.
_ACK_FRAME = struct.Struct(">BHLLQBB")
_ACK_SIZE = _ACK_FRAME.size
_ACK_PAYLOAD = 13
# What it has behind the method's index.
_ACK_ENDS = struct.Struct(">QBB")
_TAG_AND_BITS = struct.Struct(">QB")
_MESSAGE_COUNT = struct.Struct(">L")
# What comes between the opening of a content without properties and its body: the body's size and no flags, which end
# the content header, and the prefix of the body frame.
BARE_MIDDLE = struct.Struct(">QHBBHL")

_DELIVER = spec.Basic.Deliver.INDEX
# By which it is told from basic.ack and basic.get-ok at first sight: the last octet of its index.
_DELIVER_OCTET = _DELIVER & 0xFF
_ACK = spec.Basic.Ack.INDEX
_GET_OK = spec.Basic.GetOk.INDEX
_BASIC = spec.Basic.INDEX

_END = spec.FRAME_END
END_OCTET = bytes((_END,))
_FRAME_TYPES = frozenset((spec.FRAME_METHOD, spec.FRAME_HEADER, spec.FRAME_BODY, spec.FRAME_HEARTBEAT))

#: Octets of a frame that are not payload: the seven of its prefix and the end octet.
FRAME_OVERHEAD = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE

#: Up to this size, a body is cheaper to copy into one piece with its frames than to send from where it is.
JOIN_LIMIT = 16 * 1024

#: The highest channel number: a frame has two octets for it.
CHANNEL_MAX = 0xFFFF

HEARTBEAT_FRAME = _PREFIX.pack(spec.FRAME_HEARTBEAT, 0, 0) + END_OCTET


M = TypeVar("M", bound=amqp_object.Method)


class _Routes(dict[bytes, tuple[str, str]]):
    """Exchange and routing key by their bytes at the end of a basic.deliver; those not yet met are decoded."""

    def __missing__(self, key: bytes) -> tuple[str, str]:
        end = 1 + key[0]
        route = _decoded[key[:end]], _decoded[key[end : end + 1 + key[end]]]
        data.remember(self, key, route)
        return route


_new_properties = spec.BasicProperties.__new__
_decoded = data.decoded_short_strings
_routes = _Routes()


class Frame(amqp_object.AMQPObject):
    """A frame of any type.

    :param frame_type: the type octet: 1 method, 2 content header, 3 body, 8 heartbeat
    :param channel_number: the channel that the frame belongs to, 0 for the connection
    """

    NAME = "Frame"

    def __init__(self, frame_type: int, channel_number: int) -> None:
        self.frame_type = frame_type
        self.channel_number = channel_number

    def _marshal(self, pieces: list[bytes]) -> bytes:
        """Return the frame around `pieces`, which are joined to be its payload."""
        payload = b"".join(pieces)
        return _PREFIX.pack(self.frame_type, self.channel_number, len(payload)) + payload + END_OCTET

    def marshal(self) -> bytes:
        """Return the frame as bytes.

        :raises NotImplementedError: on the base class, which has no payload of its own
        """
        raise NotImplementedError(f"{type(self).__name__} frames cannot be encoded: use a subclass that has a payload")


class Method(Frame, Generic[M]):
    """A method frame.

    :param channel_number: the channel that the method is for
    :param method: an instance of one of the method classes of :mod:`pika.spec`
    """

    NAME = "METHOD"

    def __init__(self, channel_number: int, method: M) -> None:
        super().__init__(spec.FRAME_METHOD, channel_number)
        self.method = method

    def marshal(self) -> bytes:
        """Return the frame as bytes."""
        return encode_method(self.channel_number, self.method)


class Header(Frame):
    """A content header frame.

    :param channel_number: the channel that the content is on
    :param body_size: octets in the body that follows
    :param props: the message's properties
    """

    NAME = "Header"

    def __init__(self, channel_number: int, body_size: int, props: spec.BasicProperties) -> None:
        super().__init__(spec.FRAME_HEADER, channel_number)
        self.body_size = body_size
        self.properties = props

    def marshal(self) -> bytes:
        """Return the frame as bytes."""
        return encode_header(self.channel_number, self.body_size, self.properties)


class Body(Frame):
    """A body frame: a piece of a message's body.

    :param channel_number: the channel that the content is on
    :param fragment: the piece
    """

    NAME = "Body"

    def __init__(self, channel_number: int, fragment: bytes) -> None:
        super().__init__(spec.FRAME_BODY, channel_number)
        self.fragment = fragment

    def marshal(self) -> bytes:
        """Return the frame as bytes."""
        return self._marshal([self.fragment])


class Heartbeat(Frame):
    """A heartbeat frame, always on channel 0 (section 4.2.7)."""

    NAME = "Heartbeat"

    def __init__(self) -> None:
        super().__init__(spec.FRAME_HEARTBEAT, 0)

    def marshal(self) -> bytes:
        """Return the frame as bytes."""
        return HEARTBEAT_FRAME


class ProtocolHeader(amqp_object.AMQPObject):
    """The eight octets that open a connection (section 4.2.2).

    :param major: major version, 0 unless given
    :param minor: minor version, 9 unless given
    :param revision: revision, 1 unless given
    """

    NAME = "ProtocolHeader"

    def __init__(self, major: int | None = None, minor: int | None = None, revision: int | None = None) -> None:
        self.frame_type = -1
        self.major = spec.PROTOCOL_VERSION[0] if major is None else major
        self.minor = spec.PROTOCOL_VERSION[1] if minor is None else minor
        self.revision = spec.PROTOCOL_VERSION[2] if revision is None else revision

    def marshal(self) -> bytes:
        """Return the header as bytes."""
        return b"AMQP" + _PROTOCOL_HEADER.pack(0, self.major, self.minor, self.revision)


def encode_method(channel_number: int, method: amqp_object.Method) -> bytes:
    """Return a method frame as bytes.

    :param channel_number: the channel that the method is for
    :param method: the method, whose arguments are encoded
    :raises pika.exceptions.ShortStringTooLong: when an argument that is a short string has over 255 octets
    """
    arguments = b"".join(method.encode())
    index = method.INDEX
    assert index is not None
    prefix = _METHOD_PREFIX.pack(spec.FRAME_METHOD, channel_number, len(arguments) + 4, index)
    return prefix + arguments + END_OCTET


def encode_header(channel_number: int, body_size: int, properties: spec.BasicProperties) -> bytes:
    """Return a content header frame as bytes.

    :param channel_number: the channel that the content is on
    :param body_size: octets in the body
    :param properties: the message's properties
    """
    encoded = b"".join(properties.encode())
    prefix = _HEADER_PREFIX.pack(
        spec.FRAME_HEADER, channel_number, len(encoded) + 12, spec.BasicProperties.INDEX, 0, body_size
    )
    return prefix + encoded + END_OCTET


def encode_ack(channel_number: int, delivery_tag: int, multiple: bool) -> bytes:
    """Return a frame of basic.ack: what :func:`encode_method` makes of one, without an object for each.

    :param channel_number: the channel that the delivery came on
    :param delivery_tag: that of the delivery
    :param multiple: every delivery up to it too
    :raises ValueError: when the delivery tag is no integer from 0 to 2**64 - 1
    """
    try:
        return _ACK_FRAME.pack(
            spec.FRAME_METHOD, channel_number, _ACK_PAYLOAD, _ACK, delivery_tag, 1 if multiple else 0, spec.FRAME_END
        )
    except UNPACKABLE:
        return encode_method(channel_number, spec.Basic.Ack(delivery_tag, multiple))


def looks_like_tls(data: bytes) -> bool:
    """Whether the first bytes from a peer are a TLS record (RFC 8446, section 5.1): the port is one for TLS.

    :param data: at least the first two bytes
    """
    return data[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") and data[1:2] == b"\x03"


def require_fit(what: str, encoded: bytes, frame_max: int, remedy: str = "") -> None:
    """Raise unless a method or content header frame, neither of which can be split, is within the negotiated bound.

    :param what: the beginning of the message: what is in the frame, and "take" or "takes"
    :param encoded: the frame
    :param frame_max: the negotiated maximum of octets in a frame, its overhead included
    :param remedy: what to do about it, behind the message
    :raises ValueError: when the frame is larger
    """
    if len(encoded) > frame_max:
        raise ValueError(
            f"{what} {len(encoded):,} octets as a frame, "
            f"and the frame_max of {frame_max:,} negotiated with the broker bounds it{remedy}"
        )


def encode_content(
    channel_number: int, properties: spec.BasicProperties, body: bytes, frame_max: int, method: bytes = b""
) -> tuple[bytes | memoryview, ...]:
    """Return a message's header and body frames as pieces, to be sent one behind the other.

    What is small is one piece, made by one join. A large body is not copied: its pieces are views of it.

    :param channel_number: the channel that the content is on
    :param properties: the message's properties
    :param body: the message's body
    :param frame_max: the negotiated maximum of octets in a frame, its overhead included
    :param method: the frame of the method that the content belongs to, which goes before it
    :raises ValueError: when the properties do not fit into one frame; a content header is never split
        (section 2.3.5.2), so headers that large can be sent nowhere
    """
    size = len(body)
    limit = frame_max - FRAME_OVERHEAD
    header = encode_header(channel_number, size, properties)
    if len(header) > frame_max:
        require_fit("the message's properties take", header, frame_max, ": put large values into the body")
    if not size:
        return (method + header,)
    if size <= limit and size <= JOIN_LIMIT:
        prefix = _PREFIX.pack(spec.FRAME_BODY, channel_number, size)
        return (b"".join((method, header, prefix, body, END_OCTET)),)
    view = memoryview(body)
    pieces: list[bytes | memoryview] = [method + header]
    for start in range(0, size, limit):
        fragment = view[start : start + limit]
        pieces += (_PREFIX.pack(spec.FRAME_BODY, channel_number, len(fragment)), fragment, END_OCTET)
    return tuple(pieces)


def bare_opening(channel_number: int, method: bytes) -> bytes:
    """Return what a message without properties begins with, up to where the size of its body is due.

    :param channel_number: the channel that the message is on
    :param method: the frame of its method
    """
    return method + _HEADER_PREFIX.pack(spec.FRAME_HEADER, channel_number, 14, _BASIC, 0, 0)[:-8]


def decode_method(payload: bytes) -> amqp_object.Method:
    """Return the method that a method frame's payload holds.

    :param payload: the payload: class id, method id, arguments
    :raises pika.exceptions.InvalidFrameError: when the payload is malformed, or when the class or method is unknown:
        the text names it
    """
    if len(payload) < 4:
        raise exceptions.InvalidFrameError(f"a method frame with a payload of {len(payload)} octets names no method")
    index = int.from_bytes(payload[:4], "big")
    method = spec.methods.get(index)
    if method is None:
        raise exceptions.InvalidFrameError(f"unknown method: class {index >> 16}, method {index & 0xFFFF}")
    return method().decode(payload, 4)


def decode_header(payload: bytes) -> tuple[int, spec.BasicProperties]:
    """Return the body size and the properties that a content header frame's payload holds.

    :param payload: the payload: class id, weight, body size, property flags, properties
    :raises pika.exceptions.InvalidFrameError: when the payload is malformed or of another class than basic
    """
    if len(payload) < 14:
        raise exceptions.InvalidFrameError(f"a content header of {len(payload)} octets is shorter than its fixed part")
    class_id, _weight, body_size = _HEADER_FIXED.unpack_from(payload)
    if class_id not in spec.props:
        raise exceptions.InvalidFrameError(f"a content header of class {class_id}, which carries no content")
    return body_size, spec.BasicProperties().decode(payload, 12)


# How many octets of a body frame are worth a part of their own.
_SMALLEST_PART = 16 * 1024

#: What :meth:`FrameReader.next_message` takes: channel number and method; with a content its properties and body.
Arrival = tuple[int, Union[spec.Basic.Deliver, spec.Basic.GetOk, spec.Basic.Ack], Any, Any]


class FrameReader:
    """Cuts a stream of bytes into frames, in time linear in the bytes however they arrive.

    Nothing is reserved for a size that the peer merely announced: a frame's size is held against
    `max_frame_size` as soon as its first seven octets are there, and what is kept is what arrived.

    :param max_frame_size: octets that a frame may have, its overhead of 8 included
    """

    __slots__ = (
        "_arrived",
        "_arrived_size",
        "_buffer",
        "_due",
        "_learner",
        "_part_of",
        "_position",
        "_shape",
        "max_frame_size",
    )

    def __init__(self, max_frame_size: int = spec.FRAME_MAX_SIZE) -> None:
        self.max_frame_size = max_frame_size
        self._buffer: bytes = b""
        self._position = 0
        # Of a body frame that is taken in parts: how many octets are still to come, the end octet included; and the
        # channel.
        self._due = 0
        self._part_of = 0
        # What came behind an incomplete frame, joined to it only when the frame is complete: joining at
        # every read would copy a frame as many times as it has reads.
        self._arrived: list[bytes | bytearray] = []
        self._arrived_size = 0
        # That of the deliveries that follow one another, if they are alike.
        self._shape: Shape | None = None
        self._learner = Learner()

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived, in any split.

        :param data: the bytes
        """
        if type(data) is not bytes:
            # What was read into a buffer of the caller's, who will read into it again.
            data = bytes(data)
        if self._position == len(self._buffer) and not self._arrived:
            self._buffer = data
            self._position = 0
            return
        self._arrived_size += len(data)
        if len(data) >= 1024:
            self._arrived.append(data)
        elif self._arrived and type(self._arrived[-1]) is bytearray:
            # Small reads share one buffer: an object for each would weigh many times its bytes.
            self._arrived[-1] += data
        else:
            self._arrived.append(bytearray(data))

    @property
    def buffered(self) -> int:
        """Octets that arrived and are in no frame that was taken."""
        return len(self._buffer) - self._position + self._arrived_size

    def peek(self, size: int) -> bytes:
        """Return up to `size` of the octets that would be read next, without taking them."""
        self._join()
        return self._buffer[self._position : self._position + size]

    def next_frame(self) -> tuple[int, int, bytes] | None:
        """Take the next frame.

        :returns: its type, its channel number and its payload, or None when no complete frame is there
        :raises pika.exceptions.InvalidFrameError: when its type is unknown, when it is larger than
            `max_frame_size` or when its end octet is not 206
        """
        while True:
            buffer = self._buffer
            position = self._position
            payload = position + 7
            missing = payload - len(buffer)
            if missing <= 0:
                frame_type, channel_number, size = _PREFIX.unpack_from(buffer, position)
                end = payload + size
                if size + FRAME_OVERHEAD > self.max_frame_size or frame_type not in _FRAME_TYPES:
                    self._refuse(frame_type, channel_number, size)
                missing = end + 1 - len(buffer)
                if missing <= 0:
                    if buffer[end] != _END:
                        _refuse_end(frame_type, channel_number, buffer[end])
                    self._position = end + 1
                    return frame_type, channel_number, buffer[payload:end]
            if missing > self._arrived_size:
                return None
            self._join()

    def next_piece(self) -> tuple[int, int, Any] | None:
        """As :meth:`next_frame`, but a body frame that is incomplete is handed out in parts of at least 16 KiB.

        A large body is copied once on its way this way, and not first into frames and then out of them.

        :returns: type, channel number, and payload; or, of a body frame only, a memoryview of a part of it
        """
        if self._due:
            return self._next_part()
        if self._position == len(self._buffer) and not self._arrived:
            return None
        found = self.next_frame()
        if found is not None or self.buffered < _SMALLEST_PART:
            return found
        in_buffer = self._position < len(self._buffer)
        frame_type = self._buffer[self._position] if in_buffer else self._arrived[0][0]
        if frame_type != spec.FRAME_BODY:
            # Nothing of it is worth a copy before it is complete.
            return None
        self._join()
        _, channel_number, size = _PREFIX.unpack_from(self._buffer, self._position)
        self._position += 7
        self._due, self._part_of = size + 1, channel_number
        return self._next_part()

    def _next_part(self) -> tuple[int, int, memoryview] | None:
        self._join()
        position, due = self._position, self._due
        available = len(self._buffer) - position
        if available < min(due, _SMALLEST_PART):
            return None
        # The last octet of the payload comes with the end octet, so that no part is empty.
        size = due - 1 if available >= due else min(available, due - 2)
        part = memoryview(self._buffer)[position : position + size]
        self._position += size
        self._due -= size
        if self._due == 1:
            end_octet = self._buffer[self._position]
            if end_octet != _END:
                _refuse_end(spec.FRAME_BODY, self._part_of, end_octet)
            self._position += 1
            self._due = 0
        if self._position == len(self._buffer):
            # Nothing is left, and whoever has taken the part may let go of it: the next read gets its memory.
            self._buffer, self._position = b"", 0
        return spec.FRAME_BODY, self._part_of, part

    def next_message(self) -> Arrival | None:
        """Take what comes next and is all there, if it is a basic.deliver or a basic.get-ok with its content, or a
        basic.ack.

        This is the hot path of consuming: three frames in one step, without a look at each; and that of publisher
        confirms. What it does not recognize it leaves alone, so that :meth:`next_frame` says what is wrong with it, if
        anything is.

        :returns: channel number, method, properties and body, the last two None with an ack; or None, and nothing was
            taken
        """
        buffer = self._buffer
        position = self._position
        if len(buffer) - position < _ACK_SIZE or self._due:
            return None
        shape = self._shape
        if shape is None or buffer[position + 10] != _DELIVER_OCTET:
            return self._next_unlike(buffer, position)
        # What is like the delivery before is not decoded but compared, which takes half the time.
        try:
            first, delivery_tag, second, body_size, third, size = shape.unpack(buffer, position)
            body = position + shape.size
            end = body + size
            if (
                first == shape.first
                and second == shape.second
                and third == shape.third
                and size == body_size
                and size
                and buffer[end] == _END
                and end - position < self.max_frame_size
            ):
                shape.hits += 1
                properties = _new_properties(spec.BasicProperties)
                properties.__dict__ = shape.properties.copy()
                method = spec.Basic.Deliver(
                    shape.consumer_tag, delivery_tag, shape.redelivered, shape.exchange, shape.routing_key
                )
                self._position = end + 1
                return shape.number, method, properties, buffer[body:end]
        except (struct.error, IndexError):
            # It is not all there.
            return self._next_unlike(buffer, position)
        if not self._learner.missed(shape):
            self._shape = None
        return self._next_unlike(buffer, position)

    def _next_unlike(self, buffer: bytes, position: int) -> Arrival | None:
        """As :meth:`next_message`, of what is like nothing before."""
        try:
            frame_type, number, size, index = _METHOD_PREFIX.unpack_from(buffer, position)
            if index == _ACK and size == _ACK_PAYLOAD and frame_type == 1:
                delivery_tag, bits, end_octet = _ACK_ENDS.unpack_from(buffer, position + 11)
                if end_octet != _END:
                    return None
                self._position = position + _ACK_SIZE
                return number, spec.Basic.Ack(delivery_tag, bits & 1 != 0), None, None
            if (index != _DELIVER and index != _GET_OK) or frame_type != 1:
                return None
            header = position + 7 + size
            header_begins, size, class_and_weight, body_size = _HEADER_BEGINS.unpack_from(buffer, header)
            body = header + 8 + size
            body_begins, size = _BODY_BEGINS.unpack_from(buffer, body)
            end = body + 8 + body_size
            if (
                not body_size  # and so no body frame is due
                or size != body_size
                or header_begins != _BEHIND_METHOD | number
                or body_begins != _BEHIND_HEADER | number
                or class_and_weight != _BASIC << 16
                or buffer[end] != _END
                # All three together, and so each of them.
                or end - position >= self.max_frame_size
            ):
                return None
            method = (
                _decode_deliver(buffer, position, header)
                if index == _DELIVER
                else _decode_get_ok(buffer, position, header)
            )
        except (struct.error, IndexError):
            return None
        properties = _new_properties(spec.BasicProperties)
        known = spec.repeating_properties.get(buffer[header + 20 : body])
        if known is None:
            properties.decode(buffer[header + 20 : body])
        else:
            # What decode() does with those that it has met before, without the call.
            properties.__dict__ = known.copy()
            if self._shape is None and type(method) is spec.Basic.Deliver and self._learner.is_time():
                places = Places(position, position + 12 + buffer[position + 11], header, body)
                self._shape = Shape(buffer, places, number, method, known)
        self._position = end + 1
        return number, method, properties, buffer[body + 8 : end]

    def _join(self) -> None:
        if self._arrived:
            self._buffer = b"".join([self._buffer[self._position :], *self._arrived])
            self._position = 0
            self._arrived.clear()
            self._arrived_size = 0

    def _refuse(self, frame_type: int, channel_number: int, size: int) -> None:
        if frame_type not in _FRAME_TYPES:
            raise exceptions.InvalidFrameError(f"unknown frame type {frame_type}: {self.peek(16)!r}")
        raise exceptions.InvalidFrameError(
            f"a frame of type {frame_type} on channel {channel_number} announces {size:,} octets of payload, "
            f"and frame_max is {self.max_frame_size:,} octets with the frame's overhead of {FRAME_OVERHEAD}"
        )


def _decode_deliver(buffer: bytes, position: int, end: int) -> spec.Basic.Deliver:
    # What comes again with each message, its consumer tag and where it was published to, is looked up whole.
    tag_end = position + 12 + buffer[position + 11]
    delivery_tag, bits = _TAG_AND_BITS.unpack_from(buffer, tag_end)
    exchange, routing_key = _routes[buffer[tag_end + 9 : end]]
    consumer_tag = _decoded[buffer[position + 11 : tag_end]]
    return spec.Basic.Deliver(consumer_tag, delivery_tag, bits & 1 != 0, exchange, routing_key)


def _decode_get_ok(buffer: bytes, position: int, end: int) -> spec.Basic.GetOk:
    # In the same way.
    delivery_tag, bits = _TAG_AND_BITS.unpack_from(buffer, position + 11)
    exchange, routing_key = _routes[buffer[position + 20 : end - 4]]
    (message_count,) = _MESSAGE_COUNT.unpack_from(buffer, end - 4)
    return spec.Basic.GetOk(delivery_tag, bits & 1 != 0, exchange, routing_key, message_count)


def _refuse_end(frame_type: int, channel_number: int, end_octet: int) -> NoReturn:
    raise exceptions.InvalidFrameError(
        f"a frame of type {frame_type} on channel {channel_number} ends in octet {end_octet}, not in {_END}"
    )


def _first_frame(data: bytes) -> tuple[int, int, bytes] | None:
    if type(data) is bytes and len(data) >= FRAME_OVERHEAD:
        frame_type, channel_number, size = _PREFIX.unpack_from(data)
        end = 7 + size
        if end < len(data) and data[end] == _END and frame_type in _FRAME_TYPES:
            return frame_type, channel_number, data[7:end]
    # It is not all there, or wrong, and a reader says how.
    reader = FrameReader(max_frame_size=0xFFFFFFFF + FRAME_OVERHEAD)
    reader.feed(data)
    return reader.next_frame()


def decode_frame(data_in: bytes) -> tuple[int, Frame | ProtocolHeader | None]:
    """Decode the frame at the beginning of a buffer.

    :param data_in: bytes that begin with a frame or a protocol header
    :returns: how many octets the frame takes, and the frame; ``(0, None)`` when it is not complete
    :raises pika.exceptions.InvalidFrameError: when the frame is malformed
    """
    if data_in[:4] == b"AMQP":
        if len(data_in) < 8:
            return 0, None
        return 8, ProtocolHeader(*data_in[5:8])
    found = _first_frame(data_in)
    if found is None:
        return 0, None
    frame_type, channel_number, payload = found
    taken = len(payload) + FRAME_OVERHEAD
    if frame_type == spec.FRAME_METHOD:
        return taken, Method(channel_number, decode_method(payload))
    if frame_type == spec.FRAME_HEADER:
        return taken, Header(channel_number, *decode_header(payload))
    if frame_type == spec.FRAME_BODY:
        return taken, Body(channel_number, payload)
    return taken, Heartbeat()
