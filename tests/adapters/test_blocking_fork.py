"""After a fork the child has no connection: each call says so and writes nothing, and the parent is undisturbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from pika.broker import Broker as EmbeddedBroker
from tests.support.bounded import eventually
from tests.support.programs import run, running
from tests.support.proxy import Proxy
from tests.support.secure_rabbitmq import SecureRabbitMQ

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

# The programs' beginning: `sys.argv` is a URL, and a CA's certificate where it is TLS.
BEGINNING = """
import os, ssl, stat, sys, threading, time, traceback, warnings

# That threads run while forking is what is tested here.
warnings.simplefilter("ignore", DeprecationWarning)

import pika
from pika import exceptions

HEARTBEAT = int(sys.argv[3]) if len(sys.argv) > 3 else 0
QUEUE = "there-is-none"


def sockets():
    found = set()
    for descriptor in range(256):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.add(status.st_ino)
    return found


def connect():
    parameters = pika.URLParameters(sys.argv[1])
    parameters.heartbeat = HEARTBEAT
    if sys.argv[2]:
        context = ssl.create_default_context(cafile=sys.argv[2])
        parameters.ssl_options = pika.SSLOptions(context, "localhost")
    return pika.BlockingConnection(parameters)


def check_a_new_one():
    with connect() as own:
        channel = own.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"the child's", mandatory=True)
        assert channel.basic_get(queue, auto_ack=True)[2] == b"the child's"


def check_the_parents():
    channel.basic_publish("", queue, b"the parent's", mandatory=True)
    assert channel.basic_get(queue, auto_ack=True)[2] == b"the parent's"
    assert connection.is_open and channel.is_open


def check_refusal(call):
    try:
        call()
    except (exceptions.ConnectionWrongStateError, exceptions.ChannelWrongStateError) as error:
        assert str(PARENT) in str(error), str(error)
        assert "fork" in str(error), str(error)
    else:
        raise AssertionError("not refused")


def check_refusals():
    assert not connection.is_open and connection.is_closed
    assert not channel.is_open and channel.is_closed
    assert sockets().isdisjoint(OWN), "the descriptor is open"
    for call in (
        lambda: connection.channel(),
        lambda: connection.process_data_events(),
        lambda: connection.process_data_events(None),
        lambda: connection.sleep(0.01),
        lambda: connection.call_later(0, print),
        lambda: connection.add_callback_threadsafe(print),
        lambda: connection.update_secret("new", "why"),
        lambda: connection.close(),
        lambda: channel.basic_publish("", QUEUE, b"body"),
        lambda: channel.basic_ack(1),
        lambda: channel.basic_nack(1),
        lambda: channel.basic_reject(1),
        lambda: channel.basic_qos(prefetch_count=1),
        lambda: channel.basic_recover(),
        lambda: channel.basic_get(QUEUE),
        lambda: channel.basic_consume(QUEUE, print),
        lambda: next(channel.consume(QUEUE)),
        lambda: channel.queue_declare(QUEUE),
        lambda: channel.queue_delete(QUEUE),
        lambda: channel.exchange_declare(QUEUE),
        lambda: channel.tx_select(),
        lambda: channel.close(),
    ):
        check_refusal(call)
    with connection:
        pass
    check_refusal(lambda: channel.__enter__().basic_publish("", QUEUE, b"body"))


