"""What importing a module costs beyond an empty interpreter.

The first argument is the module; meter.py says what the others are and what is printed: the messages are imports.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Behind everything else, so that the module that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.programs.meter import Meter, Task, cpu_seconds, run

MODULE = sys.argv[1]


def import_module(task: Task, meter: Meter) -> None:
    """Start interpreters that import it and such that do not, in turns."""
    _start(f"import {MODULE}")
    importing, empty = [], []
    for _ in range(task.messages):
        importing.append(_start(f"import {MODULE}"))
        empty.append(_start(""))
    # The middle one of each: a start is short, and anything that comes between makes it many times as long.
    cost = [statistics.median(taken[place] for taken in importing) for place in range(3)]
    cost = [max(1e-6, most - statistics.median(taken[place] for taken in empty)) for place, most in enumerate(cost)]
    seconds, user, system = (figure * task.messages for figure in cost)
    meter.measured = {
        "seconds": seconds, "user_seconds": user, "system_seconds": system, "peak_rss_kib": None, "grown_kib": None,
    }  # fmt: skip


def _start(code: str) -> tuple[float, float, float]:
    """Run a program, and return its seconds of the clock, of user and of system time."""
    before, start = cpu_seconds(of_children=True), time.perf_counter()
    # Not where this program was started, for the working directory comes first among the places of modules.
    subprocess.run([sys.executable, "-c", code], cwd=tempfile.gettempdir(), check=True)
    seconds, after = time.perf_counter() - start, cpu_seconds(of_children=True)
    return seconds, after[0] - before[0], after[1] - before[1]


def _version() -> str:
    try:
        return version(MODULE.replace("_", "-"))
    except PackageNotFoundError:
        return str(__import__(MODULE).__version__)


if __name__ == "__main__":
    run({"import": import_module}, _version(), sys.argv[2:])
