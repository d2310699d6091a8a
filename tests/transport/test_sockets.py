"""Options of TCP sockets, and waiting for them."""

from __future__ import annotations

import errno
import logging
import select
import socket
from collections.abc import Iterator

import pytest

from pika.transport.sockets import READ, WOKEN, WRITE, Poller, set_options


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


def test_segments_are_not_delayed_and_dead_peers_noticed(sock: socket.socket) -> None:
    set_options(sock)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_the_options_that_users_give(sock: socket.socket) -> None:
    set_options(sock, {"TCP_KEEPIDLE": 61, "TCP_KEEPCNT": 3, "TCP_KEEPINTVL": 7})
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    assert idle is not None
    assert sock.getsockopt(socket.IPPROTO_TCP, idle) == 61
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7


def test_an_unknown_option_is_logged(sock: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pika"):
        set_options(sock, {"TCP_BOGUS": 1, "TCP_KEEPCNT": 4})
    assert "TCP_BOGUS" in caplog.text
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4


def test_an_option_that_the_platform_lacks_is_logged(
    sock: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    with caplog.at_level(logging.WARNING, "pika"):
        set_options(sock, {"TCP_USER_TIMEOUT": 9000})
    assert "TCP_USER_TIMEOUT=9000" in caplog.text
    assert "platform" in caplog.text


def test_values_that_are_wrong(sock: socket.socket) -> None:
    with pytest.raises(TypeError, match="TCP_KEEPIDLE must be an integer"):
        set_options(sock, {"TCP_KEEPIDLE": "x"})  # type: ignore[dict-item]
    with pytest.raises(OSError, match="TCP_KEEPIDLE=-5") as caught:
        set_options(sock, {"TCP_KEEPIDLE": -5})
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("with_poll", [True, False])
def test_a_poller(with_poll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_poll:
        monkeypatch.delattr(select, "poll", raising=False)
    one, other = socket.socketpair()
    waker, wake = socket.socketpair()
    with one, other, waker, wake:
        poller, alone = Poller(one, waker), Poller(one)
        assert alone.wait(True, False, 0) == 0
        assert alone.wait(True, False, -1) == 0
        assert alone.wait(True, True, 1e12) == WRITE
        wake.send(b"x")
        assert poller.wait(True, False, None) == WOKEN
        other.send(b"x")
        assert poller.wait(True, True, None) == READ | WRITE | WOKEN
        assert poller.wait(False, False, None) == WOKEN
        assert poller.wait(True, False, None) == READ | WOKEN
        waker.recv(1)
        one.recv(1)
        assert poller.wait(True, False, 0.01) == 0
        other.close()
        assert poller.wait(False, False, 0.01) == 0
        assert poller.wait(True, False, None) == READ
