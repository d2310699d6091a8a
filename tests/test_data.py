"""Field tables and primitive values."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import math
import pickle
import struct
import types
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pika import data
from pika.exceptions import (
    InvalidFieldTypeException,
    InvalidFrameError,
    ProtocolSyntaxError,
    ShortStringTooLong,
    UnsupportedAMQPFieldException,
)
from tests import strategies

UTC = datetime.timezone.utc


def encoded_value(value: Any) -> bytes:
    pieces: list[bytes] = []
    size = data.encode_value(pieces, value)
    wire = b"".join(pieces)
    assert size == len(wire)
    return wire


def encoded_table(table: Any) -> bytes:
    pieces: list[bytes] = []
    size = data.encode_table(pieces, table)
    wire = b"".join(pieces)
    assert size == len(wire)
    return wire


def table_of(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


# Encoding of values


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (None, b"V"),
        (True, b"t\x01"),
        (False, b"t\x00"),
        (1, b"I\x00\x00\x00\x01"),
        (-1, b"I\xff\xff\xff\xff"),
        (0x7FFFFFFF, b"I\x7f\xff\xff\xff"),
        (-0x80000000, b"I\x80\x00\x00\x00"),
        (0x80000000, b"l\x00\x00\x00\x00\x80\x00\x00\x00"),
        ((1 << 63) - 1, b"l\x7f" + b"\xff" * 7),
        (-(1 << 63), b"l\x80" + b"\x00" * 7),
        (data.long(5), b"l\x00\x00\x00\x00\x00\x00\x00\x05"),
        (1.5, b"d" + struct.pack(">d", 1.5)),
        ("é", b"S\x00\x00\x00\x02\xc3\xa9"),
        (b"\xff", b"x\x00\x00\x00\x01\xff"),
        (bytearray(b"ab"), b"x\x00\x00\x00\x02ab"),
        ([1, "a"], b"A\x00\x00\x00\x0bI\x00\x00\x00\x01S\x00\x00\x00\x01a"),
        ((None,), b"A\x00\x00\x00\x01V"),
        ({}, b"F\x00\x00\x00\x00"),
        ({"a": {"b": None}}, b"F\x00\x00\x00\x0a\x01aF\x00\x00\x00\x03\x01bV"),
        (OrderedDict(a=True), b"F\x00\x00\x00\x04\x01at\x01"),
        (Colour.RED, b"S\x00\x00\x00\x03red"),
        (Level.HIGH, b"I\x00\x00\x00\x03"),
        ({Colour.RED: None}, b"F\x00\x00\x00\x05\x03redV"),
        ({b"\xff": None}, b"F\x00\x00\x00\x03\x01\xffV"),
        (data.RawTable(b"\x01a?"), b"F\x00\x00\x00\x03\x01a?"),
        (data.Timestamp(1 << 62), b"T\x40" + b"\x00" * 7),
    ],
)
def test_value_on_the_wire(value: Any, wire: bytes) -> None:
    assert encoded_value(value) == wire


@pytest.mark.parametrize(
    ("text", "scale", "unscaled"),
    [
        ("1.5", 1, 15),
        ("-1.5", 1, -15),
        ("1.50", 1, 15),
        ("100", 0, 100),
        ("1E5", 0, 100000),
        ("0", 0, 0),
        ("-0.00", 0, 0),
        ("0E+500", 0, 0),
        ("1E-255", 255, 1),
        ("10E-256", 255, 1),
        ("2147483647", 0, 2147483647),
        ("-2147483648", 0, -2147483648),
        ("-21474836.48", 2, -2147483648),
    ],
)
def test_decimal_on_the_wire(text: str, scale: int, unscaled: int) -> None:
    wire = b"D" + struct.pack(">Bi", scale, unscaled)
    assert encoded_value(Decimal(text)) == wire
    assert data.decode_value(wire, 0) == (Decimal(text), 6)


def test_decimals_do_not_depend_on_the_precision_of_the_context() -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        value = Decimal("12345.678")
        assert data.decode_value(encoded_value(value), 0)[0] == value


@pytest.mark.parametrize(
    "value",
    [
        *map(Decimal, ("1E-256", "2147483648", "-2147483649", "1E40", "1E999999999", "0.1234567890123")),
        # PyPy makes no such number from text.
        pytest.param(Decimal((0, (1,) * 5000, 0)), id="5000 digits"),
    ],
    ids=str,
)
def test_decimal_that_does_not_fit(value: Decimal) -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match="32 bits of digits") as caught:
        encoded_value(value)
    assert isinstance(caught.value, struct.error)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_decimal_that_is_not_finite(text: str) -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match="not finite") as caught:
        encoded_value(Decimal(text))
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (datetime.datetime(2020, 1, 1), 1577836800),
        (datetime.datetime(2020, 1, 1, 0, 0, 0, 999999), 1577836800),
        (datetime.datetime(2020, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), 1577836800),
        (datetime.datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime.datetime(9999, 12, 31, 23, 59, 59), 253402300799),
    ],
)
def test_timestamp(moment: datetime.datetime, seconds: int) -> None:
    wire = encoded_value(moment)
    assert wire == b"T" + struct.pack(">Q", seconds)
    decoded, _ = data.decode_value(wire, 0)
    assert decoded == datetime.datetime.fromtimestamp(seconds, UTC)
    assert decoded.tzinfo is UTC


def test_timestamp_before_1970() -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match="no timestamp") as caught:
        encoded_value(datetime.datetime(1969, 12, 31, 23, 59, 59))
    assert isinstance(caught.value, struct.error)


@pytest.mark.parametrize("seconds", [253402300800, 1577840523000, (1 << 64) - 1])
def test_timestamp_that_datetime_cannot_hold(seconds: int) -> None:
    wire = b"T" + struct.pack(">Q", seconds)
    decoded, end = data.decode_value(wire, 0)
    assert (decoded, end) == (seconds, 9)
    assert isinstance(decoded, data.Timestamp)
    assert encoded_value(decoded) == wire


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, 1 << 200, data.long(1 << 63)])
def test_integer_beyond_64_bits(value: int) -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match="64 bits") as caught:
        encoded_table({"outer": {"count": value}})
    assert isinstance(caught.value, struct.error)
    assert isinstance(caught.value, ValueError)
    assert "outer.count" in str(caught.value)


@pytest.mark.parametrize("value", [{1}, object(), 1j, range(3), datetime.date(2020, 1, 1), types.MappingProxyType({})])
def test_type_without_wire_type(value: object) -> None:
    pieces: list[bytes] = []
    with pytest.raises(UnsupportedAMQPFieldException) as caught:
        data.encode_value(pieces, value)
    assert caught.value.args == (pieces, value)
    assert type(value).__name__ in str(caught.value)


def test_type_without_wire_type_is_found_by_its_path() -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match=r"the field 'a\.b'") as caught:
        encoded_table({"a": {"b": [set()]}})
    assert caught.value.args[1] == set()
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), UnsupportedAMQPFieldException)


def test_text_with_a_lone_surrogate() -> None:
    with pytest.raises(UnicodeEncodeError):
        encoded_value("\ud800")


@pytest.mark.parametrize("key", [1, None, 1.5, ("a",)])
def test_name_that_is_no_text(key: object) -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match="no name of a field") as caught:
        encoded_table({"outer": {key: 1}})
    assert isinstance(caught.value, AttributeError)


def test_longest_name() -> None:
    wire = encoded_table({"k" * 255: True})
    assert data.decode_table(wire, 0) == ({"k" * 255: True}, len(wire))


@pytest.mark.parametrize("key", ["k" * 256, "é" * 128])
def test_name_that_is_too_long(key: str) -> None:
    with pytest.raises(ShortStringTooLong, match="the name of a field takes 256 bytes") as caught:
        encoded_table({"a": {key: 1}})
    assert caught.value.args == (key.encode(),)


@pytest.mark.parametrize("empty", [None, {}, [], data.RawTable()])
def test_empty_table(empty: Any) -> None:
    assert encoded_table(empty) == b"\x00\x00\x00\x00"


@pytest.mark.parametrize("value", [5, "abc", [("a", 1)]])
def test_what_is_no_table(value: Any) -> None:
    with pytest.raises(AttributeError, match="must be a dict"):
        encoded_table(value)


# Decoding of values


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        (b"t\x02", True),
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xfe", -2),
        (b"U\xff\xfe", -2),
        (b"u\xff\xfe", 65534),
        (b"I" + b"\xff" * 4, -1),
        (b"i" + b"\xff" * 4, 0xFFFFFFFF),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"f" + struct.pack(">f", -1.5), -1.5),
        (b"d" + struct.pack(">d", 1e300), 1e300),
        (b"d" + struct.pack(">d", math.inf), math.inf),
        (b"D\x02\xff\xff\xff\xff", Decimal("-0.01")),
        (b"S\x00\x00\x00\x02\xc3\xa9", "é"),
        (b"S\x00\x00\x00\x02\xff\xfe", b"\xff\xfe"),
        (b"x\x00\x00\x00\x02ab", b"ab"),
        (b"V", None),
        (b"A\x00\x00\x00\x03VVV", [None, None, None]),
        (b"F\x00\x00\x00\x03\x01aV", {"a": None}),
    ],
)
def test_value_from_the_wire(wire: bytes, value: Any) -> None:
    decoded, end = data.decode_value(b"zz" + wire + b"zz", 2)
    assert (decoded, end) == (value, 2 + len(wire))
    assert type(decoded) in (type(value), data.long)
    # Whatever decodes also encodes, to something that decodes to the same.
    assert data.decode_value(encoded_value(decoded), 0)[0] == value


def test_the_last_of_equal_names_counts() -> None:
    assert data.decode_table(table_of(b"\x01at\x00\x01at\x01"), 0)[0] == {"a": True}


def test_names_may_be_empty_or_no_text() -> None:
    wire = table_of(b"\x00V\x02\xff\xfeV")
    decoded, _ = data.decode_table(wire, 0)
    assert decoded == {"": None, "\udcff\udcfe": None}
    assert encoded_table(decoded) == wire


def test_padding_of_voids() -> None:
    count = 100_000
    wire = table_of(b"\x00V" * count)
    assert data.decode_table(wire, 0) == ({"": None}, len(wire))
    array = b"A" + struct.pack(">I", count) + b"V" * count
    assert data.decode_value(array, 0) == ([None] * count, len(array))


def test_64_bit_integers_stay_64_bits_wide() -> None:
    decoded, _ = data.decode_value(b"l\x00\x00\x00\x00\x00\x00\x00\x05", 0)
    assert decoded == 5
    assert (str(decoded), repr(decoded), type(decoded + 1)) == ("5", "5L", int)
    assert encoded_value(decoded) == b"l\x00\x00\x00\x00\x00\x00\x00\x05"
    assert encoded_value(copy.deepcopy(decoded)) == encoded_value(decoded)


# Unknown types


@pytest.mark.parametrize("kind", sorted({*range(256)} - set(b"tbBsuUIilLfdDSxTAFV")))
def test_unknown_type_leaves_its_table_as_bytes(kind: int) -> None:
    payload = b"\x01at\x01\x01b" + bytes([kind]) + b"whatever"
    wire = table_of(payload)
    decoded, end = data.decode_table(wire + b"behind", 0)
    assert end == len(wire)
    assert isinstance(decoded, data.RawTable)
    assert decoded == payload
    assert encoded_table(decoded) == wire


def test_unknown_type_leaves_only_the_innermost_table_as_bytes() -> None:
    inner = b"\x01b?!"
    wire = table_of(b"\x01aF" + table_of(inner) + b"\x01ct\x01")
    decoded, _ = data.decode_table(wire, 0)
    assert decoded == {"a": data.RawTable(inner), "c": True}
    assert encoded_table(decoded) == wire


def test_unknown_type_in_an_array_leaves_the_table_around_it_as_bytes() -> None:
    payload = b"\x01aA\x00\x00\x00\x07A\x00\x00\x00\x02?!"
    decoded, _ = data.decode_table(table_of(b"\x01oF" + table_of(payload)), 0)
    assert decoded == {"o": data.RawTable(payload)}


def test_unknown_type_outside_of_a_table() -> None:
    with pytest.raises(InvalidFieldTypeException) as caught:
        data.decode_value(b"A\x00\x00\x00\x02?!", 0)
    assert caught.value.args == (b"?",)
    with pytest.raises(InvalidFieldTypeException) as caught:
        data.decode_value(b"", 0)
    assert caught.value.args == (b"",)


# Lies about lengths


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x01",
        b"\xff\xff\xff\xff\x01aV",
        table_of(b"\x01a"),
        table_of(b"\x05a"),
        table_of(b"\xff"),
        table_of(b"\x01at") + b"\x01",
        table_of(b"\x01al\x00"),
        table_of(b"\x01aD\x00"),
        table_of(b"\x01aS\x00\x00"),
        table_of(b"\x01aS\x00\x00\x00\x02a") + b"b",
        table_of(b"\x01ax\x00\x00\x00\x02a") + b"b",
        table_of(b"\x01aA\x00\x00\x00\x02V") + b"V",
        table_of(b"\x01aA\x00\x00\x00\x01t") + b"\x01",
        table_of(b"\x01aF\x00\x00\x00\x03\x01b") + b"V",
        table_of(b"\x01aF\x00\x00"),
    ],
)
def test_table_that_lies_about_a_length(wire: bytes) -> None:
    with pytest.raises(InvalidFrameError, match=r"announces|needs|left"):
        data.decode_table(wire, 0)


# Depth


def nested(depth: int, innermost: Any = None) -> Any:
    table: Any = {} if innermost is None else innermost
    for _ in range(depth - 1):
        table = {"a": table}
    return table


def nested_wire(depth: int) -> bytes:
    pieces = [b"\x00\x00\x00\x00"]
    size = 4
    for _ in range(depth - 1):
        pieces.append(struct.pack(">I", size + 3) + b"\x01aF")
        size += 7
    return b"".join(reversed(pieces))


def test_deepest_table() -> None:
    table = nested(data.MAX_DEPTH)
    wire = encoded_table(table)
    assert wire == nested_wire(data.MAX_DEPTH)
    assert data.decode_table(wire, 0) == (table, len(wire))


def test_deepest_value() -> None:
    value: Any = []
    for _ in range(data.MAX_DEPTH - 2):
        value = [value]
    wire = encoded_value(value)
    assert data.decode_value(wire, 0) == (value, len(wire))
    with pytest.raises(UnsupportedAMQPFieldException, match="32 deep"):
        encoded_value([[value]])


@pytest.mark.parametrize("depth", [data.MAX_DEPTH + 1, 10_000])
def test_table_that_is_too_deep(depth: int) -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match="nested more than 32 deep"):
        encoded_table(nested(depth))
    with pytest.raises(InvalidFrameError, match="nested more than 32 deep"):
        data.decode_table(nested_wire(depth), 0)


def test_array_that_is_too_deep() -> None:
    wire = b""
    for _ in range(10_000):
        wire = b"A" + struct.pack(">I", len(wire)) + wire
    with pytest.raises(InvalidFrameError, match="array is nested more than 32 deep"):
        data.decode_value(wire, 0)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UnsupportedAMQPFieldException, match="nested more than 32 deep"):
        encoded_table({"a": endless})


# Short strings


@pytest.mark.parametrize(
    ("value", "wire"), [("", b"\x00"), ("é", b"\x02\xc3\xa9"), (b"\xff", b"\x01\xff"), (Colour.RED, b"\x03red")]
)
def test_short_string(value: Any, wire: bytes) -> None:
    pieces: list[bytes] = []
    assert data.encode_short_string(pieces, value) == len(wire)
    assert b"".join(pieces) == wire
    assert data.encoded_short_strings[value] == wire


def test_short_string_that_is_no_utf8_survives() -> None:
    decoded, end = data.decode_short_string(b"z\x02\xff\xfez", 1)
    assert (decoded, end) == ("\udcff\udcfe", 4)
    assert data.short_string(decoded) == b"\x02\xff\xfe"
    assert data.decoded_short_strings[b"\x02\xff\xfe"] == decoded


@pytest.mark.parametrize("value", ["x" * 256, "é" * 128, b"x" * 300])
def test_short_string_that_is_too_long(value: Any) -> None:
    with pytest.raises(ShortStringTooLong, match=r"takes (256|300) bytes, AMQP allows 255") as caught:
        data.encode_short_string([], value)
    encoded = value.encode() if isinstance(value, str) else value
    assert caught.value.args == (encoded,)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [5, None, bytearray(b"a"), [1]])
def test_short_string_of_a_wrong_type(value: Any) -> None:
    with pytest.raises(AttributeError, match="must be str"):
        data.encode_short_string([], value)


@pytest.mark.parametrize("wire", [b"", b"\x01", b"\x05abcd", b"\xff" + b"a" * 254])
def test_short_string_that_is_cut_off(wire: bytes) -> None:
    with pytest.raises(InvalidFrameError):
        data.decode_short_string(wire, 0)


def test_long_string_of_a_wrong_type() -> None:
    with pytest.raises(AssertionError, match="must be str or bytes"):
        data.long_string(5)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(5000):
        text = f"key-{number}"
        wire = data.short_string(text)
        assert data.encoded_short_strings[text] == wire
        assert data.decoded_short_strings[wire] == text
        assert len(data.encoded_short_strings) <= 1024
        assert len(data.decoded_short_strings) <= 1024


# Anything


@given(strategies.field_tables())
def test_any_table_survives(table: dict[str, Any]) -> None:
    wire = encoded_table(table)
    assert data.decode_table(b"xy" + wire + b"z", 2) == (table, len(wire) + 2)


@given(strategies.field_values())
def test_any_value_survives(value: Any) -> None:
    wire = encoded_value(value)
    decoded, end = data.decode_value(wire, 0)
    assert (decoded, end) == (value, len(wire))


@given(st.binary(max_size=400))
@example(table_of(b"\x01a?"))
def test_any_bytes_are_a_table_or_an_error(wire: bytes) -> None:
    for candidate in (wire, table_of(wire)):
        try:
            decoded, end = data.decode_table(candidate, 0)
        except ProtocolSyntaxError:
            continue
        assert end <= len(candidate)
        assert encoded_table(decoded) == candidate[:end] or same(
            data.decode_table(encoded_table(decoded), 0)[0], decoded
        )


@given(strategies.field_tables(), st.integers(0, 255), st.integers(0, 10_000))
def test_any_damage_is_a_table_or_an_error(table: dict[str, Any], octet: int, position: int) -> None:
    wire = bytearray(encoded_table(table))
    wire[position % len(wire)] = octet
    try:
        decoded, end = data.decode_table(bytes(wire), 0)
    except ProtocolSyntaxError:
        return
    assert end <= len(wire)
    assert same(data.decode_table(encoded_table(decoded), 0)[0], decoded)


def same(left: Any, right: Any) -> bool:
    """Equal, where what is not a number equals itself."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))
