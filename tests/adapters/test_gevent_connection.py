"""What is GeventConnection's own: its loop in the hub, greenlets, name lookups, other threads, monkey patching."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import pika
from pika import exceptions
from tests.support import programs
from tests.support.adapter_loops import Loop
from tests.support.bounded import PATIENCE, Running, bounded
from tests.support.peer import Peer, PeerSocket, free_port
from tests.support.rabbitmq import Broker

pytest.importorskip("gevent", reason="no gevent for this interpreter")

import gevent
from gevent.exceptions import ConcurrentObjectUseError

from pika.adapters.gevent_connection import GeventConnection


def new_loop(hub: Any = None) -> Any:
    """A loop, as programs get at it."""
    return GeventConnection(custom_ioloop=hub, internal_connection_workflow=False).ioloop


def until(holds: Callable[[], object]) -> None:
    """Let other greenlets run until something holds."""
    with gevent.Timeout(PATIENCE):
        while not holds():
            gevent.sleep(0.005)


@pytest.fixture
def loop() -> Iterator[Any]:
    loop = new_loop()
    with gevent.Timeout(PATIENCE):
        yield loop
    loop.close()


# Programs, with and without monkey patching. `sys.argv` is which, and the URL.

HEAD = """
import sys
if sys.argv[1] == "patched":
    from gevent import monkey
    monkey.patch_all()
import gevent, pika
from gevent.event import AsyncResult
from gevent.monkey import get_original
from pika.adapters.gevent_connection import GeventConnection

def until(holds):
    with gevent.Timeout(50):
        while not holds():
            gevent.sleep(0.01)

def parameters(**options):
    made = pika.URLParameters(sys.argv[2])
    for name, value in options.items():
        setattr(made, name, value)
    return made
"""

# Three pairs of connections in one hub. Greenlets publish, callbacks spawn greenlets that take their time.
BUSY = """
def opened():
    connection, channel = AsyncResult(), AsyncResult()
    GeventConnection(
        parameters(),
        on_open_callback=connection.set,
        on_open_error_callback=lambda _, error: connection.set_exception(error),
        on_close_callback=lambda connection, error: connection.ioloop.stop(),
    )
    connection.get().channel(on_open_callback=channel.set)
    return channel.get()

def publish(channel, queue):
    for number in range(200):
        channel.basic_publish("", queue, b"%d" % number)
        if number % 20 == 0:
            gevent.sleep(0)

def handle(channel, method, body, got):
    gevent.sleep(0.01)
    got.append(int(body))
    channel.basic_ack(method.delivery_tag)
    if len(got) == 200:
        channel.connection.close()

def consume():
    channel, declared, got = opened(), AsyncResult(), []
    channel.queue_declare("", exclusive=True, callback=declared.set)
    queue = declared.get().method.queue
    channel.basic_qos(prefetch_count=20)
    channel.basic_consume(
        queue, lambda channel, method, properties, body: gevent.spawn(handle, channel, method, body, got)
    )
    publisher = opened()
    gevent.spawn(publish, publisher, queue)
    channel.connection.ioloop.start()
    publisher.connection.close()
    publisher.connection.ioloop.start()
    return sorted(got) == list(range(200))

print([greenlet.get() for greenlet in [gevent.spawn(consume) for _ in range(3)]])
"""

# start() in one greenlet, stop() in another one, over and over.
STARTED = """
connection = GeventConnection(parameters())
for _ in range(3):
    greenlet = gevent.spawn(connection.ioloop.start)
    gevent.sleep(0.1)
    until(lambda: connection.is_open)
    print(greenlet.dead, connection.is_open)
    connection.ioloop.stop()
    greenlet.get()
"""

# The hub does not run for five heartbeats.
BLOCKED = """
connection = GeventConnection(parameters(heartbeat=1))
until(lambda: connection.is_open)
get_original("time", "sleep")(5)
gevent.sleep(0.5)
print(connection.is_open)
"""

# Other threads, which are the system's, hand work over; the hub has nothing else to do.
THREADS = """
import threading
start, ident = get_original("_thread", "start_new_thread"), get_original("_thread", "get_ident")
connection = GeventConnection(parameters(), internal_connection_workflow=False)
mine, got = ident(), []

