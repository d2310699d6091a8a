"""Bytes that wait to go out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import add
from typing import Union

Buffer = Union[bytes, bytearray, memoryview]

# Pieces below this many bytes are cheaper to copy together than to pass one by one.
_SMALL = 4096


class Backlog:
    """Pieces of bytes in order, by their position in the stream.

    A signal handler can raise between any two bytecodes (Ctrl-C, a time limit). So what is true of a backlog is
    held in one place each, and changes in one step of C code: a piece is in ``pieces`` or not, and ``position``
    has moved by what the consumer took, or the consumer has not taken it. Everything else is derived.
    Not re-entrant: the owner keeps a second writer out.
    """

    __slots__ = ("pieces", "position")

    def __init__(self) -> None:
        #: (position of its first byte, bytes) of each piece that has not been seen to be taken whole
        self.pieces: deque[tuple[int, Buffer]] = deque()
        #: how many bytes were taken since the beginning: the one item
        self.position: deque[int] = deque((0,), maxlen=1)

    @property
    def end(self) -> int:
        """The position behind the last byte."""
        if not self.pieces:
            return self.position[0]
        start, data = self.pieces[-1]
        return start + len(data)

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self.end - self.position[0]

    def append(self, data: Buffer) -> None:
        """Put bytes behind the others. They are not copied: the caller does not change them any more."""
        if data:
            self.pieces.append((self.end, data))

    def prune(self) -> bool:
        """Drop the pieces that were taken whole. Returns whether bytes wait."""
        pieces, position = self.pieces, self.position[0]
        while pieces:
            start, data = pieces[0]
            if start + len(data) > position:
                return True
            # One that was taken whole is the last only if nothing waits: the end stays where the position is.
            pieces.popleft()
        return False

    def clear(self) -> None:
        """Forget what waits."""
        self.pieces.clear()

    def first(self, limit: int) -> Buffer:
        """The next bytes in one buffer, up to ``limit``: small pieces joined, a large one as a view."""
        gathered = self.gather(limit, 1)
        return gathered[0][:limit] if gathered else b""

    def gather(self, limit: int, count: int) -> list[Buffer]:
        """The next bytes, about ``limit``, in up to ``count`` buffers: small pieces joined, large ones as they are."""
        buffers: list[Buffer] = []
        small: list[Buffer] = []
        total = 0
        for data in self._waiting():
            if len(data) >= _SMALL:
                if small:
                    buffers.append(b"".join(small))
                    small = []
                if len(buffers) < count:
                    buffers.append(data)
            else:
                small.append(data)
            total += len(data)
            if total >= limit or len(buffers) >= count:
                break
        if small:
            buffers.append(small[0] if len(small) == 1 else b"".join(small))
        return buffers[:count]

    def _waiting(self) -> Iterator[Buffer]:
        position = self.position[0]
        for start, data in self.pieces:
            if start >= position:
                yield data
            elif start + len(data) > position:
                yield memoryview(data)[position - start :]

    def hand(self, consume: Callable[..., int], data: Buffer | Sequence[Buffer]) -> None:
        """Have ``consume(data)`` take the next bytes, and move on by as many as it says it took.

        :param consume: a function written in C; then no Python code runs between its return and the move
        :param data: from :meth:`first` or :meth:`gather`
        :raises Exception: what ``consume`` raises; nothing has moved then
        """
        self.position.extend(map(add, self.position.copy(), map(consume, (data,))))
