"""What the broker looks at in a message that is published, and what it changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pika import data, exceptions, spec
from pika.broker import errors, terms
from pika.broker.queues import Message, Queue
from pika.broker.routing import Exchange

#: The queue that stands for "reply to me directly".
REPLY_TO = "amq.rabbitmq.reply-to"

_Properties = spec.BasicProperties

# Properties that were looked at and have nothing for the broker, whoever publishes them to wherever.
_plain: dict[bytes, None] = {b"\x00\x00": None}

# What is longer is not likely to repeat, and would be held in memory for it.
_LONGEST_REMEMBERED = 256

_LONGEST_TTL = 0xFFFFFFFF


class Target:
    """Where publishes of one kind go: what one method frame says, and what was found out about it.

    :param arguments: the arguments of basic.publish as they travelled
    :raises pika.exceptions.InvalidFrameError: when they are malformed
    :raises errors.ConnectionRefusal: 501 when a short string is no text
    """

    __slots__ = ("exchange", "found", "immediate", "mandatory", "queues", "route", "routing_key", "version")

    def __init__(self, arguments: bytes) -> None:
        method = spec.Basic.Publish().decode(arguments)
        errors.check_text(method)
        self.exchange = method.exchange
        self.routing_key = method.routing_key
        self.mandatory = method.mandatory
        self.immediate = method.immediate
        #: Exchange and routing key, as a message carries them.
        self.route = arguments[2:-1]
        #: The version of the virtual host that the rest was found out at.
        self.version = -1
        self.found: Exchange | None = None
        #: Where messages go, or None when each has to be looked at.
        self.queues: list[Queue] | None = None


class Examined(NamedTuple):
    """What looking at a message found.

    ``header`` is the content header to send on, ``copies`` are the routing keys of CC and BCC, ``headers`` the headers.
    """

    header: bytes
    copies: Sequence[str]
    headers: Mapping[str, Any]


class Publication(NamedTuple):
    """A publish that waits for its transaction to be committed."""

    target: Target
    message: Message
    queues: Sequence[Queue]


def is_plain(properties: bytes) -> bool:
    """Whether these properties, as they travel, are known to have nothing for the broker."""
    return properties in _plain


def examine(header: bytes, user: str, reply_to: str | None) -> Examined:
    """Look at the properties of a message.

    :param header: the payload of its content header
    :param user: the name of the user who publishes it
    :param reply_to: what stands for the channel's direct reply consumer, None when it has none
    :raises errors.Refusal: 406 for what RabbitMQ refuses
    :raises errors.ConnectionRefusal: 541 when the properties are malformed
    """
    try:
        properties = _Properties().decode(header, 12)
    except exceptions.InvalidFrameError:
        raise errors.ConnectionRefusal(spec.INTERNAL_ERROR, named=False) from None
    if isinstance(properties.headers, data.RawTable):
        raise errors.ConnectionRefusal(spec.INTERNAL_ERROR, named=False)
    changed = False
    if properties.reply_to == REPLY_TO:
        if reply_to is None:
            raise errors.precondition("fast reply consumer does not exist")
        properties.reply_to = reply_to
        changed = True
    _check(properties, user)
    headers = properties.headers
    copies: list[str] = []
    if headers is not None:
        copies = _copies(headers, "CC") + _copies(headers, "BCC")
        if "BCC" in headers:
            del headers["BCC"]
            changed = True
    elif properties.user_id is None and not changed and len(header) <= _LONGEST_REMEMBERED:
        data.remember(_plain, header[12:], None)
    if changed:
        header = header[:12] + b"".join(properties.encode())
    return Examined(header, copies, headers or {})


def _check(properties: _Properties, user: str) -> None:
    if properties.user_id is not None and properties.user_id != user:
        raise errors.precondition(f"user_id property set to '{properties.user_id}' but authenticated user was '{user}'")
    if properties.expiration is not None:
        _check_expiration(properties.expiration)
    if properties.delivery_mode not in {None, 1, 2}:
        raise errors.precondition(f"invalid message: {{delivery_mode_unknown,{properties.delivery_mode}}}")


def _check_expiration(expiration: str) -> None:
    number = re.match(r"[+-]?[0-9]+", expiration)
    if number is None:
        fault = "no_integer"
    elif number.end() < len(expiration):
        fault = f'{{leftover_string,"{expiration[number.end() :]}"}}'
    elif int(number[0]) < 0:
        fault = f"{{value_negative,{int(number[0])}}}"
    elif int(number[0]) > _LONGEST_TTL:
        fault = f"{{value_too_large,{int(number[0])}}}"
    else:
        return
    raise errors.precondition(f"invalid expiration '{expiration}': {fault}")


def _copies(headers: dict[str, Any], name: str) -> list[str]:
    if name not in headers:
        return []
    value = headers[name]
    if not isinstance(value, list):
        raise errors.precondition(f'invalid message: {{unacceptable_type_in_header,"{name}",{terms.kind(value)}}}')
    return [key for key in value if isinstance(key, str)]
