"""What the checks of programs share. They run where the program is installed, and its own imports come first there."""

from __future__ import annotations

import runpy
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.support.proxy import Proxy

PATIENCE = 60.0

# By its path: the checkout's own pika is not to be found, and some programs bring a package "tests".
_PROXY = Path(__file__).resolve().parents[1] / "tests" / "support" / "proxy.py"


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds.

    :param what: what is waited for, for the error
    :raises AssertionError: when it does not hold within `PATIENCE` seconds
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.02)


def proxy_to(url: str) -> tuple[Proxy, str]:
    """Return a network that can be broken between a program and the broker at a URL, and the URL through it."""
    proxy: Proxy = runpy.run_path(str(_PROXY))["Proxy"](urlsplit(url).port or 5672)
    return proxy, urlsplit(url)._replace(netloc=urlsplit(proxy.url).netloc).geturl()
