"""What the programs have in common: how values are told as JSON, and how what was seen is gathered.

It runs in the environments of other clients, and imports nothing but the standard library.
"""

from __future__ import annotations

import calendar
import datetime
import decimal
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit


def plain(value: Any) -> Any:
    """Return a value as JSON that says its kind: equal for equal values only."""
    if isinstance(value, Mapping):
        return {"table": {str(name): plain(item) for name, item in sorted(value.items())}}
    if isinstance(value, (list, tuple)):
        return {"array": [plain(item) for item in value]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, datetime.datetime):
        return {"seconds": calendar.timegm(value.utctimetuple())}
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return {"integer": int(value)}


def digest(body: bytes) -> list[Any]:
    """Return the length and the ends of a body."""
    return [len(body), body[:20].hex(), body[-20:].hex()]


class Server:
    """Where to connect to, out of an AMQP URL.

    :param url: the URL
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "localhost"
        self.port = parts.port or 5672
        self.user = unquote(parts.username or "guest")
        self.password = unquote(parts.password or "guest")
        self.vhost = unquote(parts.path[1:]) or "/"


class Report:
    """What a program saw, section by section.

    :param prefix: what every name begins with that the program gives to something
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._sections: dict[str, list[Any]] = {}
        self._current: list[Any] = []

    def section(self, name: str) -> None:
        """Begin a section."""
        self._current = self._sections[name] = []

    def see(self, *values: Any) -> None:
        """Add what was seen."""
        self._current.append([plain(value) for value in values])

    def name(self, what: str) -> str:
        """Return a name for something on the broker."""
        return f"{self.prefix}-{what}"

    def print(self) -> None:
        """Write it all to standard output."""
        json.dump(self._sections, sys.stdout, indent=1, sort_keys=True)


#: Exchanges, their bindings and what is published to them: kind, [(key, arguments)], [(key, headers)].
ROUTES: list[tuple[str, list[tuple[str, Any]], list[tuple[str, Any]]]] = [
    ("direct", [("a", None), ("", None)], [("a", {}), ("b", {}), ("", {})]),
    ("fanout", [("a", None), ("b", None)], [("a", {}), ("z", {})]),
    (
        "topic",
        [("*.b.#", None), ("#.z", None), ("a.*", None)],
        [("a.b", {}), ("a.b.c.z", {}), ("z", {}), ("a", {}), ("a.b.c", {}), ("", {}), ("b.b", {})],
    ),
    (
        "headers",
        [
            ("", {"x-match": "all", "text": "x", "yes": True}),
            ("", {"x-match": "any", "n": 7, "big": 1 << 40, "below": -3}),
            ("", {"x-match": "all", "when": datetime.datetime(2020, 1, 2, 3, 4, 5)}),
            ("", {"x-match": "all", "inner": {"a": 1, "b": "two"}}),
            ("", {"x-match": "all", "list": [1, "two", True]}),
            ("", {"x-match": "all", "money": decimal.Decimal("1.25")}),
        ],
        [
            ("", {"text": "x", "yes": True}),
            ("", {"text": "x", "yes": False}),
            ("", {"n": 7}),
            ("", {"big": 1 << 40, "n": 8}),
            ("", {"below": -3}),
            ("", {"when": datetime.datetime(2020, 1, 2, 3, 4, 5)}),
            ("", {"inner": {"a": 1, "b": "two"}}),
            ("", {"inner": {"a": 1}}),
            ("", {"list": [1, "two", True]}),
            ("", {"list": [1, "two", False]}),
            ("", {"money": decimal.Decimal("1.25")}),
            ("", {"money": decimal.Decimal("1.5")}),
        ],
    ),
]

#: Headers of every kind that the clients know; each adds those that only it can write.
HEADERS: dict[str, Any] = {
    "text": "na\u00efve \u2603",
    "empty": "",
    "yes": True,
    "no": False,
    "zero": 0,
    "small": -7,
    "medium": 100_000,
    "large": 1 << 40,
    "least": -(1 << 63),
    "money": decimal.Decimal("12.345"),
    "when": datetime.datetime(2024, 2, 29, 12, 30, 15),
    "nothing": None,
    "table": {"a": 1, "deeper": {"b": "c"}},
    "array": [1, "two", False, {"three": 3}, [4]],
}

#: All other properties but headers, by their AMQP names.
PROPERTIES: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "correlation \u2603",
    "reply_to": "somewhere",
    "message_id": "message 1",
    "type": "a type",
    "app_id": "an application",
}


def refusals(name: Callable[[str], str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what is refused on an open channel: a title, an operation, and its arguments.

    The operations are those that both clients call by the same names and arguments. There are an auto-delete queue
    ``plain``, which has a message, and a direct exchange ``direct``.

    :param name: makes the names
    """
    return [
        ("no queue", "queue_declare", {"queue": name("nowhere"), "passive": True}),
        ("no queue to consume", "basic_consume", {"queue": name("nowhere")}),
        ("no queue to get", "basic_get", {"queue": name("nowhere")}),
        ("no queue to purge", "queue_purge", {"queue": name("nowhere")}),
        ("no exchange to bind", "queue_bind", {"queue": name("plain"), "exchange": name("nowhere"), "routing_key": ""}),
        ("other durable", "queue_declare", {"queue": name("plain"), "durable": True, "auto_delete": False}),
        (
            "other arguments",
            "queue_declare",
            {"queue": name("plain"), "auto_delete": True, "arguments": {"x-expires": 9000}},
        ),
        ("bad argument", "queue_declare", {"queue": name("bad"), "arguments": {"x-expires": "soon"}}),
        ("not empty", "queue_delete", {"queue": name("plain"), "if_empty": True}),
        ("reserved", "queue_declare", {"queue": "amq.mine"}),
        ("default exchange", "queue_bind", {"queue": name("plain"), "exchange": "amq.default", "routing_key": "k"}),
        ("unknown tag", "basic_ack", {"delivery_tag": 99}),
        ("unknown tag again", "basic_reject", {"delivery_tag": 7, "requeue": True}),
        ("exchange in use", "exchange_delete", {"exchange": name("direct"), "if_unused": True}),
    ]
