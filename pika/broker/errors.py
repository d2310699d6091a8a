"""How the broker says no: an AMQP reply code and a text in RabbitMQ's words."""

from __future__ import annotations

from pika import spec
from pika.amqp_object import Method

_NAMES = {
    spec.CONNECTION_FORCED: "CONNECTION_FORCED",
    spec.ACCESS_REFUSED: "ACCESS_REFUSED",
    spec.NOT_FOUND: "NOT_FOUND",
    spec.RESOURCE_LOCKED: "RESOURCE_LOCKED",
    spec.PRECONDITION_FAILED: "PRECONDITION_FAILED",
    spec.FRAME_ERROR: "FRAME_ERROR",
    spec.SYNTAX_ERROR: "SYNTAX_ERROR",
    spec.COMMAND_INVALID: "COMMAND_INVALID",
    spec.CHANNEL_ERROR: "CHANNEL_ERROR",
    spec.UNEXPECTED_FRAME: "UNEXPECTED_FRAME",
    spec.RESOURCE_ERROR: "RESOURCE_ERROR",
    spec.NOT_ALLOWED: "NOT_ALLOWED",
    spec.NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    spec.INTERNAL_ERROR: "INTERNAL_ERROR",
}


class Refusal(Exception):
    """A method is refused, and its channel closes (AMQP 0-9-1, section 4.10).

    :param code: the reply code
    :param text: what is wrong, without the code's name
    :param named: whether the refusal names the method that caused it
    """

    def __init__(self, code: int, text: str = "", *, named: bool = True) -> None:
        self.code = code
        self.text = _short(f"{_NAMES[code]} - {text}" if text else _NAMES[code])
        self.named = named
        super().__init__(code, self.text)


class ConnectionRefusal(Refusal):
    """A refusal that closes the whole connection."""


class HangUp(Exception):
    """The connection ends without a word, as RabbitMQ does before a connection is open."""


def _short(text: str) -> str:
    """Cut a text to what a short string has room for."""
    encoded = text.encode("utf-8", "surrogateescape")
    return text if len(encoded) <= 255 else encoded[:252].decode("utf-8", "ignore") + "..."


def resource(kind: str, name: str, vhost: str) -> str:
    """Return the words for a queue or an exchange, such as ``queue 'work' in vhost '/'``."""
    return f"{kind} '{name}' in vhost '{vhost}'"


def not_found(kind: str, name: str, vhost: str) -> Refusal:
    """Return the refusal for a queue or an exchange that does not exist."""
    return Refusal(spec.NOT_FOUND, f"no {resource(kind, name, vhost)}")


def precondition(text: str) -> Refusal:
    """Return a refusal with code 406."""
    return Refusal(spec.PRECONDITION_FAILED, text)


def access_refused(text: str) -> Refusal:
    """Return a refusal with code 403."""
    return Refusal(spec.ACCESS_REFUSED, text)


def locked(name: str, vhost: str) -> Refusal:
    """Return the refusal for a queue that is exclusive to another connection."""
    return Refusal(
        spec.RESOURCE_LOCKED,
        f"cannot obtain exclusive access to locked {resource('queue', name, vhost)}. It could be originally declared "
        "on another connection or the exclusive property value does not match that of the original declaration.",
    )


def check_text(method: Method) -> None:
    """Refuse a method whose short strings are no UTF-8.

    :raises ConnectionRefusal: 501
    """
    for value in vars(method).values():
        if type(value) is str and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ConnectionRefusal(spec.FRAME_ERROR, "Malformed UTF-8 in shortstr", named=False) from None


def close_method(refusal: Refusal, index: int) -> spec.Connection.Close | spec.Channel.Close:
    """Return the method that tells the client.

    :param refusal: what to tell
    :param index: the index of the method that was refused, 0 for none
    """
    kind = spec.Connection.Close if isinstance(refusal, ConnectionRefusal) else spec.Channel.Close
    named = index if refusal.named else 0
    return kind(refusal.code, refusal.text, named >> 16, named & 0xFFFF)
