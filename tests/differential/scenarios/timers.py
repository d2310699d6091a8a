"""Timers, callbacks from other threads, and the waits that run them."""

from __future__ import annotations

import threading
from typing import Any

from ..env import Env, Scenarios

scenarios = Scenarios()


@scenarios()
def timers_run_in_the_order_of_their_times(env: Env) -> None:
    connection = env.connect()
    for delay in (0.15, 0.05, 0.1, 0.05):
        connection.call_later(delay, env.callback(f"timer {delay}"))
    env.do("sleep", connection.sleep, 0.4)


@scenarios()
def timers_without_a_delay(env: Env) -> None:
    connection = env.connect()
    connection.call_later(0, env.callback("first"))
    connection.call_later(0, env.callback("second"))
    env.note("nothing is called by call_later", len(env.records))
    env.do("process_data_events", connection.process_data_events)
    env.do("again", connection.process_data_events)


@scenarios()
def timers_with_wrong_arguments(env: Env) -> None:
    connection = env.connect()
    env.do("negative", connection.call_later, -1, env.callback("never"))
    env.do("no number", connection.call_later, "soon", env.callback("never"))
    env.do("None", connection.call_later, None, env.callback("never"))
    env.do("no callable", connection.call_later, 0, "callback")
    env.do("no callback", connection.call_later, 0, None)


@scenarios()
def timers_removed(env: Env) -> None:
    connection = env.connect()
    timer = connection.call_later(0.05, env.callback("removed"))
    env.do("remove", connection.remove_timeout, timer)
    env.do("remove it again", connection.remove_timeout, timer)
    done = connection.call_later(0, env.callback("done"))
    connection.sleep(0.15)
    env.do("remove what is done", connection.remove_timeout, done)


@scenarios()
def timers_removed_by_something_else(env: Env) -> None:
    connection = env.connect()
    for label, value in (("None", None), ("a number", 3), ("a text", "timer"), ("an object", object())):
        env.do(label, connection.remove_timeout, value)


@scenarios()
def timers_cancelled_inside_timers(env: Env) -> None:
    connection = env.connect()
    timers: dict[str, Any] = {}

    def cancel_second() -> None:
        env.do("remove", connection.remove_timeout, timers["second"])

    timers["first"] = connection.call_later(0, env.callback("first", cancel_second))
    timers["second"] = connection.call_later(0, env.callback("second"))
    timers["third"] = connection.call_later(0.05, env.callback("third"))
    connection.sleep(0.2)


@scenarios()
def timers_that_cancel_themselves(env: Env) -> None:
    connection = env.connect()
    timers: list[Any] = []

    def cancel_itself() -> None:
        env.do("remove", connection.remove_timeout, timers[0])

    timers.append(connection.call_later(0, env.callback("timer", cancel_itself)))
    connection.sleep(0.1)


@scenarios()
def timers_that_add_timers(env: Env) -> None:
    connection = env.connect()

    def outer() -> None:
        connection.call_later(0, env.callback("inner"))
        env.note("the inner one waits", True)

    connection.call_later(0, env.callback("outer", outer))
    env.do("one round", connection.process_data_events, 0)
    env.note("after one round", len(env.records))
    env.do("sleep", connection.sleep, 0.1)


@scenarios()
def timers_that_raise(env: Env) -> None:
    connection = env.connect()

    def fail() -> None:
        raise LookupError("from a timer", 1)

    connection.call_later(0, env.callback("fails", fail))
    connection.call_later(0, env.callback("behind it"))
    env.do("sleep", connection.sleep, 0.1)
    env.states("connection", connection)
    env.do("next", connection.process_data_events)
    env.do("next", connection.process_data_events)
    env.do("sleep again", connection.sleep, 0.1)


