"""Bytes that wait to go out: pieces in a deque, oldest at the left end."""

from __future__ import annotations

from collections import deque
from typing import Union

Buffer = Union[bytes, bytearray, memoryview]

# Pieces below this many bytes are cheaper to copy together than to pass one by one.
_SMALL = 4096
# A run of small pieces is joined until it has this many bytes.
_JOINED = 16384


def take_next(pieces: deque[Buffer]) -> Buffer:
    """Take the next bytes off the left end: a large piece as it is, or small ones joined.

    It only pops, so a signal handler may append meanwhile.

    :param pieces: not empty
    """
    first = pieces.popleft()
    size = len(first)
    if size >= _SMALL or not pieces:
        return first
    small = [first]
    while pieces and size < _JOINED and len(pieces[0]) < _SMALL:
        piece = pieces.popleft()
        small.append(piece)
        size += len(piece)
    return b"".join(small)
