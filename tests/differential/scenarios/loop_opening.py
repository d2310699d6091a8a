"""Opening a connection on an event loop, well and badly."""

from __future__ import annotations

import time
from typing import Any

import pika

from ..env import Env
from ..loops import ALL, QUICK, Loop, LoopScenarios

scenarios = LoopScenarios(ALL)


def dead(env: Env, **attributes: Any) -> pika.ConnectionParameters:
    """Return parameters for a port where nobody listens."""
    return pika.ConnectionParameters("127.0.0.1", env.free_port(), **{**QUICK, **attributes})


@scenarios()
def opens_and_closes(env: Env, loop: Loop) -> None:
    def state(label: str) -> Any:
        return lambda connection, *_: loop.states(label, connection)

    connection = loop.make(
        on_open_callback=env.callback("open", state("in open")),
        on_close_callback=env.callback("closed", state("in closed")),
    )
    loop.states("made", connection)
    env.note("its loop", connection.ioloop is loop.native)
    loop.until("open")
    for name in ("basic_nack", "consumer_cancel_notify", "exchange_exchange_bindings", "publisher_confirms"):
        env.note(name, getattr(connection, name))
    env.do("close", connection.close)
    loop.states("behind close", connection)
    loop.until("closed")
    loop.states("at the end", connection)


@scenarios()
def open_without_callbacks(env: Env, loop: Loop) -> None:
    connection = loop.adapter(env.parameters(), custom_ioloop=loop.native)
    connection.add_on_open_callback(env.callback("open"))
    connection.add_on_close_callback(env.callback("closed"))
    loop.until("open")
    connection.close()
    loop.until("closed")


@scenarios()
def open_callbacks_keep_their_order(env: Env, loop: Loop) -> None:
    connection = loop.make()
    env.do("open", connection.add_on_open_callback, env.callback("second open"))
    third = env.callback("third open")
    env.do("third", connection.add_on_open_callback, third)
    env.do("third again", connection.add_on_open_callback, third)
    env.do("close", connection.add_on_close_callback, env.callback("second closed"))
    env.do("error", connection.add_on_open_error_callback, env.callback("second open error"))
    loop.until("third open")
    env.do("too late", connection.add_on_open_callback, env.callback("late open"))
    loop.wait(0.1)
    connection.close()
    loop.until("second closed")
    env.do("too late for that", connection.add_on_close_callback, env.callback("late closed"))
    loop.wait(0.1)


@scenarios()
def open_refused(env: Env, loop: Loop) -> None:
    loop.attempt("nobody listens", dead(env))


@scenarios()
def open_refused_with_attempts_and_a_delay(env: Env, loop: Loop) -> None:
    began = time.monotonic()
    loop.attempt("three times", dead(env, connection_attempts=3, retry_delay=0.2, stack_timeout=5, socket_timeout=5))
    env.note("waited twice", time.monotonic() - began >= 0.4)


@scenarios()
def open_error_callbacks_in_addition(env: Env, loop: Loop) -> None:
    connection = loop.make(dead(env))
    env.do("add", connection.add_on_open_error_callback, env.callback("second open error"))
    loop.until("second open error")
    connection = loop.make(dead(env), on_open_error_callback=None)
    env.do("in its place", connection.add_on_open_error_callback, env.callback("only open error"))
    loop.until("only open error")


@scenarios()
def open_refused_without_a_callback(env: Env, loop: Loop) -> None:
    connection = loop.make(dead(env), on_open_error_callback=None)
    loop.wait(0.3)
    loop.states("then", connection)


@scenarios("error callback besides the default")
def open_error_callback_besides_the_default(env: Env, loop: Loop) -> None:
    called: list[Any] = []
    connection = loop.make(dead(env), on_open_error_callback=None)
    connection.add_on_open_error_callback(lambda *arguments: called.append(arguments), remove_default=False)
    loop.wait(0.3)
    env.note("called", len(called))
    loop.states("then", connection)


@scenarios()
def open_a_host_that_does_not_resolve(env: Env, loop: Loop) -> None:
    loop.attempt("open", pika.ConnectionParameters("no-such-host.invalid", 5672, **QUICK))


