"""One-shot timers in a heap. Time is an argument: the clock is the caller's."""

from __future__ import annotations

import bisect
import heapq
import itertools
import types
from collections.abc import Callable

# So many entries that are over may lie in the heap before they are worth a sweep.
_SWEEP_MIN = 64


class Timer:
    """A callback that is due at a point in time. Made by :meth:`Timers.call_at`."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        #: What to call; None once the timer has run or was cancelled.
        self.callback: Callable[[], object] | None = callback

    def __repr__(self) -> str:
        state = "over" if self.callback is None else f"calls {self.callback!r}"
        return f"<Timer at {self.when}: {state}>"


_Entry = tuple[float, int, Timer]


def _push_sorted(heap: list[_Entry], entry: _Entry) -> None:
    index = bisect.bisect(heap, entry)
    heap.insert(index, entry)
    around = heap[max(index - 1, 0) : index + 2]
    if entry not in around or around != sorted(around):
        # A signal handler set a timer in between.
        heap.sort()


def _pop_sorted(heap: list[_Entry]) -> _Entry:
    return heap.pop(0)


# Where heapq is Python, as on PyPy, a signal handler may find a heap half sorted, and timers would be lost. A list that
# is sorted is a heap too.
_IS_PYTHON = isinstance(heapq.heappush, types.FunctionType)
_push: Callable[[list[_Entry], _Entry], None] = _push_sorted if _IS_PYTHON else heapq.heappush
_pop: Callable[[list[_Entry]], _Entry] = _pop_sorted if _IS_PYTHON else heapq.heappop


class Timers:
    """Timers ordered by the time they are due, then by the order in which they were made.

    Not synchronized: used by the one thread that runs the loop.
    """

    def __init__(self) -> None:
        # Tuples that are told apart without running Python: a signal handler may set a timer at any moment, and must
        # not find the heap half sorted.
        self._heap: list[_Entry] = []
        self._orders = itertools.count()
        # About how many entries of the heap are over; a signal handler may make it miscount.
        self._over = 0

    def __len__(self) -> int:
        """How many timers wait to run."""
        return sum(entry[2].callback is not None for entry in self._heap)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Have ``callback`` called by the first :meth:`run_due` whose time has reached ``when``.

        :param when: seconds, on the clock that :meth:`run_due` is given
        :param callback: called without arguments; its result is ignored
        :returns: the handle for :meth:`cancel`
        """
        timer = Timer(when, callback)
        _push(self._heap, (when, next(self._orders), timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """See to it that ``timer`` does not run. One that has run, or was cancelled before, is left alone."""
        if timer.callback is None:
            return
        # Not searched for in the heap: it is dropped when it comes up, or swept when too many have gathered.
        timer.callback = None
        self._over += 1
        if 2 * self._over > len(self._heap) + _SWEEP_MIN:
            self._over = 0
            heap, count = self._heap, len(self._heap)
            live = [entry for entry in heap if entry[2].callback is not None]
            heapq.heapify(live)
            self._heap = live
            if len(heap) != count:
                # A signal handler set timers in between.
                known = set(map(id, live))
                for entry in heap:
                    if entry[2].callback is not None and id(entry) not in known:
                        _push(live, entry)

    def next_deadline(self) -> float | None:
        """When the next timer is due, or None if none waits."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            entry = _pop(heap)
            if entry[2].callback is not None:
                # A signal handler set an earlier one in between.
                _push(heap, entry)
        return heap[0][0] if heap else None

    def run_due(self, now: float) -> int:
        """Call what is due at ``now``, in the order of (when, made).

        A timer that an earlier callback cancels does not run. One that a callback adds waits for the next
        run, even if it is due already, so that a callback that renews itself cannot hold the loop.

        :param now: seconds
        :returns: how many were called
        :raises Exception: what a callback raises; the timers behind it stay and run the next time
        """
        due: list[_Entry] = []
        # Down from the root of the heap, never below a timer that is not due. The timers stay in the heap while the
        # callbacks run, so that a callback that raises, or runs a loop of its own, finds every one of them.
        indexes = [0] if self._heap else []
        while indexes:
            index = indexes.pop()
            if index < len(self._heap) and self._heap[index][0] <= now:
                due.append(self._heap[index])
                indexes += (2 * index + 1, 2 * index + 2)
        due.sort()
        count = 0
        for _, _, timer in due:
            callback = timer.callback
            if callback is not None:
                self.cancel(timer)
                count += 1
                callback()
        return count
