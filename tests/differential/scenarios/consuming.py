"""Consuming with callbacks."""

from __future__ import annotations

import threading
from typing import Any

from ..env import Env, Scenarios

scenarios = Scenarios()


def bodies(env: Env) -> list[Any]:
    """Return the values of the calls that were recorded."""
    return [record["value"] for record in env.records if record["what"] == "call"]


@scenarios()
def consume_and_stop(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)

    def take(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        if body == b"2":
            env.do("stop", channel.stop_consuming)

    env.do("consume", channel.basic_consume, queue, env.callback("message", take), consumer_tag="mine")
    env.note("tags", channel.consumer_tags)
    env.do("start", channel.start_consuming)
    env.note("tags", channel.consumer_tags)
    env.states("channel", channel)


@scenarios()
def consume_with_a_generated_tag(env: Env) -> None:
    channel = env.channel()
    tag = env.do("consume", channel.basic_consume, env.queue(channel), env.callback("message"))
    env.note("tags", channel.consumer_tags)
    env.do("cancel", channel.basic_cancel, tag)
    env.do("an empty tag", channel.basic_consume, env.name(), env.callback("message"), consumer_tag="")
    env.note("tags", channel.consumer_tags)


@scenarios()
def consume_with_the_same_tag(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.do("first", channel.basic_consume, queue, env.callback("message"), consumer_tag="mine")
    env.do("second", channel.basic_consume, queue, env.callback("message"), consumer_tag="mine")
    env.states("channel", channel)
    env.note("tags", channel.consumer_tags)
    env.do("on another channel", channel.connection.channel().basic_consume, queue, print, consumer_tag="mine")


@scenarios()
def consume_from_a_missing_queue(env: Env) -> None:
    channel = env.channel()
    env.do("consume", channel.basic_consume, env.name("missing"), env.callback("never"))
    env.states("both", channel, channel.connection)
    env.note("tags", channel.consumer_tags)


@scenarios()
def consume_with_wrong_arguments(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.do("no callable", channel.basic_consume, queue, "callback")
    env.do("None", channel.basic_consume, queue, None)
    env.do("a queue that is a number", channel.basic_consume, 3, print)
    env.do("a queue that is None", channel.basic_consume, None, print)
    env.do("auto_ack a text", channel.basic_consume, queue, print, auto_ack="yes")
    env.do("arguments a list", channel.basic_consume, queue, print, arguments=[1])
    env.do("a tag that is a number", channel.basic_consume, queue, print, consumer_tag=3)
    env.states("both", channel, channel.connection)
    env.note("tags", len(channel.consumer_tags))


@scenarios()
def consume_exclusively(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.do("exclusive", channel.basic_consume, queue, env.callback("never"), exclusive=True, consumer_tag="a")
    other = channel.connection.channel()
    env.do("second", other.basic_consume, queue, env.callback("never"), consumer_tag="b")
    env.states("both", channel, other)


@scenarios()
def start_consuming_without_consumers(env: Env) -> None:
    channel = env.channel()
    env.do("start", channel.start_consuming)
    env.do("stop", channel.stop_consuming)
    env.do("stop of an unknown tag", channel.stop_consuming, "unknown")


@scenarios()
def start_consuming_twice(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)

    def again(*_: Any) -> None:
        env.do("start inside", channel.start_consuming)
        env.do("start of another inside", channel.connection.channel().start_consuming)
        env.do("stop", channel.stop_consuming)

    channel.basic_consume(queue, env.callback("message", again), auto_ack=True)
    env.do("start", channel.start_consuming)
    env.do("start without", channel.start_consuming)


@scenarios()
def start_consuming_inside_a_timer(env: Env) -> None:
    channel = env.channel()
    channel.basic_consume(env.queue(channel), env.callback("message"))
    channel.connection.call_later(0, env.callback("timer", lambda: env.do("start", channel.start_consuming)))
    env.do("sleep", channel.connection.sleep, 0.1)


@scenarios()
def stop_consuming_one_of_two(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)

    def stop_first(*_: Any) -> None:
        env.do("stop the first", channel.stop_consuming, "first")
        env.note("tags", channel.consumer_tags)
        channel.connection.call_later(0.05, env.callback("timer", channel.stop_consuming))

    channel.basic_consume(queue, env.callback("first", stop_first), auto_ack=True, consumer_tag="first")
    channel.basic_consume(env.queue(channel, "other"), env.callback("other"), consumer_tag="second")
    env.fill(channel, queue, 1)
    env.do("start", channel.start_consuming)
    env.note("tags", channel.consumer_tags)


@scenarios()
def stop_consuming_from_another_thread(env: Env) -> None:
    channel = env.channel()
    channel.basic_consume(env.queue(channel), env.callback("message"))
    env.later(0.1, channel.connection.add_callback_threadsafe, channel.stop_consuming)
    env.do("start", channel.start_consuming)
    env.note("tags", channel.consumer_tags)


@scenarios()
def cancel_with_pending_messages(env: Env) -> None:
    for auto_ack in (False, True):
        channel = env.channel()
        queue = env.queue(channel, f"queue-{auto_ack}", messages=3)
        channel.basic_consume(queue, env.callback("message"), auto_ack=auto_ack, consumer_tag="mine")
        # Until everything has arrived, without any callback: operations of a channel bring in what there is.
        threading.Event().wait(0.1)
        channel.basic_qos(prefetch_count=0)
        env.do(f"cancel, auto_ack {auto_ack}", channel.basic_cancel, "mine")
        env.count("left", channel, queue)
        _method, _properties, body = channel.basic_get(queue)
        env.note("get", body)


@scenarios()
def cancel_what_is_not_there(env: Env) -> None:
    channel = env.channel()
    env.do("unknown", channel.basic_cancel, "unknown")
    env.do("a number", channel.basic_cancel, 3)
    env.do("None", channel.basic_cancel, None)
    env.do("empty", channel.basic_cancel, "")
    channel.basic_consume(env.queue(channel), env.callback("never"), consumer_tag="mine")
    env.do("known", channel.basic_cancel, "mine")
    env.do("twice", channel.basic_cancel, "mine")


@scenarios()
def cancel_inside_the_callback(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)

    def cancel(channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        env.do("cancel", channel.basic_cancel, method.consumer_tag)
        env.note("tags", channel.consumer_tags)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, env.callback("message", cancel), consumer_tag="mine")
    env.do("start", channel.start_consuming)
    env.states("channel", channel)


@scenarios()
def cancelled_by_the_broker(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    channel.add_on_cancel_callback(env.callback("cancelled"))
    channel.add_on_cancel_callback(env.callback("cancelled, second callback"))
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine")
    channel.connection.channel().queue_delete(queue)
    env.do("start", channel.start_consuming)
    env.note("tags", channel.consumer_tags)
    env.states("channel", channel)
    env.do("cancel", channel.basic_cancel, "mine")


@scenarios()
def cancelled_by_the_broker_while_consuming(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    other = channel.connection.channel()
    channel.add_on_cancel_callback(env.callback("cancelled"))
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine")
    channel.connection.call_later(0.05, env.callback("timer", lambda: other.queue_delete(queue)))
    env.do("start", channel.start_consuming)
    env.note("tags", channel.consumer_tags)


@scenarios()
def cancelled_by_the_broker_with_a_callback_that_raises(env: Env) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("from a cancel")

    channel = env.channel()
    queue = env.queue(channel)
    channel.add_on_cancel_callback(env.callback("cancelled", fail))
    channel.add_on_cancel_callback(env.callback("behind it"))
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine")
    channel.connection.channel().queue_delete(queue)
    env.do("start", channel.start_consuming)
    env.note("tags", channel.consumer_tags)
    env.do("start again", channel.start_consuming)


@scenarios()
def cancelled_by_the_broker_with_a_callback_that_was_added_twice(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    cancelled = env.callback("cancelled")
    env.do("add", channel.add_on_cancel_callback, cancelled)
    env.do("add again", channel.add_on_cancel_callback, cancelled)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine")
    channel.connection.channel().queue_delete(queue)
    env.do("start", channel.start_consuming)


@scenarios()
def stopping_without_consumers(env: Env) -> None:
    channel = env.channel()
    env.do("stop", channel.stop_consuming)
    env.do("cancel of the generator", channel.cancel)
    env.do("stop one", channel.stop_consuming, "missing")
    channel.close()
    env.do("stop, closed", channel.stop_consuming)


@scenarios()
def message_callbacks_that_raise(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)

    def fail(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        if body == b"0":
            raise LookupError("from a message")
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_consume(queue, env.callback("message", fail), consumer_tag="mine")
    env.do("start", channel.start_consuming)
    env.states("both", channel, channel.connection)
    env.note("tags", channel.consumer_tags)
    env.fill(channel, queue, 1, first=1)
    env.do("start again", channel.start_consuming)
    env.note("tags", channel.consumer_tags)


@scenarios("behind an exception")
def message_callbacks_that_raise_with_messages_behind(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    received = []

    def fail(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        received.append(body)
        if body == b"0":
            raise LookupError("from a message")

    channel.basic_consume(queue, fail, consumer_tag="mine")
    channel.connection.add_callback_threadsafe(lambda: None)
    threading.Event().wait(0.1)
    env.do("first", env.pump, channel.connection, lambda: False, 2)
    env.do("second", env.pump, channel.connection, lambda: False, 0.3)
    env.note("received", received)
    env.states("both", channel, channel.connection)


@scenarios()
def consumers_of_two_channels(env: Env) -> None:
    connection = env.connect()
    first, second = connection.channel(), connection.channel()
    for channel in (first, second):
        queue = env.queue(channel, f"queue-{int(channel)}", messages=1)
        channel.basic_consume(queue, env.callback(f"on channel {int(channel)}"), auto_ack=True, consumer_tag="mine")
        env.pump(connection, lambda expected=int(channel): len(bodies(env)) >= expected)  # type: ignore[misc]
    connection.call_later(0.05, second.stop_consuming)
    env.do("start", second.start_consuming)
    env.note("tags", (first.consumer_tags, second.consumer_tags))


@scenarios()
def operations_inside_a_callback_keep_the_order(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)

    def operate(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        env.do("declare", channel.queue_declare, queue, passive=True)
        env.do("get", channel.basic_get, queue)
        env.do("qos", channel.basic_qos, prefetch_count=10)
        env.note("done", body)
        if body == b"2":
            channel.stop_consuming()

    channel.basic_consume(queue, env.callback("message", operate), auto_ack=True, consumer_tag="mine")
    env.do("start", channel.start_consuming)


@scenarios()
def acknowledging(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=5)
    for _ in range(5):
        channel.basic_get(queue)
    env.do("ack", channel.basic_ack, 1)
    env.do("ack several", channel.basic_ack, 3, multiple=True)
    env.do("nack", channel.basic_nack, 4, requeue=True)
    env.do("reject", channel.basic_reject, 5, requeue=False)
    env.count("left", channel, queue)
    env.do("get", channel.basic_get, queue)
    env.do("ack all", channel.basic_ack, 0, True)
    env.count("left", channel, queue)
    env.do("ack all of nothing", channel.basic_ack, 0, True)
    env.states("channel", channel)


@scenarios()
def acknowledging_twice(env: Env) -> None:
    for label in ("basic_ack", "basic_nack", "basic_reject"):
        channel = env.channel()
        queue = env.queue(channel, f"queue-{label}", messages=1)
        method, _properties, _body = channel.basic_get(queue)
        env.do(label, getattr(channel, label), method.delivery_tag)
        env.until_raises(f"{label} twice", channel.basic_ack, method.delivery_tag)
        env.states(label, channel, channel.connection)


@scenarios()
def acknowledging_with_wrong_arguments(env: Env) -> None:
    for tag in (None, "1", -1, 2**64, 1.5):
        channel = env.channel()
        env.do(f"ack {tag!r}", channel.basic_ack, tag)
        env.do(f"nack {tag!r}", channel.basic_nack, tag)
        env.do(f"reject {tag!r}", channel.basic_reject, tag)
        env.states(f"{tag!r}", channel.connection)


@scenarios()
def recovering(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=2)
    channel.basic_consume(queue, env.callback("message"), consumer_tag="mine")
    env.pump(channel.connection, lambda: len(bodies(env)) == 2)
    env.do("recover", channel.basic_recover, True)
    env.pump(channel.connection, lambda: len(bodies(env)) == 4)
    env.do("recover to the same", channel.basic_recover, False)
    env.states("both", channel, channel.connection)


@scenarios()
def quality_of_service(env: Env) -> None:
    channel = env.channel()
    env.do("default", channel.basic_qos)
    env.do("count", channel.basic_qos, prefetch_count=3)
    env.do("global", channel.basic_qos, prefetch_count=3, global_qos=True)
    for name, value in (
        ("prefetch_count", -1),
        ("prefetch_count", 65536),
        ("prefetch_count", "1"),
        ("prefetch_count", None),
        ("prefetch_count", 1.5),
        ("prefetch_size", -1),
        ("prefetch_size", "x"),
        ("global_qos", "x"),
    ):
        channel = env.channel()
        env.do(f"{name} {value!r}", channel.basic_qos, **{name: value})
        env.states("both", channel, channel.connection)


@scenarios()
def getting(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.do("empty", channel.basic_get, queue)
    env.fill(channel, queue, 3)
    env.do("full", channel.basic_get, queue)
    env.do("with auto_ack", channel.basic_get, queue, auto_ack=True)
    env.do("by keyword", channel.basic_get, queue=queue, auto_ack=False)
    env.do("empty again", channel.basic_get, queue)
    env.do("a number", channel.basic_get, 3)
    env.do("None", channel.basic_get, None)
    env.do("missing", channel.basic_get, env.name("missing"))
    env.states("channel", channel)


@scenarios()
def getting_inside_a_timer(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)
    channel.connection.call_later(0, lambda: env.do("get", channel.basic_get, queue, auto_ack=True))
    env.do("sleep", channel.connection.sleep, 0.1)
