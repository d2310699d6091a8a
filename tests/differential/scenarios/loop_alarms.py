"""Brokers that are short of memory, and secrets, on an event loop."""

from __future__ import annotations

from typing import Any

from ..env import Env
from ..loops import Loop, LoopScenarios

scenarios = LoopScenarios()


def listen(env: Env, connection: Any) -> None:
    """Record that a connection is blocked, and that it is not any more."""
    connection.add_on_connection_blocked_callback(env.callback("blocked"))
    connection.add_on_connection_blocked_callback(env.callback("blocked, second callback"))
    connection.add_on_connection_unblocked_callback(env.callback("unblocked"))


def publish_until_blocked(env: Env, loop: Loop, channel: Any) -> None:
    """Publish until it is told: the broker blocks a connection that publishes after the alarm."""
    for _ in range(200):
        if env.called("blocked, second callback"):
            return
        channel.basic_publish("", env.name(), b"x")
        loop.wait(0.05)


@scenarios(node=True, limit=150)
def alarm_of_memory(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    listen(env, channel.connection)
    env.ask("ctl", "set_vm_memory_high_watermark", "0.0001")
    publish_until_blocked(env, loop, channel)
    loop.states("blocked", channel, channel.connection)
    env.ask("ctl", "set_vm_memory_high_watermark", "0.9")
    loop.until("unblocked")


@scenarios("end in the log", node=True, limit=150, kinds=["select"])
def alarm_that_takes_too_long(env: Env, loop: Loop) -> None:
    channel = loop.channel(loop.connect(env.parameters(blocked_connection_timeout=0.5)))
    listen(env, channel.connection)
    env.ask("ctl", "set_vm_memory_high_watermark", "0.0001")
    try:
        publish_until_blocked(env, loop, channel)
        loop.until("closed")
        loop.states("then", channel, channel.connection)
    finally:
        env.ask("ctl", "set_vm_memory_high_watermark", "0.9")


@scenarios()
def blocked_and_unblocked(env: Env, loop: Loop) -> None:
    peer = env.peer("blocks")
    connection = loop.connect(peer.parameters(blocked_connection_timeout=5))
    listen(env, connection)
    connection.channel(on_open_callback=env.callback("channel open"))
    loop.until("blocked, second callback")
    loop.states("blocked", connection)
    peer.go()
    loop.until("unblocked")
    loop.states("unblocked", connection)


@scenarios("end in the log")
def blocked_for_too_long(env: Env, loop: Loop) -> None:
    connection = loop.connect(env.peer("blocks").parameters(blocked_connection_timeout=0.3))
    listen(env, connection)
    loop.channel(connection)
    loop.until("closed")
    loop.states("then", connection)


@scenarios()
def blocked_and_closed(env: Env, loop: Loop) -> None:
    peer = env.peer("blocks")
    connection = loop.connect(peer.parameters(blocked_connection_timeout=0.3))

    def close(*_: Any) -> None:
        env.do("close", connection.close)
        peer.go()

    connection.add_on_connection_blocked_callback(env.callback("blocked", close))
    channel = connection.channel(on_open_callback=env.callback("channel open"))
    channel.add_on_close_callback(env.callback("channel closed"))
    loop.until("closed")


@scenarios()
def secrets_that_are_updated(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    env.do("a callback that is none", connection.update_secret, "secret", "because", "callback")
    env.do("a secret that is none", connection.update_secret, None, "because")
    loop.states("then", connection)
    connection.close()
    loop.until("closed")
    env.do("closed", connection.update_secret, "secret", "because")
