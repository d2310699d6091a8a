"""New Relic's agent, without its service: a transaction per delivery, and the messages within, in one trace."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.update(
    NEW_RELIC_DEVELOPER_MODE="true",
    NEW_RELIC_LICENSE_KEY="0" * 40,
    NEW_RELIC_APP_NAME="check",
    NEW_RELIC_LOG_LEVEL="error",
)

import newrelic.agent

newrelic.agent.initialize()

import pika  # noqa: E402

QUEUE = "newrelic"
recorded: list[Any] = []


def check(url: str) -> str:
    from newrelic.core.application import Application

    record = Application.record_transaction

    def record_transaction(application: Any, data: Any) -> None:
        recorded.append(data)
        record(application, data)

    Application.record_transaction = record_transaction
    application = newrelic.agent.register_application(timeout=30)
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        from_callback(application, channel)
        from_generator(channel)
        from_get(application, channel)
    from_select_connection(url)
    return "publish, get, callback, generator, select connection"


def taken() -> list[Any]:
    """Return the transactions recorded since the last time."""
    result = recorded[:]
    recorded.clear()
    return result


def messages_of(node: Any) -> list[Any]:
    """Return the nodes of a transaction that are messages published or taken."""
    found = [node] if type(node).__name__ == "MessageNode" else []
    for child in getattr(node, "children", ()):
        found += messages_of(child)
    return found


def publish(application: Any, channel: Any, *bodies: bytes) -> Any:
    """Publish within a transaction, and return it."""
    with newrelic.agent.BackgroundTask(application, name="publisher"):
        for body in bodies:
            channel.basic_publish("", QUEUE, body, pika.BasicProperties(headers={"mine": 1}, correlation_id="id"))
    (transaction,) = taken()
    produced = messages_of(transaction.root)
    assert [(node.operation, node.destination_name) for node in produced] == [("Produce", "Default")] * len(bodies)
    for node in produced:
        assert node.params["routing_key"] == QUEUE and node.params["headers"] == {"mine": 1}, node
        assert node.agent_attributes["server.address"] == "127.0.0.1"
    return transaction


def assert_follows(transaction: Any, publisher: Any) -> None:
    """See that a delivery's transaction continues the publisher's trace."""
    assert transaction.trace_id == publisher.trace_id, (transaction.trace_id, publisher.trace_id)
    assert transaction.parent_tx == publisher.guid
    assert {attribute.name: attribute.value for attribute in transaction.agent_attributes}[
        "message.routingKey"
    ] == QUEUE


def from_callback(application: Any, channel: Any) -> None:
    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        assert "traceparent" in properties.headers and method._nr_start_time > 0
        channel.basic_publish("", "nowhere", body)
        channel.basic_ack(method.delivery_tag)
        if body == b"2":
            channel.stop_consuming()

    publisher = publish(application, channel, b"1", b"2")
    channel.basic_consume(QUEUE, on_message)
    channel.start_consuming()
    transactions = taken()
    # One for each: the callback connection below is not traced a second time.
    assert len(transactions) == 2
    for transaction in transactions:
        assert_follows(transaction, publisher)
        name = "__main__:from_callback.<locals>.on_message"
        assert transaction.name_for_metric == f"Message/RabbitMQ/Exchange/Default/{name}"
        assert [node.operation for node in messages_of(transaction.root)] == ["Produce"]


def from_generator(channel: Any) -> None:
    publisher = publish(newrelic.agent.application(), channel, b"1", b"2")
    bodies = []
    for method, _properties, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=30):
        assert method is not None
        bodies.append(body)
        assert newrelic.agent.current_transaction() is not None
        if len(bodies) == 2:
            break
    channel.cancel()
    assert bodies == [b"1", b"2"]
    transactions = taken()
    assert len(transactions) == 2
    for transaction in transactions:
        assert_follows(transaction, publisher)


def from_get(application: Any, channel: Any) -> None:
    publish(application, channel, b"1")
    with newrelic.agent.BackgroundTask(application, name="getter"):
        method, _properties, body = channel.basic_get(QUEUE, auto_ack=True)
        assert (method.routing_key, body) == (QUEUE, b"1")
    (transaction,) = taken()
    (node,) = messages_of(transaction.root)
    assert (node.operation, node.params["queue_name"], node.params["correlation_id"]) == ("Consume", QUEUE, "id")


def from_select_connection(url: str) -> None:
    bodies: list[bytes] = []

    def on_channel_open(channel: Any) -> None:
        channel.basic_consume(QUEUE, on_message, auto_ack=True)
        publish(newrelic.agent.application(), channel, b"1")

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        bodies.append(body)
        channel.connection.close()

    connection = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel_open),
        on_close_callback=lambda connection, error: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    assert bodies == [b"1"]
    (transaction,) = taken()
    assert "on_message" in transaction.name_for_metric


if __name__ == "__main__":
    print(check(sys.argv[1]))
