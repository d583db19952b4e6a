"""Integers that modules keep: lengths of which nothing is known, while a network is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lwdna.channels.algebra.layout import Layout
from lwdna.channels.algebra.lengths import Length, setting
from lwdna.channels.copies.skeleton import LAYER_SIZES


@dataclass(frozen=True)
class Follower:
    """An attribute that follows an axis, as long as the groups may still change."""

    module: str
    name: str
    index: int | None
    layout: Layout


def lengths_in_place(model: nn.Module) -> list[Follower]:
    """Replace the integers that modules keep by lengths of which nothing is known yet."""
    found: list[Follower] = []

    def length(value: Any, path: str, name: str, index: int | None = None) -> Any:
        if type(value) is not int or value < 2:
            return value
        found.append(Follower(path, name, index, setting(value)))
        return Length.of(found[-1].layout)

    for path, module in model.named_modules():
        owned = {
            name
            for kind, names in LAYER_SIZES.items()
            if isinstance(module, kind)
            for name in names
        }
        for name, value in list(vars(module).items()):
            if name.startswith("_") or name in owned:
                continue
            if type(value) in (list, tuple):
                items = [length(item, path, name, i) for i, item in enumerate(value)]
                vars(module)[name] = type(value)(items)
            elif type(value) is int:
                vars(module)[name] = length(value, path, name)
    return found
