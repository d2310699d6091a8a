"""Publishing: with and without confirms, what comes back, transactions, bodies and properties."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pika

from ..env import Env, Scenarios

scenarios = Scenarios()


@scenarios()
def publish_to_a_missing_exchange(env: Env) -> None:
    connection = env.connect()
    channel = connection.channel()
    env.until_raises("publish", channel.basic_publish, env.name("missing"), "", b"x")
    env.states("both", channel, connection)


@scenarios()
def publish_to_a_missing_exchange_with_confirms(env: Env) -> None:
    channel = env.channel()
    env.do("confirm_delivery", channel.confirm_delivery)
    env.do("publish", channel.basic_publish, env.name("missing"), "", b"x")
    env.states("both", channel, channel.connection)
    env.do("publish", channel.basic_publish, env.name("missing"), "", b"x")


@scenarios()
def publish_to_an_internal_exchange(env: Env) -> None:
    channel = env.channel()
    channel.exchange_declare(env.name("exchange"), "direct", internal=True, auto_delete=False)
    channel.confirm_delivery()
    env.do("publish", channel.basic_publish, env.name("exchange"), "", b"x")
    channel.connection.channel().exchange_delete(env.name("exchange"))


@scenarios()
def returns_with_a_callback(env: Env) -> None:
    channel = env.channel()
    channel.add_on_return_callback(env.callback("returned"))
    channel.add_on_return_callback(env.callback("returned, second callback"))
    properties = pika.BasicProperties(headers={"a": 1}, delivery_mode=2)
    env.do("publish", channel.basic_publish, "", env.name("missing"), b"body", properties, mandatory=True)
    env.do("publish", channel.basic_publish, "", env.name("missing"), b"second", mandatory=True)
    env.pump(channel.connection, lambda: len(env.records) >= 6)


@scenarios()
def returns_without_a_callback(env: Env) -> None:
    channel = env.channel()
    env.do("publish", channel.basic_publish, "", env.name("missing"), b"body", mandatory=True)
    env.do("sleep", channel.connection.sleep, 0.1)
    env.do("declare", channel.queue_declare, env.name(), exclusive=True)


@scenarios()
def returns_with_a_callback_that_raises(env: Env) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("from a return")

    channel = env.channel()
    channel.add_on_return_callback(env.callback("returned", fail))
    channel.basic_publish("", env.name("missing"), b"body", mandatory=True)
    env.do("wait", channel.connection.sleep, 0.2)
    env.do("wait again", channel.connection.sleep, 0.1)
    env.states("both", channel, channel.connection)


@scenarios("behind an exception")
def returns_with_a_callback_that_raises_before_another(env: Env) -> None:
    received = []

    def fail(*_: Any) -> None:
        raise LookupError("from a return")

    channel = env.channel()
    channel.add_on_return_callback(fail)
    channel.add_on_return_callback(lambda *_: received.append("second callback"))
    channel.basic_publish("", env.name("missing"), b"body", mandatory=True)
    env.do("wait", channel.connection.sleep, 0.2)
    env.do("wait again", channel.connection.sleep, 0.1)
    env.note("received", received)


@scenarios()
def returns_with_confirms(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    channel.add_on_return_callback(env.callback("returned"))
    channel.confirm_delivery()
    properties = pika.BasicProperties(content_type="text/plain", headers={"a": [1, "x"]})
    env.do("mandatory", channel.basic_publish, "", env.name("missing"), b"body", properties, mandatory=True)
    env.do("not mandatory", channel.basic_publish, "", env.name("missing"), b"body")
    env.do("routed", channel.basic_publish, "", queue, b"body", mandatory=True)
    env.do("wait", channel.connection.sleep, 0.1)
    env.states("channel", channel)


@scenarios()
def confirms_twice(env: Env) -> None:
    channel = env.channel()
    env.do("once", channel.confirm_delivery)
    env.do("twice", channel.confirm_delivery)
    env.do("publish", channel.basic_publish, "", env.queue(channel), b"x")


@scenarios()
def confirms_nacked(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.confirm_delivery()
    env.do("first", channel.basic_publish, "", queue, b"1")
    env.do("second", channel.basic_publish, "", queue, b"2", pika.BasicProperties(message_id="2"), mandatory=True)
    env.states("channel", channel)
    env.do("get", channel.basic_get, queue, auto_ack=True)
    env.do("third", channel.basic_publish, "", queue, b"3")


@scenarios()
def confirms_nacked_by_a_script(env: Env) -> None:
    channel = env.peer("confirms_one_of_two").connect().channel()
    channel.confirm_delivery()
    env.do("first", channel.basic_publish, "", "queue", b"1")
    env.do("second", channel.basic_publish, "", "queue", b"2")


@scenarios(limit=5)
def confirms_of_an_old_broker(env: Env) -> None:
    channel = env.peer("old").connect().channel()
    env.do("confirm_delivery", channel.confirm_delivery)
    env.states("channel", channel)


@scenarios()
def publish_with_wrong_arguments(env: Env) -> None:
    calls: dict[str, tuple[Any, ...]] = {
        "exchange None": (None, "key", b"x"),
        "exchange a number": (3, "key", b"x"),
        "key None": ("", None, b"x"),
        "key a number": ("", 3, b"x"),
        "body None": ("", "key", None),
        "body a number": ("", "key", 3),
        "body a list": ("", "key", [1]),
        "properties an empty dict": ("", "key", b"x", {}),
        "properties a dict": ("", "key", b"x", {"priority": 1}),
        "a key that is too long": ("", "k" * 256, b"x"),
        "an exchange that is too long": ("e" * 256, "key", b"x"),
        "headers that are no dict": ("", "key", b"x", pika.BasicProperties(headers=[1])),  # type: ignore[arg-type]
        "a header of an odd type": ("", "key", b"x", pika.BasicProperties(headers={"a": object()})),
        "a header with a name that is no text": ("", "key", b"x", pika.BasicProperties(headers={1: 1})),  # type: ignore[dict-item]
        "priority a text": ("", "key", b"x", pika.BasicProperties(priority="1")),  # type: ignore[arg-type]
        "priority 256": ("", "key", b"x", pika.BasicProperties(priority=256)),
        "delivery_mode 300": ("", "key", b"x", pika.BasicProperties(delivery_mode=300)),
        "content_type a number": ("", "key", b"x", pika.BasicProperties(content_type=3)),  # type: ignore[arg-type]
        "timestamp a text": ("", "key", b"x", pika.BasicProperties(timestamp="now")),  # type: ignore[arg-type]
    }
    for label, arguments in calls.items():
        channel = env.channel()
        env.do(label, channel.basic_publish, *arguments)
        env.states(label, channel, channel.connection)


@scenarios()
def bodies_that_travel(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    for body in (b"", b"x", "text", "h\u00e4\u20ac\U0001f407", b"y" * 4096, b"\x00\xff\xce" * 3):
        env.do("publish", channel.basic_publish, "", queue, body)
        env.do("get", get_soon, channel, queue)


@scenarios()
def bodies_that_are_large(env: Env) -> None:
    channel = env.channel(frame_max=4096)
    queue = env.queue(channel)
    channel.confirm_delivery()
    for size in (4087, 4088, 4089, 100_000, 3_000_000):
        body = bytes(range(251)) * (size // 251 + 1)
        env.do("publish", channel.basic_publish, "", queue, body[:size])
        _method, _properties, received = channel.basic_get(queue, auto_ack=True)
        env.note("the same", (len(received), received == body[:size]))


def get_soon(channel: Any, queue: str) -> Any:
    """Get a message that is on its way."""
    for _ in range(200):
        result = channel.basic_get(queue, auto_ack=True)
        if result[0] is not None:
            return result
        channel.connection.sleep(0.01)
    return None


@scenarios()
def properties_that_travel(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    headers = {
        "text": "t\u00e4xt",
        "empty": "",
        "bytes": b"\x00\xff",
        "int": -5,
        "large": 2**40,
        "true": True,
        "none": None,
        "list": [1, "a", [], {}],
        "table": {"a": {"b": 1}},
        "time": datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        "decimal": Decimal("1.5"),
    }
    every = pika.BasicProperties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers=headers,
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1577934245,
        type="t",
        user_id="guest",
        app_id="a",
        cluster_id="",
    )
    for properties in (every, None, pika.BasicProperties(), pika.BasicProperties(headers={}, content_type="")):
        env.do("publish", channel.basic_publish, "", queue, b"x", properties)
        _method, received, _body = get_soon(channel, queue)
        times = {key: str(value) for key, value in (received.headers or {}).items() if key in ("time", "decimal")}
        env.note("times", times)
        env.note("received", received)
    env.note("text", str(pika.BasicProperties(content_type="x")))
    env.note("equal", pika.BasicProperties(priority=1) == pika.BasicProperties(priority=1))


@scenarios()
def transactions(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel)
    env.do("select", channel.tx_select)
    env.do("select again", channel.tx_select)
    channel.basic_publish("", queue, b"1")
    env.do("before", channel.queue_declare, queue, passive=True)
    env.do("commit", channel.tx_commit)
    env.do("behind the commit", channel.queue_purge, queue)
    channel.basic_publish("", queue, b"2")
    env.do("rollback", channel.tx_rollback)
    env.do("behind the rollback", channel.queue_purge, queue)


@scenarios()
def transactions_not_begun(env: Env) -> None:
    channel = env.channel()
    env.do("commit", channel.tx_commit)
    env.states("channel", channel, channel.connection)
    channel = env.channel()
    env.do("rollback", channel.tx_rollback)
    env.states("channel", channel, channel.connection)


@scenarios()
def transactions_and_confirms(env: Env) -> None:
    channel = env.channel()
    env.do("select", channel.tx_select)
    env.do("confirms", channel.confirm_delivery)
    env.states("channel", channel, channel.connection)
    channel = env.channel()
    env.do("confirms", channel.confirm_delivery)
    env.do("select", channel.tx_select)
    env.states("channel", channel, channel.connection)


@scenarios()
def publishing_inside_a_callback(env: Env) -> None:
    channel = env.channel()
    queue = env.queue(channel, messages=1)
    channel.confirm_delivery()

    def publish(*_: Any) -> None:
        env.do("publish", channel.basic_publish, "", queue, b"second")
        env.do("unroutable", channel.basic_publish, "", env.name("missing"), b"", mandatory=True)
        env.do("declare", channel.queue_declare, queue, passive=True)
        channel.basic_cancel("one")
        channel.stop_consuming()

    channel.basic_consume(queue, env.callback("message", publish), consumer_tag="one", auto_ack=True)
    env.do("start_consuming", channel.start_consuming)
