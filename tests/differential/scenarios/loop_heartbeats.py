"""Heartbeats on an event loop. pika 1.4.4 takes twelve seconds to miss those of an interval of one second."""

from __future__ import annotations

from ..env import Env
from ..loops import ALL, Loop, LoopScenarios

scenarios = LoopScenarios(ALL)


@scenarios("end in the log", limit=100)
def heartbeats_that_are_missing(env: Env, loop: Loop) -> None:
    proxy = env.proxy()
    connection = loop.connect(env.parameters(host="127.0.0.1", port=proxy.port, heartbeat=1))
    channel = loop.channel(connection)
    proxy.freeze()
    loop.run(lambda: env.called("closed"))
    loop.states("then", connection, channel)


@scenarios()
def heartbeats_that_keep_a_connection(env: Env, loop: Loop) -> None:
    connection = loop.connect(env.parameters(heartbeat=1))
    loop.wait(2.5)
    loop.states("then", connection)
    loop.channel(connection)
