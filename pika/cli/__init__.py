"""The command line, one file per command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pika._version import __version__
from pika.cli import demo

_COMMANDS = (demo,)


def main(arguments: Sequence[str]) -> int:
    """Run a command.

    :param arguments: the command line without the program's name
    :returns: the exit status: 0 done, 1 failed, 2 for a command line that makes no sense (raised by argparse), 130
        interrupted from the keyboard
    """
    parser = argparse.ArgumentParser(prog="python3 -m pika", description="Tools for RabbitMQ, by its Python client.")
    parser.add_argument("--version", action="version", version=f"pika {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output (a pager, head) has seen enough; the interpreter must not try to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status
