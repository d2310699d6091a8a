"""The rules of dialing: as a pure generator, and with real sockets."""

from __future__ import annotations

import copy
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from pika.exceptions import AMQPConnectionError, ProbableAuthenticationError
from pika.transport.dial import (
    Address,
    Attempt,
    Pause,
    Resolve,
    Step,
    StepResult,
    TLSOptions,
    describe,
    dial,
    plan,
    resolve,
)
from pika.transport.errors import (
    AMQPConnectionWorkflowAborted,
    AMQPConnectionWorkflowFailed,
    AMQPConnectorAborted,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorException,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
    DialError,
)
from pika.transport.stream import Stream
from tests.support.bounded import eventually
from tests.support.peer import Peer, PeerSocket, free_port


class Target(NamedTuple):
    """The least that is a Destination."""

    host: str
    port: int = 5672
    connection_attempts: int = 1
    retry_delay: float = 0.5
    tcp_options: Mapping[str, int] | None = None
    socket_timeout: float | None = 5.0
    stack_timeout: float | None = 10.0
    ssl_options: TLSOptions | None = None


def address(host: str, port: int = 5672) -> Address:
    return Address(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


REFUSED = AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))
HOSTS = {"one": ["10.0.0.1"], "two": ["10.0.0.2", "10.0.0.3"], "nowhere": socket.gaierror(-2, "Name not known")}


def carry_out(
    destinations: Sequence[Target],
    outcome: Callable[[Address], Exception],
    **options: Any,
) -> tuple[list[str], DialError]:
    """Run a plan in which every attempt fails. Returns what was done, and the end."""
    done: list[str] = []
    steps = plan(destinations, **options)
    step: Step = next(steps)
    while True:
        result: StepResult = None
        if isinstance(step, Pause):
            done.append(f"pause {step.seconds}")
        elif isinstance(step, Resolve):
            found: list[str] | Exception = HOSTS[step.destination.host]  # type: ignore[assignment]
            result = found if isinstance(found, Exception) else [address(host) for host in found]
        else:
            done.append(step.address.sockaddr[0])
            result = outcome(step.address)
        try:
            step = steps.send(result)
        except DialError as error:
            return done, error


def test_every_address_of_every_destination_is_tried_in_order() -> None:
    done, error = carry_out([Target("two"), Target("one")], lambda _: REFUSED)
    assert done == ["10.0.0.2", "10.0.0.3", "10.0.0.1"]
    assert str(error) == (
        "could not connect to two:5672 (10.0.0.2): TCP connection: Connection refused; "
        "two:5672 (10.0.0.3): TCP connection: Connection refused; "
        "one:5672 (10.0.0.1): TCP connection: Connection refused: is RabbitMQ running there?"
    )


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ((3, 9.0), (1, 0.5), ["10.0.0.1", "10.0.0.1"]),
        ((1, 9.0), (2, 0.5), ["10.0.0.1", "10.0.0.1", "pause 0.5", "10.0.0.1", "10.0.0.1"]),
    ],
)
def test_the_last_destination_says_how_often_and_how_long(
    first: tuple[int, float], last: tuple[int, float], expected: list[str]
) -> None:
    targets = [Target("one", connection_attempts=attempts, retry_delay=delay) for attempts, delay in (first, last)]
    assert carry_out(targets, lambda _: REFUSED)[0] == expected


@pytest.mark.parametrize(
    "failure",
    [
        REFUSED,
        AMQPConnectorTransportSetupError(ssl.SSLError(1, "wrong version")),
        AMQPConnectorAMQPHandshakeError(ProbableAuthenticationError("no")),
        ProbableAuthenticationError("no"),
        OSError("something"),
    ],
)
def test_no_failure_ends_the_sequence(failure: Exception) -> None:
    done, _ = carry_out([Target("one"), Target("two", connection_attempts=2)], lambda _: failure)
    assert done == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "pause 0.5", "10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_a_host_that_does_not_resolve_is_followed_by_the_next() -> None:
    done, error = carry_out([Target("nowhere"), Target("one")], lambda _: REFUSED)
    assert done == ["10.0.0.1"]
    assert "nowhere:5672: name resolution: Name not known" in str(error)
    assert isinstance(error.reduced(), AMQPConnectionError)


def test_a_host_without_addresses_is_a_failure_to_resolve() -> None:
    steps = plan([Target("one")])
    next(steps)
    with pytest.raises(DialError) as caught:
        steps.send([])
    assert isinstance(caught.value.reduced(), socket.gaierror)


