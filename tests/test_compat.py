"""pika.compat, and the namespace of the pika package, whose names are loaded when they are used."""

from __future__ import annotations

import importlib
import json
import pickle
import socket
import subprocess
import sys
import time
from typing import Any
from unittest import mock

import pytest

import pika
from pika import compat


def run(code: str) -> Any:
    """Run a program in a fresh interpreter and return what it prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# The page


def test_bytes() -> None:
    assert compat.as_bytes("é") == b"\xc3\xa9"
    assert compat.as_bytes(b"x") == b"x"
    with pytest.raises(AttributeError):
        compat.as_bytes(5)  # type: ignore[arg-type]  # that is the mistake
    assert compat.byte(1, 255) == b"\x01\xff" and compat.byte() == b""
    with pytest.raises(ValueError, match="range"):
        compat.byte(256)
    assert isinstance("x", compat.str_or_bytes) and isinstance(b"x", compat.str_or_bytes)


def test_long() -> None:
    number = compat.long(5)
    assert (repr(number), str(number), f"{number}") == ("5L", "5", "5")
    assert number == 5 and number + 1 == 6 and isinstance(number, int)


@pytest.mark.parametrize(
    ("release", "numbers"),
    [
        ("5.10.16-generic", (5, 10, 16)),
        ("3.2.0-4-amd64", (3, 2, 0)),
        ("4.14.79+", (4, 14, 79)),
        ("5.10.16.3-microsoft-standard-WSL2", (5, 10, 16)),
        ("4.4", (4, 4)),
        ("x", (0,)),
        ("", (0,)),
    ],
)
def test_linux_versions(release: str, numbers: tuple[int, ...]) -> None:
    assert compat.get_linux_version(release) == numbers


def test_digits() -> None:
    assert [compat.to_digit(text) for text in ("16-generic", "10rc1", "007", "-1", "x", "")] == [16, 10, 7, 0, 0, 0]
    found = compat.RE_NUM.match("16-generic")
    assert found is not None and found.group(1) == "16"


def test_the_platform() -> None:
    assert [compat.ON_LINUX, compat.ON_OSX, compat.ON_WINDOWS].count(True) <= 1
    assert sys.platform.startswith("linux") == compat.ON_LINUX
    assert compat.HAVE_SIGNAL != compat.ON_WINDOWS
    assert bool(compat.LINUX_VERSION) == compat.ON_LINUX
    assert compat.SOCKET_ERROR is OSError and compat.SOL_TCP == 6
    before = time.monotonic()
    assert before <= compat.time_now() <= time.monotonic()


def test_a_pair_of_sockets() -> None:
    first, second = compat.nonblocking_socketpair()
    with first, second:
        assert first.getpeername() == second.getsockname()
        with pytest.raises(BlockingIOError):
            second.recv(1)
        first.send(b"x")
        second.settimeout(5)
        assert second.recv(1) == b"x"
    for wrong in ({"family": socket.AF_UNSPEC}, {"socket_type": socket.SOCK_DGRAM}, {"proto": 5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            compat.nonblocking_socketpair(**wrong)


def test_urls() -> None:
    assert compat.url_unquote("a%2Fb") == "a/b" and compat.url_quote("a/b", safe="") == "a%2Fb"
    assert compat.urlencode({"a": 1}) == "a=1" and compat.url_parse_qs("a=1") == {"a": ["1"]}
    assert compat.urlparse("amqp://host/").hostname == "host"


def test_an_abstract_base() -> None:
    class Abstract(compat.AbstractBase):
        pass

    assert type(Abstract).__name__ == "ABCMeta"


# The package


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = run("import sys, json; import pika; print(json.dumps(sorted(sys.modules)))")
    assert [name for name in loaded if name.startswith("pika")] == ["pika", "pika._lazy", "pika._version"]
    assert not {"asyncio", "ssl", "socket", "selectors", "urllib.parse"} & set(loaded)


@pytest.mark.parametrize(
    "listing",
    ["vars(pika)", "pika.__dict__", "dict(__import__('inspect').getmembers(pika))", "dir(pika)", "pika.__all__"],
)
def test_whoever_lists_the_namespace_finds_every_name(listing: str) -> None:
    names = run(f"import json, pika; print(json.dumps(sorted({listing})))")
    expected = {
        *("BasicProperties", "BlockingConnection", "ConnectionParameters", "DeliveryMode", "PlainCredentials"),
        *("SSLOptions", "URLParameters", "__version__"),
    }
    assert expected <= set(names)


def test_listing_names_loads_none_of_them() -> None:
    code = "import sys, json, pika; dir(pika); print(json.dumps([n for n in sys.modules if n.startswith('pika')]))"
    assert sorted(run(code)) == ["pika", "pika._lazy", "pika._version"]


def test_a_single_name_loads_what_it_needs() -> None:
    code = "import sys, json, pika; pika.PlainCredentials; print(json.dumps(list(sys.modules)))"
    loaded = run(code)
    assert "pika.credentials" in loaded and "pika.adapters" not in loaded and "ssl" not in loaded


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        pika.nothing  # noqa: B018  # to see it raise
    with pytest.raises(ImportError):
        exec("from pika import nothing")


def test_modules_are_reachable_after_a_bare_import() -> None:
    names = ["adapters.blocking_connection", "channel", "compat", "connection", "exceptions", "frame", "spec"]
    code = f"import json, pika; print(json.dumps([eval('pika.' + name).__name__ for name in {names!r}]))"
    assert run(code) == [f"pika.{name}" for name in names]


def test_a_star_import() -> None:
    names = run("import json\nfrom pika import *\nprint(json.dumps(sorted(globals())))")
    assert set(pika.__all__) <= set(names)


def test_reloading() -> None:
    code = """
