"""What a client connects with: parameters of any form, a name, and credentials that are asked for each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, TypeVar, Union

from pika import protocol
from pika._arguments import ArgumentTypeError
from pika.connection.parameters import Parameters, URLParameters
from pika.connection.settings import settings_for
from pika.credentials import Credentials

T = TypeVar("T")

#: The broker on this machine, as it is installed.
LOCALHOST = "amqp://guest:guest@localhost/%2F"

Where = Union[str, Parameters, Sequence[Union[str, Parameters]]]
Provider = Union[Credentials, Callable[[], Credentials], None]


def destinations(where: Where) -> list[Parameters]:
    """Return the parameters that were asked for, as a list.

    :param where: a URL, parameters, or a sequence of them that is tried in order
    :raises pika._arguments.ArgumentTypeError: when it is none of these
    """
    given: Any = [where] if isinstance(where, (str, Parameters)) else where
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise _no_place(given)
    return [_parameters(one) for one in given]


def _parameters(one: object) -> Parameters:
    if isinstance(one, str):
        return URLParameters(one)
    if not isinstance(one, Parameters):
        raise _no_place(one)
    return one


def _no_place(given: object) -> ArgumentTypeError:
    # Not what it is: a URL in it may have a password.
    return ArgumentTypeError(
        f"connect() takes an AMQP URL, pika.ConnectionParameters or pika.URLParameters, or a sequence of them, but got "
        f"{type(given).__name__}"
    )


def is_credentials(given: object) -> bool:
    """Say whether something is credentials, of pika's classes or of a program's own."""
    return hasattr(given, "response_for")


def require_credentials(credentials: T) -> T:
    """Return what a client was given as credentials.

    :param credentials: credentials, a function that returns them, or None
    :raises pika._arguments.ArgumentTypeError: when it is none of these
    """
    if credentials is not None and not is_credentials(credentials) and not callable(credentials):
        # Not what it is: it may be a password.
        raise ArgumentTypeError(
            f"connect() takes as credentials pika.PlainCredentials and the like, or a function that returns them, but "
            f"got {type(credentials).__name__}"
        )
    return credentials


def settings(parameters: Parameters, name: str | None, credentials: Provider, connection: object) -> protocol.Settings:
    """Return what the handshake needs; asks the provider of credentials, if there is one.

    :param parameters: where to
    :param name: what the broker shows the connection as
    :param credentials: in place of those of the parameters: as they are, or a function that returns them
    :param connection: what a function that chooses the heartbeat is given
    """
    settings = settings_for(parameters, connection)
    if name is not None:
        properties: dict[str, Any] = {**(settings.client_properties or {}), "connection_name": name}
        settings = settings._replace(client_properties=properties)
    if credentials is not None:
        given: Any = credentials
        if not is_credentials(given):
            given = require_credentials(require_credentials(given)())
        settings = settings._replace(credentials=given)
    return settings
