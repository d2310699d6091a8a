"""The end of a connection on an event loop: by the program, by the broker, by the network."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env
from ..loops import ALL, Loop, LoopScenarios

scenarios = LoopScenarios(ALL)


def consumers(env: Env, loop: Loop, connection: Any) -> list[Any]:
    """Return two channels with consumers."""
    channels = [loop.channel(connection, "first"), loop.channel(connection, "second")]
    for channel in channels:
        channel.add_on_cancel_callback(env.callback("cancelled"))
        tag, queue = f"tag {channel.channel_number}", loop.queue(channel, str(channel.channel_number))
        channel.basic_consume(queue, env.callback("message"), consumer_tag=tag, callback=env.callback("consuming"))
    loop.until("consuming", 2)
    return channels


def aftermath(env: Env, loop: Loop, connection: Any, *channels: Any) -> None:
    """Wait for the end of a connection, and record what is left of it."""
    loop.until("closed")
    loop.states("at the end", connection, *channels)
    env.do("close", connection.close)
    env.do("channel", connection.channel)
    for channel in channels:
        env.note("tags", channel.consumer_tags)
        env.do("publish", channel.basic_publish, "", "queue", b"x")
        env.do("close the channel", channel.close)
    loop.wait(0.1)


@scenarios("no error of ours")
def close_with_open_channels(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channels = consumers(env, loop, connection)
    env.do("close", connection.close, 320, "enough")
    loop.states("behind close", connection, *channels)
    env.do("close again", connection.close)
    env.do("channel", connection.channel)
    env.do("publish", channels[0].basic_publish, "", "queue", b"x")
    loop.until("closed")
    # Each channel of RabbitMQ answers for itself.
    env.in_any_order("first closed", "second closed")
    aftermath(env, loop, connection, *channels)


@scenarios()
def close_with_states_in_callbacks(env: Env, loop: Loop) -> None:
    connection = loop.connect(on_close_callback=env.callback("closed", lambda *_: state("connection")))
    channel = loop.channel(connection)

    def state(label: str) -> None:
        loop.states(label, connection, channel)

    channel.add_on_close_callback(lambda *_: state("channel"))
    connection.close()
    loop.until("closed")


@scenarios()
def close_behind_operations(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channel = loop.channel(connection)
    channel.queue_declare(env.name(), exclusive=True, callback=env.callback("declared"))
    channel.basic_qos(prefetch_count=1, callback=env.callback("qos"))
    env.do("close", connection.close)
    loop.until("closed")


@scenarios()
def close_while_a_channel_opens(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channel = connection.channel(on_open_callback=env.callback("channel open"))
    channel.add_on_close_callback(env.callback("channel closed"))
    env.do("close", connection.close)
    loop.until("closed")
    loop.states("then", connection, channel)


@scenarios()
def close_in_a_channel_close_callback(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channel, _other = loop.channel(connection), loop.channel(connection, "other")

    def close(*_: Any) -> None:
        env.do("close", connection.close)

    channel.add_on_close_callback(close)
    channel.queue_declare(env.name("missing"), passive=True)
    loop.until("closed")


@scenarios()
def close_callback_that_connects_again(env: Env, loop: Loop) -> None:
    connection = loop.connect(on_close_callback=env.callback("first closed", lambda *_: loop.make()))
    connection.close()
    loop.until("open", 2)


@scenarios("no error of ours")
def close_callback_that_uses_the_connection(env: Env, loop: Loop) -> None:
    def use(connection: Any, _error: Any) -> None:
        env.do("channel", connection.channel)
        env.do("close", connection.close)

    connection = loop.connect(on_close_callback=env.callback("closed", use))
    connection.close()
    loop.until("closed")


@scenarios()
def close_with_wrong_arguments(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    env.do("unknown", connection.close, nonsense=1)
    env.do("good", connection.close, reply_code=200, reply_text="")
    loop.until("closed")


@scenarios("end in the log")
def close_that_crosses(env: Env, loop: Loop) -> None:
    connection = loop.connect(env.peer("closes_connection_crossing").parameters())
    connection.close()
    loop.until("closed")
    loop.states("then", connection)


@scenarios()
def close_that_is_not_answered(env: Env, loop: Loop) -> None:
    connection = loop.connect(env.peer("hangs_up_on_close").parameters())
    connection.close()
    loop.until("closed")
    loop.states("then", connection)


@scenarios()
def closed_by_the_broker(env: Env, loop: Loop) -> None:
    peer = env.peer("closes_when_told")
    connection = loop.connect(peer.parameters())
    channel = loop.channel(connection)
    channel.queue_declare("queue", callback=env.callback("never"))
    peer.go()
    aftermath(env, loop, connection, channel)


@scenarios()
def closed_by_the_operator(env: Env, loop: Loop) -> None:
    credentials = pika.PlainCredentials(f"{env.parameters().virtual_host}-victim", "secret")
    connection = loop.connect(env.parameters(credentials=credentials))
    channels = consumers(env, loop, connection)
    env.later(0.1, env.ask, "ctl", "close_all_user_connections", credentials.username, "by the operator")
    aftermath(env, loop, connection, *channels)


@scenarios()
def closed_by_a_network_that_cuts(env: Env, loop: Loop) -> None:
    lose(env, loop, "cut")


@scenarios()
def closed_by_a_network_that_resets(env: Env, loop: Loop) -> None:
    lose(env, loop, "reset")


def lose(env: Env, loop: Loop, failure: str) -> None:
    """Lose a connection with consumers."""
    proxy = env.proxy()
    connection = loop.connect(env.parameters(host="127.0.0.1", port=proxy.port))
    channels = consumers(env, loop, connection)
    env.later(0.1, getattr(proxy, failure))
    aftermath(env, loop, connection, *channels)


@scenarios()
def closed_by_a_network_in_an_operation(env: Env, loop: Loop) -> None:
    proxy = env.proxy()
    connection = loop.connect(env.parameters(host="127.0.0.1", port=proxy.port))
    channel = loop.channel(connection)
    proxy.freeze()
    channel.queue_declare(env.name(), exclusive=True, callback=env.callback("never"))
    env.later(0.1, proxy.cut)
    aftermath(env, loop, connection, channel)


@scenarios()
def closed_by_a_network_while_closing(env: Env, loop: Loop) -> None:
    proxy = env.proxy()
    connection = loop.connect(env.parameters(host="127.0.0.1", port=proxy.port))
    loop.channel(connection)
    proxy.freeze()
    connection.close()
    env.later(0.1, proxy.cut)
    loop.until("closed")
    loop.states("then", connection)


@scenarios()
def closed_by_a_network_with_a_callback_that_connects_again(env: Env, loop: Loop) -> None:
    proxy = env.proxy()
    parameters = env.parameters(host="127.0.0.1", port=proxy.port)
    loop.connect(parameters, on_close_callback=env.callback("first closed", lambda *_: loop.make()))
    proxy.reset()
    loop.until("open", 2)
