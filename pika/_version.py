"""The version of the library, in the one place that everything else reads it from."""

from __future__ import annotations

__version__ = "1.9.0"
