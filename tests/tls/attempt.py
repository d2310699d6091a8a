"""An attempt to open a connection over TLS, and how it went, told in plain values.

It runs with this library in the process of the tests, and as a program with pika 1.4.4, so it imports ``pika`` and the
standard library only. Another adapter gets in by a class in ``DRIVERS``.
"""

from __future__ import annotations

import abc
import json
import ssl
import sys
import time
from typing import Any, Callable

import pika

PATIENCE = 20.0

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
        """Close the connection if it is open."""


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


DRIVERS: dict[str, Callable[[], Driver]] = {"blocking": Blocking}


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
        driver.close()
    except Exception as error:
        return {"stage": stage, "error": told(error)}
    return {"stage": stage, "error": None}


def told(error: BaseException) -> Report:
    """Tell an exception in plain values: its classes, most special first, arguments, words, and reason of OpenSSL."""
    return {
        "classes": [kind.__name__ for kind in type(error).__mro__],
        "args": repr(error.args),
        "text": str(error),
        "reason": getattr(error, "reason", None),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)