@scenarios()
def open_with_bad_credentials(env: Env, loop: Loop) -> None:
    for user in ("guest", "nobody"):
        credentials = pika.PlainCredentials(user, "wrong")
        loop.attempt(user, env.parameters(credentials=credentials, connection_attempts=1))


@scenarios()
def open_a_virtual_host_that_is_not_there(env: Env, loop: Loop) -> None:
    loop.attempt("open", env.parameters(virtual_host="not-there", connection_attempts=1))


@scenarios()
def open_a_virtual_host_without_the_right(env: Env, loop: Loop) -> None:
    credentials = pika.PlainCredentials(f"{env.parameters().virtual_host}-user", "secret")
    loop.attempt("open", env.parameters(credentials=credentials, virtual_host="/", connection_attempts=1))


@scenarios()
def open_peers_that_hang_up(env: Env, loop: Loop) -> None:
    for script in ("hangs_up_at_once", "hangs_up_after_start", "hangs_up_after_tune"):
        loop.attempt(script, env.peer(script).parameters(**QUICK))


@scenarios()
def open_peers_that_refuse(env: Env, loop: Loop) -> None:
    for script in ("closes_in_place_of_tune", "closes_in_place_of_open_ok", "no_mechanism"):
        loop.attempt(script, env.peer(script).parameters(**QUICK))


@scenarios()
def open_peers_that_say_nothing(env: Env, loop: Loop) -> None:
    for script in ("silent", "silent_after_start"):
        loop.attempt(script, env.peer(script).parameters(**{**QUICK, "stack_timeout": 0.4}))


@scenarios("no AMQP")
def open_a_web_server(env: Env, loop: Loop) -> None:
    loop.attempt("open", env.peer("http").parameters(**QUICK))


@scenarios()
def open_through_a_network_that_dies(env: Env, loop: Loop) -> None:
    for failure in ("cut", "reset"):
        proxy = env.proxy()
        proxy.limit_after(600, "to_client", failure)
        parameters = env.parameters(host="127.0.0.1", port=proxy.port, **QUICK)
        loop.attempt(failure, parameters)


@scenarios()
def open_with_tuned_limits(env: Env, loop: Loop) -> None:
    connection = loop.connect(env.peer("two_channels").parameters(**QUICK))
    channels = [connection.channel(on_open_callback=env.callback("channel open")) for _ in range(2)]
    loop.until("channel open", 2)
    env.do("a third channel", connection.channel)
    loop.states("then", connection, *channels)


@scenarios()
def open_with_wrong_arguments(env: Env, loop: Loop) -> None:
    for name, value in (
        ("parameters", "amqp://localhost"),
        ("parameters", [env.parameters()]),
        ("parameters", 5672),
        ("on_open_callback", "callback"),
        ("on_close_callback", "callback"),
        ("no_such_argument", 1),
    ):
        arguments = {"parameters": env.parameters(), "custom_ioloop": loop.native, name: value}
        env.do(f"{name}={value!r}" if isinstance(value, (str, int)) else name, loop.adapter, **arguments)


@scenarios()
def open_callbacks_that_are_none(env: Env, loop: Loop) -> None:
    connection = loop.make()
    for name in (
        "add_on_open_callback",
        "add_on_open_error_callback",
        "add_on_close_callback",
        "add_on_connection_blocked_callback",
        "add_on_connection_unblocked_callback",
    ):
        env.do(name, getattr(connection, name), None)
        env.do(f"{name} of a text", getattr(connection, name), "callback")
    loop.until("open")


@scenarios()
def open_and_use_too_early(env: Env, loop: Loop) -> None:
    connection = loop.make()
    env.do("channel", connection.channel)
    env.do("update_secret", connection.update_secret, "secret", "because")
    loop.states("then", connection)
    loop.until("open")
    env.do("channel of a text", connection.channel, "1")
    env.do("channel with a callback that is none", connection.channel, None, "callback")
    loop.states("at the end", connection)


@scenarios()
def open_and_close_at_once(env: Env, loop: Loop) -> None:
    connection = loop.make()
    env.do("close", connection.close)
    loop.states("behind close", connection)
    loop.wait(0.3)
    loop.states("then", connection)
    env.do("close again", connection.close)


