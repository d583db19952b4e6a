"""Space sampled where other tensors say: grids, maxima remembered, random windows."""

from __future__ import annotations

from lwdna.channels.algebra.layout import fixed
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.pool import SPACE
from lwdna.channels.rules.table import register_rule


@register_rule("grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback")
def grid_sample(call: Call) -> Axes:
    """(B, C, *space) at the places of a grid, (B, *places, 2 or 3): channels pass."""
    batch, channels, *space = call.axes(call["input"])
    images, *places, coordinates = call.axes(call["grid"])
    call.unify(batch, images)
    for axis in (*space, coordinates):
        call.pin(axis, SPACE)
    return (batch, channels, *places)


@register_rule("affine_grid_generator")
def affine_grid(call: Call) -> Axes:
    """(B, 2, 3) to a grid, (B, H, W, 2), or with one dimension more."""
    batch, *matrix = call.axes(call["theta"])
    for axis in matrix:
        call.pin(axis, SPACE)
    return (batch, *call.plain()[0][1:])


@register_rule("max_unpool2d", "max_unpool3d")
def max_unpool(call: Call) -> Axes:
    """Values go back to where a pooling of another tensor, or of the same, has found its maxima."""
    axes = call.axes(call["self"])
    rank = int(call.op[-2])
    for axis, other in zip(axes, call.axes(call["indices"]), strict=True):
        call.unify(axis, other)
    for axis in axes[-rank:]:
        call.pin(axis, SPACE)
    return (*axes[:-rank], *(fixed(size) for size in call.shape[-rank:]))


@register_rule("fractional_max_pool2d", "fractional_max_pool3d")
def fractional_pool(call: Call) -> list[Axes]:
    """Windows of random size: each channel of each image has random numbers of its own."""
    rank = int(call.op[-2])
    *rest, channels = call.axes(call["self"])[:-rank]
    images, own, axes = call.axes(call["random_samples"])
    call.unify(channels, own)
    if rest:
        call.unify(rest[0], images)
    for axis in (*call.axes(call["self"])[-rank:], axes):
        call.pin(axis, SPACE)
    size = tuple(fixed(size) for size in call.shape[-rank:])
    return [(*rest, channels, *size) for _ in call.outputs]
