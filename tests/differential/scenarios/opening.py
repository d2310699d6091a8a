"""Opening a connection, well and badly."""

from __future__ import annotations

import time
from typing import Any

import pika

from ..env import Env, Scenarios

scenarios = Scenarios()

QUICK: dict[str, Any] = {"connection_attempts": 1, "retry_delay": 0, "stack_timeout": 4, "socket_timeout": 4}


def opened(env: Env, label: str, *parameters: Any) -> Any:
    """Open a connection, and record what comes of it."""
    return env.keep(env.do(label, pika.BlockingConnection, *parameters))


@scenarios()
def open_well(env: Env) -> None:
    connection = opened(env, "open", env.parameters())
    env.states("open", connection)
    for name in (
        "basic_nack",
        "basic_nack_supported",
        "consumer_cancel_notify",
        "consumer_cancel_notify_supported",
        "exchange_exchange_bindings",
        "exchange_exchange_bindings_supported",
        "publisher_confirms",
        "publisher_confirms_supported",
    ):
        env.note(name, getattr(connection, name))
    env.do("close", connection.close)
    env.states("closed", connection)


@scenarios()
def open_refused(env: Env) -> None:
    opened(env, "nobody listens", pika.ConnectionParameters("127.0.0.1", env.free_port(), **QUICK))


@scenarios()
def open_with_bad_credentials(env: Env) -> None:
    opened(env, "password", env.parameters(credentials=pika.PlainCredentials("guest", "wrong"), connection_attempts=1))
    opened(env, "user", env.parameters(credentials=pika.PlainCredentials("nobody", "wrong"), connection_attempts=1))


@scenarios()
def open_with_bad_credentials_and_attempts(env: Env) -> None:
    credentials = pika.PlainCredentials("guest", "wrong")
    opened(env, "open", env.parameters(credentials=credentials, connection_attempts=2, retry_delay=0))


@scenarios()
def open_a_virtual_host_that_is_not_there(env: Env) -> None:
    opened(env, "open", env.parameters(virtual_host="not-there", connection_attempts=1))


@scenarios()
def open_a_virtual_host_without_the_right(env: Env) -> None:
    vhost = env.parameters().virtual_host
    credentials = pika.PlainCredentials(f"{vhost}-user", "secret")
    opened(env, "elsewhere", env.parameters(credentials=credentials, virtual_host="/", connection_attempts=1))
    opened(env, "at home", env.parameters(credentials=credentials))


@scenarios()
def open_with_external_credentials(env: Env) -> None:
    credentials = pika.credentials.ExternalCredentials()
    opened(env, "open", env.parameters(credentials=credentials, connection_attempts=1))


@scenarios()
def open_several_hosts_the_first_dead(env: Env) -> None:
    dead = pika.ConnectionParameters("127.0.0.1", env.free_port(), **QUICK)
    opened(env, "a list", [dead, env.parameters()])
    opened(env, "a tuple", (dead, env.parameters()))


@scenarios()
def open_several_hosts_all_dead(env: Env) -> None:
    dead = [pika.ConnectionParameters("127.0.0.1", env.free_port(), **QUICK) for _ in range(3)]
    opened(env, "open", dead)


@scenarios()
def open_several_hosts_the_first_with_bad_credentials(env: Env) -> None:
    bad = env.parameters(credentials=pika.PlainCredentials("guest", "wrong"), connection_attempts=1)
    opened(env, "good ones behind", [bad, env.parameters()])
    opened(env, "a dead one behind", [bad, pika.ConnectionParameters("127.0.0.1", env.free_port(), **QUICK)])
    opened(env, "behind a dead one", [pika.ConnectionParameters("127.0.0.1", env.free_port(), **QUICK), bad])


@scenarios()
def open_a_host_that_does_not_resolve(env: Env) -> None:
    opened(env, "open", pika.ConnectionParameters("no-such-host.invalid", 5672, **QUICK))


