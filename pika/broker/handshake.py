"""The opening of a connection, from the protocol header to open-ok (AMQP 0-9-1, section 2.2.4).

A client that does something else than what is due is hung up on, as RabbitMQ does (which lets it wait for three
seconds first).
"""

from __future__ import annotations

import hmac
import struct
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from pika import data, exceptions, spec
from pika.amqp_object import Method
from pika.broker import errors
from pika.broker.users import Permissions, User
from pika.broker.vhost import VirtualHost

if TYPE_CHECKING:
    from pika.broker.node import Node

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

_MECHANISMS = "PLAIN AMQPLAIN"


class Step(Enum):
    """What is due next."""

    HEADER = "protocol header"
    START_OK = "connection.start-ok"
    TUNE_OK = "connection.tune-ok"
    OPEN = "connection.open"
    DONE = "anything"


class Tuned(NamedTuple):
    """What client and broker agreed on: channels, octets in a frame, seconds between heartbeats."""

    channel_max: int
    frame_max: int
    heartbeat: int


class Handshake:
    """The handshake of one connection.

    :param node: what the broker offers and whom it knows
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.step = Step.HEADER
        self.capabilities: dict[str, Any] = {}
        self.tuned: Tuned | None = None
        self.permissions: Permissions | None = None
        self.vhost: VirtualHost | None = None
        self._name = ""
        self._user: User | None = None

    def start(self) -> Method:
        """Return the method that answers the protocol header."""
        self.step = Step.START_OK
        return spec.Connection.Start(0, 9, self._node.server_properties, _MECHANISMS, "en_US")

    def take(self, method: Method) -> Method | None:
        """Take the client's next method and return the answer, None for none.

        :raises errors.HangUp: when it is not what was due, or unacceptable
        :raises errors.ConnectionRefusal: when the client may not connect, and is told so
        """
        if self.step is Step.START_OK and isinstance(method, spec.Connection.StartOk):
            return self._authenticate(method)
        if self.step is Step.TUNE_OK and isinstance(method, spec.Connection.TuneOk):
            self._tune(method)
            return None
        if self.step is Step.OPEN and isinstance(method, spec.Connection.Open):
            return self._open(method)
        raise errors.HangUp(f"{method.NAME} where {self.step.value} was due")

    def _authenticate(self, method: spec.Connection.StartOk) -> Method:
        properties = method.client_properties
        capabilities = properties.get("capabilities") if isinstance(properties, dict) else None
        self.capabilities = capabilities if isinstance(capabilities, dict) else {}
        mechanism = method.mechanism
        found = _credentials(mechanism, method.response)
        if found is None:
            raise errors.HangUp(f"no credentials could be read from a response of mechanism {mechanism!r}")
        name, password = found
        user = self._node.users.get(name)
        expected = user.password if user is not None else ""
        if not hmac.compare_digest(expected.encode(), password) or user is None:
            if not self.capabilities.get("authentication_failure_close"):
                raise errors.HangUp(f"wrong credentials of user {name!r}")
            raise errors.ConnectionRefusal(
                spec.ACCESS_REFUSED,
                f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile.",
                named=False,
            )
        self._name = name
        self._user = user
        self.step = Step.TUNE_OK
        limits = self._node.limits
        return spec.Connection.Tune(limits.channel_max, limits.frame_max, limits.heartbeat)

    def _tune(self, method: spec.Connection.TuneOk) -> None:
        limits = self._node.limits
        for name, value, offered in (
            ("channel_max", method.channel_max, limits.channel_max),
            ("frame_max", method.frame_max, limits.frame_max),
        ):
            # 0 is no limit, so it is more than any that was offered.
            if offered and not 0 < value <= offered:
                raise errors.HangUp(f"{name} of {value} where {offered} was offered")
        if method.frame_max < spec.FRAME_MIN_SIZE:
            raise errors.HangUp(f"frame_max of {method.frame_max} where AMQP demands {spec.FRAME_MIN_SIZE}")
        self.tuned = Tuned(method.channel_max, method.frame_max, method.heartbeat)
        self.step = Step.OPEN

    def _open(self, method: spec.Connection.Open) -> Method:
        name = method.virtual_host
        vhost = self._node.vhosts.get(name)
        if vhost is None:
            raise errors.ConnectionRefusal(spec.NOT_ALLOWED, f"vhost {name} not found")
        assert self._user is not None
        if not self._user.may_open(name):
            raise errors.ConnectionRefusal(
                spec.NOT_ALLOWED, f"access to vhost '{name}' refused for user '{self._name}'"
            )
        self.vhost = vhost
        self.permissions = Permissions(self._name, self._user, name)
        self.step = Step.DONE
        return spec.Connection.OpenOk()


def _credentials(mechanism: str, response: str | bytes) -> tuple[str, bytes] | None:
    """The name and the password in a SASL response, None when there are none."""
    encoded = response.encode() if isinstance(response, str) else response
    if mechanism == "PLAIN":
        parts = encoded.split(b"\x00")
        return (parts[1].decode(errors="replace"), parts[2]) if len(parts) == 3 else None
    if mechanism == "AMQPLAIN":
        try:
            table, _ = data.decode_table(struct.pack(">L", len(encoded)) + encoded, 0)
        except exceptions.InvalidFrameError:
            return None
        name, password = table.get("LOGIN"), table.get("PASSWORD")
        if isinstance(name, str) and isinstance(password, str):
            return name, password.encode()
    return None
