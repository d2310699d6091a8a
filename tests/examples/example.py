"""An example that runs as users run it: as a program of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.bounded import PATIENCE
from tests.support.programs import until_it_waits

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


class Example:
    """A program of the examples that runs, and prints.

    :param name: its name, without ``.py``
    :param arguments: its arguments
    :param folder: where it runs
    :param python: an interpreter that has a pika of its own; None is this one, with the pika of this tree
    """

    def __init__(self, name: str, *arguments: str, folder: Path, python: Path | None = None) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        if python is None:
            # What it forgets to close, or uses although it is to go, is an error on its standard error.
            command = [sys.executable, "-W", "error"]
            environment["PYTHONPATH"] = str(ROOT)
        else:
            command = [str(python)]
        self._errors = folder / f"{name}-errors.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [*command, str(EXAMPLES / f"{name}.py"), *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        """Wait for the next line that it prints, and return it; AssertionError when it ends, or does not print one."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"it prints nothing more; its errors are: {self._errors.read_text()}") from None
        assert line is not None, f"it has ended with {self._process.wait(PATIENCE)}: {self._errors.read_text()}"
        return line

    def lines(self, count: int) -> list[str]:
        """Wait for so many lines."""
        return [self.line() for _ in range(count)]

    def until(self, start: str) -> list[str]:
        """Wait for a line that begins with some text, and return the lines up to it, itself included."""
        lines = [self.line()]
        while not lines[-1].startswith(start):
            lines.append(self.line())
        return lines

    def interrupt(self, at_once: bool = False) -> None:
        """Press Ctrl-C, where it waits for messages, or wherever it is."""
        if not at_once:
            until_it_waits(self._process.pid)
        self._process.send_signal(signal.SIGINT)

    def finish(self, status: int = 0) -> tuple[list[str], str]:
        """Wait for its end, whose exit status must be the one that is given.

        :returns: what it printed and nobody has read, and what it wrote to its standard error
        """
        ended = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        errors = self._errors.read_text()
        assert ended == status, f"it ended with {ended}: {errors}"
        *lines, last = list(self._lines.queue)
        assert last is None
        return [line for line in lines if line is not None], errors

    def end(self) -> None:
        """Have it be over, however it runs."""
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
