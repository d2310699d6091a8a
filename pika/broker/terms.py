"""Field values in the words of RabbitMQ, which shows them as Erlang does in its reply texts."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from pika import data


def kind(value: Any) -> str:
    """Return RabbitMQ's name of a field value's type, such as ``longstr``."""
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return "table"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"),
    ((datetime, data.Timestamp), "timestamp"),
    (data.long, "long"),
    (int, "signedint"),
    (float, "double"),
    (Decimal, "decimal"),
    (str, "longstr"),
    (data.RawTable, "table"),
    (bytes, "binary"),
    (type(None), "void"),
    (list, "array"),
)


def plain(value: Any) -> Any:
    """Return a field value without its AMQP type, to be compared: RabbitMQ's ``==`` of two values."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bool):
        return str(value)  # neither is equal to a number
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def shown(value: Any) -> str:
    """Return a field value as RabbitMQ shows it in a text: strings as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return term(value)


def term(value: Any) -> str:
    """Return a field value as an Erlang term."""
    if isinstance(value, (bytes, str)):
        return binary(value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape"))
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "undefined"
    if isinstance(value, datetime):
        return str(_seconds(value))
    if isinstance(value, Decimal):
        _sign, _digits, exponent = value.as_tuple()
        places = max(-exponent, 0) if isinstance(exponent, int) else 0
        return f"{{{places},{int(value.scaleb(places))}}}"
    if isinstance(value, list):
        return "[" + ",".join(f"{{{kind(item)},{term(item)}}}" for item in value) + "]"
    if isinstance(value, dict):
        fields = (f"{{{term(key)},{kind(item)},{term(item)}}}" for key, item in value.items())
        return "[" + ",".join(fields) + "]"
    return repr(float(value)) if isinstance(value, float) else str(int(value))


def binary(value: bytes) -> str:
    """Return bytes as an Erlang binary: ``<<"text">>`` when printable, else ``<<0,1>>``."""
    if value and all(32 <= octet < 127 for octet in value):
        return f'<<"{value.decode()}">>'
    return f"<<{','.join(map(str, value))}>>"


def _seconds(value: datetime) -> int:
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return int(value.timestamp())
