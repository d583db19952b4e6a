"""Views: reshape, permute, squeeze, expand and pixel shuffle."""

from __future__ import annotations

from lwdna.channels.algebra.layout import (
    Segment,
    cut_equal,
    divide_inner,
    fixed,
    free,
    reshape,
    resolve,
    size_of,
)
from lwdna.channels.algebra.lengths import Length
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule


@register_rule(
    "view", "_unsafe_view", "_reshape_alias", "reshape", "flatten", "_reshape_copy", "unflatten"
)
def view(call: Call) -> Axes:
    """Row-major merging and splitting of axes, which follow the sizes they were asked for with."""
    asked = call.asked_for(call.shape)
    hints = [_likely_to_vary(axis, size) for axis, size in enumerate(asked)]
    axes = reshape(call.axes(call["self"]), call.shape, call.blame, hints)
    for axis, size in zip(axes, asked, strict=True):
        call.tie(axis, size)
    return tuple(axes)


def _likely_to_vary(axis: int, size: int) -> int:
    """Rank a size asked for: what torch works out and what follows a width, then plain numbers."""
    if isinstance(size, Length):
        return size.vary
    return 2 if size == -1 and axis > 0 else 0  # a first axis of -1 is a batch


@register_rule("permute")
def permute(call: Call) -> Axes:
    """Axes in another order."""
    axes = call.axes(call["self"])
    return tuple(axes[call.dim(d, len(axes))] for d in call["dims"])


@register_rule("transpose", "t")
def transpose(call: Call) -> Axes:
    """Two axes change places."""
    axes = list(call.axes(call["self"]))
    if len(axes) < 2:
        return tuple(axes)
    one = call.dim(call.get("dim0", 0), len(axes))
    two = call.dim(call.get("dim1", 1), len(axes))
    axes[one], axes[two] = axes[two], axes[one]
    return tuple(axes)


@register_rule("unsqueeze")
def unsqueeze(call: Call) -> Axes:
    """A new axis of length one."""
    axes = list(call.axes(call["self"]))
    axes.insert(call.dim(call["dim"], len(axes) + 1), fixed(1))
    return tuple(axes)


@register_rule("squeeze", "squeeze.dim", "squeeze.dims")
def squeeze(call: Call) -> Axes:
    """Axes of length one vanish."""
    axes = call.axes(call["self"])
    dims = call.get("dim")
    if dims is None:
        dims = range(len(axes))
    elif isinstance(dims, int):
        dims = [dims]
    gone = {d for d in (call.dim(d, len(axes)) for d in dims) if size_of(axes[d]) == 1}
    for d in gone:
        call.pin(axes[d], "a single channel is squeezed away")
    return tuple(axis for d, axis in enumerate(axes) if d not in gone)


@register_rule("expand", "expand_copy")
def expand(call: Call) -> Axes:
    """Repeated entries are all alike, so a new length fits whatever it meets."""
    axes = call.axes(call["self"])
    offset = len(call.shape) - len(axes)
    result = [free(size) for size in call.shape]
    for d, axis in enumerate(axes):
        if size_of(axis) == call.shape[offset + d]:
            result[offset + d] = axis
        else:
            call.pin(axis, "a single channel is expanded")
    for axis, size in zip(result, call.asked_for(call.shape), strict=True):
        call.tie(axis, size)
    return tuple(result)


@register_rule("tril", "triu")
def triangle(call: Call) -> Axes:
    """Half of a matrix is silenced, so entries depend on where they stand."""
    axes = call.axes(call["self"])
    for axis in axes[-2:]:
        call.mark_inexact(axis, "a triangle of channels is silenced")
    return axes


@register_rule("diagonal")
def diagonal(call: Call) -> Axes:
    """Two axes vanish, their diagonal is a new last one: as long as they if they agree."""
    axes = call.axes(call["self"])
    dims = [call.dim(call[name], len(axes)) for name in ("dim1", "dim2")]
    one, two = (axes[d] for d in dims)
    rest = tuple(axis for d, axis in enumerate(axes) if d not in dims)
    if call["offset"] == 0 and resolve(one) == resolve(two):
        return (*rest, one)
    for axis in (one, two):
        call.pin(axis, "a diagonal is taken")
    return (*rest, fixed(call.shape[-1]))


@register_rule("diag_embed")
def diag_embed(call: Call) -> Axes:
    """The last axis becomes the diagonal of two new ones."""
    *axes, last = call.axes(call["self"])
    if call["offset"] != 0:
        call.pin(last, "a diagonal is shifted")
    for d in sorted(call.dim(call[name], len(axes) + 2) for name in ("dim1", "dim2")):
        axes.insert(d, last if call["offset"] == 0 else fixed(call.shape[d]))
    return tuple(axes)


@register_rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(call: Call) -> Axes:
    """(B, g C, ..) seen as (g, C) and transposed: the g groups become the fast part."""
    batch, channels, *space = call.axes(call["self"])
    groups = call["groups"]
    part = cut_equal(channels, groups, call.blame)
    return (batch, tuple(Segment(o, u, i * groups) for o, u, i in resolve(part)), *space)


@register_rule("pixel_shuffle")
def pixel_shuffle(call: Call) -> Axes:
    """(.., C r r, H, W) to (.., C, H r, W r): the r r positions are the fast part of a channel."""
    *rest, channels, _, _ = call.axes(call["self"])
    factor = call["upscale_factor"] ** 2
    return (
        *rest,
        divide_inner(resolve(channels), factor, call.blame),
        fixed(call.shape[-2]),
        fixed(call.shape[-1]),
    )


@register_rule("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Axes:
    """(.., C, H r, W r) to (.., C r r, H, W)."""
    *rest, channels, _, _ = call.axes(call["self"])
    factor = call["downscale_factor"] ** 2
    wide = tuple(Segment(o, u, i * factor) for o, u, i in resolve(channels))
    return (*rest, wide, fixed(call.shape[-2]), fixed(call.shape[-1]))
