"""What a channel's callbacks are called with, in which order, and what happens when they raise."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pika import frame, spec
from pika.channel import Channel
from tests.support.encoding import content, method
from tests.support.plain_connection import PlainConnection, call, open_channel, opened_on
from tests.support.scripted_broker import Session, delivery


def test_once_or_always(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    channel.add_callback(lambda method_frame: log.append(("once", method_frame.method.NAME)), [spec.Queue.PurgeOk])
    channel.add_callback(
        lambda method_frame: log.append(("always", method_frame.method.NAME)),
        [spec.Queue.PurgeOk, spec.Basic.QosOk],
        one_shot=False,
    )
    call(connection, channel.queue_purge, queue)
    call(connection, channel.queue_purge, queue)
    call(connection, channel.basic_qos, prefetch_count=1)
    assert log == [
        ("once", "Queue.PurgeOk"),
        ("always", "Queue.PurgeOk"),
        ("always", "Queue.PurgeOk"),
        ("always", "Basic.QosOk"),
    ]


def test_once_is_once_for_each_class(connection: PlainConnection, channel: Channel, queue: str) -> None:
    names: list[str] = []
    channel.add_callback(
        lambda method_frame: names.append(method_frame.method.NAME), [spec.Queue.PurgeOk, spec.Basic.QosOk]
    )
    for _ in range(2):
        call(connection, channel.queue_purge, queue)
        call(connection, channel.basic_qos, prefetch_count=1)
    assert names == ["Queue.PurgeOk", "Basic.QosOk"]


def test_methods_of_each_kind(connection: PlainConnection, channel: Channel, queue: str) -> None:
    """Answers, whoever asked for them, and what the broker says by itself."""
    seen: list[Any] = []
    kinds = [
        spec.Basic.GetEmpty,
        spec.Basic.ConsumeOk,
        spec.Basic.CancelOk,
        spec.Basic.Cancel,
        spec.Basic.QosOk,
        spec.Basic.RecoverOk,
        spec.Channel.FlowOk,
        spec.Confirm.SelectOk,
        spec.Basic.Ack,
    ]
    channel.add_callback(seen.append, kinds, one_shot=False)
    channel.basic_get(queue, print)
    call(connection, channel.basic_consume, queue, print, consumer_tag="a")
    call(connection, channel.basic_cancel, "a")
    call(connection, channel.basic_consume, queue, print, consumer_tag="b")
    channel.basic_recover(True)
    channel.basic_qos(prefetch_count=1)
    channel.flow(True)
    channel.queue_delete(queue)
    call(connection, channel.confirm_delivery, lambda method_frame: None)
    channel.basic_publish("", "pika-nowhere", b"")
    connection.run(lambda: len(seen) == 10)
    assert all(isinstance(it, frame.Method) and it.channel_number == channel.channel_number for it in seen)
    names = [it.method.NAME for it in seen]
    # RabbitMQ says that a consumer is gone when it likes, so that one may be anywhere.
    names.remove("Basic.Cancel")
    assert names == [
        *("Basic.GetEmpty", "Basic.ConsumeOk", "Basic.CancelOk", "Basic.ConsumeOk", "Basic.RecoverOk", "Basic.QosOk"),
        *("Channel.FlowOk", "Confirm.SelectOk", "Basic.Ack"),
    ]


def test_a_callback_that_is_added_inside_one_waits_for_the_next(
    connection: PlainConnection, channel: Channel, queue: str
) -> None:
    log = connection.log

    def first(method_frame: object) -> None:
        log.append("first")
        channel.add_callback(lambda method_frame: log.append("second"), [spec.Queue.PurgeOk])

    channel.add_callback(first, [spec.Queue.PurgeOk])
    call(connection, channel.queue_purge, queue)
    assert log == ["first"]
    call(connection, channel.queue_purge, queue)
    assert log == ["first", "second"]


def test_channels_have_callbacks_of_their_own(connection: PlainConnection, channel: Channel, queue: str) -> None:
    other = open_channel(connection)
    other.add_callback(lambda method_frame: pytest.fail("not this channel's"), [spec.Queue.PurgeOk])
    call(connection, channel.queue_purge, queue)
    channel.close()
    connection.run(lambda: channel.is_closed)
    # Neither has the next one of the same number those of the last.
    other.close()
    connection.run(lambda: other.is_closed)
    again = [open_channel(connection), open_channel(connection)]
    assert [it.channel_number for it in again] == [1, 2]
    call(connection, again[1].queue_purge, queue)


@pytest.mark.parametrize(
    "name",
    [
        "add_callback",
        "add_on_cancel_callback",
        "add_on_close_callback",
        "add_on_flow_callback",
        "add_on_return_callback",
    ],
)
def test_what_cannot_be_called_is_refused(channel: Channel, name: str) -> None:
    arguments: list[Any] = [[spec.Basic.GetEmpty]] if name == "add_callback" else []
    with pytest.raises(TypeError, match="callable"):
        getattr(channel, name)(None, *arguments)


def test_classes_must_be_in_a_list(channel: Channel) -> None:
    for wrong in (spec.Basic.GetEmpty, None):
        with pytest.raises(TypeError):
            channel.add_callback(print, wrong)  # type: ignore[arg-type]  # that is the mistake


def test_an_exception_comes_out_with_its_type_and_traceback(
    connection: PlainConnection, channel: Channel, queue: str
) -> None:
    class Mine(Exception):
        pass

    error = Mine("what the user raised")

    def fail(*arguments: object) -> None:
        raise error

    operations: list[Any] = [
        lambda: channel.queue_purge(queue, callback=fail),
        lambda: channel.basic_consume(queue, print, callback=fail),
        lambda: channel.basic_publish("", "pika-nowhere", b"", mandatory=True),
        lambda: channel.flow(True, fail),
    ]
    channel.add_on_return_callback(fail)
    for operation in operations:
        operation()
        with pytest.raises(Mine) as caught:
            connection.run(lambda: False)
        assert caught.value is error and caught.traceback[-1].name == "fail"
        # None but one that is being handled here, as tests that interrupt a handler may leave behind in this process.
        assert error.__cause__ is None and error.__context__ is sys.exc_info()[1]
    assert channel.is_open
    assert call(connection, channel.queue_declare, "", exclusive=True).method.queue


def test_deliveries_behind_one_whose_callback_raised(connection: PlainConnection, channel: Channel, queue: str) -> None:
    log = connection.log
    for number in range(5):
        channel.basic_publish("", queue, b"%d" % number)

    def on_message(it: Channel, method: Any, properties: Any, body: bytes) -> None:
        log.append(body)
        it.basic_ack(method.delivery_tag)
        raise ZeroDivisionError(body.decode())

    channel.basic_consume(queue, on_message)
    raised = connection.run_despite(ZeroDivisionError, lambda: len(log) == 5)
    assert log == [b"0", b"1", b"2", b"3", b"4"] and raised == ["0", "1", "2", "3", "4"]
    assert call(connection, channel.queue_delete, queue).method.message_count == 0


def test_callbacks_that_raise_leave_what_follows_intact() -> None:
    """Every delivery, answer and return behind one whose callback raised comes out, in order."""

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        number, tag = session.accept_consumer()
        session.expect(spec.Queue.Declare)
        session.send(
            *(delivery(number, tag, index, b"%d" % index) for index in (1, 2)),
            method(number, spec.Queue.DeclareOk("queue", 0, 0)),
            content(number, spec.Basic.Return(312, "NO_ROUTE", "", "key"), b"back"),
            delivery(number, tag, 3, b"3"),
            method(number, spec.Channel.Close(404, "end", 0, 0)),
        )
        session.close_politely()

    with opened_on(script) as connection:
        log = connection.log
        channel = open_channel(connection)

        def failing(name: str) -> Any:
            def callback(*arguments: Any) -> None:
                log.append(arguments[-1] if isinstance(arguments[-1], bytes) else name)
                raise ZeroDivisionError(name)

            return callback

        channel.basic_consume("queue", failing("message"), callback=failing("consuming"))
        channel.queue_declare("queue", callback=failing("declared"))
        channel.add_callback(lambda _: log.append("declared too"), [spec.Queue.DeclareOk])
        for add, name in ((channel.add_on_return_callback, "returned"), (channel.add_on_close_callback, "closed")):
            add(failing(name))
            add(lambda *_, name=name: log.append(f"{name} too"))
        raised = connection.run_despite(ZeroDivisionError, lambda: "closed too" in log)
        expected = ["consuming", b"1", b"2", "declared", "declared too", b"back", "returned too"]
        assert log == [*expected, b"3", "closed", "closed too"]
        assert raised == ["consuming", "message", "message", "declared", "returned", "message", "closed"]
        assert connection.is_open
