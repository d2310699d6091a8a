"""Scenarios on event loops: each is written once, and run on every loop."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Iterable
from typing import Any, Callable

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.select_connection import IOLoop

from .env import PATIENCE, Env, Scenario

#: With what a scenario stays quick when nobody answers.
QUICK: dict[str, Any] = {"connection_attempts": 1, "retry_delay": 0, "stack_timeout": 4, "socket_timeout": 4}
ALL = ("select", "asyncio", "tornado", "gevent")


class LoopScenarios(dict):  # type: ignore[type-arg]
    """The scenarios of one module, by name: call it as a decorator of functions of an :class:`Env` and a :class:`Loop`.

    A function becomes a scenario for each loop, with the loop's name in front of its own.

    :param kinds: the loops, unless a function names its own
    """

    def __init__(self, kinds: Iterable[str] = ("select", "asyncio")) -> None:
        super().__init__()
        self._kinds = tuple(kinds)

    def __call__(
        self, *differs: str, node: bool = False, limit: float = 100.0, kinds: Iterable[str] = ()
    ) -> Callable[[Callable[[Env, Loop], None]], Callable[[Env, Loop], None]]:
        """Make scenarios of a function; see :class:`Scenario`."""

        def register(function: Callable[[Env, Loop], None]) -> Callable[[Env, Loop], None]:
            for kind in kinds or self._kinds:
                name = f"{kind}_{function.__name__}"
                self[name] = Scenario(name, functools.partial(_run, function, kind), differs, node, limit)
            return function

        return register


def _run(function: Callable[[Env, Loop], None], kind: str, env: Env) -> None:
    loop = Loop(env, kind)
    env.at_end(loop.finish)
    function(env, loop)


class Select:
    """pika's own loop, and what errors do there: they leave it.

    :param on_error: called with errors that go to a handler of the loop's
    """

    error_label = "left the loop"

    def __init__(self, on_error: Callable[[Any], None]) -> None:
        self._on_error = on_error
        self.native = self._make()

    @staticmethod
    def adapter() -> Any:
        """Return the class of connections."""
        return pika.SelectConnection

    def _make(self) -> Any:
        return IOLoop()

    def start(self) -> None:
        """Run until it is stopped."""
        self.native.start()

    def threadsafe(self, callback: Callable[[], object]) -> None:
        """Have something called soon; any thread may ask for it."""
        self.native.add_callback(callback)

    def close(self) -> None:
        """Give back what it has opened."""
        self.native.close()


class Asyncio(Select):
    """asyncio's, which has a handler for errors."""

    error_label = "the handler"

    @staticmethod
    def adapter() -> Any:
        return AsyncioConnection

    def _make(self) -> Any:
        native = asyncio.new_event_loop()
        native.set_exception_handler(self._on_exception)
        return native

    def _on_exception(self, _loop: object, context: dict[str, Any]) -> None:
        self._on_error(context.get("exception"))

    def start(self) -> None:
        self.native.run_forever()

    def threadsafe(self, callback: Callable[[], object]) -> None:
        self.native.call_soon_threadsafe(callback)


class Tornado(Asyncio):
    """Tornado's: some errors go to the handler of asyncio's, the others to its log."""

    @staticmethod
    def adapter() -> Any:
        from pika.adapters.tornado_connection import TornadoConnection

        return TornadoConnection

    def _make(self) -> Any:
        from tornado.ioloop import IOLoop as TornadoLoop

        native = TornadoLoop(make_current=False)
        native.asyncio_loop.set_exception_handler(self._on_exception)  # type: ignore[attr-defined]
        self._handler = logging.Handler()
        self._handler.emit = self._on_record  # type: ignore[method-assign]
        logging.getLogger("tornado.application").addHandler(self._handler)
        return native

    def _on_record(self, record: logging.LogRecord) -> None:
        self._on_error(record.exc_info and record.exc_info[1])

    def start(self) -> None:
        self.native.start()

    def threadsafe(self, callback: Callable[[], object]) -> None:
        self.native.add_callback(callback)

    def close(self) -> None:
        logging.getLogger("tornado.application").removeHandler(self._handler)
        self.native.close()


class Gevent(Select):
    """A loop in gevent's hub, which prints errors."""

    error_label = "the handler"

    @staticmethod
    def adapter() -> Any:
        from pika.adapters.gevent_connection import GeventConnection

        return GeventConnection

    def _make(self) -> Any:
        import gevent

        hub = gevent.get_hub()
        hub.print_exception = lambda _context, _type, value, _traceback: self._on_error(value)
        return self.adapter()(internal_connection_workflow=False).ioloop


LOOPS: dict[str, type[Select]] = {"select": Select, "asyncio": Asyncio, "tornado": Tornado, "gevent": Gevent}


class Loop:
    """An event loop and the connections on it.

    :param env: the scenario's
    :param kind: one of LOOPS
    """

    def __init__(self, env: Env, kind: str) -> None:
        self.kind = kind
        #: What is done with errors that leave the loop, or that go to its handler: they are recorded.
        self.on_error: Callable[[Any], None] = functools.partial(env.note, LOOPS[kind].error_label)
        self._own = LOOPS[kind](lambda error: self.on_error(error))
        self.native = self._own.native
        self.adapter = self._own.adapter()
        self._env = env
        self._connections: list[Any] = []

    # Running

    def later(self, delay: float, callback: Callable[[], object]) -> Any:
        """Have something called after a while."""
        return self.native.call_later(delay, callback)

    def threadsafe(self, callback: Callable[[], object]) -> None:
        """Have something called soon; any thread may ask for it."""
        self._own.threadsafe(callback)

    def stop(self) -> None:
        """Have the loop stop."""
        self.native.stop()

    def start(self) -> None:
        """Run the loop until it is stopped."""
        self._own.start()

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
        self._own.close()
