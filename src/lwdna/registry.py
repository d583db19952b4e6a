"""Tables that anybody may add to by a decorator: criteria, keep rules, tasks, data formats.

A built-in entry is written in one file, under its decorator. What a table lists of it (its name,
its module, the first line of its docstring) is read from the source, and the module is imported
when the entry itself is asked for: importing torch takes seconds, and a recipe is checked without
it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from lwdna.errors import nearest

V = TypeVar("V")


@dataclass(frozen=True)
class Declaration:
    """What the source says of an entry."""

    module: str
    function: str
    """Name of the function or class that is decorated."""
    summary: str
    """First line of its docstring."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the decorator that are literals."""


class Registry(Mapping[str, V]):
    """Entries by name.

    Args:
        kind: what an entry is called in an error, as ``"criterion"``.
        package: where the built-in entries are defined.
        decorator: the name of the decorator that registers them.
    """

    def __init__(self, kind: str, package: str, decorator: str) -> None:
        self.kind = kind
        self._package, self._decorator = package, decorator
        self._entries: dict[str, tuple[V, Declaration]] = {}

    def add(
        self, name: str, entry: V, origin: Callable[..., Any], arguments: Mapping[str, Any] = {}
    ) -> None:
        """Put an entry into the table.

        Args:
            name: what recipes call it.
            entry: what the table holds.
            origin: the function or class under the decorator. It may be defined again under its
                name (a reloaded module, a notebook cell run twice).
            arguments: what else :meth:`declarations` tells of it.

        Raises:
            ValueError: another function or class has that name.
        """
        summary = (origin.__doc__ or "").strip().partition("\n")[0]
        own = Declaration(origin.__module__, origin.__qualname__, summary, arguments)
        known = self.declarations.get(name)
        if known is not None and (known.module, known.function) != (own.module, own.function):
            raise ValueError(
                f"there is a {self.kind} {name!r} already, {known.module}.{known.function}; "
                "choose another name"
            )
        self._entries[name] = entry, own

    def check(self, name: object, *others: str) -> str:
        """Return a name that is in the table, or one of ``others``.

        Raises:
            ValueError: it is neither; the nearest names are said.
        """
        known = [*others, *self]
        if isinstance(name, str) and name in known:
            return name
        hint = nearest(str(name), known) or f"; choose one of {', '.join(known)}"
        raise ValueError(f"there is no {self.kind} {name!r}{hint}")

    @property
    def declarations(self) -> dict[str, Declaration]:
        """What is known of every entry without importing it, the built-in ones first."""
        added = {name: declaration for name, (_, declaration) in self._entries.items()}
        return {**declared(self._package, self._decorator), **added}

    def __contains__(self, name: object) -> bool:
        return name in self.declarations

    def __iter__(self) -> Iterator[str]:
        return iter(self.declarations)

    def __len__(self) -> int:
        return len(self.declarations)

    def __getitem__(self, name: str) -> V:
        if name not in self._entries:
            import_module(self.declarations[name].module)
        return self._entries[name][0]


@cache
def declared(package: str, decorator: str) -> dict[str, Declaration]:
    """Read from the source of a package what is defined under a decorator, by name.

    ``@decorator("one", "two")`` declares the names given, ``@decorator`` that of the function.

    Raises:
        ValueError: two of them have one name.
    """
    found: dict[str, Declaration] = {}
    for module, path in _sources(package):
        text = path.read_text(encoding="utf-8")
        if f"@{decorator}" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for mark in node.decorator_list:
                    for name in _names(mark, decorator, node.name):
                        if name in found:
                            raise ValueError(
                                f"{name!r} stands under @{decorator} in {found[name].module} and "
                                f"in {module}; choose another name for one of them"
                            )
                        found[name] = _declaration(module, node, mark)
    return found


def _sources(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules of a package and their files, in alphabetical order."""
    spec = find_spec(package)
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def _names(mark: ast.expr, decorator: str, function: str) -> list[str]:
    called = isinstance(mark, ast.Call)
    target = mark.func if isinstance(mark, ast.Call) else mark
    if not (isinstance(target, ast.Name) and target.id == decorator):
        return []
    given = mark.args if isinstance(mark, ast.Call) else ()
    names = [one.value for one in given if isinstance(one, ast.Constant)]
    return [str(name) for name in names] if called else [function]


def _declaration(module: str, node: ast.FunctionDef | ast.ClassDef, mark: ast.expr) -> Declaration:
    given = mark.keywords if isinstance(mark, ast.Call) else ()
    literal = {
        one.arg: one.value.value for one in given if one.arg and isinstance(one.value, ast.Constant)
    }
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    return Declaration(module, node.name, summary, literal)
