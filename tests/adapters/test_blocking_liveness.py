"""Connections that outlive busy programs and alarms, and dead peers that are found."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

import pika
from pika import exceptions, frame, spec
from pika.broker import Broker as EmbeddedBroker
from tests.support.bounded import Running, side_by_side, until_it_raises
from tests.support.brokers import BOTH, Target
from tests.support.certificates import Authority
from tests.support.consuming import take
from tests.support.proxy import Proxy
from tests.support.scripted_broker import Session, scripted_broker
from tests.support.secure_rabbitmq import SecureRabbitMQ

#: Heartbeat intervals, in seconds, and how many of them a program is busy for.
INTERVALS = (1, 2)
BUSY = 5

Parameters = Callable[..., pika.connection.Parameters]


@pytest.fixture
def node(spare_rabbitmq: SecureRabbitMQ) -> SecureRabbitMQ:
    """A RabbitMQ node that may be stopped and alarmed."""
    return spare_rabbitmq


@pytest.fixture(params=BOTH)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    if request.param == "rabbitmq":
        yield Target(request.getfixturevalue("node"))
        return
    with EmbeddedBroker() as broker:
        yield Target(broker)


# Busy programs


def sleeps(seconds: float) -> None:
    time.sleep(seconds)


def computes(seconds: float) -> None:
    """Never waits, and gives the interpreter away only when it is taken."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sum(range(1000))


def slow_consumer(
    parameters: Parameters, heartbeat: int, busy: Callable[[float], None] = sleeps, **options: Any
) -> None:
    """Take longer over the first message than the broker would wait for a heartbeat; lose nothing."""
    queue = f"pika-{uuid.uuid4().hex}"
    bodies = [b"%d" % number for number in range(5)]
    got: list[bytes] = []
    with pika.BlockingConnection(parameters(heartbeat=heartbeat), **options) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, auto_delete=True)
        channel.confirm_delivery()
        for body in bodies:
            channel.basic_publish("", queue, body, mandatory=True)

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            assert not method.redelivered
            if not got:
                busy(BUSY * heartbeat)
            got.append(body)
            channel.basic_ack(method.delivery_tag)
            if len(got) == len(bodies):
                channel.stop_consuming()

        channel.basic_qos(prefetch_count=2)
        channel.basic_consume(queue, on_message, consumer_tag="slow")
        channel.start_consuming()
        assert connection.is_open
        # The queue went with its last consumer, so all that was in it was acknowledged, or is lost; this tells which.
        assert got == bodies


def slow_publisher(parameters: Parameters, heartbeat: int) -> None:
    """Take that long between publishes, with nobody in the library."""
    with pika.BlockingConnection(parameters(heartbeat=heartbeat)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"0", mandatory=True)
        time.sleep(BUSY * heartbeat)
        channel.basic_publish("", queue, b"1", mandatory=True)
        assert [channel.basic_get(queue, auto_ack=True)[2] for _ in range(3)] == [b"0", b"1", None]


@pytest.mark.slow
def test_busy_programs_keep_their_connections(target: Target) -> None:
    side_by_side(
        [
            lambda heartbeat=heartbeat, program=program: program(target.parameters, heartbeat)
            for heartbeat in INTERVALS
            for program in (slow_consumer, slow_publisher)
        ],
        60,
    )


@pytest.mark.slow
def test_a_program_that_computes_keeps_its_connection(target: Target) -> None:
    slow_consumer(target.parameters, 1, computes)


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_busy_programs_keep_their_connections_over_tls(node: SecureRabbitMQ) -> None:
    side_by_side(
        [
            lambda heartbeat=heartbeat, program=program: program(node.tls_parameters, heartbeat)
            for heartbeat in INTERVALS
            for program in (slow_consumer, slow_publisher)
        ],
        60,
    )


