"""Have real programs do real work with this library in pika's place: ``python programs/run.py [NAMES...]``.

Each is installed from the package index into an environment of its own, in ``.venv-programs``, where this checkout's
wheel is ``pika`` already: the program's own requirement has to be content with it. What it then does against a private
RabbitMQ is in its ``check_NAME.py``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.rabbitmq import RabbitMQ, RabbitMQError  # noqa: E402  the path comes first

ENVIRONMENTS = ROOT / ".venv-programs"
SECONDS = 600.0

VERSIONS = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"


class Program(NamedTuple):
    """A program: the distribution that is meant, and what is installed."""

    distribution: str
    requirements: tuple[str, ...]


PROGRAMS = {
    "dramatiq": Program("dramatiq", ("dramatiq[rabbitmq]", "gevent")),
    "opentelemetry": Program(
        "opentelemetry-instrumentation-pika", ("opentelemetry-instrumentation-pika", "opentelemetry-sdk")
    ),
    "newrelic": Program("newrelic", ("newrelic",)),
    "instana": Program("instana", ("instana",)),
    # 1.3.0 cannot be imported: its wheel lacks its own package skywalking.protocol.
    "skywalking": Program("apache-skywalking", ("apache-skywalking!=1.3.0",)),
    "globus_compute": Program("globus-compute-endpoint", ("globus-compute-endpoint",)),
    "workflows": Program("workflows", ("workflows",)),
    "fedora_messaging": Program("fedora-messaging", ("fedora-messaging",)),
}


class ProgramError(Exception):
    """A program could not be installed, or did not do what it does with pika; the text is what was printed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the programs, print a line for each, and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = set(options.programs) - set(PROGRAMS)
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    failed = 0
    try:
        with tempfile.TemporaryDirectory() as folder, RabbitMQ() as broker:
            pika = options.instead or str(_wheel(Path(folder)))
            for name in options.programs or PROGRAMS:
                try:
                    print(_checked(name, pika, _url(broker, name)), flush=True)
                except ProgramError as error:
                    failed += 1
                    print(f"{name}: FAILED\n{error}", flush=True)
    except (ProgramError, RabbitMQError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


def _checked(name: str, pika: str, url: str) -> str:
    """Install a program, run its check, and return what to say about it.

    :raises ProgramError: where something failed
    """
    program = PROGRAMS[name]
    python = ENVIRONMENTS / name / "bin" / "python"
    bootstrap = [str(ROOT / "tools" / "bootstrap"), str(ENVIRONMENTS / name), sys.executable]
    _run([*bootstrap, "--force-reinstall", "--no-deps", pika])
    before = _run([str(python), "-I", "-c", VERSIONS, "pika"])
    _run([*bootstrap, *program.requirements])
    version, after = _run([str(python), "-I", "-c", VERSIONS, program.distribution, "pika"]).split()
    if after != before:
        raise ProgramError(f"{program.distribution} {version} is not content with pika {before}: pip installed {after}")
    *_, done = _run([str(python), str(Path(__file__).with_name(f"check_{name}.py")), url]).splitlines()
    return f"{program.distribution} {version} with pika {after}: {done}"


def _wheel(folder: Path) -> Path:
    """Build this checkout's wheel."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*build, "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("pika-*.whl")
    return wheel


def _url(broker: RabbitMQ, name: str) -> str:
    """Make a virtual host for a program, and return its URL."""
    broker.ctl("add_vhost", name)
    broker.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    return broker.url.replace("%2F", name)


def _run(command: Sequence[str]) -> str:
    """Run a command, and return what it printed.

    :raises ProgramError: when it fails or does not end, with all that it printed
    """
    # Plain, and away from the checkout: a program finds what is installed.
    with tempfile.TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(
                command,
                cwd=tempfile.gettempdir(),
                env=dict(_environment()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=SECONDS,
            )
            problem = f"ended with status {done.returncode}" if done.returncode else ""
            out = done.stdout
        except subprocess.TimeoutExpired:
            problem, out = f"did not end within {SECONDS:.0f} s", ""
        if problem:
            errors.seek(0)
            raise ProgramError(f"{' '.join(command)} {problem}:\n{out}{errors.read()}")
    return out.strip()


def _environment() -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("programs", nargs="*", metavar="NAME", help=f"which ones: {', '.join(PROGRAMS)} (default: all)")
    parser.add_argument("--instead", metavar="REQUIREMENT", help="install this as pika, to see that a check is right")
    return parser


if __name__ == "__main__":
    sys.exit(main())
