"""Brokers that are short of memory."""

from __future__ import annotations

from typing import Any

from ..env import Env, Scenarios

scenarios = Scenarios()


def publish_until_blocked(env: Env, channel: Any, records: int) -> None:
    """Publish until so many things are recorded: the broker blocks a connection that publishes after the alarm."""
    for _ in range(200):
        if len(env.records) >= records:
            return
        channel.basic_publish("", env.name(), b"x")
        channel.connection.process_data_events(0.05)


@scenarios(node=True, limit=150)
def alarm_of_memory(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    queue = env.queue(channel)
    connection.add_on_connection_blocked_callback(env.callback("blocked"))
    connection.add_on_connection_blocked_callback(env.callback("blocked, second callback"))
    connection.add_on_connection_unblocked_callback(env.callback("unblocked"))
    env.ask("ctl", "set_vm_memory_high_watermark", "0.0001")
    publish_until_blocked(env, channel, 2)
    env.states("blocked", channel, connection)
    env.ask("ctl", "set_vm_memory_high_watermark", "0.9")
    env.pump(connection, lambda: len(env.records) >= 4)
    env.do("publish", channel.basic_publish, "", queue, b"x")
    env.do("close", connection.close)


@scenarios(node=True, limit=150)
def alarm_that_takes_too_long(env: Env) -> None:
    connection = env.connect(blocked_connection_timeout=0.5)
    channel = connection.channel()
    queue = env.queue(channel)
    connection.add_on_connection_blocked_callback(env.callback("blocked"))
    env.ask("ctl", "set_vm_memory_high_watermark", "0.0001")
    try:
        publish_until_blocked(env, channel, 1)
        env.until_dead("wait", connection)
        env.states("both", channel, connection)
        env.do("publish", channel.basic_publish, "", queue, b"x")
        env.do("close", connection.close)
    finally:
        env.ask("ctl", "set_vm_memory_high_watermark", "0.9")


@scenarios()
def blocked_and_unblocked(env: Env) -> None:
    peer = env.peer("blocks")
    connection = peer.connect(blocked_connection_timeout=5)
    connection.add_on_connection_blocked_callback(env.callback("blocked", lambda *_: peer.go()))
    connection.add_on_connection_unblocked_callback(env.callback("unblocked"))
    connection.channel()
    env.pump(connection, lambda: len(env.records) >= 2)
    env.states("connection", connection)


@scenarios()
def blocked_for_too_long(env: Env) -> None:
    connection = env.peer("blocks").connect(blocked_connection_timeout=0.3)
    connection.add_on_connection_blocked_callback(env.callback("blocked"))
    connection.channel()
    env.until_dead("wait", connection)
    env.states("connection", connection)
    env.do("wait again", connection.process_data_events)
    env.do("channel", connection.channel)


@scenarios()
def blocked_for_too_long_in_an_operation(env: Env) -> None:
    connection = env.peer("blocks").connect(blocked_connection_timeout=0.3)
    channel = connection.channel()
    env.do("declare", channel.queue_declare, "queue")
    env.states("connection", connection)


@scenarios()
def blocked_with_a_timeout_of_zero(env: Env) -> None:
    peer = env.peer("blocks")
    connection = peer.connect(blocked_connection_timeout=0)
    connection.add_on_connection_blocked_callback(env.callback("blocked"))
    connection.channel()
    env.do("wait", env.pump, connection, lambda: False, 0.5)
    env.states("connection", connection)


@scenarios()
def blocked_callbacks_that_raise(env: Env) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("from a blocked callback")

    peer = env.peer("blocks")
    connection = peer.connect()
    connection.add_on_connection_blocked_callback(env.callback("blocked", fail))
    connection.add_on_connection_blocked_callback(env.callback("behind it"))
    connection.add_on_connection_unblocked_callback(env.callback("unblocked", fail))
    connection.channel()
    env.do("wait", env.pump, connection, lambda: False, 0.5)
    env.states("connection", connection)
    peer.go()
    env.do("wait", env.pump, connection, lambda: False, 0.5)
    env.do("wait", env.pump, connection, lambda: False, 0.2)
    env.states("connection", connection)


@scenarios()
def blocked_callbacks_that_are_none(env: Env) -> None:
    connection = env.connect()
    env.do("None", connection.add_on_connection_blocked_callback, None)
    env.do("a text", connection.add_on_connection_unblocked_callback, "callback")
    channel = connection.channel()
    env.do("cancel None", channel.add_on_cancel_callback, None)
    env.do("return None", channel.add_on_return_callback, None)


@scenarios()
def blocked_callbacks_wait_for_their_turn(env: Env) -> None:
    peer = env.peer("blocks")
    connection = peer.connect()
    connection.add_on_connection_blocked_callback(env.callback("blocked"))
    connection.channel()
    connection.call_later(0.1, env.callback("timer"))
    env.do("sleep", connection.sleep, 0.3)
    env.states("connection", connection)
    peer.go()
