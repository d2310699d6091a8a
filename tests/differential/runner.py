"""The process of one library: runs scenarios one after the other, and prints what each recorded.

It speaks JSON lines with the process of the tests: ``{"ask": [...]}`` on its output is answered on its input, and
``{"done": name, ...}`` is a recording.

    python -m differential.runner URL MODULE NAME...
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import IO, Any

import pika

from .env import Env, LogHandler, Scenario


class Runner:
    """Runs scenarios.

    :param url: the broker's
    :param output: where to print to
    """

    def __init__(self, url: str, output: IO[str]) -> None:
        self._url = url
        self._output = output
        self._lock = threading.Lock()
        self._logs = LogHandler()
        logging.getLogger("pika").addHandler(self._logs)

    def ask(self, *question: Any) -> Any:
        """Have the process of the tests do something."""
        with self._lock:
            self._print({"ask": question})
            answer = json.loads(sys.stdin.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def run(self, scenario: Scenario) -> None:
        """Run one, in a thread that can be left behind when it hangs."""
        began = time.monotonic()
        url = self.ask("begin", scenario.node) or self._url
        env = Env(scenario.name, url, self.ask)
        problem: list[str] = []
        thread = threading.Thread(target=self._attempt, args=(scenario, env, problem), daemon=True)
        self._logs.env = env
        thread.start()
        thread.join(scenario.limit)
        self._logs.env = None
        if thread.is_alive():
            self._logs.abandoned.add(thread.ident)
            frames = sys._current_frames().get(thread.ident or 0)
            problem.append(f"hangs after {scenario.limit} s:\n{_places(traceback.walk_stack(frames))}")
        try:
            self.ask("end")
        except RuntimeError as error:
            problem.append(str(error))
        seconds = round(time.monotonic() - began, 2)
        recording = {"records": list(env.records), "logs": list(env.logs), "problem": problem, "seconds": seconds}
        with self._lock:
            self._print({"done": scenario.name, "pika": pika.__version__, **recording})

    def _attempt(self, scenario: Scenario, env: Env, problem: list[str]) -> None:
        try:
            scenario.run(env)
        except BaseException as error:
            problem.append(f"{error!r} at\n{_places(traceback.walk_tb(error.__traceback__))}")
        finally:
            # What is logged from here on is not the scenario's.
            self._logs.env = None
            env.finish()

    def _print(self, what: Any) -> None:
        print(json.dumps(what), file=self._output, flush=True)


def _places(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Say where something is, without the lines of source: those of another library are not for these pages."""
    places = ((frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames)
    return "\n".join(f"{os.path.basename(file)}:{line} in {function}" for file, line, function in places)


def main(url: str, module: str, *names: str) -> None:
    """Run scenarios of one module."""
    # Nobody else is to write there.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    runner = Runner(url, output)
    scenarios = importlib.import_module(f".scenarios.{module}", __package__).scenarios
    for name in names:
        runner.run(scenarios[name])
    # Threads of scenarios that hang must not keep the process.
    output.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
