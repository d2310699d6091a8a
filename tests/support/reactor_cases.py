"""Tests that Twisted's own reactor runs, in a process of its own: those of a file, one after the other.

A file has ``cases = Cases(module)``, coroutines of a :class:`Case` with ``@cases``, and a test that is parametrized
with ``cases`` and gives each name to :meth:`Cases.check`. An error that is left in a Deferred, or that Twisted logs,
fails its case, and so does a timer or a socket that is left behind.

The process of the cases runs ``python -m tests.support.reactor_cases MODULE URL NAME...``, and prints a JSON line for
each.
"""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Coroutine, Iterable
from typing import Any, Callable

from tests.support.bounded import PATIENCE
from tests.support.programs import ROOT

Run = Callable[["Case"], Coroutine[Any, Any, object]]


class Cases(dict):  # type: ignore[type-arg]
    """The cases of a file, by name: call it as a decorator.

    :param module: the file's module, as it is imported: pytest gives it another name
    :param patience: seconds that a case may take
    :param limit: seconds that those that are run together may take
    """

    def __init__(self, module: str, patience: float = PATIENCE, limit: float = 8 * PATIENCE) -> None:
        super().__init__()
        self.patience = patience
        self._limit = limit
        self._module = module
        self._results: dict[str, dict[str, str]] = {}

    def __call__(self, function: Run) -> Run:
        """Make a case of a function."""
        self[function.__name__] = function
        return function

    def check(self, name: str, url: str, chosen: Iterable[str] = ()) -> None:
        """Fail as a case has failed; the first time all that are chosen are run.

        :param name: the case
        :param url: the broker's
        :param chosen: the names of those that are asked for later, besides
        """
        if name not in self._results.setdefault(url, {}):
            self._results[url] = self._run(url, [each for each in self if each == name or each in set(chosen)])
        problem = self._results[url][name]
        assert not problem, problem

    def _run(self, url: str, names: list[str]) -> dict[str, str]:
        command = [sys.executable, "-m", __name__, self._module, url, *names]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=self._limit, check=False)
            out, err = done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            out, err = late.stdout or b"", late.stderr or b""
        results = dict.fromkeys(names, f"the process ended before: {err.decode()[-3000:]}")
        results.update(json.loads(line) for line in out.decode().splitlines() if line.startswith("["))
        return results


def chosen(request: Any) -> set[str]:
    """The names of the cases that pytest was asked for.

    :param request: pytest's
    """
    items = (getattr(item, "callspec", None) for item in request.session.items)
    return {spec.params["name"] for spec in items if spec is not None and "name" in spec.params}


