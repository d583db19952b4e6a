"""Packages whose names are imported when they are first used.

Importing torch takes seconds, and neither a recipe nor the command line's help needs it. So a
package says where its public names live, and a name's module is imported when somebody asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


def export_lazily(package: str, homes: Mapping[str, Sequence[str]]) -> None:
    """Give a package its public names without importing what defines them.

    Args:
        package: its ``__name__``.
        homes: the names by the full name of the module that defines them.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    class Package(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name not in home_of:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            value = getattr(import_module(home_of[name]), name)
            vars(self)[name] = value
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            # a submodule that is imported must not hide the function of its name
            if not (isinstance(value, ModuleType) and name in home_of):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return sorted({*vars(self), *home_of})

    sys.modules[package].__class__ = Package
