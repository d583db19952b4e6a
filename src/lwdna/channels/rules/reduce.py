"""Reductions and normalisations along axes."""

from __future__ import annotations

from lwdna.channels.algebra.layout import fixed
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule


@register_rule(
    "all.dim",
    "all.dims",
    "amax",
    "amin",
    "any.dim",
    "any.dims",
    "argmax",
    "argmin",
    "linalg_vector_norm",
    "logsumexp",
    "max.dim",
    "mean",
    "mean.dim",
    "min.dim",
    "norm.ScalarOpt_dim",
    "prod.dim_int",
    "std.correction",
    "sum",
    "sum.dim_IntList",
    "var.correction",
    "var_mean.correction",
)
def reduction(call: Call) -> list[Axes]:
    """Reduced axes vanish; reducing over channels mixes all of them."""
    axes = call.axes(call.tensors[0])
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


@register_rule("_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp", "_safe_softmax")
def along(call: Call) -> Axes:
    """Every entry depends on the whole axis, which keeps its length."""
    axes = call.axes(call.tensors[0])
    call.mark_inexact(axes[call.dim(call["dim"], len(axes))], "normalised along the channels")
    return axes
