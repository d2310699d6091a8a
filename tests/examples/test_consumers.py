"""The examples that consume for ever: they come back, whatever happens to their connection, and end with Ctrl-C."""

from __future__ import annotations

import contextlib
import sys
import threading

import pytest

from tests.examples.conftest import Start, Tasks
from tests.examples.example import PATIENCE, Example
from tests.support.peer import Peer, PeerSocket
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker

#: What they print last.
FAREWELL = {
    "aio_consumer": [],
    "asyncio_consumer": [],
    "blocking_retry": ["stopped"],
    "blocking_several_hosts": ["stopped"],
    "gevent_consumer": ["stopped"],
    "select_consumer": ["stopped"],
    "tornado_consumer": [],
    "twisted_consumer": [],
}
#: Those that try again when there is no broker yet.
PATIENT = [name for name in FAREWELL if name != "blocking_several_hosts"]


def check_end(example: Example, name: str, tasks: Tasks) -> None:
    """It ends with Ctrl-C, and has acknowledged everything."""
    example.interrupt()
    assert example.finish() == (FAREWELL[name], "")
    assert tasks.take_all() == []


@pytest.mark.parametrize("name", FAREWELL)
def test_a_consumer_comes_back(name: str, tasks: Tasks, start_on_both: Start) -> None:
    with Proxy(tasks.broker.port, tasks.broker.host) as proxy:
        example = start_on_both(name, proxy.url)
        assert example.line() == "consuming"
        for number, fail in enumerate((proxy.cut, proxy.reset)):
            tasks.publish(f"{number} first", f"{number} second")
            # What was acknowledged just before a failure may come a second time.
            example.until(f"got {number} first")
            example.until(f"got {number} second")
            fail()
            lines = example.until("consuming")
            assert [line for line in lines if line.startswith(("no connection", "trying again"))]
            tasks.wait_for_consumers(1)
        tasks.publish("last")
        example.until("got last")
        check_end(example, name, tasks)


@pytest.mark.parametrize("name", FAREWELL)
def test_a_consumer_survives_its_queue(name: str, tasks: Tasks, start_on_both: Start) -> None:
    example = start_on_both(name, tasks.broker.url)
    assert example.line() == "consuming"
    tasks.delete()
    assert "cancelled" in " ".join(example.until("consuming"))
    tasks.publish("after")
    assert example.line() == "got after"
    check_end(example, name, tasks)


@pytest.mark.parametrize("name", PATIENT)
def test_a_consumer_can_be_stopped_while_it_waits_for_a_broker(name: str, start: Start) -> None:
    with Proxy(1) as nobody:
        example = start(name, nobody.url)
        example.line()
        example.interrupt()
        lines, errors = example.finish()
    assert ([line for line in lines if "trying again" not in line], errors) == (FAREWELL[name], "")


@pytest.mark.parametrize("name", PATIENT)
def test_a_consumer_can_be_stopped_while_it_connects(name: str, start: Start) -> None:
    reached = threading.Event()

    def say_nothing(client: PeerSocket) -> None:
        client.recv_exactly(8)
        reached.set()
        client.recv_until_end()

    with Peer(say_nothing) as broker:
        example = start(name, f"amqp://{broker.host}:{broker.port}")
        assert reached.wait(PATIENCE)
        example.interrupt()
        assert example.finish() == (FAREWELL[name], "")


def test_no_connection_is_tried_again_with_a_wrong_password(rabbitmq: Broker, start: Start) -> None:
    example = start("blocking_retry", rabbitmq.url.replace("guest:guest", "guest:wrong"))
    lines, errors = example.finish(status=1)
    assert lines == []
    assert errors.startswith("giving up: ") and "ACCESS_REFUSED" in errors and len(errors.splitlines()) == 1


def test_another_broker_takes_over(tasks: Tasks, start: Start) -> None:
    """A consumer of two brokers is on either of them; when that is gone, it is on the other."""
    with contextlib.ExitStack() as stack:
        brokers = [stack.enter_context(Proxy(tasks.broker.port, tasks.broker.host)) for _ in range(2)]
        example = start("blocking_several_hosts", *(broker.url for broker in brokers))
        assert example.line() == "consuming"
        (first,) = [broker for broker in brokers if broker.connections()]
        first.close()
        (lost,) = example.until("consuming")[:-1]
        assert lost.startswith("no connection: ") and f":{first.port}" in lost
        tasks.publish("taken over")
        assert example.line() == "got taken over"
        check_end(example, "blocking_several_hosts", tasks)


