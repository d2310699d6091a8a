"""What programs in use today do with pika, each as it does it. The tracers have a file of their own."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import ssl
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pika
from pika import exceptions, frame, spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exchange_type import ExchangeType
from tests.support.bounded import PATIENCE
from tests.support.certificates import Authority
from tests.support.consuming import arrive, pump
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker


@contextlib.contextmanager
def silenced(*names: str) -> Iterator[None]:
    """Have loggers let nothing through but what is critical."""
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in names:
            logging.getLogger(name).setLevel(logging.NOTSET)


def take_until_idle(connection: BlockingConnection, channel: BlockingChannel, queue: str, number: int) -> list[Any]:
    """Consume as a worker does, whose threads acknowledge, until nothing comes behind so many messages."""
    bodies: list[Any] = []
    for method, received, body in channel.consume(queue, inactivity_timeout=0.2):
        if method is None:
            assert (received, body) == (None, None)
            if len(bodies) == number:
                channel.cancel()
                return bodies
            continue
        assert received.headers == {"a": 1}
        bodies.append(body)
        acknowledge = connection.add_callback_threadsafe
        tag = method.delivery_tag
        worker = threading.Thread(target=acknowledge, args=(functools.partial(channel.basic_ack, tag),))
        worker.start()
        worker.join()
        connection.sleep(0)
    raise AssertionError("the generator has ended")


def test_dramatiq(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """A worker: several hosts, a generator with a timeout, acknowledgements from other threads, a queue's length."""
    with silenced("pika", "pika.adapters.base_connection", "pika.adapters.blocking_connection"):
        by_url = pika.URLParameters(broker.url)
        credentials = pika.credentials.PlainCredentials("guest", "guest")
        by_name = pika.ConnectionParameters(host=broker.host, port=broker.port, credentials=credentials, heartbeat=60)
        connection = pika.BlockingConnection(parameters=[by_url, by_name])
        channel = connection.channel()
        queue = channel.queue_declare(queue="", exclusive=True, durable=False, arguments={}).method.queue
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=2)
        properties = pika.BasicProperties(delivery_mode=2, priority=None, headers={"a": 1})
        for number in range(3):
            channel.basic_publish(exchange="", routing_key=queue, body=b"%d" % number, properties=properties)
        assert channel.queue_declare(queue=queue, passive=True).method.message_count == 3
        assert take_until_idle(connection, channel, queue, 3) == [b"0", b"1", b"2"]
        with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
            channel.queue_declare(queue="pika-nowhere", passive=True)
        assert caught.value.reply_code == 404
        connection.close()
        with pytest.raises(exceptions.AMQPError):
            connection.channel()
        assert not caplog.records


def test_fedora_messaging() -> None:
    """What it takes of the package beside its Twisted adapter."""
    assert importlib.metadata.version("pika") == pika.__version__
    options = pika.SSLOptions(ssl.create_default_context(), server_hostname="broker")
    parameters = pika.URLParameters("amqps://broker/")
    parameters.ssl_options = options
    parameters.credentials = pika.credentials.ExternalCredentials()
    assert parameters.ssl_options is options and isinstance(options.context, ssl.SSLContext)
    assert isinstance(parameters.credentials, pika.credentials.ExternalCredentials)


def test_globus_compute(broker: Broker) -> None:
    """What it takes of the package beside its select loop."""
    parameters = pika.URLParameters("amqp://guest:guest@127.0.0.1:1/")
    parameters.port = broker.port
    with pika.BlockingConnection(parameters) as connection:
        answer: frame.Method[spec.Queue.DeclareOk] = connection.channel().queue_declare("", exclusive=True)
    assert frame.Method[spec.Queue.DeclareOk] is not None
    assert isinstance(answer.method, spec.Queue.DeclareOk)


