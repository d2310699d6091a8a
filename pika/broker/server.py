"""The broker on the network: sockets, one loop and one thread."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from pika._version import __version__
from pika.broker.connection import ServerConnection
from pika.broker.node import Limits, Node, server_properties
from pika.broker.users import User
from pika.broker.vhost import VirtualHost

if TYPE_CHECKING:
    from typing_extensions import Self

_LOGGER = logging.getLogger(__name__)

_READ_SIZE = 262144
# How many connections are accepted in one turn, so that a flood of them leaves time for those there are.
_ACCEPTED_AT_ONCE = 64
# How many sockets, and elsewhere than on Windows how high descriptors, a selector takes that is nothing but select().
_SELECT_SOCKETS = 500
_SELECT_DESCRIPTORS = 1024
# How long a client whose connection is over may take to read the last of it and hang up, before the broker does.
_LINGER = 1.0
# How often someone who waits for the thread sees whether it still runs.
_WATCH = 0.1
# How long no connection is accepted after the system had no more descriptors.
_ACCEPT_PAUSE = 0.1


class Broker:
    """An AMQP 0-9-1 broker inside this process, for development and tests: it answers as RabbitMQ 3.10 does.

    It listens on one address, serves any client in any language, and keeps everything in memory: what it held is
    gone when it stops. It runs in one daemon thread of its own. Use it as a context manager, or call :meth:`start`
    and :meth:`stop`.

    Not there: message and queue TTL, dead lettering, length limits, priority queues, quorum queues, streams, TLS.
    The arguments that ask for them are checked as RabbitMQ checks them, and have no effect. No alarm rises by itself:
    a queue that nobody consumes grows as fast as it is fed, until :meth:`block` is called.

    :param host: the address to listen on
    :param port: the port; 0 for one that is free, which is then kept over restarts
    :param users: passwords, or :class:`User` for permissions, by user name
    :param vhosts: the names of the virtual hosts
    :param heartbeat: seconds between heartbeats that are offered to clients, 0 for none
    :param frame_max: octets in a frame that are offered, from 4096 on
    :param channel_max: channels in a connection that are offered
    :raises ValueError: when a number is none that AMQP can carry, or there is no user or no virtual host
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        users: Mapping[str, str | User] | None = None,
        vhosts: Iterable[str] = ("/",),
        heartbeat: int = 60,
        frame_max: int = 131072,
        channel_max: int = 2047,
    ) -> None:
        for name, value, least, most in (
            ("frame_max", frame_max, 4096, 2**32 - 1),
            ("channel_max", channel_max, 0, 65535),
            ("heartbeat", heartbeat, 0, 65535),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} must be from {least} to {most}, which AMQP demands, not {value}")
        self._vhosts = tuple(vhosts)
        if not self._vhosts or (users is not None and not users):
            raise ValueError("a broker needs at least one user and one virtual host")
        self._host = host
        self._port = port
        given: Mapping[str, str | User] = {"guest": "guest"} if users is None else users
        self._users = {name: User(user) if isinstance(user, str) else user for name, user in given.items()}
        self._limits = Limits(heartbeat=heartbeat, frame_max=frame_max, channel_max=channel_max)
        self._loop: _Loop | None = None

    @property
    def host(self) -> str:
        """The address that the broker listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The port that the broker listens on; 0 before the first start if it was to be any."""
        return self._port

    @property
    def url(self) -> str:
        """The AMQP URL of the first user and the first virtual host."""
        name, user = next(iter(self._users.items()))
        host = f"[{self._host}]" if ":" in self._host else self._host
        account = f"{quote(name, safe='')}:{quote(user.password, safe='')}"
        return f"amqp://{account}@{host}:{self._port}/{quote(self._vhosts[0], safe='')}"

    def start(self) -> None:
        """Listen and serve, with nothing but what RabbitMQ begins with.

        :raises OSError: when the address cannot be listened on
        :raises RuntimeError: when it runs already
        """
        if self._loop is not None:
            raise RuntimeError(f"the broker at {self._host}:{self._port} runs already: stop it first")
        node = Node(
            self._users,
            {name: VirtualHost(name) for name in self._vhosts},
            self._limits,
            server_properties(__version__),
        )
        loop = _Loop(node, _listen(self._host, self._port))
        self._port = loop.port
        loop.start()
        self._loop = loop

    def stop(self) -> None:
        """Close all connections as RabbitMQ does when it is stopped, and end the thread. Once is enough."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()

    def block(self, reason: str = "low on memory") -> None:
        """Raise an alarm, as RabbitMQ does when it runs out of memory or disk: connections that publish are blocked.

        A connection is blocked when it publishes, and not before, however much it published earlier: it is sent
        connection.blocked, if it says in its capabilities that it knows it, and nothing more is read from it. Of the
        message, the broker has taken the content header at least; one with a body waits. Deliveries and heartbeats
        are sent to it all the same, and its own silence is no death; that it hung up shows when something is sent
        to it. Connections that publish nothing go on as ever, and new ones can be opened.

        It holds when this returns, for what is published from then on; called again it changes the reason for the
        connections to be blocked next. Any thread may call it.

        :param reason: what connection.blocked says, at most 255 bytes of UTF-8; RabbitMQ says ``low on memory``,
            ``low on disk`` or ``low on disk & memory``
        :raises TypeError: when the reason is no text
        :raises ValueError: when the reason is too long
        :raises RuntimeError: when the broker does not run
        """
        if not isinstance(reason, str):
            raise TypeError(f"reason must be str, not {type(reason).__name__}")
        if len(reason.encode(errors="surrogateescape")) > 255:
            raise ValueError("reason must take at most 255 bytes, which connection.blocked can carry")
        loop = self._loop
        if loop is None:
            raise RuntimeError(f"the broker at {self._host}:{self._port} does not run: start it first")
        loop.set_alarm(reason)

    def unblock(self) -> None:
        """End the alarm: blocked connections are sent connection.unblocked, and what they sent meanwhile is read.

        Any thread may call it. Without an alarm it does nothing; a broker that is stopped has none.
        """
        loop = self._loop
        if loop is not None:
            loop.set_alarm(None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self._loop is not None else "stopped"
        return f"<pika.broker.Broker at {self._host}:{self._port}, {state}>"


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows, SO_REUSEADDR would let two brokers share a port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


class _Client:
    """A socket and the connection on it."""

    __slots__ = ("connection", "deadline", "events", "lingering", "sock")

    def __init__(self, sock: socket.socket, connection: ServerConnection, deadline: float) -> None:
        self.sock = sock
        self.connection = connection
        self.deadline = deadline
        self.events = selectors.EVENT_READ
        #: All was said; what the client still sends is dropped until it hangs up.
        self.lingering = False


class _Loop:
    """The loop that serves, and its thread.

    :param node: the broker
    :param listener: a listening socket that does not block
    """

    def __init__(self, node: Node, listener: socket.socket) -> None:
        self._node = node
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._clients: dict[ServerConnection, _Client] = {}
        # When tick() of some connection is due; never later than it really is.
        self._next_tick = float("inf")
        self._accept_at: float | None = None
        self._stopping = False
        # Alarms to raise, None to end the one there is; and who waits for that.
        self._alarms: deque[tuple[str | None, threading.Event]] = deque()
        self._wake_up, self._woken = socket.socketpair()
        self._wake_up.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"pika.broker:{self.port}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait until it is gone with all it had."""
        self._stopping = True
        self._wake()
        self._thread.join()
        self._wake_up.close()

    def set_alarm(self, reason: str | None) -> None:
        """Raise an alarm, or end it with None, and wait until that was done or the thread has ended."""
        done = threading.Event()
        self._alarms.append((reason, done))
        self._wake()
        # No lock, so that a signal handler may call this in the middle of another call.
        while not done.wait(_WATCH) and self._thread.is_alive():
            pass

    def _wake(self) -> None:
        # When no more fits, the thread has been woken; when it is closed, there is none.
        with contextlib.suppress(OSError):
            self._wake_up.send(b"\x00")

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            now = time.monotonic()
            for connection in list(self._clients):
                connection.shut_down("shutdown", now)
            self._flush(now)
        finally:
            for client in list(self._clients.values()):
                self._drop(client)
            self._listener.close()
            self._woken.close()
            self._selector.close()

    def _turn(self) -> None:
        timeout = 0 if self._node.dirty else self._next_tick - time.monotonic()
        selected = self._selector.select(max(timeout, 0) if timeout < 3600 else None)
        now = time.monotonic()
        for key, events in selected:
            client = key.data
            if client is not None:
                ready = self._read if events & selectors.EVENT_READ else self._write
                self._attempt(client, ready, now)
            elif key.fileobj is self._listener:
                self._accept(now)
            else:
                self._apply_alarms(now)
        if now >= self._next_tick:
            self._tick(now)
        self._flush(now)

    def _apply_alarms(self, now: float) -> None:
        self._woken.recv(_READ_SIZE)
        while self._alarms:
            reason, done = self._alarms.popleft()
            self._node.alarm = reason
            if reason is None:
                for client in list(self._clients.values()):
                    self._attempt(client, self._unblock, now)
            done.set()

    def _unblock(self, client: _Client, now: float) -> None:
        if client.connection.blocked:
            client.connection.unblock(now)
            self._schedule(client, client.connection.tick(now))

    # Connections -----------------------------------------------------------------------------------------------

    def _accept(self, now: float) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # The client is gone already, or there are no more descriptors: those that wait keep waiting.
                _LOGGER.warning("no connection is accepted for %s s: %s", _ACCEPT_PAUSE, error)
                self._selector.unregister(self._listener)
                self._accept_at = now + _ACCEPT_PAUSE
                self._next_tick = min(self._next_tick, self._accept_at)
                return
            if not self._has_room(sock):
                _LOGGER.warning("a connection is refused: select() takes no more than %s", len(self._clients))
                sock.close()
                continue
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = ServerConnection(self._node, now)
            client = _Client(sock, connection, connection.tick(now))
            self._clients[connection] = client
            self._next_tick = min(self._next_tick, client.deadline)
            self._selector.register(sock, client.events, client)

    def _has_room(self, sock: socket.socket) -> bool:
        if not isinstance(self._selector, selectors.SelectSelector):
            return True
        if sys.platform != "win32" and sock.fileno() >= _SELECT_DESCRIPTORS:
            return False
        return len(self._clients) < _SELECT_SOCKETS

    def _attempt(self, client: _Client, action: Callable[[_Client, float], None], now: float) -> None:
        """Do something for a client; whatever goes wrong, the others are served on."""
        if client.connection not in self._clients:
            return
        try:
            action(client, now)
        except Exception:
            _LOGGER.exception("a connection is dropped because of a fault of the broker")
            self._drop(client)

    def _read(self, client: _Client, now: float) -> None:
        try:
            received = client.sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = b""
        if not received:
            self._drop(client)
        elif not (client.lingering or client.connection.finished):
            connection = client.connection
            was_open = connection.is_open
            connection.receive_data(received, now)
            self._took(client, was_open, now)

    def _took(self, client: _Client, was_open: bool, now: float) -> None:
        """Schedule anew what frames have changed: a connection that was opened or is closing has other deadlines."""
        connection = client.connection
        if connection.finished:
            self._schedule(client, now + _LINGER)
        elif not (was_open and connection.is_open):
            self._schedule(client, connection.tick(now))

    def _write(self, client: _Client, now: float) -> None:
        """Send as much as the socket takes."""
        connection = client.connection
        output = connection.output
        try:
            while output.size:
                piece = output.peek()
                connection.sent(client.sock.send(piece), now)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._drop(client)
            return
        was_open, was_finished = connection.is_open, connection.finished
        connection.flushed(now)
        if not was_finished:
            self._took(client, was_open, now)
        if connection.finished and not output.size:
            self._linger(client, now)
            return
        events = selectors.EVENT_READ if connection.takes_more else 0
        if output.size:
            events |= selectors.EVENT_WRITE
        self._watch(client, events)

    def _watch(self, client: _Client, events: int) -> None:
        """Wait for these events on a client's socket, and for nothing with 0."""
        if events == client.events:
            return
        if not events:
            # Some selectors report a socket that was reset whatever they were asked for: it would never be quiet.
            self._selector.unregister(client.sock)
        elif not client.events:
            self._selector.register(client.sock, events, client)
        else:
            self._selector.modify(client.sock, events, client)
        client.events = events

    def _flush(self, now: float) -> None:
        """Send what was written in this turn."""
        # What sending makes room for is sent in the next turn, so that others are heard in between.
        dirty, self._node.dirty = self._node.dirty, []
        for connection in dirty:
            client = self._clients.get(connection)
            if client is not None and not client.lingering:
                self._attempt(client, self._write, now)

    def _tick(self, now: float) -> None:
        self._next_tick = float("inf")
        if self._accept_at is not None:
            if now >= self._accept_at:
                self._accept_at = None
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                self._next_tick = self._accept_at
        for client in list(self._clients.values()):
            if not (client.lingering or client.connection.finished):
                self._attempt(client, self._tick_client, now)
            elif now >= client.deadline:
                self._drop(client)
            else:
                self._schedule(client, client.deadline)

    def _tick_client(self, client: _Client, now: float) -> None:
        connection = client.connection
        due = connection.tick(now)
        self._schedule(client, now + _LINGER if connection.finished else due)

    def _schedule(self, client: _Client, deadline: float) -> None:
        client.deadline = deadline
        self._next_tick = min(self._next_tick, deadline)

    def _linger(self, client: _Client, now: float) -> None:
        """Say that nothing more comes, and wait for the client to hang up.

        A socket that is closed with bytes unread resets the connection, and what was sent last may never be seen.
        """
        client.lingering = True
        client.connection.lost()
        try:
            client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(client)
            return
        self._watch(client, selectors.EVENT_READ)
        self._schedule(client, now + _LINGER)

    def _drop(self, client: _Client) -> None:
        """Close a socket and forget its connection."""
        if self._clients.pop(client.connection, None) is None:
            return
        self._watch(client, 0)
        client.sock.close()
        if not client.lingering:
            try:
                client.connection.lost()
            except Exception:
                _LOGGER.exception("what a client had could not be given up because of a fault of the broker")
