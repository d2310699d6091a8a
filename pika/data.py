"""Field tables and the primitive values of AMQP 0-9-1, in bytes and in Python.

Field types are those that RabbitMQ sends and reads (its errata to AMQP 0-9-1), not those of the
specification's text. Whatever is decoded here can be encoded again.

========================  ==================================  ======================================
on the wire               decoded as                          encoded from
========================  ==================================  ======================================
``t``                     bool                                bool
``b B s U u I i``         int                                 int of 32 bits (as ``I``)
``l L``                   long (an int)                       long, int of 64 bits (as ``l``)
``f d``                   float                               float (as ``d``)
``D``                     Decimal                             Decimal
``S``                     str, or bytes if it is no UTF-8     str
``x``                     bytes                               bytes, bytearray
``T``                     datetime in UTC, or Timestamp       datetime (without zone: UTC), Timestamp
``A``                     list                                list, tuple
``F``                     dict, or RawTable                   dict, RawTable
``V``                     None                                None
========================  ==================================  ======================================

A table or an array may be nested in others down to :data:`MAX_DEPTH`.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NoReturn, TypeVar, cast

from pika._faults import (
    UNPACKABLE,
    FieldNotFinite,
    FieldOutOfRange,
    InvalidFieldName,
    InvalidInteger,
    InvalidString,
    InvalidTable,
    OverlongShortString,
    UnsupportedField,
    overrun,
)
from pika.exceptions import InvalidFieldTypeException, InvalidFrameError

__all__ = [
    "MAX_DEPTH",
    "FieldNotFinite",
    "FieldOutOfRange",
    "InvalidFieldName",
    "InvalidInteger",
    "InvalidString",
    "InvalidTable",
    "OverlongShortString",
    "RawTable",
    "Timestamp",
    "UnsupportedField",
    "decode_long_string",
    "decode_short_string",
    "decode_table",
    "decode_value",
    "decoded_short_strings",
    "encode_short_string",
    "encode_table",
    "encode_value",
    "encoded_short_strings",
    "long",
    "long_string",
    "remember",
    "short_string",
]

#: How deep tables and arrays may be nested, in both directions. The outermost table is at depth 1.
MAX_DEPTH = 32

# How many short strings are remembered in each direction, so that those which repeat cost a lookup.
_REMEMBERED = 1024

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_OCTET = struct.Struct(">B")
_LONG = struct.Struct(">I")
_unpack_size = _LONG.unpack_from
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND = timedelta(seconds=1)


class long(int):
    """A 64-bit integer of a field table, so that it is encoded again as one (``l``) whatever its value."""

    def __repr__(self) -> str:
        return f"{int(self)}L"

    __str__ = int.__repr__


class Timestamp(int):
    """Seconds since 1970 of a timestamp beyond the year 9999, which datetime cannot hold; often milliseconds."""


class RawTable(bytes):
    """The bytes of a field table that holds a type unknown to us, without its length; encoded again as it came."""


# Short strings ------------------------------------------------------------------------------------------------


def remember(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Enter something that is likely to repeat into a table, which is emptied when it is full."""
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = value


class _DecodedShortStrings(dict[bytes, str]):
    """Short strings by their bytes, length included; those not yet met are decoded.

    The length is part of the key, so that one cut short by the end of the buffer never matches.
    """

    def __missing__(self, key: bytes) -> str:
        if len(key) != key[0] + 1:
            raise IndexError("the short string is cut off")
        value = key[1:].decode(errors="surrogateescape")
        remember(self, key, value)
        return value


class _EncodedShortStrings(dict[str, bytes]):
    """The bytes of short strings, length included, by their value; those not yet met are encoded."""

    def __missing__(self, value: object) -> bytes:
        encoded = short_string(value)
        if type(value) is str:
            remember(self, value, encoded)
        return encoded


#: ``decoded_short_strings[encoded[offset:end]]`` is the str in those bytes, of which the first is the length.
#: Raises IndexError for bytes that are fewer than announced. For strings that repeat.
decoded_short_strings: dict[bytes, str] = _DecodedShortStrings()
#: ``encoded_short_strings[value]`` is :func:`short_string` of a value that repeats.
encoded_short_strings: dict[str, bytes] = _EncodedShortStrings()


def short_string(value: object) -> bytes:
    """Return a short string as it travels: a length octet and UTF-8.

    :param value: str, in which surrogate escapes stand for bytes that were no UTF-8; or bytes, sent as they are.
    :raises InvalidString: it is neither.
    :raises ShortStringTooLong: it takes more than 255 bytes.
    """
    if isinstance(value, str):
        encoded = value.encode("utf-8", "surrogateescape")
    elif isinstance(value, bytes):
        encoded = value
    else:
        raise InvalidString(f"a short string must be str, not {reprlib.repr(value)} of type {type(value).__name__}")
    if len(encoded) > 255:
        raise OverlongShortString(encoded)
    return _OCTET.pack(len(encoded)) + encoded


