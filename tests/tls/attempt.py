"""An attempt to open a connection over TLS, and how it went, told in plain values.

It runs with this library in the process of the tests, and as a program with pika 1.4.4, so it imports ``pika`` and the
standard library only. Another adapter gets in by a class in ``DRIVERS``.
"""

from __future__ import annotations

import abc
import asyncio
import json
import ssl
import sys
import time
from typing import Any, Callable

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

PATIENCE = 60.0

Ask = dict[str, Any]
Report = dict[str, Any]


class Driver(abc.ABC):
    """A connection of one adapter. Opening it raises, or hands over, what the adapter tells the program."""

    @abc.abstractmethod
    def open(self, parameters: Any) -> None:
        """Open the connection, and a channel; raise what the program gets to see if that fails."""

    @abc.abstractmethod
    def echo(self, bodies: list[bytes]) -> list[bytes]:
        """Publish messages, and return what comes back of them."""

    @abc.abstractmethod
    def wait_for_end(self, seconds: float = PATIENCE) -> BaseException:
        """Publish a message to nobody, so that the peer knows; then wait for the connection's end, and return why."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connection if it is open, and whatever it stood on."""


class Blocking(Driver):
    """``BlockingConnection``."""

    _connection: pika.BlockingConnection | None = None

    def open(self, parameters: Any) -> None:
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()

    def echo(self, bodies: list[bytes]) -> list[bytes]:
        queue = self._channel.queue_declare("", exclusive=True).method.queue
        for body in bodies:
            self._channel.basic_publish("", queue, body)
        received: list[bytes] = []
        for _, _, body in self._channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE):
            if body is None:
                break
            received.append(body)
            if len(received) == len(bodies):
                break
        self._channel.cancel()
        return received

    def wait_for_end(self, seconds: float = PATIENCE) -> BaseException:
        assert self._connection is not None
        deadline = time.monotonic() + seconds
        try:
            self._channel.basic_publish("", "waiting", b"")
            while time.monotonic() < deadline:
                self._connection.process_data_events(0.5)
        except Exception as error:
            return error
        return TimeoutError("the connection has not ended")

    def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()


