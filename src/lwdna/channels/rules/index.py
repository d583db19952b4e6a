"""Gathering entries by index tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.channels.algebra.layout import fixed, size_of
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule


@register_rule("index.Tensor", "_unsafe_index.Tensor")
def index(call: Call) -> Axes:
    """Axes picked from by index keep their length; the others pass."""
    axes = call.axes(call["self"])
    indices: list[Tensor | None] = []
    for item in call["indices"]:  # a mask stands for one index tensor per axis of its own
        mask = item is not None and item.dtype in (torch.bool, torch.uint8)
        indices += [item] * (item.ndim if mask else 1)
        if mask:
            for axis in call.axes(item):
                call.pin(axis, "entries are picked by a mask")
    indices += [None] * (len(axes) - len(indices))
    taken = [d for d, item in enumerate(indices) if item is not None]
    for d in taken:
        call.pin(axes[d], "channels are picked by index")
    rank = len(call.shape) - (len(axes) - len(taken))
    contiguous = taken == list(range(taken[0], taken[-1] + 1))
    start = taken[0] if contiguous else 0
    rest = [axis for d, axis in enumerate(axes) if d not in taken]
    picked = [fixed(size) for size in call.shape[start : start + rank]]
    return (*rest[:start], *picked, *rest[start:])


@register_rule("index_select")
def index_select(call: Call) -> Axes:
    """One axis is picked from."""
    axes = list(call.axes(call["self"]))
    dim = call.dim(call["dim"], len(axes))
    call.pin(axes[dim], "channels are picked by index")
    axes[dim] = fixed(call.shape[dim])
    return tuple(axes)


@register_rule("as_strided", "as_strided_")
def as_strided(call: Call) -> Axes:
    """Another memory order of the same tensor changes nothing; anything else is opaque."""
    axes = call.axes(call["self"])
    if [size_of(axis) for axis in axes] == list(call.shape):
        return axes
    for axis in axes:
        call.pin(axis, "seen through its memory layout")
    return call.plain()[0]
