"""Timers, callbacks from other threads, starting and stopping: the loop of SelectConnection."""

from __future__ import annotations

import threading
from typing import Any

from ..env import Env
from ..loops import ALL, Loop, LoopScenarios

scenarios = LoopScenarios(ALL)


@scenarios(kinds=["select", "gevent"])
def timers_keep_their_order(env: Env, loop: Loop) -> None:
    for delay in (0.06, 0.02, 0.04, 0, 0.02):
        loop.later(delay, env.callback(f"after {delay}"))
    loop.wait(0.15)


@scenarios(kinds=["select"])
def timers_with_wrong_arguments(env: Env, loop: Loop) -> None:
    env.do("negative", loop.native.call_later, -1, env.callback("never"))
    env.do("a text", loop.native.call_later, "soon", env.callback("never"))
    env.do("None", loop.native.call_later, None, env.callback("never"))
    env.do("a callback that is none", loop.native.call_later, 0, None)
    env.do("remove None", loop.native.remove_timeout, None)
    env.do("remove a text", loop.native.remove_timeout, "timer")
    env.do("add_callback of None", loop.native.add_callback, None)
    env.do("add_callback_threadsafe of None", loop.native.add_callback_threadsafe, None)
    loop.wait(0.05)


@scenarios(kinds=["select", "gevent"])
def timers_removed(env: Env, loop: Loop) -> None:
    timer = loop.later(0.02, env.callback("never"))
    env.do("remove", loop.native.remove_timeout, timer)
    env.do("remove again", loop.native.remove_timeout, timer)
    done = loop.later(0, env.callback("done"))
    loop.wait(0.1)
    env.do("remove what is done", loop.native.remove_timeout, done)


@scenarios(kinds=["select", "gevent"])
def timers_removed_inside_timers(env: Env, loop: Loop) -> None:
    timers: dict[str, Any] = {}

    def remove(name: str) -> Any:
        return lambda: env.do(f"remove {name}", loop.native.remove_timeout, timers[name])

    timers["first"] = loop.later(0, env.callback("first", remove("second")))
    timers["second"] = loop.later(0, env.callback("second"))
    timers["third"] = loop.later(0.02, env.callback("third", remove("third")))
    loop.wait(0.1)


@scenarios(kinds=["select", "gevent"])
def timers_that_add_timers(env: Env, loop: Loop) -> None:
    loop.later(0, env.callback("outer", lambda: loop.later(0, env.callback("inner"))))
    loop.later(0, env.callback("beside"))
    loop.until("inner")


@scenarios(kinds=["select"])
def timers_and_callbacks(env: Env, loop: Loop) -> None:
    def first() -> None:
        loop.native.add_callback(env.callback("callback of a callback"))

    loop.native.add_callback(env.callback("callback", first))
    loop.native.add_callback(env.callback("second callback"))
    loop.native.add_callback_threadsafe(env.callback("threadsafe callback"))
    loop.until("callback of a callback")


@scenarios()
def threads_that_add_callbacks(env: Env, loop: Loop) -> None:
    owner = threading.current_thread()

    def add() -> None:
        for number in range(3):
            loop.threadsafe(env.callback(f"callback {number}", where))

    def where() -> None:
        env.note("in the loop's thread", threading.current_thread() is owner)

    env.later(0.1, add)
    loop.until("callback 2")


@scenarios()
def threads_that_publish(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine", auto_ack=True)
    env.later(0.1, loop.threadsafe, lambda: env.do("publish", channel.basic_publish, "", queue, b"x"))
    loop.until("message")


@scenarios()
def threads_that_stop_the_loop(env: Env, loop: Loop) -> None:
    loop.connect()
    env.later(0.1, loop.threadsafe, env.callback("stop", loop.stop))
    env.do("start", loop.start)
    loop.later(0, env.callback("stop again", loop.stop))
    env.do("start again", loop.start)


@scenarios(kinds=["select", "gevent"])
def loops_that_are_stopped_before_they_start(env: Env, loop: Loop) -> None:
    env.do("stop", loop.stop)
    loop.later(0.02, env.callback("timer", loop.stop))
    env.do("start", loop.start)
    env.note("called", env.called("timer"))


@scenarios()
def loops_that_are_started_inside_a_callback(env: Env, loop: Loop) -> None:
    def inside() -> None:
        loop.later(0.02, env.callback("inner timer", loop.stop))
        env.do("start inside", loop.start)

    loop.later(0, env.callback("outer timer", inside))
    loop.later(0.1, env.callback("last timer", loop.stop))
    env.do("start", loop.start)
    env.note("last", env.called("last timer"))


@scenarios(kinds=["select", "asyncio", "tornado"])
def loops_that_are_stopped_twice(env: Env, loop: Loop) -> None:
    def stop() -> None:
        env.do("stop", loop.stop)
        env.do("stop again", loop.stop)

    loop.later(0, env.callback("timer", stop))
    env.do("start", loop.start)
    loop.later(0, env.callback("second timer", loop.stop))
    env.do("start again", loop.start)


@scenarios()
def loops_that_are_stopped_with_a_connection(env: Env, loop: Loop) -> None:
    connection = loop.make(on_close_callback=env.callback("closed", lambda *_: loop.stop()))
    loop.later(0.3, lambda: env.do("close", connection.close))
    env.do("start", loop.start)
    loop.states("then", connection)
