"""Consuming and getting messages on an event loop."""

from __future__ import annotations

from typing import Any

from ..env import Env
from ..loops import Loop, LoopScenarios

scenarios = LoopScenarios()


@scenarios()
def consume_and_acknowledge(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=3)

    def acknowledge(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        env.do("ack", channel.basic_ack, method.delivery_tag)

    env.do(
        "consume",
        channel.basic_consume,
        queue,
        env.callback("message", acknowledge),
        consumer_tag="mine",
        callback=env.callback("consuming"),
    )
    env.note("tags", channel.consumer_tags)
    loop.until("message", 3)
    env.note("tags", channel.consumer_tags)
    env.do("cancel", channel.basic_cancel, "mine", callback=env.callback("cancelled"))
    loop.until("cancelled")
    env.note("tags", channel.consumer_tags)


@scenarios()
def consume_with_a_generated_tag(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    tag = env.do("consume", channel.basic_consume, loop.queue(channel, messages=1), env.callback("message"), True)
    loop.until("message")
    env.note("listed", channel.consumer_tags == [tag])


@scenarios()
def consume_with_a_tag_in_use(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine", callback=env.callback("consuming"))
    env.do("at once", channel.basic_consume, queue, env.callback("never"), consumer_tag="mine")
    loop.until("consuming")
    env.do("later", channel.basic_consume, queue, env.callback("never"), consumer_tag="mine")
    channel.basic_publish("", queue, b"x")
    loop.until("message")


@scenarios()
def consume_and_cancel_at_once(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine", callback=env.callback("consuming"))
    env.do("cancel", channel.basic_cancel, "mine", callback=env.callback("cancelled"))
    env.do("cancel again", channel.basic_cancel, "mine", callback=env.callback("cancelled again"))
    env.do("cancel another", channel.basic_cancel, "unknown", callback=env.callback("never"))
    env.do("cancel nothing", channel.basic_cancel)
    loop.until("cancelled")
    loop.wait(0.1)
    env.note("tags", channel.consumer_tags)


@scenarios()
def consume_and_cancel_inside_a_delivery(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=3)

    def cancel(*_: Any) -> None:
        env.do("cancel", channel.basic_cancel, "mine", callback=env.callback("cancelled"))

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, env.callback("message", cancel), consumer_tag="mine")
    loop.until("cancelled")
    channel.queue_declare(queue, passive=True, callback=env.callback("declared"))
    loop.until("declared")


@scenarios()
def consume_and_close_the_channel_inside_a_delivery(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=3)

    def close(*_: Any) -> None:
        env.do("close", channel.close)
        loop.states("behind close", channel)
        env.do("ack", channel.basic_ack, 1)

    channel.basic_consume(queue, env.callback("message", close), consumer_tag="mine")
    loop.until("channel closed")
    loop.wait(0.1)
    env.note("tags", channel.consumer_tags)


@scenarios()
def consume_and_close_the_connection_inside_a_delivery(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=3)

    def close(*_: Any) -> None:
        env.do("close", channel.connection.close)
        loop.states("behind close", channel, channel.connection)
        env.do("ack", channel.basic_ack, 1)

    channel.basic_consume(queue, env.callback("message", close), consumer_tag="mine")
    loop.until("closed")
    loop.states("then", channel, channel.connection)


@scenarios()
def consume_a_queue_that_is_deleted(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    channel.add_on_cancel_callback(env.callback("cancelled by the broker"))
    channel.add_on_cancel_callback(env.callback("cancelled, second callback"))
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine", callback=env.callback("consuming"))
    loop.until("consuming")
    loop.channel(channel.connection, "other").queue_delete(queue)
    loop.until("cancelled, second callback")
    env.note("tags", channel.consumer_tags)
    env.do("cancel", channel.basic_cancel, "mine", callback=env.callback("never"))
    loop.states("then", channel)


@scenarios()
def consume_a_queue_that_is_not_there(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    env.do(
        "consume",
        channel.basic_consume,
        env.name("missing"),
        env.callback("never"),
        consumer_tag="mine",
        callback=env.callback("never consuming"),
    )
    loop.until("channel closed")
    env.note("tags", channel.consumer_tags)


@scenarios()
def consume_exclusively(env: Env, loop: Loop) -> None:
    connection = loop.connect()
    channel, other = loop.channel(connection), loop.channel(connection, "other")
    queue = loop.queue(channel, messages=1)
    channel.basic_consume(
        queue, env.callback("message"), exclusive=True, consumer_tag="mine", callback=env.callback("consuming")
    )
    loop.until("message")
    other.basic_consume(queue, env.callback("never"), consumer_tag="other", callback=env.callback("never consuming"))
    loop.until("other closed")
    loop.states("then", channel, other)


@scenarios()
def consume_and_put_back(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=2)

    def put_back(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        if not method.redelivered:
            channel.basic_reject(method.delivery_tag, requeue=True)
        else:
            channel.basic_nack(method.delivery_tag, multiple=False, requeue=False)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, env.callback("message", put_back), consumer_tag="mine")
    loop.until("message", 4)


@scenarios()
def consume_and_recover(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=2)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine")
    loop.until("message", 2)
    env.do("recover", channel.basic_recover, True, callback=env.callback("recovered"))
    loop.until("message", 4)


@scenarios()
def consume_with_wrong_arguments(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    for label, arguments in (
        ("a queue that is a number", (3, env.callback("never"))),
        ("a queue that is None", (None, env.callback("never"))),
        ("a callback that is a text", ("queue", "callback")),
        ("auto_ack", ("queue", env.callback("never"), "x")),
    ):
        env.do(label, channel.basic_consume, *arguments)
    loop.states("then", channel)


@scenarios()
def get_messages_until_there_are_none(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=1)
    env.do("get", channel.basic_get, queue, env.callback("message"), True)
    loop.until("message")
    env.do("get from nothing", channel.basic_get, queue, env.callback("never"))
    channel.queue_declare(queue, passive=True, callback=env.callback("declared"))
    loop.until("declared")


@scenarios()
def get_twice_at_once(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=2)
    env.do("get", channel.basic_get, queue, env.callback("message"))
    env.do("get again", channel.basic_get, queue, env.callback("second message"))
    loop.until("message")
    env.do("get once more", channel.basic_get, queue, env.callback("third message"))
    loop.until("third message")


@scenarios()
def get_from_a_queue_that_is_not_there(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    env.do("get", channel.basic_get, env.name("missing"), env.callback("never"))
    loop.until("channel closed")


@scenarios()
def get_inside_a_callback(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, messages=2)

    def again(*_: Any) -> None:
        channel.basic_get(queue, env.callback("second message"))

    channel.basic_get(queue, env.callback("message", again))
    loop.until("second message")


@scenarios("get on a closed channel")
def get_on_a_closed_channel(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    channel.close()
    loop.until("channel closed")
    env.do("get", channel.basic_get, "queue", env.callback("never"))


@scenarios("tag of a consumer that is gone")
def consume_with_a_tag_that_was_cancelled(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine", callback=env.callback("consuming"))
    loop.until("consuming")
    channel.basic_cancel("mine")
    channel.queue_declare(queue, passive=True, callback=env.callback("declared"))
    loop.until("declared")
    env.do("consume again", channel.basic_consume, queue, env.callback("second message"), consumer_tag="mine")
