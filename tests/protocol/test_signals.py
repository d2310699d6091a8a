"""Signal handlers that use a channel, before any line of what they interrupt."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Callable

import pytest

import pika
from pika import frame, protocol, spec
from pika.protocol import Confirmation, Outcome
from tests.protocol.broker import Broker, connected, method, open_channel
from tests.support.encoding import Headers

LIBRARY = str(Path(pika.__file__).parent)

#: More than any operation here runs.
LINES = 1000


class Interruption(BaseException):
    """What a handler raises."""


class Signal:
    """Calls a handler before the library runs one more line than `lines`, once.

    :param lines: that number
    :param handler: the handler
    :param instructions: whether instructions of the interpreter are counted instead
    :ivar came: whether it was called; otherwise less than that number of lines were run
    """

    def __init__(self, lines: int, handler: Callable[[], object], instructions: bool = False) -> None:
        self.came = False
        self._left = lines
        self._handler = handler
        self._instructions = instructions

    @contextlib.contextmanager
    def pending(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._on_event)
        try:
            yield
        finally:
            sys.settrace(before)

    def _on_event(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        frame.f_trace_opcodes = self._instructions
        if event == ("opcode" if self._instructions else "line") and not self.came:
            self._left -= 1
            if self._left < 0:
                self.came = True
                sys.settrace(None)
                self._handler()
        return self._on_event


def interrupted(scene: Callable[[int], bool]) -> None:
    """Play a scene with the signal before each line in turn.

    :param scene: called with the number of the line; returns whether the signal came
    """
    lines = 0
    while scene(lines):
        lines += 1
        assert lines < LINES
    assert lines


def publish(channel: protocol.Channel, body: bytes) -> Confirmation:
    confirmation = Confirmation()
    channel.basic_publish("", "key", body, confirmation=confirmation)
    return confirmation


def bodies(broker: Broker) -> list[bytes]:
    return [bytes(item.fragment) for item in broker.frames() if isinstance(item, frame.Body)]


@pytest.mark.parametrize("held", [False, True])
def test_publishing_in_a_publish_that_is_confirmed(held: bool) -> None:
    """Numbers are in the order of the wire, whichever of the two comes first, and when it must wait its turn too."""

    def scene(lines: int) -> bool:
        broker = connected()
        channel = open_channel(broker)
        channel.confirm_select()
        broker.send(method(1, spec.Confirm.SelectOk()))
        if held:
            channel.basic_qos(0, 1)
            channel.basic_qos(0, 2)
        broker.frames()
        confirmations: dict[bytes, Confirmation] = {}

        def handler() -> None:
            confirmations[b"handler"] = publish(channel, b"handler")

        signal = Signal(lines, handler)
        with signal.pending():
            confirmations[b"main"] = publish(channel, b"main")
        if held:
            assert broker.frames() == []
            broker.send(method(1, spec.Basic.QosOk()), method(1, spec.Basic.QosOk()))
        sent = bodies(broker)
        assert sorted(sent) == sorted(confirmations)
        assert [confirmations[body].delivery_tag for body in sent] == [*range(1, len(sent) + 1)]
        broker.send(method(1, spec.Basic.Nack(1, False, False)), method(1, spec.Basic.Ack(2, False)))
        assert [confirmations[body].outcome for body in sent] == [Outcome.NACKED, Outcome.ACKED][: len(sent)]
        return signal.came

    interrupted(scene)


def test_publishing_in_the_select_of_confirms() -> None:
    def scene(lines: int) -> bool:
        broker = connected()
        channel = open_channel(broker)
        confirmations: list[Confirmation] = []
        signal = Signal(lines, lambda: confirmations.append(publish(channel, b"handler")))
        with signal.pending():
            channel.confirm_select()
        confirmations.append(publish(channel, b"main"))
        names = broker.wire()
        counted = names[names.index("Confirm.Select") :].count("Basic.Publish")
        assert [each.delivery_tag for each in confirmations if each.delivery_tag] == [*range(1, counted + 1)]
        assert confirmations[-1].delivery_tag == counted
        return signal.came

    interrupted(scene)


def test_operations_in_an_operation() -> None:
    """Each is sent once, in an order that the broker takes, and all are answered."""

    def scene(lines: int) -> bool:
        broker = connected()
        channel = open_channel(broker)
        replies: list[Any] = []

        def handler() -> None:
            channel.basic_publish("", "key", b"handler")
            replies.append(channel.queue_declare("handler"))
            channel.basic_ack(1)
            replies.append(channel.tx_select())

        signal = Signal(lines, handler)
        with signal.pending():
            replies.append(channel.basic_qos(0, 1))
            replies.append(channel.queue_declare("main"))
        answers = {
            spec.Basic.Qos: spec.Basic.QosOk(),
            spec.Queue.Declare: spec.Queue.DeclareOk("queue", 0, 0),
            spec.Tx.Select: spec.Tx.SelectOk(),
        }
        sent: list[Any] = []
        while asked := broker.methods():
            sent += asked
            broker.send(*(method(1, answers[type(each)]) for each in asked if type(each) in answers))
        assert all(reply.done and reply.error is None for reply in replies)
        names = sorted(each.NAME for each in sent)
        of_the_handler = ["Basic.Ack", "Basic.Publish", "Queue.Declare", "Tx.Select"]
        assert names == sorted(["Basic.Qos", "Queue.Declare", *(of_the_handler if signal.came else [])])
        own = [each.NAME for each in sent if each.NAME in ("Basic.Ack", "Basic.Publish", "Tx.Select")]
        assert not signal.came or own == ["Basic.Publish", "Basic.Ack", "Tx.Select"]
        return signal.came

    interrupted(scene)


@pytest.mark.parametrize("publishes", [False, True])
def test_a_handler_that_sends_and_raises_in_a_confirmed_publish(publishes: bool) -> None:
    """All is done or nothing, or it shows that something was begun: and then the connection has to end."""

    def scene(lines: int) -> bool:
        broker = connected()
        channel = open_channel(broker)
        channel.confirm_select()
        broker.send(method(1, spec.Confirm.SelectOk()))
        broker.frames()
        sent: list[bytes] = []
        confirmations: dict[bytes, Confirmation] = {b"main": Confirmation()}

        def handler() -> None:
            if publishes:
                confirmations[b"handler"] = publish(channel, b"handler")
            sent.extend(bodies(broker))
            raise Interruption

        begun = channel.begun
        signal = Signal(lines, handler)
        try:
            with signal.pending():
                channel.basic_publish("", "key", b"main", confirmation=confirmations[b"main"])
        except Interruption:
            pass
        if channel.begun == begun or not signal.came:
            confirmations[b"behind"] = publish(channel, b"behind")
            sent += bodies(broker)
            assert sent[-1] == b"behind"
            assert [confirmations[body].delivery_tag for body in sent] == [*range(1, len(sent) + 1)]
        return signal.came

    interrupted(scene)


def test_the_end_of_the_connection_in_a_confirmed_publish() -> None:
    """Whatever was done by then, nothing stays without an outcome."""

    def scene(lines: int) -> bool:
        broker = connected()
        channel = open_channel(broker)
        channel.confirm_select()
        broker.send(method(1, spec.Confirm.SelectOk()))
        ended: list[Confirmation] = []
        confirmation = Confirmation()
        confirmation.on_done = ended.append
        signal = Signal(lines, lambda: broker.connection.abandon(pika.exceptions.StreamLostError("gone")))
        with signal.pending():
            try:
                channel.basic_publish("", "key", b"main", confirmation=confirmation)
            except pika.exceptions.ChannelWrongStateError:
                return signal.came
        assert confirmation.outcome is (Outcome.UNKNOWN if signal.came else None)
        assert ended == ([confirmation] if signal.came else [])
        return signal.came

    interrupted(scene)


@pytest.mark.parametrize("mode", ["plain", "confirms", "held"])
def test_closing_the_channel_in_a_publish(mode: str) -> None:
    """Nothing is published behind the close: a publish that comes too late is refused, and nothing is forgotten."""

    def scene(instructions: int) -> bool:
        broker = connected()
        channel = open_channel(broker)
        if mode == "confirms":
            channel.confirm_select()
            broker.send(method(1, spec.Confirm.SelectOk()))
        elif mode == "held":
            channel.tx_select()
        broker.frames()
        confirmation = Confirmation()
        refused = False
        signal = Signal(instructions, channel.close, instructions=True)
        with signal.pending():
            try:
                channel.basic_publish("", "key", b"main", confirmation=confirmation)
            except pika.exceptions.ChannelWrongStateError:
                refused = True
        if not signal.came:
            return False
        if mode == "held":
            assert broker.frames() == []
            broker.send(method(1, spec.Tx.SelectOk()))
        assert broker.wire() == ([] if refused else ["Basic.Publish", "Header", "Body"]) + ["Channel.Close"]
        broker.send(method(1, spec.Channel.CloseOk()))
        assert broker.wire() == []
        if mode == "confirms":
            assert confirmation.outcome is (None if refused else Outcome.UNKNOWN)
        return True

    interrupted(scene)


@pytest.mark.parametrize("held", [False, True])
def test_closing_the_channel_in_operations(held: bool) -> None:
    """Nothing is sent behind the close, and whatever was accepted ends."""

    def scene(instructions: int) -> bool:
        broker = connected()
        channel = open_channel(broker)
        if held:
            channel.tx_select()
        broker.frames()
        replies: list[Any] = []
        signal = Signal(instructions, channel.close, instructions=True)
        with signal.pending(), contextlib.suppress(pika.exceptions.ChannelWrongStateError):
            channel.queue_purge("queue", nowait=True)
            replies.append(channel.queue_declare("queue"))
        if not signal.came:
            return False
        if held:
            assert broker.frames() == []
            broker.send(method(1, spec.Tx.SelectOk()))
        sent = broker.wire()
        if sent[-1] == "Queue.Declare":
            broker.send(method(1, spec.Queue.DeclareOk("queue", 0, 0)))
            sent += broker.wire()
        assert sent[-1] == "Channel.Close"
        broker.send(method(1, spec.Channel.CloseOk()))
        assert broker.wire() == []
        assert [isinstance(reply.error, pika.exceptions.ChannelClosedByClient) for reply in replies] == (
            ["Queue.Declare" not in sent] * len(replies)
        )
        return True

    interrupted(scene)


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("confirms", [False, True])
def test_headers_that_close_the_channel_when_they_are_encoded(confirms: bool, answered: bool) -> None:
    broker = connected()
    channel = open_channel(broker)
    if confirms:
        channel.confirm_select()
        broker.send(method(1, spec.Confirm.SelectOk()))
    broker.frames()

    def close() -> None:
        channel.close()
        if answered:
            broker.send(method(1, spec.Channel.CloseOk()))

    with pytest.raises(pika.exceptions.ChannelWrongStateError, match="closed" if answered else "closing"):
        channel.basic_publish("", "key", b"", spec.BasicProperties(headers=Headers(close)))
    assert broker.wire() == ["Channel.Close"]
