"""What a user who may not do everything is refused."""

from __future__ import annotations

import re
from typing import Any, Callable

import pytest

from pika import exceptions, spec
from tests.contract.conftest import Contractor
from tests.contract.drivers import Channel, Connection
from tests.contract.profiles import Profile
from tests.contract.refusals import channel_refused
from tests.contract.users import LIMITED

pytestmark = pytest.mark.usefixtures("users")

Operation = Callable[[Channel, str], Any]


@pytest.fixture
def limited(connect: Callable[..., Connection], broker: Contractor) -> Channel:
    """A channel of the limited user."""
    return connect(broker.url_as(LIMITED.name, LIMITED.password)).channel()


Refused = Callable[[str, str, str], str]


@pytest.fixture
def refused(profile: Profile) -> Refused:
    """Return the text of a refusal, given the access, the kind of resource and its name."""

    def refused(access: str, kind: str, name: str) -> str:
        words = f"{access} access" if profile.accesses_have_names else "access"
        return f"ACCESS_REFUSED - {words} to {kind} '{name}' in vhost '/' refused for user '{LIMITED.name}'"

    return refused


@pytest.mark.parametrize(
    ("prefix", "access", "operation"),
    [
        ("wr-", "configure", lambda channel, queue: channel.queue_declare(queue, exclusive=True)),
        ("wr-", "configure", lambda channel, queue: channel.queue_delete(queue)),
        ("cw-", "read", lambda channel, queue: channel.basic_get(queue)),
        ("cw-", "read", lambda channel, queue: channel.basic_consume(queue, "tag")),
        ("cw-", "read", lambda channel, queue: channel.queue_purge(queue)),
        ("cr-", "write", lambda channel, queue: channel.queue_bind(queue, "r-exchange")),
        ("cr-", "write", lambda channel, queue: channel.queue_unbind(queue, "r-exchange")),
    ],
    ids=["declare", "delete", "get", "consume", "purge", "bind", "unbind"],
)
def test_queue(
    limited: Channel, name: Callable[..., str], refused: Refused, prefix: str, access: str, operation: Operation
) -> None:
    queue = prefix + name()
    with channel_refused(403, refused(access, "queue", queue)):
        operation(limited, queue)


@pytest.mark.parametrize(
    ("prefix", "access", "operation"),
    [
        ("wr-", "configure", lambda channel, exchange: channel.exchange_declare(exchange)),
        ("wr-", "configure", lambda channel, exchange: channel.exchange_delete(exchange)),
        ("cw-", "read", lambda channel, exchange: channel.queue_bind("w-queue", exchange)),
        ("cw-", "read", lambda channel, exchange: channel.queue_unbind("w-queue", exchange)),
        ("cr-", "write", lambda channel, exchange: channel.exchange_bind(exchange, "r-exchange")),
        ("cw-", "read", lambda channel, exchange: channel.exchange_bind("w-exchange", exchange)),
        ("cr-", "write", lambda channel, exchange: channel.exchange_unbind(exchange, "r-exchange")),
    ],
    ids=["declare", "delete", "bind", "unbind", "bind-destination", "bind-source", "unbind-destination"],
)
def test_exchange(
    limited: Channel, name: Callable[..., str], refused: Refused, prefix: str, access: str, operation: Operation
) -> None:
    exchange = prefix + name()
    with channel_refused(403, refused(access, "exchange", exchange)):
        operation(limited, exchange)


def test_publish(
    limited: Channel, channel: Channel, leftovers: list[Any], name: Callable[..., str], refused: Refused
) -> None:
    exchange = "cr-" + name()
    leftovers.append(spec.Exchange.Delete(0, exchange))
    channel.exchange_declare(exchange)
    with channel_refused(403, refused("write", "exchange", exchange)):
        limited.publish_all("key", b"x", exchange=exchange)


def test_publish_to_the_default_exchange(limited: Channel, refused: Refused) -> None:
    with channel_refused(403, refused("write", "exchange", "amq.default")):
        limited.publish_all("key", b"x")


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_passive_declare(
    limited: Channel, new_queue: Callable[..., str], profile: Profile, refused: Refused, kind: str
) -> None:
    name = new_queue() if kind == "queue" else "amq.direct"
    declare = getattr(limited, f"{kind}_declare")
    if profile.accesses_have_names:
        with channel_refused(403, refused("configure", kind, name)):
            declare(name, passive=True)
    else:
        declare(name, passive=True)


def test_server_named_queue_needs_permission(limited: Channel, refused: Refused) -> None:
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        limited.queue_declare(exclusive=True)
    before, name, after = re.split(r"(amq\.gen-[\w-]{22})", caught.value.reply_text)
    assert before + name + after == refused("configure", "queue", name)


def test_alternate_exchange_needs_permissions(limited: Channel, name: Callable[..., str], refused: Refused) -> None:
    exchange = "cr-" + name()
    alternate = "c-" + name()
    with channel_refused(403, refused("write", "exchange", alternate)):
        limited.exchange_declare(exchange, arguments={"alternate-exchange": alternate})


def test_what_is_permitted(limited: Channel, leftovers: list[Any], name: Callable[..., str]) -> None:
    queue, exchange = "cwr-" + name("queue"), "cwr-" + name("exchange")
    leftovers.append(spec.Exchange.Delete(0, exchange))
    limited.queue_declare(queue, exclusive=True)
    limited.exchange_declare(exchange)
    limited.queue_bind(queue, exchange, "key")
    limited.publish_all("key", b"x", exchange=exchange)
    assert limited.get_all(queue) == [b"x"]
    assert limited.queue_purge(queue) == 0
    limited.queue_unbind(queue, exchange, "key")
    limited.queue_delete(queue)
    limited.exchange_delete(exchange)


def test_user_id_is_that_of_the_user(limited: Channel, leftovers: list[Any], name: Callable[..., str]) -> None:
    exchange = "cw-" + name("exchange")
    leftovers.append(spec.Exchange.Delete(0, exchange))
    limited.exchange_declare(exchange)
    text = f"PRECONDITION_FAILED - user_id property set to 'guest' but authenticated user was '{LIMITED.name}'"
    with channel_refused(406, text):
        limited.basic_publish(exchange, "", b"", spec.BasicProperties(user_id="guest"))
        limited.synchronize()
