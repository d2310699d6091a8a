"""What a connection needs to know: where the broker is, who we are, and which limits hold."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Type, TypeVar, Union  # noqa: UP035  see DefaultT

from pika import credentials as _credentials
from pika import frame, spec
from pika._arguments import ArgumentTypeError
from pika.connection import _validators, tls
from pika.connection.tls import SSLOptions

if TYPE_CHECKING:
    from pika.credentials import Credentials

    Heartbeat = Union[int, Callable[[Any, int], int], None]

__all__ = ["ConnectionParameters", "Parameters", "SSLOptions", "URLParameters"]


class Parameters:
    """The parameters of a connection, each at its default; the base of the two classes that programs use.

    Two are equal if host and port are: they say which broker is meant.
    """

    __slots__ = (
        "_blocked_connection_timeout",
        "_channel_max",
        "_client_properties",
        "_connection_attempts",
        "_credentials",
        "_frame_max",
        "_heartbeat",
        "_host",
        "_locale",
        "_port",
        "_retry_delay",
        "_socket_timeout",
        "_ssl_options",
        "_stack_timeout",
        "_tcp_options",
        "_virtual_host",
    )

    DEFAULT_USERNAME: ClassVar[str] = "guest"
    DEFAULT_PASSWORD: ClassVar[str] = "guest"

    DEFAULT_BLOCKED_CONNECTION_TIMEOUT: ClassVar[float | None] = None
    DEFAULT_CHANNEL_MAX: ClassVar[int] = frame.CHANNEL_MAX
    DEFAULT_CLIENT_PROPERTIES: ClassVar[dict[str, Any] | None] = None
    DEFAULT_CREDENTIALS: ClassVar[Credentials] = _credentials.PlainCredentials(DEFAULT_USERNAME, DEFAULT_PASSWORD)
    DEFAULT_CONNECTION_ATTEMPTS: ClassVar[int] = 1
    DEFAULT_FRAME_MAX: ClassVar[int] = spec.FRAME_MAX_SIZE
    DEFAULT_HEARTBEAT_TIMEOUT: ClassVar[int | None] = None
    DEFAULT_HOST: ClassVar[str] = "localhost"
    DEFAULT_LOCALE: ClassVar[str] = "en_US"
    DEFAULT_PORT: ClassVar[int] = 5672
    DEFAULT_RETRY_DELAY: ClassVar[float] = 2.0
    DEFAULT_SOCKET_TIMEOUT: ClassVar[float | None] = 10.0
    DEFAULT_STACK_TIMEOUT: ClassVar[float | None] = 15.0
    DEFAULT_SSL: ClassVar[bool] = False
    DEFAULT_SSL_OPTIONS: ClassVar[SSLOptions | None] = None
    DEFAULT_SSL_PORT: ClassVar[int] = 5671
    DEFAULT_VIRTUAL_HOST: ClassVar[str] = "/"
    DEFAULT_TCP_OPTIONS: ClassVar[dict[str, Any] | None] = None

    def __init__(self) -> None:
        self.blocked_connection_timeout = self.DEFAULT_BLOCKED_CONNECTION_TIMEOUT
        self.channel_max = self.DEFAULT_CHANNEL_MAX
        self.client_properties = self.DEFAULT_CLIENT_PROPERTIES
        self.connection_attempts = self.DEFAULT_CONNECTION_ATTEMPTS
        self.credentials = self.DEFAULT_CREDENTIALS
        self.frame_max = self.DEFAULT_FRAME_MAX
        self.heartbeat = self.DEFAULT_HEARTBEAT_TIMEOUT
        self.host = self.DEFAULT_HOST
        self.locale = self.DEFAULT_LOCALE
        self.port = self.DEFAULT_PORT
        self.retry_delay = self.DEFAULT_RETRY_DELAY
        self.socket_timeout = self.DEFAULT_SOCKET_TIMEOUT
        self.stack_timeout = self.DEFAULT_STACK_TIMEOUT
        self.ssl_options = self.DEFAULT_SSL_OPTIONS
        self.virtual_host = self.DEFAULT_VIRTUAL_HOST
        self.tcp_options = self.DEFAULT_TCP_OPTIONS

    def __repr__(self) -> str:
        encrypted = self.ssl_options is not None
        return (
            f"<{type(self).__name__} host={self.host} port={self.port} "
            f"virtual_host={self.virtual_host} ssl={encrypted}>"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return (self.host, self.port) == (other.host, other.port)

    # Mutable: equal parameters may differ later.
    __hash__ = None  # type: ignore[assignment]

    @property
    def blocked_connection_timeout(self) -> float | None:
        """Seconds for which the broker may block the connection before it is closed; None for no limit.

        RabbitMQ blocks connections that publish while a memory or disk alarm is on (``connection.blocked``).
        """
        return self._blocked_connection_timeout

    @blocked_connection_timeout.setter
    def blocked_connection_timeout(self, value: float | None) -> None:
        self._blocked_connection_timeout = _validators.seconds_or_none("blocked_connection_timeout", value)

    @property
    def channel_max(self) -> int:
        """The highest channel number to ask for, 1 to 65535; the broker may allow fewer (``connection.tune``)."""
        return self._channel_max

    @channel_max.setter
    def channel_max(self, value: int) -> None:
        self._channel_max = _validators.integer("channel_max", value, 1, frame.CHANNEL_MAX)

    @property
    def client_properties(self) -> dict[str, Any] | None:
        """What to tell the broker about the client besides, or instead of, what the library tells; a copy is kept."""
        return self._client_properties

    @client_properties.setter
    def client_properties(self, value: dict[str, Any] | None) -> None:
        self._client_properties = _validators.copy_of_dictionary_or_none("client_properties", value)

    @property
    def connection_attempts(self) -> int:
        """How often to try to connect, at least 1."""
        return self._connection_attempts

    @connection_attempts.setter
    def connection_attempts(self, value: int) -> None:
        self._connection_attempts = _validators.integer("connection_attempts", value, 1)

    @property
    def credentials(self) -> Credentials:
        """Who the client is: an instance of a class in ``pika.credentials.VALID_TYPES``; a copy is kept."""
        return self._credentials

    @credentials.setter
    def credentials(self, value: Credentials) -> None:
        if not isinstance(value, tuple(_credentials.VALID_TYPES)):
            names = ", ".join(valid.__name__ for valid in _credentials.VALID_TYPES)
            # Not what it is: it may be a password.
            raise TypeError(f"credentials must be an instance of one of {names}, but got {type(value).__name__}")
        # A copy, so that erase_on_connect leaves the credentials of other connections alone.
        self._credentials = copy.deepcopy(value)

    @property
    def frame_max(self) -> int:
        """The largest frame in bytes to ask for, 4096 to 131072; the broker may allow less (``connection.tune``)."""
        return self._frame_max

    @frame_max.setter
    def frame_max(self, value: int) -> None:
        self._frame_max = _validators.integer("frame_max", value, spec.FRAME_MIN_SIZE, spec.FRAME_MAX_SIZE)

    @property
    def heartbeat(self) -> Heartbeat:
        """The heartbeat timeout in seconds, 0 to 65535; 0 turns heartbeats off, None takes the broker's proposal.

        A callable is called with the connection and the broker's proposal, and returns the timeout.
        """
        return self._heartbeat

    @heartbeat.setter
    def heartbeat(self, value: Heartbeat) -> None:
        self._heartbeat = _validators.heartbeat("heartbeat", value)

    @property
    def host(self) -> str:
        """The broker's host name or IP address."""
        return self._host

    @host.setter
    def host(self, value: str) -> None:
        if "://" in _validators.text("host", value):
            # Not what it is: a URL may have a password.
            raise ValueError("host must be a host name or an IP address, but got a URL: use pika.URLParameters(url)")
        self._host = value

    @property
    def locale(self) -> str:
        """The language of the broker's messages; RabbitMQ knows only ``en_US``."""
        return self._locale

    @locale.setter
    def locale(self, value: str) -> None:
        self._locale = _validators.text("locale", value)

    @property
    def port(self) -> int:
        """The broker's TCP port, 0 to 65535; text of digits is converted."""
        return self._port

    @port.setter
    def port(self, value: int | str) -> None:
        self._port = _validators.convertible_to_port("port", value)

    @property
    def retry_delay(self) -> float:
        """Seconds to wait between two attempts to connect."""
        return self._retry_delay

    @retry_delay.setter
    def retry_delay(self, value: float) -> None:
        self._retry_delay = _validators.seconds("retry_delay", value)

    @property
    def socket_timeout(self) -> float | None:
        """Seconds that one TCP connect may take, above 0; None for no limit."""
        return self._socket_timeout

    @socket_timeout.setter
    def socket_timeout(self, value: float | None) -> None:
        self._socket_timeout = _validators.positive_seconds_or_none("socket_timeout", value)

    @property
    def stack_timeout(self) -> float | None:
        """Seconds that TCP connect, TLS and AMQP handshake may take together, above 0; None for no limit."""
        return self._stack_timeout

    @stack_timeout.setter
    def stack_timeout(self, value: float | None) -> None:
        self._stack_timeout = _validators.positive_seconds_or_none("stack_timeout", value)

    @property
    def ssl_options(self) -> SSLOptions | None:
        """How to use TLS; None for no TLS."""
        return self._ssl_options

    @ssl_options.setter
    def ssl_options(self, value: SSLOptions | None) -> None:
        if not isinstance(value, (SSLOptions, type(None))):
            raise TypeError(f"ssl_options must be an instance of SSLOptions or None, but got {value!r}")
        self._ssl_options = value

    @property
    def virtual_host(self) -> str:
        """The name of the virtual host."""
        return self._virtual_host

    @virtual_host.setter
    def virtual_host(self, value: str) -> None:
        self._virtual_host = _validators.text("virtual_host", value)

    @property
    def tcp_options(self) -> dict[str, Any] | None:
        """Options of the TCP socket by name, such as ``{"TCP_KEEPIDLE": 60}``, or None."""
        return self._tcp_options

    @tcp_options.setter
    def tcp_options(self, value: dict[str, Any] | None) -> None:
        self._tcp_options = _validators.dictionary_or_none("tcp_options", value)


