"""dramatiq: its workers, in processes of their own, do all that is enqueued, also when they or connections end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from common import PATIENCE, proxy_to, wait_until

FOLDER = tempfile.TemporaryDirectory()
LOG = Path(FOLDER.name) / "log"
# Its workers wait in threads, or in greenlets on a library that is patched.
COMMANDS = {
    "threads": [sys.executable, "-m", "dramatiq"],
    "greenlets": [str(Path(sys.executable).parent / "dramatiq-gevent")],
}


def check(url: str) -> str:
    """Have dramatiq work, and see what its actors wrote."""
    os.environ.update(ACTORS_LOG=str(LOG), ACTORS_URL=url)
    import dramatiq_actors as actors  # its broker connects to ACTORS_URL

    for kind in COMMANDS:
        LOG.write_text("")
        with worker(kind, url):
            for number in range(20):
                actors.count.send(number)
            wait_until(lambda: noted("count") == as_words(range(20)), "20 messages")
            retry(actors)
            delay(actors)
        restart(actors, kind, url)
        end_of_connections(actors, kind, url)
        assert actors.broker.get_queue_message_counts(actors.QUEUE)[:2] == (0, 0)
    actors.broker.close()
    return f"enqueue, retry, delay, stop, kill, restart, lost connections, in {' and '.join(COMMANDS)}"


def retry(actors: Any) -> None:
    dead = actors.broker.get_queue_message_counts(actors.QUEUE)[2]
    actors.fail_twice.send("a")
    actors.fail_always.send("b")
    wait_until(lambda: "a" in noted("success"), "the third attempt")
    assert lines().count("attempt a") == 3
    wait_until(lambda: actors.broker.get_queue_message_counts(actors.QUEUE)[2] == dead + 1, "a dead letter")
    assert lines().count("attempt b") == 2


def delay(actors: Any) -> None:
    actors.tell_time.send_with_options(args=(time.time(),), delay=1000)
    wait_until(lambda: noted("late"), "the delayed message")
    (late,) = noted("late")
    assert float(late) >= 1


def restart(actors: Any, kind: str, url: str) -> None:
    """Stop a worker in the middle, then kill one: the next one does the rest."""
    for number in range(40):
        actors.take_time.send(number)
    with worker(kind, url):
        wait_until(lambda: len(noted("end")) >= 4, "the first messages")
    # What was begun was ended, once; the rest is in the queue.
    ends = [line for line in lines() if line.startswith("end ")]
    assert noted("begin") == noted("end") and len(ends) == len(set(ends))
    done = len(noted("end"))
    assert done < 40
    with worker(kind, url, expected_status=-signal.SIGKILL) as process:
        wait_until(lambda: len(noted("end")) >= done + 4, "more messages")
        os.killpg(process.pid, signal.SIGKILL)
    assert len(noted("end")) < 40
    with worker(kind, url):
        wait_until(lambda: noted("end") == as_words(range(40)), "the rest")


def end_of_connections(actors: Any, kind: str, url: str) -> None:
    """Cut the worker's connections: it makes new ones, and does what was in its hands again."""
    proxy, through = proxy_to(url)
    with proxy, worker(kind, through):
        for number in range(100, 140):
            actors.take_time.send(number)
        wait_until(lambda: noted("end") >= as_words(range(100, 104)), "the first messages")
        proxy.reset()
        wait_until(lambda: noted("end") >= as_words(range(100, 140)), "those behind the end of the connections")


@contextlib.contextmanager
def worker(kind: str, url: str, expected_status: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker run; at the end it is asked to stop, finishes what it has begun, and its status is seen."""
    process = subprocess.Popen(
        [*COMMANDS[kind], "dramatiq_actors", "--processes", "1", "--threads", "4"],
        cwd=Path(__file__).parent,
        env={**os.environ, "ACTORS_URL": url},
        start_new_session=True,
    )
    try:
        yield process
        process.terminate()
        status = process.wait(PATIENCE)
        assert status == expected_status, f"the worker ended with {status}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def lines() -> list[str]:
    return LOG.read_text(encoding="utf-8").splitlines()


def noted(word: str) -> set[str]:
    """Return what was written behind a word."""
    return {line.partition(" ")[2] for line in lines() if line.startswith(f"{word} ")}


def as_words(numbers: Iterable[int]) -> set[str]:
    return set(map(str, numbers))


if __name__ == "__main__":
    print(check(sys.argv[1]))
