"""Sorting, and what follows from an order: the largest, the middle, positions among others."""

from __future__ import annotations

from torch import Tensor

from lwdna.channels.algebra.layout import fixed
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule


@register_rule("sort", "argsort", "msort")
def sort(call: Call) -> list[Axes]:
    """The axis keeps its length, but who stands where depends on all of it."""
    axes = call.axes(call["self"])
    if axes:
        dim = call.get("dim", 0 if call.op == "msort" else -1)
        call.mark_inexact(axes[call.dim(dim, len(axes))], "sorted along the channels")
    return [axes for _ in call.outputs]


@register_rule("topk")
def topk(call: Call) -> list[Axes]:
    """So many of one axis, which cannot become shorter than that; the others pass."""
    axes = list(call.axes(call["self"]))
    if axes:
        dim = call.dim(call["dim"], len(axes))
        call.pin(axes[dim], "a number of channels is chosen by value")
        axes[dim] = fixed(call.shape[dim])
    return [tuple(axes) for _ in call.outputs]


@register_rule("kthvalue")
def kthvalue(call: Call) -> list[Axes]:
    """The entry of one rank along an axis, which cannot become shorter than that."""
    axes = list(call.axes(call["self"]))
    if axes:
        dim = call.dim(call["dim"], len(axes))
        call.pin(axes[dim], "a channel is chosen by its rank")
        axes[dim : dim + 1] = [fixed(1)] if call["keepdim"] else []
    return [tuple(axes) for _ in call.outputs]


@register_rule("searchsorted", "bucketize")
def position(call: Call) -> Axes:
    """Where values stand in a sorted axis: the result has the values' axes.

    The sorted values are one list for all, or one for each entry of the leading axes.
    """
    name = "boundaries" if call.op == "bucketize" else "sorted_sequence"
    *rows, row = call.axes(call[name])
    call.pin(row, "values are looked up among the channels")
    values = call["self"]
    axes = call.axes(values) if isinstance(values, Tensor) else ()
    for own, other in zip(rows, axes, strict=False):
        call.unify(own, other)
    return axes


@register_rule("isin")
def is_in(call: Call) -> Axes:
    """Whether each value is one of a set; the set is as large as it is."""
    known = call.get("test_elements")
    for axis in call.axes(known) if isinstance(known, Tensor) else ():
        call.pin(axis, "values are looked up among the channels")
    elements = call.get("elements")
    return call.axes(elements) if isinstance(elements, Tensor) else ()


@register_rule("histc", "bincount")
def histogram(call: Call) -> list[Axes]:
    """How often values occur, wherever they stand."""
    for tensor in call.tensors:
        for axis in call.axes(tensor):
            call.mark_inexact(axis, "counted over the channels")
    return call.plain()
