"""Checks of the values given as connection parameters.

Each returns the value to store and raises ``TypeError`` for a wrong type, ``ValueError`` for a wrong value; the message
names the parameter, what is allowed and what was given.
"""

from __future__ import annotations

import copy
import math
import numbers
from typing import Any, Callable


def text(name: str, value: object) -> str:
    """Any ``str``."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, but got {value!r}")
    return value


def integer(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """An ``int`` from ``minimum`` to ``maximum``."""
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, but got {value!r}")
    if value < minimum or (maximum is not None and value > maximum):
        allowed = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{name} must be {allowed}, but got {value!r}")
    return value


def convertible_to_port(name: str, value: Any) -> int:
    """A TCP port from 0 to 65535, or what ``int()`` makes one of."""
    try:
        port = int(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be an int, but got {value!r}") from None
    if not 0 <= port <= 65535:
        raise ValueError(f"{name} must be from 0 to 65535, but got {value!r}")
    return port


def seconds(name: str, value: Any) -> float:
    """A real number, in the type in which it was given."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a float or int of seconds, but got {value!r}")
    if math.isnan(value):
        raise ValueError(f"{name} must be a number of seconds, but got {value!r}")
    return value  # type: ignore[return-value]  # numbers.Real is no static type; a float or an int comes here


def positive_seconds_or_none(name: str, value: Any) -> float | None:
    """A number of seconds above 0 as ``float``, or ``None`` for no limit."""
    if value is None:
        return None
    if seconds(name, value) <= 0:
        raise ValueError(f"{name} must be > 0 seconds, or None for no limit, but got {value!r}")
    return float(value)


def seconds_or_none(name: str, value: Any) -> float | None:
    """A number of seconds, 0 or above, or ``None`` for no limit."""
    if value is None:
        return None
    if seconds(name, value) < 0:
        raise ValueError(f"{name} must be >= 0 seconds, or None for no limit, but got {value!r}")
    return value  # type: ignore[no-any-return]  # checked by `seconds`


def heartbeat(name: str, value: Any) -> int | Callable[[Any, int], int] | None:
    """Seconds that fit AMQP's short integer, a function that decides them, or ``None`` for the broker's proposal."""
    if value is None:
        return None
    if isinstance(value, int):
        return integer(name, value, 0, 65535)
    if callable(value):
        return value  # type: ignore[no-any-return]  # its signature cannot be checked here
    raise TypeError(f"{name} must be an int of seconds, a callable or None, but got {value!r}")


def dictionary_or_none(name: str, value: object) -> dict[Any, Any] | None:
    """A ``dict`` or ``None``."""
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{name} must be a dict or None, but got {value!r}")
    return value


def copy_of_dictionary_or_none(name: str, value: object) -> dict[Any, Any] | None:
    """A deep copy of a ``dict``, or ``None``."""
    return copy.deepcopy(dictionary_or_none(name, value))
