"""Heartbeats. pika 1.4.4 takes twelve seconds to miss those of an interval of one second."""

from __future__ import annotations

from ..env import Env, Scenarios
from .deaths import aftermath

scenarios = Scenarios()


@scenarios()
def lost_heartbeats(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect(heartbeat=1).channel()
    proxy.freeze()
    env.do("wait", channel.connection.sleep, 15)
    aftermath(env, channel)


@scenarios()
def lost_heartbeats_in_start_consuming(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect(heartbeat=1).channel()
    channel.basic_consume(env.queue(channel), env.callback("message"))
    proxy.freeze(["to_client"])
    env.do("start", channel.start_consuming)
    env.states("both", channel, channel.connection)


@scenarios()
def heartbeats_that_keep_a_connection(env: Env) -> None:
    connection = env.connect(heartbeat=1)
    env.do("sleep", connection.sleep, 2.5)
    env.states("connection", connection)
    env.do("channel", connection.channel)