class ConnectionParameters(Parameters):
    """Parameters given one by one; what is not given has the class's ``DEFAULT_`` value.

    :param host: host name or IP address (``"localhost"``)
    :param port: TCP port (5672; 5671 with ``ssl_options``)
    :param virtual_host: the name of the virtual host (``"/"``)
    :param credentials: who the client is (user ``guest``, password ``guest``)
    :param channel_max: the highest channel number to ask for (65535)
    :param frame_max: the largest frame in bytes to ask for, 4096 to 131072 (131072)
    :param heartbeat: the heartbeat timeout in seconds, 0 for none, None for the broker's proposal, or a callable with
        the parameters connection and proposal that returns it (None)
    :param ssl_options: how to use TLS, None for no TLS (None)
    :param connection_attempts: how often to try to connect (1)
    :param retry_delay: seconds between two attempts (2.0)
    :param socket_timeout: seconds that one TCP connect may take, None for no limit (10.0)
    :param stack_timeout: seconds that TCP, TLS and AMQP handshake may take together, None for no limit (15.0)
    :param locale: the language of the broker's messages (``"en_US"``)
    :param blocked_connection_timeout: seconds that the broker may block the connection, None for no limit (None)
    :param client_properties: what to tell the broker about the client (None)
    :param tcp_options: options of the TCP socket by name (None)
    :raises TypeError: for a value of a wrong type and for an unknown keyword
    :raises ValueError: for a value that is not allowed
    """

    __slots__ = ()

    class _DEFAULT:
        """Stands for a parameter that is not given: None is a value for some."""

        # The type shows in the signature under the name that programs know.
        __module__ = "pika.connection"

    T = TypeVar("T")
    DefaultT = Union[T, Type[_DEFAULT]]  # noqa: UP006  the name of the type is part of the public surface

    def __init__(
        self,
        host: DefaultT[str] = _DEFAULT,
        port: DefaultT[int | str] = _DEFAULT,
        virtual_host: DefaultT[str] = _DEFAULT,
        credentials: DefaultT[Credentials] = _DEFAULT,
        channel_max: DefaultT[int] = _DEFAULT,
        frame_max: DefaultT[int] = _DEFAULT,
        heartbeat: DefaultT[Heartbeat] = _DEFAULT,
        ssl_options: DefaultT[SSLOptions | None] = _DEFAULT,
        connection_attempts: DefaultT[int] = _DEFAULT,
        retry_delay: DefaultT[float] = _DEFAULT,
        socket_timeout: DefaultT[float | None] = _DEFAULT,
        stack_timeout: DefaultT[float | None] = _DEFAULT,
        locale: DefaultT[str] = _DEFAULT,
        blocked_connection_timeout: DefaultT[float | None] = _DEFAULT,
        client_properties: DefaultT[dict[str, Any] | None] = _DEFAULT,
        tcp_options: DefaultT[dict[str, Any] | None] = _DEFAULT,
        **kwargs: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if value is not self._DEFAULT}
        if kwargs:
            raise TypeError(f"unexpected keyword arguments of {type(self).__name__}: {', '.join(kwargs)}")
        super().__init__()
        if ssl_options is not self._DEFAULT and ssl_options is not None and port is self._DEFAULT:
            self.port = self.DEFAULT_SSL_PORT
        for name in _NAMES:
            if name in given:
                setattr(self, name, given[name])


