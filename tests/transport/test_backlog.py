"""The backlog keeps every byte in order, however it is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika.transport.backlog import Backlog, Buffer


def test_a_consumer_that_raises_has_taken_nothing() -> None:
    backlog = Backlog()
    backlog.append(b"abc")

    def refuse(data: Buffer) -> int:
        raise BlockingIOError

    with pytest.raises(BlockingIOError):
        backlog.hand(refuse, backlog.first(10))
    assert backlog.size == 3
    assert bytes(backlog.first(10)) == b"abc"


def test_large_pieces_are_not_copied() -> None:
    backlog = Backlog()
    large = bytes(10_000)
    for piece in (b"a", b"b", large, b"c"):
        backlog.append(piece)
    small, same, tail = backlog.gather(1 << 20, 8)
    assert small == b"ab"
    assert same is large
    assert tail == b"c"


def test_clear_forgets_what_waits() -> None:
    backlog = Backlog()
    backlog.append(b"abc")
    backlog.clear()
    assert backlog.size == 0
    assert not backlog.prune()
    assert backlog.first(5) == b""


@given(
    st.lists(st.integers(0, 9000), max_size=12),
    st.lists(st.tuples(st.integers(1, 12_000), st.integers(1, 4), st.integers(0, 20_000)), max_size=60),
)
def test_what_goes_in_comes_out_in_order(sizes: list[int], takes: list[tuple[int, int, int]]) -> None:
    backlog = Backlog()
    expected = bytearray()
    for index, size in enumerate(sizes):
        piece = bytes((index + offset) % 251 for offset in range(size))
        backlog.append(piece)
        expected += piece
    taken = bytearray()

    def take(most: int, buffers: list[Buffer]) -> int:
        data = b"".join(buffers)[:most]
        taken.extend(data)
        return len(data)

    for limit, count, most in takes:
        if not backlog.prune():
            break
        buffers = backlog.gather(limit, count)
        assert 0 < len(buffers) <= count
        first = bytes(backlog.first(limit))
        assert 0 < len(first) <= limit
        assert b"".join(buffers)[: len(first)] == first[: sum(map(len, buffers))]
        backlog.hand(lambda buffers, most=most: take(most, buffers), buffers)
        assert backlog.size == len(expected) - len(taken)
    assert bytes(taken) == bytes(expected[: len(taken)])
