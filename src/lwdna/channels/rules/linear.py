"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lwdna.channels.algebra.layout import Layout, size_of
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule


def _multiply(call: Call, left: Tensor, right: Tensor, bias: Tensor | None) -> Axes:
    """(.., n, k) times (.., k, m); ``bias`` broadcasts against the result."""
    *batch, rows, inner = call.axes(left)
    *batch_right, inner_right, columns = call.axes(right)
    call.unify(inner, inner_right)
    for one, two in zip(batch, batch_right, strict=True):
        call.unify(one, two)
    result: list[Layout] = [*batch, rows, columns]
    if bias is not None:
        plus(call, result, bias)
    call.macs(1, *batch, rows, inner, columns)
    call.produces(columns)
    return tuple(result)


def plus(call: Call, result: Sequence[Layout], added: Tensor) -> None:
    """Let what is added agree with a result as broadcasting aligns them."""
    for axis, other in zip(reversed(result), reversed(call.axes(added)), strict=False):
        if size_of(axis) == size_of(other):
            call.unify(axis, other)
        else:
            call.pin(other, "a single channel is broadcast")


@register_rule("mm", "bmm")
def mm(call: Call) -> Axes:
    """(n, k) x (k, m), with or without a batch axis."""
    return _multiply(call, call["self"], call["mat2"], None)


@register_rule("addmm")
def addmm(call: Call) -> Axes:
    """Bias plus (n, k) x (k, m): a linear layer."""
    return _multiply(call, call["mat1"], call["mat2"], call["self"])


@register_rule("baddbmm")
def baddbmm(call: Call) -> Axes:
    """Bias plus a batched product."""
    return _multiply(call, call["batch1"], call["batch2"], call["self"])


@register_rule("addbmm")
def addbmm(call: Call) -> Axes:
    """The sum of a batch of products, plus a matrix."""
    _, *result = _multiply(call, call["batch1"], call["batch2"], None)
    plus(call, result, call["self"])
    return tuple(result)


@register_rule("linear")
def linear(call: Call) -> Axes:
    """x (.., k) times the transpose of weight (m, k)."""
    *rest, inner = call.axes(call["input"])
    columns, inner_right = call.axes(call["weight"])
    call.unify(inner, inner_right)
    if call.get("bias") is not None:
        call.unify(columns, call.axes(call["bias"])[0])
    call.macs(1, *rest, inner, columns)
    call.produces(columns)
    return (*rest, columns)


@register_rule("embedding")
def embedding(call: Call) -> Axes:
    """Rows of a table: their number is a vocabulary, their length a width."""
    rows, columns = call.axes(call["weight"])
    call.pin(rows, "entries of an embedding table")
    call.produces(columns)
    return (*call.axes(call["indices"]), columns)


@register_rule("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(call: Call) -> list[Axes]:
    """Sums, means or maxima of rows of a table; beside them, which rows went where."""
    rows, columns = call.axes(call["weight"])
    call.pin(rows, "entries of an embedding table")
    call.produces(columns)
    bags, *others = call.plain()
    maxima = [(axes[0], columns) if len(axes) == 2 else axes for axes in others]
    return [(bags[0], columns), *maxima]
