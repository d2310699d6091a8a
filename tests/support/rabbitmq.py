"""RabbitMQ for the tests: a private node, or a broker that already runs somewhere."""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.ports import LOOPBACK, free_ports

if TYPE_CHECKING:
    from pika.connection.parameters import URLParameters

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
STARTUP_SECONDS = 300.0
# What a node takes before its alarm, as a part of the machine's memory: RabbitMQ's default, and next to nothing.
_WATERMARK = "0.4"
_LOW_WATERMARK = "0.00001"
CTL_SECONDS = 180.0

# If the tests die without a word, their standard input closes; then nothing of the node may stay.
_GUARD = 'read -r _; kill -KILL "$@" 2>/dev/null; rm -rf "$0"'


class RabbitMQError(Exception):
    """The broker of the tests could not be started or commanded; the text says what it printed."""


def find_server() -> Path | None:
    """Return the ``sbin`` folder of an installed RabbitMQ server, or None if there is none."""
    if os.name != "posix" or shutil.which("erl") is None:
        return None
    candidates = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"), reverse=True)
    on_path = shutil.which("rabbitmq-server", path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    # Debian's /usr/sbin/rabbitmq-server is a wrapper that changes the user; the real scripts have this neighbour.
    return next((folder for folder in candidates if (folder / "rabbitmq-env").exists()), None)


class Broker:
    """A RabbitMQ that answers at a URL.

    :param url: its AMQP URL, e.g. ``amqp://guest:guest@127.0.0.1:5672/%2F``
    :param ctl: the words of a command line that acts as its ``rabbitmqctl``; without it, `ctl` raises
    """

    def __init__(self, url: str, ctl: Iterable[str] = ()) -> None:
        self.url = url
        self._ctl_command = list(ctl)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or "localhost"

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 5672

    def parameters(self, **attributes: Any) -> URLParameters:
        """Return new connection parameters for this broker, with `attributes` set on them."""
        # Here, so that the unit tests of a tree that does not import yet can run.
        from pika.connection.parameters import URLParameters

        parameters = URLParameters(self.url)
        for name, value in attributes.items():
            setattr(parameters, name, value)
        return parameters

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on this broker and return what it printed; RabbitMQError if it failed."""
        if not self._ctl_command:
            where = f"the broker at {self.host}:{self.port}"
            raise RabbitMQError(f"no rabbitmqctl for {where}: set PIKA_TEST_RABBITMQCTL to its command line")
        return self._run([*self._ctl_command, *arguments])

    def _run(self, command: list[str], env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CTL_SECONDS,
            text=True,
        )
        if done.returncode != 0:
            raise RabbitMQError(f"{shlex.join(command)} failed with status {done.returncode}:\n{done.stdout}")
        return done.stdout

    def raise_memory_alarm(self) -> None:
        """Have it be low on memory: when this returns, every connection is blocked that publishes."""
        self._set_watermark(_LOW_WATERMARK)

    def end_memory_alarm(self) -> None:
        """Have it be low on memory no more."""
        self._set_watermark(_WATERMARK)

    def _set_watermark(self, watermark: str) -> None:
        # Who is asked for the alarms has told of them before.
        setting = f"vm_memory_monitor:set_vm_memory_high_watermark({watermark})"
        self.ctl("eval", f"ok = {setting}, rabbit_alarm:get_alarms().")

    def answers(self) -> bool:
        """Tell whether it opens an AMQP 0-9-1 connection: sends a method frame on channel 0 (connection.start)."""
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as probe:
                probe.sendall(PROTOCOL_HEADER)
                return probe.recv(3, socket.MSG_WAITALL) == b"\x01\x00\x00"
        except OSError:
            return False


class RabbitMQ(Broker):
    """A private RabbitMQ node: loopback only, its own folder, Erlang cookie and epmd, guest/guest.

    Use it as a context manager, or call `start` and `stop`. The node is ended, and its folder removed, even if
    the tests are killed.

    :param config: lines for its ``rabbitmq.conf``, after (and so stronger than) those of the tests
    :param plugins: names of plugins to enable, e.g. ``rabbitmq_management``
    """

    def __init__(self, config: Iterable[str] = (), plugins: Iterable[str] = ()) -> None:
        port, self._dist_port, self._epmd_port = free_ports(3)
        super().__init__(f"amqp://guest:guest@{LOOPBACK}:{port}/%2F")
        self.nodename = f"pika-{secrets.token_hex(4)}@localhost"
        self._config = [
            f"listeners.tcp.default = {LOOPBACK}:{port}",
            "log.file = false",
            "log.console = true",
            "log.console.level = info",
            "disk_free_limit.absolute = 1MB",
            *config,
        ]
        self._plugins = list(plugins)
        self._folder: Path | None = None
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> RabbitMQ:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """The folder of everything this node writes."""
        if self._folder is None:
            raise RabbitMQError(f"the node {self.nodename} is not started")
        return self._folder

    @property
    def pid(self) -> int:
        """The process id of the Erlang VM that is the node."""
        if not self._processes:
            raise RabbitMQError(f"the node {self.nodename} is not running")
        return self._processes[-1].pid

    def log(self) -> str:
        """Return what the node has printed since it was first started."""
        text = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def start(self) -> None:
        """Start the node, or start it again, and wait until it answers; RabbitMQError with its log if it does not."""
        scripts = self._scripts()
        self.kill()
        if self._folder is None:
            self._folder = self._make_folder()
            atexit.register(self.stop)
        env = self._environment()
        with (self._folder / "log.txt").open("ab") as log:
            # epmd in the foreground, so that it is a child of ours; the VM finds it there and starts none.
            for command in (
                [_tool("epmd"), "-address", LOOPBACK, "-port", str(self._epmd_port)],
                [str(scripts / "rabbitmq-server")],
            ):
                self._processes.append(
                    subprocess.Popen(
                        command,
                        env=env,
                        cwd=self._folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        pids = [str(process.pid) for process in self._processes]
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self._folder), *pids], stdin=subprocess.PIPE, start_new_session=True
        )
        self._processes.insert(0, guard)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """End the node at once, as a power failure would; its folder stays, and `start` brings it back."""
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._processes = []

    def stop(self) -> None:
        """End the node and remove its folder. Its data is worth nothing, so it is not asked politely."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            atexit.unregister(self.stop)

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on this node and return what it printed; RabbitMQError if it failed."""
        return self._run([str(self._scripts() / "rabbitmqctl"), "-q", *arguments], self._environment())

    @staticmethod
    def _scripts() -> Path:
        scripts = find_server()
        if scripts is None:
            raise RabbitMQError("no RabbitMQ server on this machine: install Debian's rabbitmq-server")
        return scripts

    def _make_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="pika-rabbitmq-"))
        (folder / "rabbitmq.conf").write_text("\n".join(self._config) + "\n", encoding="ascii")
        (folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n", encoding="ascii")
        # The machine's own settings for its own node are shut out by empty files in their places.
        for name in ("rabbitmq-env.conf", "log.txt"):
            (folder / name).touch()
        (folder / "conf.d").mkdir()
        return folder

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": self.nodename,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # Makes the start script become the Erlang VM instead of its parent: the pid is the VM's own.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self.answers():
            status = self._processes[-1].poll()
            if status is None and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            what = f"did not answer in {STARTUP_SECONDS:.0f} s" if status is None else f"ended with status {status}"
            text = f"RabbitMQ on port {self.port} {what}. The end of its log:\n" + self.log()[-4000:]
            self.stop()
            raise RabbitMQError(text)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RabbitMQError(f"{name} is not in PATH: it comes with Erlang")
    return found
