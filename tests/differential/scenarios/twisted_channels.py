"""Channels on Twisted: operations, messages, confirms, ends."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env
from ..twisted_loop import Reactor, TwistedScenarios

scenarios = TwistedScenarios()


@scenarios()
def operations(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    queue, exchange = env.name(), env.name("exchange")
    reactor.outcome("declare", channel.queue_declare, queue, exclusive=True)
    reactor.outcome("exchange", channel.exchange_declare, exchange, auto_delete=True)
    reactor.outcome("bind", channel.queue_bind, queue, exchange)
    reactor.outcome("unbind", channel.queue_unbind, queue, exchange)
    reactor.outcome("qos", channel.basic_qos, prefetch_count=5)
    reactor.outcome("recover", channel.basic_recover, True)
    reactor.outcome("flow", channel.flow)
    reactor.outcome("tx select", channel.tx_select)
    reactor.outcome("tx commit", channel.tx_commit)
    reactor.outcome("tx rollback", channel.tx_rollback)
    reactor.outcome("purge", channel.queue_purge, queue)
    reactor.outcome("delete", channel.queue_delete, queue)
    env.note("state", (channel.channel_number, channel.flow_active, channel.consumer_tags, channel.is_closing))


@scenarios()
def wrong_arguments(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    reactor.do("queue", channel.queue_declare, 5)
    reactor.do("no exchange", channel.exchange_declare, None)
    reactor.do("nothing to delete", channel.exchange_delete, None)
    reactor.do("nothing to unbind", channel.queue_unbind, "queue", None)
    reactor.do("long name", channel.queue_bind, "x" * 256, "y")
    reactor.do("consume", channel.basic_consume, 5)
    reactor.do("get", channel.basic_get, 5)
    reactor.do("acknowledge", channel.basic_ack, -1)
    reactor.do("publish", channel.basic_publish, "", "x", 5)
    reactor.do("properties", channel.basic_publish, "", "x", b"", {"a": 1})
    reactor.states("then", channel)


@scenarios()
def consuming(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    queue = reactor.queue(channel)
    reactor.outcome("consume", channel.basic_consume, queue, consumer_tag="mine")
    messages = reactor.consume(channel, queue, "other")
    env.note("tags", channel.consumer_tags)
    reactor.outcome("the same tag", channel.basic_consume, queue, consumer_tag="mine")
    reactor.outcome("cancel", channel.basic_cancel, "mine")
    reactor.do("first", messages.get)
    reactor.do("second", messages.get)
    for number in range(3):
        reactor.do(f"publish {number}", channel.basic_publish, "", queue, str(number), pika.BasicProperties(type="t"))
    reactor.until("second")
    reactor.run(lambda: messages.pending)
    reactor.do("third", messages.get)
    env.do("acknowledge", channel.basic_ack, 3, True)


@scenarios("told by a Deferred")
def cancelling(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    messages = reactor.consume(channel, reactor.queue(channel), auto_ack=True)
    reactor.do("waiting", messages.get)
    reactor.outcome("cancel", channel.basic_cancel, "mine")
    reactor.do("late", messages.get)
    reactor.do("put", messages.put, "something")
    env.note("closed", messages.closed)
    env.note("tags", channel.consumer_tags)


@scenarios("told by a Deferred")
def messages_that_nobody_has_taken(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    queue = reactor.queue(channel)
    messages = reactor.consume(channel, queue, auto_ack=True)
    for number in range(2):
        reactor.await_(channel.basic_publish("", queue, str(number)))
    reactor.run(lambda: len(messages.pending) == 2)
    reactor.outcome("cancel", channel.basic_cancel, "mine")
    env.note("pending", messages.pending)
    reactor.do("get", messages.get)


@scenarios("told by a Deferred")
def queue_is_deleted(env: Env, reactor: Reactor) -> None:
    connection = reactor.connect()
    channel, other = reactor.channel(connection), reactor.channel(connection, "other")
    queue = reactor.queue(channel)
    mine, others = reactor.consume(channel, queue, "mine"), reactor.consume(other, queue, "other")
    reactor.do("mine", mine.get)
    reactor.outcome("delete", channel.queue_delete, queue)
    reactor.run(lambda: others.closed)
    reactor.do("others", others.get)
    env.note("tags", (channel.consumer_tags, other.consumer_tags))
    reactor.states("then", channel, other)


@scenarios()
def getting(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    queue = reactor.queue(channel)
    reactor.outcome("empty", channel.basic_get, queue)
    reactor.await_(channel.basic_publish("", queue, b"one"))
    reactor.do("one", channel.basic_get, queue)
    reactor.do("too early", channel.basic_get, queue)
    reactor.until("one")
    env.do("acknowledge", channel.basic_ack, 1)


@scenarios()
def returned_messages(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    env.do("add", channel.add_on_return_callback, env.callback("returned"))
    reactor.do("publish", channel.basic_publish, "", "nowhere", b"x", pika.BasicProperties(type="t"), True)
    reactor.until("returned")


@scenarios("told by a Deferred")
def confirms(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    queue = reactor.queue(channel)
    channel.add_on_return_callback(env.callback("returned"))
    reactor.outcome("confirm", channel.confirm_delivery)
    reactor.outcome("confirm again", channel.confirm_delivery)
    reactor.outcome("publish", channel.basic_publish, "", queue, b"1")
    reactor.outcome("publish to nobody", channel.basic_publish, "", "nowhere", b"2")
    reactor.outcome("publish to somebody", channel.basic_publish, "", "nowhere", b"3", None, True)
    reactor.outcome("publish the last", channel.basic_publish, "", queue, b"4", None, True)


@scenarios("told by a Deferred")
def refused_messages(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    queue = reactor.queue(channel, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    reactor.await_(channel.confirm_delivery())
    reactor.outcome("first", channel.basic_publish, "", queue, b"1")
    reactor.outcome("second", channel.basic_publish, "", queue, b"2")


@scenarios("told by a Deferred")
def broker_closes_the_channel(env: Env, reactor: Reactor) -> None:
    connection = reactor.connect()
    channel = reactor.channel(connection)
    messages = reactor.consume(channel, reactor.queue(channel))
    reactor.do("message", messages.get)
    reactor.do("passive", channel.queue_declare, "nobody has declared this", passive=True)
    reactor.until("channel closed")
    reactor.states("then", channel, connection)
    for name in ("queue_declare", "basic_get", "basic_consume", "basic_cancel", "queue_delete"):
        reactor.do(name, getattr(channel, name), "late")
    reactor.do("publish", channel.basic_publish, "", "late", b"x")
    reactor.do("confirm", channel.confirm_delivery)
    reactor.do("flow", channel.flow)
    reactor.do("late message", messages.get)
    env.do("acknowledge", channel.basic_ack, 1)
    env.do("reject", channel.basic_reject, 1)
    env.do("close", channel.close)


@scenarios()
def closing_a_channel(env: Env, reactor: Reactor) -> None:
    connection = reactor.connect()
    channel = reactor.channel(connection)
    messages = reactor.consume(channel, reactor.queue(channel))
    reactor.do("message", messages.get)
    reactor.do("answered", channel.queue_declare, env.name("answered"), exclusive=True)
    env.do("close", channel.close, 0, "enough")
    reactor.do("declare", channel.queue_declare, "late")
    reactor.do("cancel", channel.basic_cancel, "mine")
    reactor.do("publish", channel.basic_publish, "", "late", b"x")
    env.do("close again", channel.close)
    reactor.until("channel closed")
    reactor.do("declare later", channel.queue_declare, "late")
    reactor.states("then", channel, connection)


@scenarios()
def confirms_that_never_come(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    reactor.await_(channel.confirm_delivery())
    reactor.do("publish", channel.basic_publish, "nobody has declared this", "x", b"1")
    reactor.until("channel closed")


@scenarios()
def deferreds_of_ones_own(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    deferred = reactor.watch("selected", reactor.defer.Deferred())
    env.do("callback_deferred", channel.callback_deferred, deferred, [pika.spec.Tx.SelectOk])
    reactor.outcome("select", channel.tx_select)
    closing = reactor.watch("closing", reactor.defer.Deferred())
    channel.callback_deferred(closing, [pika.spec.Channel.CloseOk])
    channel.close()
    reactor.until("channel closed")


@scenarios()
def cancelled_deferreds(env: Env, reactor: Reactor) -> None:
    channel = reactor.channel()
    deferred = reactor.do("declare", channel.queue_declare, env.name(), exclusive=True)
    env.do("cancel", deferred.cancel)
    reactor.outcome("declare another", channel.queue_declare, env.name("other"), exclusive=True)
    reactor.states("then", channel)


@scenarios("told by a Deferred")
def queues_alone(env: Env, reactor: Reactor) -> None:
    queue: Any = reactor.adapter.ClosableDeferredQueue(2, 1)
    reactor.do("get", queue.get)
    reactor.do("get too much", queue.get)
    for number in range(4):
        reactor.do(f"put {number}", queue.put, number)
    reactor.do("get one", queue.get)
    env.note("closed", queue.closed)
    env.do("close", queue.close, ValueError("enough"))
    reactor.do("get when closed", queue.get)
    reactor.do("put when closed", queue.put, 5)
    env.note("pending", queue.pending)
