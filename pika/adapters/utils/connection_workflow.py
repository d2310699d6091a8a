"""Connecting on an event loop: a plan of :mod:`pika.transport.dial`, carried out without blocking."""

from __future__ import annotations

import abc
import functools
import logging
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable

from pika._arguments import ArgumentTypeError
from pika._version import __version__
from pika.adapters.utils.connector import AMQPConnector
from pika.adapters.utils.io_services import require_on_done
from pika.connection import Parameters
from pika.transport import forks
from pika.transport.dial import Address, Attempt, Pause, Resolve, Step, StepResult, describe, plan
from pika.transport.errors import (
    AMQPConnectionWorkflowAborted,
    AMQPConnectionWorkflowFailed,
    AMQPConnectionWorkflowWrongState,
    AMQPConnectorAborted,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorException,
    AMQPConnectorPhaseErrorBase,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
    AMQPConnectorTransportSetupError,
    AMQPConnectorWrongState,
    DialError,
)

if TYPE_CHECKING:
    from pika.adapters.utils.nbio_interface import AbstractIOServices

__all__ = [
    "AMQPConnectionWorkflow",
    "AMQPConnectionWorkflowAborted",
    "AMQPConnectionWorkflowFailed",
    "AMQPConnectionWorkflowWrongState",
    "AMQPConnector",
    "AMQPConnectorAMQPHandshakeError",
    "AMQPConnectorAborted",
    "AMQPConnectorException",
    "AMQPConnectorPhaseErrorBase",
    "AMQPConnectorSocketConnectError",
    "AMQPConnectorStackTimeout",
    "AMQPConnectorTransportSetupError",
    "AMQPConnectorWrongState",
    "AbstractAMQPConnectionWorkflow",
    "ConnectingFailed",
    "__version__",
]

LOGGER = logging.getLogger(__name__)

# How many errors are remembered: the first one and the last ones. With endless attempts there is no end of them.
_ERRORS_KEPT = 64


class ConnectingFailed(DialError, AMQPConnectionWorkflowFailed):
    """Every attempt failed: ``exceptions`` has what each failed with, and ``str()`` names every address.

    :param failed: the same as told by the plan
    :param exceptions: in order
    """

    def __init__(self, failed: DialError, exceptions: list[Exception]) -> None:
        Exception.__init__(self)
        self.args = ()
        self.failures = failed.failures
        self.exceptions = tuple(exceptions)

    def __repr__(self) -> str:
        # Programs log it, and look for this class.
        return repr(AMQPConnectionWorkflowFailed(self.exceptions))

    def open_error(self) -> Exception:
        """Return what an on-open-error callback is called with for this: without a TCP connection, and the last time
        it was for the want of one, an error of which this is the argument."""
        if not isinstance(self.exceptions[-1], AMQPConnectorSocketConnectError):
            return self
        error = DialError(self.failures)
        error.args = (self,)
        error.__cause__ = self
        return error


class AbstractAMQPConnectionWorkflow(abc.ABC):
    """How connections are made: what ``create_connection()`` takes as its ``workflow``."""

    @abc.abstractmethod
    def start(
        self,
        connection_configs: Any,
        connector_factory: Callable[[], AMQPConnector],
        native_loop: Any,
        on_done: Callable[[Any], Any],
    ) -> None:
        """Begin to make a connection.

        :param connection_configs: what was given to ``create_connection()``: connection parameters, to be tried in
            their order
        :param connector_factory: makes an :class:`AMQPConnector`, one for each attempt
        :param native_loop: the event loop, for timers and the like
        :param on_done: called with the connection, once it is open; or with an exception, of class
            :class:`AMQPConnectionWorkflowFailed` or :class:`AMQPConnectionWorkflowAborted`. Not before this returned
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Give up; ``on_done`` is called with :class:`AMQPConnectionWorkflowAborted`, not before this returned."""


