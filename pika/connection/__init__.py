"""A connection to a broker: its parameters, and the callback API of the connection itself."""

from __future__ import annotations

from pika.connection.connection import PRODUCT, Connection
from pika.connection.parameters import ConnectionParameters, Parameters, SSLOptions, URLParameters

__all__ = ["PRODUCT", "Connection", "ConnectionParameters", "Parameters", "SSLOptions", "URLParameters"]
