"""The words of the handshake: authentication, client properties, tuning (AMQP 0-9-1, sections 2.2.4 and 4.2)."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from pika import exceptions, frame, spec
from pika.credentials import Credentials, PlainCredentials

#: The octets of a body that are taken unless said otherwise: RabbitMQ's own ceiling.
MAX_MESSAGE_SIZE = 512 * 1024 * 1024

_CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}


class Settings(NamedTuple):
    """What a connection is opened with.

    :param credentials: answers the broker's question who we are
    :param virtual_host: the virtual host to open
    :param locale: the language of the broker's texts
    :param client_properties: joined to the properties that tell the broker who connects
    :param channel_max: the highest channel number to propose
    :param frame_max: the largest frame to propose, in octets
    :param heartbeat: seconds; None takes the broker's proposal, 0 turns heartbeats off, a function is given the
        broker's proposal and returns what to use
    :param max_message_size: octets that a received body may have
    :param peer: how error texts name the broker: host and port
    :param product: the name in the client properties
    :param version: the version in the client properties
    """

    credentials: Credentials
    virtual_host: str = "/"
    locale: str = "en_US"
    client_properties: Mapping[str, Any] | None = None
    channel_max: int = frame.CHANNEL_MAX
    frame_max: int = spec.FRAME_MAX_SIZE
    heartbeat: int | Callable[[int], int] | None = None
    max_message_size: int = MAX_MESSAGE_SIZE
    peer: str = "the broker"
    product: str = "Pika Python Client Library"
    version: str = ""


def check_version(start: spec.Connection.Start) -> None:
    """Hold the broker's version against ours.

    :raises pika.exceptions.ProtocolVersionMismatch: when it is another one than 0-9
    """
    if (start.version_major, start.version_minor) != spec.PROTOCOL_VERSION[:2]:
        raise exceptions.ProtocolVersionMismatch(frame.ProtocolHeader(), frame.Method(0, start))


def start_ok(settings: Settings, start: spec.Connection.Start) -> spec.Connection.StartOk:
    """Answer connection.start.

    :raises pika.exceptions.AuthenticationError: when the broker offers no mechanism that fits the credentials
    """
    mechanism, response = settings.credentials.response_for(start)
    if mechanism is None or response is None:
        raise exceptions.AuthenticationError(getattr(settings.credentials, "TYPE", type(settings.credentials).__name__))
    properties: dict[str, Any] = {
        "product": settings.product,
        "platform": f"Python {platform.python_version()}",
        "capabilities": dict(_CAPABILITIES),
        "information": "See https://www.rabbitmq.com/client-libraries",
        "version": settings.version,
    }
    properties.update(settings.client_properties or {})
    return spec.Connection.StartOk(properties, mechanism, response, settings.locale)


def tune_ok(settings: Settings, tune: spec.Connection.Tune) -> spec.Connection.TuneOk:
    """Answer connection.tune: the smaller of both limits, where 0 is no limit; our heartbeat if we have one.

    :raises pika.exceptions.UnexpectedFrameError: when the broker proposes frames smaller than the 4,096 octets that
        every peer must take (section 4.2.3)
    """
    frame_max = _smaller(settings.frame_max, tune.frame_max)
    if frame_max < spec.FRAME_MIN_SIZE:
        raise exceptions.UnexpectedFrameError(
            f"the broker tunes frame_max to {tune.frame_max}, below the minimum of {spec.FRAME_MIN_SIZE}"
        )
    heartbeat = settings.heartbeat
    if heartbeat is None:
        heartbeat = tune.heartbeat
    elif callable(heartbeat):
        heartbeat = heartbeat(tune.heartbeat)
    return spec.Connection.TuneOk(_smaller(settings.channel_max, tune.channel_max), frame_max, heartbeat)


def _smaller(ours: int, theirs: int) -> int:
    return min(ours, theirs) if ours and theirs else ours or theirs


def remedy(error: BaseException, settings: Settings) -> str | None:
    """Say what to look at when the broker would not let us in; the password is not shown.

    :param error: the reason of the connection's end
    :param settings: what it was to be opened with
    :returns: the words; None when the broker did not refuse
    """
    if not isinstance(error.__cause__, (exceptions.ConnectionClosedByBroker, exceptions.StreamLostError)):
        return None
    credentials = settings.credentials
    name = credentials.username if isinstance(credentials, PlainCredentials) else None
    user = "the user" if name is None else f"user {name!r}"
    if isinstance(error, exceptions.ProbableAuthenticationError):
        if name == "guest":
            return f"{user}: check the password; RabbitMQ lets guest in from its own machine only"
        return f"{user}: check name and password"
    if isinstance(error, exceptions.ProbableAccessDeniedError):
        host = settings.virtual_host
        return f"virtual host {host!r}: check its name, where a URL has %2F for /, and the permissions of {user}"
    return None