class Looped(Driver):
    """A connection that calls back from a loop, which is run until something holds."""

    _connection: Any = None

    def __init__(self) -> None:
        self._loop = self._new_loop()
        self._channel: Any = None
        # What the connection's last callback was called with.
        self._reason: BaseException | None = None

    @abc.abstractmethod
    def _new_loop(self) -> Any: ...

    @abc.abstractmethod
    def _connect(self, parameters: Any, **options: Any) -> Any: ...

    @abc.abstractmethod
    def _start(self) -> None:
        """Run the loop until it is stopped."""

    def open(self, parameters: Any) -> None:
        self._connection = self._connect(
            parameters,
            on_open_callback=self._stops(lambda connection: None),
            on_open_error_callback=self._stops(self._on_end),
            on_close_callback=self._stops(self._on_end),
            custom_ioloop=self._loop,
        )
        self._run(lambda: self._connection.is_open)
        self._channel = self._answer(lambda answered: self._connection.channel(on_open_callback=answered))

    def echo(self, bodies: list[bytes]) -> list[bytes]:
        declared = self._answer(lambda answered: self._channel.queue_declare("", exclusive=True, callback=answered))
        queue = declared.method.queue
        received: list[bytes] = []

        def on_message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            received.append(body)
            if len(received) == len(bodies):
                self._loop.stop()

        for body in bodies:
            self._channel.basic_publish("", queue, body)
        tag = self._channel.basic_consume(queue, on_message, auto_ack=True)
        self._run(lambda: len(received) >= len(bodies), 5 * PATIENCE)
        self._answer(lambda answered: self._channel.basic_cancel(tag, callback=answered))
        return received

    def wait_for_end(self, seconds: float = PATIENCE) -> BaseException:
        try:
            self._channel.basic_publish("", "waiting", b"")
            self._run(lambda: False, seconds)
        except TimeoutError:
            return TimeoutError("the connection has not ended")
        except Exception as error:
            return error
        raise AssertionError("nothing never holds")

    def close(self) -> None:
        try:
            if self._connection is not None and self._connection.is_open:
                self._connection.close()
                self._run(lambda: self._connection.is_closed, 2 * PATIENCE)
        finally:
            self._loop.close()

    def _on_end(self, _connection: Any, reason: BaseException) -> None:
        self._reason = reason

    def _stops(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """A callback behind which the loop stops."""

        def called(*arguments: Any) -> None:
            callback(*arguments)
            self._loop.stop()

        return called

    def _answer(self, ask: Callable[[Callable[..., Any]], Any]) -> Any:
        """Begin something that calls back, and return what it called back with."""
        answers: list[Any] = []
        ask(self._stops(answers.append))
        self._run(lambda: answers)
        return answers[0]

    def _run(self, until: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Run the loop until something holds; a connection that ends first raises its reason."""
        deadline = time.monotonic() + seconds
        while not until():
            if self._reason is not None:
                raise self._reason
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"it did not come to it within {seconds} seconds")
            timer = self._loop.call_later(remaining, self._loop.stop)
            self._start()
            self._cancel(timer)

    @abc.abstractmethod
    def _cancel(self, timer: Any) -> None: ...


class Select(Looped):
    """``SelectConnection``."""

    def _new_loop(self) -> Any:
        return pika.adapters.select_connection.IOLoop()

    def _connect(self, parameters: Any, **options: Any) -> Any:
        return pika.SelectConnection(parameters, **options)

    def _start(self) -> None:
        self._loop.start()

    def _cancel(self, timer: Any) -> None:
        self._loop.remove_timeout(timer)


class Asyncio(Looped):
    """``AsyncioConnection``, outside of coroutines."""

    def _new_loop(self) -> Any:
        return asyncio.new_event_loop()

    def _connect(self, parameters: Any, **options: Any) -> Any:
        return AsyncioConnection(parameters, **options)

    def _start(self) -> None:
        self._loop.run_forever()

    def _cancel(self, timer: Any) -> None:
        timer.cancel()


DRIVERS: dict[str, Callable[[], Driver]] = {"blocking": Blocking, "select": Select, "asyncio": Asyncio}


def context(tls: dict[str, Any]) -> ssl.SSLContext:
    """Make a context.

    :param tls: any of ``cafile``, ``certfile``, ``keyfile``, ``password``, ``only`` (the name of a TLS version)
    """
    made = ssl.create_default_context(cafile=tls.get("cafile"))
    if "certfile" in tls:
        made.load_cert_chain(tls["certfile"], tls["keyfile"], tls.get("password"))
    if "only" in tls:
        made.minimum_version = made.maximum_version = ssl.TLSVersion[tls["only"]]
    return made


def parameters(ask: Ask) -> Any:
    """Make connection parameters.

    :param ask: ``url``, or ``host`` and ``port``; ``tls`` as for :func:`context`, with ``server_hostname``;
        ``external`` for the credentials of that name; ``attributes`` to set
    """
    made = pika.URLParameters(ask["url"]) if "url" in ask else pika.ConnectionParameters(ask["host"], ask["port"])
    if ask.get("tls") is not None:
        made.ssl_options = pika.SSLOptions(context(ask["tls"]), ask["tls"].get("server_hostname"))
    if ask.get("external"):
        made.credentials = pika.credentials.ExternalCredentials()
    for name, value in ask.get("attributes", {}).items():
        setattr(made, name, value)
    return made


def attempt(ask: Ask) -> Report:
    """Open a connection, have a few words echoed, and say how it went.

    :param ask: as for :func:`parameters`; ``driver``; instead of the echo, ``wait`` for the end, or ``open_only``
    :returns: ``stage``, where it ended: "parameters", "opening", "open", "ended"; and ``error``, if there was one
    """
    stage = "parameters"
    driver = DRIVERS[ask.get("driver", "blocking")]()
    error: BaseException | None = None
    try:
        made = parameters(ask)
        stage = "opening"
        driver.open(made)
        stage = "open"
        if ask.get("wait"):
            stage = "ended"
            raise driver.wait_for_end()
        said = [] if ask.get("open_only") else [b"a", b"b" * 100_000]
        if said and driver.echo(said) != said:
            raise AssertionError("the echo is no echo")
    except Exception as raised:
        error = raised
    try:
        driver.close()
    except Exception as raised:
        error = error or raised
    return {"stage": stage, "error": None if error is None else told(error)}


def told(error: BaseException) -> Report:
    """Tell an exception in plain values.

    :returns: its ``classes``, most special first, ``args``, words (``text``), and ``reason`` of OpenSSL; and the
        same of the ``cause`` that it wraps, as the workflow's errors do, or None
    """
    cause = error
    while getattr(cause, "exceptions", None) or getattr(cause, "exception", None):
        cause = cause.exceptions[-1] if getattr(cause, "exceptions", None) else cause.exception  # type: ignore[attr-defined]
    return {
        "classes": [kind.__name__ for kind in type(error).__mro__],
        "args": repr(error.args),
        "text": str(error),
        "reason": getattr(error, "reason", None),
        "cause": None if cause is error else told(cause),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)
