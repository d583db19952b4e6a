"""Functions of a network's code that remember results, which must not be fake tensors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import _lru_cache_wrapper
from types import FunctionType
from typing import Any

from torch import nn


def memoised(model: nn.Module) -> list[Any]:
    """Return the functions under ``functools.lru_cache`` beside and in the classes of a network."""
    classes = {base for kind in set(map(type, model.modules())) for base in kind.__mro__}
    places: list[Any] = [cls for cls in classes if not cls.__module__.startswith("torch.")]
    places += {id(m): m for cls in places if (m := sys.modules.get(cls.__module__))}.values()
    return list(
        {id(function): function for place in places for function in _inside(place)}.values()
    )


def _inside(place: Any) -> Iterator[Any]:
    for value in list(vars(place).values()):
        function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        yield from (one for one in (function, *_enclosed(function)) if _remembers(one))


def _enclosed(function: Any) -> Iterator[Any]:
    """Yield what a decorator's function holds on to."""
    for cell in (isinstance(function, FunctionType) and function.__closure__) or ():
        with suppress(ValueError):  # an empty cell
            yield cell.cell_contents


def _remembers(function: Any) -> bool:
    return isinstance(function, _lru_cache_wrapper)