@pytest.mark.slow
def test_many_connections_are_kept_by_one_thread(target: Target) -> None:
    before = threading.active_count()
    connections = [target.connect(heartbeat=1) for _ in range(20)]
    assert threading.active_count() <= before + 1
    time.sleep(BUSY)
    for connection in connections:
        connection.channel().queue_declare("", exclusive=True)
        connection.close()


@pytest.mark.slow
def test_without_background_heartbeats_a_busy_consumer_is_dropped(target: Target) -> None:
    """It is the background heartbeats that save the others; and what is not acknowledged comes again."""
    queue = f"pika-{uuid.uuid4().hex}"
    with target.connect() as keeping:
        keeping.channel().queue_declare(queue, exclusive=False)

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            sleeps(BUSY)
            channel.basic_ack(method.delivery_tag)

        connection = target.connect(heartbeat=1, background_heartbeats=False)
        channel = connection.channel()
        channel.basic_publish("", queue, b"body")
        channel.basic_consume(queue, on_message)
        with pytest.raises(exceptions.AMQPConnectionError) as caught:
            channel.start_consuming()
        assert connection.is_closed and channel.is_closed
        assert f"{target.broker.host}:{target.broker.port}" in str(caught.value)
        again = keeping.channel()
        method, _, body = take(again, queue)
        assert method.redelivered and body == b"body"
        again.queue_delete(queue)


@pytest.mark.slow
def test_without_background_heartbeats_an_idle_consumer_is_kept(target: Target) -> None:
    """Waiting in the library sends heartbeats as ever."""
    with target.connect(heartbeat=1, background_heartbeats=False) as connection:
        connection.sleep(BUSY)
        connection.channel().queue_declare("", exclusive=True)


# Alarms


@contextlib.contextmanager
def alarm(target: Target, until: threading.Event) -> Iterator[None]:
    """Have the broker's memory be low, until something has been said for long enough."""
    target.raise_alarm()
    clearing = Running(lambda: (until.wait(60), target.clear_alarm()), "alarm")
    try:
        yield
    finally:
        until.set()
        clearing.result(90)


class Stalled(NamedTuple):
    """What a publisher lived through."""

    seconds: float
    blocked: int


def stalled_publisher(target: Target, heartbeat: int, confirmed: bool, ready: threading.Barrier) -> Stalled:
    """Publish under an alarm; lose nothing."""
    # Without confirms, more than the kernel's buffers hold, so that it is writing that stalls.
    bodies = [b"confirmed"] if confirmed else [bytes([number]) * 4_000_000 for number in range(5)]
    blocked: list[object] = []
    with target.connect(heartbeat=heartbeat) as connection:
        connection.add_on_connection_blocked_callback(lambda connection, method: blocked.append(method))
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        if confirmed:
            channel.confirm_delivery()
        ready.wait(60)
        # The alarm is on.
        ready.wait(60)
        began = time.monotonic()
        for body in bodies:
            channel.basic_publish("", queue, body)
        # Without confirms this is what waits until the alarm is over and all of them are with the broker.
        channel.queue_declare(queue, passive=True)
        seconds = time.monotonic() - began
        got: list[bytes] = []
        # RabbitMQ can answer a get before it has put the last message into the queue.
        while len(got) < len(bodies) and time.monotonic() < began + seconds + 20:
            body = channel.basic_get(queue, auto_ack=True)[2]
            got += [] if body is None else [body]
        assert got == bodies
        connection.process_data_events()
    return Stalled(seconds, len(blocked))


@pytest.mark.slow
def test_publishers_stalled_by_an_alarm_keep_their_connections(target: Target) -> None:
    cases = [(heartbeat, confirmed) for heartbeat in INTERVALS for confirmed in (True, False)]
    ready = threading.Barrier(len(cases) + 1)
    over = threading.Event()
    running = [
        Running(lambda case=case: stalled_publisher(target, *case, ready), f"publisher {case}") for case in cases
    ]
    ready.wait(60)
    with alarm(target, over):
        ready.wait(60)
        time.sleep(BUSY * max(INTERVALS) + 1)
        over.set()
        for (heartbeat, _), one in zip(cases, running):
            stalled = one.result(60)
            assert stalled.seconds >= BUSY * heartbeat
            assert stalled.blocked == 1


