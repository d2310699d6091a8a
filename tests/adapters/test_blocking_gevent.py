"""BlockingConnection under gevent's monkey patching, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rabbitmq import Broker

PROGRAM = Path(__file__).parent / "programs" / "gevent_program.py"


@pytest.mark.slow
def test_connections_in_greenlets(rabbitmq: Broker) -> None:
    pytest.importorskip("gevent", reason="gevent has no build for this interpreter")
    done = subprocess.run(
        [sys.executable, "-W", "error:::pika", str(PROGRAM), rabbitmq.url],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "messages [200, 200, 200, 200, 200, 200]",
        "handed over [0, 1, 2, 'refused']",
        "alive True True",
    ]
    assert done.returncode == 0
