"""A RabbitMQ node that also speaks TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pika
from tests.support.certificates import Authority
from tests.support.peer import free_port
from tests.support.rabbitmq import LOOPBACK, RabbitMQ


class SecureRabbitMQ(RabbitMQ):
    """A private node with a second listener, for TLS.

    :param directory: where the certificates go; it exists
    """

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        certificate = self.authority.issue("server")
        self.tls_port = free_port()
        config = (
            f"listeners.ssl.default = {LOOPBACK}:{self.tls_port}",
            f"ssl_options.cacertfile = {self.authority.cert}",
            f"ssl_options.certfile = {certificate.cert}",
            f"ssl_options.keyfile = {certificate.key}",
            "ssl_options.verify = verify_none",
        )
        super().__init__(config)

    def tls_parameters(self, **attributes: Any) -> pika.ConnectionParameters:
        """Return new connection parameters for the listener with TLS, with `attributes` given to them."""
        options = pika.SSLOptions(self.authority.client_context(), "localhost")
        return pika.ConnectionParameters(LOOPBACK, self.tls_port, ssl_options=options, **attributes)
