"""The comparison finds what differs, and excuses nothing that a program would notice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.compare import FORBIDDEN, Difference, compare_logs, compare_records
from tests.differential.expected import Expected
from tests.differential.plain import Plain


def record(what: str, value: Any, label: str = "call") -> dict[str, Any]:
    return {"what": what, "label": label, "value": Plain({}).value(value)}


class TheirError(Exception):
    pass


class OurError(TheirError):
    pass


OurSubclass = type("TheirError", (OurError,), {})


@pytest.mark.parametrize(
    ("theirs", "ours", "kind"),
    [
        (record("return", 1), record("return", 2), "return value"),
        (record("return", 1), record("return", True), "return value"),
        (record("return", 1), record("return", 1.0), "return value"),
        (record("return", (1,)), record("return", [1]), "return value"),
        (record("return", "x"), record("return", b"x"), "return value"),
        (record("return", None), record("raise", TheirError()), "raises instead"),
        (record("raise", TheirError()), record("return", None), "returns instead"),
        (record("raise", OurError("x")), record("raise", TheirError("x")), "exception type"),
        (record("raise", TheirError("x")), record("raise", OurError("y")), "args"),
        (record("call", (1,)), record("call", (2,)), "callback"),
        (record("value", "a"), record("value", "b"), "value"),
        (record("state", [(True, False)]), record("state", [(False, True)]), "state"),
        (record("call", 1, "a"), record("call", 1, "b"), "order"),
    ],
)
def test_a_difference_is_found(theirs: dict[str, Any], ours: dict[str, Any], kind: str) -> None:
    assert [one.kind for one in compare_records([theirs], [ours])] == [kind]


def test_a_subclass_of_the_same_arguments_is_no_difference() -> None:
    pairs = [(TheirError("x", 1), OurError("x", 1)), (TheirError(), OurSubclass()), (ValueError("a"), ValueError("b"))]
    for theirs, ours in pairs:
        assert list(compare_records([record("raise", theirs)], [record("raise", ours)])) == []


def test_a_missing_record_is_found() -> None:
    one, two = record("call", (), "one"), record("call", (), "two")
    for theirs, ours in (([one, two], [one]), ([one], [one, two]), ([one, two], [two, one])):
        assert [found.kind for found in compare_records(theirs, ours)] == ["order"]


def test_levels_of_logs_are_compared() -> None:
    warning, error = ["pika.channel", "WARNING", "text"], ["pika.connection", "ERROR", "text"]
    assert list(compare_logs([warning, warning], [["pika.elsewhere", "WARNING", "other words"]])) == []
    for theirs, ours in (([warning], []), ([], [warning]), ([warning, error], [error])):
        assert [found.kind for found in compare_logs(theirs, ours)] == ["log"]


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_nothing_excuses_what_a_program_would_notice(kind: str) -> None:
    assert not Expected("anything", "row", kind, "", "").covers(Difference(kind, "call", 1, 2))


def test_a_declaration_covers_what_it_names_and_no_more() -> None:
    expected = Expected("words", "row", "args", "^their", "^our")
    assert expected.covers(Difference("args", "call", "their words", "our words"))
    assert not expected.covers(Difference("args", "call", "their words", "their words"))
    assert not expected.covers(Difference("args", "call", "our words", "our words"))
    assert not expected.covers(Difference("value", "call", "their words", "our words"))


def test_what_differs_from_run_to_run_is_hidden() -> None:
    plain = Plain({"5673": "<port>"})
    generated = f"ctag12.{'0f' * 16} amq.gen-{'x' * 22} at 0x7f00 127.0.0.1:5673"
    assert plain.value(generated) == "ctag12.<generated> amq.gen-<generated> at <address> 127.0.0.1:<port>"
    assert plain.value(5673) == "<port>"
