"""The parameters of a connection: what they accept, what they keep, and what they say to the rest."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pathlib
import pickle
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pika
from pika.connection.parameters import ConnectionParameters, Parameters, SSLOptions, URLParameters
from pika.credentials import ExternalCredentials, PlainCredentials

# --- one by one ---

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("host", "rabbit", "rabbit"),
    ("host", "", ""),
    ("virtual_host", "", ""),
    ("virtual_host", "a/b", "a/b"),
    ("locale", "de_DE", "de_DE"),
    ("port", 5673, 5673),
    ("port", "5673", 5673),
    ("port", 0, 0),
    ("port", 65535, 65535),
    ("channel_max", 1, 1),
    ("channel_max", 65535, 65535),
    ("frame_max", 4096, 4096),
    ("frame_max", 131072, 131072),
    ("heartbeat", None, None),
    ("heartbeat", 0, 0),
    ("heartbeat", 65535, 65535),
    ("heartbeat", max, max),
    ("connection_attempts", 1, 1),
    ("connection_attempts", 10**6, 10**6),
    ("retry_delay", 0, 0),
    ("retry_delay", 0.5, 0.5),
    ("socket_timeout", None, None),
    ("socket_timeout", 3, 3.0),
    ("socket_timeout", 0.25, 0.25),
    ("stack_timeout", None, None),
    ("stack_timeout", 3, 3.0),
    ("blocked_connection_timeout", None, None),
    ("blocked_connection_timeout", 0, 0),
    ("blocked_connection_timeout", 2.5, 2.5),
    ("client_properties", None, None),
    ("client_properties", {"connection_name": "x"}, {"connection_name": "x"}),
    ("tcp_options", None, None),
    ("tcp_options", {"TCP_KEEPIDLE": 60}, {"TCP_KEEPIDLE": 60}),
    ("ssl_options", None, None),
    ("credentials", PlainCredentials("u", "p"), PlainCredentials("u", "p")),
    ("credentials", ExternalCredentials(), ExternalCredentials()),
]

REJECTED: list[tuple[str, Any, type[Exception]]] = [
    ("host", None, TypeError),
    ("host", b"rabbit", TypeError),
    ("virtual_host", 1, TypeError),
    ("locale", None, TypeError),
    ("port", None, TypeError),
    ("port", "amqp", TypeError),
    ("port", float("inf"), TypeError),
    ("port", -1, ValueError),
    ("port", 65536, ValueError),
    ("channel_max", None, TypeError),
    ("channel_max", 1.0, TypeError),
    ("channel_max", 0, ValueError),
    ("channel_max", 65536, ValueError),
    ("frame_max", "4096", TypeError),
    ("frame_max", 4095, ValueError),
    ("frame_max", 131073, ValueError),
    ("heartbeat", 1.5, TypeError),
    ("heartbeat", "10", TypeError),
    ("heartbeat", -1, ValueError),
    ("heartbeat", 65536, ValueError),
    ("connection_attempts", 1.0, TypeError),
    ("connection_attempts", 0, ValueError),
    ("retry_delay", None, TypeError),
    ("retry_delay", "2", TypeError),
    ("retry_delay", float("nan"), ValueError),
    ("socket_timeout", "1", TypeError),
    ("socket_timeout", 0, ValueError),
    ("socket_timeout", -0.5, ValueError),
    ("socket_timeout", float("nan"), ValueError),
    ("stack_timeout", 1j, TypeError),
    ("stack_timeout", 0.0, ValueError),
    ("blocked_connection_timeout", "1", TypeError),
    ("blocked_connection_timeout", -1, ValueError),
    ("client_properties", [], TypeError),
    ("tcp_options", [("TCP_KEEPIDLE", 60)], TypeError),
    ("ssl_options", True, TypeError),
    ("ssl_options", {"cafile": "x"}, TypeError),
    ("credentials", None, TypeError),
    ("credentials", ("u", "p"), TypeError),
]


def everywhere() -> list[Parameters]:
    return [Parameters(), ConnectionParameters(), URLParameters("amqp://")]


@pytest.mark.parametrize(("name", "value", "stored"), ACCEPTED)
def test_accepted(name: str, value: Any, stored: Any) -> None:
    for parameters in everywhere():
        setattr(parameters, name, value)
        assert getattr(parameters, name) == stored
        assert type(getattr(parameters, name)) is type(stored)
    assert getattr(ConnectionParameters(**{name: value}), name) == stored


@pytest.mark.parametrize(("name", "value", "error"), REJECTED)
def test_rejected(name: str, value: Any, error: type[Exception]) -> None:
    for parameters in everywhere():
        before = getattr(parameters, name)
        with pytest.raises(error) as caught:
            setattr(parameters, name, value)
        assert name in str(caught.value)
        # Credentials of a wrong type may be a password: only their type is shown.
        assert (type(value).__name__ if name == "credentials" else repr(value)) in str(caught.value)
        assert getattr(parameters, name) is before
    with pytest.raises(error, match=name):
        ConnectionParameters(**{name: value})


def test_defaults() -> None:
    for parameters in everywhere():
        assert parameters.host == "localhost"
        assert parameters.port == 5672
        assert parameters.virtual_host == "/"
        assert parameters.credentials == PlainCredentials("guest", "guest")
        assert (parameters.channel_max, parameters.frame_max) == (65535, 131072)
        assert parameters.heartbeat is None
        assert (parameters.connection_attempts, parameters.retry_delay) == (1, 2.0)
        assert (parameters.socket_timeout, parameters.stack_timeout) == (10.0, 15.0)
        assert parameters.blocked_connection_timeout is None
        assert parameters.locale == "en_US"
        assert parameters.ssl_options is None
        assert parameters.client_properties is None
        assert parameters.tcp_options is None


def test_a_subclass_may_change_a_default() -> None:
    class Mine(ConnectionParameters):
        DEFAULT_HOST = "rabbit"
        DEFAULT_SSL_PORT = 7000

    assert Mine().host == "rabbit"
    assert Mine(host="other").host == "other"
    assert Mine(ssl_options=SSLOptions(ssl.create_default_context())).port == 7000


def test_positions() -> None:
    parameters = ConnectionParameters("h", 1, "v", PlainCredentials("u", "p"), 2, 5000, 3)
    assert (parameters.host, parameters.port, parameters.virtual_host) == ("h", 1, "v")
    assert (parameters.channel_max, parameters.frame_max, parameters.heartbeat) == (2, 5000, 3)


def test_the_sentinel_stands_for_the_default() -> None:
    assert ConnectionParameters(host=ConnectionParameters._DEFAULT, socket_timeout=None).host == "localhost"
    assert ConnectionParameters(socket_timeout=None).socket_timeout is None


def test_an_unknown_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="heartbeat_interval, ssl"):
        ConnectionParameters(heartbeat_interval=5, ssl=True)


def test_a_misspelt_attribute_is_refused() -> None:
    for parameters in everywhere():
        with pytest.raises(AttributeError):
            parameters.hearbeat = 5  # type: ignore[attr-defined]  # the misspelling is the point


def test_the_port_follows_tls_unless_given() -> None:
    options = SSLOptions(ssl.create_default_context())
    assert ConnectionParameters(ssl_options=options).port == 5671
    assert ConnectionParameters(ssl_options=options, port=5672).port == 5672
    assert ConnectionParameters(ssl_options=None).port == 5672


def test_what_is_copied() -> None:
    credentials = PlainCredentials("u", "p", erase_on_connect=True)
    properties: dict[str, Any] = {"capabilities": {}}
    parameters = ConnectionParameters(credentials=credentials, client_properties=properties)
    parameters.credentials.erase_credentials()
    assert credentials.password == "p"
    properties["capabilities"]["x"] = True
    assert parameters.client_properties == {"capabilities": {}}
    assert ConnectionParameters().credentials is not ConnectionParameters().credentials


def test_equality_is_that_of_host_and_port() -> None:
    assert ConnectionParameters("h", heartbeat=5) == ConnectionParameters("h", heartbeat=6)
    assert ConnectionParameters("h") == URLParameters("amqp://h")
    assert ConnectionParameters("h") != ConnectionParameters("g")
    assert ConnectionParameters("h", 1) != ConnectionParameters("h", 2)
    assert ConnectionParameters("h") != "h"
    with pytest.raises(TypeError):
        hash(ConnectionParameters())


def test_repr_shows_the_broker_and_no_password() -> None:
    parameters = ConnectionParameters("h", 1, "v", PlainCredentials("u", "hunter2"))
    assert repr(parameters) == "<ConnectionParameters host=h port=1 virtual_host=v ssl=False>"
    assert str(URLParameters("amqps://u:hunter2@h/v")) == "<URLParameters host=h port=5671 virtual_host=v ssl=True>"


def test_copies() -> None:
    for parameters in (ConnectionParameters("h", heartbeat=7), URLParameters("amqp://h?heartbeat=7")):
        for twin in (copy.copy(parameters), copy.deepcopy(parameters), pickle.loads(pickle.dumps(parameters))):
            assert type(twin) is type(parameters)
            assert (twin.host, twin.heartbeat) == ("h", 7)


# --- TLS ---


@pytest.mark.parametrize("context", [None, 1, "tls", ssl.SSLContext])
def test_ssl_options_need_a_context(context: Any) -> None:
    with pytest.raises(TypeError) as caught:
        SSLOptions(context)
    assert repr(context) in str(caught.value)


def test_ssl_options_keep_what_they_are_given() -> None:
    context = ssl.create_default_context()
    options = SSLOptions(context, "rabbit.example")
    assert (options.context, options.server_hostname) == (context, "rabbit.example")
    assert SSLOptions(context).server_hostname is None


def test_tls_is_not_loaded_unless_used() -> None:
    code = (
        "import sys; from pika.connection.parameters import *; ConnectionParameters(); URLParameters('amqp://h')\n"
        "print('ssl' in sys.modules)"
    )
    assert run(sys.executable, code) == "False\n"


def test_amqps_verifies() -> None:
    for url in ("amqps://h", "AMQPS://h", "https://h"):
        options = URLParameters(url).ssl_options
        assert options is not None
        assert options.context.verify_mode == ssl.CERT_REQUIRED
        assert options.context.check_hostname is True
        assert options.server_hostname is None


def url_with_ssl(options: Any, scheme: str = "amqps") -> URLParameters:
    return URLParameters(f"{scheme}://h/v?ssl_options=" + quote(repr(options)))


def context_of(options: Any) -> ssl.SSLContext:
    found = url_with_ssl(options).ssl_options
    assert found is not None
    return found.context


def test_ssl_options_of_a_url_turn_tls_on() -> None:
    assert (url_with_ssl({}).port, url_with_ssl({}, "amqp").port) == (5671, 5672)
    assert url_with_ssl({}, "amqp").ssl_options is not None
    assert url_with_ssl(None, "amqp").ssl_options is None
    with pytest.raises(ValueError, match="contradicts the scheme amqps"):
        url_with_ssl(None)


def test_ssl_options_of_a_url_verify_unless_told_otherwise() -> None:
    for given_options in ({}, {"verify_mode": None}, {"protocol": 2}, {"ssl_version": 16}, {"cert_reqs": 2}):
        context = context_of(given_options)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    for refused in ({"verify_mode": 0}, {"cert_reqs": "CERT_NONE"}, {"verify_mode": 0, "check_hostname": False}):
        context = context_of(refused)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    context = context_of({"check_hostname": False})
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_ssl_options_of_a_url_choose_name_version_and_ciphers() -> None:
    options = url_with_ssl({"server_hostname": "rabbit.example", "protocol": 5}).ssl_options
    assert options is not None
    assert options.server_hostname == "rabbit.example"
    assert options.context.minimum_version == options.context.maximum_version == ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in context_of({"ciphers": "ECDHE+AESGCM", "protocol": 5}).get_ciphers()}
    assert any("ECDHE" in name for name in names)
    assert not any("CHACHA" in name and name.startswith("ECDHE") for name in names)
    assert context_of({"do_handshake_on_connect": True, "suppress_ragged_eofs": True}).check_hostname


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"cafil": "x"}, ValueError, "unknown option 'cafil'; allowed are cafile"),
        ({1: 2}, ValueError, "unknown option 1"),
        ({"cafile": "/no/such/file"}, FileNotFoundError, "cafile"),
        ({"certfile": "/no/such/file"}, FileNotFoundError, "certfile"),
        ({"certfile": 1}, TypeError, "certfile"),
        ({"cadata": "no certificate"}, OSError, "cadata"),
        ({"ciphers": "none-such"}, ssl.SSLError, "ciphers"),
        ({"protocol": 17}, ValueError, "17"),
        ({"protocol": "TLSv1"}, TypeError, "'TLSv1'"),
        ({"verify_mode": 3}, ValueError, "CERT_REQUIRED"),
        ({"verify_mode": "x"}, ValueError, "'x'"),
        ({"check_hostname": "x"}, ValueError, "'x'"),
        ({"check_hostname": True, "verify_mode": 0}, ValueError, "check_hostname"),
        ({"server_hostname": 1}, TypeError, "server_hostname"),
        ([1], TypeError, "list"),
        (True, TypeError, "bool"),
        ("text", TypeError, "str"),
    ],
)
def test_ssl_options_of_a_url_rejected(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        url_with_ssl(options)
    assert "ssl_options" in str(caught.value)
    assert words in str(caught.value)


def test_no_error_shows_the_password_of_a_key() -> None:
    for text in ("{'password': 'hunter2'", "{'password': 'hunter2', 'cafil': 1}", "'hunter2'"):
        with pytest.raises((ValueError, TypeError)) as caught:
            URLParameters("amqps://h/?ssl_options=" + quote(text))
        assert "hunter2" not in str(caught.value)


# --- URLs ---

GOOD_URLS: list[tuple[str, tuple[str, int, str, str, str]]] = [
    ("", ("localhost", 5672, "/", "guest", "guest")),
    ("amqp:", ("localhost", 5672, "/", "guest", "guest")),
    ("amqp://", ("localhost", 5672, "/", "guest", "guest")),
    ("amqps://", ("localhost", 5671, "/", "guest", "guest")),
    ("//h", ("h", 5672, "/", "guest", "guest")),
    ("http://h", ("h", 5672, "/", "guest", "guest")),
    ("AMQP://Host", ("host", 5672, "/", "guest", "guest")),
    ("amqp://h/", ("h", 5672, "/", "guest", "guest")),
    ("amqp://h//", ("h", 5672, "", "guest", "guest")),
    ("amqp://h/%2f", ("h", 5672, "/", "guest", "guest")),
    ("amqp://h/%2F/", ("h", 5672, "/", "guest", "guest")),
    ("amqp://h/v", ("h", 5672, "v", "guest", "guest")),
    ("amqp://h/v/w", ("h", 5672, "v", "guest", "guest")),
    ("amqp://h/v%2Fw", ("h", 5672, "v/w", "guest", "guest")),
    ("amqp://h/%C3%A9", ("h", 5672, "é", "guest", "guest")),
    ("amqp://h/é", ("h", 5672, "é", "guest", "guest")),
    ("amqp://h/v;w", ("h", 5672, "v;w", "guest", "guest")),
    ("amqp://h/v#fragment", ("h", 5672, "v", "guest", "guest")),
    ("amqp://h\n", ("h", 5672, "/", "guest", "guest")),
    ("amqp://u:p@h:1/v", ("h", 1, "v", "u", "p")),
    ("amqp://u:@h", ("h", 5672, "/", "u", "")),
    ("amqp://:@h", ("h", 5672, "/", "", "")),
    ("amqp://u:p@", ("localhost", 5672, "/", "u", "p")),
    ("amqp://u%40x:p%3a%2F@h", ("h", 5672, "/", "u@x", "p:/")),
    ("amqp://u:p@q:r@h", ("h", 5672, "/", "u", "p@q:r")),
    ("amqp://u+v:p+q@h", ("h", 5672, "/", "u+v", "p+q")),
    ("amqp://h:0", ("h", 0, "/", "guest", "guest")),
    ("amqp://h:", ("h", 5672, "/", "guest", "guest")),
    ("amqp://:5", ("localhost", 5, "/", "guest", "guest")),
    ("amqps://h:5672", ("h", 5672, "/", "guest", "guest")),
    ("amqp://[::1]", ("::1", 5672, "/", "guest", "guest")),
    ("amqp://u:p@[2001:db8::7]:5/v", ("2001:db8::7", 5, "v", "u", "p")),
    ("amqp://[fe80::1%25eth0]:5", ("fe80::1%eth0", 5, "/", "guest", "guest")),
    ("amqp://[fe80::1%eth0]", ("fe80::1%eth0", 5672, "/", "guest", "guest")),
]

BAD_URLS: list[tuple[Any, type[Exception], str]] = [
    (None, TypeError, "NoneType"),
    (b"amqp://h", TypeError, "bytes"),
    ("ftp://h", ValueError, "'ftp'"),
    ("amqp+ssl://h", ValueError, "amqp or amqps"),
    (" amqp://h", ValueError, "' amqp'"),
    ("h:5672", ValueError, "'h'"),
    ("h", ValueError, "scheme"),
    ("amqp:h", ValueError, "amqp://host"),
    ("amqp://u@h", ValueError, "user:password@host"),
    ("amqp://h:65536", ValueError, "'h:65536'"),
    ("amqp://h:-1", ValueError, "'h:-1'"),
    ("amqp://h:amqp", ValueError, "'h' is no port"),
    ("amqp://::1", ValueError, "[brackets]"),
    ("amqp://[::1", ValueError, "[brackets]"),
    ("amqp://[rabbit]", ValueError, "brackets"),
    ("amqp://u:%ff@h", ValueError, "password"),
    ("amqp://%ff:p@h", ValueError, "user name"),
    ("amqp://h/%ff", ValueError, "virtual host"),
    ("amqp://h/?locale=%ff", ValueError, "UTF-8"),
    ("amqp://h/?hearbeat=5", ValueError, "'hearbeat'"),
    ("amqp://h/?port=5", ValueError, "'port'"),
    ("amqp://h/?unknown", ValueError, "'unknown'"),
    ("amqp://h/?heartbeat=5&heartbeat=6", ValueError, "one value for the option heartbeat"),
]


@pytest.mark.parametrize(("url", "expected"), GOOD_URLS)
def test_url(url: str, expected: tuple[str, int, str, str, str]) -> None:
    parameters = URLParameters(url)
    credentials = parameters.credentials
    assert isinstance(credentials, PlainCredentials)
    found = (parameters.host, parameters.port, parameters.virtual_host, credentials.username, credentials.password)
    assert found == expected


@pytest.mark.parametrize(("url", "error", "words"), BAD_URLS)
def test_bad_url(url: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        URLParameters(url)
    assert words in str(caught.value)


@pytest.mark.parametrize("url", [
    "amqp://u:hunter2#x@h", "amqp://u:hunter2/x@h", "amqp://u:hunter2?x@h", "amqp://u:hunter2[@h", "amqp://u:hunter2@h:x",
    "amqp://u:hunter2@h/?x=1", "amqp://u:hunter2@h/%ff", "amqp://u:hunter2@\u2100", "amqp://hunter2@h",
])  # fmt: skip
def test_no_error_shows_the_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        URLParameters(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    # None but one that is being handled here, as tests that interrupt a handler may leave behind in this process.
    assert caught.value.__suppress_context__ or caught.value.__context__ is sys.exc_info()[1]


@pytest.mark.parametrize(
    ("name", "text", "stored"),
    [
        ("heartbeat", "0", 0),
        ("heartbeat", " 60 ", 60),
        ("heartbeat", "", None),
        ("channel_max", "7", 7),
        ("frame_max", "4096", 4096),
        ("connection_attempts", "3", 3),
        ("retry_delay", "0.5", 0.5),
        ("retry_delay", "", 2.0),
        ("socket_timeout", "3", 3.0),
        ("stack_timeout", "3.5", 3.5),
        ("blocked_connection_timeout", "1e3", 1000.0),
        ("locale", "de_DE", "de_DE"),
        ("client_properties", "{'connection_name': 'a b'}", {"connection_name": "a b"}),
        ("client_properties", "None", None),
        ("tcp_options", " {'TCP_KEEPIDLE': 60}", {"TCP_KEEPIDLE": 60}),
    ],
)
def test_url_option(name: str, text: str, stored: Any) -> None:
    value = getattr(URLParameters(f"amqp://h/v?{name}={quote(text)}"), name)
    assert value == stored
    assert type(value) is type(stored)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("heartbeat", "1.5", ValueError),
        ("heartbeat", "-1", ValueError),
        ("heartbeat", "None", ValueError),
        ("channel_max", "0", ValueError),
        ("frame_max", "4095", ValueError),
        ("connection_attempts", "0", ValueError),
        ("retry_delay", "soon", ValueError),
        ("socket_timeout", "0", ValueError),
        ("stack_timeout", "nan", ValueError),
        ("blocked_connection_timeout", "-1", ValueError),
        ("client_properties", "[]", TypeError),
        ("tcp_options", "5", TypeError),
    ],
)
def test_url_option_rejected(name: str, text: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        URLParameters(f"amqp://h/v?{name}={quote(text)}")
    assert name in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["client_properties", "tcp_options", "ssl_options"])
@pytest.mark.parametrize("text", ["{'a'", "dict(a=1)", "__import__('os')", "{[]: 1}", "(" * 500, "\0"])
def test_an_option_that_is_no_literal_is_never_run(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a Python dict of literals"):
        URLParameters(f"amqp://h/?{name}={quote(text)}")


@given(st.one_of(
    st.text(),
    st.builds("amqp://{}".format, st.text()),
    st.builds("amqp://h/v?{}={}".format, st.sampled_from(
        ["heartbeat", "channel_max", "retry_delay", "tcp_options", "client_properties", "ssl_options", "locale"]
    ), st.text()),
    st.builds("amqp://{}:{}@{}:{}/{}?{}".format, st.text(), st.text(), st.text(), st.integers(), st.text(), st.text()),
))  # fmt: skip
def test_any_text_is_parameters_or_a_clear_error(url: str) -> None:
    try:
        parameters = URLParameters(url)
    except (ValueError, TypeError) as error:
        assert str(error)
    else:
        assert isinstance(parameters.host, str)
        assert parameters.host
        assert 0 <= parameters.port <= 65535


@given(st.text(), st.text(), st.text(min_size=1))
def test_what_is_percent_encoded_comes_back(username: str, password: str, virtual_host: str) -> None:
    userinfo = f"{quote(username, safe='')}:{quote(password, safe='')}"
    parameters = URLParameters(f"amqp://{userinfo}@h/{quote(virtual_host, safe='')}")
    assert parameters.credentials == PlainCredentials(username, password)
    assert parameters.virtual_host == virtual_host


# --- the same as pika 1.4.4 ---

NAMES = [name for name in dir(Parameters) if isinstance(getattr(Parameters, name), property)]
# Python expressions, so that the other interpreter can make the same values.
VALUES = [
    "None", "True", "False", "-1", "0", "0.0", "1", "1.5", "7", "-0.5", "4095", "4096", "65535", "65536", "131072",
    "131073", "10**9", "''", "'x'", "'5'", "'-1'", "b'x'", "b'5'", "[]", "[1]", "{}", "{'a':1}", "()",
    "float('nan')", "float('inf')", "max", "str", "1j", "PlainCredentials('u','p')", "ExternalCredentials()",
    "__import__('fractions').Fraction(1,2)", "__import__('decimal').Decimal(1)",
]  # fmt: skip
OPTION_TEXTS = [
    "0", "1", "-1", "5", "70000", "65535", "4095", "131072", "1.5", "-0.5", "abc", "", " 5 ", "5_0", "0x10", "None",
    "nan", "inf", "1e3", "{'a': 1}", "[1]", "{}", "dict(a=1)", "{'a'",
]  # fmt: skip
OPTIONS = [name for name in NAMES if name not in ("credentials", "host", "port", "virtual_host", "ssl_options")]
URLS = [url for url, _ in GOOD_URLS] + [url for url, _, _ in BAD_URLS if isinstance(url, str)]

PROBE = """
import json, sys
try:
    from pika.connection.parameters import Parameters, URLParameters
