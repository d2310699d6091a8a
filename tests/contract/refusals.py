"""What the broker refuses, as contexts around what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pika import exceptions


@contextmanager
def channel_refused(code: int, text: str) -> Iterator[None]:
    """See the broker close the channel inside the context, with this reason."""
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        yield
    assert caught.value.args == (code, text)


@contextmanager
def connection_refused(code: int, text: str) -> Iterator[None]:
    """See the broker close the connection inside the context, with this reason."""
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        yield
    assert caught.value.args == (code, text)


def no_queue(queue: str) -> str:
    """The text for a queue that there is not."""
    return f"NOT_FOUND - no queue '{queue}' in vhost '/'"


def no_exchange(exchange: str) -> str:
    """The text for an exchange that there is not."""
    return f"NOT_FOUND - no exchange '{exchange}' in vhost '/'"


def locked(queue: str) -> str:
    """The text for a queue that is another connection's alone, or is not what it is declared to be."""
    return (
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of the "
        "original declaration."
    )
