"""Pooling, resampling and padding of space: channels pass through."""

from __future__ import annotations

from math import prod

from lwdna.channels.algebra.layout import (
    Layout,
    Segment,
    cut,
    divide_inner,
    fixed,
    free,
    is_fixed,
    resolve,
    size_of,
)
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule

SPACE = "pooled or resampled as if it were space"


@register_rule(
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "adaptive_avg_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "reflection_pad1d",
    "reflection_pad2d",
    "reflection_pad3d",
    "replication_pad1d",
    "replication_pad2d",
    "replication_pad3d",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "upsample_trilinear3d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
    "_upsample_lanczos2d_aa",
)
def spatial(call: Call) -> list[Axes]:
    """The last 1, 2 or 3 axes are space, the others pass."""
    axes = call.axes(call.tensors[0])
    digits = [letter for letter in call.op if letter in "123"]
    rank = int(digits[0])
    strides = list(call.get("stride") or [0])
    strides *= rank // len(strides)
    space = [
        _along(call, axis, size, stride == 1)
        for axis, size, stride in zip(axes[-rank:], call.shape[-rank:], strides, strict=True)
    ]
    return [(*axes[:-rank], *space) for _ in call.outputs]


def _along(call: Call, axis: Layout, size: int, one_by_one: bool) -> Layout:
    """Return what windows that slide along an axis leave of it.

    Channels may be padded and then averaged with their neighbours (local response normalisation):
    there are as many as before. Windows that move by more than one leave fractions of channels.
    """
    lost = size_of(axis) - size
    if is_fixed(axis) or lost < 0 or not one_by_one:
        call.pin(axis, SPACE)
        return fixed(size)
    head, inside, tail = cut(axis, [(lost + 1) // 2, size, lost // 2], call.blame)
    for end in (head, tail):
        call.pin(end, SPACE)
    call.mark_inexact(inside, "a window slides along the channels")
    return inside


@register_rule("im2col")
def im2col(call: Call) -> Axes:
    """(.., C, H, W) to (.., C k k, positions): the k k offsets are the fast part of a channel."""
    *rest, channels, _, _ = call.axes(call["self"])
    factor = prod(call["kernel_size"])
    wide = tuple(Segment(o, u, i * factor) for o, u, i in resolve(channels))
    return (*rest, wide, fixed(call.shape[-1]))


@register_rule("col2im")
def col2im(call: Call) -> Axes:
    """(.., C k k, positions) to (.., C, H, W)."""
    *rest, wide, _ = call.axes(call["self"])
    channels = divide_inner(resolve(wide), prod(call["kernel_size"]), call.blame)
    return (*rest, channels, fixed(call.shape[-2]), fixed(call.shape[-1]))


@register_rule("unfold")
def unfold(call: Call) -> Axes:
    """Windows along one axis, their entries in a new last axis."""
    axes = list(call.axes(call["self"]))
    dim = call.dim(call["dimension"], len(axes))
    call.pin(axes[dim], "windows slide along the channels")
    axes[dim] = fixed(call.shape[dim])
    return (*axes, fixed(call.shape[-1]))


@register_rule("constant_pad_nd")
def constant_pad(call: Call) -> Axes:
    """Padding channels adds fresh ones (zero-padded shortcuts); padding space changes nothing."""
    axes = list(call.axes(call["self"]))
    pad = call["pad"]
    for k in range(len(pad) // 2):
        axis = len(axes) - 1 - k
        before, after = pad[2 * k], pad[2 * k + 1]
        axes[axis] = _padded(call, axes[axis], before, after, call.shape[axis])
    return tuple(axes)


def _padded(call: Call, layout: Layout, before: int, after: int, size: int) -> Layout:
    if before == after == 0:
        return layout
    if is_fixed(layout):
        return fixed(size)
    if before < 0 or after < 0:
        length = sum(part.size for part in layout)
        head, tail = max(0, -before), max(0, -after)
        layout = cut(layout, [head, length - head - tail, tail], call.blame)[1]
    left = free(before) if before > 0 else ()
    right = free(after) if after > 0 else ()
    return (*left, *layout, *right)
