"""Publishing on an event loop: returns and confirms."""

from __future__ import annotations

from typing import Any

import pika

from ..env import Env
from ..loops import Loop, LoopScenarios

scenarios = LoopScenarios()


@scenarios()
def publish_what_comes_back(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    env.do("add", channel.add_on_return_callback, env.callback("returned"))
    channel.add_on_return_callback(env.callback("returned, second callback"))
    properties = pika.BasicProperties(content_type="text/plain", headers={"a": 1}, delivery_mode=2)
    env.do("publish", channel.basic_publish, "", env.name("missing"), b"x", properties, True)
    env.do("publish an empty one", channel.basic_publish, "", env.name("missing"), b"", mandatory=True)
    env.do("publish what is dropped", channel.basic_publish, "", env.name("missing"), b"dropped")
    loop.until("returned, second callback", 2)


@scenarios()
def publish_what_comes_back_to_nobody(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    channel.basic_publish("", env.name("missing"), b"x", mandatory=True)
    channel.queue_declare(env.name(), exclusive=True, callback=env.callback("declared"))
    loop.until("declared")
    loop.wait(0.1)
    loop.states("then", channel)


@scenarios()
def publish_with_confirms(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    env.do("confirm", channel.confirm_delivery, env.callback("confirmed"), callback=env.callback("selected"))
    loop.until("selected")
    for number in (1, 2):
        channel.basic_publish("", queue, b"x")
        loop.until("confirmed", number)
    env.do("confirm again", channel.confirm_delivery, env.callback("never"))
    loop.wait(0.1)


@scenarios()
def publish_with_confirms_and_returns(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    channel.add_on_return_callback(env.callback("returned"))
    channel.confirm_delivery(env.callback("confirmed"))
    channel.basic_publish("", env.name("missing"), b"x", mandatory=True)
    loop.until("confirmed")


@scenarios()
def publish_what_is_rejected(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.confirm_delivery(env.callback("confirmed"))
    for number in (1, 2, 3):
        channel.basic_publish("", queue, b"x")
        loop.until("confirmed", number)


@scenarios()
def publish_to_a_peer_that_rejects(env: Env, loop: Loop) -> None:
    channel = loop.channel(loop.connect(env.peer("confirms_one_of_two").parameters()))
    channel.confirm_delivery(env.callback("confirmed"), callback=env.callback("selected"))
    loop.until("selected")
    channel.basic_publish("", "queue", b"x")
    channel.basic_publish("", "queue", b"y")
    loop.until("confirmed", 2)


@scenarios()
def publish_bodies_of_each_kind(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)
    bodies: list[bytes] = []
    channel.basic_consume(queue, lambda *arguments: bodies.append(arguments[3]), auto_ack=True)
    sent: tuple[Any, ...] = (b"", b"bytes", "t\u00e9xt", b"x" * 131_065, b"y" * 300_000)
    for number, body in enumerate(sent):
        env.do(f"body {number}", channel.basic_publish, "", queue, body)
    loop.run(lambda: len(bodies) == len(sent))
    env.note("received", [(len(body), body[:10]) for body in bodies])


@scenarios()
def publish_with_wrong_arguments(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    for label, arguments in (
        ("an exchange that is None", (None, "queue", b"x")),
        ("a routing key that is None", ("", None, b"x")),
        ("a body that is None", ("", "queue", None)),
        ("a body that is a number", ("", "queue", 3)),
        ("properties that are none", ("", "queue", b"x", "properties")),
        ("a routing key that is too long", ("", "q" * 256, b"x")),
    ):
        env.note(label, isinstance(env.do(label, channel.basic_publish, *arguments), Exception))
    loop.states("then", channel)


@scenarios()
def publish_inside_callbacks(env: Env, loop: Loop) -> None:
    channel = loop.channel()
    queue = loop.queue(channel)

    def publish(*_: Any) -> None:
        if env.called("message") < 3:
            channel.basic_publish("", queue, b"next")

    channel.basic_consume(
        queue, env.callback("message", publish), consumer_tag="mine", auto_ack=True, callback=lambda _: publish()
    )
    loop.until("message", 3)
