"""The broker as a program uses it: over sockets, started and stopped, with clients of all kinds."""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.broker import Broker, User
from tests.broker.peer import published
from tests.support.bounded import PATIENCE, eventually
from tests.support.memory import count_descriptors


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def connect(broker: Broker) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(broker.url))


def dial(broker: Broker) -> socket.socket:
    sock = socket.create_connection((broker.host, broker.port), PATIENCE)
    sock.settimeout(PATIENCE)
    return sock


def serves(broker: Broker) -> bool:
    """Whether a message can be sent and got."""
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"still there", mandatory=True)
        _, _, body = channel.basic_get(queue, auto_ack=True)
        return bool(body == b"still there")


def opened(broker: Broker, *methods: Any) -> socket.socket:
    """A bare socket on which a connection and channel 1 are open, and these methods were sent."""
    sock = dial(broker)
    sock.sendall(frame.ProtocolHeader().marshal())
    opening = (
        spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"),
        spec.Connection.TuneOk(2047, 131072, 0),
        spec.Connection.Open("/"),
    )
    sock.sendall(b"".join(frame.encode_method(0, method) for method in opening))
    sock.sendall(b"".join(frame.encode_method(1, method) for method in (spec.Channel.Open(), *methods)))
    reader = frame.FrameReader()
    wanted = spec.Channel.OpenOk.INDEX
    while True:
        reader.feed(sock.recv(4096))
        while (found := reader.next_frame()) is not None:
            if int.from_bytes(found[2][:4], "big") == wanted:
                return sock


def test_a_program_publishes_consumes_and_acknowledges(broker: Broker) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("work", durable=True)
        channel.queue_bind("work", "amq.topic", "jobs.#")
        for index in range(500):
            properties = pika.BasicProperties(headers={"n": index}, delivery_mode=2)
            channel.basic_publish("amq.topic", "jobs.today", b"%d" % index * 300, properties, mandatory=True)
        channel.basic_qos(prefetch_count=20)
        seen = []
        for method, properties, body in channel.consume("work", inactivity_timeout=PATIENCE):
            seen.append(((properties.headers or {})["n"], body))
            channel.basic_ack(method.delivery_tag)
            if len(seen) == 500:
                break
        assert seen == [(index, b"%d" % index * 300) for index in range(500)]
        channel.cancel()
        assert channel.queue_declare("work", passive=True).method.message_count == 0
        with pytest.raises(exceptions.UnroutableError):
            channel.basic_publish("amq.topic", "other", b"", mandatory=True)
        with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
            channel.queue_declare("nope", passive=True)
        assert caught.value.args == (404, "NOT_FOUND - no queue 'nope' in vhost '/'")


def test_a_large_message(broker: Broker) -> None:
    body = os.urandom(1 << 20) * 20
    with connect(broker) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, body)
        assert channel.basic_get(queue, auto_ack=True)[2] == body


def test_it_says_what_it_is(broker: Broker) -> None:
    with connect(broker) as connection:
        properties = connection._impl.server_properties
        assert properties["product"] == "pika.broker"
        assert properties["capabilities"]["publisher_confirms"] is True


def test_users_and_virtual_hosts_are_in_the_url() -> None:
    with Broker(users={"al/ice": User("p@ss")}, vhosts=("a/b",)) as broker:
        assert broker.url == f"amqp://al%2Fice:p%40ss@127.0.0.1:{broker.port}/a%2Fb"
        assert serves(broker)


