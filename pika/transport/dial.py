"""Whom to call, in which order, how often: a connection attempt as a plan.

:func:`plan` knows the rules and does nothing; a driver carries out its steps, blocking (:func:`dial`) or on a loop.

The rules: in a round every destination is tried in the order given, and of each every address that its host name
resolves to, in the order of the resolver. Every failure, of whatever phase, leads on to the next address, then to
the next destination, then, after ``retry_delay``, to the next round. How many rounds there are, and the delay, is
said by the **last** destination. The error of the last attempt decides the type of the exception.
"""

from __future__ import annotations

import functools
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, Union

from pika.exceptions import AMQPError
from pika.transport.errors import (
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorException,
    AMQPConnectorPhaseErrorBase,
    AMQPConnectorStackTimeout,
    DialError,
    Failure,
    cause_text,
    host_and_port,
)

if TYPE_CHECKING:
    import ssl

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

# How many different failures are remembered. With endless attempts there is no end of them.
_FAILURES_KEPT = 32


class TLSOptions(Protocol):
    """What is to be known to set up TLS; ``SSLOptions`` is one."""

    @property
    def context(self) -> ssl.SSLContext:
        """Which certificates and versions are acceptable."""

    @property
    def server_hostname(self) -> str | None:
        """The name to ask for (SNI) and to find in the certificate; None for the host."""


class Destination(Protocol):
    """What is to be known to connect; ``ConnectionParameters`` is one. Times are in seconds, None is without limit."""

    @property
    def host(self) -> str:
        """A host name or a numeric address."""

    @property
    def port(self) -> int:
        """A TCP port, 0 to 65535."""

    @property
    def tcp_options(self) -> Mapping[str, int] | None:
        """Options of the socket by name: see :func:`pika.transport.sockets.set_options`; None for none."""

    @property
    def socket_timeout(self) -> float | None:
        """How long one TCP connect may take."""

    @property
    def stack_timeout(self) -> float | None:
        """How long TCP, TLS and AMQP handshake may take together, and a lookup of the host alone."""

    @property
    def connection_attempts(self) -> int:
        """How many rounds over all destinations there are, at least 1."""

    @property
    def retry_delay(self) -> float:
        """How long to wait between two rounds."""

    @property
    def ssl_options(self) -> TLSOptions | None:
        """How to use TLS; None for no TLS."""


class Address(NamedTuple):
    """One result of ``socket.getaddrinfo``."""

    family: int
    type: int
    proto: int
    canonname: str
    sockaddr: tuple[Any, ...]


class Resolve(NamedTuple):
    """Look up the host. Send back the addresses, or the exception."""

    destination: Destination


class Attempt(NamedTuple):
    """Connect. Send back the exception; after success close the plan instead."""

    destination: Destination
    address: Address


class Pause(NamedTuple):
    """Wait before the next round. Send back None."""

    seconds: float


Step = Union[Resolve, Attempt, Pause]
StepResult = Union[Sequence[Address], Exception, None]


def describe(destination: Destination, address: Address | None = None) -> str:
    """Host and port for messages, with the address where it is not the host itself: ``rabbit1:5672 (10.0.0.1)``."""
    host = destination.host
    text = host_and_port(host, destination.port)
    if address is None or address.sockaddr[0] == host:
        return text
    return f"{text} ({address.sockaddr[0]})"


def out_of_time(destination: Destination, address: Address | None = None, phase: str = "") -> AMQPConnectorStackTimeout:
    """Return what to raise when an attempt has taken all of its ``stack_timeout``.

    :param destination: whom it was to reach
    :param address: at which of the addresses
    :param phase: what it was at; without, the plan says that and where it was
    """
    where = f"{describe(destination, address)}: {phase}: " if phase else ""
    return AMQPConnectorStackTimeout(
        f"{where}no answer within the stack_timeout of {destination.stack_timeout} seconds"
    )


class _Failures:
    """The failures so far; those that are alike are counted, not collected."""

    def __init__(self) -> None:
        self._by_text: dict[tuple[str, str, str], Failure] = {}

    def add(self, where: str, phase: str, error: Exception) -> None:
        key = where, phase, cause_text(error)
        before = self._by_text.pop(key, None)
        failure = Failure(where, phase, error, before.times + 1 if before else 1)
        self._by_text[key] = failure
        if len(self._by_text) > _FAILURES_KEPT:
            del self._by_text[next(iter(self._by_text))]
        LOGGER.info("Could not connect to %s: %s: %s", *key)

    def summary(self) -> DialError:
        return DialError(tuple(self._by_text.values()))


def plan(
    destinations: Sequence[Destination], *, until_first_amqp_attempt: bool = False
) -> Generator[Step, StepResult, None]:
    """Give the steps of connecting to one of ``destinations``, one at a time.

    :param destinations: at least one; the last one says ``connection_attempts`` and ``retry_delay`` for all
    :param until_first_amqp_attempt: end after the first failure of an AMQP handshake: what the constructors of the
        callback adapters (``SelectConnection`` …) do
    :returns: a generator: carry out each step, send its result, close it after success
    :raises ValueError: there is no destination
    :raises DialError: every attempt failed (raised by ``send``)
    """
    if not destinations:
        raise ValueError(f"Expected a non-empty sequence of connection parameters, but got {destinations!r}.")
    return _plan(tuple(destinations), until_first_amqp_attempt)


