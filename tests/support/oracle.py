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
REASON = (
    "no pika 1.4.4 to compare with: pip could not install it with Tornado, Twisted and gevent; set PIKA_ORACLE_PYTHON "
    "to a Python that has them"
)
#: What the environment of pika 1.4.4 has besides: the loops that its adapters stand on.
LOOPS = ("tornado", "twisted", "gevent")

# Outside the project: who searches that is to find no other library's source in it.
_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pika-tests"


@functools.cache
def oracle_python() -> pathlib.Path | None:
    """Return the interpreter of an environment that has pika 1.4.4 and LOOPS, or None where none can be made.

    It is that of the environment variable ``PIKA_ORACLE_PYTHON``; without it, one is made once, in
    ``~/.cache/pika-tests/oracle-tornado-twisted-gevent``.

    :raises RuntimeError: the one that the variable names does not have them.
    """
    return environment("oracle", "pika==1.4.4", *LOOPS)


def environment(name: str, requirement: str, *others: str) -> pathlib.Path | None:
    """Return the interpreter of an environment that has one release of a distribution, or None where none can be made.

    It is that of the environment variable ``PIKA_<NAME>_PYTHON``; without it, one is made once, in
    ``~/.cache/pika-tests/<name>``, with the names of the others behind that.

    :param name: what to call the environment, e.g. ``py-amqp``, whose variable is ``PIKA_PY_AMQP_PYTHON``
    :param requirement: the distribution and its version, e.g. ``amqp==5.3.1``
    :param others: distributions that it is to have too, of any version
    :raises RuntimeError: the one that the variable names does not have them.
    """
    requirements = (requirement, *others)
    variable = f"PIKA_{name.upper().replace('-', '_')}_PYTHON"
    given = os.environ.get(variable)
    if given:
        if not _has(pathlib.Path(given), requirements):
            raise RuntimeError(f"{variable} is {given}, which does not have {' '.join(requirements)}")
        return pathlib.Path(given)
    return _made("-".join((name, *others)), requirements)


@functools.cache
def _made(name: str, requirements: tuple[str, ...]) -> pathlib.Path | None:
    python = _python_of(_CACHE / name)
    return python if _has(python, requirements) or _build(name, requirements) else None


def _build(name: str, requirements: tuple[str, ...]) -> bool:
    """Make the environment beside its place and move it there, so that test runs at the same time do not collide."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as directory:
        made = pathlib.Path(directory) / name
        pip = [str(_python_of(made)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install = [*pip, *requirements]
        if not _succeeds([sys.executable, "-m", "venv", str(made)]) or not _succeeds(install):
            return False
        # Where another run was faster, its environment is as good.
        with contextlib.suppress(OSError):
            made.rename(_CACHE / name)
    return _has(_python_of(_CACHE / name), requirements)


def _python_of(environment: pathlib.Path) -> pathlib.Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _has(python: pathlib.Path, requirements: tuple[str, ...]) -> bool:
    checks = ["import importlib.metadata as m"]
    for requirement in requirements:
        distribution, _, version = requirement.partition("==")
        module = distribution.replace("-", "_")
        checks.append(f"import {module}; assert '{version}' in ('', m.version('{distribution}'))")
    # Isolated (-I), so that it cannot find the library under test in the current directory.
    return python.exists() and _succeeds([str(python), "-I", "-c", "\n".join(checks)])


def _succeeds(command: list[str]) -> bool:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=100, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
