"""The generator of pika/client/aio_operations.py."""

from __future__ import annotations

import inspect
import pathlib

import pytest

from pika.client import aio_operations, threaded_operations
from tests.support.generated import finds_and_replaces_a_stale_file, is_fresh
from tools import generate_operations


def test_the_committed_file_is_fresh() -> None:
    is_fresh(generate_operations)


def test_a_stale_file_is_found_and_replaced(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def generate() -> str:
        return generate_operations.generate(generate_operations.SOURCE.read_text())

    finds_and_replaces_a_stale_file(generate_operations, tmp_path / "aio_operations.py", generate, monkeypatch, capsys)


def test_every_operation_is_a_coroutine_function_with_the_same_parameters() -> None:
    names = [name for name in vars(threaded_operations.Operations) if not name.startswith("_")]
    assert "queue_declare" in names
    for name in names:
        awaited = getattr(aio_operations.Operations, name)
        assert inspect.iscoroutinefunction(awaited)
        assert inspect.signature(awaited) == inspect.signature(getattr(threaded_operations.Operations, name))
