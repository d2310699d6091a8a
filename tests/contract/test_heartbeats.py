"""Heartbeats, as they are negotiated."""

from __future__ import annotations

from typing import Callable

import pytest

from pika import frame, spec
from tests.contract.wire import Hangup, RawFrame, Wire

HEARTBEAT = RawFrame(spec.FRAME_HEARTBEAT, 0, b"")


def test_the_broker_sends_heartbeats_while_it_has_nothing_else_to_send(new_wire: Callable[[], Wire]) -> None:
    wire = new_wire().connect(heartbeat=1)
    for _ in range(2):
        assert wire.next_frame() == HEARTBEAT
        wire.send_bytes(frame.HEARTBEAT_FRAME)


def test_the_broker_hangs_up_on_a_silent_client_alone(new_wire: Callable[[], Wire]) -> None:
    wire = new_wire().connect(heartbeat=1)
    silent = new_wire().connect(heartbeat=1)
    with pytest.raises(Hangup):
        while True:
            assert silent.next_frame() == HEARTBEAT
            assert wire.next_frame() == HEARTBEAT
            wire.send_bytes(frame.HEARTBEAT_FRAME)
    wire.open_channel()


def test_heartbeat_from_a_client_that_negotiated_none(wire: Wire) -> None:
    wire.send_bytes(frame.HEARTBEAT_FRAME)
    wire.open_channel(2)


def test_heartbeat_on_a_channel(wire: Wire) -> None:
    wire.send_frame(spec.FRAME_HEARTBEAT, 1, b"")
    wire.expect_closed(505, "UNEXPECTED_FRAME - type 8, all octets = <<>>")


def test_heartbeat_with_a_payload(wire: Wire) -> None:
    wire.send_frame(spec.FRAME_HEARTBEAT, 0, b"abc")
    wire.expect_closed(501, 'FRAME_ERROR - type 8, all octets = <<"abc">>: unknown_frame')
