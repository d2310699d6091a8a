"""The examples that publish: the broker has what they say it has, whatever happened to their connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.conftest import QUEUE, Start, Tasks
from tests.support.certificates import Authority
from tests.support.peer import free_port
from tests.support.ports import LOOPBACK
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ


def test_confirms_and_mandatory(tasks: Tasks, start_on_both: Start) -> None:
    lines, errors = start_on_both("confirmed_publishing", tasks.broker.url).finish()
    assert lines == [
        "the broker has a task",
        "the broker has the first of two",
        "the broker refused the second of two",
        "no queue took a stray",
    ]
    assert errors == ""
    assert tasks.take_all() == ["a task"]


class TestSelectPublisher:
    def test_it_loses_nothing_when_the_connection_breaks(self, tasks: Tasks, start_on_both: Start) -> None:
        with Proxy(tasks.broker.port, tasks.broker.host) as proxy:
            example = start_on_both("select_publisher", proxy.url, 100, 0.05)
            assert example.line() == "publishing"
            lines = example.lines(5)
            for fail in (proxy.cut, proxy.reset):
                fail()
                lines += example.until("publishing")
                lines += example.lines(5)
            rest, errors = example.finish()
            lines += rest
        assert lines[-1] == "stopped, unconfirmed: 0"
        assert errors == ""
        every = {f"task {number}" for number in range(1, 101)}
        assert {line[len("confirmed: ") :] for line in lines if line.startswith("confirmed: ")} == every
        # What was not confirmed when the connection broke may be there twice.
        assert set(tasks.take_all()) == every

    def test_it_says_what_is_unconfirmed(self, tasks: Tasks, start_on_both: Start) -> None:
        example = start_on_both("select_publisher", tasks.broker.url, 10, 60)
        assert example.lines(2) == ["publishing", "confirmed: task 1"]
        example.interrupt()
        assert example.finish() == (["stopped, unconfirmed: 9"], "")
        assert tasks.take_all() == ["task 1"]

    def test_what_no_queue_took_is_published_again(self, tasks: Tasks, start_on_both: Start) -> None:
        example = start_on_both("select_publisher", tasks.broker.url, 50, 0.1)
        example.until("confirmed: task 1")
        tasks.delete()
        returned = example.until("no queue took: ")[-1][len("no queue took: ") :]
        assert example.until(f"confirmed: {returned}")
        lines, errors = example.finish()
        assert (lines[-1], errors) == ("stopped, unconfirmed: 0", "")
        assert {returned, "task 50"} <= set(tasks.take_all())

    def test_what_the_broker_refuses_is_published_again(self, spare_tasks: Tasks, start: Start) -> None:
        ctl = spare_tasks.broker.ctl
        ctl("set_policy", "full", QUEUE, '{"max-length": 2, "overflow": "reject-publish"}')
        example = start("select_publisher", spare_tasks.broker.url, 3, 0)
        example.until("refused, trying again in a second: ")
        ctl("clear_policy", "full")
        lines, errors = example.finish()
        assert (lines[-1], errors) == ("stopped, unconfirmed: 0", "")
        assert sorted(spare_tasks.take_all()) == ["task 1", "task 2", "task 3"]

    def test_it_waits_for_a_broker(self, start: Start) -> None:
        with Proxy(1) as nobody:
            example = start("select_publisher", nobody.url)
            example.until("no connection, trying again in 1.0 seconds: ")
            example.interrupt()
            lines, errors = example.finish()
        assert (lines[-1], errors) == ("stopped, unconfirmed: 10", "")


class TestAioPublisher:
    def test_it_loses_nothing_when_the_connection_breaks(self, tasks: Tasks, start: Start) -> None:
        with Proxy(tasks.broker.port, tasks.broker.host) as proxy:
            example = start("aio_publisher", proxy.url, 100, 0.05)
            assert example.line() == "publishing"
            lines = example.lines(5)
            for fail in (proxy.cut, proxy.reset):
                fail()
                lines += example.until("publishing")
                lines += example.lines(5)
            rest, errors = example.finish()
            lines += rest
        assert (lines[-1], errors) == ("stopped, unconfirmed: 0", "")
        every = {f"task {number}" for number in range(1, 101)}
        assert {line[len("confirmed: ") :] for line in lines if line.startswith("confirmed: ")} == every
        # What was not confirmed when the connection broke may be there twice.
        assert set(tasks.take_all()) == every

    def test_it_says_what_is_unconfirmed(self, tasks: Tasks, start: Start) -> None:
        example = start("aio_publisher", tasks.broker.url, 10, 60)
        assert example.lines(2) == ["publishing", "confirmed: task 1"]
        example.interrupt()
        assert example.finish() == (["stopped, unconfirmed: 9"], "")
        assert tasks.take_all() == ["task 1"]

    def test_what_no_queue_took_is_published_again(self, tasks: Tasks, start: Start) -> None:
        example = start("aio_publisher", tasks.broker.url, 50, 0.1)
        example.until("confirmed: task 1")
        tasks.delete()
        example.until("not confirmed: task ")
        lines, errors = example.finish()
        assert (lines[-1], errors) == ("stopped, unconfirmed: 0", "")
        assert "task 50" in tasks.take_all()

    def test_it_waits_for_a_broker(self, start: Start) -> None:
        with Proxy(1) as nobody:
            example = start("aio_publisher", nobody.url)
            example.until("trying again in 1.0 seconds")
            example.interrupt()
            lines, errors = example.finish()
        assert (lines[-1], errors) == ("stopped, unconfirmed: 10", "")


class TestTimeouts:
    def test_a_silent_broker(self, tasks: Tasks, start: Start) -> None:
        with Proxy(tasks.broker.port, tasks.broker.host) as proxy:
            example = start("blocking_timeouts", proxy.url, 1)
            example.until("the broker has task 2")
            proxy.freeze()
            assert "silent" in example.until("the broker is silent: ")[-1]
            proxy.cut()
            proxy.thaw()
            lines = example.until("the broker has task ")
            example.interrupt()
            rest, errors = example.finish()
        assert (rest[-1], errors) == ("stopped", "")
        last = int(lines[-1].rpartition(" ")[2])
        assert {f"task {number}" for number in range(1, last + 1)} <= set(tasks.take_all())

    def test_a_broker_that_is_short_of_memory(self, spare_tasks: Tasks, start: Start) -> None:
        node = spare_tasks.broker
        example = start("blocking_timeouts", node.url, 30, 1)
        example.until("the broker has task 1")
        node.raise_memory_alarm()
        example.until("the broker takes no messages: ")
        node.end_memory_alarm()
        example.until("the broker has task ")
        example.interrupt()
        rest, errors = example.finish()
        assert (rest[-1], errors) == ("stopped", "")


class SecureNode(RabbitMQ):
    """A node that has certificates shown to it, and takes the names on them for those of users."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.tls_port = free_port()
        server = self.authority.issue("server")
        config = (
            f"listeners.ssl.default = {LOOPBACK}:{self.tls_port}",
            f"ssl_options.cacertfile = {self.authority.cert}",
            f"ssl_options.certfile = {server.cert}",
            f"ssl_options.keyfile = {server.key}",
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = true",
            "ssl_cert_login_from = common_name",
            "auth_mechanisms.1 = PLAIN",
            "auth_mechanisms.2 = EXTERNAL",
        )
        super().__init__(config, ("rabbitmq_auth_mechanism_ssl",))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureNode]:
    with SecureNode(tmp_path_factory.mktemp("authority")) as node:
        node.ctl("add_user", "program", "what nobody knows")
        node.ctl("set_permissions", "program", ".*", ".*", ".*")
        yield node


@pytest.mark.rabbitmq
class TestTLS:
    def test_both_sides_are_verified(self, node: SecureNode, start_on_both: Start) -> None:
        ours = node.authority.issue("program")
        files = ["--ca", node.authority.cert, "--certificate", ours.cert, "--key", ours.key]
        with_password = start_on_both("tls", f"amqps://guest:guest@localhost:{node.tls_port}", *files)
        assert with_password.finish() == (["published over TLS"], "")
        with_certificate = start_on_both("tls", f"amqps://localhost:{node.tls_port}", *files, "--external")
        assert with_certificate.finish() == (["published over TLS"], "")
        assert Tasks(node).take_all() == ["nobody has read this on its way"] * 2

    def test_a_stranger_is_not_taken_for_the_broker(self, node: SecureNode, start: Start, tmp_path: Path) -> None:
        stranger = Authority(tmp_path, "stranger")
        ours = node.authority.issue("program")
        files = ["--ca", stranger.cert, "--certificate", ours.cert, "--key", ours.key]
        lines, errors = start("tls", f"amqps://localhost:{node.tls_port}", *files).finish(status=1)
        assert lines == []
        assert errors.startswith("no connection: ") and "certificate verify failed" in errors
