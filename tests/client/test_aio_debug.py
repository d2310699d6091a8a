"""A program that uses all of pika.aio, in asyncio's debug mode, where every warning is an error."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import pika
from pika import aio, exceptions, spec
from pika.broker import Broker as EmbeddedBroker
from tests.support.aio import eventually, run
from tests.support.bounded import PATIENCE
from tests.support.bounded import eventually as eventually_elsewhere
from tests.support.certificates import Authority
from tests.support.memory import free_forgotten
from tests.support.tls_proxy import tls_proxy

PERSISTENT = pika.BasicProperties(delivery_mode=2, headers={"key": "value"})


@pytest.fixture(params=["plain", "TLS"])
def parameters(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pika.URLParameters]:
    with EmbeddedBroker() as embedded:
        parameters = pika.URLParameters(embedded.url)
        if request.param == "plain":
            yield parameters
            return
        authority = Authority(tmp_path_factory.mktemp("authority"))
        context = authority.server_context(authority.issue("localhost"))
        with tls_proxy(parameters.port, context, parameters.host) as proxy:
            parameters.host, parameters.port = proxy.host, proxy.port
            parameters.ssl_options = pika.SSLOptions(authority.client_context(), "localhost")
            yield parameters


async def topology(channel: aio.Channel, queue: str) -> None:
    await channel.exchange_declare("source", "topic", auto_delete=True)
    await channel.exchange_declare("destination", "fanout", auto_delete=True)
    await channel.exchange_bind("destination", "source", "#")
    await channel.queue_bind(queue, "destination", "")
    await channel.basic_publish("source", "any.key", b"routed", PERSISTENT)
    message = await channel.basic_get(queue)
    assert message is not None and message.headers == {"key": "value"}
    await message.reject(requeue=True)
    assert (await channel.queue_purge(queue)).method.message_count == 1
    await channel.queue_unbind(queue, "destination", "")
    await channel.exchange_unbind("destination", "source", "#")
    for exchange in ("source", "destination"):
        await channel.exchange_delete(exchange)
    await channel.basic_qos(prefetch_count=10)
    await channel.basic_recover(requeue=True)


async def publishing(channel: aio.Channel, queue: str) -> None:
    async with channel.publisher(max_in_flight=20, mandatory=True) as publisher:
        for _ in range(50):
            await publisher.send(bytes(1000), routing_key=queue, properties=PERSISTENT)
        await publisher.publish("text", routing_key=queue, timeout=PATIENCE)
        with pytest.raises(exceptions.UnroutableError):
            await publisher.publish(b"", routing_key="nobody")
        confirmations = [await publisher.send(b"", routing_key=key) for key in (queue, "nobody", "nobody")]
        done = asyncio.Event()
        confirmations[0].add_done_callback(lambda _: done.set())
        await done.wait()
        with pytest.raises(exceptions.UnroutableError):
            await confirmations[1]
        # The last one nobody has looked at: that is raised at the end of the block.


async def consuming(channel: aio.Channel, queue: str) -> None:
    async for message in channel.consume(queue, timeout=PATIENCE):
        async with message.process():
            break
    async with channel.consume(queue) as messages:
        await (await messages.__anext__()).ack()
        await (await messages.__anext__()).nack(requeue=False)
    unfinished = channel.consume(queue)
    await (await unfinished.__anext__()).ack()
    await unfinished.aclose()
    forgotten = channel.consume(queue)
    await (await forgotten.__anext__()).ack()
    del forgotten
    free_forgotten()
    await channel.flow(True)
    assert (await channel.queue_declare(queue, passive=True)).method.consumer_count == 0
    with pytest.raises(asyncio.TimeoutError):
        while True:
            await asyncio.wait_for(channel.consume("empty", auto_ack=True).__anext__(), 0.02)


async def handling(channel: aio.Channel, queue: str) -> None:
    handled = 0

    def plain(_channel: aio.Channel, _method: Any, _properties: Any, _body: bytes) -> None:
        nonlocal handled
        handled += 1

    async def slow(own: aio.Channel, method: spec.Basic.Deliver, _properties: Any, _body: bytes) -> None:
        await asyncio.sleep(0.001)
        await own.basic_ack(method.delivery_tag)
        plain(own, method, _properties, _body)

    tag = await channel.basic_consume(queue, slow, concurrency=5)
    await eventually(lambda: handled > 20)
    await channel.basic_cancel(tag)
    tag = await channel.basic_consume(queue, plain, auto_ack=True)
    asyncio.get_running_loop().call_later(0.1, lambda: stopping.append(asyncio.ensure_future(channel.stop_consuming())))
    stopping: list[asyncio.Future[None]] = []
    await channel.start_consuming()
    await stopping[0]


async def refused(connection: aio.Connection) -> None:
    async with connection.channel() as channel:
        with pytest.raises(exceptions.ChannelClosedByBroker):
            await channel.queue_declare("nowhere", passive=True)
    async with connection.channel() as channel:
        looping = asyncio.ensure_future(channel.consume("empty").__anext__())
        await channel.flow(True)
        async with connection.channel() as other:
            await other.queue_delete("empty")
        with pytest.raises(exceptions.ConsumerCancelled):
            await looping
    async with connection.channel() as channel:
        await channel.tx_select()
        await channel.basic_publish("", "nobody", b"")
        await channel.tx_commit()
        await channel.tx_rollback()


async def everything(parameters: pika.URLParameters) -> None:
    ended: list[BaseException] = []

    async def credentials() -> pika.PlainCredentials:
        await asyncio.sleep(0)
        return pika.PlainCredentials("guest", "guest")

    async with aio.connect(parameters, name="everything", credentials=credentials) as connection:
        connection.add_on_close_callback(lambda _connection, reason: ended.append(reason))
        async with connection.channel(prefetch=5) as channel:
            queue = (await channel.queue_declare("", exclusive=True)).method.queue
            await channel.queue_declare("empty")
            await topology(channel, queue)
            with pytest.raises(exceptions.UnroutableError):
                await publishing(channel, queue)
            await consuming(channel, queue)
            await handling(channel, queue)
        await asyncio.gather(*(refused_late(connection) for _ in range(3)))
        await refused(connection)
        await connection.update_secret("guest", "renewed")
        await connection.drain()
    await eventually(lambda: ended)


async def refused_late(connection: aio.Connection) -> None:
    """Somebody is cancelled with an answer outstanding."""
    channel = await connection.channel()
    getting = asyncio.ensure_future(channel.basic_get("empty"))
    await asyncio.sleep(0)
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    await channel.close()


def test_everything_in_debug_mode(parameters: pika.URLParameters, caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    with caplog.at_level(logging.WARNING):
        run(lambda: everything(parameters), debug=True)
    complaints = [record.getMessage() for record in caplog.records if record.name != "pika.client.session"]
    # How long something takes is the machine's affair; it is told, and no failure.
    for slow in [text for text in complaints if text.startswith("Executing ")]:
        print(slow)
    assert [text for text in complaints if not text.startswith("Executing ")] == []
    # Those of the loop's own, in which names are looked up, end with it; the broker's and the proxy's a moment later.
    eventually_elsewhere(lambda: threading.active_count() <= before + 1)


def test_a_connection_that_nobody_closes() -> None:
    """It goes with its loop: nobody complains but asyncio, of its transport."""

    async def program(url: str) -> None:
        channel = await (await aio.connect(url)).channel()
        await channel.basic_consume((await channel.queue_declare("")).method.queue, lambda *_: None)

    with EmbeddedBroker() as embedded, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(program(embedded.url))
        gc.collect()
    assert {warning.category for warning in caught} <= {ResourceWarning}
