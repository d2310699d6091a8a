"""What must be seen nowhere: passwords."""

from __future__ import annotations

import logging
import traceback
from urllib.parse import quote

import pytest

import pika
from tests.support.bounded import bounded
from tests.support.certificates import Authority
from tests.support.secure_rabbitmq import CERTIFIED_USER, SecureRabbitMQ
from tests.tls import attempt as attempts

SECRET = "hunter2-and-more"


def shown(*things: object) -> str:
    """All that a program may print of things, and of the errors behind errors."""
    words: list[str] = []
    for thing in things:
        words += (repr(thing), str(thing))
        if isinstance(thing, BaseException):
            words += traceback.format_exception(type(thing), thing, thing.__traceback__)
            words += (repr(thing.args), repr(vars(thing)))
    return "\n".join(words)


def url(node: SecureRabbitMQ, authority: Authority, password: str) -> str:
    mine = authority.encrypt(authority.issue(CERTIFIED_USER), SECRET)
    options = {"cafile": str(node.authority.cert), "certfile": str(mine.cert), "keyfile": str(mine.key)}
    options["password"] = SECRET
    return f"amqps://guest:{password}@127.0.0.1:{node.tls_port}/%2F?ssl_options={quote(str(options))}"


@pytest.mark.rabbitmq
def test_a_connection(node: SecureRabbitMQ, driver: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    one = attempts.DRIVERS[driver]()
    node.ctl("change_password", "guest", SECRET)
    try:
        parameters = pika.URLParameters(url(node, node.authority, SECRET))
        bounded(lambda: one.open(parameters))
        seen = shown(parameters, parameters.ssl_options, parameters.credentials, *vars(one).values())
    finally:
        node.ctl("change_password", "guest", "guest")
        bounded(one.close)
    assert SECRET not in seen
    assert SECRET not in caplog.text


@pytest.mark.rabbitmq
@pytest.mark.parametrize("trusted", [True, False])
def test_a_connection_that_is_refused(
    node: SecureRabbitMQ, strangers: Authority, driver: str, caplog: pytest.LogCaptureFixture, trusted: bool
) -> None:
    """By the broker for its password, or for the certificate."""
    caplog.set_level(logging.DEBUG)
    parameters = pika.URLParameters(url(node, node.authority if trusted else strangers, SECRET))
    if not trusted:
        parameters.host = "localhost"
        assert parameters.ssl_options is not None
        parameters.ssl_options.server_hostname = "elsewhere.example"
    one = attempts.DRIVERS[driver]()
    with pytest.raises(pika.exceptions.AMQPConnectionError) as caught:
        bounded(lambda: one.open(parameters))
    bounded(one.close)
    seen = shown(caught.value, caught.value.__cause__, caught.value.__context__)
    assert SECRET not in seen
    assert SECRET not in caplog.text
    assert "127.0.0.1" in caplog.text or "localhost" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        f"amqps://guest:{SECRET}[@localhost/",
        f"amqps://guest:{SECRET}/@localhost:5671/",
        f"amqps://guest:{SECRET}@localhost:x/",
        f"amqps://guest:{SECRET}%ff@localhost/",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}'",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}'}}x",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}', 5}}",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}', 'unknown': 1}}",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}', 'cafile': 5}}",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}', 'certfile': '/no/such/file'}}",
        f"amqps://localhost/?ssl_options={{'password': ['{SECRET}'], 'certfile': '/no/such/file'}}",
        f"amqps://localhost/?ssl_options=['{SECRET}']",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}'}}&ssl_options={{}}",
        f"amqps://localhost/?ssl_options={{'password': '{SECRET}%ff'}}",
        f"amqps://guest:{SECRET}@localhost/?unknown=1",
    ],
)
def test_a_url_that_is_refused(text: str) -> None:
    """Neither the error shows a secret, nor one behind it, which reports of errors print too."""
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        pika.URLParameters(text)
    error: BaseException | None = caught.value
    while error is not None:
        for words in (repr(error), str(error), repr(error.args), repr(vars(error)), repr(getattr(error, "text", ""))):
            assert SECRET not in words
        error = error.__cause__ or error.__context__
