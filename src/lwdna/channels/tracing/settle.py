"""What a network keeps from one run for the next: hooks, modules, caches and flags."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from lwdna.channels.copies.skeleton import held_tensors
from lwdna.channels.graph.structure import Cache

DEPTH = 4
"""Containers within containers that are looked through."""

_PLAIN = (bool, int, float, str, bytes)
_CONTAINERS = (dict, list, tuple, set, frozenset)
_APART = (nn.Module, Tensor, type, FunctionType, MethodType, ModuleType)


class Memory:
    """All that the modules of a network hold on to, to see whether a run has changed it.

    Values of tensors do not count: what matters is whether the next run might take another path.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = set(model.modules())
        self._empty = {
            path: {
                name: _is_empty(value)
                for held in (vars(module), module._parameters, module._buffers, module._modules)
                for name, value in held.items()
            }
            for path, module in model.named_modules()
        }
        self._before = list(_held(model))

    def changed(self) -> bool:
        """Return whether anything was added, removed or replaced since."""
        now = list(_held(self.model))
        return len(now) != len(self._before) or not all(map(_same, self._before, now))

    def caches(self) -> Iterator[Cache]:
        """Yield attributes that hold tensors now and were missing, None or empty before."""
        modules = dict(self.model.named_modules())
        for path, empty in self._empty.items():
            for name, value in vars(modules[path]).items() if path in modules else ():
                if empty.get(name, True) and next(held_tensors({name: value}), None) is not None:
                    yield Cache(path, name, name in empty)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, _CONTAINERS) and not value)


def _same(one: Any, two: Any) -> bool:
    return one is two or (type(one) is type(two) and isinstance(one, _PLAIN) and one == two)


def _held(model: nn.Module) -> Iterator[Any]:
    seen: set[int] = set()
    for module in model.modules():
        yield module
        yield from _inside(vars(module), DEPTH, seen)


def _inside(value: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    """Yield what a container or plain object holds, and what that holds."""
    if id(value) in seen or not depth:
        return
    seen.add(id(value))
    for item in value.values() if isinstance(value, dict) else value:
        yield item
        if item is None or isinstance(item, _PLAIN):
            continue
        if isinstance(item, _CONTAINERS):
            yield from _inside(item, depth - 1, seen)
        elif hasattr(item, "__dict__") and not isinstance(item, _APART):
            yield from _inside(vars(item), depth - 1, seen)
