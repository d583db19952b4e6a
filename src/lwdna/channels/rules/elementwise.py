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
    "_conj",
    "_conj_physical",
    "_neg_view",
    "alias",
    "bernoulli",
    "bernoulli_",
    "celu",
    "clone",
    "complex",
    "contiguous",
    "detach",
    "detach_",
    "copy",
    "dropout",
    "elu",
    "hardsigmoid",
    "hardtanh",
    "ldexp",
    "leaky_relu",
    "lift",
    "lift_fresh",
    "native_dropout",
    "_to_copy",
    "copy_",
    "empty_like",
    "fill",
    "floor_divide",
    "full_like",
    "hardswish",
    "log_sigmoid_forward",
    "masked_fill",
    "rsub",
    "exponential",
    "normal.Tensor_Tensor",
    "normal.Tensor_float",
    "normal.float_Tensor",
    "normal_functional",
    "poisson",
    "ones_like",
    "polar",
    "rand_like",
    "randint_like",
    "randn_like",
    "zero",
    "zeros_like",
    "rrelu_with_noise",
    "selu",
    "_prelu_kernel",
)
def same_axes(call: Call) -> list[Axes]:
    """Operators that keep the shape and are not tagged pointwise (by every torch since 2.8)."""
    return pointwise(call)


@register_rule(
    "empty",
    "empty_strided",
    "full",
    "new_empty",
    "new_empty_strided",
    "new_full",
    "new_ones",
    "new_zeros",
    "normal.float_float",
    "ones",
    "rand",
    "randint",
    "randn",
    "zeros",
)
def uniform(call: Call) -> list[Axes]:
    """All entries are alike, or drawn alike, so the axes fit whatever they meet.

    The second run checks it.
    """
    return [tuple(free(size) for size in output.shape) for output in call.outputs]


@register_rule("arange", "linspace", "logspace")
def positions(call: Call) -> Axes:
    """Numbered entries have any length; the second run sees where their values enter channels."""
    return (free(call.shape[0]),)


@register_rule("eye")
def eye(call: Call) -> Axes:
    """An identity, wherever it stands: the same channels on both axes."""
    rows = free(call.shape[0])
    return (rows, rows if call.shape[1] == call.shape[0] else free(call.shape[1]))