# Dead peers


class Dying(NamedTuple):
    """A program that waits for its peer, by way of one call."""

    prepare: Callable[[pika.adapters.blocking_connection.BlockingChannel, str], object]
    wait: Callable[[pika.adapters.blocking_connection.BlockingChannel, str], object]


def publish_on_and_on(channel: Any, queue: str) -> None:
    while True:
        channel.basic_publish("", queue, bytes(1_000_000))


def process_on_and_on(channel: Any, queue: str) -> None:
    while True:
        channel.connection.process_data_events(0.1)


def nothing(channel: Any, queue: str) -> None:
    return None


DYING = {
    "start_consuming": Dying(
        lambda channel, queue: channel.basic_consume(queue, nothing), lambda channel, queue: channel.start_consuming()
    ),
    "generator": Dying(nothing, lambda channel, queue: list(channel.consume(queue))),
    "publish": Dying(nothing, publish_on_and_on),
    "confirmed publish": Dying(
        lambda channel, queue: channel.confirm_delivery(),
        lambda channel, queue: channel.basic_publish("", queue, b"body"),
    ),
    "declare": Dying(nothing, lambda channel, queue: channel.queue_declare(queue, passive=True)),
    "process_data_events": Dying(nothing, process_on_and_on),
    "process_data_events without limit": Dying(
        nothing, lambda channel, queue: channel.connection.process_data_events(None)
    ),
    "sleep": Dying(nothing, lambda channel, queue: channel.connection.sleep(60)),
}
# Publishing would fill a queue until the peer is frozen.
DYING_AFTER = {"publish", "confirmed publish", "declare"}


class Found(NamedTuple):
    """How a program noticed that its peer is dead."""

    error: BaseException
    seconds: float


def notice(
    connection: pika.BlockingConnection, dying: Dying, ready: threading.Barrier, frozen: threading.Event, late: bool
) -> Found:
    """Wait for a peer that will be frozen, or with `late` is."""
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    dying.prepare(channel, queue)
    ready.wait(60)
    if late:
        frozen.wait(60)
    with pytest.raises(exceptions.AMQPError) as caught:
        # A process that is being stopped may answer once more.
        until_it_raises(lambda: dying.wait(channel, queue))
    assert connection.is_closed and channel.is_closed
    return Found(caught.value, time.monotonic())


def freeze_and_notice(
    connect: Callable[[], pika.BlockingConnection], freeze: Callable[[], object], heartbeat: int
) -> dict[str, Found]:
    """Freeze the peer of programs that wait in different calls, and return how each noticed."""
    ready = threading.Barrier(len(DYING) + 1)
    frozen = threading.Event()
    running = {
        name: Running(lambda name=name, dying=dying: notice(connect(), dying, ready, frozen, name in DYING_AFTER), name)
        for name, dying in DYING.items()
    }
    ready.wait(60)
    # All of them wait by now, and some time has passed since they had their last bytes.
    time.sleep(0.3 * heartbeat)
    freeze()
    began = time.monotonic()
    frozen.set()
    found = {name: one.result(60) for name, one in running.items()}
    return {name: Found(error, at - began) for name, (error, at) in found.items()}


