"""The proxy of the tests breaks connections in the ways it says, and only then."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.support import proxy as module
from tests.support.proxy import Proxy


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[Proxy]:
    with Proxy(listener.getsockname()[1]) as proxy:
        yield proxy


@contextlib.contextmanager
def connected(proxy: Proxy, listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        server, _ = listener.accept()
        with server:
            server.settimeout(10)
            yield client, server


def receive(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = end.recv(count - len(data))
        if not chunk:
            break
        data += chunk
    return data


def nothing_arrives(end: socket.socket) -> bool:
    end.settimeout(0.2)
    try:
        end.recv(1)
    except socket.timeout:
        return True
    finally:
        end.settimeout(10)
    return False


def test_bytes_pass_both_ways_and_are_recorded(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        client.sendall(b"ping")
        assert receive(server, 4) == b"ping"
        server.sendall(b"pong!")
        assert receive(client, 5) == b"pong!"
        assert proxy.connections() == 1
    assert proxy.record("to_server") == b"ping"
    assert proxy.record("to_client") == b"pong!"


def test_much_passes_unchanged(proxy: Proxy, listener: socket.socket) -> None:
    data = bytes(range(256)) * 20_000
    with connected(proxy, listener) as (client, server):
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        assert receive(server, len(data)) == data
        sender.join()
    assert proxy.record("to_server") == data


def test_an_end_of_file_passes_and_the_other_way_stays_open(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        client.sendall(b"bye")
        client.shutdown(socket.SHUT_WR)
        assert receive(server, 10) == b"bye"
        server.sendall(b"bye to you")
        assert receive(client, 10) == b"bye to you"
        server.close()
        assert client.recv(1) == b""


def test_cut_ends_both_sides_and_the_next_connection_works(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        client.sendall(b"x")
        assert receive(server, 1) == b"x"
        proxy.cut()
        assert client.recv(1) == b""
        assert server.recv(1) == b""
        assert proxy.connections() == 0
    with connected(proxy, listener) as (client, server):
        server.sendall(b"again")
        assert receive(client, 5) == b"again"


def test_cut_is_an_end_of_file_even_with_bytes_under_way(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        proxy.freeze()
        client.sendall(b"never read")
        server.sendall(b"never read either")
        proxy.cut()
        assert client.recv(1) == b""
        assert server.recv(1) == b""


def test_reset_resets_both_sides(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        client.sendall(b"x")
        assert receive(server, 1) == b"x"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with pytest.raises(ConnectionResetError):
            server.recv(1)


def test_a_side_that_resets_is_seen_by_the_other(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        client.sendall(b"unread")
        proxy.connections()
        assert server.recv(1) == b"u"
        # Closing with unread bytes is a reset.
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_freeze_holds_back_and_thaw_delivers(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        proxy.freeze()
        client.sendall(b"later")
        server.sendall(b"later too")
        assert nothing_arrives(server)
        assert nothing_arrives(client)
        proxy.thaw()
        assert receive(server, 5) == b"later"
        assert receive(client, 9) == b"later too"


def test_one_direction_can_freeze_alone(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        proxy.freeze(["to_client"])
        client.sendall(b"heard")
        server.sendall(b"unheard")
        assert receive(server, 5) == b"heard"
        assert nothing_arrives(client)


def test_a_frozen_network_stalls_the_writer(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, _):
        proxy.freeze()
        client.settimeout(0.2)
        with pytest.raises(socket.timeout):
            client.sendall(b"x" * 50_000_000)


@pytest.mark.parametrize("count", [1, 7, 70_000])
def test_a_limit_lets_exactly_so_much_pass(proxy: Proxy, listener: socket.socket, count: int) -> None:
    with connected(proxy, listener) as (client, server):
        proxy.limit_after(count, "to_server")
        with contextlib.suppress(OSError):
            client.sendall(b"x" * 100_000)
        assert receive(server, 100_000) == b"x" * count
    assert proxy.record("to_server") == b"x" * count
    with connected(proxy, listener) as (client, server):
        client.sendall(b"the limit was for once")
        assert receive(server, 22) == b"the limit was for once"


def test_a_limit_can_reset(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        proxy.limit_after(3, "to_client", "reset")
        server.sendall(b"abcdef")
        with pytest.raises(ConnectionResetError):
            while client.recv(3):
                pass
    assert proxy.record("to_client") == b"abc"


def test_a_limit_can_freeze_its_direction(proxy: Proxy, listener: socket.socket) -> None:
    with connected(proxy, listener) as (client, server):
        proxy.limit_after(3, "to_client", "freeze")
        server.sendall(b"abcdef")
        assert receive(client, 3) == b"abc"
        assert nothing_arrives(client)
        client.sendall(b"this way is open")
        assert receive(server, 16) == b"this way is open"
        proxy.thaw()
        assert receive(client, 3) == b"def"


def test_a_limit_of_nothing_is_refused(proxy: Proxy) -> None:
    with pytest.raises(ValueError, match=r"at least 1, not 0: to fail at once call cut\(\)"):
        proxy.limit_after(0, "to_client")


def test_a_server_that_is_not_there_is_a_reset(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    # The reset may arrive as early as the connect returns.
    with (
        Proxy(port) as proxy,
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client,
    ):
        client.recv(1)


def test_close_leaves_no_thread_and_no_listener(listener: socket.socket) -> None:
    before = set(threading.enumerate())
    proxy = Proxy(listener.getsockname()[1])
    with connected(proxy, listener) as (client, server):
        client.sendall(b"seen")
        assert receive(server, 4) == b"seen"
        proxy.close()
        assert client.recv(1) == b""
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    assert proxy.record("to_server") == b"seen"
    proxy.close()


def test_its_file_stands_alone() -> None:
    """The checks of real programs load it by its path, in environments that know nothing of the tests."""
    load = "import runpy, sys; runpy.run_path(sys.argv[1])['Proxy']"
    subprocess.run([sys.executable, "-I", "-S", "-c", load, str(module.__file__)], check=True, timeout=60)
