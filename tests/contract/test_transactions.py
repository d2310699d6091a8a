"""Transactions, and modes that exclude each other."""

from __future__ import annotations

import pytest

from pika import spec
from tests.contract.drivers import Channel
from tests.contract.refusals import channel_refused
from tests.contract.wire import Wire


def test_publishes_wait_for_the_commit(channel: Channel, other: Channel, queue: str) -> None:
    channel.tx_select()
    channel.publish_all(queue, b"1", b"2")
    assert other.basic_get(queue) is None
    channel.tx_commit()
    assert other.get_all(queue) == [b"1", b"2"]


def test_publishes_that_are_rolled_back(channel: Channel, other: Channel, queue: str) -> None:
    channel.tx_select()
    channel.publish_all(queue, b"1")
    channel.tx_rollback()
    channel.publish_all(queue, b"2")
    channel.tx_commit()
    assert other.get_all(queue) == [b"2"]


def test_transactions_follow_each_other(channel: Channel, other: Channel, queue: str) -> None:
    channel.tx_select()
    for body in (b"1", b"2", b"3"):
        channel.publish_all(queue, body)
        channel.tx_commit()
    channel.tx_commit()
    channel.tx_rollback()
    assert other.get_all(queue) == [b"1", b"2", b"3"]


def test_publishes_of_a_closed_channel_are_lost(channel: Channel, other: Channel, queue: str) -> None:
    channel.tx_select()
    channel.publish_all(queue, b"1")
    channel.close()
    assert other.basic_get(queue) is None


def test_acknowledgements_wait_for_the_commit(channel: Channel, other: Channel, queue: str) -> None:
    other.publish_all(queue, b"1", b"2")
    channel.tx_select()
    for _ in range(2):
        received = channel.basic_get(queue)
        assert received is not None
    channel.basic_ack(1)
    channel.tx_commit()
    channel.basic_ack(2)
    channel.close()
    assert other.get_all(queue) == [b"2"]


def test_acknowledgements_that_are_rolled_back(channel: Channel, other: Channel, queue: str) -> None:
    other.publish_all(queue, b"1")
    channel.tx_select()
    received = channel.basic_get(queue)
    assert received is not None
    channel.basic_ack(received.delivery_tag)
    channel.tx_rollback()
    # The delivery is outstanding again, and can be acknowledged again.
    assert other.basic_get(queue) is None
    channel.basic_ack(received.delivery_tag)
    channel.tx_commit()
    channel.close()
    assert other.basic_get(queue) is None


def test_refusals_wait_for_the_commit(channel: Channel, other: Channel, queue: str) -> None:
    other.publish_all(queue, b"1", b"2")
    channel.tx_select()
    for _ in range(2):
        assert channel.basic_get(queue) is not None
    channel.basic_nack(1)
    channel.basic_reject(2, requeue=False)
    channel.synchronize()
    assert other.basic_get(queue) is None
    channel.tx_commit()
    assert other.get_all(queue) == [b"1"]


def test_acknowledgement_twice_in_a_transaction(channel: Channel, other: Channel, queue: str) -> None:
    other.publish_all(queue, b"1")
    channel.tx_select()
    assert channel.basic_get(queue) is not None
    with channel_refused(406, "PRECONDITION_FAILED - unknown delivery tag 1"):
        channel.basic_ack(1)
        channel.basic_ack(1)
        channel.synchronize()


def test_returns_wait_for_the_commit(wire: Wire) -> None:
    wire.send(spec.Tx.Select())
    wire.expect(spec.Tx.SelectOk)
    wire.publish("", "contract-missing", b"x", mandatory=True)
    wire.send(spec.Channel.Flow(True))
    assert wire.names(1) == ["Channel.FlowOk"]
    wire.send(spec.Tx.Commit())
    assert wire.names(2) == ["Basic.Return", "Tx.CommitOk"]


def test_returns_that_are_rolled_back(wire: Wire) -> None:
    wire.send(spec.Tx.Select())
    wire.expect(spec.Tx.SelectOk)
    wire.publish("", "contract-missing", b"x", mandatory=True)
    wire.send(spec.Tx.Rollback())
    assert wire.names(1) == ["Tx.RollbackOk"]
    wire.send(spec.Tx.Commit())
    assert wire.names(1) == ["Tx.CommitOk"]


def test_declares_do_not_wait(channel: Channel, other: Channel) -> None:
    channel.tx_select()
    queue = channel.queue_declare(exclusive=True).queue
    other.publish_all(queue, b"1")
    channel.tx_rollback()
    assert other.get_all(queue) == [b"1"]


def test_select_again(channel: Channel, other: Channel, queue: str) -> None:
    channel.tx_select()
    channel.publish_all(queue, b"1")
    channel.tx_select()
    channel.tx_commit()
    assert other.get_all(queue) == [b"1"]


@pytest.mark.parametrize("operation", ["tx_commit", "tx_rollback"])
def test_without_select(channel: Channel, operation: str) -> None:
    with channel_refused(406, "PRECONDITION_FAILED - channel is not transactional"):
        getattr(channel, operation)()


def test_confirms_in_a_transaction(channel: Channel) -> None:
    channel.tx_select()
    with channel_refused(406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode"):
        channel.confirm_select()


def test_transaction_with_confirms(channel: Channel) -> None:
    channel.confirm_select()
    with channel_refused(406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"):
        channel.tx_select()