def fork(in_child):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            in_child()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def wait_for(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def in_child(function):
    wait_for(fork(function))


PARENT = os.getpid()
BEFORE = sockets()
connection = connect()
OWN = sockets() - BEFORE
assert OWN
channel = connection.channel()
channel.confirm_delivery()
queue = channel.queue_declare("", exclusive=True).method.queue
"""

PROGRAMS = {
    "the child may do nothing with it": """
in_child(check_refusals)
check_the_parents()
connection.close()
""",
    "the child connects anew": """
in_child(check_a_new_one)
check_the_parents()
""",
    "both, and several": """
def both():
    check_a_new_one()
    check_refusals()

children = [fork(both) for _ in range(4)]
check_the_parents()
for child in children:
    wait_for(child)
check_the_parents()
""",
    "a grandchild": """
def child():
    global connection, channel, queue, OWN, PARENT
    in_child(check_refusals)
    check_refusals()
    parents = connection
    before = sockets()
    connection = connect()
    OWN = sockets() - before
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    PARENT = os.getpid()
    in_child(check_refusals)
    check_the_parents()
    assert parents.is_closed

in_child(child)
check_the_parents()
""",
    "the child ends as programs do": """
# Not os._exit: everything that is run at the end of a program runs in the child, too.
if os.fork() == 0:
    sys.exit(0)
os.wait()
check_the_parents()
""",
    "the child lets go of it": """
def child():
    import gc
    global connection, channel
    del connection, channel
    gc.collect()

in_child(child)
check_the_parents()
""",
    "inside a with block": """
with connection, channel:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        check_the_parents()
assert connection.is_closed
if pid == 0:
    os._exit(0)
""",
    "an exception leaves a with block in the child": """
class Mine(Exception):
    pass

def child():
    try:
        with connection, channel:
            raise Mine
    except Mine:
        return

in_child(child)
check_the_parents()
""",
    "inside a callback": """
def on_message(channel, method, properties, body):
    in_child(check_refusals)
    in_child(lambda: check_refusal(lambda: channel.basic_ack(method.delivery_tag)))
    in_child(check_a_new_one)
    channel.basic_ack(method.delivery_tag)
    channel.stop_consuming()

channel.basic_publish("", queue, b"body")
channel.basic_consume(queue, on_message)
channel.start_consuming()
check_the_parents()
""",
    "the child goes on consuming": """
def child():
    check_refusal(channel.start_consuming)

channel.basic_consume(queue, print)
in_child(child)
channel.cancel()
channel.stop_consuming()
check_the_parents()
""",
    "inside a generator": """
for number in range(2):
    channel.basic_publish("", queue, b"%d" % number)
messages = channel.consume(queue)
method, _, body = next(messages)
assert body == b"0"

def child():
    check_refusal(lambda: next(messages))
    check_refusal(lambda: channel.basic_ack(method.delivery_tag))

in_child(child)
channel.basic_ack(method.delivery_tag)
assert next(messages)[2] == b"1"
""",
    "behind a callback handed over": """
called = []
connection.add_callback_threadsafe(lambda: called.append(os.getpid()))

def child():
    check_refusals()
    assert called == []

in_child(child)
connection.process_data_events()
assert called == [PARENT]
check_the_parents()
""",
    "multiprocessing": """
import multiprocessing

context = multiprocessing.get_context("fork")
for target in (check_refusals, check_a_new_one):
    process = context.Process(target=target)
    process.start()
    process.join()
    assert process.exitcode == 0
    check_the_parents()
with context.Pool(2) as pool:
    pool.apply(check_refusals)
    pool.apply(check_a_new_one)
    check_the_parents()
check_the_parents()
""",
    "another thread is in the middle of it": """
busy = connect()
over = threading.Event()

def publish():
    own = busy.channel()
    own.confirm_delivery()
    while not over.is_set():
        own.basic_publish("", "", bytes(10000))

def child():
    assert not busy.is_open
    check_refusals()
    check_refusal(busy.channel)
    check_a_new_one()

thread = threading.Thread(target=publish, daemon=True)
thread.start()
for _ in range(20):
    in_child(child)
over.set()
thread.join()
check_the_parents()
busy.channel()
""",
    "a connection that was closed before": """
connection.close()

def child():
    for call in (connection.close, connection.channel):
        try:
            call()
        except exceptions.ConnectionWrongStateError:
            continue
        raise AssertionError("not refused")
    check_a_new_one()

in_child(child)
""",
}

# What the thread that sends heartbeats must survive, and start anew for.
HEARTBEATS = """
def child():
    check_refusals()
    own = connect()
    time.sleep(5)
    own.channel()
    own.close()
    check_refusals()

children = [fork(child) for _ in range(3)]
time.sleep(5)
check_the_parents()
for pid in children:
    wait_for(pid)
time.sleep(3)
check_the_parents()
"""


class Place(NamedTuple):
    """Where programs connect to.

    :param url: of a listener
    :param ca: the path of its CA's certificate, or "" without TLS
    """

    url: str
    ca: str


@pytest.fixture(
    params=[
        "embedded",
        # Its connections are like those to the embedded broker.
        pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.slow]),
        pytest.param("rabbitmq over TLS", marks=pytest.mark.rabbitmq),
    ]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "embedded":
        with EmbeddedBroker() as broker:
            yield Place(broker.url, "")
        return
    node = request.getfixturevalue("spare_rabbitmq")
    if request.param == "rabbitmq":
        yield Place(node.url, "")
    else:
        yield Place(f"amqps://guest:guest@{node.host}:{node.tls_port}/%2F", str(node.authority.cert))


def succeeds(source: str, place: Place, *arguments: str) -> None:
    status, out, err = run(BEGINNING + source, place.url, place.ca, *arguments)
    assert (status, out, err) == (0, "", ""), err


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_forks(place: Place, name: str) -> None:
    succeeds(PROGRAMS[name], place)


@pytest.mark.slow
def test_heartbeats_after_a_fork(place: Place) -> None:
    succeeds(HEARTBEATS, place, "1")


@pytest.mark.parametrize("name", ["the child may do nothing with it", "inside a callback", "multiprocessing"])
def test_a_program_that_forks_with_heartbeats(place: Place, name: str) -> None:
    succeeds(PROGRAMS[name], place, "1")


# What reaches the broker

SILENT: dict[str, str] = {
    "refused": "in_child(check_refusals)",
    "ends": "if os.fork() == 0:\n    sys.exit(0)\nos.wait()",
    "closes": "in_child(lambda: check_refusal(connection.close))",
    "with": "with channel:\n    pid = os.fork()\n    if pid == 0:\n        sys.exit(0)\n    os.wait()\n    ask()",
    "dies": "in_child(lambda: os._exit(0))",
    "collects": """
def child():
    import gc
    global connection, channel
    del connection, channel
    gc.collect()

in_child(child)
""",
}

ASKING = """
def ask():
    print("?", flush=True)
    sys.stdin.readline()

ask()
"""


@pytest.mark.parametrize("name", SILENT)
def test_the_child_writes_nothing(place: Place, name: str) -> None:
    """Not a byte between the fork and the child's end, on the wire itself; no end of the stream either."""
    port = int(place.url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy:
        url = place.url.replace(f":{port}/", f":{proxy.port}/")
        source = BEGINNING + ASKING + SILENT[name] + ("" if name == "with" else "\nask()\ncheck_the_parents()")
        with running(source, url, place.ca) as program:
            seen: list[Any] = []
            for _ in range(2):
                assert program.read() == "?"
                seen.append((proxy.record("to_server"), proxy.connections()))
                program.say()
            assert program.finish() == (0, "", "")
    assert seen[0] == seen[1]
    assert seen[0][1] == 1


@pytest.mark.rabbitmq
@pytest.mark.parametrize("tls", [False, True])
def test_rabbitmq_sees_one_connection_that_runs(spare_rabbitmq: SecureRabbitMQ, tls: bool) -> None:
    node = spare_rabbitmq
    url = f"amqps://guest:guest@{node.host}:{node.tls_port}/%2F" if tls else node.url
    source = BEGINNING + ASKING + "in_child(check_refusals)\nask()\ncheck_the_parents()\nconnection.close()"

    def listed() -> list[str]:
        """The only connection, when those of the tests before this one are gone."""
        found = node.ctl("list_connections", "--no-table-headers", "pid", "state").split()
        return found if len(found) == 2 else []

    with running(source, url, str(node.authority.cert) if tls else "") as program:
        seen = []
        for _ in range(2):
            assert program.read() == "?"
            seen.append(eventually(listed))
            program.say()
        assert program.finish() == (0, "", "")
    assert seen[0] == seen[1] and seen[0][-1] == "running"
