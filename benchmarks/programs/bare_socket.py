"""The workloads on a bare socket: the floor, which nothing in Python gets below.

What it sends is canned, and what it receives it counts by octets: no frame is cut, no method decoded, nobody is called,
and nothing is said of what goes wrong. meter.py says what the arguments are and what is printed.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

# As in the other programs.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import pika
from benchmarks.programs.meter import IN_FLIGHT, PREFETCH, Meter, Task, run
from pika import frame, protocol, spec
from pika.amqp_object import Method

_READ = 128 * 1024 - 256
_TAG = "tag"
# A basic.ack: type, channel, size, class and method, delivery tag, bits, end octet.
_ACK = struct.Struct(">BHIHHQBB")
_ACKED = struct.Struct(">Q")


class Wire:
    """A connection and a channel, which `pika.protocol` has opened, and what both sides send over it.

    :param task: what is to be done
    """

    def __init__(self, task: Task) -> None:
        parameters = pika.URLParameters(task.url)
        self.sock = socket.create_connection((parameters.host, parameters.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = protocol.Settings(parameters.credentials, parameters.virtual_host)
        self._task, self._rules = task, protocol.Connection(settings)
        self._rules.start(time.monotonic())
        self._exchange(protocol.Opened)
        self.channel = self._rules.open_channel()
        self.ask(self.channel.open())

    def _exchange(self, kind: type[Any]) -> None:
        while True:
            self.sock.sendall(b"".join(self._rules.data_to_send()))
            self._rules.receive_data(self.sock.recv(_READ), time.monotonic())
            if any(isinstance(event, kind) for event in self._rules.events()):
                return

    def ask(self, _reply: object) -> None:
        """Send what has been asked, and wait for its answer."""
        self._exchange(protocol.Replied)

    def start_consumer(self, tag: str, no_ack: bool) -> None:
        """Have the queue's messages sent."""
        self.channel.basic_consume(self._task.queue, tag, no_ack=no_ack, nowait=True)
        self.sock.sendall(b"".join(self._rules.data_to_send()))

    def content(self, method: Method) -> bytes:
        """Return the frames of a message as they are on the wire."""
        encoded = frame.encode_method(self.channel.number, method)
        number, limit = self.channel.number, self.channel.frame_max
        return b"".join(frame.encode_content(number, spec.BasicProperties(), self._task.body, limit, encoded))

    def publish(self) -> bytes:
        """Return the frames of a publish."""
        return self.content(spec.Basic.Publish(0, "", self._task.queue))


def publish(task: Task, meter: Meter) -> None:
    wire = Wire(task)
    send, message = wire.sock.sendall, wire.publish()
    for _ in range(task.warm_up):
        send(message)
    wire.ask(wire.channel.queue_declare(task.queue, passive=True))
    meter.start()
    for _ in range(task.messages):
        send(message)
    wire.ask(wire.channel.queue_declare(task.queue, passive=True))
    meter.stop()


def publish_confirmed(task: Task, meter: Meter) -> None:
    _confirmed(task, meter, 1)


def publish_window(task: Task, meter: Meter) -> None:
    _confirmed(task, meter, IN_FLIGHT)


def _confirmed(task: Task, meter: Meter, in_flight: int) -> None:
    wire = Wire(task)
    wire.ask(wire.channel.confirm_select())
    send, receive, message = wire.sock.sendall, wire.sock.recv, wire.publish()
    sent = settled = 0
    acks = b""
    for goal in (task.warm_up, task.total):
        while settled < goal:
            while sent < goal and sent - settled < in_flight:
                send(message)
                sent += 1
            acks += receive(_READ)
            whole = len(acks) // _ACK.size * _ACK.size
            if whole:
                (settled,) = _ACKED.unpack_from(acks, whole - 10)
                acks = acks[whole:]
        if goal < task.total:
            meter.start()
    meter.stop()


def consume(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=False)


def consume_ack(task: Task, meter: Meter) -> None:
    _consume(task, meter, acknowledge=True)


def _consume(task: Task, meter: Meter, acknowledge: bool) -> None:
    wire = Wire(task)
    if acknowledge:
        wire.ask(wire.channel.basic_qos(prefetch_count=PREFETCH))
    size = len(wire.content(spec.Basic.Deliver(_TAG, 1, False, "", task.queue)))
    wire.start_consumer(_TAG, no_ack=not acknowledge)
    send, receive, number = wire.sock.sendall, wire.sock.recv, wire.channel.number
    pack, octets, taken, goal = _ACK.pack, 0, 0, task.warm_up
    while taken < task.total:
        octets += len(receive(_READ))
        arrived = octets // size
        if acknowledge:
            for tag in range(taken + 1, arrived + 1):
                send(pack(spec.FRAME_METHOD, number, _ACK.size - frame.FRAME_OVERHEAD, 60, 80, tag, 0, spec.FRAME_END))
        taken = arrived
        if taken >= goal and goal < task.total:
            # A few more than those may have arrived with them.
            meter.start()
            goal = task.total
    meter.stop()


def get(task: Task, meter: Meter) -> None:
    wire = Wire(task)
    send, receive = wire.sock.sendall, wire.sock.recv
    request = frame.encode_method(wire.channel.number, spec.Basic.Get(0, task.queue, True))
    size = len(wire.content(spec.Basic.GetOk(1, False, "", task.queue, 0)))
    for number in range(task.total):
        if number == task.warm_up:
            meter.start()
        send(request)
        octets = 0
        while octets < size:
            octets += len(receive(_READ))
    meter.stop()


TASKS = {
    "publish": publish,
    "publish-confirmed": publish_confirmed,
    "publish-window": publish_window,
    "consume": consume,
    "consume-ack": consume_ack,
    "get": get,
}

if __name__ == "__main__":
    run(TASKS, pika.__version__, sys.argv[1:])
