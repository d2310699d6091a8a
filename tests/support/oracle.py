"""An environment with pika 1.4.4, the library that this one stands in for, to compare with by running it."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import subprocess
import sys
import tempfile

#: Why the comparison is skipped where there is no such environment.
REASON = "no pika 1.4.4 to compare with: pip could not install it; set PIKA_ORACLE_PYTHON to a Python that has it"

_VERSION = "1.4.4"
_CACHE = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "oracle"


@functools.cache
def oracle_python() -> pathlib.Path | None:
    """Return the interpreter of an environment that has pika 1.4.4, or None where none can be made.

    It is that of the environment variable ``PIKA_ORACLE_PYTHON``; without it, one is made once, in ``.cache/oracle``.

    :raises RuntimeError: the one that the variable names does not have pika 1.4.4.
    """
    given = os.environ.get("PIKA_ORACLE_PYTHON")
    if given:
        if not _is_oracle(pathlib.Path(given)):
            raise RuntimeError(f"PIKA_ORACLE_PYTHON is {given}, which does not import pika {_VERSION}")
        return pathlib.Path(given)
    return _python_of(_CACHE) if _is_oracle(_python_of(_CACHE)) or _build() else None


def _build() -> bool:
    """Make the environment beside its place and move it there, so that test runs at the same time do not collide."""
    _CACHE.parent.mkdir(exist_ok=True)
    (_CACHE.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=_CACHE.parent) as directory:
        made = pathlib.Path(directory) / "oracle"
        python = _python_of(made)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"pika=={_VERSION}"]
        if not _succeeds([sys.executable, "-m", "venv", str(made)]) or not _succeeds(install):
            return False
        # Where another run was faster, its environment is as good.
        with contextlib.suppress(OSError):
            made.rename(_CACHE)
    return _is_oracle(_python_of(_CACHE))


def _python_of(environment: pathlib.Path) -> pathlib.Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _is_oracle(python: pathlib.Path) -> bool:
    # Isolated (-I), so that it cannot find the library under test in the current directory.
    check = f"import pika; assert pika.__version__ == '{_VERSION}'"
    return python.exists() and _succeeds([str(python), "-I", "-c", check])


def _succeeds(command: list[str]) -> bool:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=100, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
