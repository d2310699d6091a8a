"""Closing and draining from anywhere; programs that end, fork or are interrupted with a connection open."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest

import pika
from pika import exceptions, spec
from pika.client.threaded_channel import Channel
from tests.support.bounded import PATIENCE, Running, bounded, eventually, side_by_side
from tests.support.programs import run, running
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker
from tests.support.scripted_broker import Session, fall_silent, scripted_broker
from tests.support.threaded import waits

#: Seconds for what nothing should wait for.
AT_ONCE = 5.0


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pika-")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = own_threads()
    yield
    eventually(lambda: len(own_threads()) <= len(before))


# From anywhere


@pytest.mark.parametrize("what", ["close", "channel", "drain and close"])
def test_closing_in_a_handler(connection: pika.Connection, channel: Channel, queue: str, what: str) -> None:
    done = threading.Event()

    def on_message(own: Channel, method: spec.Basic.Deliver, _properties: object, _body: bytes) -> None:
        own.basic_ack(method.delivery_tag)
        if what == "channel":
            own.close()
            assert own.is_closed
        else:
            if what == "drain and close":
                connection.drain(timeout=PATIENCE)
            connection.close()
            assert connection.is_closed
        done.set()

    channel.basic_consume(queue, on_message)
    channel.basic_publish("", queue, b"")
    assert done.wait(PATIENCE)


def test_closing_in_callbacks(connection: pika.Connection, channel: Channel, queue: str) -> None:
    done = threading.Event()

    def on_done(_confirmation: object) -> None:
        connection.close()
        done.set()

    channel.publisher().publish(b"", routing_key=queue).add_done_callback(on_done)
    assert done.wait(PATIENCE)
    assert connection.is_closed


def test_closing_while_others_publish(connection: pika.Connection, channel: Channel, queue: str) -> None:
    publisher = channel.publisher(max_in_flight=100)
    outcomes: list[str] = []

    def publish() -> None:
        try:
            while True:
                confirmation = publisher.publish(b"body", routing_key=queue)
                error = confirmation.exception() if len(outcomes) % 7 == 0 else None
                outcomes.append("unknown" if error else "fine")
        except exceptions.ChannelWrongStateError:
            outcomes.append("refused")

    def close() -> None:
        eventually(lambda: len(outcomes) > 200)
        connection.close()

    side_by_side([publish] * 4 + [close])
    assert outcomes.count("refused") == 4
    assert connection.is_closed
    # Whatever was not confirmed is known as that.
    assert publisher.in_flight == 0


def test_closing_from_many_threads(connection: pika.Connection) -> None:
    channels = [connection.channel() for _ in range(4)]
    side_by_side([*[channel.close for channel in channels] * 2, *[connection.close] * 4])
    assert connection.is_closed


def test_a_broker_that_does_not_answer_the_close() -> None:
    with scripted_broker(fall_silent) as peer:
        connection = pika.connect(pika.ConnectionParameters("127.0.0.1", peer.port))
        channel = connection.channel()
        waiting = Running(lambda: channel.queue_declare("queue"))
        eventually(lambda: channel._rules.unanswered)
        bounded(lambda: connection.close(timeout=0.1), PATIENCE)
        assert connection.is_closed
        with pytest.raises(exceptions.ConnectionClosedByClient):
            waiting.result()


def test_a_frozen_broker(broker: Broker) -> None:
    with Proxy(broker.port, broker.host) as proxy:
        parameters = pika.URLParameters(proxy.url)
        parameters.heartbeat = 1
        connection = pika.connect(parameters)
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        publisher = channel.publisher()
        publisher.publish(b"", routing_key=queue).result()
        looping = Running(lambda: [message.body for message in channel.consume(queue, auto_ack=True)])
        proxy.freeze()
        lost = publisher.publish(b"", routing_key=queue)
        for wait in (looping.result, lambda: channel.queue_declare("", exclusive=True), lost.result):
            with pytest.raises(exceptions.AMQPError) as caught:
                bounded(wait)
            reason = (
                caught.value if isinstance(caught.value, exceptions.AMQPHeartbeatTimeout) else caught.value.__cause__
            )
            assert isinstance(reason, exceptions.AMQPHeartbeatTimeout)
        connection.close()


# Signal handlers


@contextmanager
def on_signal(handler: Callable[[], object], interval: float) -> Iterator[None]:
    """Have a signal handler call a function every so many seconds, wherever the main thread is; never in itself."""
    over = threading.Event()
    inside = False

    def on_it(_number: int, _frame: object) -> None:
        nonlocal inside
        if not inside:
            inside = True
            handler()
            inside = False

    def send() -> None:
        while not over.wait(interval):
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, on_it)
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


needs_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="no signals from one's own process on this platform"
)


@needs_signals
def test_signal_handlers_publish_and_acknowledge_in_the_middle_of_anything(channel: Channel, queue: str) -> None:
    publisher = channel.publisher(max_in_flight=100_000, mandatory=True)
    channel.connection.channel().basic_consume(queue, lambda *_: None, auto_ack=True)
    by_handler: list[Any] = []
    by_hand: list[Any] = []

    def handler() -> None:
        by_handler.append(publisher.publish(b"handler", routing_key=queue))

    with on_signal(handler, 0.001):
        end = time.monotonic() + 1
        while time.monotonic() < end or not by_handler:
            by_hand.append(publisher.publish(b"program", routing_key=queue))
            if len(by_hand) % 100 == 0:
                by_hand[-1].result()
    publisher.wait()
    assert all(confirmation.exception() is None for confirmation in by_hand + by_handler)
    assert len({confirmation.delivery_tag for confirmation in by_hand + by_handler}) == len(by_hand + by_handler)


@needs_signals
@pytest.mark.parametrize("what", ["close", "drain", "stop_consuming"])
@pytest.mark.parametrize("program", ["publishing", "waiting"])
def test_ending_in_a_signal_handler(
    connection: pika.Connection, channel: Channel, queue: str, what: str, program: str
) -> None:
    tag = connection.channel().basic_consume(queue, lambda *_: None, auto_ack=True)
    consuming = next(book.owner for book in connection._link.channels.values() if tag in book.consumers)
    assert isinstance(consuming, Channel)
    called: list[bool] = []

    def handler() -> None:
        if called:
            return
        called.append(True)
        if what == "close":
            connection.close()
        elif what == "drain":
            connection.drain(timeout=PATIENCE)
        else:
            consuming.stop_consuming()

    with on_signal(handler, 0.2):
        end = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < end and connection.is_open and consuming.consumer_tags:
                if program == "publishing":
                    channel.basic_publish("", queue, b"body")
                else:
                    channel.queue_declare(queue, passive=True)
        except exceptions.AMQPError:
            assert what == "close"
    assert called
    if what == "close":
        eventually(lambda: connection.is_closed)
    else:
        eventually(lambda: not consuming.consumer_tags)
        assert connection.is_open


@needs_signals
def test_what_interrupts_a_loop_stands_alone(channel: Channel, queue: str) -> None:
    """Its traceback begins with nothing of the library's own."""
    main = threading.main_thread()

    def interrupt() -> None:
        # The loop has begun, and waits.
        if channel.consumer_tags and waits(main):
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough") as caught, on_signal(interrupt, 0.3):
        for _ in channel.consume(queue):
            pytest.fail("there are no messages")
    assert caught.value.__context__ is None


