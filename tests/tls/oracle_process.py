"""pika 1.4.4 in a process of its own, making the same attempts as this library."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import cast

from tests.support.bounded import bounded
from tests.tls.attempt import Ask, Report


class Oracle:
    """A running pika 1.4.4.

    :param python: the interpreter of an environment that has it
    :param directory: where it runs
    """

    def __init__(self, python: Path, directory: Path) -> None:
        program = Path(__file__).with_name("attempt.py")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        # Isolated (-I), so that it cannot find the library under test.
        self._process = subprocess.Popen(
            [str(python), "-I", str(program)],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def attempt(self, ask: Ask) -> Report:
        """Make an attempt: see :func:`tests.tls.attempt.attempt`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(ask) + "\n")
        stdin.flush()
        answer = bounded(stdout.readline)
        assert answer, "pika 1.4.4 has ended"
        return cast(Report, json.loads(answer))

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
