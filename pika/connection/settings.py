"""What the handshake needs to know of parameters: the same for every client."""

from __future__ import annotations

from typing import Any

from pika import protocol
from pika._version import __version__
from pika.connection.parameters import Parameters
from pika.transport.errors import host_and_port

#: How this library calls itself in the properties that the broker shows of its clients.
PRODUCT = "Pika Python Client Library"


def settings_for(parameters: Parameters, connection: object) -> protocol.Settings:
    """Return what the handshake needs.

    :param parameters: those of the connection
    :param connection: what a function that chooses the heartbeat is given
    """
    heartbeat: Any = parameters.heartbeat
    choose = heartbeat if callable(heartbeat) else None
    return protocol.Settings(
        credentials=parameters.credentials,
        virtual_host=parameters.virtual_host,
        locale=parameters.locale,
        client_properties=parameters.client_properties,
        channel_max=parameters.channel_max,
        frame_max=parameters.frame_max,
        heartbeat=heartbeat if choose is None else lambda proposed: choose(connection, proposed),
        peer=host_and_port(parameters.host, parameters.port),
        product=PRODUCT,
        version=__version__,
    )