def test_wrong_credentials(broker: Broker) -> None:
    parameters = pika.ConnectionParameters(
        broker.host, broker.port, credentials=pika.PlainCredentials("guest", "wrong"), connection_attempts=1
    )
    with pytest.raises(exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(parameters)
    assert serves(broker)


def test_heartbeats_keep_an_idle_connection() -> None:
    with Broker(heartbeat=1) as broker, connect(broker) as connection:
        connection.process_data_events(time_limit=3.2)
        assert connection.is_open


def test_a_client_that_sends_no_heartbeats_is_dropped() -> None:
    with Broker(heartbeat=1) as broker:
        sock = dial(broker)
        sock.sendall(frame.ProtocolHeader().marshal())
        for method in (
            spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"),
            spec.Connection.TuneOk(2047, 131072, 1),
            spec.Connection.Open("/"),
        ):
            sock.sendall(frame.encode_method(0, method))
        while sock.recv(4096):
            pass
        sock.close()


# Start and stop ------------------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_hundred_brokers() -> None:
    def cycle() -> None:
        with Broker() as broker, connect(broker) as connection:
            channel = connection.channel()
            channel.queue_declare("q")
            channel.basic_publish("", "q", bytes(100_000))

    for _ in range(5):
        cycle()
    gc.collect()
    threads, files, objects = threading.active_count(), count_descriptors(), len(gc.get_objects())
    for _ in range(100):
        cycle()
    gc.collect()
    # Some of those of before may have been about to end.
    eventually(lambda: threading.active_count() <= threads and count_descriptors() <= files)
    # Caches fill, but what a broker consists of is some hundreds of objects each.
    assert len(gc.get_objects()) - objects < 3000


def test_clients_are_told_when_it_stops() -> None:
    broker = Broker()
    broker.start()
    connection = connect(broker)
    broker.stop()
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        connection.process_data_events(time_limit=PATIENCE)
    assert caught.value.args[0] == 320
    with pytest.raises(ConnectionRefusedError):
        dial(broker)
    broker.stop()


def test_a_restart_keeps_the_port_and_nothing_else() -> None:
    broker = Broker()
    broker.start()
    port = broker.port
    with connect(broker) as connection:
        connection.channel().queue_declare("q", durable=True)
    broker.stop()
    broker.start()
    try:
        assert broker.port == port
        with connect(broker) as connection, pytest.raises(exceptions.ChannelClosedByBroker):
            connection.channel().queue_declare("q", passive=True)
    finally:
        broker.stop()


def test_it_is_started_once(broker: Broker) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        broker.start()
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{broker.port}"):
        Broker(port=broker.port).start()


def test_a_program_that_forgets_to_stop_it_ends_all_the_same() -> None:
    code = (
        "import pika, pika.broker; b = pika.broker.Broker(); b.start();"
        "c = pika.BlockingConnection(pika.URLParameters(b.url)); c.channel()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


# Hostile clients -----------------------------------------------------------------------------------------------


def test_a_thousand_connections(broker: Broker) -> None:
    count = 1000
    with contextlib.suppress(ImportError):
        import resource

        count = min(count, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100) // 2)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dial(broker)) for _ in range(count)]
        for sock in socks:
            sock.sendall(frame.ProtocolHeader().marshal())
        for sock in socks:
            assert sock.recv(1) == b"\x01"
        assert serves(broker)


def test_more_connections_than_select_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is on Windows; those there are are served on, and there is room again when they go."""
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    with Broker() as broker:
        with contextlib.ExitStack() as stack:
            refused = 0
            for _ in range(520):
                sock = stack.enter_context(dial(broker))
                with contextlib.suppress(ConnectionError):
                    sock.sendall(frame.ProtocolHeader().marshal())
                    refused += not sock.recv(1)
                    continue
                refused += 1
            assert 20 <= refused < 520
            sock = stack.enter_context(dial(broker))
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(exceptions.AMQPConnectionError):
                assert serves(broker)
                return
        pytest.fail("there is no room, though all connections are gone")


@pytest.mark.parametrize(
    "sent",
    [b"", b"AM", b"\x00" * 100_000, frame.ProtocolHeader().marshal() + b"\x01\x00\x00\x00", os.urandom(50_000)],
    ids=["nothing", "half a header", "zeros", "half a frame", "garbage"],
)
def test_clients_that_speak_no_amqp(broker: Broker, sent: bytes) -> None:
    with dial(broker) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(sent)
        assert serves(broker)
    assert serves(broker)


def test_a_client_that_resets_its_connection(broker: Broker) -> None:
    sock = opened(broker, spec.Queue.Declare(queue="q", exclusive=True), spec.Basic.Consume(queue="q"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with connect(broker) as connection:
            try:
                connection.channel().queue_declare("q", passive=True)
            except exceptions.ChannelClosedByBroker as closed:
                if closed.reply_code == 404:
                    return
    pytest.fail("the exclusive queue of a client that is gone is still there")


def test_a_consumer_that_never_reads(broker: Broker) -> None:
    declare = spec.Queue.Declare(queue="flood")
    consume = spec.Basic.Consume(queue="flood", no_ack=True)
    with opened(broker, declare, consume), connect(broker) as connection:
        channel = connection.channel()
        for _ in range(600):
            channel.basic_publish("", "flood", bytes(100_000))
        assert channel.queue_declare("flood", passive=True).method.message_count > 200
        assert serves(broker)


def test_a_client_that_asks_and_never_listens(broker: Broker) -> None:
    ask = frame.encode_method(1, spec.Basic.Get(queue="big"))
    give = published("", "big", bytes(130_000))
    with opened(broker, spec.Queue.Declare(queue="big")) as sock:
        sock.settimeout(1.0)
        with pytest.raises(socket.timeout):
            # What it is sent piles up, until nothing more is read from it.
            for _ in range(100_000):
                sock.sendall(give + ask)
        assert serves(broker)


def test_a_publisher_that_never_reads_its_confirms(broker: Broker) -> None:
    message = published("", "nobody", b"", mandatory=True)
    with opened(broker, spec.Confirm.Select()) as sock:
        sock.settimeout(1.0)
        with pytest.raises(socket.timeout):
            # Returns and confirms pile up, until nothing more is read from it.
            for _ in range(100_000):
                sock.sendall(message * 1000)
        assert serves(broker)


def test_it_stops_whatever_its_clients_do() -> None:
    with contextlib.ExitStack() as stack:
        broker = Broker()
        broker.start()
        for sent in (b"", b"AM", frame.ProtocolHeader().marshal(), frame.ProtocolHeader().marshal() + b"\x01\x00"):
            stack.enter_context(dial(broker)).sendall(sent)
        stack.enter_context(opened(broker, spec.Queue.Declare(queue="q"), spec.Basic.Consume(queue="q", no_ack=True)))
        halfway = stack.enter_context(opened(broker))
        halfway.sendall(published("", "q", bytes(100_000))[:50_000])
        flood = stack.enter_context(opened(broker, spec.Confirm.Select()))
        for _ in range(100):
            flood.sendall(published("", "q", bytes(100_000)))
        broker.stop()
        with pytest.raises(ConnectionRefusedError):
            dial(broker)
        broker.start()
        stack.callback(broker.stop)
        assert serves(broker)


def test_a_long_chain_of_exchanges_that_go_with_their_last_binding() -> None:
    """The broker is still there when the end of a client has taken them all away."""
    with Broker() as broker:
        connection = connect(broker)
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for number in range(400):
            channel.exchange_declare(f"e{number}", "fanout", auto_delete=True)
            if number:
                channel.exchange_bind(f"e{number}", f"e{number - 1}")
        channel.queue_bind(queue, "e399")
        connection.close()
        with connect(broker) as other:
            for name in ("e0", "e399"):
                with pytest.raises(exceptions.ChannelClosedByBroker, match="no exchange"):
                    other.channel().exchange_declare(name, passive=True)


def test_a_mandatory_message_whose_queue_goes_before_the_commit_comes_back() -> None:
    with Broker() as broker, connect(broker) as connection:
        channel = connection.channel()
        returned: list[bytes] = []
        channel.add_on_return_callback(lambda _channel, _method, _properties, body: returned.append(body))
        channel.queue_declare("short-lived")
        channel.tx_select()
        channel.basic_publish("", "short-lived", b"kept", mandatory=True)
        channel.queue_delete("short-lived")
        channel.tx_commit()
        connection.process_data_events(0)
        assert returned == [b"kept"]


@pytest.mark.parametrize(
    "options",
    [
        {"frame_max": 4095},
        {"frame_max": 2**32},
        {"channel_max": -1},
        {"channel_max": 65536},
        {"heartbeat": -1},
        {"heartbeat": 65536},
        {"vhosts": ()},
        {"users": {}},
    ],
)
def test_settings_that_no_client_could_be_offered(options: Any) -> None:
    with pytest.raises(ValueError, match=r"must be from|at least one"):
        Broker(**options)
