"""Channels on an event loop: their callbacks, their errors, and what other channels see of them."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env
from ..loops import Loop, LoopScenarios

scenarios = LoopScenarios()


def pair(env: Env, loop: Loop, **attributes: Any) -> tuple[Any, Any]:
    """Return two channels of one connection."""
    connection = loop.connect(env.parameters(**attributes))
    return loop.channel(connection), loop.channel(connection, "other")


def aftermath(env: Env, loop: Loop, channel: Any, other: Any) -> None:
    """Record what is left of both channels and of the connection, when one of them was closed."""
    loop.until("channel closed")
    loop.states("then", channel, other, channel.connection)
    env.do("declare", channel.queue_declare, env.name("late"), exclusive=True)
    env.do("close", channel.close)
    other.queue_declare(env.name("other"), exclusive=True, callback=env.callback("declared on the other"))
    loop.until("declared on the other")


@scenarios()
def channel_opens_and_closes(env: Env, loop: Loop) -> None:
    connection = loop.connect()

    def state(label: str) -> Any:
        return lambda channel, *_: loop.states(label, channel, connection)

    channel = connection.channel(on_open_callback=env.callback("channel open", state("in open")))
    env.do("close callback", channel.add_on_close_callback, env.callback("channel closed", state("in closed")))
    channel.add_on_close_callback(env.callback("channel closed, second callback"))
    env.note("number", channel.channel_number)
    env.note("opening", channel.is_opening)
    env.note("the connection", channel.connection is connection)
    loop.until("channel open")
    env.do("close", channel.close, 0, "enough")
    loop.states("behind close", channel)
    env.do("close again", channel.close)
    env.do("declare", channel.queue_declare, env.name())
    loop.until("channel closed, second callback")
    loop.states("at the end", channel, connection)
    env.do("close once more", channel.close)


@scenarios()
def channel_numbers(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    first = loop.channel(connection)
    seventh = loop.channel(connection, "seventh", 7)
    second = loop.channel(connection, "second")
    env.note("numbers", [first.channel_number, seventh.channel_number, second.channel_number])
    first.close()
    loop.until("channel closed")
    env.note("the first free one", loop.channel(connection, "again").channel_number)


@scenarios()
def channel_error_not_found(env: Env, loop: Loop) -> None:
    channel, other = pair(env, loop)
    channel.queue_declare(env.name("missing"), passive=True, callback=env.callback("never"))
    aftermath(env, loop, channel, other)


@scenarios()
def channel_error_access_refused(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channel, other = loop.channel(connection), loop.channel(connection, "other")
    channel.exchange_declare("amq.mine", callback=env.callback("never"))
    aftermath(env, loop, channel, other)


@scenarios()
def channel_error_resource_locked(env: Env, loop: Loop) -> None:
    queue = env.queue(env.channel())
    channel, other = pair(env, loop)
    channel.queue_declare(queue, exclusive=True, callback=env.callback("never"))
    aftermath(env, loop, channel, other)


@scenarios()
def channel_error_precondition_failed(env: Env, loop: Loop) -> None:
    channel, other = pair(env, loop)
    loop.queue(channel)
    channel.basic_ack(99)
    aftermath(env, loop, channel, other)


@scenarios()
def channel_error_of_a_publish(env: Env, loop: Loop) -> None:
    channel, other = pair(env, loop)
    channel.add_on_return_callback(env.callback("never"))
    channel.basic_publish(env.name("missing"), "", b"x")
    aftermath(env, loop, channel, other)


@scenarios()
def channel_error_with_operations_behind_it(env: Env, loop: Loop) -> None:
    channel, other = pair(env, loop)
    queue = loop.queue(channel)
    env.do("first", channel.queue_declare, queue, passive=True, callback=env.callback("first"))
    env.do("fails", channel.queue_declare, env.name("missing"), passive=True, callback=env.callback("fails"))
    env.do("behind", channel.queue_declare, queue, passive=True, callback=env.callback("behind"))
    env.do("consumer behind", channel.basic_consume, queue, env.callback("message"), consumer_tag="mine")
    aftermath(env, loop, channel, other)
    env.note("consumers", channel.consumer_tags)


@scenarios("end in the log")
def channel_error_of_the_connection(env: Env, loop: Loop) -> None:
    channel, _other = pair(env, loop)
    channel.exchange_declare(env.name("exchange"), "no-such-type", callback=env.callback("never"))
    loop.until("closed")
    loop.states("then", channel, channel.connection)
    env.do("channel", channel.connection.channel)


@scenarios()
def channel_reopened_in_its_close_callback(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channel = loop.channel(connection)
    opened: list[Any] = []
    channel.add_on_close_callback(lambda *_: connection.channel(on_open_callback=opened.append))
    channel.queue_declare(env.name("missing"), passive=True)
    loop.run(lambda: opened)
    loop.states("then", channel, connection, *opened)


@scenarios()
def channel_close_behind_operations(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    for number in range(3):
        channel.queue_declare(env.name(str(number)), exclusive=True, callback=env.callback(f"declared {number}"))
    env.do("close", channel.close)
    loop.until("channel closed")
    loop.wait(0.1)


@scenarios()
def channel_closes_cross(env: Env, loop: Loop) -> None:
    channel = loop.channel(loop.connect(env.peer("closes_channel_crossing").parameters()))
    channel.close()
    loop.until("channel closed")
    loop.states("then", channel, channel.connection)


@scenarios()
def channel_closed_by_the_broker(env: Env, loop: Loop) -> None:
    peer = env.peer("closes_channel_when_told")
    channel = loop.channel(loop.connect(peer.parameters()))
    channel.queue_declare("queue", callback=env.callback("never"))
    peer.go()
    loop.until("channel closed")
    loop.states("then", channel, channel.connection)


@scenarios()
def channel_without_callbacks(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channel = env.do("channel", connection.channel)
    loop.run(lambda: channel.is_open)
    env.do("declare", channel.queue_declare, env.name(), exclusive=True)
    env.do("purge", channel.queue_purge, env.name())
    env.do("qos", channel.basic_qos, prefetch_count=1)
    channel.queue_declare(env.name(), passive=True, callback=env.callback("declared"))
    loop.until("declared")


@scenarios("no callback")
def channel_callbacks_that_are_none(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    for name in ("add_on_cancel_callback", "add_on_close_callback", "add_on_flow_callback", "add_on_return_callback"):
        env.do(name, getattr(channel, name), None)


@scenarios()
def channel_operations_with_callbacks_that_are_none(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    for name, arguments in (
        ("queue_declare", (env.name("2"),)),
        ("queue_bind", (queue, "amq.direct")),
        ("queue_purge", (queue,)),
        ("queue_unbind", (queue, "amq.direct")),
        ("queue_delete", (env.name("2"),)),
        ("exchange_declare", (env.name("exchange"),)),
        ("exchange_bind", ("amq.direct", "amq.topic")),
        ("exchange_unbind", ("amq.direct", "amq.topic")),
        ("exchange_delete", (env.name("exchange"),)),
        ("basic_qos", ()),
        ("basic_recover", ()),
        ("basic_cancel", ("mine",)),
        ("flow", (True,)),
        ("tx_select", ()),
        ("tx_commit", ()),
        ("tx_rollback", ()),
    ):
        env.do(name, getattr(channel, name), *arguments, callback="callback")
    env.do("basic_get", channel.basic_get, queue, None)
    env.do("basic_consume", channel.basic_consume, queue, None)
    env.do("confirm_delivery", channel.confirm_delivery, None)
    loop.states("then", channel)


@scenarios()
def channel_operations_answer_in_order(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    one, two, exchange = env.name("1"), env.name("2"), env.name("exchange")
    for name, arguments, keywords in (
        ("queue_declare", (one,), {"exclusive": True}),
        ("exchange_declare", (exchange, "topic"), {"auto_delete": True}),
        ("queue_declare", (two,), {"exclusive": True}),
        ("queue_bind", (one, exchange, "a.#"), {}),
        ("exchange_bind", (exchange, "amq.topic"), {}),
        ("exchange_unbind", (exchange, "amq.topic"), {}),
        ("queue_unbind", (one, exchange, "a.#"), {}),
        ("basic_qos", (), {"prefetch_count": 10}),
        ("queue_purge", (one,), {}),
        ("basic_recover", (True,), {}),
        ("flow", (True,), {}),
        ("queue_delete", (one,), {}),
        ("queue_delete", (two,), {"if_empty": True}),
        ("exchange_delete", (exchange,), {}),
    ):
        env.do(name, getattr(channel, name), *arguments, **keywords, callback=env.callback(f"{name} done"))
    env.do("publish", channel.basic_publish, "", "nowhere", b"x")
    loop.run(lambda: env.called("exchange_delete done") + env.called("channel closed"))
    loop.states("then", channel)


@scenarios()
def channel_operations_inside_callbacks(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = env.name()

    def declared(_frame: Any) -> None:
        channel.queue_bind(queue, "amq.direct", callback=env.callback("bound"))
        channel.queue_purge(queue, callback=env.callback("purged", lambda _: channel.close()))

    channel.queue_declare(queue, exclusive=True, callback=env.callback("declared", declared))
    channel.basic_qos(prefetch_count=1, callback=env.callback("qos"))
    loop.until("channel closed")


@scenarios()
def channel_calls_after_its_end(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    channel.close()
    loop.until("channel closed")
    for name, arguments in (
        ("basic_publish", ("", "queue", b"x")),
        ("basic_ack", (1,)),
        ("basic_nack", (1,)),
        ("basic_reject", (1,)),
        ("basic_qos", ()),
        ("basic_recover", ()),
        ("basic_consume", ("queue", print)),
        ("basic_cancel", ("mine",)),
        ("queue_declare", ("queue",)),
        ("queue_bind", ("queue", "amq.direct")),
        ("exchange_declare", ("exchange",)),
        ("confirm_delivery", (print,)),
        ("tx_select", ()),
        ("flow", (True,)),
        ("add_on_return_callback", (print,)),
        ("add_on_close_callback", (print,)),
    ):
        env.do(name, getattr(channel, name), *arguments)
    loop.wait(0.1)
    loop.states("then", channel, channel.connection)


@scenarios()
def channel_transactions(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    channel.tx_select(callback=env.callback("selected"))
    loop.until("selected")
    for body, name in ((b"kept", "tx_commit"), (b"lost", "tx_rollback")):
        channel.basic_publish("", queue, body)
        getattr(channel, name)(callback=env.callback(name))
        loop.until(name)
    channel.queue_declare(queue, passive=True, callback=env.callback("declared"))
    loop.until("declared")


@scenarios("paused flow")
def channel_flow_of_the_broker(env: Env, loop: Loop) -> None:
    connection = loop.connect(env.peer("pauses_the_flow").parameters())
    channel = connection.channel(on_open_callback=env.callback("channel open"))
    channel.add_on_flow_callback(env.callback("flow"))
    loop.until("flow")
    loop.states("then", channel, connection)


@scenarios()
def channel_add_callback(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    env.do("add", channel.add_callback, env.callback("empty"), [pika.spec.Basic.GetEmpty])
    env.do("add for good", channel.add_callback, env.callback("always empty"), [pika.spec.Basic.GetEmpty], False)
    for times in (1, 2):
        env.do("get", channel.basic_get, queue, env.callback("message"))
        loop.until("always empty", times)


@scenarios("number in use on a loop")
def channel_number_in_use(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    loop.channel(connection, number=7)
    env.do("again", connection.channel, 7)


@scenarios("opened again")
def channel_opened_again(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    env.do("open", channel.open)


@scenarios("program order")
def channel_transactions_in_one_go(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    channel.tx_select(callback=env.callback("selected"))
    channel.basic_publish("", queue, b"dropped")
    channel.tx_rollback(callback=env.callback("rolled back"))
    channel.basic_publish("", queue, b"kept")
    channel.tx_commit(callback=env.callback("committed"))
    loop.until("committed")
    purged: list[Any] = []
    channel.queue_purge(queue, callback=purged.append)
    loop.run(lambda: purged)
    env.note("messages", purged[0].method.message_count)
