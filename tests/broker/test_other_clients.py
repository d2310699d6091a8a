"""Clients that share no code with the broker: an error in a codec that both ends have cannot hide from them.

Each does the same things with the embedded broker and with RabbitMQ, and must see the same.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import pika
from pika.broker import Broker
from tests.broker.clients.report import HEADERS, PROPERTIES
from tests.support import oracle, rabbitmq

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PATIENCE = 300.0

# The clients run on an interpreter of their own.
pytestmark = pytest.mark.slow

#: By name: the program, and where its client comes from.
CLIENTS = {"oracle": ("pika_program", "pika==1.4.4"), "py-amqp": ("py_amqp_program", "amqp==5.3.1")}

TOOLS = ("amqp-publish", "amqp-get", "amqp-consume", "amqp-declare-queue", "amqp-delete-queue")
without_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS),
    reason="no amqp-tools on this machine: apt-get install amqp-tools",
)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def prefix() -> str:
    return f"other-{secrets.token_hex(4)}"


class Client(NamedTuple):
    """A program, and the interpreter that has its client."""

    program: str
    python: str
    path: str = ""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the program."""
        # In the folder of the tests, so that it finds them, but not the library under test.
        return subprocess.Popen(
            [self.python, "-W", "ignore", "-m", f"clients.{self.program}", *arguments],
            cwd=FOLDER,
            env={**os.environ, "PYTHONPATH": self.path, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str) -> Any:
        """Run the program, and return what it printed."""
        return outcome(self.start(*arguments))


OURS = Client("pika_program", sys.executable, str(ROOT))


def outcome(process: subprocess.Popen[str]) -> Any:
    """Wait for a program, and return what it printed."""
    try:
        printed, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(printed) if printed else None


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    """Another client."""
    program, requirement = CLIENTS[request.param]
    python = oracle.environment(request.param, requirement)
    if python is None:
        pytest.skip(f"no {requirement} to run against the broker: pip could not install it")
    return Client(program, str(python))


def test_a_client_sees_what_it_sees_of_rabbitmq(
    client: Client, broker: Broker, rabbitmq: rabbitmq.Broker, prefix: str
) -> None:
    processes = [client.start(url, prefix) for url in (broker.url, rabbitmq.url)]
    embedded, real = [outcome(process) for process in processes]
    assert len(real) == 12
    assert all(real.values())
    assert embedded == real


def test_a_program_for_pika_1_sees_the_same_with_this_library(broker: Broker, prefix: str) -> None:
    program, requirement = CLIENTS["oracle"]
    python = oracle.environment("oracle", requirement)
    if python is None:
        pytest.skip(oracle.REASON)
    with Broker() as another:
        theirs = Client(program, str(python)).start(broker.url, prefix)
        ours = OURS.start(another.url, prefix)
        assert outcome(ours) == outcome(theirs)


def test_messages_cross_between_clients(client: Client, broker: Broker, prefix: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        channel.queue_declare(prefix)
        seen = {}
        for writer in (client, OURS):
            for reader in (client, OURS):
                writer.run(broker.url, prefix, "write")
                seen[writer.program, writer is OURS, reader is OURS] = reader.run(broker.url, prefix, "read")["read"]
    for writer in (client, OURS):
        read_by_them = seen[writer.program, writer is OURS, False]
        read_by_us = seen[writer.program, writer is OURS, True]
        assert len(read_by_us) == 3
        assert read_by_us == read_by_them, "the clients read the same message differently"
    fields = read_by_us[0][2]["table"]
    for name, value in PROPERTIES.items():
        assert fields[name] in (value, {"integer": value})
    assert set(fields["headers"]["table"]) >= set(HEADERS)


# The C client --------------------------------------------------------------------------------------------------


def commands(prefix: str) -> Iterator[tuple[str, Sequence[str], bytes]]:
    """Commands of amqp-tools: which, its arguments, its standard input."""
    queue, temporary = f"{prefix}-q", f"{prefix}-t"
    yield "amqp-declare-queue", ["-q", queue, "-d"], b""
    yield "amqp-declare-queue", ["-q", queue, "-d"], b""
    yield "amqp-declare-queue", ["-q", queue], b""
    yield "amqp-get", ["-q", queue], b""
    yield "amqp-get", ["-q", f"{prefix}-nowhere"], b""
    yield "amqp-publish", ["-r", queue, "-b", "first"], b""
    yield "amqp-publish", ["-r", queue, "-p", "-C", "text/plain", "-E", "utf-8", "-t", "back", "-H", "a: b"], b"second"
    yield "amqp-publish", ["-r", queue, "-l"], b"third\nfourth\n"
    yield "amqp-publish", ["-e", "amq.direct", "-r", "nobody", "-b", "lost"], b""
    yield "amqp-publish", ["-e", f"{prefix}-nowhere", "-r", "k", "-b", "refused"], b""
    yield "amqp-delete-queue", ["-q", queue, "--if-empty"], b""
    yield "amqp-get", ["-q", queue], b""
    yield "amqp-consume", ["-q", queue, "-c", "2", "-p", "1", "cat"], b""
    yield "amqp-consume", ["-q", queue, "-c", "1", "-A", "cat"], b""
    yield "amqp-consume", ["-q", f"{prefix}-nowhere", "-c", "1", "cat"], b""
    yield "amqp-get", ["-q", queue], b""
    yield "amqp-publish", ["-r", queue], b"0123456789" * 104858
    yield "amqp-get", ["-q", queue], b""
    yield "amqp-publish", ["-r", queue, "-b", "counted"], b""
    yield "amqp-delete-queue", ["-q", queue, "--if-unused"], b""
    yield "amqp-delete-queue", ["-q", queue], b""
    yield "amqp-declare-queue", ["-q", temporary], b""
    yield "amqp-publish", ["-r", temporary, "-b", "x" * 200, "--heartbeat=1"], b""
    yield "amqp-consume", ["-q", temporary, "-c", "1", "-p", "1", "--heartbeat=5", "cat"], b""
    yield "amqp-declare-queue", ["-q", "amq.mine"], b""
    yield "amqp-delete-queue", ["-q", temporary], b""
    yield "amqp-get", ["-q", temporary, "--vhost", prefix], b""
    yield "amqp-get", ["-q", temporary, "--username", "guest", "--password", "wrong"], b""


def transcript(url: str, prefix: str) -> list[tuple[list[str], int, bytes, bytes]]:
    """Run the commands, and return what each did."""
    parameters = pika.URLParameters(url)
    server = [f"--server={parameters.host}", f"--port={parameters.port}"]
    found = []
    for tool, arguments, standard_input in commands(prefix):
        done = subprocess.run(
            [tool, *server, *arguments], input=standard_input, capture_output=True, timeout=PATIENCE, check=False
        )
        found.append(([tool, *arguments], done.returncode, done.stdout, done.stderr))
    return found


@without_tools
def test_the_tools_print_what_they_print_of_rabbitmq(broker: Broker, rabbitmq: rabbitmq.Broker, prefix: str) -> None:
    assert transcript(broker.url, prefix) == transcript(rabbitmq.url, prefix)


@without_tools
def test_the_tools_read_and_write_messages(broker: Broker, prefix: str) -> None:
    found = transcript(broker.url, prefix)
    assert {code for _, code, _, _ in found} == {0, 1, 2}
    printed = b"".join(out for _, _, out, _ in found)
    assert b"firstsecondthird\nfourth\n" + b"0123456789" * 104858 + b"1\n" in printed


@without_tools
def test_messages_cross_between_the_tools_and_this_library(broker: Broker, prefix: str) -> None:
    parameters = pika.URLParameters(broker.url)
    server = [f"--server={parameters.host}", f"--port={parameters.port}"]
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_declare(prefix)
        options = ["-r", prefix, "-p", "-C", "text/plain", "-E", "utf-8", "-t", "back", "-H", "a: b c", "-b", "body"]
        subprocess.run(["amqp-publish", *server, *options], timeout=PATIENCE, check=True)
        _, properties, body = channel.basic_get(prefix, auto_ack=True)
        assert body == b"body"
        assert (properties.content_type, properties.content_encoding, properties.delivery_mode) == (
            "text/plain",
            "utf-8",
            2,
        )
        assert (properties.reply_to, properties.headers) == ("back", {"a": "b c"})
        sent = pika.BasicProperties(headers=HEADERS, timestamp=1, **PROPERTIES)
        channel.basic_publish("", prefix, b"from this library", sent)
        got = subprocess.run(["amqp-get", *server, "-q", prefix], capture_output=True, timeout=PATIENCE, check=True)
        assert got.stdout == b"from this library"
