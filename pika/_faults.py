"""What is wrong with values on their way to the wire and from it: each class also is what pika 1.x raises there."""

from __future__ import annotations

import reprlib
import struct

from pika.exceptions import InvalidChannelNumber, InvalidFrameError, ShortStringTooLong, UnsupportedAMQPFieldException

#: What packing a number that does not fit raises; PyPy has ValueError for what is negative where 64 bits are unsigned.
UNPACKABLE = (struct.error, ValueError)


class ChannelNumberOutOfRange(InvalidChannelNumber, struct.error):
    """A channel number that has no place in a frame."""


class InvalidString(TypeError, AssertionError):
    """An argument or a property that must be str (or bytes) is something else."""


class InvalidInteger(ValueError, struct.error):
    """An argument or a property that must be an integer does not fit its wire type."""


class NotAnInteger(InvalidInteger, TypeError):
    """An argument or a property that must be an integer is something else."""


class InvalidTable(TypeError, AttributeError):
    """An argument or a property that must be a table is something else."""


class OverlongShortString(ShortStringTooLong):
    """A short string takes more than 255 bytes of UTF-8; its argument is those bytes."""

    #: The method and the argument, or what else the string is for.
    where = "a short string"

    def __str__(self) -> str:
        (encoded,) = self.args
        return f"{self.where} takes {len(encoded)} bytes, AMQP allows 255; shorten {reprlib.repr(encoded)}"


class UnsupportedField(UnsupportedAMQPFieldException):
    """A value cannot be put into a field table; the arguments are the pieces encoded so far and the value."""

    #: The keys that lead to the value, outermost first.
    path: tuple[str, ...] = ()
    #: Why it cannot.
    reason = "has no AMQP field type; use None, bool, int, float, Decimal, str, bytes, datetime, list, tuple or dict"

    def __str__(self) -> str:
        value = self.args[-1]
        where = f"the field {'.'.join(self.path)!r}: " if self.path else ""
        return f"{where}{reprlib.repr(value)} of type {type(value).__name__} {self.reason}"


class FieldOutOfRange(UnsupportedField, InvalidInteger):
    """A number, a timestamp or a nesting in a field table is larger than what AMQP has room for."""


class FieldNotFinite(FieldOutOfRange, TypeError):
    """A Decimal in a field table is infinite or not a number."""

    reason = "is not finite, which AMQP's decimals are; send a float or a string"


class InvalidFieldName(UnsupportedField, AttributeError):
    """A key of a field table is no str."""

    reason = "is no name of a field; use str"


def overrun(what: str, announced: int, present: int) -> InvalidFrameError:
    """Return what to raise for a string, a table or an array that announces more than there is."""
    return InvalidFrameError(f"{what} announces {announced} bytes where {present} are left; the sender is at fault")


def truncated(name: str, encoded: bytes) -> InvalidFrameError:
    """Return what to raise for a method or properties that announce more than there is."""
    return InvalidFrameError(
        f"{name} announces more than the {len(encoded)} bytes that arrived; the sender is at fault"
    )
