"""Elementwise operators, copies and tensors made from scratch."""

from __future__ import annotations

from lwdna.channels.algebra.layout import free
from lwdna.channels.rules.call import Axes, Call, broadcast
from lwdna.channels.rules.table import register_rule


def pointwise(call: Call) -> list[Axes]:
    """Axes that broadcasting aligns agree; the rule of every operator tagged pointwise."""
    axes = broadcast(call, call.tensors)
    return [axes for _ in call.outputs]


@register_rule(
    "_conj_physical",
    "alias",
    "bernoulli",
    "bernoulli_",
    "celu",
    "clone",
    "contiguous",
    "detach",
    "detach_",
    "dropout",
    "elu",
    "hardsigmoid",
    "hardtanh",
    "ldexp",
    "leaky_relu",
    "lift_fresh",
    "native_dropout",
    "_to_copy",
    "copy_",
    "fill_",
    "zero_",
    "empty_like",
    "full_like",
    "hardswish",
    "log_sigmoid_forward",
    "masked_fill",
    "rsub",
    "exponential",
    "ones_like",
    "rand_like",
    "randn_like",
    "zeros_like",
    "rrelu_with_noise",
    "selu",
    "_prelu_kernel",
)
def same_axes(call: Call) -> list[Axes]:
    """Operators that keep the shape and are not tagged pointwise (by every torch since 2.8)."""
    return pointwise(call)


@register_rule("empty", "full", "new_empty", "new_full", "new_ones", "new_zeros", "ones", "zeros")
def uniform(call: Call) -> list[Axes]:
    """All entries are alike, so the axes fit whatever they meet; the second run checks it."""
    return [tuple(free(size) for size in output.shape) for output in call.outputs]


@register_rule("arange", "linspace", "logspace")
def positions(call: Call) -> Axes:
    """Numbered entries have any length; the second run sees where their values enter channels."""
    return (free(call.shape[0]),)