def encode_short_string(pieces: list[bytes], value: str | bytes) -> int:
    """Append a short string (AMQP 0-9-1, 4.2.5.3) to ``pieces`` and return how many bytes it takes.

    :raises InvalidTable: ``value`` is neither str nor bytes.
    :raises ShortStringTooLong: it takes more than 255 bytes of UTF-8.
    """
    try:
        encoded = short_string(value)
    except InvalidString as error:
        # Here programs know an AttributeError, and an AssertionError where a method is encoded.
        raise InvalidTable(*error.args) from None
    pieces.append(encoded)
    return len(encoded)


def decode_short_string(encoded: bytes, offset: int) -> tuple[str, int]:
    """Return the short string at ``offset`` of ``encoded``, and the offset behind it.

    Bytes that are no UTF-8 become surrogate escapes, which :func:`encode_short_string` turns back into the bytes.

    :raises InvalidFrameError: ``encoded`` ends before the string does.
    """
    if offset >= len(encoded):
        raise InvalidFrameError(f"a short string is missing at offset {offset} of {len(encoded)} bytes")
    end = offset + 1 + encoded[offset]
    if end > len(encoded):
        raise overrun("a short string", encoded[offset], len(encoded) - offset - 1)
    return encoded[offset + 1 : end].decode(errors="surrogateescape"), end


# Long strings -------------------------------------------------------------------------------------------------


def long_string(value: object) -> bytes:
    """Return a long string as it travels: four octets of length and the bytes; str is sent as UTF-8.

    :raises InvalidString: ``value`` is neither str nor bytes.
    """
    if isinstance(value, str):
        value = value.encode("utf-8")
    elif not isinstance(value, bytes):
        raise InvalidString(f"a long string must be str or bytes, not {reprlib.repr(value)}")
    return _LONG.pack(len(value)) + value


def decode_long_string(encoded: bytes, offset: int) -> tuple[bytes, int]:
    """Return the bytes of the long string at ``offset`` of ``encoded``, and the offset behind it.

    :raises InvalidFrameError: ``encoded`` ends before the string does.
    """
    start, end = _extent(encoded, offset, len(encoded), "a long string")
    return encoded[start:end], end


# Encoding of field tables -------------------------------------------------------------------------------------


def encode_table(pieces: list[bytes], table: dict[str, Any] | RawTable | None) -> int:
    """Append a field table to ``pieces`` and return how many bytes it takes, its length included.

    :param table: a mapping of names to values; None is an empty table.
    :raises InvalidTable: it is no table.
    :raises ShortStringTooLong: a name takes more than 255 bytes.
    :raises UnsupportedAMQPFieldException: a value or a name has no wire type, or is nested too deep.
    """
    return _encode_table(pieces, table or {}, 1)


def encode_value(pieces: list[bytes], value: Any) -> int:
    """Append a field value, its type first, to ``pieces`` and return how many bytes it takes.

    :param value: of one of the types that the table in :mod:`pika.data` lists.
    :raises ShortStringTooLong: a name in a nested table takes more than 255 bytes.
    :raises UnsupportedAMQPFieldException: the value has no wire type, or is nested too deep.
    """
    return _encode_value(pieces, value, 1)


def _encode_table(pieces: list[bytes], table: Any, depth: int) -> int:
    if isinstance(table, RawTable):
        pieces.append(_LONG.pack(len(table)) + table)
        return 4 + len(table)
    try:
        items = table.items()
    except AttributeError:
        raise InvalidTable(f"a table must be a dict, not {reprlib.repr(table)}") from None
    slot = len(pieces)
    pieces.append(b"")
    size = 0
    for key, value in items:
        try:
            name = encoded_short_strings[key]
            pieces.append(name)
            size += len(name) + _encode_value(pieces, value, depth)
        except UnsupportedField as error:
            error.path = (str(key), *error.path)
            raise
        except InvalidString:
            raise InvalidFieldName(pieces, key) from None
        except OverlongShortString as error:
            error.where = "the name of a field"
            raise
    pieces[slot] = _LONG.pack(size)
    return 4 + size


def _encode_value(pieces: list[bytes], value: Any, depth: int) -> int:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = _inherited_encoder(pieces, value)
    return encoder(pieces, value, depth)


def _inherited_encoder(pieces: list[bytes], value: object) -> _Encoder:
    for base in type(value).__mro__:
        if base in _ENCODERS:
            return _ENCODERS[base]
    raise UnsupportedField(pieces, value)


def _out_of_range(pieces: list[bytes], value: object, reason: str) -> NoReturn:
    error = FieldOutOfRange(pieces, value)
    error.reason = reason
    raise error


