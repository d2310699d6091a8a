"""Scenarios on Twisted: each has a reactor of its own, which it turns."""

from __future__ import annotations

import functools
import time
from typing import Any, Callable

import pika

from .env import PATIENCE, Env, Scenario


class TwistedScenarios(dict):  # type: ignore[type-arg]
    """The scenarios of one module, by name: call it as a decorator of functions of an :class:`Env` and a
    :class:`Reactor`. A scenario's name is the function's, behind ``twisted_``."""

    def __call__(
        self, *differs: str, limit: float = 20.0
    ) -> Callable[[Callable[[Env, Reactor], None]], Callable[[Env, Reactor], None]]:
        """Make a scenario of a function; see :class:`Scenario`."""

        def register(function: Callable[[Env, Reactor], None]) -> Callable[[Env, Reactor], None]:
            name = f"twisted_{function.__name__}"
            self[name] = Scenario(name, functools.partial(_run, function), differs, False, limit)
            return function

        return register


def _run(function: Callable[[Env, Reactor], None], env: Env) -> None:
    reactor = Reactor(env)
    env.at_end(reactor.finish)
    function(env, reactor)


class Reactor:
    """A reactor and the connections on it.

    :param env: the scenario's
    """

    def __init__(self, env: Env) -> None:
        # Where Twisted is not installed, these scenarios can still be counted.
        from twisted.internet import defer, endpoints, protocol
        from twisted.internet.selectreactor import SelectReactor

        from pika.adapters import twisted_connection

        self.adapter: Any = twisted_connection
        self.defer: Any = defer
        self.native: Any = SelectReactor()
        self.native.startRunning(installSignalHandlers=False)
        self._endpoints: Any = endpoints
        self._factory: Any = protocol.Factory
        self._env = env
        self._connections: list[Any] = []

    def run(self, until: Callable[[], object], patience: float = PATIENCE) -> bool:
        """Turn the reactor until something holds, and tell whether it does."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not until():
            self.native.iterate(0.01)
        return bool(until())

    def wait(self, seconds: float = 0.2) -> None:
        """Turn the reactor for a while."""
        self.run(lambda: False, seconds)

    def until(self, label: str, times: int = 1) -> None:
        """Turn the reactor until something that was recorded as a call has happened so often."""
        if not self.run(lambda: self._env.called(label) >= times):
            raise AssertionError(f"waited in vain for {label}: called {self._env.called(label)} times")

    # Deferreds

    def watch(self, label: str, deferred: Any) -> Any:
        """Record what a Deferred fires with, under its label, or what it fails with, under "<label> fails"."""
        fired, failed = self._env.callback(label), self._env.callback(f"{label} fails")
        deferred.addCallbacks(lambda result: fired(result), lambda failure: failed(failure.value))
        return deferred

    def do(self, label: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call something, and record what it returns or raises; and if that is a Deferred, what comes of it."""
        result = self._env.do(label, function, *arguments, **keywords)
        return self.watch(label, result) if isinstance(result, self.defer.Deferred) else result

    def await_(self, deferred: Any) -> Any:
        """Turn the reactor until a Deferred fires, and return its result; nothing is recorded."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        if not self.run(lambda: results):
            raise AssertionError("a Deferred did not fire")
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def outcome(self, label: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Call something that returns a Deferred, and turn the reactor until it has fired; both are recorded."""
        self.do(label, function, *arguments, **keywords)
        if not self.run(lambda: self._env.called(label) or self._env.called(f"{label} fails")):
            raise AssertionError(f"{label} did not fire")

    # Connections

    def build(self, parameters: Any = None, kind: Any = None, port: int | None = None) -> Any:
        """Connect a protocol, which is not ready yet."""
        own = self._env.parameters() if parameters is None else parameters
        built = (kind or self.adapter.TwistedProtocolConnection)(own, self.native)
        self._connections.append(built)
        endpoint = self._endpoints.TCP4ClientEndpoint(
            self.native, "127.0.0.1", port or pika.URLParameters(self._env.url).port
        )
        self.await_(endpoint.connect(self._factory.forProtocol(lambda: built)))
        return built

    def connect(self, parameters: Any = None, kind: Any = None, port: int | None = None) -> Any:
        """Connect a protocol, and turn the reactor until it is ready."""
        built = self.build(parameters, kind, port)
        self.await_(built.ready)
        self.watch("closed", built.closed)
        return built

    def channel(self, connection: Any = None, label: str = "channel") -> Any:
        """Open a channel, of a new connection if none is given."""
        channel = self.await_((self.connect() if connection is None else connection).channel())
        self.watch(f"{label} closed", channel.on_closed)
        return channel

    def queue(self, channel: Any, suffix: str = "queue", **options: Any) -> str:
        """Declare a queue that goes with the connection, and return its name."""
        name = self._env.name(suffix)
        self.await_(channel.queue_declare(name, exclusive=True, **options))
        return name

    def consume(self, channel: Any, queue: str, tag: str = "mine", **options: Any) -> Any:
        """Start a consumer, and return its queue."""
        return self.await_(channel.basic_consume(queue, consumer_tag=tag, **options))[0]

    def states(self, label: str, *things: Any) -> None:
        """Record whether connections or channels are open and closed."""
        self._env.states(label, *things)

    def finish(self) -> None:
        """Close what is open."""
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abortConnection()
        self.run(lambda: all(not connection.connected or connection.is_closed for connection in self._connections), 2)
        self.native.disconnectAll()
        self.native.removeAll()
