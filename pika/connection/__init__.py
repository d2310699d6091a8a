"""A connection to a broker: its parameters, and the callback API of the connection itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika._lazy import make_lazy

if TYPE_CHECKING:
    from pika.connection.connection import Connection
    from pika.connection.parameters import ConnectionParameters, Parameters, SSLOptions, URLParameters
    from pika.connection.settings import PRODUCT

__all__ = ["PRODUCT", "Connection", "ConnectionParameters", "Parameters", "SSLOptions", "URLParameters"]

# Where the names live. They are loaded when they are used: parameters alone need nothing of the callback API.
_HOMES = {
    "PRODUCT": "pika.connection.settings",
    "Connection": "pika.connection.connection",
    "ConnectionParameters": "pika.connection.parameters",
    "Parameters": "pika.connection.parameters",
    "SSLOptions": "pika.connection.parameters",
    "URLParameters": "pika.connection.parameters",
}

_MODULES = (
    "assembler",
    "callbacks",
    "channel_events",
    "connection",
    "detached",
    "parameters",
    "settings",
    "tls",
    "url",
)

make_lazy(__name__, _HOMES, _MODULES)
