"""Channels: their numbers, their errors of each kind, and what is left of them afterwards."""

from __future__ import annotations

import time
from typing import Any

import pika

from ..env import Env, Scenarios

scenarios = Scenarios()


def aftermath(env: Env, channel: Any) -> None:
    """Record what is left when a channel has ended."""
    connection = channel.connection
    env.states("after it", channel, connection)
    env.note("consumers after it", channel.consumer_tags)
    env.do("declare after it", channel.queue_declare, env.name("after"))
    env.do("close after it", channel.close)
    other = env.do("another channel", connection.channel)
    env.do("declare on it", other.queue_declare, env.name("other"), exclusive=True)
    env.do("wait", connection.process_data_events)
    env.states("at the end", channel, connection)


@scenarios()
def channel_calls_after_an_error(env: Env) -> None:
    calls: dict[str, Any] = {
        "declare": lambda channel: channel.queue_declare("queue"),
        "publish": lambda channel: channel.basic_publish("", "queue", b"x"),
        "ack": lambda channel: channel.basic_ack(1),
        "nack": lambda channel: channel.basic_nack(1),
        "reject": lambda channel: channel.basic_reject(1),
        "qos": lambda channel: channel.basic_qos(prefetch_count=1),
        "recover": lambda channel: channel.basic_recover(True),
        "consume": lambda channel: channel.basic_consume("queue", print),
        "generator": lambda channel: next(channel.consume("queue", inactivity_timeout=0.1)),
        "cancel": lambda channel: channel.basic_cancel("tag"),
        "cancel of the generator": lambda channel: channel.cancel(),
        "start_consuming": lambda channel: channel.start_consuming(),
        "stop_consuming": lambda channel: channel.stop_consuming(),
        "confirm_delivery": lambda channel: channel.confirm_delivery(),
        "tx_select": lambda channel: channel.tx_select(),
        "tx_commit": lambda channel: channel.tx_commit(),
        "flow": lambda channel: channel.flow(True),
        "waiting": lambda channel: channel.get_waiting_message_count(),
        "callbacks": lambda channel: channel.add_on_return_callback(print),
        "close": lambda channel: channel.close(),
    }
    for label, call in calls.items():
        connection = env.connect()
        channel = connection.channel()
        env.do(f"{label}: the error", channel.queue_declare, env.name("missing"), passive=True)
        env.do(label, call, channel)
        env.do(f"{label}: again", call, channel)
        env.do(f"{label}: another channel", connection.channel)
        if connection.is_open:
            connection.close()


@scenarios()
def channel_error_not_found(env: Env) -> None:
    channel = env.channel()
    env.do("passive declare", channel.queue_declare, env.name("missing"), passive=True)
    aftermath(env, channel)


@scenarios()
def channel_error_access_refused(env: Env) -> None:
    vhost = env.parameters().virtual_host
    channel = env.channel(credentials=pika.PlainCredentials(f"{vhost}-user", "secret"))
    env.do("declare", channel.queue_declare, env.name())
    env.states("after it", channel, channel.connection)
    channel = channel.connection.channel()
    env.do("internal exchange", channel.exchange_declare, "amq.mine", "direct")
    env.states("after it", channel, channel.connection)
    env.do("next", channel.exchange_declare, "amq.mine", "direct")


@scenarios()
def channel_error_resource_locked(env: Env) -> None:
    owner = env.channel()
    queue = env.queue(owner)
    channel = env.channel()
    env.do("declare another's", channel.queue_declare, queue, exclusive=True)
    env.states("after it", channel, channel.connection)
    channel = channel.connection.channel()
    env.do("consume from another's", channel.basic_consume, queue, env.callback("never"))
    env.states("after it", channel, channel.connection)
    env.note("consumers", channel.consumer_tags)


