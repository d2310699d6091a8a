"""Back-pressure: who is told, and in which order."""

from __future__ import annotations

from pika.adapters.utils.outflow import Outflow


def test_a_listener_that_publishes_when_output_goes_on_leaves_nobody_with_old_news() -> None:
    told: list[str] = []
    waiting = 0
    outflow: Outflow[str] = Outflow("connection", lambda callback: None)

    def publish(count: int) -> None:
        nonlocal waiting
        waiting += count
        outflow.look(waiting, 10, 5)

    def first_resumed(_: str) -> None:
        told.append("first resumed")
        publish(20)

    outflow.add(outflow.on_paused, lambda _: told.append("first paused"))
    outflow.add(outflow.on_resumed, first_resumed)
    outflow.add(outflow.on_paused, lambda _: told.append("second paused"))
    outflow.add(outflow.on_resumed, lambda _: told.append("second resumed"))
    publish(20)
    waiting = 0
    outflow.look(waiting, 10, 5)
    assert told == ["first paused", "second paused", "first resumed", "first paused", "second paused"]
    assert outflow.paused