def test_globus_computes_loops(broker: Broker) -> None:
    """A thread has a select loop, which looks from time to time whether it is to end, and is closed then."""
    stop, log = threading.Event(), []

    def watch() -> None:
        if not stop.is_set():
            connection.ioloop.call_later(0.01, watch)
        elif connection.is_open:
            connection.close()

    def on_close(connection: pika.SelectConnection, error: BaseException) -> None:
        log.append(type(error))
        connection.ioloop.stop()

    def run() -> None:
        nonlocal connection
        connection = pika.SelectConnection(
            pika.URLParameters(broker.url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=lambda _channel: opened.set()),
            on_open_error_callback=lambda connection, error: connection.ioloop.stop(),
            on_close_callback=on_close,
        )
        watch()
        connection.ioloop.start()
        connection.ioloop.close()

    connection: Any = None
    opened = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    assert opened.wait(60)
    stop.set()
    thread.join(60)
    assert not thread.is_alive() and log == [exceptions.ConnectionClosedByClient]


def test_python_workflows(broker: Broker) -> None:
    """A transport with transactions, which waits for events without a limit."""
    parameters = pika.ConnectionParameters(
        host=broker.host, port=broker.port, heartbeat=0, stack_timeout=12, retry_delay=1, connection_attempts=2
    )
    assert parameters.stack_timeout == 12
    connection = pika.BlockingConnection(parameters)
    channel, other = connection.channel(), connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    got: list[bytes] = []
    channel.basic_consume(queue, lambda _channel, method, properties, body: got.append(body), auto_ack=True)
    assert isinstance(other.tx_select().method, spec.Tx.SelectOk)
    other.basic_publish("", queue, b"abandoned")
    assert isinstance(other.tx_rollback().method, spec.Tx.RollbackOk)
    other.basic_publish("", queue, b"committed")
    assert isinstance(other.tx_commit().method, spec.Tx.CommitOk)
    connection.process_data_events(time_limit=None)
    assert got == [b"committed"]
    connection.call_later(0.05, lambda: got.append(b"timer"))
    connection.process_data_events(None)
    assert got == [b"committed", b"timer"]
    connection.close()


def test_zulip(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    """It looks into what waits for a consumer's callback, and for the generator."""
    channel.basic_consume(queue, lambda *message: None, auto_ack=True)
    for _ in range(3):
        channel.basic_publish("", queue, b"x")
    arrive(channel, 3)
    assert len(channel._pending_events) == 3
    pump(connection, lambda: not channel._pending_events)
    for tag in channel.consumer_tags:
        channel.basic_cancel(tag)
    for _ in range(3):
        channel.basic_publish("", queue, b"x")
    assert channel.get_waiting_message_count() == 0
    messages = channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE)
    next(messages)
    pump(connection, lambda: channel.get_waiting_message_count() == 2)


def test_intelmq() -> None:
    version = tuple(int(x) for x in pika.__version__.split("."))
    assert version > (1, 0, 0) and len(version) == 3


def test_django_cqrs() -> None:
    """It reads the defaults of parameters from the class."""
    names = {
        "HOST": "localhost",
        "PORT": 5672,
        "VIRTUAL_HOST": "/",
        "USERNAME": "guest",
        "PASSWORD": "guest",
    }
    for name, value in names.items():
        assert getattr(pika.ConnectionParameters, f"DEFAULT_{name}") == value
    assert pika.ConnectionParameters.DEFAULT_SSL is False
    credentials: Any = pika.ConnectionParameters.DEFAULT_CREDENTIALS
    assert credentials.username == "guest"


def test_django_cqrs_producers(broker: Broker) -> None:
    """A producer whose connection was lost makes a new one, whichever of these it hears of it by."""
    errors = (exceptions.AMQPError, exceptions.ChannelError, exceptions.ReentrancyError, AMQPConnectorException)
    queue = f"pika-{uuid.uuid4().hex}"
    with Proxy(broker.port) as proxy:
        channel = pika.BlockingConnection(pika.URLParameters(proxy.url)).channel()
        channel.queue_declare(queue)
        proxy.reset()
        with pytest.raises(errors):
            for _ in range(100):
                channel.basic_publish("", queue, b"lost")
                channel.connection.process_data_events(0.1)
    with pika.BlockingConnection(broker.parameters()) as again:
        again.channel().basic_publish("", queue, "text", pika.BasicProperties(expiration="60000"), True)
        again.channel().queue_delete(queue)
    with pytest.raises(errors):
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 1))


