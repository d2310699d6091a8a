"""Callbacks that raise on an event loop: what leaves the loop, and what is left of the connection."""

from __future__ import annotations

from typing import Any, Callable

import pika

from ..env import Env
from ..loops import ALL, QUICK, Loop, LoopScenarios

scenarios = LoopScenarios(ALL)


class Raising:
    """Makes callbacks that raise, and records what came of one.

    :param env: the scenario's
    :param loop: the scenario's
    """

    def __init__(self, env: Env, loop: Loop) -> None:
        self.called: list[str] = []
        self._env = env
        self._loop = loop
        self._errors: list[Any] = []
        loop.on_error = self._errors.append

    def fail(self, *_: Any) -> None:
        """Raise."""
        self.called.append("raising")
        raise LookupError("from a callback", 1)

    def other(self, label: str) -> Callable[..., None]:
        """Return a callback that is only counted."""
        return lambda *_: self.called.append(label)

    def connect(self, **keywords: Any) -> Any:
        """Return an open connection whose callbacks are only counted."""
        keywords = {"on_open_callback": None, "on_close_callback": self.other("connection closed"), **keywords}
        return self._loop.connect(**keywords)

    def channel(self, connection: Any = None) -> Any:
        """Return an open channel."""
        opened: list[Any] = []
        channel = (connection or self.connect()).channel(on_open_callback=opened.append)
        self._loop.run(lambda: opened)
        return channel

    def result(self, *things: Any) -> None:
        """Run the loop, and record what came of it."""
        self._loop.run(lambda: "raising" in self.called)
        self._loop.wait(0.1)
        self._env.note("raised", self.called.count("raising") > 0)
        self._env.note("what left the loop", self._errors)
        self._env.note("callbacks", self.called)
        self._loop.states("at the end", *things)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_open(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    connection = loop.make(on_open_callback=raising.fail, on_close_callback=raising.other("connection closed"))
    raising.result(connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_done_of_create_connection(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    connections: list[Any] = []

    def done(connection: Any) -> None:
        connections.append(connection)
        raising.fail()

    loop.adapter.create_connection([env.parameters()], done, loop.native)
    raising.result()
    loop.states("the connection", *connections)


@scenarios()
def raising_on_open_error(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    nobody = pika.ConnectionParameters("127.0.0.1", env.free_port(), **QUICK)
    raising.result(loop.make(nobody, on_open_error_callback=raising.fail))


@scenarios()
def raising_on_close(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    connection = raising.connect(on_close_callback=raising.fail)
    channel = raising.channel(connection)
    channel.add_on_close_callback(raising.other("channel closed"))
    connection.close()
    raising.result(channel, connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_channel_open(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    connection = raising.connect()
    channel = connection.channel(on_open_callback=raising.fail)
    raising.result(channel, connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_channel_close(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    channel = raising.channel()
    channel.add_on_close_callback(raising.fail)
    channel.close()
    raising.result(channel, channel.connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_a_reply(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    channel = raising.channel()
    channel.queue_declare(env.name(), exclusive=True, callback=raising.fail)
    raising.result(channel, channel.connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_a_delivery(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    channel = raising.channel()
    queue = loop.queue(channel, messages=1)
    channel.add_on_close_callback(raising.other("channel closed"))
    channel.basic_consume(queue, raising.fail)
    raising.result(channel, channel.connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_basic_get(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    channel = raising.channel()
    channel.basic_get(loop.queue(channel, messages=1), raising.fail)
    raising.result(channel, channel.connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_a_return(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    channel = raising.channel()
    channel.add_on_return_callback(raising.fail)
    channel.basic_publish("", env.name("missing"), b"x", mandatory=True)
    raising.result(channel, channel.connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_a_confirm(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    channel = raising.channel()
    queue = loop.queue(channel)
    channel.confirm_delivery(raising.fail)
    channel.basic_publish("", queue, b"x")
    raising.result(channel, channel.connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_a_cancel_by_the_broker(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    channel = raising.channel()
    queue = loop.queue(channel)
    channel.add_on_cancel_callback(raising.fail)
    channel.basic_consume(queue, raising.other("message"))
    channel.queue_delete(queue)
    raising.result(channel, channel.connection)


@scenarios("raising callbacks, the error", "raising callbacks, the connection")
def raising_on_blocked(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    peer = env.peer("blocks")
    connection = raising.connect(parameters=peer.parameters(**QUICK))
    connection.add_on_connection_blocked_callback(raising.fail)
    connection.channel()
    raising.result(connection)
    peer.go()


@scenarios()
def raising_timers(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    connection = raising.connect()
    loop.later(0, raising.fail)
    raising.result(connection)


@scenarios()
def raising_threadsafe_callbacks(env: Env, loop: Loop) -> None:
    raising = Raising(env, loop)
    connection = raising.connect()
    loop.threadsafe(raising.fail)
    raising.result(connection)