def found_dead(attempt: Callable[[], dict[str, Found]], heartbeat: int, where: str) -> None:
    """Each noticed in time: at the first attempt, or, as a busy machine may be late, at one of some."""
    for _ in range(10):
        found = attempt()
        for name, (error, _) in found.items():
            assert type(error) is exceptions.AMQPHeartbeatTimeout, (name, error)
            assert where in str(error), (name, error)
        if all(seconds <= 2 * heartbeat + 1 for _, seconds in found.values()):
            return
    pytest.fail(f"found too late: {found}")


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.parametrize("heartbeat", INTERVALS)
@pytest.mark.parametrize("tls", [False, True])
def test_a_node_that_is_stopped_is_found_dead(node: SecureRabbitMQ, heartbeat: int, tls: bool) -> None:
    parameters = node.tls_parameters if tls else node.parameters

    def attempt() -> dict[str, Found]:
        try:
            return freeze_and_notice(
                lambda: pika.BlockingConnection(parameters(heartbeat=heartbeat)),
                lambda: os.kill(node.pid, signal.SIGSTOP),
                heartbeat,
            )
        finally:
            os.kill(node.pid, signal.SIGCONT)

    found_dead(attempt, heartbeat, f"{node.host}:{node.tls_port if tls else node.port}")


@pytest.mark.slow
def test_a_network_that_swallows_everything_is_found_dead(target: Target) -> None:
    with Proxy(target.broker.port, target.broker.host) as proxy:

        def attempt() -> dict[str, Found]:
            try:
                return freeze_and_notice(
                    lambda: pika.BlockingConnection(pika.URLParameters(f"{proxy.url}?heartbeat=1")), proxy.freeze, 1
                )
            finally:
                proxy.cut()
                proxy.thaw()

        found_dead(attempt, 1, f"127.0.0.1:{proxy.port}")


@pytest.mark.slow
def test_time_in_a_callback_is_no_silence_but_what_follows_is() -> None:
    """The peer falls silent while the callback is busy; it has two intervals from when that is over."""
    with EmbeddedBroker() as broker, Proxy(broker.port) as proxy:

        def attempt() -> dict[str, Found]:
            times: list[float] = []
            acknowledged: list[bool] = []

            def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
                proxy.freeze()
                time.sleep(BUSY)
                channel.basic_ack(method.delivery_tag)
                acknowledged.append(channel.is_open)
                times.append(time.monotonic())

            connection = pika.BlockingConnection(pika.URLParameters(f"{proxy.url}?heartbeat=1"))
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_publish("", queue, b"body")
            channel.basic_consume(queue, on_message)
            try:
                with pytest.raises(exceptions.AMQPError) as caught:
                    channel.start_consuming()
            finally:
                proxy.cut()
                proxy.thaw()
            assert acknowledged
            return {"start_consuming": Found(caught.value, time.monotonic() - times[0])}

        found_dead(attempt, 1, f"127.0.0.1:{proxy.port}")


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_that_takes_nothing_keeps_no_heartbeats_from_others(tmp_path: Path, tls: bool) -> None:
    """The kernel's buffers for one connection are full: what sends heartbeats in the background waits for nobody."""
    server: dict[str, Any] = {}
    client: dict[str, Any] = {}
    if tls:
        authority = Authority(tmp_path)
        server["tls"] = authority.server_context(authority.issue("server"))
        client["ssl_options"] = pika.SSLOptions(authority.client_context(), "localhost")
    read_on = threading.Event()
    bodies = [bytes([number]) * 4_000_000 for number in range(5)]

    def script(session: Session) -> None:
        session.open(spec.Connection.Tune(2047, 131072, 1))
        session.open_channel()
        # It lives, and does not read.
        while not read_on.wait(0.3):
            session.send(frame.HEARTBEAT_FRAME)
        for body in bodies:
            session.expect(spec.Basic.Publish)
            assert session.expect_content()[1] == body
        session.close_politely()

    def publish(parameters: pika.ConnectionParameters) -> None:
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            for body in bodies:
                channel.basic_publish("", "queue", body)

    with scripted_broker(script, **server) as stuck, EmbeddedBroker() as broker:
        stalled = Running(lambda: publish(pika.ConnectionParameters(stuck.host, stuck.port, **client)), "stalled")
        slow_consumer(lambda **attributes: pika.ConnectionParameters(broker.host, broker.port, **attributes), 1)
        assert stalled.thread.is_alive()
        read_on.set()
        stalled.result()
