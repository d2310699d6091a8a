"""Who the client is: the answers to the broker's ``connection.start`` (AMQP 0-9-1, section 1.4.2.1)."""

from __future__ import annotations

from typing import ClassVar, Protocol, Union

Response = Union["tuple[str, bytes]", "tuple[None, None]"]


class Start(Protocol):
    """The part of ``connection.start`` that credentials need."""

    @property
    def mechanisms(self) -> str | bytes:
        """The names of the broker's authentication mechanisms, separated by spaces."""


class Credentials(Protocol):
    """What a class of credentials has to have; those of this module are such classes."""

    def response_for(self, start: Start) -> Response:
        """Give the mechanism and the response to it.

        :param start: the broker's ``connection.start``
        :returns: both, or ``(None, None)`` if the broker offers no mechanism that fits
        """

    def erase_credentials(self) -> None:
        """Forget the secret, if that was asked for; called once it was sent."""


def _offers(start: Start, mechanism: str) -> bool:
    offered = start.mechanisms
    names = offered.decode("utf-8", "replace") if isinstance(offered, bytes) else offered
    return mechanism in names.split()


def _to_bytes(value: str | bytes | None) -> bytes:
    if value is None:
        return b""
    return value if isinstance(value, bytes) else value.encode("utf-8")


class PlainCredentials:
    """User name and password, sent with the mechanism ``PLAIN`` (RFC 4616).

    :param username: the name of the user
    :param password: the user's password; ``repr()`` never shows it
    :param erase_on_connect: forget both once they were sent; a later connection needs them anew
    """

    TYPE: ClassVar[str] = "PLAIN"

    def __init__(self, username: str, password: str, erase_on_connect: bool = False) -> None:
        self.username: str | None = username
        self.password: str | None = password
        self.erase_on_connect = erase_on_connect

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlainCredentials):
            return NotImplemented
        mine = (self.username, self.password, self.erase_on_connect)
        return mine == (other.username, other.password, other.erase_on_connect)

    # Mutable: equal credentials may differ later.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} username={self.username!r}>"

    def response_for(self, start: Start) -> Response:
        """Give the mechanism and the response to it.

        :param start: the broker's ``connection.start``
        :returns: ``("PLAIN", response)``, or ``(None, None)`` if the broker does not offer ``PLAIN``
        """
        if not _offers(start, self.TYPE):
            return None, None
        return self.TYPE, b"\0" + _to_bytes(self.username) + b"\0" + _to_bytes(self.password)

    def erase_credentials(self) -> None:
        """Forget user name and password, if ``erase_on_connect`` is set; called once they were sent."""
        if self.erase_on_connect:
            self.username = None
            self.password = None


class ExternalCredentials:
    """Authentication by other means, sent with the mechanism ``EXTERNAL``: as a rule the client's TLS certificate.

    It needs RabbitMQ's plugin ``rabbitmq_auth_mechanism_ssl``.
    """

    TYPE: ClassVar[str] = "EXTERNAL"

    def __init__(self) -> None:
        self.erase_on_connect = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExternalCredentials):
            return NotImplemented
        return self.erase_on_connect == other.erase_on_connect

    # Mutable: equal credentials may differ later.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def response_for(self, start: Start) -> Response:
        """Give the mechanism and the response to it.

        :param start: the broker's ``connection.start``
        :returns: ``("EXTERNAL", b"")``, or ``(None, None)`` if the broker does not offer ``EXTERNAL``
        """
        if not _offers(start, self.TYPE):
            return None, None
        return self.TYPE, b""

    def erase_credentials(self) -> None:
        """Do nothing: there is nothing to forget."""


# What `Parameters.credentials` accepts. A program may append a class of its own, made as `Credentials` says.
VALID_TYPES: list[type] = [PlainCredentials, ExternalCredentials]
