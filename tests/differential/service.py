"""The process of the tests: starts a runner for each library, does what their scenarios ask, keeps the recordings."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, NamedTuple

from tests.support.peer import Peer, free_port
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import scripted_broker

from .peers import SCRIPTS

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parents[1]
#: So many runners work at a time: scenarios wait more than they compute.
_AT_A_TIME = 6


class Library(NamedTuple):
    """A library to run scenarios with.

    :param name: what to call it
    :param python: the interpreter of its environment
    :param path: the folder that it is in, if it is not installed
    :param vhost: the virtual host that is its own
    """

    name: str
    python: str
    path: str
    vhost: str


class Nodes:
    """The brokers: one for all, and one for scenarios that change a whole broker, one at a time.

    :param shared: the broker for all
    :param start: starts another
    """

    def __init__(self, shared: Broker, start: Callable[[], Broker]) -> None:
        self.shared = shared
        self.turn = threading.Lock()
        self._starting = threading.Lock()
        self._start = start
        self._own: Broker | None = None

    def own(self) -> Broker:
        """Return the one to change; it is started when it is first needed."""
        with self._starting:
            if self._own is None:
                self._own = self._start()
            return self._own


class Session:
    """Serves one runner.

    :param nodes: the brokers
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._broker = nodes.shared
        self._open = contextlib.ExitStack()
        self._proxies: list[Proxy] = []
        self._peers: list[tuple[Peer, threading.Event]] = []

    def answer(self, name: str, *arguments: Any) -> Any:
        """Do what a scenario asks."""
        return getattr(self, f"_do_{name}")(*arguments)

    def _do_begin(self, node: bool) -> str | None:
        self._broker = self._nodes.shared
        if not node:
            return None
        self._open.enter_context(self._nodes.turn)
        self._broker = self._nodes.own()
        return self._broker.url

    def _do_end(self) -> None:
        for _peer, event in self._peers:
            event.set()
        self._proxies.clear()
        self._peers.clear()
        # A script that was left waiting is a client's that hangs: its recording says so.
        with contextlib.suppress(TimeoutError):
            self._open.close()

    def _do_proxy(self) -> tuple[int, int]:
        self._proxies.append(self._open.enter_context(Proxy(self._broker.port, self._broker.host)))
        return len(self._proxies) - 1, self._proxies[-1].port

    def _do_proxy_call(self, number: int, method: str, *arguments: Any) -> Any:
        return getattr(self._proxies[number], method)(*arguments)

    def _do_peer(self, script: str) -> tuple[int, int]:
        event = threading.Event()
        peer = self._open.enter_context(scripted_broker(lambda session: SCRIPTS[script](session, event)))
        self._peers.append((peer, event))
        return len(self._peers) - 1, peer.port

    def _do_peer_accepted(self, number: int) -> int:
        return self._peers[number][0].accepted

    def _do_peer_go(self, number: int) -> None:
        self._peers[number][1].set()

    def _do_free_port(self) -> int:
        return free_port()

    def _do_ctl(self, *arguments: str) -> str:
        return self._broker.ctl(*arguments)


def record(
    library: Library, module: str, names: list[str], nodes: Nodes, recordings: dict[tuple[str, str], Any]
) -> None:
    """Run scenarios of a module with a library, and put what they recorded into `recordings`."""
    url = f"{nodes.shared.url.rsplit('/', 1)[0]}/{library.vhost}"
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [library.python, "-m", "differential.runner", url, module, *names],
            # There the tests are found, and no library but the one that is asked for.
            cwd=FOLDER.parent,
            env={**os.environ, "PYTHONPATH": library.path, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        with process:
            try:
                _serve(process, Session(nodes), library, recordings)
            finally:
                process.kill()
        errors.seek(0)
        printed = errors.read().decode(errors="replace")
    for name in names:
        lost = {"records": [], "logs": [], "problem": [f"the runner died before it:\n{printed}"], "seconds": 0}
        recordings.setdefault((name, library.name), lost)


def _serve(process: subprocess.Popen[str], session: Session, library: Library, recordings: dict[Any, Any]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for line in process.stdout:
            message = json.loads(line)
            if "done" in message:
                recordings[message.pop("done"), library.name] = message
                continue
            try:
                answer: dict[str, Any] = {"result": session.answer(*message["ask"])}
            except Exception as error:
                answer = {"error": repr(error)}
            process.stdin.write(json.dumps(answer) + "\n")
            process.stdin.flush()
    finally:
        session.answer("end")


def record_all(libraries: list[Library], wanted: dict[str, list[str]], nodes: Nodes) -> dict[tuple[str, str], Any]:
    """Run scenarios with every library.

    :param libraries: the libraries
    :param wanted: the names of the scenarios, by module
    :param nodes: the brokers
    :returns: the recordings, by scenario and library
    """
    recordings: dict[tuple[str, str], Any] = {}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        jobs = [
            pool.submit(record, library, module, names, nodes, recordings)
            for module, names in wanted.items()
            for library in libraries
        ]
        for job in jobs:
            job.result()
    return recordings
