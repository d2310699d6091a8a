"""What holds for every tool that writes a file of the library."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from types import ModuleType
from typing import Callable

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def is_fresh(tool: ModuleType) -> None:
    """See that the file that is committed is what the tool would write."""
    command = [sys.executable, str(tool.__file__), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def finds_and_replaces_a_stale_file(
    tool: ModuleType,
    target: pathlib.Path,
    generate: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """See that the tool does so.

    :param tool: its module
    :param target: where it is to write; nothing is there yet
    :param generate: makes what it is to write
    """
    monkeypatch.setattr(tool, "TARGET", target)
    assert tool.main(["--check"]) == 1
    target.write_text("# stale\n", encoding="utf-8")
    assert tool.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert target.read_text(encoding="utf-8") == "# stale\n"
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    assert target.read_bytes() == generate().encode()
