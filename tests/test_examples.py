"""The examples of the README and of the page on threads run as they stand, with the tests' broker for localhost's."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pika
from pika.broker import Broker as EmbeddedBroker
from tests.support.bounded import PATIENCE
from tests.support.programs import until_it_waits
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker, RabbitMQ

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = (README, (ROOT / "docs" / "threads.md").read_text(encoding="utf-8"))
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", "\n".join(PAGES), re.DOTALL))
QUEUES = ("hello", "orders", "jobs")


def program(name: str, url: str) -> str:
    """Return an example's text that connects to the broker of a URL, and is otherwise as it stands on its page."""
    broker = Broker(url)
    text = EXAMPLES[name].replace("amqp://guest:guest@localhost/%2F", url)
    text = text.replace("amqp://localhost/%2F", f"amqp://{broker.host}:{broker.port}/%2F")
    return re.sub(r"([\"'])localhost\1(?!, port=)", f'"{broker.host}", {broker.port}', text)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run(name: str, broker: Broker, folder: Path, warnings: str = "error") -> list[str]:
    """Run an example to its end, and return the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", program(name, broker.url)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        timeout=2 * PATIENCE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


class Child:
    """An example that runs until it is told to end."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program(name, url)],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self) -> str:
        """The next line that it prints."""
        return self._lines.get(timeout=PATIENCE)

    def until(self, line: str) -> None:
        """Read up to a line; before it come only messages whose acknowledgement was lost with their connection."""
        while True:
            found = self.line()
            if found == line:
                return
            assert found.startswith("got "), found

    def interrupt(self) -> int:
        """Press Ctrl-C while it waits for messages, and return its exit status."""
        until_it_waits(self._process.pid)
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE)

    def terminate(self) -> int:
        """Have it stopped as a service is, and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE)

    def rest(self) -> list[str]:
        """What it printed and nobody has read."""
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return list(self._lines.queue)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def child(name: str, url: str, folder: Path) -> Iterator[Child]:
    running = Child(name, url, folder)
    try:
        yield running
    finally:
        running.end()


@contextlib.contextmanager
def channel_to(broker: Broker) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with pika.BlockingConnection(broker.parameters()) as connection:
        yield connection.channel()


@pytest.fixture
def broker(rabbitmq: Broker) -> Iterator[Broker]:
    """The run's broker, without the examples' queues before and after."""
    delete_queues(rabbitmq)
    yield rabbitmq
    delete_queues(rabbitmq)


def delete_queues(broker: Broker) -> None:
    with channel_to(broker) as channel:
        for name in QUEUES:
            channel.queue_delete(name)


def publish(broker: Broker, name: str, *bodies: bytes) -> None:
    with channel_to(broker) as channel:
        channel.confirm_delivery()
        channel.queue_declare(name, durable=True)
        for body in bodies:
            channel.basic_publish("", name, body)


def take_all(broker: Broker, name: str) -> list[bytes]:
    with channel_to(broker) as channel:
        taken = iter(lambda: channel.basic_get(name, auto_ack=True)[2], None)
        return list(taken)


def check_publish(broker: Broker, folder: Path) -> None:
    assert run("publish", broker, folder) == ["sent"]
    assert take_all(broker, "hello") == [b"Hello, world! %d" % number for number in range(10)]


def check_consume(broker: Broker, folder: Path) -> None:
    bodies = [b"%d" % number for number in range(12)]
    publish(broker, "hello", *bodies)
    lines = run("consume", broker, folder)
    assert lines == [f"{count} {body!r}" for count, body in enumerate(bodies[:10], start=1)]
    assert take_all(broker, "hello") == bodies[10:]


def check_confirm(broker: Broker, folder: Path) -> None:
    assert run("confirm", broker, folder) == ["confirmed", "came back: b'lost?'"]
    assert take_all(broker, "hello") == [b"safe"]


def check_several(broker: Broker, folder: Path) -> None:
    assert run("several", broker, folder) == ["connected: True"]


def check_broker(broker: Broker, folder: Path) -> None:
    assert run("broker", broker, folder) == ["b'from memory'"]


def check_recover(broker: Broker, folder: Path) -> None:
    """It comes back after the network has failed, in two ways, and Ctrl-C ends it."""
    with Proxy(broker.port, broker.host) as proxy, child("recover", proxy.url, folder) as running:
        assert running.line() == "consuming"
        for number, fail in enumerate((proxy.cut, proxy.reset)):
            publish(broker, "orders", b"%d" % number)
            running.until(f"got b'{number}'")
            fail()
            lost = running.line()
            assert lost.startswith("connection lost, coming back: ") and f"127.0.0.1:{proxy.port}" in lost
            assert running.line() == "consuming"
        # Once it has consumed it is where Ctrl-C is expected.
        publish(broker, "orders", b"last")
        running.until("got b'last'")
        assert running.interrupt() == 0
        assert running.rest() == []
    assert take_all(broker, "orders") == []


def check_threads(broker: Broker, folder: Path) -> None:
    assert run("threads", broker, folder) == ["working on b'...'", "working on b'another one'"]
    assert take_all(broker, "jobs") == []


def check_threads_publish(broker: Broker, folder: Path) -> None:
    assert run("threads-publish", broker, folder) == ["the broker has them all"]
    assert take_all(broker, "jobs") == [b"job %d" % number for number in range(10)]


def check_threads_consume(broker: Broker, folder: Path) -> None:
    publish(broker, "jobs", b"1", b"2")
    assert run("threads-consume", broker, folder) == ["working on b'1'", "working on b'2'"]
    assert take_all(broker, "jobs") == []


def check_threads_stop(broker: Broker, folder: Path) -> None:
    with child("threads-stop", broker.url, folder) as running:
        assert running.line() == "consuming"
        publish(broker, "jobs", b"1")
        assert running.line() == "working on b'1'"
        assert running.terminate() == 0
        assert running.rest() == []
    assert take_all(broker, "jobs") == []


def check_threads_credentials(broker: Broker, folder: Path) -> None:
    assert run("threads-credentials", broker, folder) == ["renewed"]


def check_asyncio(broker: Broker, folder: Path) -> None:
    expected = ["working on b'...'", "working on b'and'", "working on b'another one'"]
    assert run("asyncio", broker, folder) == expected
    assert take_all(broker, "jobs") == []


CHECKS: dict[str, Callable[[Broker, Path], None]] = {
    "publish": check_publish,
    "consume": check_consume,
    "confirm": check_confirm,
    "several": check_several,
    "broker": check_broker,
    "recover": check_recover,
    "threads": check_threads,
    "threads-publish": check_threads_publish,
    "threads-consume": check_threads_consume,
    "threads-stop": check_threads_stop,
    "threads-credentials": check_threads_credentials,
    "asyncio": check_asyncio,
}


def test_the_pages_have_the_examples() -> None:
    assert set(CHECKS) <= set(EXAMPLES)
    assert sum(page.count("```python") for page in PAGES) == len(EXAMPLES)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example(name: str, broker: Broker, tmp_path: Path) -> None:
    """An example that is not known here is run to its end."""
    check: Any = CHECKS.get(name)
    if check is not None:
        check(broker, tmp_path)
    else:
        run(name, broker, tmp_path)


@pytest.mark.parametrize("check", [check_threads, check_asyncio])
def test_those_of_the_modern_clients_on_the_embedded_broker(
    check: Callable[[Broker, Path], None], tmp_path: Path
) -> None:
    with EmbeddedBroker() as embedded:
        check(Broker(embedded.url), tmp_path)


def test_recover_when_the_broker_closes(start_rabbitmq: Callable[..., RabbitMQ], tmp_path: Path) -> None:
    node = start_rabbitmq()
    with child("recover", node.url, tmp_path) as running:
        assert running.line() == "consuming"
        node.ctl("close_all_connections", "maintenance")
        closed = running.line()
        assert closed.startswith("closed by the broker, coming back: ") and "maintenance" in closed
        assert running.line() == "consuming"
        publish(node, "orders", b"after")
        assert running.line() == "got b'after'"
        assert running.interrupt() == 0


def test_recover_ends_when_its_channel_fails(broker: Broker, tmp_path: Path) -> None:
    with channel_to(broker) as channel:
        channel.queue_declare("orders", exclusive=True)
        (line,) = run("recover", broker, tmp_path)
        assert line.startswith("the channel failed") and "405" in line