@scenarios()
def channel_error_precondition_failed(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.do("declare otherwise", channel.queue_declare, queue, auto_delete=True, exclusive=True)
    aftermath(env, channel)


@scenarios()
def channel_error_not_implemented(env: Env) -> None:
    channel = env.channel()
    env.do("prefetch size", channel.basic_qos, prefetch_size=1)
    env.states("after it", channel, channel.connection)
    env.do("channel", channel.connection.channel)
    env.do("wait", channel.connection.process_data_events)


@scenarios()
def channel_error_of_the_connection(env: Env) -> None:
    channel = env.channel()
    env.do("exchange type", channel.exchange_declare, env.name("exchange"), "no-such-type")
    aftermath_of_connection(env, channel)


def aftermath_of_connection(env: Env, channel: Any) -> None:
    """Record what is left when a connection has ended."""
    connection = channel.connection
    env.states("after it", channel, connection)
    env.do("declare after it", channel.queue_declare, env.name("after"))
    env.do("publish after it", channel.basic_publish, "", env.name("after"), b"x")
    env.do("another channel", connection.channel)
    env.do("wait", connection.process_data_events)
    env.do("sleep", connection.sleep, 0.01)
    env.do("call_later", connection.call_later, 1, env.callback("never"))
    env.do("close the channel", channel.close)
    env.do("close", connection.close)
    env.do("wait again", connection.process_data_events)


@scenarios()
def channel_error_of_a_bad_type_for_an_argument(env: Env) -> None:
    channel = env.channel()
    env.do("x-max-length", channel.queue_declare, env.name(), exclusive=True, arguments={"x-max-length": "many"})
    env.states("after it", channel, channel.connection)


@scenarios()
def channel_error_while_another_waits(env: Env) -> None:
    connection = env.connect()
    first, second = connection.channel(), connection.channel()
    env.break_channel(first)
    env.do("declare", second.queue_declare, env.name(), exclusive=True)
    env.states("both", first, second, connection)
    env.do("publish", first.basic_publish, env.name("missing"), "", b"x")
    env.do("publish", first.basic_publish, env.name("missing"), "", b"x")
    env.do("close", first.close)


@scenarios()
def channel_error_seen_inside_a_callback(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)

    def acknowledge(_channel: Any, method: Any, *_: Any) -> None:
        env.do("ack", channel.basic_ack, method.delivery_tag)
        env.do("ack again", channel.basic_ack, method.delivery_tag)
        time.sleep(0.2)
        env.do("ack once more", channel.basic_ack, method.delivery_tag)

    channel.basic_consume(queue, acknowledge)
    env.do("start", channel.start_consuming)
    env.do("start again", channel.start_consuming)


@scenarios()
def channel_error_seen_by_a_wait(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.break_channel(channel)
    env.do("sleep", connection.sleep, 0.2)
    env.states("both", channel, connection)
    env.do("next", channel.queue_declare, env.name(), exclusive=True)
    env.do("next", channel.queue_declare, env.name(), exclusive=True)


@scenarios()
def channel_numbers(env: Env) -> None:
    connection = env.connect()
    channel = env.do("first", connection.channel)
    env.note("int", int(channel))
    env.note("channel_number", channel.channel_number)
    env.note("connection", channel.connection is connection)
    env.do("explicit", connection.channel, 7)
    env.do("by keyword", connection.channel, channel_number=9)
    env.do("next", connection.channel)
    channel.close()
    env.do("a free one again", connection.channel)


@scenarios("number in use", "number in use, and nothing lost")
def channel_numbers_that_are_in_use(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel(7)
    env.do("duplicate", connection.channel, 7)
    env.states("both", channel, connection)


@scenarios()
def channel_numbers_that_are_bad(env: Env) -> None:
    for number in (0, "1", 1.5, None):
        connection = env.connect()
        env.do(repr(number), connection.channel, number)
        env.states("connection", connection)
        if connection.is_open:
            env.do(f"{number!r}: close", connection.close)


@scenarios()
def channel_numbers_that_are_out_of_range(env: Env) -> None:
    for number in (-1, 65536):
        env.do(repr(number), env.connect().channel, number)


@scenarios()
def channel_numbers_above_the_negotiated_limit(env: Env) -> None:
    connection = env.connect()
    env.do("channel", connection.channel, 3000)
    env.states("connection", connection)


@scenarios("sent on a closed channel")
def channel_error_before_a_get(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.do("the error", channel.queue_declare, env.name("missing"), passive=True)
    env.do("get", channel.basic_get, "queue")
    env.do("another channel", connection.channel)


@scenarios()
def channels_run_out(env: Env) -> None:
    connection = env.connect(channel_max=2)
    first = env.do("first", connection.channel)
    env.do("second", connection.channel)
    env.do("third", connection.channel)
    env.states("connection", connection)
    first.close()
    env.do("again", connection.channel)


@scenarios()
def channel_repr(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.note("channel", repr(channel)[: repr(channel).index(" ")])
    env.note("connection", repr(connection)[: repr(connection).index(" ")])
    env.note("text", str(channel) == repr(channel))


@scenarios()
def channel_flow(env: Env) -> None:
    channel = env.channel()
    env.do("on", channel.flow, True)
    env.do("a text", channel.flow, "on")
    env.do("a number", channel.flow, 1)
    env.do("off", channel.flow, False)
    env.states("after it", channel, channel.connection)


@scenarios()
def channel_flow_of_the_broker(env: Env) -> None:
    connection = env.peer("pauses_the_flow").connect()
    channel = connection.channel()
    env.do("wait", connection.process_data_events, 0.2)
    env.do("publish", channel.basic_publish, "", "queue", b"x")
    env.states("both", channel, connection)


@scenarios()
def channel_closed_by_the_broker_while_waiting(env: Env) -> None:
    peer = env.peer("closes_channel_when_told")
    connection = peer.connect()
    channel = connection.channel()
    env.later(0.1, peer.go)
    env.do("declare", channel.queue_declare, "queue")
    env.states("both", channel, connection)
    env.do("next", channel.queue_declare, "queue")


@scenarios()
def channel_closed_by_the_broker_while_idle(env: Env) -> None:
    peer = env.peer("closes_channel_when_told")
    connection = peer.connect()
    channel = connection.channel()
    env.later(0.1, peer.go)
    env.do("wait", env.pump, connection, lambda: channel.is_closed)
    env.states("both", channel, connection)
    env.do("publish", channel.basic_publish, "", "queue", b"x")
    env.do("publish", channel.basic_publish, "", "queue", b"x")


@scenarios()
def channel_closed_by_the_broker_while_consuming(env: Env) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(channel)
    channel.basic_consume(queue, env.callback("message"))
    other.basic_consume(queue, env.callback("other"))
    env.break_channel(channel)
    env.do("start_consuming", channel.start_consuming)
    env.states("all", channel, other, connection)
    env.note("tags", channel.consumer_tags)
    env.do("start_consuming", channel.start_consuming)
    env.do("wait", connection.process_data_events)


@scenarios()
def channel_closed_by_the_broker_while_another_consumes(env: Env) -> None:
    connection = env.connect()
    channel, other = connection.channel(), connection.channel()
    queue = env.queue(channel)
    channel.basic_consume(queue, env.callback("message"))
    env.break_channel(other)
    connection.call_later(0.3, channel.stop_consuming)
    env.do("start_consuming", channel.start_consuming)
    env.states("all", channel, other, connection)
    env.do("other", other.queue_declare, env.name(), passive=True)
