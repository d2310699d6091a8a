"""pika: a RabbitMQ (AMQP 0-9-1) client library in pure Python."""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pika._version import __version__

logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from pika import adapters
    from pika import broker as broker
    from pika import compat as compat
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
    "adapters",
]

# Where the names live, one a line. They are loaded when they are used: a program pays for what it imports. A package
# stands for its modules: threads that load one of these first and the package first would wait for each other.
_HOMES = {
    "BasicProperties": "pika.spec",
    "BlockingConnection": "pika.adapters",
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
        "compat",
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


class _Package(ModuleType):
    """This module. Whoever lists its names finds those too that are not loaded yet."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # a property stands in for the attribute
        namespace = globals()
        for name in _HOMES:
            if name not in namespace:
                getattr(self, name)
        return namespace

    def __dir__(self) -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})


sys.modules[__name__].__class__ = _Package
