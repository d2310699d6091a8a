"""Scenarios on event loops: each is written once, and run on pika's own loop and on asyncio's."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterable
from typing import Any, Callable

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.select_connection import IOLoop

from .env import PATIENCE, Env, Scenario

#: With what a scenario stays quick when nobody answers.
QUICK: dict[str, Any] = {"connection_attempts": 1, "retry_delay": 0, "stack_timeout": 4, "socket_timeout": 4}
BOTH = ("select", "asyncio")


class LoopScenarios(dict):  # type: ignore[type-arg]
    """The scenarios of one module, by name: call it as a decorator of functions of an :class:`Env` and a :class:`Loop`.

    A function becomes a scenario for each loop, with the loop's name in front of its own.
    """

    def __call__(
        self, *differs: str, node: bool = False, limit: float = 100.0, kinds: Iterable[str] = BOTH
    ) -> Callable[[Callable[[Env, Loop], None]], Callable[[Env, Loop], None]]:
        """Make scenarios of a function; see :class:`Scenario`."""

        def register(function: Callable[[Env, Loop], None]) -> Callable[[Env, Loop], None]:
            for kind in kinds:
                name = f"{kind}_{function.__name__}"
                self[name] = Scenario(name, functools.partial(_run, function, kind), differs, node, limit)
            return function

        return register


def _run(function: Callable[[Env, Loop], None], kind: str, env: Env) -> None:
    loop = Loop(env, kind)
    env.at_end(loop.finish)
    function(env, loop)


class Loop:
    """An event loop and the connections on it.

    :param env: the scenario's
    :param kind: "select" or "asyncio"
    """

    def __init__(self, env: Env, kind: str) -> None:
        self.kind = kind
        self.adapter: Any = pika.SelectConnection if kind == "select" else AsyncioConnection
        make_loop: Callable[[], Any] = IOLoop if kind == "select" else asyncio.new_event_loop
        self.native = make_loop()
        self._env = env
        self._connections: list[Any] = []
        #: What is done with errors that leave the loop, or that go to asyncio's handler: they are recorded.
        self.on_error: Callable[[Any], None] = functools.partial(
            env.note, "left the loop" if kind == "select" else "the handler"
        )
        if kind == "asyncio":
            self.native.set_exception_handler(lambda _loop, context: self.on_error(context.get("exception")))

    # Running

    def later(self, delay: float, callback: Callable[[], object]) -> Any:
        """Have something called after a while."""
        return self.native.call_later(delay, callback)

    def threadsafe(self, callback: Callable[[], object]) -> None:
        """Have something called soon; any thread may ask for it."""
        if self.kind == "select":
            self.native.add_callback_threadsafe(callback)
        else:
            self.native.call_soon_threadsafe(callback)

    def stop(self) -> None:
        """Have the loop stop."""
        self.native.stop()

    def start(self) -> None:
        """Run the loop until it is stopped."""
        if self.kind == "select":
            self.native.start()
        else:
            self.native.run_forever()

    def run(self, until: Callable[[], object], patience: float = PATIENCE) -> bool:
        """Run the loop until something holds, and tell whether it does. What leaves the loop is recorded."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not until():
            over: list[bool] = []
            self._look(until, deadline, over)
            try:
                self.start()
            except Exception as error:
                self.on_error(error)
            over.append(True)
        return bool(until())

    def _look(self, until: Callable[[], object], deadline: float, over: list[bool]) -> None:
        if over:
            return
        if until() or time.monotonic() > deadline:
            self.stop()
        else:
            self.later(0.01, lambda: self._look(until, deadline, over))

    def wait(self, seconds: float = 0.2) -> None:
        """Run the loop for a while."""
        self.run(lambda: False, seconds)

    def until(self, label: str, times: int = 1) -> None:
        """Run the loop until a callback was called so often."""
        if not self.run(lambda: self._env.called(label) >= times):
            raise AssertionError(f"waited in vain for {label}: called {self._env.called(label)} times")

    # Connections

    def make(self, parameters: Any = None, **keywords: Any) -> Any:
        """Make a connection whose callbacks are recorded, unless others are given."""
        keywords = {
            "on_open_callback": self._env.callback("open"),
            "on_open_error_callback": self._env.callback("open error"),
            "on_close_callback": self._env.callback("closed"),
            "custom_ioloop": self.native,
            **keywords,
        }
        connection = self.adapter(self._env.parameters() if parameters is None else parameters, **keywords)
        self._connections.append(connection)
        return connection

    def attempt(self, label: str, parameters: Any, **keywords: Any) -> Any:
        """Try to connect, run the loop until that is decided, and record what becomes of it."""
        self._env.note(label, None)
        decided = self._decided() + 1
        connection = self.make(parameters, **keywords)
        self.run(lambda: self._decided() >= decided)
        self.states("then", connection)
        return connection

    def _decided(self) -> int:
        return sum(map(self._env.called, ("open", "open error", "closed")))

    def connect(self, parameters: Any = None, **keywords: Any) -> Any:
        """Make a connection, and run the loop until it is open."""
        connection = self.make(parameters, **keywords)
        if not self.run(lambda: connection.is_open):
            raise AssertionError("the connection did not open")
        return connection

    def channel(self, connection: Any = None, label: str = "channel", number: int | None = None) -> Any:
        """Open a channel, of a new connection if none is given, and run the loop until it is open."""
        connection = self.connect() if connection is None else connection
        channel = connection.channel(number, on_open_callback=self._env.callback(f"{label} open"))
        channel.add_on_close_callback(self._env.callback(f"{label} closed"))
        if not self.run(lambda: channel.is_open):
            raise AssertionError("the channel did not open")
        return channel

    def queue(
        self, channel: Any, suffix: str = "queue", messages: int = 0, arguments: dict[str, Any] | None = None
    ) -> str:
        """Declare a queue that goes with the connection, fill it with messages b"0", b"1", …, and return its name."""
        name = self._env.name(suffix)
        done: list[Any] = []
        channel.queue_declare(name, exclusive=True, arguments=arguments, callback=done.append)
        self.run(lambda: done)
        for number in range(messages):
            channel.basic_publish("", name, str(number).encode())
        return name

    def states(self, label: str, *things: Any) -> None:
        """Record whether connections or channels are open, closing and closed."""
        self._env.note(label, [(thing.is_open, thing.is_closing, thing.is_closed) for thing in things])

    def finish(self) -> None:
        """Close what is open."""
        for connection in self._connections:
            if connection.is_open:
                connection.close()
        self.run(lambda: all(connection.is_closed for connection in self._connections), 2)
        self.native.close()
