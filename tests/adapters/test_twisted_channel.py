"""TwistedChannel and its queues on Twisted's reactor, against both brokers."""

from __future__ import annotations

from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from tests.support.encoding import content
from tests.support.encoding import method as encode
from tests.support.rabbitmq import Broker
from tests.support.reactor_cases import Case, Cases, chosen
from tests.support.scripted_broker import Session, delivery, scripted_broker

pytest.importorskip("twisted", reason="no Twisted for this interpreter")

cases = Cases("tests.adapters.test_twisted_channel")


@pytest.mark.parametrize("name", cases)
def test_on_the_reactor(name: str, broker: Broker, request: pytest.FixtureRequest) -> None:
    cases.check(name, broker.url, chosen(request))


# Operations


@cases
async def operations_give_the_brokers_answer(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    # Names that the broker makes are reserved.
    source, target = f"x{queue}-source", f"x{queue}-target"
    answers = [
        await channel.exchange_declare(source, pika.ExchangeType.topic, auto_delete=True),
        await channel.exchange_declare(target, "fanout", auto_delete=True),
        await channel.exchange_bind(target, source, "key"),
        await channel.queue_bind(queue, target),
        await channel.queue_unbind(queue, target),
        await channel.exchange_unbind(target, source, "key"),
        await channel.basic_qos(prefetch_count=5),
        await channel.basic_recover(True),
        await channel.queue_purge(queue),
        await channel.queue_delete(queue),
    ]
    assert all(isinstance(answer, frame.Method) and answer.channel_number == 1 for answer in answers)
    assert [type(answer.method) for answer in answers] == [
        spec.Exchange.DeclareOk,
        spec.Exchange.DeclareOk,
        spec.Exchange.BindOk,
        spec.Queue.BindOk,
        spec.Queue.UnbindOk,
        spec.Exchange.UnbindOk,
        spec.Basic.QosOk,
        spec.Basic.RecoverOk,
        spec.Queue.PurgeOk,
        spec.Queue.DeleteOk,
    ]
    for exchange in (source, target):
        assert isinstance((await channel.exchange_delete(exchange)).method, spec.Exchange.DeleteOk)
    assert await channel.flow() is True


@cases
async def operations_asked_for_in_one_go_are_answered_in_their_order(case: Case) -> None:
    channel = await case.channel()
    order: list[int] = []
    deferreds = [channel.queue_declare("", exclusive=True) for _ in range(5)]
    for number, deferred in enumerate(deferreds):
        deferred.addCallback(lambda _answer, number=number: order.append(number))
    for deferred in deferreds:
        await deferred
    assert order == [0, 1, 2, 3, 4]


@cases
async def what_is_wrong_with_an_operation_is_its_failure(case: Case) -> None:
    channel = await case.channel()
    for kind, deferred in [
        (TypeError, channel.queue_declare(5)),
        (TypeError, channel.exchange_declare(None)),
        (AssertionError, channel.exchange_delete(None)),
        (TypeError, channel.basic_consume(5)),
        (TypeError, channel.basic_get(5)),
        (TypeError, channel.basic_cancel(5)),
        (ValueError, channel.basic_qos(prefetch_count=-1)),
        (exceptions.ShortStringTooLong, channel.queue_bind("x" * 300, "y")),
    ]:
        error = await case.outcome(deferred)
        assert isinstance(error, kind), error
        # Where it was raised.
        assert error.__traceback__ is not None
    # A get that failed at once is not outstanding.
    assert await channel.basic_get(await case.queue(channel)) is None


@cases
async def what_has_no_answer_raises(case: Case) -> None:
    channel = await case.channel()
    with pytest.raises(ValueError):
        channel.basic_ack(-1)
    with pytest.raises(AttributeError):
        channel.basic_publish("", "x", 5)
    with pytest.raises(TypeError):
        channel.add_on_return_callback(None)
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.open()
    await channel.confirm_delivery()
    with pytest.raises(AttributeError):
        channel.basic_publish("", "x", 5)
    assert channel.is_open


@cases
async def the_state_is_that_of_the_channel(case: Case) -> None:
    connection = await case.connect()
    channel = await connection.channel(3)
    assert (channel.channel_number, channel.connection) == (3, connection._impl)
    assert (channel.is_open, channel.is_closing, channel.is_closed) == (True, False, False)
    assert channel.flow_active
    assert channel.consumer_tags == []
    assert "number=3" in repr(channel)
    channel.close()
    assert (channel.is_open, channel.is_closing, channel.is_closed) == (False, True, False)
    await channel.on_closed
    assert (channel.is_open, channel.is_closing, channel.is_closed) == (False, False, True)


@cases
async def transactions_commit_and_roll_back(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    assert isinstance((await channel.tx_select()).method, spec.Tx.SelectOk)
    channel.basic_publish("", queue, b"one")
    await channel.tx_rollback()
    channel.basic_publish("", queue, b"two")
    await channel.tx_commit()
    assert (await channel.basic_get(queue, auto_ack=True)).body == b"two"
    assert await channel.basic_get(queue) is None


@cases
async def a_cancelled_deferred_costs_nothing_else(case: Case) -> None:
    from twisted.internet.defer import CancelledError

    channel = await case.channel()
    deferred = channel.queue_declare("", exclusive=True)
    deferred.cancel()
    assert isinstance(await case.outcome(deferred), CancelledError)
    assert (await channel.queue_declare("", exclusive=True)).method.queue


@cases
async def callback_deferred_fires_once(case: Case) -> None:
    from twisted.internet import defer

    channel = await case.channel()
    deferred: Any = defer.Deferred()
    channel.callback_deferred(deferred, [spec.Tx.SelectOk, spec.Tx.CommitOk])
    never: Any = defer.Deferred()
    channel.callback_deferred(never, [spec.Tx.RollbackOk])
    await channel.tx_select()
    await channel.tx_commit()
    assert isinstance((await deferred).method, spec.Tx.SelectOk)
    closing: Any = defer.Deferred()
    channel.callback_deferred(closing, [spec.Channel.CloseOk])
    channel.close()
    assert isinstance((await closing).method, spec.Channel.CloseOk)
    assert isinstance(await case.outcome(never), exceptions.ChannelClosedByClient)


# Consuming


@cases
async def messages_come_through_the_queue(case: Case) -> None:
    from pika.adapters.twisted_connection import ClosableDeferredQueue, ReceivedMessage

    channel = await case.channel()
    queue = await case.queue(channel)
    messages, tag = await channel.basic_consume(queue, consumer_tag="mine")
    assert isinstance(messages, ClosableDeferredQueue)
    assert tag == "mine"
    assert channel.consumer_tags == ["mine"]
    waiting = messages.get()
    channel.basic_publish("", queue, "text", pika.BasicProperties(type="kind"))
    message = await waiting
    assert isinstance(message, ReceivedMessage)
    assert message.channel is channel
    assert (message.method.consumer_tag, message.method.routing_key) == ("mine", queue)
    assert (message.properties.type, message.body) == ("kind", b"text")
    channel.basic_ack(message.method.delivery_tag)
    channel.basic_publish("", queue, b"refused")
    message = await messages.get()
    channel.basic_nack(message.method.delivery_tag, requeue=True)
    message = await messages.get()
    assert message.method.redelivered
    channel.basic_reject(message.method.delivery_tag, requeue=False)
    await channel.flow()
    assert (await channel.queue_delete(queue)).method.message_count == 0


@cases
async def a_cancelled_consumers_queue_is_closed(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    messages, tag = await channel.basic_consume(queue)
    waiting = messages.get()
    first, second = channel.basic_cancel(tag), channel.basic_cancel(tag)
    assert isinstance(await case.outcome(waiting), exceptions.ConsumerCancelled)
    for deferred in (first, second, channel.basic_cancel(tag), channel.basic_cancel("nobody")):
        answer = await deferred
        assert isinstance(answer.method, spec.Basic.CancelOk)
    assert isinstance(await case.outcome(messages.get()), exceptions.ConsumerCancelled)
    assert isinstance(await case.outcome(messages.put(1)), exceptions.ConsumerCancelled)
    await case.until(lambda: channel.consumer_tags == [])
    # The tag can be used again.
    messages, _tag = await channel.basic_consume(queue, consumer_tag=tag)
    channel.basic_publish("", queue, b"again")
    assert (await messages.get()).body == b"again"


@cases
async def a_consumer_that_the_broker_cancels_is_told(case: Case) -> None:
    connection = await case.connect()
    channel, other = await connection.channel(), await connection.channel()
    queue = await case.queue(channel)
    mine, _tag = await channel.basic_consume(queue)
    others, _tag = await other.basic_consume(queue)
    waiting = mine.get()
    order: list[str] = []
    waiting.addErrback(lambda failure: order.append("cancelled") or failure)
    deleted = channel.queue_delete(queue)
    deleted.addCallback(lambda _answer: order.append("deleted"))
    assert isinstance(await case.outcome(waiting), exceptions.ConsumerCancelled)
    await deleted
    assert order == ["cancelled", "deleted"]
    assert isinstance(await case.outcome(others.get()), exceptions.ConsumerCancelled)
    await case.until(lambda: channel.consumer_tags == other.consumer_tags == [])
    assert channel.is_open
    assert other.is_open


@cases
async def a_tag_in_use_is_refused(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    await channel.basic_consume(queue, consumer_tag="mine")
    error = await case.outcome(channel.basic_consume(queue, consumer_tag="mine"))
    assert isinstance(error, exceptions.DuplicateConsumerTag)
    assert channel.is_open


@cases
async def a_consumer_that_nobody_waits_for_any_more_is_cancelled(case: Case) -> None:
    from twisted.internet.defer import CancelledError

    channel = await case.channel()
    queue = await case.queue(channel)
    deferred = channel.basic_consume(queue)
    deferred.cancel()
    assert isinstance(await case.outcome(deferred), CancelledError)
    await case.until(lambda: channel.consumer_tags == [])
    channel.basic_publish("", queue, b"left alone")
    assert (await channel.basic_get(queue, auto_ack=True)).body == b"left alone"


@cases
async def a_get_gives_a_message_or_none(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    assert await channel.basic_get(queue) is None
    channel.basic_publish("", queue, b"one")
    message = await channel.basic_get(queue)
    assert message.channel is channel
    assert (message.method.message_count, message.body) == (0, b"one")
    channel.basic_ack(message.method.delivery_tag)
    waiting = channel.basic_get(queue)
    with pytest.raises(exceptions.DuplicateGetOkCallback):
        channel.basic_get(queue)
    assert await waiting is None


@cases
async def a_message_that_nobody_waits_for_any_more_goes_back(case: Case) -> None:
    from twisted.internet.defer import CancelledError

    rejected: list[frame.Method[spec.Basic.Reject]] = []

    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Basic.Get)
        session.send(content(number, spec.Basic.GetOk(7, False, "", "queue", 0), b"late"))
        rejected.append(session.expect(spec.Basic.Reject))
        session.close_politely()

    with scripted_broker(script) as peer:
        channel = await case.channel(await case.connect(port=peer.port))
        waiting = channel.basic_get("queue")
        waiting.cancel()
        assert isinstance(await case.outcome(waiting), CancelledError)
        await case.until(lambda: bool(rejected))
        assert (rejected[0].method.delivery_tag, rejected[0].method.requeue) == (7, True)
        await case.finish()


@cases
async def a_channel_that_the_broker_closes_instead_of_opening_it_fails(case: Case) -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.expect(spec.Channel.Open).channel_number
        session.send(encode(number, spec.Channel.Close(504, "none", 0, 0)))
        session.expect(spec.Channel.CloseOk)
        session.close_politely()

    with scripted_broker(script) as peer:
        connection = await case.connect(port=peer.port)
        error = await case.outcome(connection.channel())
        assert isinstance(error, exceptions.ChannelClosedByBroker)
        assert error.reply_code == 504
        await case.finish()


@cases
async def deliveries_behind_consume_ok_are_not_lost(case: Case) -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        asked = session.expect(spec.Basic.Consume)
        tag = asked.method.consumer_tag or ""
        session.send(
            encode(number, spec.Basic.ConsumeOk(tag)), delivery(number, tag, 1, b"1"), delivery(number, tag, 2, b"2")
        )
        session.close_politely()

    with scripted_broker(script) as peer:
        channel = await case.channel(await case.connect(port=peer.port))
        messages, _tag = await channel.basic_consume("queue")
        assert [(await messages.get()).body, (await messages.get()).body] == [b"1", b"2"]
        await case.finish()


@cases
async def the_queue_alone(case: Case) -> None:
    from twisted.internet.defer import CancelledError, QueueOverflow, QueueUnderflow

    from pika.adapters.twisted_connection import ClosableDeferredQueue

    queue = ClosableDeferredQueue(size=2, backlog=1)
    waiting = queue.get()
    with pytest.raises(QueueUnderflow):
        queue.get()
    assert queue.put(1) is None
    assert await waiting == 1
    queue.put(2)
    queue.put(3)
    with pytest.raises(QueueOverflow):
        queue.put(4)
    assert await queue.get() == 2
    assert await queue.get() == 3
    given_up, waiting = queue.get(), None
    given_up.cancel()
    assert isinstance(await case.outcome(given_up), CancelledError)
    waiting = queue.get()
    assert queue.closed is None
    queue.close(LookupError("enough"))
    assert isinstance(queue.closed, LookupError)
    for deferred in (waiting, queue.get(), queue.put(5)):
        assert isinstance(await case.outcome(deferred), LookupError)
    queue.close(ValueError("more than enough"))
    assert isinstance(await case.outcome(queue.get()), ValueError)


# Publishing


@cases
async def without_confirms_a_publish_has_no_answer(case: Case) -> None:
    channel = await case.channel()
    deferred = channel.basic_publish("", "nowhere", b"x")
    assert deferred.called
    assert await deferred is None


@cases
async def confirms_come_to_their_messages(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    selecting = channel.confirm_delivery()
    # What is published behind that is confirmed, too.
    early = channel.basic_publish("", queue, b"early")
    assert isinstance((await selecting).method, spec.Confirm.SelectOk)
    assert await channel.confirm_delivery() is None
    assert isinstance(await early, spec.Basic.Ack)
    count = 200
    deferreds = [channel.basic_publish("", queue, str(number)) for number in range(count)]
    acks = [await deferred for deferred in deferreds]
    assert all(isinstance(ack, spec.Basic.Ack) for ack in acks)
    tags = [ack.delivery_tag for ack in acks]
    assert tags == sorted(tags)
    assert all(tag >= number for number, tag in enumerate(tags, 2))
    assert tags[-1] == count + 1


@cases
async def a_message_that_comes_back_fails_its_own_publish(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    returned: list[Any] = []
    channel.add_on_return_callback(returned.append)
    channel.basic_publish("", "nowhere", b"before", mandatory=True)
    await case.until(lambda: returned)
    assert returned.pop().body == b"before"
    await channel.confirm_delivery()
    keys = [queue, "nowhere", queue, "elsewhere", queue]
    ends = [channel.basic_publish("", key, key, mandatory=True) for key in keys]
    outcomes = [await case.outcome(deferred) for deferred in ends]
    assert [isinstance(outcome, spec.Basic.Ack) for outcome in outcomes] == [True, False, True, False, True]
    for key, error in ((keys[1], outcomes[1]), (keys[3], outcomes[3])):
        assert isinstance(error, exceptions.UnroutableError)
        (message,) = error.messages
        assert message.channel is channel
        assert (message.method.reply_code, message.method.routing_key, message.body) == (312, key, key.encode())
    assert [message.body for message in returned] == [b"nowhere", b"elsewhere"]


@cases
async def a_message_that_the_broker_refuses_fails_its_publish(case: Case) -> None:
    def script(session: Session) -> None:
        session.open()
        number = session.open_channel()
        session.expect(spec.Confirm.Select, spec.Confirm.SelectOk())
        for _ in range(3):
            session.expect(spec.Basic.Publish)
            session.expect_content()
        session.send(encode(number, spec.Basic.Nack(2, False)), encode(number, spec.Basic.Ack(3, True)))
        session.close_politely()

    with scripted_broker(script) as peer:
        channel = await case.channel(await case.connect(port=peer.port))
        await channel.confirm_delivery()
        deferreds = [channel.basic_publish("", "queue", b"x") for _ in range(3)]
        first, error, last = [await case.outcome(deferred) for deferred in deferreds]
        assert isinstance(error, exceptions.NackError)
        assert error.messages == []
        assert first is last
        assert (last.delivery_tag, last.multiple) == (3, True)
        await case.finish()


@cases
async def a_publish_that_nobody_waits_for_any_more_gives_its_confirm_to_nobody(case: Case) -> None:
    from twisted.internet.defer import CancelledError

    channel = await case.channel()
    queue = await case.queue(channel)
    await channel.confirm_delivery()
    first, second = channel.basic_publish("", queue, b"1"), channel.basic_publish("", queue, b"2")
    first.cancel()
    assert isinstance(await case.outcome(first), CancelledError)
    assert (await second).delivery_tag == 2


@cases
async def a_callback_of_a_confirm_may_publish_and_close(case: Case) -> None:
    channel = await case.channel()
    queue = await case.queue(channel)
    await channel.confirm_delivery()
    chained: list[Any] = []

    def again(_ack: Any) -> None:
        chained.append(channel.basic_publish("", queue, b"chained"))
        channel.close()

    channel.basic_publish("", queue, b"first").addCallback(again)
    last = channel.basic_publish("", queue, b"last")
    reason = await channel.on_closed
    assert isinstance(reason, exceptions.ChannelClosedByClient)
    for deferred in (*chained, last):
        end = await case.outcome(deferred)
        assert isinstance(end, (spec.Basic.Ack, exceptions.ChannelClosedByClient))


# The end


async def much(case: Case, channel: Any) -> list[Any]:
    """Ask for all sorts of things, and return what waits for them."""
    queue = await case.queue(channel)
    await channel.confirm_delivery()
    messages, _tag = await channel.basic_consume(queue)
    return [messages.get()]


@cases
async def a_channel_that_the_broker_closes_fails_all_that_waits(case: Case) -> None:
    connection = await case.connect()
    channel = await connection.channel()
    waiting = await much(case, channel)
    messages, _tag = await channel.basic_consume(await case.queue(channel))
    order: list[str] = []
    failing = channel.queue_declare("nobody has declared this", passive=True)
    behind = channel.queue_declare("", exclusive=True)
    failing.addErrback(lambda failure: order.append("operation") or failure)
    behind.addErrback(lambda failure: order.append("the one behind") or failure)
    waiting[0].addErrback(lambda failure: order.append("consumer") or failure)
    channel.on_closed.addCallback(lambda reason: order.append("channel") or reason)
    got = channel.basic_get("x")
    unconfirmed = channel.basic_publish("", "nowhere", b"x")
    for deferred in (failing, behind, got, unconfirmed, *waiting):
        error = await case.outcome(deferred)
        assert isinstance(error, exceptions.ChannelClosedByBroker)
        assert error.reply_code == 404
    reason = await channel.on_closed
    assert order == ["operation", "the one behind", "consumer", "channel"]
    assert isinstance(reason, exceptions.ChannelClosedByBroker)
    for deferred in (
        channel.queue_declare("x"),
        channel.basic_publish("", "x", b""),
        channel.basic_get("x"),
        channel.basic_consume("x"),
        channel.basic_cancel("x"),
        channel.confirm_delivery(),
        channel.flow(),
        messages.get(),
    ):
        assert await case.outcome(deferred) is reason
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_ack(1)
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.close()
    assert connection.is_open
    assert (await connection.channel()).is_open


@cases
async def closing_a_channel_ends_its_consumers(case: Case) -> None:
    channel = await case.channel()
    waiting = await much(case, channel)
    channel.close(0, "enough")
    for deferred in (channel.queue_declare("x"), channel.basic_get("x"), channel.basic_cancel("x")):
        assert isinstance(await case.outcome(deferred), exceptions.ChannelWrongStateError)
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_publish("", "x", b"")
    assert isinstance(await case.outcome(waiting[0]), exceptions.ChannelClosedByClient)
    reason = await channel.on_closed
    assert (reason.reply_code, reason.reply_text) == (0, "enough")
    assert await case.outcome(channel.queue_declare("x")) is reason


@cases
async def callbacks_of_the_end_may_go_on(case: Case) -> None:
    connection = await case.connect()
    channel = await connection.channel()
    messages, _tag = await channel.basic_consume(await case.queue(channel))
    nested: list[Any] = []

    def ask_again(failure: Any) -> Any:
        nested.extend([channel.queue_declare("x"), messages.get(), connection.channel()])
        return failure

    failing = channel.queue_declare("nobody has declared this", passive=True)
    failing.addErrback(ask_again)
    assert isinstance(await case.outcome(failing), exceptions.ChannelClosedByBroker)
    assert isinstance(await case.outcome(nested[0]), exceptions.ChannelClosedByBroker)
    assert isinstance(await case.outcome(nested[1]), exceptions.ChannelClosedByBroker)
    assert (await nested[2]).is_open


@cases
async def a_refused_consumer_fails(case: Case) -> None:
    connection = await case.connect()
    channel, other = await connection.channel(), await connection.channel()
    queue = await case.queue(channel)
    await channel.basic_consume(queue, exclusive=True)
    error = await case.outcome(other.basic_consume(queue))
    assert isinstance(error, exceptions.ChannelClosedByBroker)
    assert error.reply_code == 403
    assert await other.on_closed is error
    assert channel.is_open


# What tracers do


@cases
async def patches_of_the_channel_see_every_message(case: Case) -> None:
    from pika.channel import Channel

    seen: list[Any] = []
    publish, deliver = Channel.basic_publish, Channel._on_deliver

    def traced_publish(self: Any, exchange: str, routing_key: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(("publish", routing_key))
        return publish(self, exchange, routing_key, *args, **kwargs)

    def traced_deliver(self: Any, method_frame: Any, header_frame: Any, body: bytes) -> Any:
        seen.append(("deliver", body))
        return deliver(self, method_frame, header_frame, body)

    channel = await case.channel()
    queue = await case.queue(channel)
    messages, _tag = await channel.basic_consume(queue)
    Channel.basic_publish, Channel._on_deliver = traced_publish, traced_deliver  # type: ignore[method-assign]
    try:
        channel.basic_publish("", queue, b"traced")
        assert (await messages.get()).body == b"traced"
    finally:
        Channel.basic_publish, Channel._on_deliver = publish, deliver  # type: ignore[method-assign]
    assert seen == [("publish", queue), ("deliver", b"traced")]
