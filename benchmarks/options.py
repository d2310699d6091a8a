"""Options that the scripts share."""

from __future__ import annotations

import argparse
from pathlib import Path

#: The folder of the project.
ROOT = Path(__file__).resolve().parents[1]


def positive(text: str) -> int:
    """Return the number that an option gives.

    :raises argparse.ArgumentTypeError: when it is not above zero
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def add_docs(parser: argparse.ArgumentParser) -> None:
    """Add the option that writes figures into the documentation."""
    parser.add_argument(
        "--docs", type=Path, nargs="?", const=ROOT, metavar="FOLDER",
        help="write the figures into the documentation, of this project or of a copy in FOLDER",
    )  # fmt: skip
