"""pika's own event loop under pika's names: what programs, and those who choose a poller, see of it."""

from __future__ import annotations

import inspect
import os
import select
import socket
from collections.abc import Iterator

import pytest

from pika.adapters import select_connection
from pika.adapters.select_connection import (
    EPollPoller,
    IOLoop,
    KQueuePoller,
    PollEvents,
    PollPoller,
    SelectPoller,
)
from pika.adapters.utils import nbio_interface
from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop
from tests.support import programs
from tests.support.bounded import bounded
from tests.support.loops import NAMES, patient

CLASSES = {"epoll": EPollPoller, "kqueue": KQueuePoller, "poll": PollPoller, "select": SelectPoller}


@pytest.fixture
def loop() -> Iterator[IOLoop]:
    loop = IOLoop()
    yield loop
    loop.close()


def test_its_numbers() -> None:
    assert (IOLoop.READ, IOLoop.WRITE, IOLoop.ERROR) == (1, 4, 8)
    assert (PollEvents.READ, PollEvents.WRITE, PollEvents.ERROR, PollEvents.HANGUP) == (1, 4, 8, 16)
    assert (SelectPoller.POLL_TIMEOUT_MULT, KQueuePoller.POLL_TIMEOUT_MULT) == (1, 1)
    assert (PollPoller.POLL_TIMEOUT_MULT, EPollPoller.POLL_TIMEOUT_MULT) == (1000, 1)
    assert issubclass(EPollPoller, PollPoller)
    assert issubclass(IOLoop, AbstractSelectorIOLoop)


