#!/usr/bin/env python3
"""Print the interpreters of other versions that this machine has, one `VERSION PATH` a line.

Looked for: ``pythonX.Y`` in PATH, and the version folders of pyenv. What does not run, or runs as another
version, does not count: a pyenv shim exists for every version and answers 127 for those that are not selected.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECK = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"


def candidates(version: str) -> Iterator[str]:
    """Yield the paths where an interpreter of `version`, e.g. "3.9", may be."""
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob(f"versions/{version}.*"), reverse=True):
        yield str(folder / "bin" / "python")


def runs_as(python: str, version: str) -> bool:
    """Tell whether the interpreter at `python` runs, is of `version` and can make virtual environments."""
    try:
        done = subprocess.run([python, "-c", CHECK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def main(versions: list[str]) -> None:
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in versions:
        if version == own:
            continue
        found = next((python for python in candidates(version) if runs_as(python, version)), None)
        if found is not None:
            print(version, found)


if __name__ == "__main__":
    main(sys.argv[1:])
