"""What scripted servers do to the scenarios. Runs in the process of the tests."""

from __future__ import annotations

import threading
from typing import Callable

from pika import spec
from tests.support.encoding import method
from tests.support.scripted_broker import START, TUNE, Session

Script = Callable[[Session, threading.Event], object]


def silent(session: Session, go: threading.Event) -> None:
    """Answers nothing."""
    session.hold()


def http(session: Session, go: threading.Event) -> None:
    """Is a web server."""
    session.expect_header()
    session.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def other_version(session: Session, go: threading.Event) -> None:
    """Speaks another version of AMQP."""
    session.expect_header()
    session.send(b"AMQP\x00\x01\x00\x00")


def hangs_up_at_once(session: Session, go: threading.Event) -> None:
    """Ends the stream when the client has sent its header."""
    session.expect_header()


def hangs_up_after_start(session: Session, go: threading.Event) -> None:
    """Ends the stream in place of connection.tune."""
    session.expect_header()
    session.send(method(0, START))
    session.expect(spec.Connection.StartOk)


def hangs_up_after_tune(session: Session, go: threading.Event) -> None:
    """Ends the stream in place of connection.open-ok."""
    session.expect_header()
    session.send(method(0, START))
    session.expect(spec.Connection.StartOk, TUNE)
    session.expect(spec.Connection.Open)


def closes_in_place_of_tune(session: Session, go: threading.Event) -> None:
    """Refuses with connection.close in place of connection.tune."""
    session.expect_header()
    session.send(method(0, START))
    session.expect(spec.Connection.StartOk, spec.Connection.Close(320, "go away", 0, 0))
    session.close_politely()


def closes_in_place_of_open_ok(session: Session, go: threading.Event) -> None:
    """Refuses with connection.close in place of connection.open-ok."""
    session.expect_header()
    session.send(method(0, START))
    session.expect(spec.Connection.StartOk, TUNE)
    session.expect(spec.Connection.Open, spec.Connection.Close(530, "no such place", 10, 40))
    session.close_politely()


def no_mechanism(session: Session, go: threading.Event) -> None:
    """Offers no mechanism that the client has."""
    session.expect_header()
    session.send(method(0, spec.Connection.Start(0, 9, {"capabilities": {}}, "GSSAPI", "en_US")))
    session.hold()


def silent_after_start(session: Session, go: threading.Event) -> None:
    """Says nothing in place of connection.tune."""
    session.expect_header()
    session.send(method(0, START))
    session.hold()


def polite(session: Session, go: threading.Event) -> None:
    """Opens a connection and channels, and closes when it is told to."""
    session.open()
    session.close_politely()


def old(session: Session, go: threading.Event) -> None:
    """Has none of RabbitMQ's extensions."""
    session.expect_header()
    session.send(method(0, spec.Connection.Start(0, 9, {"product": "Old"}, "PLAIN", "en_US")))
    session.expect(spec.Connection.StartOk, TUNE)
    session.expect(spec.Connection.Open, spec.Connection.OpenOk())
    session.expect(spec.Channel.Open, spec.Channel.OpenOk())
    session.close_politely()


def tight(session: Session, go: threading.Event) -> None:
    """Allows two channels, frames of 8192 octets, and a heartbeat of 7 seconds."""
    session.open(spec.Connection.Tune(2, 8192, 7))
    session.close_politely()


def two_channels(session: Session, go: threading.Event) -> None:
    """Allows two channels, and opens them."""
    session.open(spec.Connection.Tune(2, 8192, 7))
    session.open_channel()
    session.open_channel()
    session.close_politely()


def blocks(session: Session, go: threading.Event) -> None:
    """Is blocked once a channel is open, and unblocked when it is told so."""
    session.open()
    session.open_channel()
    session.send(method(0, spec.Connection.Blocked("low on memory")))
    go.wait(60)
    session.send(method(0, spec.Connection.Unblocked()))
    session.close_politely()


def closes_channel_crossing(session: Session, go: threading.Event) -> None:
    """Closes the channel at the same time as the client does."""
    session.open()
    number = session.open_channel()
    session.expect(spec.Channel.Close)
    session.send(method(number, spec.Channel.Close(406, "PRECONDITION_FAILED - crossing", 60, 80)))
    session.expect(spec.Channel.CloseOk)
    session.send(method(number, spec.Channel.CloseOk()))
    session.close_politely()


def closes_connection_crossing(session: Session, go: threading.Event) -> None:
    """Closes the connection at the same time as the client does."""
    session.open()
    session.expect(spec.Connection.Close)
    session.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED - crossing", 0, 0)))
    session.expect(spec.Connection.CloseOk)
    session.send(method(0, spec.Connection.CloseOk()))
    session.close_politely()


def hangs_up_on_close(session: Session, go: threading.Event) -> None:
    """Ends the stream in place of connection.close-ok."""
    session.open()
    session.expect(spec.Connection.Close)


def closes_when_told(session: Session, go: threading.Event) -> None:
    """Opens a channel, and closes the connection when it is told to."""
    session.open()
    session.open_channel()
    go.wait(60)
    session.send(method(0, spec.Connection.Close(541, "INTERNAL_ERROR - told to", 0, 0)))
    session.close_politely()


def closes_channel_when_told(session: Session, go: threading.Event) -> None:
    """Opens a channel, and closes it when it is told to."""
    session.open()
    number = session.open_channel()
    go.wait(60)
    session.send(method(number, spec.Channel.Close(406, "PRECONDITION_FAILED - told to", 60, 80)))
    session.close_politely()


def confirms_one_of_two(session: Session, go: threading.Event) -> None:
    """Acknowledges a publish, and rejects the next."""
    session.open()
    number = session.open_channel()
    session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
    session.expect(spec.Basic.Publish)
    session.expect_content()
    session.send(method(number, spec.Basic.Ack(1, False)))
    session.expect(spec.Basic.Publish)
    session.expect_content()
    session.send(method(number, spec.Basic.Nack(2, False, False)))
    session.close_politely()


def pauses_the_flow(session: Session, go: threading.Event) -> None:
    """Pauses the client with channel.flow."""
    session.open()
    number = session.open_channel()
    session.send(method(number, spec.Channel.Flow(False)))
    session.close_politely()


#: By name.
SCRIPTS: dict[str, Script] = {
    script.__name__: script
    for script in (
        silent,
        http,
        other_version,
        hangs_up_at_once,
        hangs_up_after_start,
        hangs_up_after_tune,
        closes_in_place_of_tune,
        closes_in_place_of_open_ok,
        no_mechanism,
        silent_after_start,
        polite,
        old,
        tight,
        two_channels,
        blocks,
        closes_channel_crossing,
        closes_connection_crossing,
        hangs_up_on_close,
        closes_when_told,
        closes_channel_when_told,
        confirms_one_of_two,
        pauses_the_flow,
    )
}
