"""Options that the scripts share."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """Return the number that an option gives.

    :raises argparse.ArgumentTypeError: when it is not above zero
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number
