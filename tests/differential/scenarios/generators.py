"""The consuming generator."""

from __future__ import annotations

from typing import Any

from ..env import Env, Scenarios

scenarios = Scenarios()


@scenarios()
def generator_with_inactivity(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=2)
    for index, message in enumerate(channel.consume(queue, inactivity_timeout=0.1)):
        env.note("message", message)
        if index == 3:
            break
    env.do("cancel", channel.cancel)
    env.do("cancel again", channel.cancel)
    env.note("tags", channel.consumer_tags)


@scenarios()
def generator_without_waiting(env: Env) -> None:
    channel = env.channel()
    generator = channel.consume(env.queue(channel), inactivity_timeout=0)
    env.do("first", next, generator)
    env.do("second", next, generator)
    env.do("cancel", channel.cancel)
    env.do("third", next, generator, "the end")


@scenarios()
def generator_cancelled_with_messages(env: Env) -> None:
    for auto_ack in (False, True):
        channel = env.channel()
        queue = env.queue(channel, f"queue-{auto_ack}", messages=4)
        generator = channel.consume(queue, auto_ack=auto_ack, inactivity_timeout=5)
        env.do("first", next, generator)
        env.pump(channel.connection, lambda channel=channel: channel.get_waiting_message_count() == 3)
        env.do("waiting", channel.get_waiting_message_count)
        env.do(f"cancel, auto_ack {auto_ack}", channel.cancel)
        env.do("waiting", channel.get_waiting_message_count)
        env.do("next", next, generator, "the end")
        env.count("left", channel, queue)


