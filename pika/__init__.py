"""pika: a RabbitMQ (AMQP 0-9-1) client library in pure Python."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from pika._version import __version__

logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingConnection
    from pika.connection import ConnectionParameters, SSLOptions, URLParameters
    from pika.credentials import PlainCredentials
    from pika.delivery_mode import DeliveryMode
    from pika.exchange_type import ExchangeType
    from pika.spec import BasicProperties

__all__ = [
    "BasicProperties",
    "BlockingConnection",
    "ConnectionParameters",
    "DeliveryMode",
    "ExchangeType",
    "PlainCredentials",
    "SSLOptions",
    "URLParameters",
    "__version__",
]

# Where the names live. They are loaded when they are used: a program pays for what it imports.
_HOMES = {
    "BasicProperties": "pika.spec",
    "BlockingConnection": "pika.adapters.blocking_connection",
    "ConnectionParameters": "pika.connection",
    "DeliveryMode": "pika.delivery_mode",
    "ExchangeType": "pika.exchange_type",
    "PlainCredentials": "pika.credentials",
    "SSLOptions": "pika.connection",
    "URLParameters": "pika.connection",
}

_MODULES = frozenset(
    {
        "adapters",
        "amqp_object",
        "broker",
        "channel",
        "connection",
        "credentials",
        "data",
        "delivery_mode",
        "exceptions",
        "exchange_type",
        "frame",
        "protocol",
        "spec",
    }
)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is not None:
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"pika.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
