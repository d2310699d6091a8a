"""A peer made of a script: what a test wants the other end of a TCP connection to do."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType

from tests.support.bounded import PATIENCE
from tests.support.ports import free_ports


class PeerSocket:
    """The peer's end of one connection, as a script sees it. Every wait ends with an error after 60 seconds."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        self.socket.sendall(data)

    def recv_some(self, limit: int = 65536) -> bytes:
        """Receive what comes next; b"" is the end."""
        return self.socket.recv(limit)

    def recv_exactly(self, size: int) -> bytes:
        """Receive exactly ``size`` bytes.

        :raises EOFError: the connection ended before
        """
        received = bytearray()
        while len(received) < size:
            data = self.socket.recv(min(size - len(received), 1 << 20))
            if not data:
                raise EOFError(f"the connection ended after {len(received)} of {size} bytes")
            received += data
        return bytes(received)

    def recv_until_end(self) -> bytes:
        """Receive everything until the other end hangs up or resets the connection."""
        received = bytearray()
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return bytes(received)
            received += data

    def close(self) -> None:
        """Hang up; with TLS, with a close-notify before it. After the end it is nothing."""
        if self.socket.fileno() >= 0 and isinstance(self.socket, ssl.SSLSocket):
            self.socket.setblocking(False)
            # The close-notify is sent; nobody waits for the answer.
            with suppress(OSError, ValueError):
                self.socket.unwrap()
        self.socket.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(self.socket, ssl.SSLSocket):
            # Closing the descriptor alone: no close-notify.
            socket.socket(fileno=self.socket.detach()).close()
        else:
            self.socket.close()


class Peer:
    """A TCP server on a free port of a loopback address that runs a script for each connection, in a thread.

    Leaving the context closes everything, joins the threads and raises what a script raised.

    :param script: given the connection; it is closed when the script returns
    :param tls: serve TLS with this context; a handshake that fails goes to ``handshake_errors``, and no script runs
    :param host: the address to listen at
    :param backlog: how many connections the kernel accepts on its own
    """

    def __init__(
        self,
        script: Callable[[PeerSocket], object],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        backlog: int = 16,
    ) -> None:
        self.handshake_errors: list[OSError] = []
        #: How many connections were accepted.
        self.accepted = 0
        self._script = script
        self._tls = tls
        self._errors: list[BaseException] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, 0))
        self._listener.listen(backlog)
        self.host: str = host
        self.port: int = self._listener.getsockname()[1]
        # The connection that ends the accepting comes from here.
        self._waker = socket.socket(self._listener.family)
        self._waker.bind((host, 0))
        self._waker_address = self._waker.getsockname()
        self._threads = [threading.Thread(target=self._accept, name="peer-accept", daemon=True)]

    def __enter__(self) -> Peer:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # accept() in the thread does not notice that its socket is closed, and connections may still be in its queue.
        self._waker.settimeout(PATIENCE)
        with self._waker, suppress(OSError):
            self._waker.connect((self.host, self.port))
        # The first thread is the one that accepts, and adds the others.
        for thread in self._threads:
            thread.join(PATIENCE + 5)
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        self._listener.close()
        if error is None:
            if self._errors:
                raise self._errors[0]
            if alive:
                raise TimeoutError(f"scripts that did not end: {alive}")

    def _accept(self) -> None:
        while True:
            sock, address = self._listener.accept()
            if address == self._waker_address:
                sock.close()
                return
            self.accepted += 1
            sock.settimeout(PATIENCE)
            # What a script sends has left when it hangs up or resets.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._run, args=(sock,), name=f"peer-{self.accepted}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        try:
            if self._tls is not None:
                try:
                    sock = self._tls.wrap_socket(sock, server_side=True)
                except OSError as error:
                    self.handshake_errors.append(error)
                    return
            peer = PeerSocket(sock)
            self._script(peer)
            peer.close()
        except BaseException as error:
            self._errors.append(error)
        finally:
            sock.close()


def free_port() -> int:
    """A port where nobody listens: connecting to it is refused."""
    return free_ports(1)[0]


@contextmanager
def unanswering() -> Iterator[int]:
    """A port where connecting is neither accepted nor refused: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
