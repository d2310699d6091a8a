"""Programs that tests run in a plain interpreter of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.support.bounded import PATIENCE

ROOT = Path(__file__).resolve().parents[2]

_LONGEST_TO_WAITING = 5.0


class Program:
    """A program that runs, and reads from and writes to the test.

    :param source: its text
    :param arguments: its ``sys.argv[1:]``
    """

    def __init__(self, source: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source), *arguments],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def read(self) -> str:
        """Wait for the next line that it prints, and return it; AssertionError with its errors when it ends instead."""
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise AssertionError(f"the program has ended: {self.finish()}")
        return line.rstrip("\n")

    def say(self, line: str = "") -> None:
        """Give it a line to read."""
        stdin = _pipe(self._process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end.

        :returns: its exit status, the rest of what it printed, and what it wrote to its standard error
        """
        out, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, out, err

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with contextlib.suppress(ValueError):
            self._process.communicate()


@contextlib.contextmanager
def running(source: str, *arguments: str) -> Iterator[Program]:
    """Have a program run; at the end it is over."""
    with Program(source, *arguments) as program:
        yield program


def run(source: str, *arguments: str) -> tuple[int, str, str]:
    """Run a program to its end, and return its exit status, its output and its errors."""
    with Program(source, *arguments) as program:
        return program.finish()


def until_it_waits(pid: int) -> None:
    """Wait until a program waits for something, which is a moment after its last word; some seconds, if it never does.

    :param pid: its process id
    """
    time.sleep(0.3)
    deadline = time.monotonic() + _LONGEST_TO_WAITING
    seen = _work(pid)
    while time.monotonic() < deadline:
        time.sleep(0.1)
        before, seen = seen, _work(pid)
        if seen == before and "R" not in seen:
            return


def _work(pid: int) -> list[str]:
    """What the threads of a process do and have done, where the system tells it: states, and ticks of the processor."""
    found: list[str] = []
    # A thread may end while it is looked at.
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/stat"):
            fields = path.read_text().rpartition(")")[2].split()
            found += [fields[0], "".join(fields[11:13])]
    return found


def _environment() -> dict[str, str]:
    # Plain: no development mode, no warnings turned on, nothing of the test run's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return {**environment, "PYTHONUNBUFFERED": "1"}


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
