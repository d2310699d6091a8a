"""The broker that the tests start is a real one, is its own, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.rabbitmq import Broker, RabbitMQ, RabbitMQError

# It is the tests' own means that are tested here: once is enough.
pytestmark = pytest.mark.slow

KILLED_TEST_RUN = """
import os, signal, sys
from tests.support.rabbitmq import RabbitMQ
node = RabbitMQ()
node.start()
print(node.folder, node.nodename, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def processes_that_mention(text: str) -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pid,args", "-ww"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line for line in listing.splitlines() if text in line]


def test_it_answers_the_protocol_header(rabbitmq: Broker) -> None:
    with socket.create_connection((rabbitmq.host, rabbitmq.port), timeout=10) as client:
        client.sendall(b"AMQP\x00\x00\x09\x01")
        # A method frame on channel 0, its length, then connection.start: class 10, method 10.
        frame_start = client.recv(11, socket.MSG_WAITALL)
    assert frame_start[:3] == b"\x01\x00\x00"
    assert frame_start[7:] == b"\x00\x0a\x00\x0a"


def test_parameters_point_at_it(rabbitmq: Broker) -> None:
    parameters = rabbitmq.parameters(heartbeat=7)
    assert (parameters.host, parameters.port, parameters.heartbeat) == (rabbitmq.host, rabbitmq.port, 7)


def test_ctl_commands_it(rabbitmq: Broker) -> None:
    if isinstance(rabbitmq, RabbitMQ):
        assert rabbitmq.ctl("eval", "node().").strip() == f"'{rabbitmq.nodename}'"
    assert "guest" in rabbitmq.ctl("list_users")


def test_ctl_that_fails_says_what_was_printed(rabbitmq: Broker) -> None:
    with pytest.raises(RabbitMQError, match="delete_user nobody failed with status"):
        rabbitmq.ctl("delete_user", "nobody")


def test_ctl_without_a_command_names_the_remedy() -> None:
    with pytest.raises(
        RabbitMQError, match=r"no rabbitmqctl for the broker at 127\.0\.0\.1:1: set PIKA_TEST_RABBITMQCTL"
    ):
        Broker("amqp://127.0.0.1:1/").ctl("status")


@pytest.mark.slow
def test_it_can_be_killed_and_started_again_and_leaves_nothing(start_rabbitmq: Callable[..., RabbitMQ]) -> None:
    node = start_rabbitmq(config=("channel_max = 99",), plugins=("rabbitmq_recent_history_exchange",))
    folder, first = node.folder, node.pid
    os.kill(first, 0)
    assert node.ctl("eval", "application:get_env(rabbit, channel_max).").strip() == "{ok,99}"
    assert "rabbitmq_recent_history_exchange" in node.log()
    node.ctl("add_vhost", "survivor")

    node.kill()
    assert not node.answers()
    node.start()
    assert node.answers()
    assert node.pid != first
    assert "survivor" in node.ctl("list_vhosts")

    node.stop()
    node.stop()
    assert not node.answers()
    assert not folder.exists()
    assert processes_that_mention(str(folder)) == []


@pytest.mark.slow
def test_a_node_that_cannot_start_says_why(start_rabbitmq: Callable[..., RabbitMQ]) -> None:
    with pytest.raises(RabbitMQError, match=r"(?s)ended with status \d+.*no_such_setting"):
        start_rabbitmq(config=("no_such_setting = 1",))


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_test_run_that_is_killed_leaves_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "-c", KILLED_TEST_RUN], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    )
    folder = run.stdout.split()[0]
    deadline = time.monotonic() + 60
    while (Path(folder).exists() or processes_that_mention(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(folder).exists()
    assert processes_that_mention(folder) == []