# The parameters by name, in the order in which they are checked.
_NAMES = (
    "host",
    "port",
    "virtual_host",
    "credentials",
    "channel_max",
    "frame_max",
    "heartbeat",
    "ssl_options",
    "connection_attempts",
    "retry_delay",
    "socket_timeout",
    "stack_timeout",
    "locale",
    "blocked_connection_timeout",
    "client_properties",
    "tcp_options",
)


class URLParameters(Parameters):
    """Parameters from a URL: ``amqp://user:password@host:port/virtual_host?option=value&...``.

    ``amqps`` means TLS that verifies the broker's certificate and name. User name, password, virtual host and values
    are percent-encoded (RabbitMQ URI specification): the virtual host ``/`` is ``%2F``; none means the default.

    Options, by the names of :class:`ConnectionParameters`: ``blocked_connection_timeout``, ``channel_max``,
    ``connection_attempts``, ``frame_max``, ``heartbeat``, ``locale``, ``retry_delay``, ``socket_timeout``,
    ``stack_timeout``; and, as Python dicts of literals, ``client_properties``, ``tcp_options`` and ``ssl_options``. The
    last has the keys ``cafile``, ``capath``, ``cadata``, ``certfile``, ``keyfile``, ``password``, ``ciphers``,
    ``protocol``, ``verify_mode``, ``check_hostname`` and ``server_hostname``, and turns TLS on.

    :param url: the URL
    :raises ValueError: if a part of the URL, an option or its value is not allowed
    :raises TypeError: if the URL is no ``str``, or an option has a value of a wrong type
    :raises OSError: if a file named in ``ssl_options`` cannot be used
    """

    __slots__ = ()

    def __init__(self, url: str) -> None:
        # Imported here, so that a program without URLs does not load a URL parser.
        from pika.connection.url import parse

        super().__init__()
        parsed = parse(url)
        if parsed.host is not None:
            self.host = parsed.host
        if parsed.virtual_host is not None:
            self.virtual_host = parsed.virtual_host
        if parsed.username is not None and parsed.password is not None:
            self.credentials = _credentials.PlainCredentials(parsed.username, parsed.password)
        options = parsed.options
        if "ssl_options" in options:
            self.ssl_options = self._ssl_options_from(options.pop("ssl_options"), parsed.tls)
        elif parsed.tls:
            self.ssl_options = tls.default_options()
        if parsed.port is not None:
            self.port = parsed.port
        elif parsed.tls:
            self.port = self.DEFAULT_SSL_PORT
        for name, value in options.items():
            setattr(self, name, value)

    @staticmethod
    def _ssl_options_from(given: object, required: bool) -> SSLOptions | None:
        if given is None and required:
            raise ValueError("URL option ssl_options=None contradicts the scheme amqps; drop it, or use amqp")
        # The value is not shown: it may hold a password.
        if not isinstance(given, (dict, type(None))):
            raise ArgumentTypeError(
                f"URL option ssl_options must be a dict or None, but got type {type(given).__name__}"
            )
        return None if given is None else tls.options_from_dictionary(given)
