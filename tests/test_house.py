"""Facts about the package that other people's tools and builds rely on."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pika

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the working tree by the build backend itself: no network, no isolation."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])",
            str(folder),
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_version_is_three_integers_of_the_pika_1_line() -> None:
    version = tuple(int(part) for part in pika.__version__.split("."))
    assert len(version) == 3
    assert (1, 4, 4) <= version < (2, 0, 0)


def test_the_distribution_is_named_pika_and_has_the_version_of_the_package() -> None:
    assert importlib.metadata.version("pika") == pika.__version__
    assert importlib.metadata.metadata("pika")["Name"] == "pika"


def test_the_library_has_no_dependency_outside_its_extras() -> None:
    requirements = importlib.metadata.requires("pika") or []
    assert [line for line in requirements if "extra ==" not in line] == []


def test_the_extras_are_the_documented_ones() -> None:
    extras = importlib.metadata.metadata("pika").get_all("Provides-Extra")
    assert sorted(extras or []) == ["gevent", "tornado", "twisted"]


def test_the_wheel_holds_the_package_its_types_marker_and_license_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    info = f"pika-{pika.__version__}.dist-info"
    assert {"pika/__init__.py", "pika/py.typed", f"{info}/licenses/LICENSE"} <= names
    assert {name.split("/")[0] for name in names} == {"pika", info}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pika").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_wheel_goes_wherever_python_goes(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename is not None
    assert wheel.filename.endswith("-py3-none-any.whl")
    metadata = wheel.read(f"pika-{pika.__version__}.dist-info/METADATA").decode()
    assert "\nRequires-Python: >=3.9\n" in metadata