def test_the_first_amqp_failure_ends_it_if_asked_for() -> None:
    targets = [Target("two", connection_attempts=2)]
    wrong = AMQPConnectorAMQPHandshakeError(ProbableAuthenticationError("no"))
    done, _ = carry_out(
        targets, lambda at: wrong if at.sockaddr[0] == "10.0.0.3" else REFUSED, until_first_amqp_attempt=True
    )
    assert done == ["10.0.0.2", "10.0.0.3"]
    done, _ = carry_out(targets, lambda _: REFUSED, until_first_amqp_attempt=True)
    assert len(done) == 5


def test_after_success_the_plan_is_closed() -> None:
    steps = plan([Target("one")])
    assert isinstance(next(steps), Resolve)
    assert isinstance(steps.send([address("10.0.0.1")]), Attempt)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_a_driver_that_sends_no_exception_is_told() -> None:
    steps = plan([Target("one")])
    next(steps)
    steps.send([address("10.0.0.1")])
    with pytest.raises(TypeError, match="exception"):
        steps.send(None)


def test_no_destinations_at_all() -> None:
    with pytest.raises(ValueError, match="non-empty sequence"):
        plan([])


def test_equal_failures_are_counted_and_different_ones_bounded() -> None:
    _, error = carry_out([Target("one", connection_attempts=1000)], lambda _: REFUSED)
    assert str(error).endswith("Connection refused (1000 times): is RabbitMQ running there?")
    numbers = iter(range(1000))
    _, error = carry_out([Target("one", connection_attempts=1000)], lambda _: OSError(f"number {next(numbers)}"))
    assert len(error.failures) == 32
    assert str(error).endswith("number 999")


# --- the exception at the end


def reduced(failure: Exception) -> Exception:
    return carry_out([Target("one")], lambda _: failure)[1].reduced()


def test_no_tcp_connection_is_an_amqp_connection_error_with_the_phase_error_inside() -> None:
    error = reduced(REFUSED)
    assert isinstance(error, AMQPConnectionError)
    assert error.args == (REFUSED,)
    assert isinstance(error.args[0].exception, ConnectionRefusedError)


def test_an_amqp_error_comes_out_as_itself_and_tells_the_rest() -> None:
    refused = ProbableAuthenticationError("ConnectionClosedByBroker: (403) 'ACCESS_REFUSED'")
    error = reduced(AMQPConnectorAMQPHandshakeError(refused))
    assert error is refused
    assert "one:5672 (10.0.0.1): AMQP handshake" in str(error.__cause__)


def test_a_failed_resolution_is_both_a_connection_error_and_a_gaierror() -> None:
    error = carry_out([Target("one"), Target("nowhere")], lambda _: REFUSED)[1].reduced()
    assert isinstance(error, AMQPConnectionError)
    assert isinstance(error, socket.gaierror)
    assert (error.errno, error.strerror) == (-2, "Name not known")
    assert error.args == (-2, "Name not known")
    assert "10.0.0.1" in str(error) and "nowhere" in str(error)


@pytest.mark.parametrize(
    "cause",
    [
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        ssl.SSLError(1, "wrong version number"),
        ConnectionResetError(104, "Connection reset by peer"),
        AMQPConnectorStackTimeout("no TLS handshake"),
        UnicodeError("label too long"),
        UnicodeEncodeError("idna", "x", 0, 1, "label too long"),
    ],
)
def test_other_causes_are_caught_by_their_own_type_too(cause: Exception) -> None:
    error = reduced(AMQPConnectorTransportSetupError(cause))
    assert isinstance(error, AMQPConnectionError)
    assert isinstance(error, type(cause))
    assert error.args == cause.args
    assert error.__cause__ is cause
    assert str(error).startswith("could not connect to one:5672 (10.0.0.1): TLS handshake: ")
    assert getattr(error, "errno", None) == getattr(cause, "errno", None)


@pytest.mark.parametrize("failure", [REFUSED, socket.gaierror(-2, "unknown"), AMQPConnectorStackTimeout("late")])
def test_the_exception_can_be_pickled_and_copied(failure: Exception) -> None:
    error = reduced(failure)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, AMQPConnectionError)
    assert str(again) == str(error)
    assert str(copy.copy(error)) == str(error)


def test_the_old_exceptions_look_as_in_pika() -> None:
    cause = OSError(1, "x")
    error = AMQPConnectorSocketConnectError(cause, "more", 3)
    assert error.exception is cause
    assert error.args == ("more", 3)
    assert repr(error) == f"AMQPConnectorSocketConnectError: {cause!r}"
    assert isinstance(error, AMQPConnectorException)
    failed = AMQPConnectionWorkflowFailed([cause, ValueError("y")])
    assert failed.exceptions[0] is cause
    assert repr(failed) == (
        f"AMQPConnectionWorkflowFailed: 2 exceptions in all; last exception - {ValueError('y')!r}; "
        f"first exception - {cause!r}"
    )
    assert "first exception - None" in repr(AMQPConnectionWorkflowFailed([cause]))
    for anything in (
        error,
        failed,
        AMQPConnectionWorkflowFailed([]),
        AMQPConnectorAborted(),
        AMQPConnectionWorkflowAborted(),
        AMQPConnectorStackTimeout(),
        AMQPConnectorSocketConnectError(ValueError()),
    ):
        assert str(anything)


