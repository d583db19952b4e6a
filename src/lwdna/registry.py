"""Tables that anybody may add to: criteria, keep rules, tasks, data formats.

A table knows the names of its built-in entries before their modules are imported, so that a
recipe is checked without torch. Everything else enters it by a decorator, in whatever module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from lwdna.errors import nearest

V = TypeVar("V")


class Registry(Mapping[str, V]):
    """Entries by name; those that are built in are imported when they are first asked for.

    Args:
        kind: what an entry is called in an error, as ``"criterion"``.
        homes: by the name of each built-in entry, the module that registers it when imported.
    """

    def __init__(self, kind: str, homes: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._homes = dict(homes or {})
        self._entries: dict[str, tuple[V, str]] = {}

    def add(self, name: str, entry: V, origin: Callable[..., Any]) -> None:
        """Put an entry into the table.

        Args:
            name: what recipes call it.
            entry: what the table holds.
            origin: the function or class it was made of, which may be defined again under its
                name (a reloaded module, a notebook cell run twice).

        Raises:
            ValueError: another function or class has that name.
        """
        place = f"{origin.__module__}.{origin.__qualname__}"
        known = self._entries.get(name)
        home = self._homes.get(name, origin.__module__)
        if (known is not None and known[1] != place) or home != origin.__module__:
            raise ValueError(
                f"there is a {self.kind} {name!r} already, in {known[1] if known else home}; "
                "choose another name"
            )
        self._entries[name] = entry, place

    def check(self, name: str) -> str:
        """Return a name that is in the table.

        Raises:
            ValueError: it is not; the nearest names are said.
        """
        if name not in self:
            hint = nearest(name, self) or f"; choose one of {', '.join(self)}"
            raise ValueError(f"there is no {self.kind} {name!r}{hint}")
        return name

    def __contains__(self, name: object) -> bool:
        return name in self._homes or name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._homes, *self._entries]))

    def __len__(self) -> int:
        return len({*self._homes, *self._entries})

    def __getitem__(self, name: str) -> V:
        if name not in self._entries and name in self._homes:
            import_module(self._homes[name])
        return self._entries[name][0]