@scenarios("no error of ours")
def open_callback_that_closes(env: Env, loop: Loop) -> None:
    def close(connection: Any) -> None:
        env.do("close", connection.close, 200, "enough")
        loop.states("behind close", connection)
        env.do("close again", connection.close)
        env.do("channel", connection.channel)

    connection = loop.make(on_open_callback=env.callback("open", close))
    loop.until("closed")
    loop.states("at the end", connection)


@scenarios()
def open_callback_that_opens_channels(env: Env, loop: Loop) -> None:
    def open_channels(connection: Any) -> None:
        for number in (None, 7, None):
            env.do("channel", connection.channel, number, on_open_callback=env.callback("channel open"))

    loop.make(on_open_callback=env.callback("open", open_channels))
    loop.until("channel open", 3)
    # Each channel of RabbitMQ answers for itself.
    env.in_any_order("channel open")


@scenarios()
def open_error_callback_that_connects_again(env: Env, loop: Loop) -> None:
    loop.make(dead(env), on_open_error_callback=env.callback("first open error", lambda *_: loop.make()))
    loop.until("open")


def create(env: Env, loop: Loop, label: str, configs: Any, on_done: Any = None) -> Any:
    """Connect to one of several, and record what comes of it."""
    done: list[Any] = []

    def finished(result: Any) -> None:
        if isinstance(result, pika.connection.Connection):
            loop.states("the connection", result)
            env.note("its port", result.params.port)
        else:
            env.note("error", result)
        done.append(result)
        if on_done is not None:
            on_done(result)

    env.do(label, loop.adapter.create_connection, configs, finished, loop.native)
    loop.run(lambda: done, 3 if configs else 0.2)
    return done[0] if done else None


@scenarios()
def create_one(env: Env, loop: Loop) -> None:
    connection = create(env, loop, "create", [env.parameters()])
    connection.add_on_close_callback(env.callback("closed"))
    loop.channel(connection)
    connection.close()
    loop.until("closed")


@scenarios()
def create_with_the_first_dead(env: Env, loop: Loop) -> None:
    connection = create(env, loop, "create", [dead(env), env.parameters()])
    connection.close()
    loop.run(lambda: connection.is_closed)


@scenarios()
def create_with_all_dead(env: Env, loop: Loop) -> None:
    create(env, loop, "two", [dead(env), dead(env)])
    create(env, loop, "with attempts", [dead(env), dead(env, connection_attempts=2)])


@scenarios()
def create_with_bad_credentials(env: Env, loop: Loop) -> None:
    bad = env.parameters(credentials=pika.PlainCredentials("guest", "wrong"), connection_attempts=1)
    create(env, loop, "alone", [bad])
    connection = create(env, loop, "a good one behind", [bad, env.parameters()])
    create(env, loop, "a dead one behind", [bad, dead(env)])
    if connection is not None:
        connection.close()
        loop.run(lambda: connection.is_closed)


@scenarios("callback that is none")
def create_with_wrong_arguments(env: Env, loop: Loop) -> None:
    create(env, loop, "nothing", [])
    for label, configs in (("one", env.parameters()), ("a text", "amqp://localhost"), ("None", None)):
        env.do(label, loop.adapter.create_connection, configs, env.callback("done"), loop.native)
    env.do("no callback", loop.adapter.create_connection, [env.parameters()], None, loop.native)


@scenarios("no error of ours")
def create_and_abort(env: Env, loop: Loop) -> None:
    for configs in ([env.parameters()], [dead(env), env.parameters()]):
        workflow = env.do("create", loop.adapter.create_connection, configs, env.callback("done"), loop.native)
        env.do("abort", workflow.abort)
        loop.wait(0.3)
        env.do("abort again", workflow.abort)
        loop.wait(0.1)


@scenarios(kinds=["select"])
def open_on_a_loop_of_its_own(env: Env, loop: Loop) -> None:
    connection = loop.adapter(
        env.parameters(),
        env.callback("open", lambda connection: connection.close()),
        env.callback("open error"),
        env.callback("closed", lambda connection, _error: connection.ioloop.stop()),
    )
    env.note("its loop", type(connection.ioloop).__name__)
    env.do("start", connection.ioloop.start)
    loop.states("then", connection)