def _encode_none(pieces: list[bytes], value: None, depth: int) -> int:
    pieces.append(b"V")
    return 1


def _encode_bool(pieces: list[bytes], value: bool, depth: int) -> int:
    pieces.append(b"t\x01" if value else b"t\x00")
    return 2


_pack_int = struct.Struct(">ci").pack
_pack_long = struct.Struct(">cq").pack
_pack_unsigned_long = struct.Struct(">cQ").pack
_pack_double = struct.Struct(">cd").pack
_pack_decimal = struct.Struct(">cBi").pack
_pack_tag_and_size = struct.Struct(">cI").pack


def _encode_int(pieces: list[bytes], value: int, depth: int) -> int:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        pieces.append(_pack_int(b"I", value))
        return 5
    return _encode_long(pieces, value, depth)


def _encode_long(pieces: list[bytes], value: int, depth: int) -> int:
    try:
        pieces.append(_pack_long(b"l", value))
    except UNPACKABLE:
        _out_of_range(pieces, value, "does not fit into 64 bits, signed; send it as a string")
    return 9


def _encode_float(pieces: list[bytes], value: float, depth: int) -> int:
    pieces.append(_pack_double(b"d", value))
    return 9


def _encode_decimal(pieces: list[bytes], value: Decimal, depth: int) -> int:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise FieldNotFinite(pieces, value)
    text = "".join(map(str, digits)).lstrip("0")
    spare = min(len(text) - len(text.rstrip("0")), max(-exponent, 0))
    text, exponent = text[: len(text) - spare], exponent + spare
    if not text:
        exponent = 0
    # Ten digits are enough for 32 bits; where there would be more, no number is computed.
    if len(text) + max(exponent, 0) <= 10 and exponent >= -255:
        unscaled = int(text or "0") * 10 ** max(exponent, 0) * (-1 if sign else 1)
        if -0x80000000 <= unscaled <= 0x7FFFFFFF:
            pieces.append(_pack_decimal(b"D", max(-exponent, 0), unscaled))
            return 6
    _out_of_range(
        pieces, value, "has more than 32 bits of digits or more than 255 decimal places; send a float or a string"
    )


def _encode_str(pieces: list[bytes], value: str, depth: int) -> int:
    encoded = value.encode("utf-8")
    pieces.append(_pack_tag_and_size(b"S", len(encoded)) + encoded)
    return 5 + len(encoded)


def _encode_bytes(pieces: list[bytes], value: bytes, depth: int) -> int:
    pieces.append(_pack_tag_and_size(b"x", len(value)) + value)
    return 5 + len(value)