def other():
    get_original("time", "sleep")(0.2)
    try:
        connection.close()
    except pika.exceptions.WrongThreadError as error:
        got.append("add_callback_threadsafe" in str(error))
    connection.add_callback_threadsafe(lambda: got.append(ident() == mine))
    connection.ioloop.stop()

start(other, ())
connection.ioloop.start()
print(got)
"""

# A lookup that hangs keeps neither other greenlets nor the end of the program.
HANGING = """
import socket
hub = gevent.get_hub()
real = hub.resolver.getaddrinfo

def hang(*arguments):
    get_original("time", "sleep")(1000)

hub.resolver.getaddrinfo = lambda *arguments, **options: hub.threadpool.apply(hang)
errors = []
stuck = GeventConnection(
    pika.ConnectionParameters("rabbit.invalid", stack_timeout=0.3),
    on_open_error_callback=lambda connection, error: errors.append(error),
)
other = GeventConnection(parameters(host="127.0.0.1"))
until(lambda: other.is_open and errors)
print(other.is_open, len(errors), "rabbit.invalid" in str(errors[0]))
closed = GeventConnection(
    pika.ConnectionParameters("rabbit.invalid"),
    on_open_error_callback=lambda connection, error: errors.append(error),
)
gevent.sleep(0.1)
closed.close()
until(lambda: len(errors) == 2)
print(type(errors[1]).__name__)
"""

# Ctrl-C in start()
CTRL_C = """
import os, signal
connection = GeventConnection(parameters())
connection.add_on_open_callback(lambda connection: os.kill(os.getpid(), signal.SIGINT))
try:
    connection.ioloop.start()
except KeyboardInterrupt:
    print("interrupted", connection.is_open)
