"""What pika 1.x used to tell Pythons and platforms apart, for programs that import it from there."""

from __future__ import annotations

import abc
import os
import platform
import re
import socket
import time
from urllib.parse import parse_qs as url_parse_qs
from urllib.parse import quote as url_quote
from urllib.parse import unquote as url_unquote
from urllib.parse import urlencode, urlparse

__all__ = [
    "HAVE_SIGNAL",
    "LINUX_VERSION",
    "ON_LINUX",
    "ON_OSX",
    "ON_WINDOWS",
    "RE_NUM",
    "SOCKET_ERROR",
    "SOL_TCP",
    "AbstractBase",
    "as_bytes",
    "byte",
    "get_linux_version",
    "long",
    "nonblocking_socketpair",
    "str_or_bytes",
    "time_now",
    "to_digit",
    "url_parse_qs",
    "url_quote",
    "url_unquote",
    "urlencode",
    "urlparse",
]

#: A base class for abstract classes.
AbstractBase = abc.ABC

ON_LINUX = platform.system() == "Linux"
ON_OSX = platform.system() == "Darwin"
ON_WINDOWS = platform.system() == "Windows"

#: Whether the process can send itself signals as POSIX has them.
HAVE_SIGNAL = os.name == "posix"

SOCKET_ERROR = OSError
SOL_TCP = socket.IPPROTO_TCP

RE_NUM = re.compile(r"(\d+).+")

str_or_bytes = (str, bytes)


class long(int):
    """An integer that shows itself as Python 2's long integers did."""

    def __str__(self) -> str:
        return int.__repr__(self)

    def __repr__(self) -> str:
        return f"{int(self)}L"


def time_now() -> float:
    """Return the seconds on a clock that never goes back."""
    return time.monotonic()


def as_bytes(value: str | bytes) -> bytes:
    """Return bytes; a str is encoded as UTF-8.

    :param value: bytes or a str
    """
    return value if isinstance(value, bytes) else value.encode("utf-8")


def byte(*args: int) -> bytes:
    """Return the bytes of these values.

    :param args: from 0 to 255 each
    """
    return bytes(args)


def to_digit(value: str) -> int:
    """Return the number that a text begins with, 0 when it begins with none.

    :param value: the text
    """
    digits = re.match(r"\d*", value)
    assert digits is not None
    return int(digits.group() or 0)


def get_linux_version(release_str: str) -> tuple[int, ...]:
    """Return the first three numbers of a kernel's release.

    :param release_str: such as ``5.10.16-generic``
    """
    return tuple(to_digit(part) for part in release_str.split(".")[:3])


LINUX_VERSION = get_linux_version(platform.release()) if ON_LINUX else None


def nonblocking_socketpair(
    family: int = socket.AF_INET, socket_type: int = socket.SOCK_STREAM, proto: int = 0
) -> tuple[socket.socket, socket.socket]:
    """Return two sockets that are connected over the loopback, and do not block.

    :param family: ``AF_INET`` or ``AF_INET6``
    :param socket_type: ``SOCK_STREAM``
    :param proto: 0
    :raises ValueError: when an argument is something else
    """
    # Not socket.socketpair(): only on Windows does it make sockets of these families, and programs may ask for their
    # addresses and ports.
    hosts = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
    if family not in hosts:
        raise ValueError(f"family must be AF_INET or AF_INET6, but got {family!r}")
    if socket_type != socket.SOCK_STREAM:
        raise ValueError(f"socket_type must be SOCK_STREAM, but got {socket_type!r}")
    if proto:
        raise ValueError(f"proto must be 0, but got {proto!r}")
    with socket.socket(family, socket_type, proto) as listener:
        listener.bind((hosts[socket.AddressFamily(family)], 0))
        listener.listen()
        while True:
            near = socket.create_connection(listener.getsockname()[:2])
            far, address = listener.accept()
            if address == near.getsockname():
                break
            # Somebody else on this machine was faster.
            near.close()
            far.close()
    near.setblocking(False)
    far.setblocking(False)
    return near, far
