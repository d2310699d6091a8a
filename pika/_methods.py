"""What the methods and the properties of :mod:`pika.spec` share: which argument is at fault, and property flags."""

from __future__ import annotations

import reprlib
from typing import Any

from pika._faults import (
    UNPACKABLE,
    InvalidInteger,
    InvalidString,
    InvalidTable,
    NotAnInteger,
    OverlongShortString,
    UnsupportedField,
    truncated,
)
from pika.amqp_object import Properties
from pika.data import encode_table, long_string, short_string
from pika.exceptions import ShortStringTooLong, UnsupportedAMQPFieldException

__all__ = ["UNENCODABLE", "refused", "skip_more_flags", "truncated"]

#: What encoding a method or properties may raise about their arguments; handed to :func:`refused`.
UNENCODABLE = (*UNPACKABLE, TypeError, AttributeError, ShortStringTooLong, UnsupportedAMQPFieldException)

_INTEGER_BITS = {"octet": 8, "short": 16, "long": 32, "longlong": 64, "timestamp": 64}


def skip_more_flags(encoded: bytes, offset: int) -> int:
    """Return the offset behind the words of property flags that follow the first; AMQP 0-9-1 defines none of them."""
    while encoded[offset + 1] & 1:
        offset += 2
    return offset + 2


def refused(name: str, owner: object, fields: tuple[tuple[str, str], ...], error: Exception) -> Exception:
    """Return what to raise for a method or properties that could not be encoded.

    :param name: of the method or the properties.
    :param owner: the object with the values.
    :param fields: the names of its arguments and their AMQP types.
    :param error: what encoding raised; returned itself where no argument as such is to blame.
    """
    for attribute, kind in fields:
        value = getattr(owner, attribute)
        if value is None and isinstance(owner, Properties):
            continue
        found = _fault(f"{name}: {attribute}", kind, value)
        if found is not None:
            return found
    return error


def _fault(where: str, kind: str, value: Any) -> Exception | None:
    """What is wrong with one argument, if anything is."""
    try:
        if kind in _INTEGER_BITS:
            return _integer_fault(where, _INTEGER_BITS[kind], value)
        if kind == "shortstr":
            short_string(value)
        elif kind == "longstr":
            long_string(value)
        elif kind == "table":
            encode_table([], value)
    except (InvalidString, InvalidTable) as error:
        return type(error)(f"{where}: {error}")
    except OverlongShortString as error:
        error.where = where if kind == "shortstr" else f"{where}: {error.where}"
        return error
    except UnsupportedField as error:
        error.path = (where, *error.path)
        return error
    except UnicodeEncodeError as error:
        return error
    return None


def _integer_fault(where: str, bits: int, value: Any) -> InvalidInteger | None:
    if not hasattr(type(value), "__index__"):
        return NotAnInteger(f"{where} must be an integer, not {reprlib.repr(value)} of type {type(value).__name__}")
    if not 0 <= value < 1 << bits:
        return InvalidInteger(f"{where} must be from 0 to {(1 << bits) - 1}, not {value}")
    return None
