"""What a network keeps from one run for the next: hooks, modules, caches and flags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from lwdna.channels.copies.skeleton import DEPTH, contents, held_tensors
from lwdna.channels.graph.structure import Cache

_PLAIN = (bool, int, float, str, bytes)
_CONTAINERS = (dict, list, tuple, set, frozenset)


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

    def filled(self) -> dict[Cache, list[Tensor]]:
        """Return attributes that hold tensors now and were missing, None or empty before."""
        found: dict[Cache, list[Tensor]] = {}
        for path, module in self.model.named_modules():
            before = self._empty.get(path, {})
            for name in vars(module) if path in self._empty else ():
                if before.get(name, True):
                    tensors = list(held_tensors([module], name))
                    if tensors:
                        found[Cache(path, name, name in before)] = tensors
        return found


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, _CONTAINERS) and not value)


def _same(one: Any, two: Any) -> bool:
    return one is two or (type(one) is type(two) and isinstance(one, _PLAIN) and one == two)


def _held(model: nn.Module) -> Iterator[Any]:
    seen: set[int] = set()
    for module in model.modules():
        yield module
        yield from _inside(vars(module).values(), DEPTH, seen)


def _inside(values: Iterable[Any], depth: int, seen: set[int]) -> Iterator[Any]:
    """Yield values, and what those hold that are containers or plain objects."""
    for value in values:
        yield value
        if value is None or isinstance(value, _PLAIN) or not depth or id(value) in seen:
            continue
        seen.add(id(value))
        yield from _inside(contents(value), depth - 1, seen)
