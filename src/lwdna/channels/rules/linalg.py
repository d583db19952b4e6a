"""Decompositions and inverses of matrices, distances, and products of vectors."""

from __future__ import annotations

from lwdna.channels.algebra.layout import Layout, fixed, size_of
from lwdna.channels.rules.call import Axes, Call, broadcast
from lwdna.channels.rules.linear import plus
from lwdna.channels.rules.table import register_rule


@register_rule(
    "_linalg_det",
    "_linalg_eigh",
    "_linalg_eigvals",
    "_linalg_slogdet",
    "_linalg_solve_ex",
    "_linalg_svd",
    "cholesky_inverse",
    "cholesky_solve",
    "linalg_cholesky_ex",
    "linalg_eig",
    "linalg_inv_ex",
    "linalg_ldl_factor_ex",
    "linalg_lu",
    "linalg_lu_factor_ex",
    "linalg_matrix_exp",
    "linalg_pinv",
    "linalg_qr",
    "linalg_solve_triangular",
)
def of_matrices(call: Call) -> list[Axes]:
    """(.., n, m): matrices keep their size, and there is a result for each of the other entries."""
    first, *others = call.tensors
    *batch, rows, columns = call.axes(first)
    for axis in (rows, columns):
        call.pin(axis, "matrices are taken apart")
    for tensor in others:
        for d, axis in enumerate(call.axes(tensor)):
            if d < len(batch) and size_of(axis) == size_of(batch[d]):
                call.unify(batch[d], axis)
            else:
                call.pin(axis, "matrices are taken apart")
    return [
        (*batch, *(fixed(size) for size in output.shape[len(batch) :])) for output in call.outputs
    ]


@register_rule("linalg_cross")
def cross(call: Call) -> Axes:
    """The axis of three coordinates stays, the others agree."""
    axes = broadcast(call, call.tensors)
    call.pin(axes[call.dim(call["dim"], len(axes))], "coordinates of a vector product")
    return axes


@register_rule("mv", "addmv")
def mv(call: Call) -> Axes:
    """(n, k) times (k,), plus a vector.

    It has no MACs, as torch's counter has none for it, and estimates spectral norms as a rule.
    """
    rows, inner = call.axes(call["self" if call.op == "mv" else "mat"])
    call.unify(inner, call.axes(call["vec"])[0])
    if call.op == "addmv":
        plus(call, (rows,), call["self"])
    return (rows,)


@register_rule("dot", "vdot")
def dot(call: Call) -> Axes:
    """(k,) times (k,): one number."""
    one, two = (call.axes(tensor)[0] for tensor in call.tensors)
    call.unify(one, two)
    return ()


@register_rule("addr")
def addr(call: Call) -> Axes:
    """(n,) times (m,) to (n, m), plus a matrix."""
    result = (call.axes(call["vec1"])[0], call.axes(call["vec2"])[0])
    plus(call, result, call["self"])
    return result


@register_rule("_cdist_forward", "_euclidean_dist")
def distances(call: Call) -> Axes:
    """(.., n, k) and (.., m, k) to (.., n, m): each row of one to each of the other."""
    *batch, rows, inner = call.axes(call["x1"])
    *more, columns, other = call.axes(call["x2"])
    call.unify(inner, other)
    call.mark_inexact(inner, "reduced over the channels")
    result: list[Layout] = [fixed(size) for size in call.shape[:-2]]
    for axes in (batch, more):
        for d in range(1, len(axes) + 1):
            if size_of(axes[-d]) != size_of(result[-d]):
                call.pin(axes[-d], "a single channel is broadcast")
            else:
                call.unify(result[-d], axes[-d])
    return (*result, rows, columns)


@register_rule("_pdist_forward")
def distances_of_pairs(call: Call) -> Axes:
    """(n, k) to the distances of all pairs of rows."""
    rows, inner = call.axes(call["self"])
    call.mark_inexact(inner, "reduced over the channels")
    call.pin(rows, "pairs of channels are compared")
    return call.plain()[0]


@register_rule("_trilinear")
def trilinear(call: Call) -> Axes:
    """Three tensors multiplied as broadcasting aligns them, and summed: a bilinear layer.

    (B, 1, n, 1), (1, m, n, k) and (B, 1, 1, k) to (B, m), each axis of one inserted where it says.
    """
    whole: list[Layout | None] = []
    for name, inserted in (("i1", "expand1"), ("i2", "expand2"), ("i3", "expand3")):
        axes: list[Layout | None] = list(call.axes(call[name]))
        for d in sorted(call[inserted]):
            axes.insert(d, None)
        whole = whole or [None] * len(axes)
        for d, axis in enumerate(axes):
            known = whole[d]
            if known is not None and axis is not None:
                call.unify(known, axis)
            whole[d] = known if axis is None else axis
    found = [fixed(1) if axis is None else axis for axis in whole]
    call.macs(1, *found)
    result = tuple(axis for d, axis in enumerate(found) if d not in call["sumdim"])
    call.produces(result[-1])
    return result