@scenarios("unresolved")
def open_a_host_behind_one_that_does_not_resolve(env: Env) -> None:
    opened(env, "open", [pika.ConnectionParameters("no-such-host.invalid", 5672, **QUICK), env.parameters()])


@scenarios()
def open_with_attempts_and_a_delay(env: Env) -> None:
    began = time.monotonic()
    parameters = pika.ConnectionParameters(
        "127.0.0.1", env.free_port(), connection_attempts=3, retry_delay=0.3, stack_timeout=5, socket_timeout=5
    )
    opened(env, "open", parameters)
    env.note("waited twice", time.monotonic() - began >= 0.6)


@scenarios()
def open_nothing(env: Env) -> None:
    opened(env, "an empty list", [])
    opened(env, "a text", "amqp://guest:guest@localhost/")
    opened(env, "a number", 5672)
    opened(env, "a list of texts", ["localhost"])


@scenarios()
def open_by_url(env: Env) -> None:
    opened(env, "options", pika.URLParameters(f"{env.url}?heartbeat=30&connection_attempts=2&frame_max=8192"))
    for label, url in (
        ("a bad heartbeat", "?heartbeat=x"),
        ("a bad port", ""),
        ("an unknown option", "?no_such_option=1"),
        ("a bad locale", "?frame_max=1"),
    ):
        base = "amqp://guest:guest@127.0.0.1:port/" if label == "a bad port" else env.url
        env.note(label, isinstance(env.do(label, type_of_url, base + url), str))


def type_of_url(url: str) -> str:
    """Return the class's name of the parameters of a URL."""
    return type(pika.URLParameters(url)).__name__


@scenarios()
def open_with_tuned_limits(env: Env) -> None:
    peer = env.peer("tight")
    connection = peer.connect(**QUICK)
    tuned = connection._impl.params
    env.note("by the broker", (tuned.channel_max, tuned.frame_max, tuned.heartbeat))
    connection.close()
    connection = peer.connect(channel_max=1, frame_max=4096, heartbeat=3, **QUICK)
    tuned = connection._impl.params
    env.note("by the client", (tuned.channel_max, tuned.frame_max, tuned.heartbeat))
    connection.close()
    connection = peer.connect(channel_max=100, frame_max=131072, heartbeat=30, **QUICK)
    tuned = connection._impl.params
    env.note("the client wants more", (tuned.channel_max, tuned.frame_max, tuned.heartbeat))
    connection.close()
    connection = peer.connect(heartbeat=0, **QUICK)
    env.note("no heartbeats", connection._impl.params.heartbeat)


@scenarios()
def open_with_a_heartbeat_callable(env: Env) -> None:
    peer = env.peer("tight")

    def choose(connection: Any, offered: int) -> int:
        env.note("offered", (type(connection).__name__ != "", offered))
        return 5

    connection = peer.connect(heartbeat=choose, **QUICK)
    env.note("chosen", connection._impl.params.heartbeat)


@scenarios("heartbeat callable")
def open_with_a_heartbeat_callable_that_raises(env: Env) -> None:
    peer = env.peer("tight")

    def fail(connection: Any, offered: int) -> int:
        raise LookupError("no heartbeat")

    opened(env, "open", peer.parameters(heartbeat=fail, **QUICK))


@scenarios()
def open_with_client_properties(env: Env) -> None:
    properties = {"connection_name": "differential", "product": "Mine", "nested": {"a": [1, 2]}}
    opened(env, "open", env.parameters(client_properties=properties))
    opened(env, "a name that is no text", env.parameters(client_properties={"connection_name": 3}))
    opened(env, "capabilities", env.parameters(client_properties={"capabilities": {"basic.nack": False}}))


