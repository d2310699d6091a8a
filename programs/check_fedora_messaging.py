"""Fedora Messaging: its publisher and its consumer on Twisted, which outlive their connections."""

from __future__ import annotations

import sys
import threading
from typing import Any

from common import PATIENCE, proxy_to, wait_until
from fedora_messaging import api, config, exceptions

NUMBER = 20


def check(url: str) -> str:
    proxy, through = proxy_to(url)
    config.conf.load_config()
    config.conf["amqp_url"] = through
    queue = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    binding = {"queue": "fedora", "exchange": "amq.topic", "routing_keys": ["check.#"]}
    seen: list[Any] = []
    refused: list[Any] = []
    ends: list[BaseException] = []

    def on_message(message: Any) -> None:
        number = message.body["number"]
        if number == 3 and not refused:
            refused.append(number)
            raise exceptions.Nack
        seen.append(number)
        if number < 0:
            raise exceptions.HaltConsumer

    def consume() -> None:
        try:
            api.consume(on_message, bindings=[binding], queues={"fedora": queue})
        except BaseException as error:
            ends.append(error)

    def publish(*numbers: int) -> None:
        for number in numbers:
            api.publish(api.Message(topic="check.number", body={"number": number}), timeout=int(PATIENCE))

    with proxy:
        consumer = threading.Thread(target=consume, daemon=True)
        consumer.start()
        wait_until(lambda: api._twisted_service and api._twisted_service.factory.consuming, "the consumer")
        publish(*range(NUMBER))
        wait_until(lambda: set(seen) == set(range(NUMBER)), "the messages")
        assert refused == [3] and len(seen) == NUMBER
        proxy.reset()
        publish(*range(NUMBER, 2 * NUMBER))
        wait_until(lambda: set(seen) == set(range(2 * NUMBER)), "those behind the end of the connection")
        publish(-1)
        consumer.join(PATIENCE)
        assert not consumer.is_alive() and isinstance(ends[0], exceptions.HaltConsumer), ends
    return "confirmed publishes, a consumer, nack, reconnecting, halting"


if __name__ == "__main__":
    print(check(sys.argv[1]))
