"""Where versions of RabbitMQ answer differently. The embedded broker is like RabbitMQ 3.10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Profile(NamedTuple):
    """What a version of RabbitMQ does."""

    #: The protocol header that answers one of another protocol.
    protocol_header: bytes
    #: The smallest frame_max that a client may choose.
    frame_max_minimum: int
    #: Reply code and text for a body frame that goes beyond the size that was announced.
    body_beyond_size: tuple[int, str]
    #: Octets of a body that may be announced; None: the size is looked at when the body is there.
    announced_body_maximum: int | None
    #: Reply code for an exchange type that there is not; 503 ends the connection, 406 the channel.
    unknown_exchange_type: int
    #: Whether a headers exchange takes 1 and 1.0 for equal.
    integers_match_floats: bool
    #: Whether a headers exchange takes equal timestamps for equal.
    timestamps_match: bool
    #: Whether basic.qos with `global` bounds the channel; otherwise it is like one without.
    channel_prefetch: bool
    #: Whether headers arrive sorted by their names.
    headers_are_sorted: bool
    #: Whether every mandatory message to a direct reply-to address comes back, delivered or not; otherwise none that
    #: looks like one does.
    mandatory_replies_return: bool
    #: Whether a refusal says which access was refused, and a passive declare needs one.
    accesses_have_names: bool


RABBITMQ_3 = Profile(
    protocol_header=b"AMQP\x00\x00\x09\x01",
    frame_max_minimum=4096,
    body_beyond_size=(505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead"),
    announced_body_maximum=None,
    unknown_exchange_type=503,
    integers_match_floats=True,
    timestamps_match=True,
    channel_prefetch=True,
    headers_are_sorted=False,
    mandatory_replies_return=True,
    accesses_have_names=False,
)

RABBITMQ_4 = Profile(
    protocol_header=b"AMQP\x03\x01\x00\x00",
    frame_max_minimum=8192,
    body_beyond_size=(501, "FRAME_ERROR - content body frame exceeds remaining content size"),
    announced_body_maximum=536870912,
    unknown_exchange_type=406,
    integers_match_floats=False,
    timestamps_match=False,
    channel_prefetch=False,
    headers_are_sorted=True,
    mandatory_replies_return=False,
    accesses_have_names=True,
)


def profile_for(server_properties: Mapping[str, Any]) -> Profile:
    """Return the profile of the broker that introduces itself with these properties."""
    version = str(server_properties["version"])
    if server_properties["product"] == "RabbitMQ" and int(version.split(".")[0]) >= 4:
        return RABBITMQ_4
    return RABBITMQ_3