@scenarios()
def open_with_wrong_parameters(env: Env) -> None:
    for name, value in (
        ("host", 3),
        ("port", "x"),
        ("virtual_host", 3),
        ("credentials", "guest"),
        ("channel_max", 0),
        ("channel_max", 65536),
        ("channel_max", "x"),
        ("frame_max", 1),
        ("frame_max", 131073),
        ("heartbeat", -1),
        ("heartbeat", "x"),
        ("connection_attempts", 0),
        ("connection_attempts", "x"),
        ("retry_delay", "x"),
        ("retry_delay", -1),
        ("socket_timeout", 0),
        ("socket_timeout", "x"),
        ("stack_timeout", 0),
        ("blocked_connection_timeout", -1),
        ("blocked_connection_timeout", "x"),
        ("locale", 3),
        ("client_properties", "x"),
        ("ssl_options", "x"),
        ("tcp_options", "x"),
        ("no_such_parameter", 1),
    ):
        env.do(f"{name}={value!r}", accepted, name, value)


def accepted(name: str, value: Any) -> str:
    """Return the class's name of parameters with one of a value."""
    return type(pika.ConnectionParameters(**{name: value})).__name__


@scenarios()
def open_a_peer_that_says_nothing(env: Env) -> None:
    opened(env, "at all", env.peer("silent").parameters(**QUICK))
    opened(env, "behind start-ok", env.peer("silent_after_start").parameters(**QUICK))


@scenarios()
def open_a_peer_that_says_nothing_with_attempts(env: Env) -> None:
    peer = env.peer("silent")
    opened(env, "open", peer.parameters(**{**QUICK, "connection_attempts": 2, "stack_timeout": 0.4}))
    env.note("attempts", peer.accepted())


@scenarios("no AMQP")
def open_a_web_server(env: Env) -> None:
    opened(env, "open", env.peer("http").parameters(**QUICK))


@scenarios("no AMQP")
def open_another_version(env: Env) -> None:
    opened(env, "open", env.peer("other_version").parameters(**QUICK))


@scenarios()
def open_a_peer_that_hangs_up_at_once(env: Env) -> None:
    opened(env, "open", env.peer("hangs_up_at_once").parameters(**QUICK))


@scenarios()
def open_a_peer_that_hangs_up_after_start(env: Env) -> None:
    opened(env, "open", env.peer("hangs_up_after_start").parameters(**QUICK))


@scenarios()
def open_a_peer_that_hangs_up_after_tune(env: Env) -> None:
    opened(env, "open", env.peer("hangs_up_after_tune").parameters(**QUICK))


@scenarios()
def open_a_peer_that_closes_in_place_of_tune(env: Env) -> None:
    opened(env, "open", env.peer("closes_in_place_of_tune").parameters(**QUICK))


@scenarios()
def open_a_peer_that_closes_in_place_of_open_ok(env: Env) -> None:
    opened(env, "open", env.peer("closes_in_place_of_open_ok").parameters(**QUICK))


@scenarios()
def open_a_peer_without_a_mechanism(env: Env) -> None:
    opened(env, "open", env.peer("no_mechanism").parameters(**QUICK))


@scenarios()
def open_an_old_broker(env: Env) -> None:
    connection = opened(env, "open", env.peer("old").parameters(**QUICK))
    env.do("channel", connection.channel)
    for name in ("basic_nack", "consumer_cancel_notify", "exchange_exchange_bindings", "publisher_confirms"):
        env.note(name, getattr(connection, name))


@scenarios()
def open_through_a_network_that_dies(env: Env) -> None:
    for failure in ("cut", "reset"):
        for octets in (1, 600):
            proxy = env.proxy()
            proxy.limit_after(octets, "to_client", failure)
            parameters = pika.URLParameters(env.url)
            parameters.host, parameters.port = "127.0.0.1", proxy.port
            for name, value in QUICK.items():
                setattr(parameters, name, value)
            opened(env, f"{failure} after {octets} octets", parameters)


@scenarios()
def open_with_tcp_options(env: Env) -> None:
    opened(env, "known", env.parameters(tcp_options={"TCP_KEEPIDLE": 60, "TCP_USER_TIMEOUT": 1000}))
    env.note("logged", len(env.logs))
    opened(env, "unknown", env.parameters(tcp_options={"TCP_NONSENSE": 60}))
