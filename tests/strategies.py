"""Hypothesis strategies for what AMQP carries: field tables, property sets, methods.

What :func:`field_values`, :func:`field_tables`, :func:`property_sets` and :func:`methods` draw is equal to itself
after being encoded and decoded.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from pika import amqp_object, spec

INTEGER_BITS = {"octet": 8, "short": 16, "long": 32, "longlong": 64, "timestamp": 64}

_UNIX_EPOCH = datetime.datetime(1970, 1, 1)
_LAST_SECOND = datetime.datetime(9999, 12, 31)


def short_strings() -> st.SearchStrategy[str]:
    """Text that takes at most 255 bytes of UTF-8."""
    return st.text(max_size=255).filter(lambda value: len(value.encode()) <= 255)


def scalars() -> st.SearchStrategy[Any]:
    """Field values that hold no others."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.floats(allow_nan=False),
        st.builds(
            lambda unscaled, places: Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -places)),
            st.integers(-(1 << 31), (1 << 31) - 1),
            st.integers(0, 255),
        ),
        st.text(),
        st.binary(),
        st.datetimes(_UNIX_EPOCH, _LAST_SECOND, timezones=st.just(datetime.timezone.utc)).map(
            lambda moment: moment.replace(microsecond=0)
        ),
    )


def field_values(max_leaves: int = 20) -> st.SearchStrategy[Any]:
    """Values that a field table may hold, nested ones too."""
    return st.recursive(
        scalars(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(short_strings(), inner, max_size=5),
        max_leaves=max_leaves,
    )


def field_tables(max_size: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    """Field tables."""
    return st.dictionaries(short_strings(), field_values(), max_size=max_size)


def arguments(kind: str) -> st.SearchStrategy[Any]:
    """Values of an AMQP type, such as ``shortstr``."""
    if kind in INTEGER_BITS:
        return st.integers(0, (1 << INTEGER_BITS[kind]) - 1)
    if kind == "bit":
        return st.booleans()
    if kind == "shortstr":
        return short_strings()
    return st.binary(max_size=300) if kind == "longstr" else field_tables()


def property_sets() -> st.SearchStrategy[spec.BasicProperties]:
    """Properties of messages, any of which may be absent."""
    optional = {name: st.none() | arguments(kind) for name, kind in spec.BasicProperties.FIELDS}
    return st.fixed_dictionaries({}, optional=optional).map(lambda given: spec.BasicProperties(**given))


def methods() -> st.SearchStrategy[amqp_object.Method]:
    """Methods of any class, with all of their arguments."""
    return st.sampled_from(list(spec.methods.values())).flatmap(method_instances)


def method_instances(method: Any) -> st.SearchStrategy[amqp_object.Method]:
    """Instances of one class of methods, with all of its arguments."""
    return st.builds(method, **{name: arguments(kind) for name, kind in method.FIELDS})