except ImportError:
    from pika.connection import Parameters, URLParameters
from pika.credentials import PlainCredentials, ExternalCredentials

def say(value):
    if isinstance(value, (PlainCredentials, ExternalCredentials)):
        return type(value).__name__ + repr(sorted(vars(value).items()))
    return repr(value)

def attempt(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__

def store(name, source):
    parameters = Parameters()
    setattr(parameters, name, eval(source))
    return say(getattr(parameters, name))

def of_url(url):
    p = URLParameters(url)
    return repr((p.host, p.port, p.virtual_host, p.ssl_options is not None)) + say(p.credentials)

asked = json.load(sys.stdin)
answers = {}
for name in asked["names"]:
    for source in asked["values"]:
        answers[name + " = " + source] = attempt(lambda: store(name, source))
for name in asked["options"]:
    for text in asked["texts"]:
        url = "amqp://h/v?" + name + "=" + text
        answers[url] = attempt(lambda: say(getattr(URLParameters(url), name)))
for url in asked["urls"]:
    answers[url] = attempt(lambda: of_url(url))
json.dump(answers, sys.stdout)
"""

NAN = "no time is NaN seconds"
PORT = "no TCP port is outside 0 to 65535"
WIRE = "a heartbeat has 16 bits on the wire"
SCHEME = "what is no URL of ours is said to be none, not taken for localhost or an IndexError"
UTF8 = "a name or password that is no UTF-8 is an error, not replacement characters"
LITERAL = "text that is no Python literal is a wrong value, not a SyntaxError of the program"
DELIBERATE: dict[str, str] = {
    **{f"{name} = float('nan')": NAN
       for name in ("blocked_connection_timeout", "retry_delay", "socket_timeout", "stack_timeout")},
    **{f"amqp://h/v?{name}=nan": NAN
       for name in ("blocked_connection_timeout", "retry_delay", "socket_timeout", "stack_timeout")},
    **{f"port = {value}": PORT for value in ("-1", "65536", "131072", "131073", "10**9", "'-1'", "float('inf')")},
    **{f"heartbeat = {value}": WIRE for value in ("65536", "131072", "131073", "10**9")},
    "amqp://h/v?heartbeat=70000": WIRE,
    "amqp://h/v?heartbeat=131072": WIRE,
    **{f"amqp://h/v?{name}={{'a'": LITERAL for name in ("client_properties", "tcp_options")},
    "h": SCHEME,
    "amqp:h": SCHEME,
    "amqp://u@h": "a user name without a password is a wrong value, not an accidental TypeError",
    "amqp://u:%ff@h": UTF8,
    "amqp://%ff:p@h": UTF8,
    "amqp://h/%ff": UTF8,
    "amqp://h/?locale=%ff": UTF8,
    "amqp://h/v;w": "a semicolon is part of a virtual host's name, which must not be cut there",
    "amqp://[fe80::1%25eth0]:5": "a zone is decoded as RFC 6874 says, since the encoded one cannot be resolved",
    "amqp://h/?unknown": "an unknown option is an error with and without a value",
}  # fmt: skip


OURS = str(pathlib.Path(importlib.import_module("pika").__file__ or "").parents[1])


def run(python: str, code: str, standard_input: str = "", path: str = OURS) -> str:
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [python, "-W", "ignore", "-c", code],
            input=standard_input, capture_output=True, text=True, check=True, encoding="utf-8",
            # The current directory would be searched for modules before the path.
            cwd=elsewhere, env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": path},
        )  # fmt: skip
    return done.stdout


def test_the_same_as_pika() -> None:
    # Imported here: what finds the other pika is needed by nothing else in this file.
    oracle = pytest.importorskip("tests.support.oracle", reason="there is no way to find another pika here")
    python = oracle.oracle_python()
    if python is None:
        pytest.skip("pika 1.4.4 is not installed beside this one")
    asked = json.dumps({"names": NAMES, "values": VALUES, "options": OPTIONS, "texts": OPTION_TEXTS, "urls": URLS})
    ours = json.loads(run(sys.executable, PROBE, asked))
    theirs = json.loads(run(str(python), PROBE, asked, path=""))
    assert set(ours) == set(theirs)
    different = {question for question, answer in ours.items() if answer != theirs[question]}
    unexplained = {question: (ours[question], theirs[question]) for question in different - set(DELIBERATE)}
    assert unexplained == {}
    assert set(DELIBERATE) - different == set()


@pytest.mark.parametrize(
    "give",
    [
        lambda: ConnectionParameters("localhost", credentials=("me", "sesame")),  # type: ignore[arg-type]
        lambda: ConnectionParameters("amqp://me:sesame@localhost/"),
        lambda: pika.BlockingConnection("amqp://me:sesame@localhost/"),  # type: ignore[arg-type]
    ],
)
def test_no_refusal_shows_a_password(give: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        give()
    assert "sesame" not in str(caught.value)
