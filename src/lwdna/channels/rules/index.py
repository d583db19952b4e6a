"""Gathering and scattering entries by index tensors.

The axis along which an index chooses keeps its length, as nobody sees what an index says. The
other axes pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lwdna.channels.algebra.layout import Layout, fixed, size_of
from lwdna.channels.rules.call import Axes, Call, broadcast
from lwdna.channels.rules.table import register_rule

PICKED = "channels are picked by index"


@register_rule("index.Tensor", "_unsafe_index.Tensor")
def index(call: Call) -> Axes:
    """Axes picked from by index or mask keep their length; the others pass."""
    axes, start, rank = _remaining(call)
    counts = [fixed(size) for size in call.shape[start : start + rank]]
    picked = call.get("indices")
    if not any(_is_mask(item) for item in picked):
        counts = list(broadcast(call, [item for item in picked if item is not None]))
    return (*axes[:start], *counts, *axes[start:])


@register_rule("index_put", "_index_put_impl_", "_unsafe_index_put")
def index_put(call: Call) -> Axes:
    """Values take the place of what an index would pick."""
    axes, start, rank = _remaining(call)
    whole = [*axes[:start], *[None] * rank, *axes[start:]]
    values = call["values"]
    for axis, other in zip(reversed(whole), reversed(call.axes(values)), strict=False):
        _fill(call, axis, other)
    return call.axes(call["self"])


def _remaining(call: Call) -> tuple[list[Layout], int, int]:
    """Pin the axes that ``indices`` pick from.

    Returns:
        The other axes, and where among them how many axes of what is picked stand.
    """
    axes = call.axes(call["self"])
    indices: Sequence[Tensor | None] = call["indices"]
    taken: list[int] = []
    rank, position = 0, 0
    for item in indices:
        if item is None:
            position += 1
            continue
        covered = item.ndim if _is_mask(item) else 1
        for axis in call.axes(item) if _is_mask(item) else ():
            call.pin(axis, "entries are picked by a mask")
        taken += range(position, position + covered)
        position += covered
        rank = max(rank, 1 if _is_mask(item) else item.ndim)
    for d in taken:
        call.pin(axes[d], PICKED)
    positions = [d for d, item in enumerate(indices) if item is not None]
    together = positions == list(range(positions[0], positions[-1] + 1))
    rest = [axis for d, axis in enumerate(axes) if d not in taken]
    return rest, taken[0] if together else 0, rank


def _is_mask(item: Tensor | None) -> bool:
    return item is not None and item.dtype in (torch.bool, torch.uint8)


def _fill(call: Call, axis: Layout | None, values: Layout) -> None:
    """Let an axis of values agree with the one they fill, unless a single one fills all of it."""
    if axis is not None and size_of(axis) == size_of(values):
        call.unify(axis, values)
    else:
        call.pin(values, "values are put where an index says")


@register_rule("index_select")
def index_select(call: Call) -> Axes:
    """One axis is picked from."""
    axes = list(call.axes(call["self"]))
    dim = call.dim(call["dim"], len(axes))
    call.pin(axes[dim], PICKED)
    axes[dim] = fixed(call.shape[dim])
    return tuple(axes)


@register_rule("index_add", "index_copy", "index_fill", "index_reduce")
def index_into(call: Call) -> Axes:
    """Entries of one axis are replaced by those of a source that has the others."""
    axes = call.axes(call["self"])
    dim = call.dim(call["dim"], len(axes))
    call.pin(axes[dim], PICKED)
    source = call.get("source")
    if source is not None and source.ndim == len(axes):
        for d, other in enumerate(call.axes(source)):
            _fill(call, None if d == dim else axes[d], other)
    return axes


@register_rule("gather")
def gather(call: Call) -> Axes:
    """Each entry of the index, which has the other axes too, picks along one axis."""
    axes, result = call.axes(call["self"]), call.axes(call["index"])
    if not axes or not result:
        return call.plain()[0]
    dim = call.dim(call["dim"], len(axes))
    for d, (axis, other) in enumerate(zip(axes, result, strict=True)):
        if d == dim:
            call.pin(axis, PICKED)
        elif size_of(axis) == size_of(other):
            call.unify(axis, other)
        else:  # an index may be shorter
            call.pin(axis, PICKED)
    return result


@register_rule("scatter", "scatter_add", "scatter_reduce")
def scatter(call: Call) -> Axes:
    """Each entry of a source goes where the index, which has the same axes, says along one axis."""
    axes = call.axes(call["self"])
    source = call.get("src")
    parts = [call["index"], *([source] if isinstance(source, Tensor) else [])]
    if not axes:
        return axes
    dim = call.dim(call["dim"], len(axes))
    call.pin(axes[dim], PICKED)
    for tensor in parts:
        for d, other in enumerate(call.axes(tensor)):
            if d != dim and size_of(axes[d]) != size_of(other):
                call.pin(axes[d], PICKED)
            _fill(call, None if d == dim else axes[d], other)
    return axes


@register_rule("slice_scatter", "select_scatter", "diagonal_scatter")
def scatter_part(call: Call) -> Axes:
    """A part of the axes is replaced by a source that has the others."""
    axes, source = call.axes(call["self"]), call.axes(call["src"])
    if call.op == "diagonal_scatter":
        dims = {call.dim(call[name], len(axes)) for name in ("dim1", "dim2")}
    else:
        dims = {call.dim(call["dim"], len(axes))}
    for d in dims:
        call.pin(axes[d], "a part of the channels is replaced")
    rest = [axis for d, axis in enumerate(axes) if d not in dims]
    if call.op == "slice_scatter":
        (dim,) = dims
        rest.insert(dim, fixed(size_of(source[dim])))
    elif call.op == "diagonal_scatter":
        rest.append(fixed(size_of(source[-1])))
    for axis, other in zip(rest, source, strict=True):
        call.unify(axis, other)
    return axes


@register_rule("take", "put")
def flat(call: Call) -> Axes:
    """An index counts through all entries in order, so no axis may change."""
    for tensor in (call["self"], call.get("source")):
        for axis in call.axes(tensor) if isinstance(tensor, Tensor) else ():
            call.pin(axis, "entries are picked by their number among all")
    return call.axes(call["index"] if call.op == "take" else call["self"])


@register_rule(
    "_unique2",
    "masked_scatter",
    "masked_select",
    "nonzero",
    "nonzero_static",
    "unique_consecutive",
    "unique_dim",
)
def by_value(call: Call) -> list[Axes]:
    """How many entries there are follows from values."""
    for tensor in call.tensors:
        for axis in call.axes(tensor):
            call.pin(axis, "entries are chosen by their values")
    return call.plain()


@register_rule("as_strided", "as_strided_")
def as_strided(call: Call) -> Axes:
    """Another memory order of the same tensor changes nothing; anything else is opaque."""
    axes = call.axes(call["self"])
    if [size_of(axis) for axis in axes] == list(call.shape):
        return axes
    for axis in axes:
        call.pin(axis, "seen through its memory layout")
    return call.plain()[0]
