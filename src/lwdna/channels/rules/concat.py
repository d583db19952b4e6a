"""Joining and taking apart: cat, stack, split, slice, select, repeat."""

from __future__ import annotations

from lwdna.channels.algebra.layout import (
    Layout,
    cut,
    cut_equal,
    fixed,
    free,
    is_fixed,
    resolve,
    size_of,
)
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule


@register_rule("cat")
def cat(call: Call) -> Axes:
    """Layouts follow one another along the axis; the other axes agree."""
    tensors = [tensor for tensor in call.tensors if tensor.ndim == len(call.shape)]
    dim = call.dim(call.get("dim", 0), len(call.shape))
    first = call.axes(tensors[0])
    joined: list[Layout] = []
    for tensor in tensors:
        axes = call.axes(tensor)
        joined.append(axes[dim])
        for d, axis in enumerate(axes):
            if d != dim:
                call.unify(first[d], axis)
    along = resolve(tuple(segment for layout in joined for segment in layout))
    return tuple(along if d == dim else axis for d, axis in enumerate(first))


@register_rule("stack")
def stack(call: Call) -> Axes:
    """All inputs agree; the new axis counts them."""
    tensors = call.tensors
    dim = call.dim(call.get("dim", 0), len(call.shape))
    axes = list(call.axes(tensors[0]))
    for tensor in tensors[1:]:
        for left, right in zip(axes, call.axes(tensor), strict=True):
            call.unify(left, right)
    axes.insert(dim, fixed(len(tensors)))
    return tuple(axes)


@register_rule(
    "chunk",
    "split",
    "split.Tensor",
    "split_with_sizes",
    "unsafe_chunk",
    "unsafe_split",
    "unsafe_split_with_sizes",
)
def split(call: Call) -> list[Axes]:
    """Equal parts stay equal; parts asked for by their sizes are independent."""
    axes = call.axes(call["self"])
    dim = call.dim(call.get("dim", 0), len(axes))
    sizes = [output.shape[dim] for output in call.outputs]
    if (
        call.op in ("split.Tensor", "chunk", "unsafe_chunk", "split", "unsafe_split")
        and sizes[-1] < sizes[0]
    ):
        call.pin(axes[dim], "cut into chunks of unequal size")
    if call.op.endswith("split_with_sizes") or len(set(sizes)) > 1:
        parts = cut(axes[dim], sizes, call.blame)
    else:
        parts = [cut_equal(axes[dim], len(sizes), call.blame)] * len(sizes)
    for part, size, asked in zip(parts, sizes, call.asked, strict=False):
        if size == asked:
            call.tie(part, asked)
    return [tuple(part if d == dim else axis for d, axis in enumerate(axes)) for part in parts]


@register_rule("slice.Tensor")
def slice_(call: Call) -> Axes:
    """A contiguous range of channels is a part of the layout."""
    axes = list(call.axes(call["self"]))
    dim = call.dim(call.get("dim", 0), len(axes))
    size, taken = size_of(axes[dim]), call.shape[dim]
    if taken == size:
        return tuple(axes)
    if is_fixed(axes[dim]) or call.get("step", 1) != 1:
        call.pin(axes[dim], "sliced with a step")
        axes[dim] = fixed(taken)
        return tuple(axes)
    start = call.get("start") or 0
    start = max(0, start + size if start < 0 else start)
    before, axes[dim], _ = cut(axes[dim], [start, taken, size - start - taken], call.blame)
    for asked in call.asked:
        if asked == start:
            call.tie(before, asked)
        elif asked == start + taken:
            call.tie((*before, *axes[dim]), asked)
    return tuple(axes)


@register_rule("select.int", "unbind.int")
def select(call: Call) -> list[Axes]:
    """Taking single entries of an axis fixes its length."""
    axes = call.axes(call["self"])
    dim = call.dim(call.get("dim", 0), len(axes))
    call.pin(axes[dim], "single channels are selected")
    rest = tuple(axis for d, axis in enumerate(axes) if d != dim)
    return [rest for _ in call.outputs]


@register_rule("flip", "roll")
def reorder(call: Call) -> Axes:
    """Reordering space is harmless; reordered channels are as many, but others."""
    axes = list(call.axes(call["self"]))
    dims = call["dims"] or range(len(axes))  # rolled without axes: as if all were one
    for d in {call.dim(d, len(axes)) for d in dims}:
        call.mark_inexact(axes[d], "channels are reordered")
        if call.op == "flip":
            axes[d] = tuple(reversed(axes[d]))
    return tuple(axes)


@register_rule("rot90")
def rot90(call: Call) -> Axes:
    """A quarter turn exchanges two axes and reverses one of them."""
    axes = list(call.axes(call["self"]))
    one, two = (call.dim(d, len(axes)) for d in call["dims"])
    for d in (one, two):
        call.mark_inexact(axes[d], "channels are reordered")
    if call["k"] % 2:
        axes[one], axes[two] = axes[two], axes[one]
    return tuple(axes)


@register_rule("glu")
def glu(call: Call) -> Axes:
    """The first half of an axis times a gate of the second."""
    axes = list(call.axes(call["self"]))
    dim = call.dim(call["dim"], len(axes))
    axes[dim] = cut_equal(axes[dim], 2, call.blame)
    return tuple(axes)


@register_rule("repeat")
def repeat(call: Call) -> Axes:
    """Whole copies one after the other."""
    axes = list(call.axes(call["self"]))
    repeats = call["repeats"]
    axes = [fixed(1)] * (len(repeats) - len(axes)) + axes
    return tuple(
        free(count) if size_of(axis) == 1 < count else resolve(tuple(resolve(axis)) * count)
        for axis, count in zip(axes, repeats, strict=True)
    )