import importlib, json, pika
from pika import BasicProperties
again = importlib.reload(pika)
print(json.dumps([again is pika, pika.BasicProperties is BasicProperties, "URLParameters" in vars(pika)]))
"""
    assert run(code) == [True, True, True]


def test_pickling() -> None:
    properties = pika.BasicProperties(headers={"a": 1}, delivery_mode=2)
    assert pickle.loads(pickle.dumps(properties)) == properties
    assert pickle.loads(pickle.dumps(pika.BlockingConnection)) is pika.BlockingConnection
    assert pickle.loads(pickle.dumps(pika.DeliveryMode.Persistent)) is pika.DeliveryMode.Persistent


@pytest.mark.parametrize("name", ["BlockingConnection", "URLParameters", "BasicProperties"])
def test_patching_a_name(name: str) -> None:
    original = getattr(pika, name)
    with mock.patch(f"pika.{name}") as patched:
        assert getattr(pika, name) is patched
        assert importlib.import_module("pika").__dict__[name] is patched
    assert getattr(pika, name) is original


def test_patching_a_name_that_is_not_loaded_yet() -> None:
    code = """
import json
from unittest import mock
with mock.patch("pika.BlockingConnection") as patched:
    import pika
    seen = pika.BlockingConnection is patched
print(json.dumps([seen, pika.BlockingConnection.__name__]))
"""
    assert run(code) == [True, "BlockingConnection"]


def test_names_can_be_set_and_deleted() -> None:
    code = """
import json, pika
pika.BlockingConnection = 5
before = vars(pika)["BlockingConnection"]
del pika.BlockingConnection
print(json.dumps([before, pika.BlockingConnection.__name__]))
"""
    assert run(code) == [5, "BlockingConnection"]


def test_threads_that_load_names_at_once() -> None:
    code = """
import json, sys, threading
import pika
sys.setswitchinterval(1e-6)
names = [*pika.__all__, "channel", "connection", "spec"] * 4
barrier = threading.Barrier(len(names))
failed = []
def use(index, name):
    barrier.wait()
    try:
        getattr(pika, name) if index % 3 else vars(pika)
    except BaseException as error:
        failed.append(repr(error))
threads = [threading.Thread(target=use, args=item) for item in enumerate(names)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
print(json.dumps([failed, any(thread.is_alive() for thread in threads)]))
"""
    assert run(code) == [[], False]
