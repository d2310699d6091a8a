"""The example that drives the protocol over a bare socket."""

from __future__ import annotations

from tests.examples.conftest import Start
from tests.support.rabbitmq import Broker


def test_the_protocol_without_io(rabbitmq: Broker, start: Start) -> None:
    lines, errors = start("sans_io", rabbitmq.url).finish()
    assert lines[:2] == ["Outcome.ACKED", "b'bytes in, events out'"]
    assert lines[2].startswith("(200, 'Normal shutdown')")
    assert errors == ""


def test_the_protocol_without_io_says_why_it_ends(rabbitmq: Broker, start: Start) -> None:
    lines, errors = start("sans_io", rabbitmq.url.replace("guest:guest", "guest:wrong")).finish(status=1)
    assert lines == []
    assert "ProbableAuthenticationError" in errors.splitlines()[-1]
