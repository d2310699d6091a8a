"""What importing the library loads: a program pays for what it uses."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOOPS = {"asyncio", "gevent", "tornado", "trio", "twisted", "uvloop"}
CALLBACK_API = {"pika.channel", "pika.connection.connection", "pika.connection.callbacks", "pika.adapters"}
PIKAS_LOOP = {"pika.transport.loop", "pika.transport.pollers", "pika.adapters.select_connection"}
TLS = {"ssl", "_ssl"}
# Not `selectors`: the `platform` of Python 3.9 loads it.
NETWORK = {"socket", "_socket"}


def loaded_by(code: str) -> set[str]:
    """The names of the modules that an interpreter has loaded when it has run some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import pika", LOOPS | PIKAS_LOOP | TLS | NETWORK | {"pika.adapters", "pika.broker", "pika.spec"}),
        ("import pika.adapters", LOOPS | PIKAS_LOOP | TLS | NETWORK),
        ("from pika import ConnectionParameters, URLParameters, PlainCredentials", LOOPS | PIKAS_LOOP | TLS | NETWORK),
        ("import pika; pika.URLParameters('amqp://localhost')", LOOPS | PIKAS_LOOP | TLS | NETWORK | CALLBACK_API),
        ("import pika; pika.connect", LOOPS | PIKAS_LOOP | TLS | CALLBACK_API | {"concurrent.futures"}),
        ("import pika.connection; pika.connection.PRODUCT", LOOPS | PIKAS_LOOP | TLS | NETWORK | CALLBACK_API),
        ("from pika import BlockingConnection", LOOPS | PIKAS_LOOP | TLS | {"pika.adapters.base_connection"}),
        ("import pika.adapters.blocking_connection", LOOPS | PIKAS_LOOP | TLS | {"pika.adapters.base_connection"}),
        ("from pika import SelectConnection", LOOPS | TLS | {"pika.adapters.blocking_connection"}),
        ("import pika.adapters.select_connection", LOOPS | TLS | {"pika.adapters.blocking_connection"}),
        ("import pika.adapters.base_connection", LOOPS | PIKAS_LOOP | TLS),
        (
            "import pika.adapters.asyncio_connection",
            (LOOPS - {"asyncio"}) | PIKAS_LOOP | {"pika.adapters.blocking_connection"},
        ),
        (
            "import pika.adapters.asyncio_connection, pika; dir(pika.adapters), vars(pika), vars(pika.adapters)",
            LOOPS - {"asyncio"},
        ),
        ("import pika; pika.connect, pika.Connection", LOOPS | PIKAS_LOOP | TLS | {"pika.adapters", "pika.client.aio"}),
        ("import pika.aio", (LOOPS - {"asyncio"}) | PIKAS_LOOP | {"pika.adapters", "pika.client.threaded"}),
        ("import pika.protocol", LOOPS | PIKAS_LOOP | TLS | NETWORK | {"pika.transport", "pika.adapters"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(code: str, unwanted: set[str]) -> None:
    # What the interpreter loads by itself, through a .pth file for one, is nobody's fault here.
    assert loaded_by(code) & unwanted - loaded_by("") == set()


def test_importing_asyncios_adapter_touches_no_loop() -> None:
    """Loops and their policy are the program's."""
    loaded_by(
        "import asyncio\n"
        "class Policy(asyncio.DefaultEventLoopPolicy):\n"
        "    def new_event_loop(self):\n"
        "        raise AssertionError('a loop is asked for')\n"
        "    get_event_loop = set_event_loop = new_event_loop\n"
        "policy = Policy()\n"
        "asyncio.set_event_loop_policy(policy)\n"
        "import pika.adapters.asyncio_connection\n"
        "assert asyncio.get_event_loop_policy() is policy\n"
    )
