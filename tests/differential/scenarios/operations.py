"""What the operations on exchanges and queues return, and what they do with wrong arguments."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env, Scenarios

scenarios = Scenarios()


@scenarios()
def exchanges(env: Env) -> None:
    channel = env.channel()
    name, other, queue = env.name("exchange"), env.name("other"), env.queue(channel)
    env.do("declare", channel.exchange_declare, name)
    env.do("declare again", channel.exchange_declare, exchange=name, exchange_type="direct")
    env.do("passive", channel.exchange_declare, name, passive=True)
    env.do("default, passive", channel.exchange_declare, "amq.direct", passive=True)
    arguments = {"alternate-exchange": "amq.fanout"}
    env.do("all", channel.exchange_declare, other, "topic", False, True, True, False, arguments)
    env.do("bind", channel.exchange_bind, other, name, "key")
    env.do("bind with arguments", channel.exchange_bind, destination=other, source=name, arguments={"a": 1})
    env.do("unbind", channel.exchange_unbind, other, name, "key")
    env.do("unbind what is not bound", channel.exchange_unbind, other, name, "no such key")
    env.do("queue_bind", channel.queue_bind, queue, name)
    env.do("delete one in use", channel.exchange_delete, name, if_unused=True)
    channel = channel.connection.channel()
    env.do("delete", channel.exchange_delete, name)
    env.do("delete what is not there", channel.exchange_delete, name)
    env.do("delete", channel.exchange_delete, exchange=other)


@scenarios()
def exchanges_of_enumerations(env: Env) -> None:
    channel = env.channel()
    for kind in pika.exchange_type.ExchangeType:
        env.do(kind.name, channel.exchange_declare, env.name(kind.name), kind)
        env.do("delete", channel.exchange_delete, env.name(kind.name))


@scenarios()
def exchanges_that_are_missing(env: Env) -> None:
    connection = env.connect()
    name = env.name("missing")
    calls: dict[str, Any] = {
        "passive": lambda channel: channel.exchange_declare(name, passive=True),
        "bind": lambda channel: channel.exchange_bind("amq.direct", name),
        "queue_bind": lambda channel: channel.queue_bind(name, "amq.direct"),
        "queue_unbind": lambda channel: channel.queue_unbind(name, "amq.direct"),
        "queue_purge": lambda channel: channel.queue_purge(name),
        "queue_delete": lambda channel: channel.queue_delete(name),
        "reserved": lambda channel: channel.exchange_declare("amq.mine"),
        "default": lambda channel: channel.exchange_declare(""),
        "delete the default": lambda channel: channel.exchange_delete(""),
        "delete amq.direct": lambda channel: channel.exchange_delete("amq.direct"),
    }
    for label, call in calls.items():
        channel = connection.channel()
        env.do(label, call, channel)
        env.states(label, channel)


@scenarios()
def exchanges_with_wrong_arguments(env: Env) -> None:
    channel = env.channel()
    for label, arguments, keywords in (
        ("name None", (None,), {}),
        ("name a number", (3,), {}),
        ("name too long", ("e" * 256,), {}),
        ("type a number", (env.name(), 3), {}),
        ("type None", (env.name(), None), {}),
        ("arguments a list", (env.name(),), {"arguments": [1]}),
        ("durable a text", (env.name(),), {"durable": "yes", "auto_delete": True}),
        ("callback", (env.name(),), {"callback": print}),
        ("nothing", (), {}),
    ):
        env.do(label, channel.exchange_declare, *arguments, **keywords)
    env.do("bind None", channel.exchange_bind, None, None)
    env.do("bind a number", channel.exchange_bind, "amq.direct", "amq.fanout", 3)
    env.do("delete a number", channel.exchange_delete, 3)
    env.states("both", channel, channel.connection)


@scenarios()
def exchanges_without_a_name(env: Env) -> None:
    for label in ("exchange_unbind", "exchange_delete"):
        channel = env.channel()
        env.do(label, getattr(channel, label))
        env.states("both", channel, channel.connection)


@scenarios()
def queues(env: Env) -> None:
    channel = env.channel()
    name = env.name()
    env.do("declare", channel.queue_declare, name, exclusive=True)
    env.do("declare again", channel.queue_declare, queue=name, exclusive=True)
    env.do("passive", channel.queue_declare, name, passive=True)
    env.do("named by the broker", channel.queue_declare, "", exclusive=True)
    env.fill(channel, name, 3)
    channel.basic_consume(name, print)
    env.do("counts", channel.connection.channel().queue_declare, name, passive=True)
    channel.connection.channel()
    env.do("bind", channel.queue_bind, name, "amq.direct")
    env.do("bind with a key", channel.queue_bind, name, "amq.topic", "a.*")
    env.do("bind with arguments", channel.queue_bind, name, "amq.headers", arguments={"x-match": "all", "a": 1})
    env.do("unbind", channel.queue_unbind, name, "amq.direct")
    env.do("unbind with a key", channel.queue_unbind, queue=name, exchange="amq.topic", routing_key="a.*")


@scenarios()
def queues_with_messages(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    env.do("counts", channel.queue_declare, queue, passive=True)
    env.do("delete if empty", channel.connection.channel().queue_delete, queue, if_empty=True)
    env.do("purge", channel.queue_purge, queue)
    env.do("purge nothing", channel.queue_purge, queue)
    env.fill(channel, queue, 2)
    channel.connection.channel().basic_consume(queue, print)
    env.do("delete if unused", channel.connection.channel().queue_delete, queue, if_unused=True)
    env.do("delete", channel.queue_delete, queue)
    env.do("delete what is not there", channel.queue_delete, queue)


@scenarios()
def queues_with_wrong_arguments(env: Env) -> None:
    channel = env.channel()
    for label, arguments, keywords in (
        ("name None", (None,), {}),
        ("name a number", (3,), {}),
        ("name bytes", (b"queue",), {}),
        ("name too long", ("q" * 256,), {}),
        ("arguments a list", (env.name(),), {"arguments": [1]}),
        ("arguments of an odd type", (env.name(),), {"arguments": {"a": object()}}),
        ("durable a text", (env.name("durable"),), {"durable": "yes", "exclusive": True}),
        ("an unknown keyword", (env.name(),), {"nowait": True}),
        ("nothing", (), {}),
    ):
        env.do(label, channel.queue_declare, *arguments, **keywords)
    env.do("bind None", channel.queue_bind, None, None)
    env.do("bind a number", channel.queue_bind, 3, "amq.direct")
    env.do("unbind None", channel.queue_unbind, None, None)
    env.do("purge None", channel.queue_purge, None)
    env.do("purge a number", channel.queue_purge, 3)
    env.do("delete None", channel.queue_delete, None)
    env.do("delete a number", channel.queue_delete, 3)
    env.states("both", channel, channel.connection)


@scenarios()
def dead_letters(env: Env) -> None:
    channel = env.channel()
    dead = env.queue(channel, "dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead, "x-max-priority": 3}
    queue = env.queue(channel, messages=1, arguments=arguments)
    env.do("get", channel.basic_get, queue)
    env.do("reject", channel.basic_reject, 1, requeue=False)
    channel.connection.sleep(0.1)
    method, properties, body = channel.basic_get(dead)
    deaths = properties.headers["x-death"]
    env.note("death", [{key: value for key, value in death.items() if key != "time"} for death in deaths])
    env.note("time", type(deaths[0]["time"]).__name__)
    env.note("message", (method.routing_key, body))


@scenarios()
def keywords_of_operations(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.do("publish", channel.basic_publish, exchange="", routing_key=queue, body="x", properties=None, mandatory=False)
    env.do("publish with immediate", channel.basic_publish, "", queue, b"x", immediate=True)
    env.do("consume with no_ack", channel.basic_consume, queue, print, no_ack=True)
    env.do("get with no_ack", channel.basic_get, queue, no_ack=True)
    env.do("old order of consume", channel.basic_consume, print, queue)
    env.do("tx with a callback", channel.tx_select, callback=print)
    env.do("confirm with nowait", channel.confirm_delivery, nowait=True)
    env.do("qos by position", channel.basic_qos, 0, 5, False)
    env.do("cancel by keyword", channel.basic_cancel, consumer_tag="none")
    env.do("recover by keyword", channel.basic_recover, requeue=True)
    env.do("nack by keywords", channel.connection.channel().basic_nack, delivery_tag=0, multiple=True, requeue=False)
    env.states("channel", channel)


@scenarios()
def policies_are_the_brokers(env: Env) -> None:
    channel = env.channel()
    name = env.name("stream")
    arguments = {"x-queue-type": "stream"}
    env.do("a stream", channel.queue_declare, name, durable=True, arguments=arguments)
    env.do("consume without qos", channel.basic_consume, name, print)
    env.states("both", channel, channel.connection)
    env.do("delete", channel.connection.channel().queue_delete, name)
