"""What a scenario has in its hands. Runs with pika 1.4.4 and with this library alike, so it knows ``pika`` only."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from typing import Any, Callable, NamedTuple

import pika

from .plain import Plain

PATIENCE = 60.0


class Scenario(NamedTuple):
    """A scenario.

    :param name: its name
    :param run: the function
    :param differs: keys of ``expected.EXPECTED``: what differs between the two libraries on purpose
    :param node: whether it changes the whole broker, and so needs a node for itself
    :param limit: seconds after which it hangs
    """

    name: str
    run: Callable[[Env], None]
    differs: tuple[str, ...]
    node: bool
    limit: float


class Scenarios(dict):  # type: ignore[type-arg]
    """The scenarios of one module, by name: call it as a decorator."""

    def __call__(
        self, *differs: str, node: bool = False, limit: float = 100.0
    ) -> Callable[[Callable[[Env], None]], Callable[[Env], None]]:
        """Make a scenario of a function; see :class:`Scenario`."""

        def register(function: Callable[[Env], None]) -> Callable[[Env], None]:
            self[function.__name__] = Scenario(function.__name__, function, differs, node, limit)
            return function

        return register


class Env:
    """Records what a scenario sees.

    :param name: the scenario's name
    :param url: the broker's
    :param ask: asks the process of the tests to do something: a name and arguments
    """

    def __init__(self, name: str, url: str, ask: Callable[..., Any]) -> None:
        self.url = url
        self.records: list[dict[str, Any]] = []
        self.logs: list[tuple[str, str, str]] = []
        self.hidden: dict[str, str] = {}
        self.ask = ask
        self._name = name
        self._plain = Plain(self.hidden)
        self._connections: list[pika.BlockingConnection] = []
        self._at_end: list[Callable[[], object]] = []
        self._over = False
        own = pika.URLParameters(url)
        self.hidden[str(own.port)] = "<port>"
        if own.virtual_host != "/":
            self.hidden[own.virtual_host] = "<vhost>"

    # Recording

    def _add(self, what: str, label: str, value: object) -> None:
        if not self._over:
            self.records.append({"what": what, "label": label, "value": self._plain.value(value)})

    def do(self, label: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call something, and record what it returns or raises. Returns the result, or the exception."""
        try:
            result = function(*arguments, **keywords)
        except Exception as error:
            self._add("raise", label, error)
            return error
        self._add("return", label, result)
        return result

    def until_raises(self, label: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call something until it raises, and record what: for errors that come some time behind their cause."""

        def repeat() -> None:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                function(*arguments)
                time.sleep(0.02)

        self.do(label, repeat)

    def note(self, label: str, value: object) -> None:
        """Record a value."""
        self._add("value", label, value)

    def states(self, label: str, *things: Any) -> None:
        """Record whether connections or channels are open and closed."""
        self._add("state", label, [(thing.is_open, thing.is_closed) for thing in things])

    def in_any_order(self, *labels: str) -> None:
        """Put records with these labels that stand side by side into a fixed order: theirs was the broker's choice."""

        def place(record: dict[str, Any]) -> tuple[int, str]:
            return labels.index(record["label"]), repr(record["value"])

        begin = 0
        for alike, run in itertools.groupby(self.records, lambda record: record["label"] in labels):
            found = list(run)
            if alike:
                self.records[begin : begin + len(found)] = sorted(found, key=place)
            begin += len(found)

    def called(self, label: str) -> int:
        """Return how often a callback was called."""
        return sum(record["what"] == "call" and record["label"] == label for record in self.records)

    def callback(self, label: str, action: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Return a callback that records its arguments, and then does something with them."""

        def called(*arguments: Any, **keywords: Any) -> Any:
            self._add("call", label, (*arguments, keywords) if keywords else arguments)
            return None if action is None else action(*arguments, **keywords)

        return called

    # The broker

    def name(self, suffix: str = "queue") -> str:
        """Return a name that is this scenario's own."""
        return f"{self._name}-{suffix}"

    def parameters(self, **attributes: Any) -> pika.URLParameters:
        """Return parameters for the broker, with attributes set on them."""
        parameters = pika.URLParameters(self.url)
        for name, value in attributes.items():
            setattr(parameters, name, value)
        return parameters

    def connect(self, **attributes: Any) -> pika.BlockingConnection:
        """Connect; it is closed behind the scenario."""
        return self.keep(pika.BlockingConnection(self.parameters(**attributes)))  # type: ignore[no-any-return]

    def keep(self, connection: Any) -> Any:
        """Have a connection closed behind the scenario; anything else is ignored."""
        if isinstance(connection, pika.BlockingConnection):
            self._connections.append(connection)
        return connection

    def channel(self, **attributes: Any) -> Any:
        """Return a channel of a new connection."""
        return self.connect(**attributes).channel()

    def queue(
        self, channel: Any, suffix: str = "queue", messages: int = 0, arguments: dict[str, Any] | None = None
    ) -> str:
        """Declare a queue that goes with the connection, fill it with messages b"0", b"1", …, and return its name."""
        name = self.name(suffix)
        channel.queue_declare(name, exclusive=True, arguments=arguments)
        self.fill(channel, name, messages)
        return name

    def count(self, label: str, channel: Any, queue: str) -> None:
        """Record how many messages are ready in a queue, when what was put back is there again."""
        channel.connection.sleep(0.1)
        channel.flow(True)
        # A declare overtakes what was put back before. A get does not, and what it took is back with its channel's end.
        other = channel.connection.channel()
        other.basic_get(queue)
        other.close()
        self.do(label, channel.queue_declare, queue, passive=True)

    @staticmethod
    def break_channel(channel: Any) -> None:
        """Have the broker close a channel soon (406).

        It goes past the blocking channel: whether a method that is not answered looks at once for what it has caused
        is a matter of microseconds.
        """
        channel._impl.basic_ack(99)

    def fill(self, channel: Any, queue: str, messages: int, first: int = 0) -> None:
        """Publish messages to a queue, and return when they are there."""
        other = channel.connection.channel()
        other.confirm_delivery()
        for number in range(first, first + messages):
            other.basic_publish("", queue, str(number).encode())
        other.close()

    def pump(self, connection: Any, until: Callable[[], object], patience: float = PATIENCE) -> None:
        """Process events until something holds. What comes out of it is recorded by callbacks."""
        deadline = time.monotonic() + patience
        while not until() and time.monotonic() < deadline:
            connection.process_data_events(0.02)

    def until_dead(self, label: str, connection: Any, patience: float = PATIENCE) -> None:
        """Process events until the connection says that it is over, and record that."""
        self.do(label, self.pump, connection, lambda: False, patience)

    def later(self, delay: float, function: Callable[..., Any], *arguments: Any) -> threading.Thread:
        """Do something in another thread, after a while."""
        thread = threading.Timer(delay, function, arguments)
        thread.daemon = True
        thread.start()
        return thread

    # What the process of the tests does

    def proxy(self) -> Proxy:
        """Return a network to the broker that fails on command."""
        return Proxy(self, *self.ask("proxy"))

    def peer(self, script: str) -> Peer:
        """Return a server that follows a script of ``peers.SCRIPTS``."""
        return Peer(self, *self.ask("peer", script))

    def free_port(self) -> int:
        """Return a port where nobody listens."""
        port: int = self.ask("free_port")
        self.hidden[str(port)] = "<free port>"
        return port

    def at_end(self, function: Callable[[], object]) -> None:
        """Have something done behind the scenario."""
        self._at_end.append(function)

    def finish(self) -> None:
        """Close what is open. Nothing of it is recorded."""
        self._over = True
        for function in self._at_end:
            with contextlib.suppress(Exception):
                function()
        for connection in self._connections:
            if connection.is_open:
                with contextlib.suppress(Exception):
                    connection.close()


class Proxy:
    """A proxy in the process of the tests; see tests/support/proxy.py.

    :param env: the scenario's
    :param number: which
    :param port: its port
    """

    def __init__(self, env: Env, number: int, port: int) -> None:
        self.port = port
        self._env = env
        self._number = number
        env.hidden[str(port)] = "<proxy>"

    def connect(self, **attributes: Any) -> pika.BlockingConnection:
        """Connect through it."""
        return self._env.connect(port=self.port, host="127.0.0.1", **attributes)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments: self._env.ask("proxy_call", self._number, method, *arguments)


class Peer:
    """A scripted server in the process of the tests.

    :param env: the scenario's
    :param number: which
    :param port: its port
    """

    def __init__(self, env: Env, number: int, port: int) -> None:
        self.port = port
        self._env = env
        self._number = number
        env.hidden[str(port)] = "<peer>"

    def parameters(self, **attributes: Any) -> pika.ConnectionParameters:
        """Return parameters for it."""
        return pika.ConnectionParameters("127.0.0.1", self.port, **attributes)

    def connect(self, **attributes: Any) -> pika.BlockingConnection:
        """Connect to it."""
        return self._env.keep(pika.BlockingConnection(self.parameters(**attributes)))  # type: ignore[no-any-return]

    def accepted(self) -> int:
        """Return how many connections it has accepted."""
        count: int = self._env.ask("peer_accepted", self._number)
        return count

    def go(self) -> None:
        """Let a script that waits go on."""
        self._env.ask("peer_go", self._number)


class LogHandler(logging.Handler):
    """Gives log records to the scenario that runs; those of one that hangs are dropped."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.env: Env | None = None
        self.abandoned: set[int | None] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if self.env is not None and record.thread not in self.abandoned:
            self.env.logs.append((record.name, record.levelname, record.getMessage()))
