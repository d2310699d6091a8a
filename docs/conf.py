"""Sphinx configuration of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

_source = (Path(__file__).parent.parent / "pika" / "_version.py").read_text(encoding="utf-8")
_version = re.search(r'^__version__ = "(.+)"$', _source, re.MULTILINE)
assert _version is not None, "pika/_version.py has no __version__"

project = "pika"
author = "The pika authors"
copyright = "2026, The pika authors"
version = release = _version.group(1)

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"pika {release}"
