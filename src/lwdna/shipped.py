"""Recipes that come with lwdna."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable


def list_recipes() -> list[str]:
    """Return their names, such as ``digits`` or ``imagenet/resnet50``."""
    return sorted(_names(shipped_recipes(), ""))


def shipped_recipes() -> Traversable:
    """Return the folder they are in."""
    return files("lwdna") / "recipes"


def _names(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")