@scenarios()
def timers_of_a_closed_connection(env: Env) -> None:
    connection = env.connect()
    timer = connection.call_later(0.01, env.callback("never"))
    connection.close()
    env.do("call_later", connection.call_later, 0, env.callback("never"))
    env.do("remove_timeout", connection.remove_timeout, timer)
    env.do("add_callback_threadsafe", connection.add_callback_threadsafe, env.callback("never"))
    env.do("sleep", connection.sleep, 0.05)
    env.do("process_data_events", connection.process_data_events)


@scenarios()
def threadsafe_callbacks_keep_their_order(env: Env) -> None:
    connection = env.connect()
    for number in range(5):
        env.do("add", connection.add_callback_threadsafe, env.callback(f"callback {number}"))
    env.do("process_data_events", connection.process_data_events)


@scenarios()
def threadsafe_callbacks_from_another_thread(env: Env) -> None:
    connection = env.connect()
    owner = threading.current_thread()

    def add() -> None:
        for number in range(3):
            connection.add_callback_threadsafe(
                env.callback(f"callback {number}", lambda: env.note("thread", threading.current_thread() is owner))
            )

    env.later(0.1, add)
    env.do("sleep", connection.sleep, 0.4)


@scenarios()
def threadsafe_callbacks_wake_an_endless_wait(env: Env) -> None:
    connection = env.connect()
    env.later(0.1, connection.add_callback_threadsafe, env.callback("wakes"))
    env.do("process_data_events", connection.process_data_events, None)


@scenarios()
def threadsafe_callbacks_that_raise(env: Env) -> None:
    connection = env.connect()

    def fail() -> None:
        raise LookupError("from a callback")

    connection.add_callback_threadsafe(env.callback("fails", fail))
    connection.add_callback_threadsafe(env.callback("behind it"))
    env.do("process_data_events", connection.process_data_events)
    env.do("next", connection.process_data_events)
    env.states("connection", connection)


@scenarios("callback that is none")
def threadsafe_callbacks_that_are_none(env: Env) -> None:
    connection = env.connect()
    env.do("None", connection.add_callback_threadsafe, None)
    env.do("a text", connection.add_callback_threadsafe, "callback")


@scenarios()
def threadsafe_callbacks_that_add_callbacks(env: Env) -> None:
    connection = env.connect()

    def outer() -> None:
        connection.add_callback_threadsafe(env.callback("inner"))

    connection.add_callback_threadsafe(env.callback("outer", outer))
    env.do("first round", connection.process_data_events)
    env.do("second round", connection.process_data_events)


@scenarios()
def waits_of_each_kind(env: Env) -> None:
    connection = env.connect()
    env.do("process_data_events()", connection.process_data_events)
    env.do("process_data_events(0)", connection.process_data_events, 0)
    env.do("process_data_events(0.05)", connection.process_data_events, 0.05)
    env.do("process_data_events(time_limit=0.05)", connection.process_data_events, time_limit=0.05)
    env.do("sleep(0)", connection.sleep, 0)
    env.do("sleep(0.05)", connection.sleep, 0.05)
    connection.call_later(0.05, env.callback("timer"))
    env.do("process_data_events(None)", connection.process_data_events, None)


@scenarios()
def waits_with_wrong_arguments(env: Env) -> None:
    connection = env.connect()
    env.do("sleep(-1)", connection.sleep, -1)
    env.do("sleep(None)", connection.sleep, None)
    env.do("sleep of a text", connection.sleep, "1")
    env.do("process_data_events(-1)", connection.process_data_events, -1)
    env.do("process_data_events of a text", connection.process_data_events, "1")


@scenarios()
def waits_inside_callbacks(env: Env) -> None:
    connection = env.connect()

    def wait() -> None:
        connection.add_callback_threadsafe(env.callback("of the outer wait"))
        env.do("sleep inside", connection.sleep, 0.05)
        env.do("process_data_events inside", connection.process_data_events, 0.05)

    connection.add_callback_threadsafe(env.callback("waits", wait))
    env.do("process_data_events", connection.process_data_events)
    env.do("process_data_events", connection.process_data_events)