def test_ansible(tmp_path: Path) -> None:
    """It builds credentials that are wiped after use, and URLs with options for TLS."""
    credentials = pika.credentials.PlainCredentials("user", "secret", erase_on_connect=True)
    assert credentials.erase_on_connect is True
    assert pika.ConnectionParameters("127.0.0.1", 1, "/", credentials).credentials == credentials
    assert (credentials.username, credentials.password) == ("user", "secret")
    with pytest.raises(exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 1, socket_timeout=2))
    options = {"ca_certs": str(Authority(tmp_path).cert), "verify_mode": ssl.CERT_REQUIRED.value}
    parameters = pika.URLParameters(f"amqps://user:secret@host/?{urllib.parse.urlencode({'ssl_options': options})}")
    assert parameters.ssl_options is not None
    assert parameters.ssl_options.context.verify_mode is ssl.CERT_REQUIRED


def test_the_public_blocking_api(broker: Broker) -> None:
    """What pytest-rabbitmq, testcontainers and OpenCTI do: declare, publish, get, consume, purge, delete."""
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        assert connection.is_open
        channel = connection.channel()
        exchange = "pika-dependents"
        channel.exchange_declare(exchange=exchange, exchange_type=ExchangeType.topic, durable=True)
        queue = channel.queue_declare(
            queue="pika-dependents", durable=True, arguments={"x-max-length": 10}
        ).method.queue
        channel.queue_bind(queue=queue, exchange=exchange, routing_key="a.*")
        properties = pika.BasicProperties(delivery_mode=2, content_encoding="utf-8")
        channel.basic_publish(exchange=exchange, routing_key="a.b", body="text", properties=properties)
        pump(connection, lambda: channel.queue_declare(queue, passive=True).method.message_count == 1)
        method, received, body = channel.basic_get(queue=queue, auto_ack=False)
        assert (body, received.content_encoding, method.routing_key) == (b"text", "utf-8", "a.b")
        channel.basic_nack(delivery_tag=method.delivery_tag, requeue=True)
        got: list[bytes] = []

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            got.append(body)
            channel.basic_ack(delivery_tag=method.delivery_tag)
            channel.stop_consuming()

        channel.basic_consume(queue=queue, on_message_callback=on_message)
        channel.start_consuming()
        assert got == [b"text"]
        assert channel.queue_purge(queue=queue).method.message_count == 0
        channel.queue_unbind(queue=queue, exchange=exchange, routing_key="a.*")
        channel.queue_delete(queue=queue)
        channel.exchange_delete(exchange=exchange)
        channel.close()
        assert channel.is_closed
    assert connection.is_closed


@pytest.mark.parametrize(("heartbeat", "check_interval"), [(60, 65), (7, 12)])
def test_how_often_heartbeats_are_checked(broker: Broker, heartbeat: int, check_interval: int) -> None:
    with pika.BlockingConnection(broker.parameters(heartbeat=heartbeat)) as connection:
        checker = connection._impl._heartbeat_checker
        assert checker is not None and checker._check_interval == check_interval
    assert connection.is_closed


def test_without_heartbeats_nothing_is_checked(broker: Broker) -> None:
    with pika.BlockingConnection(broker.parameters(heartbeat=0)) as connection:
        assert connection._impl._heartbeat_checker is None


def test_what_is_read_of_the_connection_below(connection: BlockingConnection, channel: BlockingChannel) -> None:
    impl = connection._impl
    assert {"product", "version", "capabilities"} <= impl.server_properties.keys()
    assert impl.server_capabilities["publisher_confirms"] is True
    assert impl.params.host == "127.0.0.1"
    assert impl._channels == {channel.channel_number: channel._impl}
    assert impl.connection_state == impl.CONNECTION_OPEN
    channel._impl._raise_if_not_open()
    channel._process_data_events(0)
    channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel._impl._raise_if_not_open()