class Case:
    """What a case has in its hands: the reactor, a broker, and connections that are closed behind it.

    :param reactor: the reactor
    :param url: the broker's
    """

    def __init__(self, reactor: Any, url: str) -> None:
        from twisted.internet import defer

        self.reactor = reactor
        self.url = url
        #: What Twisted was told of: failures that nobody handled. A case takes out those it wants.
        self.errors: list[BaseException] = []
        self._defer = defer
        self._protocols: list[Any] = []

    def parameters(self, **attributes: Any) -> Any:
        """Return parameters for the broker, with attributes set on them."""
        import pika

        parameters = pika.URLParameters(self.url)
        for name, value in attributes.items():
            setattr(parameters, name, value)
        return parameters

    async def build(self, parameters: Any = None, kind: Any = None, port: int | None = None) -> Any:
        """Connect, and return the protocol as soon as the stream is there."""
        from twisted.internet import endpoints, protocol

        from pika.adapters.twisted_connection import TwistedProtocolConnection

        own = self.parameters()
        built = (kind or TwistedProtocolConnection)(parameters or own)
        self._protocols.append(built)
        host, own_port = ("127.0.0.1", port) if port else (own.host, own.port)
        endpoint: Any = endpoints.HostnameEndpoint(self.reactor, host, own_port)
        await endpoint.connect(protocol.Factory.forProtocol(lambda: built))
        return built

    async def connect(self, parameters: Any = None, kind: Any = None, port: int | None = None) -> Any:
        """Connect, and return the protocol when it is ready."""
        built = await self.build(parameters, kind, port)
        await built.ready
        return built

    async def channel(self, connection: Any = None) -> Any:
        """Return an open channel, of a new connection if none is given."""
        return await (connection or await self.connect()).channel()

    async def queue(self, channel: Any, **options: Any) -> str:
        """Declare a queue that goes with the connection, and return its name."""
        answer = await channel.queue_declare("", exclusive=True, **options)
        name: str = answer.method.queue
        return name

    async def sleep(self, seconds: float = 0.0) -> None:
        """Let the reactor run for a while."""
        slept: Any = self._defer.Deferred()
        self.reactor.callLater(seconds, slept.callback, None)
        await slept

    async def until(self, holds: Callable[[], object]) -> None:
        """Let the reactor run until something holds."""
        while not holds():
            await self.sleep(0.005)

    async def outcome(self, deferred: Any) -> Any:
        """Wait for a Deferred, and return its result, or the exception that it fails with."""
        try:
            return await deferred
        except Exception as error:
            return error

    async def finish(self) -> None:
        """Close what is open."""
        for built in self._protocols:
            if built.is_open:
                await built.close()
            elif not built.is_closed and built.transport is not None:
                built.transport.abortConnection()
        await self.until(lambda: all(built.is_closed for built in self._protocols))
        self._protocols.clear()

    def leftovers(self) -> str:
        """What is still there: timers, sockets, errors that nobody has handled."""
        gc.collect()
        timers = [call for call in self.reactor.getDelayedCalls() if call.active()]
        ours = [each for each in self.reactor.getReaders() + self.reactor.getWriters() if hasattr(each, "protocol")]
        errors = ["".join(traceback.format_exception(type(e), e, e.__traceback__)) for e in self.errors]
        return "\n".join(map(str, [*timers, *ours, *errors]))


async def _attempt(case: Case, run: Run, patience: float) -> str:
    from twisted.internet import defer

    problem = ""
    attempt = defer.ensureDeferred(run(case))
    attempt.addTimeout(patience, case.reactor)
    try:
        await attempt
    except BaseException:
        problem = traceback.format_exc()
    closing = defer.ensureDeferred(case.finish())
    closing.addTimeout(patience, case.reactor)
    try:
        await closing
    except BaseException:
        problem += f"closing: {traceback.format_exc()}"
    # What is on its way comes to an end.
    deadline = time.monotonic() + patience
    left = case.leftovers()
    while left and not case.errors and time.monotonic() < deadline:
        await case.sleep(0.01)
        left = case.leftovers()
    return problem + (f"left behind:\n{left}" if left else "")


async def _run_all(reactor: Any, module: str, url: str, names: list[str]) -> None:
    from twisted.logger import globalLogPublisher

    publisher: Any = globalLogPublisher
    cases = importlib.import_module(module).cases
    for name in names:
        case = Case(reactor, url)

        def observe(event: Any, case: Case = case) -> None:
            if event.get("log_failure") is not None:
                case.errors.append(event["log_failure"].value)

        publisher.addObserver(observe)
        problem = await _attempt(case, cases[name], cases.patience)
        publisher.removeObserver(observe)
        print(json.dumps([name, problem]), flush=True)


def main(module: str, url: str, *names: str) -> None:
    """Run cases."""
    from twisted.internet import defer, reactor
    from twisted.logger import globalLogBeginner

    its: Any = reactor
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)

    def begin() -> None:
        running: Any = defer.ensureDeferred(_run_all(its, module, url, list(names)))
        running.addErrback(lambda failure: failure.printTraceback(sys.stderr))
        running.addBoth(lambda _result: its.stop())

    its.callWhenRunning(begin)
    its.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
