"""The two enumerations that programs pass around."""

from __future__ import annotations

import pickle

import pytest

from pika.delivery_mode import DeliveryMode
from pika.exchange_type import ExchangeType


def test_delivery_modes_are_those_of_the_specification() -> None:
    assert [(mode.name, mode.value) for mode in DeliveryMode] == [("Transient", 1), ("Persistent", 2)]
    assert DeliveryMode(2) is DeliveryMode.Persistent
    with pytest.raises(ValueError, match="3"):
        DeliveryMode(3)


def test_exchange_types_are_strings() -> None:
    assert [kind.value for kind in ExchangeType] == ["direct", "fanout", "headers", "topic"]
    for kind in ExchangeType:
        assert isinstance(kind, str)
        assert kind == kind.name
        assert hash(kind) == hash(kind.name)
        assert kind.encode() == kind.name.encode()
        assert ExchangeType(kind.name) is kind
    with pytest.raises(ValueError, match="x-mine"):
        ExchangeType("x-mine")


@pytest.mark.parametrize("word", [*DeliveryMode, *ExchangeType])
def test_members_stay_single(word: object) -> None:
    assert pickle.loads(pickle.dumps(word)) is word