class AMQPConnectionWorkflow(AbstractAMQPConnectionWorkflow):
    """Tries every address of every broker in turn, as often as the last parameters' ``connection_attempts`` say.

    :param _until_first_amqp_attempt: end with the first attempt that gets as far as AMQP, whatever comes of it
    """

    def __init__(self, _until_first_amqp_attempt: bool = False) -> None:
        self._until_first_amqp_attempt = _until_first_amqp_attempt
        self._nbio: AbstractIOServices | None = None
        self._connector_factory: Callable[[], AMQPConnector] | None = None
        self._on_done: Callable[[Any], Any] | None = None
        self._steps: Any = None
        self._connector: AMQPConnector | None = None
        # Where it connects to, in words.
        self._place = ""
        # What cancels the lookups, pauses and deadlines that are going on.
        self._pending: list[Any] = []
        self._errors: list[Exception] = []
        self._aborting = False
        self._over = False

    def set_io_services(self, nbio: AbstractIOServices) -> None:
        """Say what to stand on; ``create_connection()`` does it.

        :param nbio: the services of the event loop
        """
        self._nbio = nbio

    def start(
        self,
        connection_configs: Iterable[Parameters],
        connector_factory: Callable[[], AMQPConnector],
        native_loop: Any,
        on_done: Callable[[Any], Any],
    ) -> None:
        """Begin to make a connection; see :meth:`AbstractAMQPConnectionWorkflow.start`.

        :raises AMQPConnectorWrongState: it was started before, or does not know what to stand on
        :raises TypeError: the parameters are no sequence of parameters, or a callback cannot be called
        :raises ValueError: there are no parameters
        """
        if self._steps is not None:
            raise AMQPConnectorWrongState("A workflow makes one connection, and this one was started before.")
        nbio = self._nbio
        if nbio is None:
            raise AMQPConnectorWrongState("set_io_services() comes before start().")
        require_on_done(on_done)
        if not callable(connector_factory):
            raise TypeError(f"connector_factory must be callable, but got {connector_factory!r}")
        try:
            destinations: list[Any] = list(connection_configs)
        except TypeError as error:
            # Not what it is: a URL in it may have a password.
            kind = type(connection_configs).__name__
            raise TypeError(
                f"connection_configs must be a sequence of connection parameters, but got {kind}"
            ) from error
        for destination in destinations:
            if not isinstance(destination, Parameters):
                kind = type(destination).__name__
                raise ArgumentTypeError(f"connection_configs must be connection parameters, but one is a {kind}")
        self._steps = plan(destinations, until_first_amqp_attempt=self._until_first_amqp_attempt)
        self._connector_factory = connector_factory
        self._on_done = on_done
        forks.watch(self)
        self._pending = [nbio.call_later(0, functools.partial(self._advance, None))]

    def abort(self) -> None:
        """Give up; ``on_done`` is called with :class:`AMQPConnectionWorkflowAborted`.

        :raises AMQPConnectorWrongState: it was not started, or is over
        """
        if self._nbio is None or self._steps is None:
            raise AMQPConnectorWrongState("Cannot abort before starting.")
        if self._over:
            raise AMQPConnectorWrongState("Cannot abort after completion was reported")
        if self._aborting:
            return
        self._aborting = True
        self._settle()
        if self._connector is not None:
            self._connector.abort()
        else:
            self._nbio.add_callback_threadsafe(lambda: self._finish(AMQPConnectionWorkflowAborted()))

    def _on_fork(self, parent: int) -> None:
        """In a child: leave it to the parent."""
        self._over = True
        self._on_done = None
        if self._steps is not None:
            self._steps.close()

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        for task in pending:
            task.cancel()

    def _advance(self, result: StepResult) -> None:
        """Tell the plan how its last step went, and take the next one."""
        self._settle()
        if self._over or self._aborting:
            return
        if isinstance(result, Exception):
            self._errors.append(result)
            if len(self._errors) > _ERRORS_KEPT:
                del self._errors[1]
        try:
            step: Step = self._steps.send(result)
        except DialError as error:
            self._finish(ConnectingFailed(error, self._errors))
            return
        assert self._nbio is not None
        if isinstance(step, Pause):
            self._pending = [self._nbio.call_later(step.seconds, functools.partial(self._advance, None))]
        elif isinstance(step, Resolve):
            self._resolve(step, self._nbio)
        else:
            self._attempt(step)

    def _resolve(self, step: Resolve, nbio: AbstractIOServices) -> None:
        destination = step.destination
        limit = destination.stack_timeout
        if limit is not None:
            late = socket.gaierror(socket.EAI_AGAIN, f"the resolver did not answer within {limit:g} seconds")
            self._pending.append(nbio.call_later(limit, functools.partial(self._advance, late)))
        try:
            lookup = nbio.getaddrinfo(
                destination.host,
                destination.port,
                self._on_resolved,
                socktype=socket.SOCK_STREAM,
                proto=socket.IPPROTO_TCP,
            )
        except (OSError, UnicodeError) as error:
            self._advance(error)
        else:
            self._pending.append(lookup)

    def _on_resolved(self, found: Any) -> None:
        self._advance(found if isinstance(found, Exception) else [Address(*info) for info in found])

    def _attempt(self, step: Attempt) -> None:
        assert self._connector_factory is not None
        assert isinstance(step.destination, Parameters)
        self._connector = self._connector_factory()
        self._place = describe(step.destination, step.address)
        self._connector.start(step.address, step.destination, self._on_attempted)

    def _on_attempted(self, result: Any) -> None:
        self._connector = None
        if self._aborting:
            if not isinstance(result, BaseException):
                result.close()
            self._finish(AMQPConnectionWorkflowAborted())
        elif isinstance(result, Exception):
            LOGGER.error("Connecting to %s failed: %s", self._place, str(result) or repr(result))
            self._advance(result)
        else:
            self._finish(result)

    def _finish(self, result: Any) -> None:
        if self._over:
            return
        self._over = True
        self._settle()
        self._steps.close()
        on_done, self._on_done = self._on_done, None
        assert on_done is not None
        on_done(result)
