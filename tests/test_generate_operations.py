"""The generator of pika/client/aio_operations.py."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys

import pytest

from pika.client import aio_operations, threaded_operations
from tools import generate_operations

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_committed_file_is_fresh() -> None:
    command = [sys.executable, str(ROOT / "tools" / "generate_operations.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stale_file_is_found_and_replaced(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "aio_operations.py"
    monkeypatch.setattr(generate_operations, "TARGET", target)
    assert generate_operations.main(["--check"]) == 1
    target.write_text("# stale\n", encoding="utf-8")
    assert generate_operations.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert target.read_text(encoding="utf-8") == "# stale\n"
    assert generate_operations.main([]) == 0
    assert generate_operations.main(["--check"]) == 0
    assert target.read_bytes() == generate_operations.generate(generate_operations.SOURCE.read_text()).encode()


def test_every_operation_is_a_coroutine_function_with_the_same_parameters() -> None:
    names = [name for name in vars(threaded_operations.Operations) if not name.startswith("_")]
    assert "queue_declare" in names
    for name in names:
        awaited = getattr(aio_operations.Operations, name)
        assert inspect.iscoroutinefunction(awaited)
        assert inspect.signature(awaited) == inspect.signature(getattr(threaded_operations.Operations, name))