connection.add_on_close_callback(lambda connection, error: connection.ioloop.stop())
connection.close()
connection.ioloop.start()
print(connection.is_closed)
"""

PROGRAMS = {
    "busy": (BUSY, ["[True, True, True]"]),
    "started": (STARTED, ["False True"] * 3),
    "threads": (THREADS, ["[True, True]"]),
    "hanging": (HANGING, ["True 1 True", "ConnectionOpenAborted"]),
    "ctrl-c": (CTRL_C, ["interrupted True", "True"]),
}


@pytest.mark.parametrize("how", ["plain", "patched"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program(broker: Broker, name: str, how: str) -> None:
    source, printed = PROGRAMS[name]
    status, out, err = programs.run(HEAD + source, how, broker.url)
    # gevent tells of an interruption in the hub, too.
    assert err == "" or (name == "ctrl-c" and err.rstrip().endswith("KeyboardInterrupt")), err
    assert (status, out.splitlines()) == (0, printed)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "patched"])
def test_a_hub_that_does_not_run_keeps_its_connections(broker: Broker, how: str) -> None:
    assert programs.run(HEAD + BLOCKED, how, broker.url) == (0, "True\n", "")


# Connections


def test_it_moves_while_greenlets_wait(broker: Broker) -> None:
    """Nobody needs to start anything."""
    seen: list[str] = []
    connection = GeventConnection(
        broker.parameters(),
        on_open_callback=lambda connection: seen.append("open"),
        on_close_callback=lambda connection, error: seen.append(type(error).__name__),
    )
    until(lambda: connection.is_open)
    connection.close()
    until(lambda: connection.is_closed)
    assert seen == ["open", "ConnectionClosedByClient"]


def test_which_loop_it_takes(broker: Broker) -> None:
    hub = gevent.get_hub()
    one, other = (GeventConnection(broker.parameters(), custom_ioloop=given) for given in (None, hub))
    third = GeventConnection(broker.parameters(), custom_ioloop=one.ioloop)
    assert third.ioloop is one.ioloop is not other.ioloop
    until(lambda: one.is_open and other.is_open and third.is_open)
    for connection in (one, other, third):
        connection.close()
    until(lambda: one.is_closed and other.is_closed and third.is_closed)
    for loop in (object(), 5):
        with pytest.raises(AttributeError):
            GeventConnection(custom_ioloop=loop, internal_connection_workflow=False)


def test_closing_a_loop_leaves_the_hub_and_what_else_is_in_it(broker: Broker) -> None:
    one, other = (GeventConnection(broker.parameters()) for _ in range(2))
    until(lambda: one.is_open and other.is_open)
    assert one._transport is not None
    sock: socket.socket = one._transport._sock  # type: ignore[attr-defined]  # it is a stream of pika's own
    one.ioloop.close()
    gevent.sleep(0.01)
    assert other.is_open
    one._transport.abort()
    assert sock.fileno() == -1
    other.close()
    until(lambda: other.is_closed)


def test_a_name_that_does_not_exist_is_an_error() -> None:
    loop = Loop("gevent")
    loop.connect(pika.ConnectionParameters("rabbit.invalid"))
    loop.run(lambda: loop.log)
    ((name, error),) = loop.log
    assert name == "error" and isinstance(error, exceptions.AMQPConnectionError)
    assert "rabbit.invalid" in str(error)
    loop.close()


def test_names_are_looked_up_by_gevents_resolver(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """And addresses by nobody: they do not stand in a queue with names."""
    asked: list[str] = []
    resolver = gevent.get_hub().resolver

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        return socket.getaddrinfo("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(resolver, "getaddrinfo", getaddrinfo)
    for host in ("rabbit.example", "127.0.0.1"):
        connection = GeventConnection(broker.parameters(host=host))
        until(lambda connection=connection: connection.is_open)  # type: ignore[misc]  # bound now
        connection.close()
        until(lambda connection=connection: connection.is_closed)  # type: ignore[misc]
    assert asked == ["rabbit.example"]


def test_a_callback_that_would_wait_is_told_so(broker: Broker) -> None:
    loop = Loop("gevent")
    connection = loop.connect(broker.parameters(), on_open_callback=lambda connection: gevent.sleep(1))
    loop.run(lambda: loop.raised)
    assert "Impossible to call blocking function in the event loop" in str(loop.raised[0])
    assert connection.is_open
    connection.close()
    loop.run(lambda: connection.is_closed)
    loop.close()


def test_greenlets_that_wait_for_a_connection_get_its_end() -> None:
    """Of each kind: refused, cut in the handshake, given up."""
    with Peer(lambda peer: peer.recv_exactly(8)) as cut, Peer(PeerSocket.recv_until_end) as silent:
        for parameters in (
            pika.ConnectionParameters("127.0.0.1", free_port()),
            pika.ConnectionParameters("127.0.0.1", cut.port),
            pika.ConnectionParameters("127.0.0.1", silent.port, stack_timeout=0.1),
        ):
            ended: Any = gevent.event.AsyncResult()
            GeventConnection(parameters, on_open_error_callback=lambda _, error, ended=ended: ended.set(error))
            assert isinstance(gevent.spawn(ended.get).get(timeout=PATIENCE), exceptions.AMQPConnectionError)


# The loop


def test_stopping_before_it_starts_counts_once(loop: Any) -> None:
    loop.stop()
    loop.start()
    greenlet = gevent.spawn(loop.start)
    gevent.sleep(0.01)
    assert not greenlet.dead
    loop.stop()
    greenlet.get()


@pytest.mark.parametrize("who", ["greenlet", "callback", "timer", "thread"])
def test_anybody_stops_it(loop: Any, who: str) -> None:
    if who == "greenlet":
        gevent.spawn_later(0.01, loop.stop)
    elif who == "callback":
        loop.add_callback(loop.stop)
    elif who == "timer":
        loop.call_later(0.01, loop.stop)
    else:
        threading.Timer(0.05, loop.stop).start()
    loop.start()


def test_one_greenlet_starts_it(loop: Any) -> None:
    greenlet = gevent.spawn(loop.start)
    gevent.sleep(0.01)
    assert "running" in repr(loop)
    with pytest.raises(ConcurrentObjectUseError):
        loop.start()
    with pytest.raises(AssertionError):
        loop.close()
    loop.stop()
    greenlet.get()


def test_callbacks_and_timers_come_in_order(loop: Any) -> None:
    seen: list[Any] = []
    loop.call_later(0.03, lambda: seen.append("late"))
    loop.call_later(0.01, lambda: seen.append("soon"))
    removed = loop.call_later(0.02, lambda: seen.append("removed"))
    for number in range(3):
        loop.add_callback(lambda number=number: seen.append(number))
    loop.remove_timeout(removed)
    loop.remove_timeout(removed)
    loop.call_later(-1, lambda: seen.append("negative"))
    loop.call_later(0.05, loop.stop)
    loop.start()
    assert seen == [0, 1, 2, "negative", "soon", "late"]


def test_a_timer_is_not_early_when_the_hub_was_kept_busy(loop: Any) -> None:
    gevent.sleep(0)
    time.sleep(0.3)
    began, fired = time.monotonic(), []
    loop.call_later(0.2, lambda: fired.append(time.monotonic() - began))
    until(lambda: fired)
    assert fired[0] > 0.19


def test_handlers(loop: Any) -> None:
    one, other = socket.socketpair()
    seen: list[Any] = []
    with one, other:
        loop.add_handler(one.fileno(), lambda fd, events: seen.append((fd, events)), loop.READ)
        gevent.sleep(0.01)
        assert seen == []
        other.send(b"x")
        until(lambda: seen)
        assert set(seen) == {(one.fileno(), loop.READ)}
        loop.update_handler(one.fileno(), loop.READ | loop.WRITE)
        until(lambda: (one.fileno(), loop.READ | loop.WRITE) in seen)
        # A second one takes its place.
        others: list[int] = []
        loop.add_handler(one.fileno(), lambda fd, events: others.append(events), loop.WRITE)
        seen.clear()
        until(lambda: others)
        assert seen == []
        loop.remove_handler(one.fileno())
        gevent.sleep(0.01)
        others.clear()
        gevent.sleep(0.01)
        assert others == []
        for call in (loop.remove_handler, lambda fd: loop.update_handler(fd, loop.READ)):
            with pytest.raises(KeyError):
                call(one.fileno())


def test_a_handler_that_raises_goes_on() -> None:
    loop = Loop("gevent")
    one, other = socket.socketpair()

    def fail(fd: int, events: int) -> None:
        one.recv(1)
        raise ZeroDivisionError

    with one, other:
        loop.native.add_handler(one.fileno(), fail, loop.native.READ)
        for number in (1, 2):
            other.send(b"x")
            loop.run(lambda number=number: len(loop.raised) == number)  # type: ignore[misc]  # bound now
        loop.native.remove_handler(one.fileno())
    loop.close()


def test_arguments(loop: Any) -> None:
    for call in (loop.add_callback, lambda what: loop.call_later(0, what), lambda what: loop.add_handler(0, what, 1)):
        with pytest.raises(TypeError):
            call(None)
    with pytest.raises(AttributeError):
        loop.remove_timeout(None)


def test_a_loop_that_is_closed() -> None:
    loop = new_loop()
    seen: list[str] = []
    loop.add_callback(lambda: seen.append("callback"))
    loop.call_later(0, lambda: seen.append("timer"))
    loop.close()
    loop.close()
    loop.add_callback(lambda: seen.append("behind"))
    loop.stop()
    for call in (loop.start, lambda: loop.call_later(0, print), lambda: loop.add_handler(0, print, 1)):
        with pytest.raises(ValueError, match="closed"):
            call()
    gevent.sleep(0.01)
    assert seen == [] and "closed" in repr(loop)


def test_another_thread_may_only_hand_work_over(loop: Any) -> None:
    """Also while nothing runs: gevent's hubs are not to be touched by two threads."""
    for call in (lambda: loop.call_later(0, print), loop.start, loop.close):
        with pytest.raises(exceptions.WrongThreadError, match="add_callback_threadsafe"):
            bounded(call)
    seen: list[bool] = []
    mine = threading.get_ident()
    running = Running(lambda: loop.add_callback(lambda: seen.append(threading.get_ident() == mine)))
    until(lambda: seen)
    running.result()
    assert seen == [True]