@needs_signals
def test_what_a_signal_handler_cannot_wait_for(
    connection: pika.Connection, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a call it is refused before anything is sent; elsewhere it works."""
    stream = channel._link.stream
    write = stream.write
    refused: list[bool] = []

    def in_the_middle(data: bytes) -> None:
        with pytest.raises(exceptions.ReentrancyError, match="cannot wait"):
            channel.queue_declare("", exclusive=True)
        refused.append(True)
        write(data)

    monkeypatch.setattr(stream, "write", in_the_middle)
    channel.basic_ack(0, multiple=True)
    monkeypatch.undo()
    assert refused
    outcomes: list[str] = []

    def handler() -> None:
        try:
            channel.queue_declare("", exclusive=True)
            outcomes.append("answered")
        except exceptions.ReentrancyError:
            outcomes.append("refused")

    with on_signal(handler, 0.002):
        while outcomes.count("answered") < 20:
            channel.queue_declare("", exclusive=True)
    assert connection.is_open


# Programs

OPENED = """
import os, signal, sys, threading, time, pika

connection = pika.connect(sys.argv[1])
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
for number in range(100):
    channel.basic_publish("", queue, b"body")
begun = threading.Event()

def on_message(channel, method, properties, body):
    begun.set()
    time.sleep(30)

def last_word():
    print(time.time())
"""

PROGRAMS = {
    "idle": ("last_word()", 0),
    "deleted": ("del channel, connection\nlast_word()", 0),
    "in a handler": ("channel.basic_consume(queue, on_message)\nbegun.wait()\nlast_word()", 0),
    "in a handler of an executor's": (
        """
channel.basic_consume(queue, on_message, concurrency=3)
begun.wait()
last_word()
""",
        0,
    ),
    "in a loop": ("for message in channel.consume(queue):\n    last_word()\n    sys.exit(4)", 4),
    "a loop that nobody has left": ("messages = channel.consume(queue)\nnext(messages)\nlast_word()", 0),
    "with confirms outstanding": (
        """
publisher = channel.publisher(max_in_flight=100000)
for number in range(10000):
    publisher.publish(b"body", routing_key=queue).add_done_callback(lambda confirmation: None)
last_word()
""",
        0,
    ),
    "while another thread waits": (
        """
idle = channel.queue_declare("", exclusive=True).method.queue
threading.Thread(target=lambda: list(channel.consume(idle, timeout=None)), daemon=True).start()
while not channel.consumer_tags:
    time.sleep(0.01)
threading.Thread(target=channel.start_consuming, daemon=True).start()
last_word()
""",
        0,
    ),
    "an exception": ("last_word()\nsys.exit(5)", 5),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_end_with_a_connection_open(broker: Broker, name: str) -> None:
    text, status = PROGRAMS[name]
    code, out, err = run(OPENED + text, broker.url)
    assert (code, err) == (status, "")
    assert time.time() - float(out) < AT_ONCE + 10


def test_a_broker_that_is_frozen_when_the_program_ends(broker: Broker) -> None:
    with Proxy(broker.port, broker.host) as proxy, running(OPENED + "print(1)\ninput()", proxy.url) as program:
        program.read()
        proxy.freeze()
        program.say()
        assert program.finish() == (0, "", "")


FORKING = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
channel.basic_consume(queue, lambda *_: None, auto_ack=True)
publisher = channel.publisher()
publisher.publish(b"before", routing_key=queue).result()
told = []
other = connection.channel()
other.add_on_close_callback(lambda *_: told.append("channel"))
connection.add_on_close_callback(lambda *_: told.append("connection"))
# So much that no broker has confirmed it before the fork.
last = other.publisher().publish(bytes(10_000_000), routing_key="nowhere")
last.add_done_callback(lambda _: told.append("confirmed"))
child = os.fork()
if not child:
    try:
        assert connection.is_closed and channel.is_closed
        for call in (
            lambda: channel.queue_declare(""),
            lambda: channel.basic_publish("", queue, b""),
            lambda: publisher.publish(b"", routing_key=queue),
            lambda: channel.basic_ack(1),
            lambda: next(channel.consume(queue)),
            connection.channel,
        ):
            try:
                call()
                raise AssertionError("nothing was raised")
            except (pika.exceptions.ChannelWrongStateError, pika.exceptions.ConnectionWrongStateError) as error:
                assert "belongs to process" in str(error), error
        connection.close()
        channel.close()
        time.sleep(0.1)
        assert not told, told
        last.add_done_callback(lambda _: told.append("asked for here"))
        while not told:
            time.sleep(0.01)
        with pika.connect(sys.argv[1]) as own:
            own.channel().queue_declare("", exclusive=True)
        sys.stdout.write("child\\n")
        sys.stdout.flush()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
publisher.publish(b"after", routing_key=queue).result()
channel.queue_declare("", exclusive=True)
connection.close()
assert told == ["confirmed", "channel", "connection"], told
print("parent")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_after_a_fork(broker: Broker) -> None:
    with Proxy(broker.port, broker.host) as proxy:
        assert run(OPENED + FORKING, proxy.url) == (0, "child\nparent\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_fork_while_other_threads_use_the_connection(broker: Broker) -> None:
    busy = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
def work():
    while True:
        try:
            channel.basic_publish("", queue, b"x" * 100)
            channel.queue_declare(queue, passive=True)
        except pika.exceptions.AMQPError:
            return

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
for _ in range(30):
    child = os.fork()
    if not child:
        try:
            channel.basic_publish("", queue, b"")
        except pika.exceptions.ChannelWrongStateError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
channel.queue_declare("", exclusive=True)
connection.close()
print("fine")
"""
    assert run(OPENED + busy, broker.url) == (0, "fine\n", "")


WAITS = {
    "an answer": 'channel.queue_declare("never answered")',
    "a confirm": 'publisher.publish(b"", routing_key="x").result()',
    "room": 'small.publish(b"", routing_key="x"); small.publish(b"", routing_key="x")',
    "all confirms": 'publisher.publish(b"", routing_key="x"); publisher.wait()',
    "messages": 'list(channel.consume("queue"))',
    "no consumers": "channel.start_consuming()",
    "the close": "connection.close(timeout=60)",
}


# Waits, and says so.
WAITING = """
import sys, threading, time, pika
from pika.client.threaded_waiting import Gate

def tell():
    frame = None
    while frame is None or frame.f_code is not Gate.wait.__code__:
        time.sleep(0.01)
        frame = sys._current_frames()[threading.main_thread().ident]
    print("waiting", flush=True)

connection = pika.connect(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1])))
channel = connection.channel()
publisher, small = channel.publisher(), channel.publisher(max_in_flight=1)
channel.basic_consume("queue", lambda *_: None, consumer_tag="mine")
threading.Thread(target=tell, daemon=True).start()
try:
    %s
except KeyboardInterrupt:
    print("interrupted", connection.is_open or connection.is_closed)
    import os
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process there")
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait(wait: str) -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
        session.expect(spec.Basic.Consume, spec.Basic.ConsumeOk("mine"))
        if wait == "messages":
            session.accept_consumer()
            session.expect(spec.Basic.Cancel, spec.Basic.CancelOk("x"))
        assert number == 1
        session.hold()

    with scripted_broker(script) as peer, running(WAITING % WAITS[wait], str(peer.port)) as child:
        assert child.read() == "waiting"
        began = time.monotonic()
        os.kill(child.pid, signal.SIGINT)
        assert child.read().startswith("interrupted")
        # It is a second at the most; the machine may do ten other things.
        assert time.monotonic() - began < AT_ONCE + 25
        assert child.finish()[0] == 0


@needs_signals
def test_what_a_signal_handler_raises_while_threads_end(connection: pika.Connection) -> None:
    """It comes out of close(), of whatever kind it is."""

    class Shutdown(RuntimeError):
        pass

    closing, stopped = threading.Event(), threading.Event()

    def stop() -> None:
        if closing.is_set():
            stopped.set()
            raise Shutdown("now")

    def on_close(*_: object) -> None:
        closing.set()
        stopped.wait(PATIENCE)
        time.sleep(0.5)

    connection.add_on_close_callback(on_close)
    with pytest.raises(Shutdown), on_signal(stop, 0.4):
        connection.close()
        pytest.fail("closing is over")
    eventually(lambda: connection.is_closed)
