"""Ports of the loopback that are this process's alone: several run tests on one machine at the same time."""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
from typing import IO

if sys.platform != "win32":
    import fcntl

LOOPBACK = "127.0.0.1"

# Kernels hand out ephemeral ports from 32768 (Linux) or 49152 up: a port from below is never taken by an outgoing
# connection, or by a listener on any port, while nobody listens on it.
_PORTS = range(20000, 30000)
_taken: set[int] = set()
_locks: list[IO[bytes]] = []


def free_ports(count: int) -> list[int]:
    """Return so many different ports on which nobody listens; until this process ends nobody else gets them from here.

    :raises RuntimeError: when there are not so many
    """
    found: list[int] = []
    # Not the seeded generator of the tests: two runs must not try the same ports in the same order.
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        if port not in _taken and _lock(port) and _is_free(port):
            found.append(port)
            _taken.add(port)
    if len(found) < count:
        raise RuntimeError(f"no free ports from {_PORTS.start} to {_PORTS.stop - 1}")
    return found


def _lock(port: int) -> bool:
    """Lock the octet of the machine's file of ports that stands for one; the end of the process unlocks it."""
    if sys.platform == "win32":
        return True
    if not _locks:
        # Open for good: to close any descriptor of the file would unlock everything.
        path = os.path.join(tempfile.gettempdir(), f"pika-tests-ports-{os.getuid()}")
        _locks.append(open(path, "ab"))  # noqa: SIM115  # see above
    try:
        fcntl.lockf(_locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
