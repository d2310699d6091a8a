"""Connections on Twisted: opening, closing, dying."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env
from ..twisted_loop import Reactor, TwistedScenarios

scenarios = TwistedScenarios()


def pending(env: Env, reactor: Reactor, connection: Any) -> Any:
    """Have a consumer wait for a message, and return its channel."""
    channel = reactor.channel(connection)
    messages = reactor.consume(channel, reactor.queue(channel))
    reactor.do("message", messages.get)
    return channel


def aftermath(env: Env, reactor: Reactor, connection: Any, channel: Any) -> None:
    """Record what is left of a connection that has ended."""
    reactor.until("closed")
    reactor.states("then", connection, channel)
    env.note("ready and closed", (connection.ready, connection.closed))
    env.do("close again", connection.close)
    env.do("channel", connection.channel)
    env.do("acknowledge", channel.basic_ack, 1)
    reactor.do("declare", channel.queue_declare, "late")
    reactor.do("publish", channel.basic_publish, "", "late", b"x")


@scenarios()
def opens_and_closes(env: Env, reactor: Reactor) -> None:
    connection = reactor.build()
    env.note("is ready", (connection.ready is None, connection.closed))
    env.do("channel at once", connection.channel)
    reactor.watch("ready", connection.ready)
    reactor.until("ready")
    env.note("is ready then", (connection.ready, connection.closed is None))
    env.do("connectionReady", connection.connectionReady)
    reactor.states("open", connection)


@scenarios("reason of the end", "no error of ours")
def close(env: Env, reactor: Reactor) -> None:
    connection = reactor.connect()
    channel = pending(env, reactor, connection)
    closed = connection.closed
    env.note("the same", connection.close(320, "enough") is closed)
    reactor.states("closing", connection, channel)
    env.do("close twice", connection.close)
    env.do("channel while closing", connection.channel)
    aftermath(env, reactor, connection, channel)


@scenarios("reason of the end", "end in the log")
def cut(env: Env, reactor: Reactor) -> None:
    proxy = env.proxy()
    connection = reactor.connect(port=proxy.port)
    channel = pending(env, reactor, connection)
    proxy.cut()
    aftermath(env, reactor, connection, channel)


@scenarios("reason of the end")
def reset(env: Env, reactor: Reactor) -> None:
    proxy = env.proxy()
    connection = reactor.connect(port=proxy.port)
    channel = pending(env, reactor, connection)
    proxy.reset()
    aftermath(env, reactor, connection, channel)


@scenarios("reason of the end")
def transport_is_aborted(env: Env, reactor: Reactor) -> None:
    connection = reactor.connect()
    channel = pending(env, reactor, connection)
    reactor.do("declare before", channel.queue_declare, env.name("before"), exclusive=True)
    connection.transport.abortConnection()
    aftermath(env, reactor, connection, channel)


@scenarios("reason of the end", "end in the log")
def broker_ends_the_connection(env: Env, reactor: Reactor) -> None:
    connection = reactor.connect()
    channel = pending(env, reactor, connection)
    reactor.do("wrong type", channel.exchange_declare, env.name("exchange"), "nosuchtype")
    aftermath(env, reactor, connection, channel)


@scenarios("why it is not ready")
def wrong_password(env: Env, reactor: Reactor) -> None:
    connection = reactor.build(env.parameters(credentials=pika.PlainCredentials("guest", "wrong")))
    reactor.watch("ready", connection.ready)
    reactor.until("ready fails")
    reactor.states("then", connection)
    env.note("ready and closed", (connection.ready, connection.closed))
    env.do("close", connection.close)


@scenarios("why it is not ready")
def virtual_host_that_there_is_not(env: Env, reactor: Reactor) -> None:
    connection = reactor.build(env.parameters(virtual_host="nowhere"))
    reactor.watch("ready", connection.ready)
    reactor.until("ready fails")
    reactor.states("then", connection)


@scenarios("why it is not ready")
def closed_while_it_opens(env: Env, reactor: Reactor) -> None:
    connection = reactor.build()
    reactor.watch("ready", connection.ready)
    env.do("close", connection.close)
    reactor.until("ready fails")
    reactor.states("then", connection)


@scenarios()
def subclass_with_a_connection_ready_of_its_own(env: Env, reactor: Reactor) -> None:
    waiting: list[Any] = []

    class Slow(reactor.adapter.TwistedProtocolConnection):  # type: ignore[misc,name-defined]
        def connectionReady(self) -> Any:
            env.note("in connectionReady", self.is_open)
            waiting.append(reactor.defer.Deferred())
            return waiting[0]

        def _on_connection_ready(self, connection: Any) -> None:
            env.note("in _on_connection_ready", self.is_open)
            super()._on_connection_ready(connection)

    connection = reactor.build(kind=Slow)
    reactor.watch("ready", connection.ready)
    reactor.run(lambda: waiting)
    reactor.wait(0.1)
    waiting[0].callback("what it says")
    reactor.until("ready")


@scenarios()
def subclass_whose_connection_ready_raises(env: Env, reactor: Reactor) -> None:
    class Failing(reactor.adapter.TwistedProtocolConnection):  # type: ignore[misc,name-defined]
        def connectionReady(self) -> Any:
            raise LookupError("in connectionReady")

    connection = reactor.build(kind=Failing)
    reactor.watch("ready", connection.ready)
    reactor.until("ready fails")
    reactor.states("then", connection)


@scenarios()
def no_channels_left(env: Env, reactor: Reactor) -> None:
    connection = reactor.connect(env.parameters(channel_max=1))
    reactor.channel(connection)
    env.do("second", connection.channel)
    env.do("of a wrong kind", connection.channel, "x")
    env.do("negative", connection.channel, -1)
    reactor.states("then", connection)
