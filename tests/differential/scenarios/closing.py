"""Closing: once, twice, from inside callbacks, by both sides, and what is possible afterwards."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env, Scenarios

scenarios = Scenarios()


@scenarios()
def close_a_channel_twice(env: Env) -> None:
    channel = env.channel()
    env.do("close", channel.close)
    env.states("closed", channel, channel.connection)
    env.do("close", channel.close)
    env.do("declare", channel.queue_declare, "")
    env.do("publish", channel.basic_publish, "", "x", b"")
    env.do("qos", channel.basic_qos, prefetch_count=1)
    env.do("confirm_delivery", channel.confirm_delivery)
    env.do("flow", channel.flow, True)
    env.do("cancel", channel.cancel)
    env.do("basic_cancel", channel.basic_cancel, "tag")
    env.do("start_consuming", channel.start_consuming)
    env.do("stop_consuming", channel.stop_consuming)
    env.do("waiting", channel.get_waiting_message_count)
    env.note("tags", channel.consumer_tags)


@scenarios()
def close_a_connection_twice(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.do("close", connection.close)
    env.states("closed", connection, channel)
    env.do("close", connection.close)
    env.do("channel", connection.channel)
    env.do("close channel", channel.close)
    env.do("declare", channel.queue_declare, "")
    env.do("publish", channel.basic_publish, "", "x", b"")
    env.do("update_secret", connection.update_secret, "new")
    env.do("blocked callback", connection.add_on_connection_blocked_callback, env.callback("never"))


@scenarios()
def close_with_words(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.do("channel", channel.close, 300, "enough")
    channel = connection.channel()
    env.do("channel by keyword", channel.close, reply_code=301, reply_text="really")
    env.do("wrong types", connection.channel().close, "x", 3)
    env.do("connection", connection.close, 302, "done")
    env.states("closed", connection)


@scenarios()
def close_with_consumers(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    queue = env.queue(channel, messages=3)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="a")
    channel.basic_consume(queue, env.callback("message"), consumer_tag="b", auto_ack=True)
    env.note("tags", channel.consumer_tags)
    env.do("close", channel.close)
    env.note("tags", channel.consumer_tags)
    env.do("wait", connection.process_data_events)
    env.do("close", connection.close)
    env.states("closed", connection, channel)


@scenarios()
def close_the_channel_inside_a_message_callback(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    channel.basic_consume(queue, env.callback("message", lambda *_: env.do("close", channel.close)))
    env.do("start_consuming", channel.start_consuming)
    env.states("both", channel, channel.connection)
    env.do("wait", channel.connection.process_data_events)


@scenarios()
def close_the_connection_inside_a_message_callback(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    channel.basic_consume(queue, env.callback("message", lambda *_: env.do("close", channel.connection.close)))
    env.do("start_consuming", channel.start_consuming)
    env.states("both", channel, channel.connection)
    env.do("start_consuming", channel.start_consuming)
    env.do("wait", channel.connection.process_data_events)


@scenarios()
def close_the_connection_inside_a_callback_while_sleeping(env: Env) -> None:
    connection = env.connect()
    connection.call_later(0.05, env.callback("timer", lambda: env.do("close", connection.close)))
    connection.call_later(0.1, env.callback("never"))
    env.do("sleep", connection.sleep, 0.3)
    env.states("closed", connection)


@scenarios()
def close_the_connection_inside_a_callback_while_processing(env: Env) -> None:
    def close_inside(limit: float | None) -> None:
        connection = env.connect()
        connection.call_later(0.05, env.callback("timer", lambda: env.do("close", connection.close)))
        env.do(f"process_data_events({limit})", connection.process_data_events, limit)
        env.states("closed", connection)

    close_inside(0.3)
    close_inside(None)


@scenarios()
def close_the_connection_inside_one_of_several_callbacks(env: Env) -> None:
    connection = env.connect()
    connection.add_callback_threadsafe(env.callback("first", lambda: env.do("close", connection.close)))
    connection.add_callback_threadsafe(env.callback("second"))
    env.do("process_data_events", connection.process_data_events, 0.1)
    env.states("closed", connection)


@scenarios()
def close_another_channel_inside_a_callback(env: Env) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(channel, messages=2)
    other.basic_consume(env.queue(channel, "other", messages=2), env.callback("other"), consumer_tag="other")
    env.pump(connection, lambda: len(env.records) == 2)

    def close(*_: Any) -> None:
        if other.is_open:
            env.do("close", other.close)

    channel.basic_consume(queue, env.callback("message", close), consumer_tag="one")
    env.pump(connection, lambda: False, 0.3)
    env.states("all", channel, other, connection)


@scenarios()
def close_crossing_on_a_channel(env: Env) -> None:
    connection = env.peer("closes_channel_crossing").connect()
    channel = connection.channel()
    env.do("close", channel.close)
    env.states("both", channel, connection)
    env.do("close", connection.close)


@scenarios()
def close_crossing_on_a_connection(env: Env) -> None:
    connection = env.peer("closes_connection_crossing").connect()
    env.do("close", connection.close)
    env.states("closed", connection)


@scenarios()
def close_answered_with_an_end(env: Env) -> None:
    connection = env.peer("hangs_up_on_close").connect()
    env.do("close", connection.close)
    env.states("closed", connection)


@scenarios()
def close_a_channel_with_an_error_under_way(env: Env) -> None:
    channel = env.channel()
    env.break_channel(channel)
    env.do("close", channel.close)
    env.states("both", channel, channel.connection)


@scenarios()
def close_a_connection_with_an_error_under_way(env: Env) -> None:
    channel = env.channel()
    env.break_channel(channel)
    env.do("close", channel.connection.close)
    env.states("both", channel, channel.connection)


@scenarios()
def context_managers(env: Env) -> None:
    with env.connect() as connection:
        env.note("connection", type(connection).__name__)
        with connection.channel() as channel:
            env.note("channel", type(channel).__name__)
            env.states("inside", connection, channel)
        env.states("behind the channel", connection, channel)
    env.states("behind the connection", connection, channel)


@scenarios()
def context_managers_with_exceptions(env: Env) -> None:
    connection, channels = env.connect(), []

    def fail() -> None:
        with connection, connection.channel() as channel:
            channels.append(channel)
            raise LookupError("inside")

    env.do("fail", fail)
    env.states("behind it", connection, *channels)


@scenarios()
def context_managers_with_a_closed_channel(env: Env) -> None:
    connection = env.connect()

    def by_user() -> None:
        with connection.channel() as channel:
            channel.close()

    def by_broker() -> None:
        with connection.channel() as channel:
            channel.queue_declare(env.name("missing"), passive=True)

    def late() -> None:
        with connection.channel() as channel:
            env.break_channel(channel)

    env.do("closed by the user", by_user)
    env.do("closed by the broker", by_broker)
    env.do("closed by the broker at the end", late)
    env.states("connection", connection)


@scenarios()
def context_managers_with_a_closed_connection(env: Env) -> None:
    def by_user() -> None:
        with env.connect() as connection:
            connection.close()

    def by_broker() -> None:
        with env.connect() as connection:
            connection.channel().exchange_declare(env.name(), "no-such-type")

    env.do("closed by the user", by_user)
    env.do("closed by the broker", by_broker)


@scenarios()
def update_secret(env: Env) -> None:
    connection = env.connect()
    env.do("update", connection.update_secret, "guest", "because")
    env.do("wrong secret", connection.update_secret, "wrong", "because")
    env.do("wrong types", connection.update_secret, 3, None)
    env.do("wait", connection.process_data_events)
    env.note("exceptions", issubclass(pika.exceptions.ConnectionClosedByBroker, pika.exceptions.ConnectionClosed))