@pytest.mark.skipif(
    sys.implementation.name == "pypy" and sys.version_info < (3, 11),
    reason="before 3.11, Ctrl-C may come in the middle of asyncio's own work, which on PyPy is Python: tasks hang then",
)
def test_what_runs_on_asyncio_comes_to_its_end(tasks: Tasks, start: Start) -> None:
    """Nothing is lost, and nothing that was done is done again."""
    bodies = [str(number) for number in range(200)]
    tasks.publish(*bodies)
    example = start("aio_consumer", tasks.broker.url)
    before = example.until("got 20")[1:]
    example.interrupt(at_once=True)
    lines, errors = example.finish()
    assert errors == ""
    done = [line[len("got ") :] for line in before + lines]
    left = tasks.take_all()
    if sys.version_info < (3, 11):
        # Ctrl-C comes in the middle of what runs: the message in hand may be given back when it was just done.
        again = set(done) & set(left)
        assert len(again) <= 1
        left = [body for body in left if body not in again]
    assert sorted(done + left, key=int) == bodies


def test_twisted_publishes_before_it_consumes(tasks: Tasks, start_on_both: Start) -> None:
    example = start_on_both("twisted_consumer", tasks.broker.url, "one", "two")
    assert example.lines(3) == ["published one", "published two", "consuming"]
    assert sorted(example.lines(2)) == ["got one", "got two"]
    check_end(example, "twisted_consumer", tasks)


class TestWorkInThreads:
    def test_work_is_acknowledged_and_what_fails_is_tried_once_more(self, tasks: Tasks, start_on_both: Start) -> None:
        tasks.publish(*(str(number) for number in range(10)), "bad")
        example = start_on_both("threaded_acknowledgements", tasks.broker.url)
        assert example.line() == "consuming"
        expected = [
            *(f"done: {number}" for number in range(10)),
            "failed: bad: this is no task; trying again",
            "failed: bad: this is no task; dropped",
        ]
        assert sorted(example.lines(12)) == sorted(expected)
        example.interrupt()
        assert example.finish() == (["stopped"], "")
        assert tasks.take_all() == []

    def test_it_survives_its_queue(self, tasks: Tasks, start_on_both: Start) -> None:
        example = start_on_both("threaded_acknowledgements", tasks.broker.url)
        assert example.line() == "consuming"
        tasks.delete()
        assert example.line() == "consuming"
        tasks.publish("after")
        assert example.line() == "done: after"
        example.interrupt()
        assert example.finish() == (["stopped"], "")

    def test_it_finishes_what_it_has_in_hand(self, tasks: Tasks, start: Start) -> None:
        """Nothing is lost, and nothing that was done is done again."""
        bodies = [str(number) for number in range(40)]
        tasks.publish(*bodies)
        example = start("threaded_acknowledgements", tasks.broker.url)
        before = example.until("done: ")[1:]
        example.interrupt()
        lines, errors = example.finish()
        assert errors == ""
        done = [line[len("done: ") :] for line in before + lines if line != "stopped"]
        assert sorted(done + tasks.take_all(), key=int) == bodies

    def test_it_comes_back(self, tasks: Tasks, start_on_both: Start) -> None:
        """What it has in hand when the connection breaks comes again, and is acknowledged then."""
        bodies = [str(number) for number in range(20)]
        tasks.publish(*bodies)
        with Proxy(tasks.broker.port, tasks.broker.host) as proxy:
            example = start_on_both("threaded_acknowledgements", proxy.url)
            lines = example.until("done: ")
            proxy.cut()
            lines += example.until("consuming")
            assert [line for line in lines if line.startswith("no connection: ")]
            tasks.wait_for_consumers(1)
            while not {f"done: {body}" for body in bodies} <= set(lines):
                lines.append(example.line())
            example.interrupt()
            assert example.finish()[1] == ""
        assert tasks.take_all() == []
