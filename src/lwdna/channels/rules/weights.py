"""Operators that weights pass through before they are used: norms, draws, exchanges of memory."""

from __future__ import annotations

from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.elementwise import pointwise
from lwdna.channels.rules.table import register_rule


@register_rule("_weight_norm_interface")
def weight_norm(call: Call) -> list[Axes]:
    """Weight v with each slice along ``dim`` scaled to the length g; the others share a norm."""
    axes, magnitudes = call.axes(call["v"]), call.axes(call["g"])
    dim = call.dim(call.get("dim", 0), len(axes))
    for d, axis in enumerate(axes):
        if d != dim:
            call.mark_inexact(axis, "normalised over these weights")
    call.unify(axes[dim], magnitudes[dim])
    return [axes, magnitudes]


@register_rule("norm.Scalar")
def norm(call: Call) -> Axes:
    """One number for the whole tensor."""
    for axis in call.axes(call["self"]):
        call.mark_inexact(axis, "reduced over the channels")
    return ()


@register_rule("cauchy_", "geometric_", "log_normal_", "normal_", "random_", "uniform_")
def drawn(call: Call) -> list[Axes]:
    """A tensor is filled with random values in place, as weights are that begin to exist."""
    return pointwise(call)


@register_rule("set_.source_Tensor")
def exchanged(call: Call) -> Axes:
    """A tensor takes over the memory of another; if both are alike, their axes agree."""
    axes, source = call.axes(call["self"]), call.axes(call["source"])
    put_in_place(call, axes, source)
    return source


def put_in_place(call: Call, axes: Axes, source: Axes) -> None:
    """Let a tensor's axes agree with those of what takes its place; pin them where they cannot."""
    sizes, new = ([sum(part.size for part in axis) for axis in many] for many in (axes, source))
    for position, axis in enumerate(axes):
        if sizes == new:
            call.unify(axis, source[position])
        else:
            call.pin(axis, "a tensor of another shape is put in its place")
