"""What deliveries that follow one another have in common, so that it is compared and not decoded.

The frames of two messages for one consumer, published alike, differ in the delivery tag, the size of the body, and the
body. All the rest is three runs of octets.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, NamedTuple

from pika import spec

# A shape is learned from every so many deliveries that fitted none: more and more, while what is learned does not pay.
_FIRST_PATIENCE = 8
_LONGEST_PATIENCE = 1024
# So many deliveries that fit pay for learning a shape.
_PAYS = 16


class Shape:
    """The shape of a delivery: its method frame, its content header frame, and how its body frame begins.

    :ivar unpack: takes buffer and position; returns the runs of octets that must be equal, and between them delivery
        tag, size of the body, and size of the body frame: ``(first, tag, second, size, third, size)``
    :ivar first: from the beginning of the method frame to the delivery tag
    :ivar second: from behind that to the size of the body in the content header
    :ivar third: from behind that to the size of the body frame
    :ivar size: octets before the body
    :ivar number: the channel number
    :ivar consumer_tag: an argument of basic.deliver, as the following ones are
    :ivar redelivered: see above
    :ivar exchange: see above
    :ivar routing_key: see above
    :ivar properties: what the ``__dict__`` of the properties is a copy of
    :ivar hits: how many deliveries have fitted since the last one that did not

    :param buffer: what the delivery is in from which it is learned
    :param at: where its parts begin in that
    :param number: see above
    :param method: the delivery's method
    :param properties: see above
    """

    __slots__ = (
        "consumer_tag",
        "exchange",
        "first",
        "hits",
        "number",
        "properties",
        "redelivered",
        "routing_key",
        "second",
        "size",
        "third",
        "unpack",
    )

    def __init__(
        self, buffer: bytes, at: Places, number: int, method: spec.Basic.Deliver, properties: dict[str, Any]
    ) -> None:
        # Behind the tag there are its 8 octets; behind the body's size, 8; the size of a body frame ends the third run.
        runs = (
            at.tag - at.method,
            at.header + 12 - (at.tag + 8),
            at.body + 4 - (at.header + 20),
        )
        layout = struct.Struct(">{}sQ{}sQ{}sL".format(*runs))
        self.unpack: Callable[[bytes, int], tuple[bytes, int, bytes, int, bytes, int]] = layout.unpack_from
        self.size = layout.size
        self.first, _, self.second, _, self.third, _ = self.unpack(buffer, at.method)
        self.number = number
        self.consumer_tag = method.consumer_tag
        self.redelivered = method.redelivered
        self.exchange = method.exchange
        self.routing_key = method.routing_key
        self.properties = properties
        self.hits = 0


class Places(NamedTuple):
    """Where a delivery's parts begin in a buffer.

    :ivar method: its first octet
    :ivar tag: the delivery tag
    :ivar header: the end octet of the method frame, before the content header frame
    :ivar body: the end octet of the content header frame, before the body frame
    """

    method: int
    tag: int
    header: int
    body: int


class Learner:
    """Says when to learn a shape, so that messages that are all different pay next to nothing for it."""

    __slots__ = ("_patience", "_seen")

    def __init__(self) -> None:
        self._patience = _FIRST_PATIENCE
        self._seen = 0

    def missed(self, shape: Shape) -> bool:
        """Take note of a delivery that did not fit.

        :param shape: the shape that it did not fit
        :returns: whether to keep the shape
        """
        if shape.hits >= _PAYS:
            shape.hits = 0
            self._patience = _FIRST_PATIENCE
            return True
        self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
        return False

    def is_time(self) -> bool:
        """Say whether to learn the shape of the delivery that was just decoded."""
        self._seen += 1
        if self._seen < self._patience:
            return False
        self._seen = 0
        return True