@pytest.mark.parametrize("name", NAMES)
def test_the_poller_that_is_chosen_waits(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(select_connection, "SELECT_TYPE", name)
    loop = IOLoop()
    ran: list[str] = []
    loop.call_later(0.01, lambda: (ran.append("timer"), loop.stop()))
    loop.start()
    assert CLASSES[name].__name__ in repr(loop)
    assert ran == ["timer"]
    loop.close()


@pytest.mark.parametrize("name", ["no such", "EPOLL", *(name for name in CLASSES if name not in NAMES)])
def test_a_poller_that_there_is_not_is_select(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(select_connection, "SELECT_TYPE", name)
    loop = IOLoop()
    assert "SelectPoller" in repr(loop)
    loop.close()


def test_the_best_poller_is_taken_when_none_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_connection.SELECT_TYPE is None
    for name in NAMES:
        loop = IOLoop()
        assert CLASSES[name].__name__ in repr(loop)
        loop.close()
        # As gevent does to those it cannot replace.
        if name != "select":
            monkeypatch.delattr(select, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_poller_by_itself(name: str) -> None:
    asked: list[float] = []
    waits = 0

    def seconds() -> float:
        asked.append(0.001)
        return 0.001

    def after() -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            poller.stop()

    poller = CLASSES[name](seconds, after)
    poller.start()
    assert (waits, len(asked)) == (3, 3)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        seen: list[int] = []
        poller.add_handler(ours.fileno(), lambda fd, events: seen.append(events), PollEvents.WRITE)
        poller.activate_poller()
        poller.poll()
        poller.update_handler(ours.fileno(), PollEvents.READ)
        poller.poll()
        poller.remove_handler(ours.fileno())
        poller.deactivate_poller()
    assert seen == [PollEvents.WRITE]
    poller.close()


def test_waking_a_poller_that_does_not_wait_yet_ends_its_next_wait() -> None:
    poller = patient(NAMES[0])(lambda: None, lambda: None)
    poller.wake_threadsafe()
    bounded(poller.poll)
    poller.close()


def test_a_wait_ends_after_five_seconds(loop: IOLoop) -> None:
    """For programs that poll by hand and look at something else in between."""
    bounded(loop.poll)


def test_a_loop_need_not_have_everything() -> None:
    class Partly(AbstractSelectorIOLoop):
        READ = 1

    partly = Partly()
    assert partly.READ == 1
    for name, member in inspect.getmembers(AbstractSelectorIOLoop):
        if not name.startswith("_") and name != "READ":
            arguments = () if isinstance(member, property) else [None] * (len(inspect.signature(member).parameters) - 1)
            with pytest.raises(NotImplementedError):
                getattr(partly, name)(*arguments)


def test_the_interfaces_must_be_implemented() -> None:
    interfaces = [
        it for _, it in inspect.getmembers(nbio_interface, inspect.isclass) if it.__module__.startswith("pika")
    ]
    assert len(interfaces) == 6
    for interface in interfaces:
        with pytest.raises(TypeError, match="abstract"):
            interface()


def test_importing_it_is_cheap() -> None:
    status, out, err = programs.run(
        """
        import sys
        import pika.adapters.select_connection
        print(sorted({"asyncio", "ssl", "concurrent.futures", "tornado"} & set(sys.modules)))
        """
    )
    assert (status, out, err) == (0, "[]\n", "")


FORK = """
import os, select, socket, sys, threading, time
import pika.adapters.select_connection as select_connection
from pika.adapters.select_connection import IOLoop

select_connection.SELECT_TYPE = sys.argv[1]
loop = IOLoop()
ours, theirs = socket.socketpair()
ours.setblocking(False)
mine, yours = socket.socketpair()
parent = os.getpid()
got = []

def say(*words):
    print("child" if os.getpid() != parent else "parent", *words, flush=True)

def handle(fd, events):
    got.append(ours.recv(20))
    loop.stop()

loop.add_handler(ours.fileno(), handle, loop.READ)

def in_child():
    # Nothing of the parent's is served here, and taking it back does not reach into the parent's poller.
    theirs.send(b"for the parent")
    loop.call_later(0.1, loop.stop)
    loop.start()
    say("got", got)
    try:
        loop.remove_handler(ours.fileno())
    except KeyError:
        say("has no handlers")
    loop.add_handler(mine.fileno(), lambda fd, events: (say("reads", mine.recv(10)), loop.stop()), loop.READ)
    yours.send(b"own")
    loop.start()
    threading.Timer(0.05, lambda: loop.add_callback_threadsafe(loop.stop)).start()
    loop.start()
    loop.close()

def in_parent(pid):
    assert os.waitpid(pid, 0)[1] == 0
    loop.start()
    say("got", got)
    threading.Timer(0.05, lambda: loop.add_callback_threadsafe(loop.stop)).start()
    loop.start()
    loop.close()
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
WHOLE = ["child got []", "child has no handlers", "child reads b'own'", "parent got [b'for the parent']"]


@needs_fork
@pytest.mark.parametrize("name", NAMES)
def test_a_fork_between_starts(name: str) -> None:
    source = FORK + ("pid = os.fork()\nif pid == 0:\n    in_child()\n    sys.exit(0)\nin_parent(pid)\n")
    status, out, err = programs.run(source, name)
    assert (status, out.splitlines(), err) == (0, WHOLE, "")


@needs_fork
@pytest.mark.parametrize("name", NAMES)
def test_a_fork_in_a_callback(name: str) -> None:
    source = FORK + (
        "def fork():\n"
        "    global pid\n"
        "    pid = os.fork()\n"
        "    loop.stop()\n"
        "loop.add_callback(fork)\n"
        "loop.start()\n"
        "if pid == 0:\n"
        "    in_child()\n"
        "    sys.exit(0)\n"
        "in_parent(pid)\n"
    )
    status, out, err = programs.run(source, name)
    assert (status, out.splitlines(), err) == (0, WHOLE, "")


@needs_fork
@pytest.mark.parametrize("name", NAMES)
def test_a_fork_by_another_thread_while_the_loop_runs(name: str) -> None:
    """The loop's thread stays in the parent; the child is not kept out by it."""
    source = FORK + (
        # That threads run while forking is what is tested here.
        "import warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "inside = threading.Event()\n"
        "loop.add_callback(inside.set)\n"
        "running = threading.Thread(target=loop.start)\n"
        "running.start()\n"
        "inside.wait()\n"
        # It runs; now let it fall asleep.
        "time.sleep(0.1)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    loop.call_later(0.01, loop.stop)\n"
        "    loop.start()\n"
        "    say('has run')\n"
        "    loop.close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "theirs.send(b'x')\n"
        "running.join()\n"
        "say('got', got)\n"
        "loop.close()\n"
    )
    status, out, err = programs.run(source, name)
    assert (status, out.splitlines(), err) == (0, ["child has run", "parent got [b'x']"], "")


@needs_fork
def test_timers_and_callbacks_are_in_both_processes() -> None:
    """As in pika: a program may prepare a loop, and have each of its workers run it."""
    source = FORK + (
        "loop.add_callback(lambda: say('callback'))\n"
        "loop.call_later(0.01, lambda: say('timer'))\n"
        "loop.call_later(0.02, loop.stop)\n"
        "pid = os.fork()\n"
        "if pid:\n"
        "    os.waitpid(pid, 0)\n"
        "loop.start()\n"
        "loop.close()\n"
    )
    status, out, err = programs.run(source, NAMES[0])
    assert (status, err) == (0, "")
    assert out.splitlines() == ["child callback", "child timer", "parent callback", "parent timer"]


def test_a_program_that_never_closes_its_loops_ends_in_silence() -> None:
    status, out, err = programs.run(
        """
        import threading, warnings
        warnings.simplefilter("error")
        from pika.adapters.select_connection import IOLoop
        loop = IOLoop()
        loop.call_later(0.01, loop.stop)
        loop.start()
        IOLoop()
        threading.Thread(target=IOLoop().start, daemon=True).start()
        print("done")
        """
    )
    assert (status, out, err) == (0, "done\n", "")
