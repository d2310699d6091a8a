"""Connections that end against the user's will, at various moments."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env, Scenarios

scenarios = Scenarios()


def aftermath(env: Env, channel: Any) -> None:
    """Record what is left when a connection has been lost."""
    connection = channel.connection
    env.states("after it", channel, connection)
    env.do("declare after it", channel.queue_declare, env.name("after"))
    env.do("publish after it", channel.basic_publish, "", env.name("after"), b"x")
    env.do("channel after it", connection.channel)
    env.do("callback after it", connection.add_callback_threadsafe, env.callback("never"))
    env.do("close after it", connection.close)


@scenarios()
def lost_while_idle(env: Env) -> None:
    for failure in ("cut", "reset"):
        proxy = env.proxy()
        channel = proxy.connect().channel()
        env.later(0.1, getattr(proxy, failure))
        env.until_dead(failure, channel.connection)
        aftermath(env, channel)


@scenarios()
def lost_while_sleeping(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect().channel()
    env.later(0.1, proxy.cut)
    env.do("sleep", channel.connection.sleep, 5)
    env.states("both", channel, channel.connection)


@scenarios()
def lost_while_waiting_without_end(env: Env) -> None:
    proxy = env.proxy()
    connection = proxy.connect()
    env.later(0.1, proxy.reset)
    env.do("process_data_events", connection.process_data_events, None)
    env.states("connection", connection)


@scenarios("consumers of a lost channel", "stopping on a lost channel")
def lost_in_start_consuming(env: Env) -> None:
    for failure in ("cut", "reset"):
        proxy = env.proxy()
        channel = proxy.connect().channel()
        channel.add_on_cancel_callback(env.callback("cancelled"))
        channel.basic_consume(env.queue(channel, failure), env.callback("message"), consumer_tag="mine")
        env.later(0.1, getattr(proxy, failure))
        env.do("start", channel.start_consuming)
        env.states("both", channel, channel.connection)
        env.note("tags", channel.consumer_tags)
        env.do("start again", channel.start_consuming)
        env.do("stop", channel.stop_consuming)
        env.do("cancel", channel.basic_cancel, "mine")


@scenarios("stopping on a lost channel")
def lost_in_a_generator(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect().channel()
    queue = env.queue(channel, messages=1)

    def loop() -> None:
        for _method, _properties, body in channel.consume(queue, inactivity_timeout=5):
            env.note("message", body)
            proxy.cut()

    env.do("loop", loop)
    env.states("both", channel, channel.connection)
    env.do("cancel", channel.cancel)
    env.do("loop again", loop)


@scenarios()
def lost_in_an_operation(env: Env) -> None:
    for failure in ("cut", "reset"):
        proxy = env.proxy()
        channel = proxy.connect().channel()
        proxy.freeze()
        env.later(0.1, getattr(proxy, failure))
        env.do("declare", channel.queue_declare, env.name(), exclusive=True)
        aftermath(env, channel)


@scenarios()
def lost_in_basic_get(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect().channel()
    queue = env.queue(channel, messages=1)
    proxy.freeze(["to_client"])
    env.later(0.1, proxy.cut)
    env.do("get", channel.basic_get, queue)
    env.states("both", channel, channel.connection)


@scenarios()
def lost_in_a_confirmed_publish(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect().channel()
    queue = env.queue(channel)
    channel.confirm_delivery()
    proxy.freeze(["to_client"])
    env.later(0.1, proxy.reset)
    env.do("publish", channel.basic_publish, "", queue, b"x")
    env.states("both", channel, channel.connection)
    env.do("publish again", channel.basic_publish, "", queue, b"x")


@scenarios()
def lost_before_a_publish(env: Env) -> None:
    for failure in ("cut", "reset"):
        proxy = env.proxy()
        channel = proxy.connect().channel()
        queue = env.queue(channel, failure)
        getattr(proxy, failure)()
        env.until_raises("publish", channel.basic_publish, "", queue, b"x")
        env.states("both", channel, channel.connection)
        env.do("next", channel.basic_publish, "", queue, b"x")


@scenarios()
def lost_before_opening_a_channel(env: Env) -> None:
    proxy = env.proxy()
    connection = proxy.connect()
    proxy.cut()
    env.do("channel", connection.channel)
    env.states("connection", connection)


@scenarios()
def lost_before_closing(env: Env) -> None:
    for failure in ("cut", "reset"):
        proxy = env.proxy()
        channel = proxy.connect().channel()
        getattr(proxy, failure)()
        env.do("close the channel", channel.close)
        env.do("close", channel.connection.close)
        proxy = env.proxy()
        connection = proxy.connect()
        getattr(proxy, failure)()
        env.do("close at once", connection.close)
        env.states("connection", connection)


@scenarios()
def lost_inside_a_callback(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect().channel()
    queue = env.queue(channel, messages=2)

    def lose(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        proxy.cut()
        env.do("declare inside", channel.queue_declare, queue, passive=True)
        env.do("ack inside", channel.basic_ack, method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, env.callback("message", lose), consumer_tag="mine")
    env.do("start", channel.start_consuming)
    env.states("both", channel, channel.connection)


@scenarios()
def lost_in_a_context(env: Env) -> None:
    proxy = env.proxy()

    def work() -> None:
        with proxy.connect() as connection, connection.channel() as channel:
            proxy.cut()
            channel.queue_declare(env.name(), exclusive=True)

    env.do("work", work)


@scenarios()
def lost_heartbeats_in_an_operation(env: Env) -> None:
    proxy = env.proxy()
    channel = proxy.connect(heartbeat=1).channel()
    proxy.freeze()
    env.do("declare", channel.queue_declare, env.name(), exclusive=True)
    env.states("both", channel, channel.connection)


@scenarios()
def closed_by_the_operator(env: Env) -> None:
    credentials = pika.PlainCredentials(f"{env.parameters().virtual_host}-victim", "secret")
    channel = env.channel(credentials=credentials)
    channel.basic_consume(env.queue(channel), env.callback("message"))
    env.later(0.1, env.ask, "ctl", "close_all_user_connections", credentials.username, "by the operator")
    env.do("start", channel.start_consuming)
    aftermath(env, channel)


@scenarios()
def closed_by_the_broker_in_an_operation(env: Env) -> None:
    peer = env.peer("closes_when_told")
    channel = peer.connect().channel()
    env.later(0.1, peer.go)
    env.do("declare", channel.queue_declare, "queue")
    aftermath(env, channel)


@scenarios()
def closed_by_the_broker_while_idle(env: Env) -> None:
    peer = env.peer("closes_when_told")
    channel = peer.connect().channel()
    env.later(0.1, peer.go)
    env.until_dead("wait", channel.connection)
    aftermath(env, channel)


@scenarios()
def closed_by_the_broker_unseen(env: Env) -> None:
    peer = env.peer("closes_when_told")
    channel = peer.connect().channel()
    peer.go()
    env.until_raises("publish", channel.basic_publish, "", "queue", b"x")
    env.states("both", channel, channel.connection)
    env.do("next", channel.basic_publish, "", "queue", b"x")
