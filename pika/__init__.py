"""pika: a RabbitMQ (AMQP 0-9-1) client library in pure Python."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pika._lazy import make_lazy
from pika._version import __version__

logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from pika import adapters
    from pika import aio as aio
    from pika import amqp_object as amqp_object
    from pika import broker as broker
    from pika import channel as channel
    from pika import client as client
    from pika import compat as compat
    from pika import connection as connection
    from pika import credentials as credentials
    from pika import data as data
    from pika import delivery_mode as delivery_mode
    from pika import exceptions as exceptions
    from pika import exchange_type as exchange_type
    from pika import frame as frame
    from pika import protocol as protocol
    from pika import spec as spec
    from pika.adapters.base_connection import BaseConnection
    from pika.adapters.blocking_connection import BlockingConnection
    from pika.adapters.select_connection import SelectConnection
    from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflow
    from pika.client.threaded import Connection, connect
    from pika.connection import ConnectionParameters, SSLOptions, URLParameters
    from pika.credentials import PlainCredentials
    from pika.delivery_mode import DeliveryMode
    from pika.exchange_type import ExchangeType
    from pika.spec import BasicProperties

__all__ = [
    "AMQPConnectionWorkflow",
    "BaseConnection",
    "BasicProperties",
    "BlockingConnection",
    "Connection",
    "ConnectionParameters",
    "DeliveryMode",
    "ExchangeType",
    "PlainCredentials",
    "SSLOptions",
    "SelectConnection",
    "URLParameters",
    "__version__",
    "adapters",
    "connect",
]

# Where the names live, one a line. They are loaded when they are used: a program pays for what it imports. A package
# stands for its modules: threads that load one of these first and the package first would wait for each other.
_HOMES = {
    "AMQPConnectionWorkflow": "pika.adapters.utils.connection_workflow",
    "BaseConnection": "pika.adapters.base_connection",
    "BasicProperties": "pika.spec",
    "BlockingConnection": "pika.adapters",
    "Connection": "pika.client.threaded",
    "ConnectionParameters": "pika.connection",
    "DeliveryMode": "pika.delivery_mode",
    "ExchangeType": "pika.exchange_type",
    "PlainCredentials": "pika.credentials",
    "SSLOptions": "pika.connection",
    "SelectConnection": "pika.adapters.select_connection",
    "URLParameters": "pika.connection",
    "connect": "pika.client.threaded",
}

_MODULES = (
    "adapters",
    "aio",
    "amqp_object",
    "broker",
    "channel",
    "client",
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
)

make_lazy(__name__, _HOMES, _MODULES)
