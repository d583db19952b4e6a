"""The tensors in what a network returns, in whatever form it returns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

_DEPTH = 8
"""Objects inside one another that are looked into; results are no deeper, graphs of objects are."""


def tensors_in(value: Any) -> list[Tensor]:
    """Return every tensor once: in lists, dicts, data classes and attributes of other objects."""
    found: dict[int, Tensor] = {}
    for tensor in _walk(value, set(), _DEPTH):
        found.setdefault(id(tensor), tensor)
    return list(found.values())


def _walk(value: Any, seen: set[int], depth: int) -> Iterator[Tensor]:
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
            continue
        if id(leaf) in seen or depth == 0:
            continue
        seen.add(id(leaf))
        if isinstance(leaf, Mapping):  # of a class that torch does not know
            inside = list(leaf.values())
        elif isinstance(leaf, Set | list | tuple):
            inside = list(leaf)
        elif isinstance(leaf, nn.Module | type):
            continue
        else:
            inside = []
        inside += getattr(leaf, "__dict__", {}).values()
        slots = (name for base in type(leaf).__mro__ for name in _slots(base))
        inside += [getattr(leaf, name, None) for name in slots]
        for one in inside:
            yield from _walk(one, seen, depth - 1)


def _slots(base: type) -> tuple[str, ...]:
    slots = vars(base).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
