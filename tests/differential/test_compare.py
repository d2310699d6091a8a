"""The comparison finds what differs, and excuses nothing that a program would notice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.compare import FORBIDDEN, RAISED_OTHERWISE, Difference, compare_logs, compare_records
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
        (record("state", [(True, False)]), record("state", [(True, True)]), "state"),
        (record("call", 1, "a"), record("call", 1, "b"), "order"),
    ],
)
def test_a_difference_is_found(theirs: dict[str, Any], ours: dict[str, Any], kind: str) -> None:
    assert [one.kind for one in compare_records([theirs], [ours])] == [kind]


def test_a_subclass_of_the_same_arguments_is_no_difference() -> None:
    pairs = [(TheirError("x", 1), OurError("x", 1)), (TheirError(), OurSubclass()), (ValueError("a"), ValueError("b"))]
    for theirs, ours in pairs:
        assert list(compare_records([record("raise", theirs)], [record("raise", ours)])) == []


def test_the_words_of_some_errors_are_free_and_their_types_are_not() -> None:
    timeout, reentrancy, lost = (
        type(name, (Exception,), {}) for name in ("AMQPConnectorStackTimeout", "ReentrancyError", "StreamLostError")
    )
    cuts = ("Transport indicated EOF", "Stream connection lost: BrokenPipeError(32, 'Broken pipe')")
    alike = [(timeout("a"), timeout("b")), (reentrancy("a"), reentrancy("b")), (lost(cuts[0]), lost(cuts[1]))]
    for theirs, ours in alike:
        assert list(compare_records([record("raise", theirs)], [record("raise", ours)])) == []
    different = [(timeout("a"), reentrancy("a"), "exception type"), (lost(cuts[0]), lost("frame too large"), "args")]
    for theirs, ours, kind in different:
        assert [one.kind for one in compare_records([record("raise", theirs)], [record("raise", ours)])] == [kind]


def test_a_missing_record_is_found() -> None:
    one, two = record("call", (), "one"), record("call", (), "two")
    for theirs, ours in (([one, two], [one]), ([one], [one, two]), ([one, two], [two, one])):
        assert [found.kind for found in compare_records(theirs, ours)] == ["order"]


def test_levels_of_logs_are_compared() -> None:
    warning, error = ["pika.channel", "WARNING", "text"], ["pika.connection", "ERROR", "text"]
    assert list(compare_logs([warning, warning], [["pika.elsewhere", "WARNING", "other words"]])) == []
    for theirs, ours in (([warning], []), ([], [warning]), ([warning, error], [error])):
        assert [found.kind for found in compare_logs(theirs, ours)] == ["log"]


@pytest.mark.parametrize("kind", sorted(FORBIDDEN))
def test_nothing_excuses_what_a_program_would_notice(kind: str) -> None:
    assert not Expected("anything", "row", kind, "", "").covers(Difference(kind, "call", 1, 2), "scenario")


@pytest.mark.parametrize("reason", RAISED_OTHERWISE)
def test_what_may_be_raised_otherwise_may_be_so_in_its_scenarios_alone(reason: str) -> None:
    difference = Difference("exception type", "call", "their error", "our error")
    expected = Expected("anything", "row", "exception type", "^their", "^our", reason=reason)
    for scenario in RAISED_OTHERWISE[reason]:
        assert expected.covers(difference, scenario)
        assert not expected._replace(reason="").covers(difference, scenario)
        assert not expected.covers(difference._replace(kind="return value"), scenario)
        assert not expected.covers(difference._replace(theirs="another error"), scenario)
    assert not expected.covers(difference, "another scenario")


def test_a_declaration_covers_what_it_names_and_no_more() -> None:
    expected = Expected("words", "row", "args", "^their", "^our")
    assert expected.covers(Difference("args", "call", "their words", "our words"), "scenario")
    assert not expected.covers(Difference("args", "call", "their words", "their words"), "scenario")
    assert not expected.covers(Difference("args", "call", "our words", "our words"), "scenario")
    assert not expected.covers(Difference("value", "call", "their words", "our words"), "scenario")


def test_a_declaration_covers_the_log_only_where_it_names_what_is_logged() -> None:
    difference = Difference("log", "log", ["ERROR pika.connection: their words"], [])
    expected = Expected("words", "row", "args", "^their", "^our")
    assert not expected.covers(difference, "scenario")
    assert expected._replace(logged="their words").covers(difference, "scenario")
    assert not expected._replace(logged="other words").covers(difference, "scenario")


def test_what_differs_from_run_to_run_is_hidden() -> None:
    plain = Plain({"5673": "<port>"})
    generated = f"ctag12.{'0f' * 16} amq.gen-{'x' * 22} at 0x7f00 127.0.0.1:5673"
    assert plain.value(generated) == "ctag12.<generated> amq.gen-<generated> at <address> 127.0.0.1:<port>"
    assert plain.value(5673) == "<port>"
