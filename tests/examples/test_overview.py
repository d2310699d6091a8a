"""What is true of every example: one can read it, it needs nothing but pika, and a test runs it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.examples.example import EXAMPLES

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
#: What is not to be longer, in lines: three ways to put pika on a loop, each a page of code.
LONGEST = {"trio_connection": 149, "select_connection_subclass": 149, "sans_io": 59}
#: Those whose loops have an example.
LIBRARIES = {"gevent", "tornado", "trio", "twisted"}
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short(name: str) -> None:
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    assert len(lines) <= LONGEST.get(name, 149)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_shows_and_how_to_run_it(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()))
    assert docstring is not None
    program = "trio_consumer" if name == "trio_connection" else name
    assert f"{program}.py" in docstring
    assert name == "trio_connection" or f"\n    python examples/{name}.py " in docstring


@pytest.mark.parametrize("name", NAMES)
def test_it_needs_nothing_but_pika(name: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((EXAMPLES / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    # But for those that show a loop.
    library = name.partition("_")[0]
    allowed = {"pika", library, f"{library}_connection"} if library in LIBRARIES else {"pika"}
    # sys.stdlib_module_names is not there before Python 3.10.
    others = imported - allowed - set(getattr(sys, "stdlib_module_names", imported))
    assert others == set()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_run_by_a_test(name: str) -> None:
    assert f'"{name}"' in TESTS