# --- looking up names


def test_numeric_addresses_need_no_lookup() -> None:
    (found,) = resolve("127.0.0.1", 5672, 5.0)
    assert (found.family, found.sockaddr) == (socket.AF_INET, ("127.0.0.1", 5672))
    (found,) = resolve("::1", 5672, 5.0)
    assert found.family == socket.AF_INET6


@pytest.mark.parametrize("timeout", [None, 20.0])
def test_localhost_resolves(timeout: float | None) -> None:
    assert {found.sockaddr[0] for found in resolve("localhost", 1, timeout)} & {"127.0.0.1", "::1"}


@pytest.mark.parametrize("timeout", [None, 20.0])
def test_a_name_that_cannot_be_one(timeout: float | None) -> None:
    with pytest.raises(UnicodeError):
        resolve("a" * 70 + ".com", 5672, timeout)


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    lookup = socket.getaddrinfo

    def slow(host: str, port: int, family: int, kind: int, proto: int, flags: int) -> Any:
        if not flags:
            hang.wait(20)
        return lookup(host, port, family, kind, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        with pytest.raises(socket.gaierror, match=r"did not answer within 0\.05 seconds"):
            resolve("localhost", 5672, 0.05)
    finally:
        hang.set()


def test_describe() -> None:
    assert describe(Target("rabbit1")) == "rabbit1:5672"
    assert describe(Target("rabbit1"), address("10.0.0.1")) == "rabbit1:5672 (10.0.0.1)"
    assert describe(Target("10.0.0.1"), address("10.0.0.1")) == "10.0.0.1:5672"
    assert describe(Target("::1")) == "[::1]:5672"


# --- the blocking driver, with real sockets


def greet(destination: Any, at: Address, deadline: float | None) -> bytes:
    """Connect and read a greeting: the part of AMQP in these tests."""
    stream = Stream.connect(destination, at, deadline)
    try:
        while True:
            data = stream.read()
            if data is not None:
                return data
            stream.wait(5)
    finally:
        stream.close()


def test_dial_goes_on_until_something_answers() -> None:
    def hang_up(peer: PeerSocket) -> None:
        peer.close()

    def hello(peer: PeerSocket) -> None:
        peer.send(b"hello")
        peer.recv_until_end()

    with Peer(hang_up) as bad, Peer(hello) as good:
        targets = [Target("127.0.0.1", free_port()), Target("127.0.0.1", bad.port), Target("127.0.0.1", good.port)]
        assert dial(targets, greet) == b"hello"
        eventually(lambda: bad.accepted == good.accepted == 1)


def test_dial_pauses_between_rounds_and_reports_everything() -> None:
    pauses: list[float] = []
    port = free_port()
    with pytest.raises(AMQPConnectionError) as caught:
        dial([Target("127.0.0.1", port, connection_attempts=3, retry_delay=0.25)], greet, sleep=pauses.append)
    assert pauses == [0.25, 0.25]
    assert str(caught.value) == (
        f"could not connect to 127.0.0.1:{port}: TCP connection: Connection refused (3 times): "
        "is RabbitMQ running there?"
    )


def test_where_somebody_listens_nobody_is_asked_whether_it_runs() -> None:
    _, error = carry_out(
        [Target("two")], lambda found: REFUSED if found.sockaddr[0] == "10.0.0.2" else OSError("no route")
    )
    assert "Connection refused" in str(error)
    assert str(error).endswith("no route")


def test_dial_gives_each_attempt_its_own_deadline() -> None:
    clock = iter((100.0, 200.0))
    deadlines: list[float | None] = []

    def attempt(destination: Any, at: Address, deadline: float | None) -> None:
        deadlines.append(deadline)
        raise REFUSED

    targets = [Target("127.0.0.1", stack_timeout=15.0), Target("::1", stack_timeout=None), Target("127.0.0.1")]
    with pytest.raises(AMQPConnectionError):
        dial(targets, attempt, now=lambda: next(clock))
    assert deadlines == [115.0, None, 210.0]


def test_a_mistake_of_the_caller_ends_the_dialing() -> None:
    def attempt(destination: Any, at: Address, deadline: float | None) -> None:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        dial([Target("127.0.0.1", connection_attempts=5)], attempt)


def test_dial_with_an_unknown_host() -> None:
    with pytest.raises(socket.gaierror) as caught:
        dial([Target("no.such.host.invalid")], greet)
    assert isinstance(caught.value, AMQPConnectionError)
    assert "no.such.host.invalid:5672: name resolution: " in str(caught.value)
