"""Compares what two libraries recorded of the same scenario."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

#: Kinds of differences that a program would notice. Nothing excuses them but `RAISED_OTHERWISE`.
FORBIDDEN = frozenset({"exception type", "order", "return value", "callback", "raises instead"})

#: The two reasons for which something else may be raised all the same, and the scenarios in which it may.
RAISED_OTHERWISE = {
    # What a user's own function raises leaves with its own type.
    "a user's exception": frozenset({"open_with_a_heartbeat_callable_that_raises"}),
    # What pika takes, and then loses the connection over, or fails at later and in another place.
    "refused at once": frozenset(
        {
            "channel_numbers_that_are_in_use",
            "threadsafe_callbacks_that_are_none",
            *(
                f"{loop}_{scenario}"
                for loop in ("select", "asyncio", "tornado", "gevent")
                for scenario in (
                    "create_with_wrong_arguments",
                    "channel_callbacks_that_are_none",
                    "channel_number_in_use",
                    "channel_opened_again",
                    "get_on_a_closed_channel",
                )
            ),
        }
    ),
}


class Difference(NamedTuple):
    """Something that the two recordings do not have alike.

    :param kind: what it concerns: one of `FORBIDDEN`, or "args", "value", "state", "log", "returns instead"
    :param where: the record's label, and the path in its value
    :param theirs: what pika 1.4.4 has there
    :param ours: what this library has there
    """

    kind: str
    where: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.kind} at {self.where}:\n    pika 1.4.4: {self.theirs!r}\n    here:       {self.ours!r}"


#: Python's own errors: their arguments are words, which are free, as those of ``str()`` are.
_WORDS = frozenset({"TypeError", "ValueError", "AttributeError", "AssertionError", "KeyError", "IndexError", "error"})
#: Errors of the library whose one argument is a sentence, which each library has of its own.
_SENTENCES = frozenset(
    {
        # Which call may not be made inside a callback, and why.
        "ReentrancyError",
        # Who is waiting already.
        "ConcurrentObjectUseError",
        # Which address did not answer in time, and in what phase.
        "AMQPConnectorStackTimeout",
        # In which state the connection is, and what it was asked for.
        "ConnectionWrongStateError",
        # In which phase the connection was when it was given up, and why.
        "ConnectionOpenAborted",
    }
)
#: How the kernel tells of a connection that was cut: of one cut it gives different accounts to the first thing that is
#: tried after it, a read or a write, and to the second.
_KERNELS_ACCOUNT = re.compile(
    r"^(Transport indicated EOF|Stream connection lost: (ConnectionResetError|BrokenPipeError)\(.*\))$"
)

_KINDS = {"return": "return value", "call": "callback", "raise": "args", "value": "value", "state": "state"}


def compare_records(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[Difference]:
    """Find what differs between two recordings of a scenario.

    :param theirs: that of pika 1.4.4
    :param ours: that of this library
    """
    for index, (their, our) in enumerate(zip_longest(theirs, ours)):
        if their is None or our is None or their["label"] != our["label"]:
            # What follows has nothing to be compared with.
            yield Difference("order", f"record {index}", theirs[index : index + 3], ours[index : index + 3])
            return
        where = their["label"]
        if their["what"] == our["what"]:
            yield from _values(_KINDS[their["what"]], where, their["value"], our["value"])
        elif their["what"] == "raise" and our["what"] == "return":
            yield Difference("returns instead", where, their["value"], our["value"])
        else:
            yield Difference("raises instead", where, their["value"], our["value"])


def _values(kind: str, where: str, theirs: Any, ours: Any) -> Iterator[Difference]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if "exception" in theirs and "exception" in ours:
            yield from _exceptions(kind, where, theirs, ours)
        elif theirs.keys() == ours.keys():
            for key, their in theirs.items():
                yield from _values(kind, f"{where}.{key}", their, ours[key])
        else:
            yield Difference(kind, where, theirs, ours)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (their, our) in enumerate(zip(theirs, ours)):
            yield from _values(kind, f"{where}[{index}]", their, our)
    elif type(theirs) is not type(ours) or theirs != ours:
        yield Difference(kind, where, theirs, ours)


def _exceptions(kind: str, where: str, theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[Difference]:
    if theirs["exception"] not in ours["mro"]:
        yield Difference("exception type", where, _brief(theirs), _brief(ours))
        return
    if theirs["exception"] in _WORDS | _SENTENCES or (_is_cut(theirs) and _is_cut(ours)):
        return
    # Its arguments may be declared wherever it occurs, its place and type may not.
    for part in ("args", "attributes"):
        yield from _values("args", f"{where}.{part}", theirs[part], ours[part])


def _is_cut(error: dict[str, Any]) -> bool:
    """Whether it says no more than that the kernel told of a cut."""
    if error["exception"] != "StreamLostError" or len(error["args"]) != 1:
        return False
    return isinstance(error["args"][0], str) and _KERNELS_ACCOUNT.match(error["args"][0]) is not None


def _brief(error: dict[str, Any]) -> str:
    return f"{' < '.join(error['mro'][:-3])} {error['args']}"


def compare_logs(theirs: list[list[str]], ours: list[list[str]]) -> Iterator[Difference]:
    """Compare the levels at which something was logged: how often, by which module of pika and in which words is free.

    :param theirs: logger, level and text of each record of pika 1.4.4
    :param ours: those of this library
    """
    if {level for _name, level, _text in theirs} != {level for _name, level, _text in ours}:
        yield Difference("log", "log", _log_lines(theirs), _log_lines(ours))


def _log_lines(records: list[list[str]]) -> list[str]:
    return sorted({f"{level} {name}: {text.splitlines()[0][:100] if text else ''}" for name, level, text in records})
