"""A loop on every poller that this system has, by the real clock and by one of the test's, and sockets to watch."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pika.transport.loop import Loop
from tests.support.loops import NAMES, Clock, Pairs, patient


@pytest.fixture(params=NAMES)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    """A loop that never wakes without a reason."""
    loop = Loop(patient(request.param))
    yield loop
    loop.close()


@pytest.fixture
def clock() -> Clock:
    """The clock of `clocked`."""
    return Clock()


@pytest.fixture(params=NAMES)
def clocked(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Loop]:
    """A loop whose time is the test's."""
    loop = Loop(patient(request.param), clock)
    yield loop
    loop.close()


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """Three pairs of connected sockets that do not block."""
    made = [socket.socketpair() for _ in range(3)]
    for pair in made:
        for sock in pair:
            sock.setblocking(False)
    yield made
    for pair in made:
        for sock in pair:
            sock.close()
