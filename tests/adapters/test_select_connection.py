"""What is SelectConnection's own: its loops, and what becomes of it after a fork, which is alike on asyncio."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import pika
from pika import exceptions
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter
from tests.support import programs
from tests.support.adapter_loops import KINDS, Loop, require
from tests.support.bounded import eventually
from tests.support.memory import count_descriptors
from tests.support.rabbitmq import Broker


def test_makes_a_loop_of_its_own(broker: Broker) -> None:
    one, other = (pika.SelectConnection(broker.parameters()) for _ in range(2))
    assert isinstance(one.ioloop, IOLoop) and one.ioloop is not other.ioloop
    for connection in (one, other):
        connection.add_on_open_callback(lambda connection: connection.close())
        connection.add_on_close_callback(lambda connection, error: connection.ioloop.stop())
        connection.ioloop.start()
        assert connection.is_closed
        connection.ioloop.close()


def test_takes_the_services_of_a_loop(broker: Broker) -> None:
    loop = IOLoop()
    services = SelectorIOServicesAdapter(loop)
    connection = pika.SelectConnection(broker.parameters(), custom_ioloop=services)
    assert connection.ioloop is loop
    connection.add_on_open_callback(lambda connection: connection.close())
    connection.add_on_close_callback(lambda connection, error: services.stop())
    services.run()
    assert connection.is_closed
    services.close()


def test_a_program_that_ends_it_on_ctrl_c(broker: Broker) -> None:
    connection = pika.SelectConnection(
        broker.parameters(), on_open_callback=lambda _: os.kill(os.getpid(), signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        connection.ioloop.start()
    if connection.is_open:
        connection.close()
    connection.add_on_close_callback(lambda connection, error: connection.ioloop.stop())
    connection.ioloop.start()
    assert connection.is_closed
    connection.ioloop.close()


# `sys.argv` is the kind of loop and the URL.
FORK = """
import os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import pika
from pika import exceptions
from tests.support.adapter_loops import Loop

loop = Loop(sys.argv[1])
connection = loop.connect(pika.URLParameters(sys.argv[2]))
loop.run(lambda: connection.is_open)
channel = connection.channel()
loop.run(lambda: channel.is_open)
own = connection._transport._sock.fileno()

def child():
    assert connection.is_closed and channel.is_closed
    try:
        os.fstat(own)
    except OSError:
        pass
    else:
        raise AssertionError("the descriptor is open")
    for call in (lambda: channel.basic_publish("", "queue", b"body"), connection.channel, connection.close):
        try:
            call()
        except (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError) as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("not refused")
    assert loop.log == ["open"]
    # The child connects anew, on a loop of its own.
    mine = Loop(sys.argv[1])
    anew = mine.connect(pika.URLParameters(sys.argv[2]))
    mine.run(lambda: anew.is_open)
    anew.close()
    mine.run(lambda: anew.is_closed)
    mine.close()

def fork():
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

fork()
done = []
if sys.argv[1] == "select":
    # On asyncio a child may not run a loop in the middle of one.
    loop.call_later(0, lambda: (fork(), done.append(True)))
    loop.run(lambda: done)
declared = []
channel.queue_declare("", exclusive=True, callback=declared.append)
loop.run(lambda: declared)
connection.close()
loop.run(lambda: connection.is_closed)
loop.close()
"""

# The same in the middle of connecting: `sys.argv` is the kind of loop.
CONNECTING = """
import os, select, socket, ssl, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import pika
from tests.support.adapter_loops import Loop

def fork():
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def sockets():
    found = set()
    for fd in range(3, 100):
        try:
            kind = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if kind.startswith("socket:"):
            found.add(kind)
    return found

for phase in ("tcp", "tls", "amqp"):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    filling = [socket.socket() for _ in range(4 if phase == "tcp" else 0)]
    for sock in filling:
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    loop = Loop(sys.argv[1])
    before = sockets()
    options = pika.SSLOptions(ssl.create_default_context(), "localhost") if phase == "tls" else None
    connection = loop.connect(pika.ConnectionParameters(*listener.getsockname(), ssl_options=options))
    loop.run(lambda: sockets() - before)
    (own,) = sockets() - before
    peers = []
    if phase != "tcp":
        def has_spoken():
            if not peers and select.select([listener], [], [], 0)[0]:
                peers.append(listener.accept()[0])
            return peers and select.select(peers, [], [], 0)[0]
        loop.run(has_spoken)
    def child():
        assert connection.is_closed
        assert own not in sockets(), "the descriptor is open"
        if sys.argv[1] == "select":
            loop.run_for(0.1)
        assert loop.log == []
    fork()
    assert own in sockets()
    if phase != "tcp":
        (peer,) = peers
        # The parent's first words, and not a byte behind them.
        said = peer.recv(65536)
        assert said.startswith({"tls": b"\\x16\\x03", "amqp": b"AMQP"}[phase]), said
        peer.setblocking(False)
        try:
            raise AssertionError(peer.recv(65536))
        except BlockingIOError:
            pass
        peer.close()
    else:
        connection.close()
    loop.run(lambda: loop.log)
    loop.close()
    listener.close()
    for sock in filling:
        sock.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize("kind", KINDS)
def test_forks(broker: Broker, kind: str) -> None:
    require(kind)
    assert programs.run(FORK, kind, broker.url) == (0, "", "")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks for descriptors where Linux lists them")
@pytest.mark.parametrize("kind", KINDS)
def test_forks_while_connecting(kind: str) -> None:
    require(kind)
    assert programs.run(CONNECTING, kind) == (0, "", "")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_many_connections(broker: Broker, kind: str) -> None:
    loop = Loop(kind)
    # A loop may open what it needs itself when it runs for the first time.
    loop.run_for(0.01)
    before = count_descriptors()
    for _ in range(20):
        connection: Any = loop.connect(broker.parameters())
        loop.run(lambda connection=connection: connection.is_open)  # type: ignore[misc]  # bound now
        connection.close()
        loop.run(lambda connection=connection: connection.is_closed)  # type: ignore[misc]
        assert loop.leftovers() == ""
        with pytest.raises(exceptions.ConnectionWrongStateError):
            connection.close()
    # The embedded broker's end of them is in this process, too.
    eventually(lambda: count_descriptors() <= before)
    loop.close()


def test_a_connection_whose_loop_was_closed_first_gives_its_descriptor_back(broker: Broker) -> None:
    loop = IOLoop()
    connection = pika.SelectConnection(broker.parameters(), custom_ioloop=loop)
    connection.add_on_open_callback(lambda _: loop.stop())
    loop.start()
    transport = connection._transport
    assert transport is not None
    sock = transport._sock
    loop.close()
    transport.abort()
    assert sock.fileno() == -1
