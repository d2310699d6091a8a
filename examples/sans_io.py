"""AMQP without I/O, over a bare socket: declare, publish with a confirm, consume one message, acknowledge it, close.

``pika.protocol`` says what to send and what arrived, and never waits: for those who bring their own way of waiting.

    python examples/sans_io.py [amqp-url]
"""

import select
import socket
import sys
import time

from pika import URLParameters, protocol


def drive(connection, sock):
    """Move a connection's bytes, and give its events one by one, until it is closed."""
    connection.start(time.monotonic())
    while connection.state is not protocol.ConnectionState.CLOSED:
        sock.sendall(b"".join(connection.data_to_send()))
        deadline = connection.next_deadline()
        if select.select([sock], [], [], None if deadline is None else max(deadline - time.monotonic(), 0))[0]:
            data = sock.recv(65536)
            if data:
                connection.receive_data(data, time.monotonic())
            else:
                connection.stream_lost(EOFError("the broker has closed the stream"))
        connection.tick(time.monotonic())
        yield from connection.events()
    sock.sendall(b"".join(connection.data_to_send()))


def until(events, kind):
    """Take events until one is of a kind, and return it; raise the reason when the channel or connection ends."""
    event = next(event for event in events if isinstance(event, (kind, protocol.ChannelClosed, protocol.Closed)))
    if not isinstance(event, kind):
        raise event.error
    return event


parameters = URLParameters(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/%2F")
connection = protocol.Connection(protocol.Settings(parameters.credentials, parameters.virtual_host))
with socket.create_connection((parameters.host, parameters.port)) as sock:
    events = drive(connection, sock)
    until(events, protocol.Opened)
    channel = connection.open_channel()
    channel.open()
    until(events, protocol.Replied)
    queue = channel.queue_declare(exclusive=True)
    until(events, protocol.Replied)
    channel.confirm_select()
    confirmation = protocol.Confirmation()
    channel.basic_publish("", queue.result().queue, b"bytes in, events out", confirmation=confirmation)
    until(events, protocol.Confirmed)
    channel.basic_consume(queue.result().queue)
    delivery = until(events, protocol.Delivery)
    channel.basic_ack(delivery.method.delivery_tag)
    connection.close()
    print(confirmation.outcome, delivery.body, list(events)[-1].error, sep="\n")
