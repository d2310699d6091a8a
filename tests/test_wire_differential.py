"""The wire format is that of pika 1.4.4."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.support import oracle
from tools import wire_differential


@pytest.fixture(scope="module")
def other() -> Iterator[wire_differential.Oracle]:
    python = oracle.oracle_python()
    if python is None:
        pytest.skip(oracle.REASON)
    with wire_differential.Oracle(str(python)) as child:
        yield child


def test_nothing_differs_but_what_is_listed(other: wire_differential.Oracle) -> None:
    outcome = wire_differential.compare(other, list(wire_differential.questions(300, seed=1)))
    assert outcome.unexpected == []
    assert sum(outcome.equal.values()) > 2000
    assert sum(outcome.refused.values()) > 50
    assert outcome.deliberate.keys() == wire_differential.DIFFERENCES.keys()


def test_a_difference_that_is_not_listed_is_found(other: wire_differential.Oracle) -> None:
    case = wire_differential.Case(("encode value", None, 1.5))
    outcome = wire_differential.compare(other, [case])
    assert len(outcome.unexpected) == 1
    assert "1 unexpected" in outcome.report()


def test_the_report_names_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    python = oracle.oracle_python()
    if python is None:
        pytest.skip(oracle.REASON)
    assert wire_differential.main([str(python), "--cases", "1"]) == 0
    printed = capsys.readouterr().out
    for key, reason in wire_differential.DIFFERENCES.items():
        assert f"deliberate: {key} (" in printed
        assert reason in printed


def test_an_environment_that_is_no_oracle_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("PIKA_ORACLE_PYTHON", str(tmp_path / "missing"))
    with pytest.raises(RuntimeError, match="PIKA_ORACLE_PYTHON"):
        oracle.oracle_python.__wrapped__()