def _encode_datetime(pieces: list[bytes], value: datetime, depth: int) -> int:
    if value.utcoffset() is None:
        value = value.replace(tzinfo=timezone.utc)
    return _encode_timestamp(pieces, (value - _EPOCH) // _SECOND, depth)


def _encode_timestamp(pieces: list[bytes], value: int, depth: int) -> int:
    try:
        pieces.append(_pack_unsigned_long(b"T", value))
    except UNPACKABLE:
        _out_of_range(pieces, value, "seconds since 1970 are no timestamp, which is 64 bits, unsigned; send a string")
    return 9


def _encode_array(pieces: list[bytes], value: list[Any], depth: int) -> int:
    depth = _deeper(pieces, value, depth)
    slot = len(pieces)
    pieces.append(b"")
    size = 0
    for item in value:
        size += _encode_value(pieces, item, depth)
    pieces[slot] = _pack_tag_and_size(b"A", size)
    return 5 + size


def _encode_nested_table(pieces: list[bytes], value: dict[str, Any], depth: int) -> int:
    depth = _deeper(pieces, value, depth)
    pieces.append(b"F")
    return 1 + _encode_table(pieces, value, depth)


def _deeper(pieces: list[bytes], value: object, depth: int) -> int:
    if depth >= MAX_DEPTH:
        _out_of_range(pieces, value, f"is nested more than {MAX_DEPTH} deep; send a flatter table or a string")
    return depth + 1


_Encoder = Callable[[list[bytes], Any, int], int]
_ENCODERS: dict[type, _Encoder] = {
    type(None): _encode_none,
    bool: _encode_bool,
    int: _encode_int,
    long: _encode_long,
    float: _encode_float,
    Decimal: _encode_decimal,
    str: _encode_str,
    bytes: _encode_bytes,
    bytearray: _encode_bytes,
    datetime: _encode_datetime,
    Timestamp: _encode_timestamp,
    list: _encode_array,
    tuple: _encode_array,
    dict: _encode_nested_table,
    RawTable: _encode_nested_table,
}


# Decoding of field tables -------------------------------------------------------------------------------------


def decode_table(encoded: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """Return the field table at ``offset`` of ``encoded``, and the offset behind it.

    A table that holds a type which RabbitMQ does not define is returned as :class:`RawTable`, nested or not;
    the tables around it are decoded.

    :raises InvalidFrameError: a length in it is a lie, or it is nested too deep.
    """
    table, end = _decode_table(encoded, offset, len(encoded), 0)
    return cast("dict[str, Any]", table), end


def decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
    """Return the field value whose type is at ``offset`` of ``encoded``, and the offset behind it.

    :raises InvalidFieldTypeException: its type, or that of an element of an array, is unknown or missing.
    :raises InvalidFrameError: a length in it is a lie, or it is nested too deep.
    """
    return _decode_value(encoded, offset, len(encoded), 1)


def _extent(encoded: bytes, offset: int, limit: int, what: str) -> tuple[int, int]:
    """Where the contents of something that begins with a length begin and end; never beyond ``limit``."""
    start = offset + 4
    if start > limit:
        raise InvalidFrameError(f"{what} needs 4 bytes for its length where {max(limit - offset, 0)} are left")
    (size,) = _unpack_size(encoded, offset)
    if start + size > limit:
        raise overrun(what, size, limit - start)
    return start, start + size


def _decode_table(encoded: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
    start, end = _extent(encoded, offset, limit, "a field table")
    depth += 1
    if depth > MAX_DEPTH:
        raise InvalidFrameError(f"a field table is nested more than {MAX_DEPTH} deep")
    table = {}
    offset = start
    names, decoders = decoded_short_strings, _DECODERS
    try:
        while offset < end:
            kind_at = offset + 1 + encoded[offset]
            if kind_at >= end:
                raise overrun("the name of a field", encoded[offset] + 1, end - offset - 1)
            name = names[encoded[offset:kind_at]]
            table[name], offset = decoders[encoded[kind_at]](encoded, kind_at + 1, end, depth)
    except (KeyError, InvalidFieldTypeException):
        return RawTable(encoded[start:end]), end
    return table, end


def _decode_value(encoded: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
    if offset >= limit:
        raise InvalidFieldTypeException(b"")
    decoder = _DECODERS.get(encoded[offset])
    if decoder is None:
        raise InvalidFieldTypeException(encoded[offset : offset + 1])
    return decoder(encoded, offset + 1, limit, depth)


def _decode_array(encoded: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
    offset, end = _extent(encoded, offset, limit, "an array")
    depth += 1
    if depth > MAX_DEPTH:
        raise InvalidFrameError(f"an array is nested more than {MAX_DEPTH} deep")
    items = []
    while offset < end:
        item, offset = _decode_value(encoded, offset, end, depth)
        items.append(item)
    return items, end


def _decode_text(encoded: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
    # As `_extent`, without the call: headers are mostly strings.
    start = offset + 4
    if start > limit:
        raise InvalidFrameError(f"a string needs 4 bytes for its length where {limit - offset} are left")
    end = start + _unpack_size(encoded, offset)[0]
    if end > limit:
        raise overrun("a string", end - start, limit - start)
    value = encoded[start:end]
    try:
        return value.decode(), end
    except UnicodeDecodeError:
        return value, end


def _decode_bytes(encoded: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
    start, end = _extent(encoded, offset, limit, "a byte array")
    return encoded[start:end], end


def _decode_none(encoded: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
    return None, offset


def _fixed(layout: str, convert: Callable[..., Any] | None = None) -> _Decoder:
    """A decoder of a value of fixed width."""
    fields = struct.Struct(">" + layout)
    size, unpack = fields.size, fields.unpack_from

    def decode(encoded: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
        end = offset + size
        if end > limit:
            raise InvalidFrameError(f"a field value needs {size} bytes where {limit - offset} are left")
        values = unpack(encoded, offset)
        return values[0] if convert is None else convert(*values), end

    return decode


def _to_decimal(scale: int, unscaled: int) -> Decimal:
    # Built from its digits: arithmetic would round to the precision of the user's decimal context.
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def _to_datetime(seconds: int) -> datetime | Timestamp:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return Timestamp(seconds)


_Decoder = Callable[[bytes, int, int, int], tuple[Any, int]]
_DECODERS: dict[int, _Decoder] = {
    ord(kind): decoder
    for kind, decoder in {
        "t": _fixed("?"),
        "b": _fixed("b"),
        "B": _fixed("B"),
        "s": _fixed("h"),
        "U": _fixed("h"),
        "u": _fixed("H"),
        "I": _fixed("i"),
        "i": _fixed("I"),
        "l": _fixed("q", long),
        "L": _fixed("q", long),
        "f": _fixed("f"),
        "d": _fixed("d"),
        "D": _fixed("Bi", _to_decimal),
        "T": _fixed("Q", _to_datetime),
        "S": _decode_text,
        "x": _decode_bytes,
        "A": _decode_array,
        "F": _decode_table,
        "V": _decode_none,
    }.items()
}
