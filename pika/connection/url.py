"""AMQP URLs, as RabbitMQ specifies them: ``amqp://user:password@host:port/virtual_host?option=value``."""

from __future__ import annotations

import ast
from typing import Any, Callable, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

# Scheme -> whether it means TLS. An empty scheme, and those of HTTP, are understood for programs that use them.
_SCHEMES = {"amqp": False, "amqps": True, "": False, "http": False, "https": True}


class ParsedURL(NamedTuple):
    """What a URL says; None and an absent option stand for "not said"."""

    tls: bool
    host: str | None
    port: int | None
    virtual_host: str | None
    username: str | None
    password: str | None
    options: dict[str, Any]


def parse(url: str) -> ParsedURL:
    """Take a URL apart.

    No error shows the user name or the password.

    :param url: the URL; user name, password and virtual host may be percent-encoded
    :raises TypeError: if it is no ``str``
    :raises ValueError: if a part of it is not allowed
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, but got {type(url).__name__}")
    tls = _SCHEMES[_scheme(url)]
    found = _split(url)
    if found is None:
        # Out here nothing is chained, not even as the context: what urlsplit() says may quote the password.
        raise ValueError(_authority_fault(url))
    parts, port = found
    if parts.path and not parts.path.startswith("/"):
        raise ValueError("URL has no host: write amqp://host:port/virtual_host")
    username, password = _userinfo(parts)
    return ParsedURL(tls, _host(parts), port, _virtual_host(parts.path), username, password, _options(parts.query))


def _split(url: str) -> tuple[SplitResult, int | None] | None:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        return None


def _scheme(url: str) -> str:
    scheme, colon, _ = url.partition(":")
    if not url or url.startswith("//"):
        return ""
    scheme = scheme.lower()
    if not colon or scheme not in ("amqp", "amqps", "http", "https"):
        shown = repr(scheme) if colon else "none"
        raise ValueError(
            f"URL scheme must be amqp or amqps, but got {shown}: a URL looks like amqp://user:password@host:5672/%2F"
        )
    return scheme


def _authority_fault(url: str) -> str:
    authority, _, rest = url.partition("//")[2].partition("/")
    if "@" in authority or "@" in rest or "#" in authority or "?" in authority:
        hint = "; percent-encode the characters / ? # [ ] in user name and password"
    elif ":" in authority and not authority.rpartition(":")[2].lstrip("-").isdigit():
        # Where the host was forgotten, what stands there is a user name and a password.
        hint = f", but what follows {authority.rpartition(':')[0]!r} is no port"
    else:
        hint = f", but got {authority!r}"
    return f"URL must have a host, and a port from 0 to 65535 (an IPv6 address in [brackets]){hint}"


def _host(parts: SplitResult) -> str | None:
    host = parts.hostname
    if not host or "[" not in parts.netloc:
        return host or None
    # RFC 6874 writes the % before the zone of a link-local address as %25.
    host = host.replace("%25", "%", 1)
    import ipaddress

    try:
        ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        raise ValueError(f"URL has {host!r} in brackets, which is no IPv6 address") from None
    return host


def _userinfo(parts: SplitResult) -> tuple[str | None, str | None]:
    if parts.username is None:
        return None, None
    if parts.password is None:
        raise ValueError("URL has a user name without a password: write user:password@host")
    return _decode("user name", parts.username), _decode("password", parts.password)


def _virtual_host(path: str) -> str | None:
    if path in ("", "/"):
        return None
    return _decode("virtual host", path.split("/")[1])


def _decode(what: str, encoded: str) -> str:
    try:
        return unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        pass
    # Out here the error of decoding, which holds the bytes, is not the context.
    raise ValueError(f"URL has a {what} whose percent-encoded bytes are no UTF-8")


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    found = _query(query)
    if found is None:
        raise ValueError("URL has an option whose percent-encoded bytes are no UTF-8")
    for name, all_values in found.items():
        convert = _CONVERTERS.get(name)
        if convert is None:
            raise ValueError(f"URL has an unknown option {name!r}; allowed are {', '.join(_CONVERTERS)}")
        values = [value for value in all_values if value]
        if len(values) > 1:
            raise ValueError(f"URL must have one value for the option {name}, but got {len(values)}")
        if values:
            options[name] = convert(name, values[0])
    return options


def _query(query: str) -> dict[str, list[str]] | None:
    try:
        return parse_qs(query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return None


def _integer(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"URL option {name} must be an integer, but got {value!r}") from None


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"URL option {name} must be a number of seconds, but got {value!r}") from None


def _text(name: str, value: str) -> str:
    return value


def _literal(name: str, value: str) -> Any:
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    # The value is not shown, and out here the parser's error is not the context: ssl_options may hold a password.
    raise ValueError(f"URL option {name} must be a Python dict of literals, such as {{'key': 'value'}}")


_CONVERTERS: dict[str, Callable[[str, str], Any]] = {
    "blocked_connection_timeout": _number,
    "channel_max": _integer,
    "client_properties": _literal,
    "connection_attempts": _integer,
    "frame_max": _integer,
    "heartbeat": _integer,
    "locale": _text,
    "retry_delay": _number,
    "socket_timeout": _number,
    "ssl_options": _literal,
    "stack_timeout": _number,
    "tcp_options": _literal,
}