def _plan(destinations: Sequence[Destination], until_first_amqp_attempt: bool) -> Generator[Step, StepResult, None]:
    failures = _Failures()
    last = destinations[-1]
    for attempt in range(last.connection_attempts):
        if attempt:
            yield Pause(last.retry_delay)
        for destination in destinations:
            found = yield Resolve(destination)
            if not isinstance(found, Exception) and not found:
                found = socket.gaierror(socket.EAI_NONAME, "the host name has no address")
            if isinstance(found, Exception):
                failures.add(describe(destination), "name resolution", found)
                continue
            for address in found or ():
                error = yield Attempt(destination, address)
                if not isinstance(error, Exception):
                    raise TypeError(f"An attempt ends with an exception, or the plan is closed; got {error!r}")
                phase = error.phase if isinstance(error, AMQPConnectorPhaseErrorBase) else "AMQP handshake"
                failures.add(describe(destination, address), phase, error)
                if until_first_amqp_attempt and isinstance(error, (AMQPError, AMQPConnectorAMQPHandshakeError)):
                    raise failures.summary()
    raise failures.summary()


def resolve(host: str, port: int, timeout: float | None = None) -> list[Address]:
    """Look up the addresses of a host, IPv4 and IPv6, in the order of the resolver.

    The operating system's lookup has no deadline. So it runs in a daemon thread of its own, which is left behind
    when the time is over; a numeric address needs neither lookup nor thread.

    :param host: a name or a numeric address
    :param port: a TCP port
    :param timeout: seconds; None waits as long as the operating system does
    :raises socket.gaierror: no such host; or, with ``EAI_AGAIN``, no answer in time
    :raises UnicodeError: the name cannot be a host name
    """
    if timeout is None:
        return _lookup(host, port)
    known = look_up_number(host, port)
    if known is not None:
        return known
    outcome: list[list[Address] | Exception] = []
    done = threading.Event()

    def keep(result: list[Address] | Exception) -> None:
        outcome.append(result)
        done.set()

    call_in_thread(functools.partial(_lookup, host, port), keep, f"pika-resolve-{host}")
    if not done.wait(timeout):
        raise socket.gaierror(socket.EAI_AGAIN, f"the resolver did not answer within {timeout:g} seconds")
    result = outcome[0]
    if isinstance(result, Exception):
        raise result
    return result


def look_up_number(host: str, port: int) -> list[Address] | None:
    """Return the address of a host that is given as one, for which nobody has to be asked; None for a name.

    :param host: a name or a numeric address
    :param port: a TCP port
    """
    try:
        return _lookup(host, port, socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return None


def call_in_thread(function: Callable[[], T], on_done: Callable[[T | Exception], object], name: str) -> None:
    """Call a function that takes its time in a daemon thread, which nobody waits for when the program ends.

    :param function: what to call
    :param on_done: called there with what it returned or raised
    :param name: the thread's
    """

    def run() -> None:
        try:
            result: T | Exception = function()
        except Exception as error:
            result = error
        on_done(result)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:  # no more threads: late in the interpreter's life, or a limit of the system
        run()


def _lookup(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, socket.IPPROTO_TCP, flags)
    return [Address(*info) for info in found]


def dial(
    destinations: Sequence[Destination],
    attempt: Callable[[Destination, Address, float | None], T],
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Carry out a :func:`plan`, blocking, until an attempt succeeds.

    Every wait has a bound: a lookup and an attempt may each take the ``stack_timeout`` of their destination.

    :param destinations: at least one
    :param attempt: opens the stream and brings it to where it is of use; given destination, address and the deadline
        on the clock of ``now`` (None if there is no ``stack_timeout``). An ``OSError``, ``AMQPError`` or
        ``AMQPConnectorException`` leads on to the next attempt; anything else ends the dialing
    :param now: the clock, in seconds
    :param sleep: waits between rounds
    :returns: what ``attempt`` returns
    :raises ValueError: there is no destination
    :raises Exception: every attempt failed: see :meth:`pika.transport.errors.DialError.reduced`
    """
    steps = plan(destinations)
    try:
        step = next(steps)
        while True:
            result: StepResult = None
            if isinstance(step, Pause):
                sleep(step.seconds)
            elif isinstance(step, Resolve):
                destination = step.destination
                try:
                    result = resolve(destination.host, destination.port, destination.stack_timeout)
                except (OSError, UnicodeError) as error:
                    result = error
            else:
                limit = step.destination.stack_timeout
                try:
                    return attempt(step.destination, step.address, None if limit is None else now() + limit)
                except (OSError, AMQPError, AMQPConnectorException) as error:
                    result = error
            step = steps.send(result)
    except DialError as error:
        failed = error
    finally:
        steps.close()
    raise failed.reduced()
