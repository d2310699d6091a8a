"""The workloads on pika.protocol alone: what encoding and decoding cost on the way that this library's clients take.

meter.py says what the arguments are and what is printed; broker and queue are not used.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Behind everything else, so that the pika that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika
from benchmarks.programs.meter import Meter, Task, run
from benchmarks.programs.scripted_broker import ScriptedBroker, converse, open_channel
from pika import frame, protocol, spec

# Deliveries of one read.
BATCH = 100
QUEUE = "benchmark-00000000"


def encode(task: Task, meter: Meter) -> None:
    """Publish, and join what is to be sent."""
    connection, channel = open_channel(ScriptedBroker(0))
    messages, body, size = task.messages, task.body, 0
    meter.start()
    for _ in range(messages):
        channel.basic_publish("", QUEUE, body)
        size += len(b"".join(connection.data_to_send()))
    meter.stop()
    if size != messages * (len(body) + 24 + 14 + 27):
        raise SystemExit(f"{messages} publishes of {len(body)} octets were encoded to {size}")


def decode(task: Task, meter: Meter) -> None:
    """Receive deliveries, many in one read, and take their events."""
    messages, body, broker = task.messages, task.body, ScriptedBroker(0)
    connection, channel = open_channel(broker)
    channel.basic_consume(QUEUE, no_ack=True)
    converse(connection, broker)
    delivery = frame.encode_method(channel.number, spec.Basic.Deliver("consumer", 1, False, "", QUEUE))
    delivery += frame.encode_header(channel.number, len(body), spec.BasicProperties())
    delivery += frame.Body(channel.number, body).marshal()
    received = 0
    meter.start()
    for first in range(0, messages, BATCH):
        connection.receive_data(delivery * min(BATCH, messages - first), 0.0)
        for event in connection.events():
            if isinstance(event, protocol.Delivery) and event.body == body:
                received += 1
    meter.stop()
    if received != messages:
        raise SystemExit(f"messages were lost: {received} of {messages} came out")


if __name__ == "__main__":
    run({"encode": encode, "decode": decode}, pika.__version__, sys.argv[1:])
