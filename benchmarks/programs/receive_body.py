"""Receives one large body with pika.protocol, over a socket or octet by octet without one.

Arguments: "socket", octets of the body and the port of a scripted broker; or "octets" and octets of the body.
Prints one line of JSON: seconds, and with a socket the peak of memory above what was there before, in octets.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

# Behind everything else, so that the pika that is measured is the one that the interpreter has.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.programs.meter import peak_rss_kib, report
from benchmarks.programs.scripted_broker import ScriptedBroker, is_body, open_channel
from pika import protocol
from pika.credentials import PlainCredentials
from pika.transport.stream import READ_LIMIT


def over_socket(body_size: int, port: int) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        connection = protocol.Connection(protocol.Settings(PlainCredentials("guest", "guest")))
        connection.start(0.0)
        _until(sock, connection, protocol.Opened)
        channel = connection.open_channel()
        channel.open()
        _until(sock, connection, protocol.Replied)
        reply = channel.basic_get("queue", no_ack=True)
        before = _rss_kib()
        start = time.perf_counter()
        _until(sock, connection, protocol.Replied)
        seconds = time.perf_counter() - start
        peak = peak_rss_kib()
    assert reply is not None
    _require_body(reply, body_size)
    memory = None if before is None or peak is None else (peak - before) * 1024
    return {"seconds": seconds, "peak_memory": memory}


def _until(sock: socket.socket, connection: protocol.Connection, kind: type[Any]) -> None:
    """Send and receive until an event of a kind has come out."""
    while True:
        sock.sendall(b"".join(connection.data_to_send()))
        data = sock.recv(READ_LIMIT)
        if not data:
            raise SystemExit("the scripted broker hung up")
        connection.receive_data(data, 0.0)
        for event in connection.events():
            if isinstance(event, protocol.Closed):
                raise event.error
            if isinstance(event, kind):
                sock.sendall(b"".join(connection.data_to_send()))
                return


def octet_by_octet(body_size: int) -> dict[str, Any]:
    broker = ScriptedBroker(body_size)
    connection, channel = open_channel(broker)
    reply = channel.basic_get("queue", no_ack=True)
    answer = b"".join(broker.answer(b"".join(connection.data_to_send())))
    octets = [bytes((value,)) for value in range(256)]
    receive, next_event = connection.receive_data, connection.next_event
    start = time.perf_counter()
    for octet in answer:
        receive(octets[octet], 0.0)
        next_event()
    seconds = time.perf_counter() - start
    assert reply is not None
    _require_body(reply, body_size)
    return {"seconds": seconds}


def _require_body(reply: protocol.Reply[Any], body_size: int) -> None:
    if reply.content is None or not is_body(reply.content[1], body_size):
        raise SystemExit(f"the body that came out is not the one of {body_size} octets that was sent")


def _rss_kib() -> int | None:
    """What is resident now; where only the peak is known, that."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return peak_rss_kib()


if __name__ == "__main__":
    if sys.argv[1] == "socket":
        report(over_socket(int(sys.argv[2]), int(sys.argv[3])))
    else:
        report(octet_by_octet(int(sys.argv[2])))
