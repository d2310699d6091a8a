"""Pieces come off a queue in order, small ones together and large ones uncopied."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from pika.transport.pieces import Buffer, take_next


def test_large_pieces_are_not_copied() -> None:
    large = bytes(10_000)
    pieces: deque[Buffer] = deque((b"a", b"b", large, b"c"))
    assert take_next(pieces) == b"ab"
    assert take_next(pieces) is large
    assert take_next(pieces) == b"c"
    assert not pieces


@given(st.lists(st.integers(0, 9000), max_size=30))
def test_all_comes_out_in_order(sizes: list[int]) -> None:
    pieces: deque[Buffer] = deque(bytes([number] * size) for number, size in enumerate(sizes))
    expected = b"".join(pieces)
    largest = max(sizes, default=0)
    taken = []
    while pieces:
        taken.append(take_next(pieces))
        assert len(taken[-1]) <= max(largest, 24_000)
    assert b"".join(taken) == expected


def test_many_small_pieces_make_few_buffers() -> None:
    pieces: deque[Buffer] = deque([bytes(10)] * 10_000)
    count = 0
    while pieces:
        take_next(pieces)
        count += 1
    assert count < 10
