"""Packages whose names are loaded when they are used: a program pays for what it imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any


def make_lazy(package: str, homes: Mapping[str, str], modules: Iterable[str]) -> None:
    """Have a package find names when they are asked for.

    :param package: its full name; it is being loaded
    :param homes: in which modules its names are
    :param modules: its own modules that are reached through it
    """
    namespace = vars(sys.modules[package])
    submodules = frozenset(modules)

    class Package(ModuleType):
        """The package. Whoever lists its names finds those too that are not loaded yet."""

        def __getattr__(self, name: str) -> Any:
            home = homes.get(name)
            if home is not None:
                value = namespace[name] = getattr(importlib.import_module(home), name)
                return value
            if name in submodules:
                return importlib.import_module(f"{package}.{name}")
            raise AttributeError(f"module {package!r} has no attribute {name!r}")

        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # a property stands in for the attribute
            for name in homes:
                if name not in namespace:
                    getattr(self, name)
            return namespace

        def __dir__(self) -> list[str]:
            return sorted({*namespace, *homes, *submodules})

    sys.modules[package].__class__ = Package