@scenarios()
def generator_abandoned(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    for method, _properties, body in channel.consume(queue, inactivity_timeout=5):
        env.note("message", body)
        channel.basic_ack(method.delivery_tag)
        break
    env.note("tags", len(channel.consumer_tags))
    env.do("declare", channel.queue_declare, queue, passive=True)
    for _method, _properties, body in channel.consume(queue, inactivity_timeout=0.2):
        env.note("resumed", body)
        if body is None:
            break
    env.do("close", channel.close)


@scenarios()
def generator_entered_again(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=2)
    first = channel.consume(queue, inactivity_timeout=2)
    env.do("first", next, first)
    second = channel.consume(queue, inactivity_timeout=2)
    env.do("same parameters", next, second)
    third = channel.consume(queue, auto_ack=True, inactivity_timeout=2)
    env.do("another auto_ack", next, third)
    env.do("another exclusive", next, channel.consume(queue, exclusive=True))
    env.do("another queue", next, channel.consume("other"))
    env.do("another tag", next, channel.consume(queue, consumer_tag="mine", inactivity_timeout=0.1))
    env.do("other arguments", next, channel.consume(queue, arguments={"x-priority": 1}, inactivity_timeout=0.1))
    env.note("tags", len(channel.consumer_tags))
    env.do("cancel", channel.cancel)
    env.do("behind the cancel", next, channel.consume(queue, auto_ack=True, inactivity_timeout=2))


@scenarios()
def generator_cancelled_inside_the_loop(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    for method, _properties, body in channel.consume(queue, inactivity_timeout=5):
        env.note("message", (method.delivery_tag, body))
        env.note("an int", isinstance(channel.cancel(), int))
    env.note("the loop has ended", True)
    env.count("left", channel, queue)


@scenarios()
def generator_after_a_cancel(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=2)
    for number in range(2):
        for method, _properties, body in channel.consume(queue, inactivity_timeout=5):
            env.note("message", body)
            channel.basic_ack(method.delivery_tag)
            break
        env.note(f"cancelled {number}", channel.cancel() in (0, 1))


@scenarios()
def generator_with_auto_ack(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=2)
    for message in channel.consume(queue, auto_ack=True, consumer_tag="mine", inactivity_timeout=0.1):
        env.note("message", message)
        env.note("tags", channel.consumer_tags)
        if message[0] is None:
            break
    env.do("cancel", channel.cancel)
    env.note("tags", channel.consumer_tags)


@scenarios()
def generator_closed(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=2)
    generator = channel.consume(queue, inactivity_timeout=5)
    env.do("first", next, generator)
    env.do("close", generator.close)
    env.note("tags", len(channel.consumer_tags))
    env.do("next", next, generator, "the end")
    env.do("throw", generator.throw, LookupError("thrown"))
    env.do("another", next, channel.consume(queue, inactivity_timeout=5))


@scenarios()
def generator_of_a_missing_queue(env: Env) -> None:
    channel = env.channel()
    generator = env.do("consume", channel.consume, env.name("missing"))
    env.do("next", next, generator, "the end")
    env.states("both", channel, channel.connection)
    env.do("cancel", channel.cancel)
    env.do("again", next, channel.consume(env.name("missing")), "the end")


@scenarios()
def generator_with_wrong_arguments(env: Env) -> None:
    channel = env.channel()
    for label, arguments, keywords in (
        ("a queue that is a number", (3,), {}),
        ("a queue that is None", (None,), {}),
        ("an inactivity_timeout that is a text", ("queue",), {"inactivity_timeout": "x"}),
        ("a negative one", (env.queue(channel),), {"inactivity_timeout": -1}),
    ):
        env.do(label, first_of, channel, *arguments, **keywords)
        if channel.is_open:
            env.do("cancel", channel.cancel)
    env.states("both", channel, channel.connection)


def first_of(channel: Any, *arguments: Any, **keywords: Any) -> Any:
    """Return what a generator gives first."""
    return next(channel.consume(*arguments, **keywords))


@scenarios("consumers of a lost channel")
def generator_whose_queue_is_deleted(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)
    channel.add_on_cancel_callback(env.callback("cancelled"))
    for _method, _properties, body in channel.consume(queue, inactivity_timeout=5):
        env.note("message", body)
        channel.connection.channel().queue_delete(queue)
    env.note("the loop has ended", True)
    env.states("channel", channel)
    env.note("tags", channel.consumer_tags)
    env.do("cancel", channel.cancel)


@scenarios()
def generator_whose_channel_is_closed(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    generator = channel.consume(queue, inactivity_timeout=5)
    env.do("first", next, generator)
    env.do("close", channel.close)
    env.do("next", next, generator, "the end")
    env.do("cancel", channel.cancel)
    env.do("waiting", channel.get_waiting_message_count)


@scenarios()
def generator_whose_channel_ends_in_an_error(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)

    def loop() -> None:
        for _method, _properties, body in channel.consume(queue, inactivity_timeout=5):
            env.note("message", body)
            env.break_channel(channel)

    env.do("loop", loop)
    env.states("both", channel, channel.connection)
    env.do("cancel", channel.cancel)


@scenarios()
def generator_whose_connection_is_closed(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=3)
    generator = channel.consume(queue, inactivity_timeout=5)
    env.do("first", next, generator)
    env.do("close", channel.connection.close)
    env.do("next", next, generator, "the end")
    env.do("cancel", channel.cancel)


@scenarios()
def generator_with_timers_and_callbacks(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    channel.connection.call_later(0.05, env.callback("timer"))
    channel.connection.add_callback_threadsafe(env.callback("threadsafe"))
    for message in channel.consume(queue, inactivity_timeout=0.3):
        env.note("message", message)
        break


@scenarios()
def generator_with_a_timer_that_raises(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)

    def fail() -> None:
        raise LookupError("from a timer")

    channel.connection.call_later(0.05, fail)
    generator = channel.consume(queue, inactivity_timeout=0.3)
    env.do("first", next, generator)
    env.do("next", next, generator, "the end")
    env.do("another", next, channel.consume(queue, inactivity_timeout=0.1))


@scenarios()
def generator_beside_a_callback_consumer(env: Env) -> None:
    channel = env.channel()
    queue, other = env.queue(channel), env.queue(channel, "other")
    channel.basic_consume(other, env.callback("other"), auto_ack=True, consumer_tag="other")
    env.fill(channel, other, 1)
    for message in channel.consume(queue, inactivity_timeout=0.3, consumer_tag="mine"):
        env.note("message", message)
        break
    env.note("tags", sorted(channel.consumer_tags))
    env.do("cancel", channel.cancel)
    env.note("tags", channel.consumer_tags)


@scenarios()
def generator_stopped_by_stop_consuming(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)
    generator = channel.consume(queue, inactivity_timeout=0.2)
    env.do("first", next, generator)
    env.do("stop_consuming", channel.stop_consuming)
    env.note("tags", len(channel.consumer_tags))
    env.do("next", next, generator, "the end")


@scenarios()
def waiting_messages(env: Env) -> None:
    channel = env.channel()
    env.do("without a generator", channel.get_waiting_message_count)
    queue = env.queue(channel, messages=3)
    generator = channel.consume(queue, inactivity_timeout=5)
    env.do("first", next, generator)
    channel.connection.sleep(0.1)
    env.do("with", channel.get_waiting_message_count)
    env.do("second", next, generator)
    env.do("with", channel.get_waiting_message_count)
