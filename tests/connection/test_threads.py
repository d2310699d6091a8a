"""Threads at a callback connection: the one whose loop it is, and those that come while another is inside."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import pika
import pika.broker
from pika import exceptions
from tests.support.plain_connection import PATIENCE, PlainConnection


class SlowConnection(PlainConnection):
    """A connection whose sending takes as long as the test wants."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.sending = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        super().__init__(*arguments, **options)

    def _adapter_emit_data(self, data: bytes) -> None:
        self.sending.set()
        assert self.go_on.wait(PATIENCE)
        super()._adapter_emit_data(data)


def test_what_the_loop_brings_waits_and_another_call_is_refused() -> None:
    with pika.broker.Broker() as broker:
        connection = SlowConnection(pika.URLParameters(broker.url))
        connection.run(lambda: connection.is_open)
        channel = connection.channel(on_open_callback=lambda channel: connection.log.append("open"))
        connection.run(lambda: connection.log == ["open"])
        channel.queue_declare("jobs")
        channel.basic_consume("jobs", lambda *message: connection.log.append(message[-1]), auto_ack=True)
        channel.basic_publish("", "jobs", b"first")
        # Its delivery has arrived, and is not read yet, when the other thread is inside.
        time.sleep(0.2)
        connection.sending.clear()
        connection.go_on.clear()
        other = threading.Thread(target=channel.basic_publish, args=("", "jobs", b"second"))
        other.start()
        assert connection.sending.wait(PATIENCE)
        with pytest.raises(exceptions.WrongThreadError, match="add_callback_threadsafe"):
            channel.basic_publish("", "jobs", b"refused")
        assert connection.is_open and channel.is_open
        threading.Timer(0.2, connection.go_on.set).start()
        connection.run(lambda: connection.log[-1] == b"second")
        other.join(PATIENCE)
        connection.run_for(0.1)
        assert connection.log == ["open", b"first", b"second"]
        connection.close()
        connection.run(lambda: connection.is_closed)
