"""Environments with other clients to run: above all pika 1.4.4, the library that this one stands in for."""

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

# Outside the project: who searches that is to find no other library's source in it.
_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pika-tests"


@functools.cache
def oracle_python() -> pathlib.Path | None:
    """Return the interpreter of an environment that has pika 1.4.4, or None where none can be made.

    It is that of the environment variable ``PIKA_ORACLE_PYTHON``; without it, one is made once, in
    ``~/.cache/pika-tests/oracle``.

    :raises RuntimeError: the one that the variable names does not have pika 1.4.4.
    """
    return environment("oracle", "pika==1.4.4")


def environment(name: str, requirement: str) -> pathlib.Path | None:
    """Return the interpreter of an environment that has one release of a distribution, or None where none can be made.

    It is that of the environment variable ``PIKA_<NAME>_PYTHON``; without it, one is made once, in
    ``~/.cache/pika-tests/<name>``.

    :param name: what to call the environment, e.g. ``py-amqp``, whose variable is ``PIKA_PY_AMQP_PYTHON``
    :param requirement: the distribution and its version, e.g. ``amqp==5.3.1``
    :raises RuntimeError: the one that the variable names does not have it.
    """
    variable = f"PIKA_{name.upper().replace('-', '_')}_PYTHON"
    given = os.environ.get(variable)
    if given:
        if not _has(pathlib.Path(given), requirement):
            raise RuntimeError(f"{variable} is {given}, which does not have {requirement}")
        return pathlib.Path(given)
    return _made(name, requirement)


@functools.cache
def _made(name: str, requirement: str) -> pathlib.Path | None:
    python = _python_of(_CACHE / name)
    return python if _has(python, requirement) or _build(name, requirement) else None


def _build(name: str, requirement: str) -> bool:
    """Make the environment beside its place and move it there, so that test runs at the same time do not collide."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as directory:
        made = pathlib.Path(directory) / name
        install = [str(_python_of(made)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        if not _succeeds([sys.executable, "-m", "venv", str(made)]) or not _succeeds(install):
            return False
        # Where another run was faster, its environment is as good.
        with contextlib.suppress(OSError):
            made.rename(_CACHE / name)
    return _has(_python_of(_CACHE / name), requirement)


def _python_of(environment: pathlib.Path) -> pathlib.Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _has(python: pathlib.Path, requirement: str) -> bool:
    distribution, version = requirement.split("==")
    # Isolated (-I), so that it cannot find the library under test in the current directory.
    module = distribution.replace("-", "_")
    check = f"import {module}, importlib.metadata as m; assert m.version('{distribution}') == '{version}'"
    return python.exists() and _succeeds([str(python), "-I", "-c", check])


def _succeeds(command: list[str]) -> bool:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=100, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
