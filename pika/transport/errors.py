"""What can go wrong on the way to a connected stream, by phase: TCP, TLS, AMQP.

The names are those of pika 1.x (``pika.adapters.utils.connection_workflow``), because programs import and catch them:
also those that are never raised here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from pika.exceptions import AMQPConnectionError, AMQPError


def cause_text(error: BaseException) -> str:
    """Say what went wrong, in words: never empty, and without the ``[Errno 111]`` of the operating system."""
    if isinstance(error, AMQPConnectorPhaseErrorBase):
        return f"{cause_text(error.exception)}{': ' if error.hint else ''}{error.hint}"
    if isinstance(error, AMQPError):
        return repr(error)
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return str(error) or repr(error)


class AMQPConnectorException(Exception):
    """The base of what goes wrong while connecting. ``str()`` is never empty."""

    _meaning: ClassVar[str] = "Connecting failed."

    def __str__(self) -> str:
        return super().__str__() or self._meaning


def host_and_port(host: str, port: int) -> str:
    """Where a peer is, for messages: ``rabbit1:5672``, ``[::1]:5672``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class AMQPConnectorStackTimeout(AMQPConnectorException):
    """TCP, TLS and AMQP together took longer than ``stack_timeout``."""

    _meaning = "Connecting took longer than stack_timeout."


class AMQPConnectorAborted(AMQPConnectorException):
    """The attempt was aborted by this client."""

    _meaning = "The connection attempt was aborted by this client."


class AMQPConnectorWrongState(AMQPConnectorException):
    """The operation does not fit the state of the attempt, such as one that was started twice."""

    _meaning = "The operation does not fit the state of the attempt, such as one that was started twice."


class AMQPConnectorPhaseErrorBase(AMQPConnectorException):
    """An attempt failed in one phase.

    :param exception: the cause
    :param args: anything else to report
    :param where: host, port and address of the attempt
    :param hint: what the user can do about it
    """

    phase: ClassVar[str] = "connecting"

    def __init__(self, exception: BaseException, *args: object, where: str = "", hint: str = "") -> None:
        super().__init__(*args)
        self.exception = exception
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        where = f" to {self.where}" if self.where else ""
        more = f" {self.args}" if self.args else ""
        return f"{self.phase}{where}: {cause_text(self)}{more}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.exception!r}"


class AMQPConnectorSocketConnectError(AMQPConnectorPhaseErrorBase):
    """No TCP connection to the address."""

    phase = "TCP connection"


class AMQPConnectorTransportSetupError(AMQPConnectorPhaseErrorBase):
    """TCP connected, but TLS could not be set up."""

    phase = "TLS handshake"


class AMQPConnectorAMQPHandshakeError(AMQPConnectorPhaseErrorBase):
    """The stream was there, but the broker did not open the AMQP connection."""

    phase = "AMQP handshake"


class AMQPConnectionWorkflowAborted(AMQPConnectorException):
    """Connecting was aborted by this client."""

    _meaning = "Connecting was aborted by this client."


class AMQPConnectionWorkflowWrongState(AMQPConnectorException):
    """The operation does not fit the state of the workflow, such as one that was started twice."""

    _meaning = "The operation does not fit the state of the workflow, such as one that was started twice."


class AMQPConnectionWorkflowFailed(AMQPConnectorException):
    """Every attempt failed.

    :param exceptions: what the attempts failed with, in order
    :param args: anything else to report
    """

    def __init__(self, exceptions: Sequence[BaseException], *args: object) -> None:
        super().__init__(*args)
        self.exceptions = tuple(exceptions)

    def __str__(self) -> str:
        causes = "; ".join(f"{type(error).__name__}: {cause_text(error)}" for error in self.exceptions)
        return Exception.__str__(self) or f"Every connection attempt failed: {causes or 'none was made'}"

    def __repr__(self) -> str:
        first = self.exceptions[0] if len(self.exceptions) > 1 else None
        last = self.exceptions[-1] if self.exceptions else None
        return (
            f"{type(self).__name__}: {len(self.exceptions)} exceptions in all; "
            f"last exception - {last!r}; first exception - {first!r}"
        )


class Failure(NamedTuple):
    """One way in which an attempt failed."""

    where: str
    #: What failed: "name resolution", "TCP connection", "TLS handshake" or "AMQP handshake".
    phase: str
    error: Exception
    #: How many attempts failed in this same way.
    times: int = 1

    def __str__(self) -> str:
        times = f" ({self.times} times)" if self.times > 1 else ""
        return f"{self.where}: {self.phase}: {cause_text(self.error)}{times}"


def _nobody_listens(failure: Failure) -> bool:
    error: BaseException = failure.error
    if isinstance(error, AMQPConnectorPhaseErrorBase):
        error = error.exception
    return isinstance(error, ConnectionRefusedError)


class DialError(AMQPConnectionError):
    """No attempt to connect succeeded. ``str()`` lists every address tried, each with its own cause.

    ``args`` holds the error of the last attempt. :meth:`reduced` gives the exception that callers of pika expect.

    :param failures: the different ways in which attempts failed, the most recent last; at least one
    """

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__(failures[-1].error)
        self.failures = tuple(failures)

    def __str__(self) -> str:
        hint = ": is RabbitMQ running there?" if all(map(_nobody_listens, self.failures)) else ""
        return f"could not connect to {'; '.join(map(str, self.failures))}{hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # Failures hold sockets and TLS contexts, which do not pickle: another process gets the words.
        return AMQPConnectionError, (str(self),)

    def reduced(self) -> Exception:
        """Give the exception to raise, of the type that pika 1.x raises for the last failure.

        - no TCP connection: this :class:`~pika.exceptions.AMQPConnectionError` itself;
        - the AMQP handshake failed with an AMQP error: that error, caused by this one;
        - else one that is both an ``AMQPConnectionError`` and of the cause's type (``socket.gaierror``,
          ``ssl.SSLError``, ``AMQPConnectorStackTimeout`` …), with its arguments and attributes.
        """
        error = self.failures[-1].error
        if isinstance(error, AMQPConnectorSocketConnectError):
            return self
        cause = error.exception if isinstance(error, AMQPConnectorPhaseErrorBase) else error
        if isinstance(cause, AMQPError):
            if cause.__cause__ is None:
                cause.__cause__ = self
            return cause
        if not isinstance(cause, Exception):
            return self
        return _also(self, cause)


def _also(summary: DialError, cause: Exception) -> Exception:
    """Make a DialError that is caught by handlers of the cause's type too."""
    kind: type[DialError] = type("DialError", (DialError, type(cause)), {"__module__": __name__})
    # Past __init__: that of OSError and the like must see the cause's own arguments.
    error = kind.__new__(kind, *cause.args)
    type(cause).__init__(error, *cause.args)
    error.__dict__.update(cause.__dict__)
    error.failures = summary.failures
    error.__cause__ = cause
    return error
