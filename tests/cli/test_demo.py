"""``python3 -m pika demo``, as a newcomer runs it: from a folder with nothing installed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.peer import free_port
from tests.support.rabbitmq import Broker

ROOT = Path(__file__).resolve().parents[2]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it without site-packages."""
    command = [sys.executable, "-S", "-W", "error", "-m", "pika", "demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def check_report(output: str, messages: str) -> None:
    assert f"published {messages} messages, each confirmed by the broker: " in output
    assert f"consumed and acknowledged {messages} messages: " in output
    assert "0 messages are left in the queue" in output
    assert 'channel.basic_publish("", queue' in output
    assert "\r" not in output


def test_on_a_broker_in_the_box() -> None:
    done = demo()
    assert (done.returncode, done.stderr) == (0, "")
    assert "(a broker in this process)" in done.stdout
    check_report(done.stdout, "10,000")


def test_on_a_real_broker(rabbitmq: Broker) -> None:
    done = demo("--url", rabbitmq.url, "--messages", "300")
    assert (done.returncode, done.stderr) == (0, "")
    check_report(done.stdout, "300")


def test_the_lines_that_do_the_same_do_it(rabbitmq: Broker) -> None:
    lines = demo("--messages", "20").stdout.split("on a RabbitMQ:\n\n")[1]
    code = "\n".join(line[4:] for line in lines.splitlines())
    address = f"pika.URLParameters({rabbitmq.url!r})"
    assert code.count("pika.ConnectionParameters('127.0.0.1')") == 1
    code = code.replace("pika.ConnectionParameters('127.0.0.1')", address) + "\nprint(channel.is_closed)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_a_broker_that_cannot_be_reached_is_one_line() -> None:
    port = free_port()
    done = demo("--url", f"amqp://guest:guest@127.0.0.1:{port}/%2F")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"pika demo: could not connect to 127.0.0.1:{port}: TCP connection: Connection refused: "
        "is RabbitMQ running there?\n"
    )


def test_a_wrong_password_is_one_line_that_does_not_show_it(rabbitmq: Broker) -> None:
    done = demo("--url", f"amqp://guest:sesame@{rabbitmq.host}:{rabbitmq.port}/%2F")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "authentication" in done.stderr and f"{rabbitmq.host}:{rabbitmq.port}" in done.stderr
    assert "sesame" not in done.stderr


def test_a_url_that_makes_no_sense_is_one_line() -> None:
    done = demo("--url", "http:/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("pika demo: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", ["0", "-1", "ten"])
def test_a_number_of_messages_is_at_least_one(number: str) -> None:
    done = demo("--messages", number)
    assert done.returncode == 2
    assert "a number of messages is at least 1" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_sees_how_far_it_is() -> None:
    primary, replica = pty.openpty()
    command = [sys.executable, "-S", "-m", "pika", "demo", "--messages", "3000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=replica, stderr=replica) as child:
        os.close(replica)
        shown = b""
        while True:
            try:
                read = os.read(primary, 4096)
            except OSError:  # Linux says so when the other side is closed
                break
            if not read:
                break
            shown += read
        assert child.wait(60) == 0
    os.close(primary)
    assert b"\rpublishing " in shown and b" of 3,000 (" in shown
    assert b"published 3,000 messages" in shown


def test_the_lines_say_which_broker(rabbitmq: Broker) -> None:
    printed = demo("--url", rabbitmq.url, "--messages", "1").stdout
    assert f"pika.ConnectionParameters({rabbitmq.host!r}, {rabbitmq.port})" in printed
