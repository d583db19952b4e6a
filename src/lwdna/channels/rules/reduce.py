"""Reductions and normalisations along axes."""

from __future__ import annotations

from lwdna.channels.algebra.layout import fixed
from lwdna.channels.rules.call import Axes, Call, broadcast
from lwdna.channels.rules.table import register_rule


@register_rule(
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "linalg_vector_norm",
    "logsumexp",
    "max.default",
    "max.dim",
    "mean",
    "median",
    "min.default",
    "min.dim",
    "mode",
    "nanmedian",
    "nansum",
    "norm",
    "prod",
    "std.correction",
    "std_mean.correction",
    "sum",
    "var.correction",
    "var_mean.correction",
)
def reduction(call: Call) -> list[Axes]:
    """Reduced axes vanish; reducing over channels mixes all of them."""
    axes = call.axes(call.tensors[0])
    if not axes:
        return [() for _ in call.outputs]
    dims = call.get("dim")
    if dims is None or dims == []:
        dims = list(range(len(axes)))
    reduced = {call.dim(d, len(axes)) for d in (dims if isinstance(dims, list | tuple) else [dims])}
    for d in reduced:
        call.mark_inexact(axes[d], "reduced over the channels")
    keep = call.get("keepdim", False)
    result = tuple(
        fixed(1) if d in reduced else axis
        for d, axis in enumerate(axes)
        if keep or d not in reduced
    )
    return [result for _ in call.outputs]


@register_rule(
    "_log_softmax",
    "_safe_softmax",
    "_softmax",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "logcumsumexp",
)
def along(call: Call) -> list[Axes]:
    """Every entry depends on the whole axis, which keeps its length."""
    axes = call.axes(call.tensors[0])
    if axes:
        call.mark_inexact(axes[call.dim(call["dim"], len(axes))], "normalised along the channels")
    return [axes for _ in call.outputs]


@register_rule("renorm")
def renorm(call: Call) -> Axes:
    """Each entry of one axis is normalised over all the others."""
    axes = call.axes(call["self"])
    for d, axis in enumerate(axes):
        if d != call.dim(call["dim"], len(axes)):
            call.mark_inexact(axis, "normalised over the channels")
    return axes


@register_rule("dist")
def distance(call: Call) -> Axes:
    """One number for two tensors that agree."""
    for axis in broadcast(call, call.tensors):
        call.mark_inexact(axis, "reduced over the channels")
    return ()


@register_rule(
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "huber_loss",
    "mse_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
)
def loss(call: Call) -> Axes:
    """A number for every entry, or their mean or sum."""
    axes = broadcast(call, call.tensors)
    if not call["reduction"]:
        return axes
    for axis in axes:
        call.mark_inexact(axis, "reduced over the channels")
    return ()
